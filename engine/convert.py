"""`opsin convert IN… OUT`: annotations, results and pictures between formats. A target is written whole or not at all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import OpsinError
from .files import remove_companions, replacing
from .labels.classes import DEFAULT_CLASSES, PALETTE, LabelClass
from .labels.exchange import class_mapping, fitted, import_annotations, read_annotations
from .labels.formats import Format, Options, export, format_of, is_annotation_file, moved_out, named_format, slide_stem
from .labels.frame import Box, Frame, bounds_of
from .labels.mapping import CLEAR, SKIP, Target, chosen, new_class
from .labels.shapes import Origin, Outlines, simplified
from .labels.store import LabelStore
from .results import Heatmap
from .tiles import LARGEST
from .transfer import Step

STORE = ".labels"
MASKS = tuple(f"{sign}mask{suffix}" for sign in "-_" for suffix in (".tif", ".tiff", ".png"))
ENCODED = "encoded anew as JPEG of quality"
PICTURE = "tiff"
"""What `--to` calls a slide or picture as a pyramidal TIFF."""
TARGETS = "geojson, asap, coco, ome-zarr, mask-tiff, mask-png, labels, tiff"


@dataclass
class Settings:
    """Options of a conversion.

    Attributes
    ----------
    size : width and height of the slide in level-0 pixels. mpp : its µm per pixel. bounds : its bounds box.
    slide : its name, for COCO files about many. slides : folder in which each file's slide is found by name.
    choices : ``NAME=CLASS`` texts that say what a class of the file becomes; for a label store.
    origin : of the coordinates that are written. source_origin : of those that are read; "" = as the file says.
    """

    size: tuple[int, int] | None = None
    mpp: float | None = None
    bounds: Box | None = None
    slide: str = ""
    choices: list[str] = field(default_factory=list)
    origin: Origin = "slide"
    source_origin: Origin = ""
    options: Options = field(default_factory=Options)
    slides: Path | None = None
    force: bool = False
    """Replace a file that is there."""

    def on(self, path: Path) -> Settings:
        """Return the settings with size, scale, bounds box and name of the slide at `path`; `OpsinError` for another size."""
        from .data.slides import open_slide

        with open_slide(path, self.mpp) as slide:
            found = slide.width, slide.height
            if self.size not in (None, found):
                size = "{}x{}".format(*self.size or ())
                raise OpsinError(f"{path.name} has {found[0]} x {found[1]} pixels, not --size {size}.")
            return replace(self, size=found, mpp=slide.mpp, bounds=bounds_of(slide), slide=Path(path).stem, slides=None)

    def on_slide_of(self, source: Path) -> Settings:
        """Return the settings with what the slide in the folder `slides` says that `source` is called after."""
        from .data.slides import is_slide

        if self.slides is None:
            return self
        names = {Path(source).stem.casefold(), slide_stem(source).casefold()}
        found = [
            p for p in sorted(self.slides.iterdir()) if p.stem.casefold() in names or slide_stem(p).casefold() in names
        ]
        found = [path for path in found if is_slide(path) and not is_annotation_file(path)]
        if len(found) != 1:
            count = f"{len(found)} slides" if found else "No slide"
            raise OpsinError(f"{count} in {self.slides} {'are' if found else 'is'} called like {Path(source).name}.")
        return self.on(found[0])

    @property
    def frame(self) -> Frame:
        width, height = self.size or (0, 0)
        return Frame(width, height, self.mpp, self.bounds, self.origin)


def convert(
    source: Path,
    target: Path,
    size: tuple[int, int] | None = None,
    choices: Iterable[str] = (),
    settings: Settings | None = None,
    to: str = "",
) -> str:
    """Convert and return a sentence that says what was done.

    ==================================  ==========================================================
    from                                to
    ==================================  ==========================================================
    .xml, .geojson, .json (COCO),       .geojson, .xml, .json (COCO); with a size also .labels, mask
    mask TIFF and PNG, OME-Zarr labels  TIFF (-mask.tif), mask PNG and OME-Zarr
    .labels (label store)               all of these
    .heat (heat map)                    .tif, .ome.zarr, .geojson, .xml (outlines at threshold 0.5)
    slides and pictures                 .tif (pyramid)
    ==================================  ==========================================================

    Parameters
    ----------
    size, choices : short for those of `settings`.
    to : name of the target's format; "" = as its suffix says.

    Raises
    ------
    OpsinError : one sentence; nothing has been written.
    """
    source, target = Path(source), Path(target)
    settings = settings or Settings()
    settings = replace(settings, size=size or settings.size, choices=[*settings.choices, *choices])
    kind = source.suffix.lower()
    _check_target(source, target, settings.force)
    settings = settings.on_slide_of(source)
    if to == "labels" or (not to and target.suffix.lower() == STORE):
        return _to_store(source, target, settings)
    if settings.choices:
        raise OpsinError("--map says how outlines are painted; it needs a target that ends in .labels, or --workspace.")
    if kind == ".heat":
        if settings.size:
            raise OpsinError(f"{source.name} knows its size; --size and --slide are for annotation files.")
        if to.startswith("mask") or _means_mask(target):
            raise OpsinError(
                f"{source.name} holds probabilities, no classes: {target.name} would be no mask. Write it as .tif or .ome.zarr, "
                "or its outlines as .geojson and those as a mask."
            )
        Heatmap(source).save(target)
        return f"{target}: written from {source.name}"
    if to == PICTURE or (not to and _is_picture(source, target)):
        return _to_pyramid(source, target, settings)
    format = named_format(to) if to else format_of(target)
    if format is None:
        raise OpsinError(
            f"{source.name} cannot be converted to {target.name}; 'opsin convert --help' lists what can be."
        )
    if kind == STORE:
        with LabelStore.open(source, readonly=True) as store:
            if settings.size not in (None, (store.width, store.height)):
                raise OpsinError(f"{source.name} holds labels of a slide of {store.width} x {store.height} pixels.")
            done = export(store, _classes(source, store), target, format, settings.frame, settings.options)
        return f"{target}: {done.sentence}"
    outlines = _outlines(source, settings)
    if format.raster:
        return _to_pixels(outlines, target, format, settings)
    outlines_out = [simplified(outline, settings.options.tolerance) for outline in outlines]
    frame = settings.frame if settings.size or outlines.size is None else replace(
        settings.frame, width=outlines.size[0], height=outlines.size[1]
    )  # fmt: skip
    if not format.has_origin:
        frame = replace(frame, origin="slide")
    moved = moved_out(outlines_out, frame)
    if format.name == "coco":
        from .labels.coco import write_coco

        write_coco(target, [(frame, moved)], runs=settings.options.runs)
    elif format.name == "asap":
        from .labels.asap import write_asap

        write_asap(target, moved, frame)
    else:
        from .labels.geojson import write_geojson

        write_geojson(target, moved, frame)
    left = f"; {len(outlines.skipped)} not usable" if outlines.skipped else ""
    return f"{target}: {_count(len(outlines))}{left}"


def _is_picture(source: Path, target: Path) -> bool:
    """Whether a slide or picture, and no mask, is to become a TIFF."""
    from .data.slides import is_slide

    if target.suffix.lower() not in (".tif", ".tiff") or _means_mask(target):
        return False
    return is_slide(source) and not is_annotation_file(source)


def _means_mask(target: Path) -> bool:
    """Whether a file's name says that it is a mask: one of class numbers, and never a picture."""
    return target.name.lower().endswith(MASKS)


