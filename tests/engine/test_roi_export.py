"""Exports of what lies inside the regions of interest alone: in every format, to the pixel."""

from contextlib import closing

import numpy as np
import pytest

from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import class_mapping, import_annotations, read_annotations
from opsin.engine.labels.formats import FORMATS, Options, export
from opsin.engine.labels.frame import Frame
from opsin.engine.labels.store import LabelStore

from .test_roi import LABELS, MASK, SIDE, painted


@pytest.mark.parametrize("format", FORMATS, ids=lambda one: one.name)
@pytest.mark.parametrize("inside", [False, True])
def test_only_labels_inside_go_out_when_that_is_asked_for(tmp_path, format, inside):
    path = tmp_path / f"a{format.ending}"
    with closing(LabelStore.open(painted(tmp_path / "a.labels"), readonly=True)) as store:
        options = Options(inside=inside, marks=False, runs=format.name == "coco")
        export(store, DEFAULT_CLASSES, path, format, Frame(), options)
    outlines = read_annotations(path)
    with closing(LabelStore.create(tmp_path / "again.labels", SIDE, SIDE)) as again:
        import_annotations(again, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        found = again.region(0, 0, 0, SIDE, SIDE)
    assert np.array_equal(found, np.where(MASK, LABELS, 0) if inside else LABELS)
