"""Layers: the smaller of two outlines that meet is painted later, and thousands of outlines need a few passes only."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import class_mapping, import_annotations
from opsin.engine.labels.layers import layers
from opsin.engine.labels.trace import labels_to_outlines

from .test_trace import Pixels


def test_nested_outlines_lie_above_what_is_around_them():
    nested = [[box(20, 20, 40, 40)], [box(0, 0, 100, 100)], [box(25, 25, 30, 30)], [box(200, 0, 300, 50)]]
    assert layers(nested, [2, 1, 1, 2]).tolist() == [1, 0, 2, 0]


def test_outlines_of_one_label_need_no_order():
    assert layers([[box(0, 0, 9, 9)], [box(2, 2, 5, 5)], [box(1, 1, 30, 30)]], [4, 4, 4]).tolist() == [0, 0, 0]
    assert layers([], []).tolist() == []


def test_several_polygons_of_one_outline_count_together():
    scattered = [box(0, 0, 10, 10), box(50, 0, 60, 10), box(100, 0, 110, 10)]
    assert layers([scattered, [box(5, 5, 20, 20)]], [1, 2]).tolist() == [0, 1], "300 is more than 225"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_of_any_two_that_overlap_the_smaller_is_painted_later(seed):
    rng = np.random.default_rng(seed)
    corners, sizes = rng.uniform(0, 60, (25, 2)), rng.uniform(1, 40, (25, 2))
    boxes = [box(*corner, *(corner + size)) for corner, size in zip(corners, sizes)]
    labels = rng.integers(1, 4, 25)
    found = layers([[one] for one in boxes], labels.tolist())
    for a, b in itertools.permutations(range(25), 2):
        if labels[a] != labels[b] and boxes[a].intersects(boxes[b]) and boxes[a].area > boxes[b].area:
            assert found[a] < found[b]


def test_thousands_of_outlines_are_painted_in_a_few_passes():
    rng = np.random.default_rng(3)
    pixels = rng.choice(4, (90, 90), p=(0.4, 0.2, 0.2, 0.2)).astype(np.uint8)
    outlines = labels_to_outlines(Pixels(pixels), DEFAULT_CLASSES)
    assert len(outlines) > 2000

    class Passes:
        width = height = 90

        def polygons(self, items, *, text):
            self.labels = [label for label, _ in itertools.groupby(items, key=lambda item: item[1])]

    passes = Passes()
    import_annotations(passes, outlines, class_mapping(outlines, DEFAULT_CLASSES))
    assert len(passes.labels) < 40, "the label store rewrites its tiles for each"