def _check_target(source: Path, target: Path, force: bool) -> None:
    """Raise where something is at the target that may not be replaced."""
    if not target.exists():
        return
    if source.exists() and target.samefile(source):
        raise OpsinError(f"{target} would be replaced by what is read from it; choose another name.")
    if not force and target.suffix.lower() != STORE:  # labels are never replaced, and that is said where they are made
        raise OpsinError(f"{target} exists already; choose another name, or replace it with --force.")


def _outlines(source: Path, settings: Settings) -> Outlines:
    """Read an annotation file; its coordinates become those of the full slide."""
    outlines = read_annotations(source, settings.slide)
    if not outlines:
        raise OpsinError(f"{source.name} holds no outline that can be used. {' '.join(outlines.skipped[:1])}".strip())
    if settings.size:
        outlines = fitted(outlines, *settings.size)
    origin = settings.source_origin or outlines.origin
    if origin == "bounds" and not outlines.raster and settings.bounds is not None:
        return outlines.moved(*settings.bounds[:2])
    if origin == "bounds" and settings.bounds is None and settings.origin != "bounds":
        raise OpsinError(
            f"{source.name}: its coordinates begin at the slide's bounds box; name the slide with --slide, which knows the box."
        )
    return outlines


def _to_pixels(outlines: Outlines, target: Path, format: Format, settings: Settings) -> str:
    """Paint outlines into a label store that does not last, and write that."""
    size = settings.size or outlines.size
    if size is None:
        raise OpsinError(
            f"{target.name}: say how large the slide is, with --size WIDTHxHEIGHT in full-resolution pixels or --slide FILE."
        )
    classes: list[LabelClass] = []
    mapping: dict[str, Target] = {}
    for outline in outlines:
        if outline.mark or outline.class_name in mapping:
            continue
        if outline.exclude:
            mapping[outline.class_name] = CLEAR
            continue
        item = new_class(outline.class_name or "Annotation", outline.color, classes)
        classes.append(item)
        mapping[outline.class_name] = item
    with (
        tempfile.TemporaryDirectory(prefix="opsin-") as folder,
        LabelStore.create(Path(folder) / "painted.labels", *size) as store,
    ):
        report = import_annotations(store, outlines, mapping)
        done = export(store, classes, target, format, settings.frame, settings.options)
    left = f"; {len(report.skipped)} not usable" if report.skipped else ""
    return f"{target}: {done.sentence} of {_count(sum(report.counts.values()))}{left}"


