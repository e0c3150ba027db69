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


@pytest.fixture(scope="session")
def tiny_slides(tmp_path_factory):
    """Four pale slides of 320 x 256 px with tissue; the odd ones have a darker lesion in the upper left."""
    folder = tmp_path_factory.mktemp("slides")
    random = np.random.default_rng(1)
    paths = []
    for number in range(4):
        pixels = np.full((256, 320, 3), 240, np.uint8)
        pixels[20:236, 20:300] = (220, 150, 180)
        if number % 2:
            pixels[40:120, 40:140] = (110, 60, 140)
        pixels = np.clip(pixels + random.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"slide_{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def tiny_workspace(tiny_slides, tmp_path):
    """Folder of a closed workspace with these slides, labelled, the first two outlined."""
    with Workspace.create(tmp_path / "tiny") as workspace:
        for number, item in enumerate(workspace.add(tiny_slides)):
            workspace.update(item.id, label="positive" if number % 2 else "negative", split="train")
            if number < 2:
                workspace.update(item.id, outlined=True)
            if number == 1:
                ring = np.array([[40, 40], [140, 40], [140, 120], [40, 120]], float)
                workspace.labels(item).polygon([ring], 1)
    return tmp_path / "tiny"


@pytest.fixture
def window(qapp, qtbot):
    """The shown window on its start page."""
    theme.apply_theme(qapp, "light")
    window = MainWindow(settings=AppSettings(theme="light"))
    qtbot.addWidget(window)
    window.resize(1280, 720)
    window.show()
    window.activateWindow()  # a window that is shown after others were closed is not always the active one
    yield window
    window.finish("stop")
    finish_background()


@pytest.fixture
def opened(window, folder, qtbot):
    """The window with the workspace and its first slide open."""
    window.open_workspace(folder)
    qtbot.waitUntil(lambda: window.item is not None)
    return window


@pytest.fixture
def tiny(window, tiny_workspace, qtbot):
    """The window with the tiny workspace and its last slide, which has a lesion, open."""
    window.open_workspace(tiny_workspace)
    window.open_item(window.workspace.items()[3].id)
    qtbot.waitUntil(lambda: window.item is not None and window.item.name == "slide_3")
    yield window
    if window.jobs is not None:
        for job in window.jobs.running:
            job.kill()


@pytest.fixture
def network(tiny_workspace):
    """A network in the tiny workspace, as a finished training leaves it; untrained, but it says different things."""
    import torch

    from opsin.engine.method import get_method
    from opsin.engine.methods.hybrid_wsi.model import build
    from opsin.engine.methods.hybrid_wsi.published import pack
    from opsin.engine.runs import Run, new_folder
    from opsin.engine.verbs import CHECKPOINT

    recipe = get_method("hybrid_wsi").recipe("tiny").changed(["stage2=false", "tile=64"])
    torch.manual_seed(0)
    model = build(recipe)
    model.fc.weight.data *= 40
    folder = new_folder(tiny_workspace / "runs", "hybrid_wsi")
    run = Run(folder)
    run.describe(method="hybrid_wsi", verb="train", preset="tiny", device="cpu", data=str(tiny_workspace), metrics={})
    run.set_state("done")
    run.close()
    pack(recipe, model, None, round=0).save(folder / CHECKPOINT)
    return folder
