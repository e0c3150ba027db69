"""Annotations of many slides out of a workspace and into it: one slide after the other, failures listed, the rest done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .class_table import taken_values
from .errors import AnnotationError, OpsinError
from .labels.exchange import import_annotations, read_annotations
from .labels.formats import Exported, Format, Options, export, slide_stem
from .labels.frame import Frame, bounds_of
from .labels.mapping import class_mapping
from .labels.shapes import Origin, Outlines

if TYPE_CHECKING:
    from .data.slides import Slide
    from .labels.classes import LabelClass
    from .labels.mapping import Target
    from .workspace import Item, Workspace

Inner = Callable[[int, int], None]
"""(done, total) within one slide; what it raises ends all."""


@dataclass
class Step:
    """What became of one slide or file: `text` says it, `failed` that it could not be done."""

    name: str
    text: str
    failed: bool = False
    path: Path | None = None


def frame_of(workspace: Workspace, item: Item, origin: Origin = "slide", named: bool = False) -> Frame:
    """Return what an export says of a slide; the slide is opened only where its bounds box is asked for."""
    bounds = None
    if origin == "bounds":
        with workspace.open_slide(item) as slide:
            bounds = bounds_of(slide)
    frame = Frame(item.width, item.height, item.mpp or item.slide_mpp, bounds, origin)
    return replace(frame, name=Path(item.path).name) if named else frame


def export_item(
    workspace: Workspace,
    item: Item,
    path: Path,
    format: Format,
    origin: Origin = "slide",
    options: Options | None = None,
    inner: Inner | None = None,
) -> Exported:
    """Write the labels of one slide to `path`."""
    classes = workspace.classes
    frame = frame_of(workspace, item, origin)
    workspace.flush()
    store = workspace.labels_to_read(item)
    try:
        return export(store, classes, path, format, frame, options, inner)
    finally:
        store.close()


def export_items(
    workspace: Workspace,
    items: Sequence[Item],
    folder: Path,
    format: Format,
    origin: Origin = "slide",
    options: Options | None = None,
    numbered: bool = False,
    inner: Inner | None = None,
    replacing: bool = True,
) -> Iterator[Step]:
    """Write the labels of slides into a folder, a file each; yields what became of each.

    Parameters
    ----------
    replacing : files that are there are replaced; else that slide's export fails.
    numbered : name the files by number and not by slide: names of slides may tell who the patient is.
    """
    names: set[str] = set()
    for number, item in enumerate(items, 1):
        stem = f"slide-{number:04d}" if numbered else item.name
        if stem.casefold() in names:
            stem = f"{stem}-{item.id}"
        names.add(stem.casefold())
        path = Path(folder) / f"{stem}{format.ending}"
        try:
            if path.exists() and not replacing:
                raise OpsinError(f"{path} exists already; choose another folder, or replace it with --force.")
            done = export_item(workspace, item, path, format, origin, options, inner)
            yield Step(item.name, f"{path.name}: {done.sentence}", path=path)
        except (OpsinError, OSError) as error:
            yield Step(item.name, str(error), failed=True)


def matched(items: Iterable[Item], path: Path) -> Item | None:
    """Return the slide that an annotation file is called after; None when there is none, or more than one."""
    known = list(items)
    for stem in (Path(path).name.partition(".")[0], Path(path).stem, slide_stem(path)):
        found = [item for item in known if stem.casefold() in (item.name.casefold(), Path(item.path).stem.casefold())]
        if len(found) == 1:
            return found[0]
    return None


def origin_of(outlines: Outlines, slide: Slide) -> Origin:
    """Return where the coordinates of a file begin: as it says, else as `guessed_origin` finds."""
    from .labels.frame import guessed_origin

    bounds = bounds_of(slide)
    if outlines.origin or bounds is None or outlines.raster:
        return outlines.origin or "slide"
    tissue, scale = None, 1.0
    try:
        small = slide.thumbnail(512)
        scale = max(slide.width / small.shape[1], slide.height / small.shape[0])
        # white and black are both ground: beside the scanned part some readers give the one, some the other
        darkest, brightest = small.min(axis=2).astype(int), small.max(axis=2).astype(int)
        tissue = (brightest - darkest > 24) & (brightest > 40)
        if not tissue.any():
            tissue = None
    except (OpsinError, OSError):
        pass
    return guessed_origin(outlines, bounds, tissue, scale)


def on_full_slide(outlines: Outlines, slide: Slide, origin: Origin) -> Outlines:
    """Return outlines in coordinates of the full slide, read from a file whose coordinates begin at `origin`."""
    bounds = bounds_of(slide)
    return outlines.moved(bounds[0], bounds[1]) if origin == "bounds" and bounds is not None else outlines


def import_files(
    workspace: Workspace,
    paths: Sequence[Path],
    choose: Callable[[Outlines, Sequence[LabelClass], Sequence[int]], dict[str, Target]] | None = None,
    origin: Origin = "",
) -> Iterator[Step]:
    """Import annotation files into the slides they are called after, one undo step each; yields what became of each.

    Parameters
    ----------
    choose : what the classes of a file become, from (outlines, classes, values that are taken); by default their names say.
    origin : of the coordinates; "" = as the file says, or as is guessed where it does not.
    """
    items = workspace.items()
    for path in map(Path, paths):
        try:
            item = matched(items, path)
            if item is None:
                raise AnnotationError(f"No slide of the workspace is called like {path.name}.")
            outlines = read_annotations(path, item.name)
            classes = workspace.classes
            mapping = (
                choose(outlines, classes, sorted(taken_values(workspace)))
                if choose
                else class_mapping(outlines, classes)
            )
            if not outlines.raster and origin != "slide":
                with workspace.open_slide(item) as slide:
                    outlines = on_full_slide(outlines, slide, origin or origin_of(outlines, slide))
            store = workspace.labels(item)
            report = import_annotations(store, outlines, mapping, text=f"Import {path.name}", marks=True)
            store.flush()
            workspace.update_marked(item.id)
            yield Step(path.name, report.tell(item.name), path=path)
        except (OpsinError, OSError) as error:
            yield Step(path.name, str(error), failed=True)