def _to_pyramid(source: Path, target: Path, settings: Settings) -> str:
    """Write a slide or picture as a tiled TIFF with JPEG levels; label and macro images stay behind."""
    from .data.picture import TooLarge
    from .data.picture_pyramid import picture_pyramid
    from .data.slides import open_slide
    from .data.tiff import write_pyramid

    try:
        opened = open_slide(source, settings.mpp)
    except TooLarge:
        width, height = picture_pyramid(source, target, settings.mpp)
        return f"{target}: {width:,} x {height:,} pixels as a pyramid, {ENCODED} 90"
    with opened as slide:
        width, height = slide.width, slide.height
        factors = [1]
        while max(width, height) // factors[-1] > 1024:
            factors.append(factors[-1] * 4)
        write_pyramid(
            target,
            lambda y, rows: slide.read(0, 0, y, width, rows),
            width,
            height,
            mpp=slide.mpp,
            magnification=slide.magnification,
            factors=tuple(factors),
            style="generic",
        )
    return f"{target}: {width:,} x {height:,} pixels in {len(factors)} levels, {ENCODED} 85"


# ---- many ---------------------------------------------------------------------------------------------------------------


def convert_many(sources: Sequence[Path], folder: Path, to: str, settings: Settings) -> Iterator[Step]:
    """Convert files, folders of files and workspaces into a folder; yields what became of each, failures among it.

    A workspace gives the labels of all its slides that have some.
    """
    from .transfer import export_items
    from .workspace import Workspace

    format = None if to in ("labels", PICTURE) else named_format(to)
    ending = {"labels": STORE, PICTURE: ".tif"}.get(to) or (format.ending if format else "")
    taken: set[str] = set()
    for source in map(Path, sources):
        if Workspace.is_workspace(source) and format is not None:
            try:
                with Workspace.open(source) as workspace:
                    items = [item for item in workspace.items() if workspace.has_labels(item)]
                    if not items:
                        raise OpsinError(f"No slide of {source.name} has labels.")
                    yield from export_items(workspace, items, folder, format, settings.origin, settings.options,
                                            replacing=settings.force)  # fmt: skip
            except OpsinError as error:
                yield Step(source.name, str(error), failed=True)
            continue
        try:
            files = _files(source, to)
        except OpsinError as error:
            yield Step(source.name, str(error), failed=True)
            continue
        for path in files:
            stem = slide_stem(path) if to != PICTURE else path.stem
            target = Path(folder) / f"{stem}{ending}"
            try:
                if not path.exists():
                    raise OpsinError(f"{path} does not exist.")
                if target.name.casefold() in taken:
                    raise OpsinError(
                        f"{path.name}: another file of the same name was converted; {target.name} is kept."
                    )
                text = convert(path, target, settings=replace(settings, slide=settings.slide or stem), to=to)
                taken.add(target.name.casefold())
                yield Step(path.name, text, path=target)
            except (OpsinError, OSError) as error:
                yield Step(path.name, str(error), failed=True)


