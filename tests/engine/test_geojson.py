"""GeoJSON as QuPath reads it: every polygon valid with the decimals that are written, every object with its own id."""

import json
import uuid

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from opsin.engine.labels.classes import DEFAULT_CLASSES, LabelClass
from opsin.engine.labels.geojson import read_geojson, write_geojson
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore
from opsin.engine.labels.trace import labels_to_outlines


def written(path, outlines):
    write_geojson(path, outlines)
    return json.loads(path.read_text())["features"]


def polygons(features):
    found = []
    for feature in features:
        assert feature["geometry"]["type"] == "Polygon"
        rings = feature["geometry"]["coordinates"]
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for ring in rings), "QuPath asks for closed rings"
        found.append(shapely.Polygon(rings[0], rings[1:]))
    return found


def test_objects_are_as_qupath_reads_them(tmp_path):
    square = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]])
    outlines = [
        Outline("a", [square], "Tumor", "#C80010"),
        Outline("b", [square + 30], locked=True),
        Outline("way", [square], "Tumor", kind="line"),
        Outline("dots", [square], kind="point"),
    ]
    content = written(tmp_path / "a.geojson", outlines)
    assert [f["geometry"]["type"] for f in content] == ["Polygon", "Polygon", "LineString", "MultiPoint"]
    assert all(f["type"] == "Feature" and f["properties"]["objectType"] == "annotation" for f in content)
    assert len({uuid.UUID(f["id"]) for f in content}) == 4
    assert content[0]["properties"]["classification"] == {"name": "Tumor", "color": [200, 0, 16]}
    assert "classification" not in content[1]["properties"]
    assert [f["properties"]["isLocked"] for f in content] == [False, True, False, False]
    back = read_geojson(tmp_path / "a.geojson")
    assert [(o.name, o.class_name, o.kind, o.locked) for o in back] == [
        ("a", "Tumor", "polygon", False), ("b", "", "polygon", True), ("way", "Tumor", "line", False),
        ("dots", "", "point", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "ring",
    [
        # a spike of a few thousandths of a pixel: with two decimals its sides cross or coincide
        [[0, 0], [10, 0], [10, 4.996], [0.006, 4.9962], [0.004, 4.9988], [10, 5.004], [10, 10], [0, 10]],
        [[0, 0], [10, 0], [10, 10], [5.001, 0.004], [4.999, 0.003], [0, 10]],
        [[0, 0], [100, 0.001], [50, 0.004], [100, 100]],
    ],
)
def test_rounding_leaves_no_invalid_ring(tmp_path, ring):
    polygon = shapely.Polygon(ring)
    assert polygon.is_valid and not shapely.transform(polygon, lambda p: p.round(2)).is_valid, "else it shows nothing"
    found = polygons(written(tmp_path / "a.geojson", [Outline("a", [np.array(ring, float)], "Tumor")]))
    assert found and all(part.is_valid for part in found)
    assert sum(part.area for part in found) == pytest.approx(polygon.area, abs=0.3)


def test_what_is_smaller_than_two_decimals_keeps_more(tmp_path):
    ring = np.array([[0.001, 0.001], [0.003, 0.001], [0.002, 0.004]])
    (found,) = polygons(written(tmp_path / "a.geojson", [Outline("a", [ring], "Tumor")]))
    assert found.is_valid and found.area > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.2, 30.0]))
def test_any_ring_is_written_valid(tmp_path_factory, seed, size):
    rng = np.random.default_rng(seed)
    rings = [rng.normal(0, size, (rng.integers(3, 12), 2)) + 100 for _ in range(rng.integers(1, 3))]
    path = tmp_path_factory.mktemp("ring") / "a.geojson"
    assert all(part.is_valid and part.area > 0 for part in polygons(written(path, [Outline("a", rings, "Tumor")])))


def test_traced_labels_are_whole_numbers_and_locked_as_their_class(tmp_path):
    classes = [DEFAULT_CLASSES[0], LabelClass(value=2, name="Normal", color="#009E73", locked=True)]
    with LabelStore.create(tmp_path / "a.labels", 400, 300) as store:
        store.stroke([[40, 40], [300, 250]], 21.3, 1)
        store.stroke([[140, 140]], 9.1, 2)
        features = written(tmp_path / "a.geojson", labels_to_outlines(store, classes))
        areas = store.areas()
    numbers = [n for f in features for ring in f["geometry"]["coordinates"] for point in ring for n in point]
    assert all(n == int(n) for n in numbers)
    assert sum(part.area for part in polygons(features)) == sum(areas.values())
    assert [f["properties"]["isLocked"] for f in features] == [False, True]
