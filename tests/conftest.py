"""What all tests share: no window system needed, own settings folder, triton before OpenGL, the sample data."""

import ctypes
import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("QT_API", "pyside6")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Software OpenGL and triton bring two versions of LLVM; whoever is loaded second crashes unless triton is first.
_triton = importlib.util.find_spec("triton")
if _triton is not None and _triton.origin:
    _library = Path(_triton.origin).parent / "_C" / "libtriton.so"
    if _library.exists():
        ctypes.CDLL(str(_library))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder with the real samples, named by the environment variable OPSIN_DATA."""
    folder = os.environ.get("OPSIN_DATA")
    if not folder:
        pytest.skip("OPSIN_DATA is not set: this test reads real samples")
    return Path(folder)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory, monkeypatch):
    """Keep tests away from the user's settings and recent workspaces."""
    monkeypatch.setenv("OPSIN_CONFIG", str(tmp_path_factory.mktemp("config")))