def _files(source: Path, to: str) -> list[Path]:
    """Return the files that a path means: itself, or what of a folder can be converted."""
    from .data.slides import is_slide
    from .labels.ngff import is_zarr

    if not source.is_dir() or is_zarr(source):
        return [source]
    found = []
    for path in sorted(source.iterdir()):
        if path.name.startswith(".") or path.name.endswith(".classes.json"):
            continue
        wanted = (
            is_slide(path) if to == PICTURE else is_annotation_file(path) or path.suffix.lower() in (STORE, ".heat")
        )
        if wanted:
            found.append(path)
    if not found:
        raise OpsinError(f"Nothing in the folder {source} can be converted to {to}; its subfolders are not searched.")
    return found


def read_size(text: str) -> tuple[int, int]:
    """Return width and height from ``WIDTHxHEIGHT``."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*[xX×]\s*([0-9]{1,9})\s*", text)
    if found is None:
        raise OpsinError(f"'{text}' is no size; write width and height in pixels as in 46000x32914.")
    width, height = int(found[1]), int(found[2])
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise OpsinError(f"A slide of {width} x {height} pixels cannot be labelled; both are from 1 to {LARGEST:,}.")
    return width, height


def _to_store(source: Path, target: Path, settings: Settings) -> str:
    size = settings.size
    if source.suffix.lower() in (STORE, ".heat"):
        raise OpsinError(
            f"{source.name} cannot be converted to {target.name}; 'opsin convert --help' lists what can be."
        )
    if size is None and not target.exists():
        size = read_annotations(source, settings.slide).size
    if size is None:
        raise OpsinError(
            f"{target.name}: say how large the slide is, with --size WIDTHxHEIGHT in full-resolution pixels or --slide FILE."
        )
    if target.exists():
        raise OpsinError(f"{target} exists already and may hold labels; choose another name.")
    outlines = _outlines(source, replace(settings, size=size))
    mapping = chosen(settings.choices, class_mapping(outlines, DEFAULT_CLASSES), DEFAULT_CLASSES)
    try:
        with replacing(target) as temporary:
            temporary.unlink()  # a label store makes its own file
            try:
                with LabelStore.create(temporary, *size) as store:
                    report = import_annotations(store, outlines, mapping, text=f"Import {source.name}", marks=True)
                    store.flush()
            except OpsinError as error:
                raise type(error)(str(error).replace(str(temporary), str(target))) from None
            remove_companions(target)
    except OpsinError as error:
        if mapping and all(choice == SKIP for choice in mapping.values()):
            raise OpsinError(f"{error} Add for example --map '{next(iter(mapping))}=Tumour'.") from None
        raise
    more = " Say what a class becomes with --map NAME=CLASS." if report.left_out else ""
    return f"{target}: {report.sentence}{more}"


def _classes(path: Path, store: LabelStore) -> list[LabelClass]:
    """Return the classes of the workspace that a label store belongs to, else the usual ones; and one for any other value."""
    from .workspace import Workspace

    classes = list(DEFAULT_CLASSES)
    folder = path.resolve().parent.parent
    if Workspace.is_workspace(folder):
        with Workspace.open(folder) as workspace:
            classes = workspace.classes
    known = {item.value for item in classes}
    return classes + [
        LabelClass(value=value, name=f"Class {value}", color=PALETTE[value % len(PALETTE)], role="ignore")
        for value in store.areas()
        if value not in known
    ]


def _count(count: int) -> str:
    return "1 outline" if count == 1 else f"{count} outlines"
