"""What it means when files or folders are dropped on the window, chosen or named on the command line; the made sample.

The rule, in this order:

* a workspace folder (or its ``opsin.sqlite``) is opened;
* slides, and folders with slides, are added to the open workspace; without one they go to the workspace ``opsin`` in the
  folder they lie in, which is made when it is missing, or, where that cannot be written, to one in the documents folder;
* ``.xml``, ``.geojson`` and ``.json`` files, masks that say what their values mean, and OME-Zarr labels are annotations,
  imported into the slide of the same name, else into the open one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .settings import documents_folder

ANNOTATIONS = (".xml", ".geojson", ".json")
DATABASE = "opsin.sqlite"
SAMPLE_SEED = 7
SAMPLE_COUNT = 6


@dataclass
class Plan:
    """What to do with some paths.

    Attributes
    ----------
    workspace : folder of the workspace to open or make; None = the open one.
    slides : files and folders to add to it.
    annotations : annotation files to import.
    """

    workspace: Path | None = None
    slides: list[Path] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)


def plan(paths: list[Path], workspace_open: bool) -> Plan:
    """Return what the paths mean by the rule above."""
    result = Plan()
    for path in paths:
        path = Path(path).absolute()
        if path.is_dir() and (path / DATABASE).is_file():
            result.workspace = path
        elif path.name == DATABASE and path.is_file():
            result.workspace = path.parent
        elif path.suffix.lower() in ANNOTATIONS or _is_mask(path):
            result.annotations.append(path)
        else:
            result.slides.append(path)
    if result.slides and result.workspace is None and not workspace_open:
        result.workspace = automatic_workspace(result.slides[0])
    return result


def _is_mask(path: Path) -> bool:
    """Whether a picture or folder is a mask: only what may be one by its name is looked at."""
    if path.suffix.lower() not in (".tif", ".tiff", ".png", ".zarr"):
        return False
    from ..engine.labels.formats import is_annotation_file

    return is_annotation_file(path)


def without_slides(path: Path) -> str:
    """Return one sentence about why nothing can be opened at `path`, "" when it is a slide or a folder with slides in it."""
    from ..engine.data.sets import holds_slides
    from ..engine.data.slides import is_slide

    try:
        if path.is_dir():
            found = holds_slides(path)
            return "" if found else f"{path} is no workspace, and no slides lie directly in it; nothing was opened."
        if not path.exists():
            return f"{path} is not there; nothing was opened."
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
    return "" if is_slide(path) else f"{path.name} is no slide that Opsin knows; nothing was opened."


def automatic_workspace(path: Path) -> Path:
    """Return the workspace folder for a slide or a folder of slides that was opened without a workspace."""
    from ..engine.data.sets import is_slide_folder

    folder = path if path.is_dir() and not is_slide_folder(path) else path.parent
    if folder.name == "opsin" and (folder / DATABASE).is_file():
        return folder
    wanted = folder / "opsin"
    if (wanted / DATABASE).is_file() or os.access(folder, os.W_OK):
        return wanted
    return documents_folder() / (folder.name or "slides")


def sample_folder() -> Path:
    """Return where the made sample goes."""
    return documents_folder() / "Sample"


def make_sample(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Make artificial slides and a workspace with them in `folder`; yields (done, total, what). For a thread.

    Two slides with lesions are outlined exactly; the others carry slide labels only: what hybrid supervision starts from.
    """
    from ..engine.samples import make_slides
    from ..engine.workspace import Workspace

    total = SAMPLE_COUNT + 1
    if Workspace.is_workspace(folder):
        yield total, total, "The sample is there already"
        return
    made: list[Any] = []
    for number in range(SAMPLE_COUNT):
        yield number, total, f"Making slide {number + 1} of {SAMPLE_COUNT}"
        made += make_slides(folder / "slides", 1, SAMPLE_SEED + number)
    yield SAMPLE_COUNT, total, "Making the workspace"
    build_sample_workspace(folder, made)
    yield total, total, "Done"


def build_sample_workspace(folder: Path, made: list[Any]) -> None:
    """Make the workspace of made slides: labels, splits, and exact outlines on the first two with lesions to train on."""
    from ..engine.workspace import Workspace

    with Workspace.open_or_create(folder) as workspace:
        polygons = {}
        for slide, item in zip(made, workspace.add([slide.path for slide in made])):
            workspace.update(item.id, label="positive" if slide.polygons else "negative")
            polygons[item.id] = slide.polygons
        workspace.assign_splits(val=0.34)
        training = [item for item in workspace.items() if item.split == "train" and polygons.get(item.id)]
        for item in training[:2]:
            store = workspace.labels(item)
            store.polygons([([ring], 1) for ring in polygons[item.id]], text="Sample outlines")
            store.flush()
            workspace.update(item.id, outlined=True)
            workspace.update_marked(item.id)
