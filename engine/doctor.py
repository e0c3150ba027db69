"""The self-test: what of Opsin works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .devices import list_devices

PACKAGES = (
    "torch",
    "torchvision",
    "PySide6",
    "napari",
    "tifffile",
    "imagecodecs",
    "openslide-bin",
    "numpy",
    "pydantic",
)
LIBRARIES = {
    "EGL": ("libegl1", "the window"),
    "GL": ("libgl1", "the window"),
    "xcb-cursor": ("libxcb-cursor0", "the window on X11"),
    "xkbcommon-x11": ("libxkbcommon-x11-0", "the window on X11"),
}
CHECKS = {
    "slides": "from opsin.engine.data.slides import open_slide; import openslide; print('OpenSlide', openslide.__library_version__)",
    "window": "import os; os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen'); from qtpy.QtWidgets import QApplication; "
    "QApplication([]); import qtpy; print('Qt', qtpy.QT_VERSION)",
    "training": "import torch; torch.ones(2).sum(); print('torch', torch.__version__, 'CUDA' if torch.cuda.is_available() "
    "else 'CPU only')",
}


def report() -> tuple[list[str], bool]:
    """Return the lines of the report and whether everything that Opsin needs works."""
    lines = [f"Python {platform.python_version()} on {platform.platform()}"]
    good = True
    for name in PACKAGES:
        try:
            lines.append(f"  ok       {name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"  MISSING  {name}: install Opsin again (pip install opsin)")
            good = False
    if sys.platform.startswith("linux"):
        for library, (package, use) in LIBRARIES.items():
            if ctypes.util.find_library(library):
                lines.append(f"  ok       lib{library}")
            else:
                lines.append(f"  MISSING  lib{library}, for {use}: apt-get install {package}")
    for name, code in CHECKS.items():
        # each in its own process: a crash in a library must not take the report along
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            lines.append(f"  ok       {name}: {done.stdout.strip()}")
        else:
            reason = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
            lines.append(f"  FAILED   {name}: {reason}")
            good = False
    lines += [f"  device   {device.id}: {device.summary}" for device in list_devices()]
    free = shutil.disk_usage(Path.home()).free / 2**30
    lines.append(f"  {'ok      ' if free > 5 else 'LOW     '} {free:.0f} GiB free on the disk of {Path.home()}")
    lines.append(
        "Everything that Opsin needs works here." if good else "Something that Opsin needs is missing, see above."
    )
    return lines, good
