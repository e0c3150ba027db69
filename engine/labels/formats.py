"""The formats that annotations are exported in, and one way to write any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AnnotationError
from .classes import LabelClass
from .frame import Frame
from .roi import inside
from .shapes import Outline, simplified
from .trace import labels_to_outlines

if TYPE_CHECKING:
    from ..tiles import TilePyramid
    from .pixels import Progress
    from .store import LabelStore


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    name : for the command line. title : for the window.
    ending : what a file of it is called after the slide's name. suffixes : names (lower case) that mean this format.
    raster : pixels; else outlines, which can be simplified, may begin at the bounds box and bring marks.
    help : one sentence.
    """

    name: str
    title: str
    ending: str
    suffixes: tuple[str, ...]
    raster: bool
    help: str

    @property
    def has_origin(self) -> bool:
        """Whether coordinates may begin at the bounds box: of pixels and of COCO's pictures they never do."""
        return self.name in ("geojson", "asap")


FORMATS = (
    Format("geojson", "QuPath GeoJSON", ".geojson", (".geojson",), False,
           "Polygons with holes, markers and rulers; QuPath opens it."),
    Format("asap", "ASAP XML", ".xml", (".xml",), False,
           "Polygons as in CAMELYON; a hole is a polygon of the group Exclusion."),
    Format("coco", "COCO", ".coco.json", (".coco.json", ".json"), False,
           "Polygons or run lengths with boxes and categories, for training elsewhere; no markers."),
    Format("ome-zarr", "OME-Zarr labels", "-labels.ome.zarr", (".ome.zarr", ".zarr"), True,
           "Every pixel, as a pyramid in a folder (NGFF 0.5); napari and other viewers open it."),
    Format("mask-tiff", "Mask TIFF", "-mask.tif", ("-mask.tif", "_mask.tif", "-mask.tiff", "_mask.tiff", ".tif", ".tiff"),
           True, "Every pixel, as a pyramidal TIFF of class numbers, with a table of the classes beside it."),
    Format("mask-png", "Mask PNG", "-mask.png", (".png",), True,
           "Every pixel, as one picture of class numbers; for slides of up to 100 million pixels."),
)  # fmt: skip
BY_NAME = {item.name: item for item in FORMATS}
ORIGIN = "Coordinates are full-resolution (level-0) pixels; (0, 0) is the upper left corner of the whole slide, x right, y down."
"""What an export says, and the dialog before it."""


def format_of(path: Path) -> Format | None:
    """Return the format that a file name asks for; ``.json`` means COCO. Reading tells by content."""
    name = Path(path).name.lower()
    found = [(len(suffix), item) for item in FORMATS for suffix in item.suffixes if name.endswith(suffix)]
    return max(found, key=lambda pair: pair[0])[1] if found else None


@dataclass(frozen=True)
class Options:
    """Choices of an export.

    Attributes
    ----------
    tolerance : level-0 pixels by which simplified outlines may differ from the pixels' edges; 0 = exact.
    runs : COCO with run lengths in place of polygons.
    marks : write markers, rulers, measured areas and regions of interest, where the format can.
    inside : of a slide with regions of interest, write only the labels inside them.
    """

    tolerance: float = 0.0
    runs: bool = False
    marks: bool = True
    inside: bool = False


@dataclass
class Exported:
    """What an export wrote: where, how many outlines (None: pixels) and marks, and what it had to leave out."""

    path: Path
    outlines: int | None = None
    marks: int = 0
    left_out: int = 0

    @property
    def sentence(self) -> str:
        what = (
            "labels" if self.outlines is None else "1 outline" if self.outlines == 1 else f"{self.outlines:,} outlines"
        )
        marks = "" if not self.marks else ", 1 mark" if self.marks == 1 else f", {self.marks:,} marks"
        left = f"; {self.left_out} marks left out, which this format cannot hold" if self.left_out else ""
        return f"{what}{marks}{left}"


def export(
    store: LabelStore,
    classes: Sequence[LabelClass],
    path: Path,
    format: Format,
    frame: Frame,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the labels of a slide in any format, whole or not at all.

    Parameters
    ----------
    frame : size, scale and bounds of the slide and the origin of the coordinates that are written.
    progress : gets (done, total); what it raises ends the export.
    """
    options = options or Options()
    if not store.readonly:
        store.flush()
    frame = replace(frame, width=store.width, height=store.height)
    if not format.has_origin:
        frame = replace(frame, origin="slide")
    marks = store.marks() if options.marks else []
    source = inside(store) if options.inside else store
    if format.raster:
        from .mask_tiff import write_mask_png, write_mask_tiff
        from .ngff import write_ngff

        write = {"ome-zarr": write_ngff, "mask-tiff": write_mask_tiff, "mask-png": write_mask_png}[format.name]
        write(path, source, classes, frame, progress)
        return Exported(path, None, 0, len(marks))
    outlines = labels(source, classes, frame, options, progress)
    if format.name == "coco":
        from .coco import write_coco

        write_coco(path, [(frame, outlines)], classes, options.runs)
        return Exported(path, len(outlines), 0, len(marks))
    from .asap import write_asap
    from .geojson import write_geojson
    from .mark_outlines import mark_outlines

    drawn = moved_out(mark_outlines(marks, classes), frame)
    (write_geojson if format.name == "geojson" else write_asap)(path, [*outlines, *drawn], frame)
    return Exported(path, len(outlines), len(drawn))


def labels(
    store: TilePyramid, classes: Sequence[LabelClass], frame: Frame, options: Options, progress: Progress | None = None
) -> list[Outline]:
    """Return the outlines of a store as they are written: simplified where asked for, from the frame's origin."""
    found: list[Outline] = []
    for place, item in enumerate(classes):
        found += labels_to_outlines(store, [item])
        if progress is not None:
            progress(place + 1, len(classes) + 1)
    return moved_out([simplified(outline, options.tolerance) for outline in found], frame)


def moved_out(outlines: Sequence[Outline], frame: Frame) -> list[Outline]:
    """Return outlines of the full slide as a file with that origin states them."""
    dx, dy = frame.offset
    return [outline.moved(-dx, -dy) for outline in outlines] if dx or dy else list(outlines)


def named_format(name: str) -> Format:
    """Return a format by its name; `AnnotationError` names those there are."""
    if name not in BY_NAME:
        raise AnnotationError(f"There is no format '{name}'; there are {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def slide_stem(path: Path) -> str:
    """Return the name of the slide that a file is called after: without suffixes and what exports add."""
    name = Path(path).parent.name if Path(path).name in ("zarr.json", ".zattrs", ".zgroup") else Path(path).name
    for ending in (".ome.zarr", ".coco.json", ".ome.tiff", ".ome.tif", ".classes.json"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    else:
        name = Path(name).stem
    for ending in ("-mask", "_mask", "-labels", "_labels", "-annotations", "_annotations"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def is_annotation_file(path: Path) -> bool:
    """Whether a file or folder is annotations rather than a slide: by its name, or as a mask that says what it is."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".xml", ".geojson", ".json"):
        return True
    from .ngff import is_zarr, ome_facts

    if path.is_dir():
        return is_zarr(path) and "image-label" in ome_facts(path)
    from .mask_tiff import png_has_table, tiff_has_table
    from .pixels import table_path

    if suffix not in (".tif", ".tiff", ".png") or not (
        table_path(path).exists() or any(word in path.stem.lower() for word in ("mask", "label", "annotation"))
    ):
        return False  # a slide: not opened for that question
    if suffix in (".tif", ".tiff"):
        return tiff_has_table(path)
    return png_has_table(path)
