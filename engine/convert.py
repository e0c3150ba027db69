"""`opsin convert IN OUT`: annotations and results between formats."""

from __future__ import annotations

from pathlib import Path

from .errors import OpsinError
from .labels.classes import DEFAULT_CLASSES
from .labels.exchange import (
    SUFFIXES,
    class_mapping,
    export_annotations,
    import_annotations,
    read_annotations,
    write_annotations,
)
from .labels.store import LabelStore
from .results import Heatmap


def convert(source: Path, target: Path, size: tuple[int, int] | None = None) -> str:
    """Convert and return a sentence that says what was done.

    ==========================  =======================================
    from                        to
    ==========================  =======================================
    .xml, .geojson              .geojson, .xml; .labels with `size` (width, height of the slide)
    .labels (label store)       .geojson, .xml
    .heat (heat map)            .tif, .geojson, .xml (at threshold 0.5)
    ==========================  =======================================
    """
    source, target = Path(source), Path(target)
    kind, wanted = source.suffix.lower(), target.suffix.lower()
    if kind == ".heat":
        Heatmap(source).save(target)
        return f"{target}: written from {source.name}"
    if kind == ".labels" and wanted in SUFFIXES:
        with LabelStore.open(source, readonly=True) as store:
            return f"{target}: {export_annotations(store, DEFAULT_CLASSES, target)} outlines"
    if kind in SUFFIXES and wanted in SUFFIXES:
        outlines = read_annotations(source)
        write_annotations(target, outlines)
        return f"{target}: {len(outlines)} outlines"
    if kind in SUFFIXES and wanted == ".labels" and size is not None:
        outlines = read_annotations(source)
        with LabelStore.create(target, *size) as store:
            report = import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
            store.flush()
        return f"{target}: {report.sentence}"
    raise OpsinError(f"{source.name} cannot be converted to {target.name}; 'opsin convert --help' lists what can be.")
