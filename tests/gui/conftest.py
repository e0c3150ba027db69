"""What tests of the window share: tiny slides, a workspace, the shown window."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from opsin.engine.workspace import Workspace
from opsin.gui.settings import AppSettings
from opsin.gui.window import MainWindow
from opsin.widgets import theme
from opsin.widgets.background import finish_background


@pytest.fixture
def slides(tmp_path):
    """Three pictures of 640 x 480 px in a folder of their own, and that folder."""
    folder = tmp_path / "case 7"
    folder.mkdir()
    random = np.random.default_rng(1)
    for name in ("alpha", "beta", "gamma"):
        small = random.integers(120, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(small).resize((640, 480)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def folder(slides, tmp_path):
    """Folder of a closed workspace with the three slides."""
    target = tmp_path / "workspace"
    with Workspace.create(target) as workspace:
        workspace.add([slides])
    return target


@pytest.fixture
def window(qapp, qtbot):
    """The shown window on its start page."""
    theme.apply_theme(qapp, "light")
    window = MainWindow(settings=AppSettings(theme="light"))
    qtbot.addWidget(window)
    window.resize(1280, 720)
    window.show()
    yield window
    window.finish("stop")
    finish_background()


@pytest.fixture
def opened(window, folder, qtbot):
    """The window with the workspace and its first slide open."""
    window.open_workspace(folder)
    qtbot.waitUntil(lambda: window.item is not None)
    return window
