"""`opsin convert IN OUT`: annotations and results between formats. A target is written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import OpsinError
from .files import remove_companions, replacing
from .labels.classes import DEFAULT_CLASSES, PALETTE, LabelClass
from .labels.exchange import (
    SUFFIXES,
    class_mapping,
    export_annotations,
    import_annotations,
    read_annotations,
    write_annotations,
)
from .labels.mapping import SKIP, chosen
from .labels.store import LabelStore
from .results import Heatmap
from .tiles import LARGEST


def convert(source: Path, target: Path, size: tuple[int, int] | None = None, choices: Iterable[str] = ()) -> str:
    """Convert and return a sentence that says what was done.

    ==========================  =======================================
    from                        to
    ==========================  =======================================
    .xml, .geojson              .geojson, .xml; .labels with `size`
    .labels (label store)       .geojson, .xml
    .heat (heat map)            .tif, .geojson, .xml (at threshold 0.5)
    ==========================  =======================================

    Parameters
    ----------
    size : width and height of the slide in level-0 pixels; for a label store only.
    choices : ``NAME=CLASS`` texts that say what a class of the file becomes; for a label store only.

    Raises
    ------
    OpsinError : one sentence; nothing has been written.
    """
    source, target, choices = Path(source), Path(target), list(choices)
    kind, wanted = source.suffix.lower(), target.suffix.lower()
    if kind in SUFFIXES and wanted == ".labels":
        return _to_store(source, target, size, choices)
    if size is not None or choices:
        raise OpsinError(
            "--size, --slide and --map say how outlines are painted; they need a target that ends in .labels."
        )
    if kind == ".heat":
        Heatmap(source).save(target)
        return f"{target}: written from {source.name}"
    if kind == ".labels" and wanted in SUFFIXES:
        with LabelStore.open(source, readonly=True) as store:
            count = export_annotations(store, _classes(source, store), target)
        return f"{target}: {_count(count)}"
    if kind in SUFFIXES and wanted in SUFFIXES:
        outlines = read_annotations(source)
        if not outlines:
            raise OpsinError(
                f"{source.name} holds no outline that can be used. {' '.join(outlines.skipped[:1])}".strip()
            )
        write_annotations(target, outlines)
        left = f"; {len(outlines.skipped)} not usable" if outlines.skipped else ""
        return f"{target}: {_count(len(outlines))}{left}"
    raise OpsinError(f"{source.name} cannot be converted to {target.name}; 'opsin convert --help' lists what can be.")


def read_size(text: str) -> tuple[int, int]:
    """Return width and height from ``WIDTHxHEIGHT``."""
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*[xX×]\s*([0-9]{1,9})\s*", text)
    if found is None:
        raise OpsinError(f"'{text}' is no size; write width and height in pixels as in 46000x32914.")
    width, height = int(found[1]), int(found[2])
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise OpsinError(f"A slide of {width} x {height} pixels cannot be labelled; both are from 1 to {LARGEST:,}.")
    return width, height


def _to_store(source: Path, target: Path, size: tuple[int, int] | None, choices: Sequence[str]) -> str:
    if size is None:
        raise OpsinError(
            f"{target.name}: say how large the slide is, with --size WIDTHxHEIGHT in full-resolution pixels or --slide FILE."
        )
    if target.exists():
        raise OpsinError(f"{target} exists already and may hold labels; choose another name.")
    outlines = read_annotations(source)
    mapping = chosen(choices, class_mapping(outlines, DEFAULT_CLASSES), DEFAULT_CLASSES)
    try:
        with replacing(target) as temporary:
            temporary.unlink()  # a label store makes its own file
            try:
                with LabelStore.create(temporary, *size) as store:
                    report = import_annotations(store, outlines, mapping, text=f"Import {source.name}")
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
