"""Annotations in and out: real files, one undo step, and a trace that paints the same pixels again."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from opsin.engine.errors import AnnotationError
from opsin.engine.labels.classes import DEFAULT_CLASSES, LabelClass
from opsin.engine.labels.exchange import (
    class_mapping,
    export_annotations,
    import_annotations,
    read_annotations,
    write_annotations,
)
from opsin.engine.labels.geojson import read_geojson
from opsin.engine.labels.mapping import CLEAR, SKIP
from opsin.engine.labels.raster import raster_polygon
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore
from opsin.engine.labels.trace import labels_to_outlines, trace
from opsin.engine.methods.hybrid_wsi.data import SlideSample, rasterise
from opsin.engine.tiles import TilePyramid

from .test_trace import Pixels

SQUARE = np.array([[10.0, 10.0], [200.0, 10.0], [200.0, 200.0], [10.0, 200.0]])
HOLE = np.array([[50.0, 50.0], [50.0, 90.0], [90.0, 90.0], [90.0, 50.0]])


def _pixels(store):
    store.flush()
    return store.region(0, 0, 0, store.width, store.height)


@pytest.mark.parametrize("suffix", [".xml", ".geojson"])
def test_round_trip_keeps_every_pixel_and_holes(tmp_path, suffix):
    with LabelStore.create(tmp_path / "a.labels", 700, 600) as store:
        store.polygon([SQUARE, HOLE], 1)
        store.stroke([[400, 300], [600, 480]], 33, 2)
        store.stroke([[400, 300]], 9, 1)
        expected = _pixels(store)
        assert export_annotations(store, DEFAULT_CLASSES, tmp_path / f"a{suffix}") >= 3
    outlines = read_annotations(tmp_path / f"a{suffix}")
    with LabelStore.create(tmp_path / "b.labels", 700, 600) as store:
        import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        found = _pixels(store)
        assert np.array_equal(found, expected)
        assert store.undo()
        assert not _pixels(store).any(), "an import is one step"


class Canvas:
    """What an import paints on, in place of a label store (which is tested above): one array, the store's own raster."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.pixels = np.zeros((height, width), np.uint8)

    def polygons(self, items, *, text):
        for rings, label in items:
            self.pixels[raster_polygon(rings, "evenodd", 0, 0, self.width, self.height)] = label


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(6, 1, 1, 1), (1, 4, 1, 1), (1, 1, 0, 0), (1, 9, 0, 0)]))
def test_any_pixels_survive_both_formats(tmp_path_factory, seed, weights):
    """Holes, things inside holes, diagonal neighbours: whatever was painted comes back through ASAP and GeoJSON."""
    folder = tmp_path_factory.mktemp("both")
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, (22, 27), p=np.array(weights) / sum(weights)).astype(np.uint8)
    painted = labels_to_outlines(Pixels(truth), DEFAULT_CLASSES)
    for suffix in (".xml", ".geojson"):
        write_annotations(folder / f"a{suffix}", painted)
        outlines = read_annotations(folder / f"a{suffix}")
        random.Random(seed).shuffle(outlines)  # whatever the file's order
        canvas = Canvas(27, 22)
        import_annotations(canvas, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        assert np.array_equal(canvas.pixels, truth), suffix


def test_a_class_called_like_the_group_of_holes_survives_asap(tmp_path):
    classes = [*DEFAULT_CLASSES, LabelClass(value=7, name="Exclusion", color="#000000")]
    with LabelStore.create(tmp_path / "a.labels", 300, 300) as store:
        store.polygon([SQUARE, HOLE], 1)
        store.polygon([HOLE + 140], 7)
        expected = _pixels(store)
        export_annotations(store, classes, tmp_path / "a.xml")
    outlines = read_annotations(tmp_path / "a.xml")
    with LabelStore.create(tmp_path / "b.labels", 300, 300) as store:
        import_annotations(store, outlines, class_mapping(outlines, classes))
        assert np.array_equal(_pixels(store), expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.9]))
def test_trace_of_any_pixels_paints_them_again(tmp_path_factory, seed, share):
    folder = tmp_path_factory.mktemp("trace")
    rng = np.random.default_rng(seed)
    small = rng.random((20, 26)) < share
    truth = np.zeros((1024, 1100), np.uint8)
    truth[500:520, 500:526] = small  # across the corner of four tiles
    with TilePyramid.create(folder / "a.tiles", 1100, 1024) as pyramid:
        with pyramid.transaction():
            for row in range(2):
                for column in range(3):
                    tile = np.zeros((512, 512), np.uint8)
                    part = truth[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
                    tile[: part.shape[0], : part.shape[1]] = part
                    pyramid.write(row, column, tile)
        regions = trace(pyramid, np.arange(256) == 1)
    with LabelStore.create(folder / "b.labels", 1100, 1024) as store:
        if regions:
            store.polygons([(rings, 1) for rings in regions])
        assert np.array_equal(_pixels(store), truth)


def test_real_camelyon_files(data):
    files = sorted((data / "wsi" / "annotations" / "camelyon16").glob("*.xml"))
    assert len(files) >= 8
    for path in files:
        outlines = read_annotations(path)
        mapping = class_mapping(outlines, DEFAULT_CLASSES)
        assert outlines and all(target is not None and target.name == "Tumour" for target in mapping.values()), (
            path.name
        )


def test_real_qupath_files(data):
    folder = data / "wsi" / "annotations" / "geojson"
    assert len(read_geojson(folder / "qupath05.geojson")) >= 1
    assert all(outline.kind == "polygon" for outline in read_geojson(folder / "qupath_polygon.geojson"))


def test_exclusions_are_applied_last(tmp_path):
    outlines = [
        Outline("hole", [SQUARE / 2], "Exclusion", exclude=True),
        Outline("tumour", [SQUARE], "Tumor"),
    ]
    with LabelStore.create(tmp_path / "a.labels", 700, 600) as store:
        report = import_annotations(store, outlines, {"Exclusion": CLEAR, "Tumor": DEFAULT_CLASSES[0]})
        pixels = _pixels(store)
    assert pixels[150, 150] == 1 and pixels[50, 50] == 0
    assert report.counts == {"Tumour": 1} and report.erased == 1 and "1 erased" in report.sentence


def test_what_lies_inside_another_outline_stays_visible(tmp_path):
    inner = SQUARE * 0.2 + 60
    for number, order in enumerate(((0, 1), (1, 0))):
        both = [Outline("normal", [SQUARE], "normal"), Outline("nest", [inner], "Tumor")]
        with LabelStore.create(tmp_path / f"{number}.labels", 300, 300) as store:
            import_annotations(store, [both[i] for i in order], class_mapping(both, DEFAULT_CLASSES))
            pixels = _pixels(store)
        assert pixels[80, 80] == 1 and pixels[20, 20] == 2


@pytest.mark.parametrize("mapping", [{"Tumor": DEFAULT_CLASSES[0]}, {"Tumor": DEFAULT_CLASSES[0], "Gland": SKIP}])
def test_a_class_that_is_left_out_changes_nothing(tmp_path, mapping):
    outlines = [Outline("a", [HOLE + 100], "Tumor"), Outline("b", [SQUARE], "Gland")]
    with LabelStore.create(tmp_path / "a.labels", 300, 300) as store:
        store.polygon([SQUARE], 2)
        report = import_annotations(store, outlines, mapping)
        assert store.areas() == {1: 40 * 40, 2: 190 * 190 - 40 * 40}
    assert report.left_out == {"Gland": 1} and "1 left out ('Gland')" in report.sentence
    assert report.details == ["1 outline of class 'Gland': left out."]


@pytest.mark.parametrize(
    ("names", "says"),
    [(["Gland", "Gland"], "of class 'Gland'"), (["Gland", "Duct"], "'Gland', 'Duct'"), (["None", "Duct"], "'Duct'")],
)
def test_nothing_to_paint_is_said_and_names_the_classes(tmp_path, names, says):
    outlines = [Outline("a", [SQUARE], name) for name in names]
    with LabelStore.create(tmp_path / "a.labels", 300, 300) as store:
        with pytest.raises(AnnotationError, match="Nothing was imported") as caught:
            import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        assert says in str(caught.value) and not store.can_undo


def test_training_on_a_folder_keeps_unknown_areas_out_and_says_so(tmp_path):
    Image.new("RGB", (300, 300), "white").save(tmp_path / "a.png")
    outlines = [Outline("a", [HOLE], "Tumor"), Outline("b", [HOLE + 100], "Gland"), Outline("c", [SQUARE], "Region*")]
    write_annotations(tmp_path / "a.geojson", outlines)
    sample = SlideSample("a", tmp_path / "a.png", label=1, outlined=True, outlines=tmp_path / "a.geojson")
    (said,) = rasterise(sample, tmp_path / "a.labels", list(DEFAULT_CLASSES))
    assert "a.geojson" in said and "'Gland'" in said and "left out of training" in said
    with LabelStore.open(tmp_path / "a.labels", readonly=True) as store:
        assert store.areas() == {1: 40 * 40, 3: 40 * 40}, "neither tumour nor normal tissue"


def test_outlines_beyond_the_slide_are_cut_and_said(tmp_path):
    outlines = [Outline(str(x), [SQUARE + (x, 0)], "Tumor") for x in (-100, 0, 150)]
    with LabelStore.create(tmp_path / "a.labels", 300, 300) as store:
        report = import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        assert store.areas() == {1: 190 * 300}
    assert report.cut == 2 and "2 outlines reach beyond the slide and were cut" in report.sentence


def test_outlines_of_another_slide_are_refused(tmp_path):
    with LabelStore.create(tmp_path / "a.labels", 100, 100) as store:
        with pytest.raises(AnnotationError, match="another slide"):
            import_annotations(store, [Outline("x", [SQUARE + 5000])], {"": DEFAULT_CLASSES[0]})
        assert not store.can_undo


def test_crossing_ring_is_repaired_and_said(tmp_path):
    bow = np.array([[10, 10], [100, 100], [100, 10], [10, 100]], float)
    with LabelStore.create(tmp_path / "a.labels", 200, 200) as store:
        report = import_annotations(store, [Outline("bow", [bow], "Tumor")], {"Tumor": DEFAULT_CLASSES[0]})
        assert len(report.repaired) == 1 and _pixels(store).any()


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "Tumor", "color": [200, 0, 0]}},
        {"classification": {"name": "Tumor", "colorRGB": -3670016}},
        {"classification": "Tumor"},
        {"classification": {"names": ["Tumor"]}},
    ],
)
def test_every_dialect_of_classes(tmp_path, properties):
    ring = [*SQUARE.tolist(), SQUARE[0].tolist()]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}
    (tmp_path / "a.geojson").write_text(json.dumps([feature]))
    (outline,) = read_geojson(tmp_path / "a.geojson")
    assert outline.class_name == "Tumor" and outline.color == "#C80000" and len(outline.rings[0]) == 4


def test_names_with_a_star_keep_their_name(tmp_path):
    ring = [*SQUARE.tolist(), SQUARE[0].tolist()]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    feature["properties"] = {"classification": {"name": "Ignore*", "color": [180, 180, 180]}, "isLocked": True}
    (tmp_path / "a.geojson").write_text(json.dumps([feature]))
    (outline,) = read_geojson(tmp_path / "a.geojson")
    assert outline.class_name == "Ignore*" and outline.locked


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "<a>", "<ASAP_Annotations><x></ASAP_Annotations>", '{"type": "Feat"}', "plain"]
)
def test_malformed_files_are_one_sentence(tmp_path, text):
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match="bad.xml"):
        read_annotations(path)


@pytest.mark.parametrize("suffix", [".xml", ".geojson"])
def test_mutated_files_never_crash(tmp_path, suffix):
    write_annotations(tmp_path / f"a{suffix}", [Outline("a", [SQUARE, HOLE], "Tumor"), Outline("b", [HOLE], "Normal")])
    content = (tmp_path / f"a{suffix}").read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(content)
        for _ in range(generator.randint(1, 8)):
            broken[generator.randrange(len(broken))] = generator.randrange(256)
        if generator.random() < 0.3:
            del broken[generator.randrange(len(broken)) :]
        (tmp_path / "m").write_bytes(broken)
        try:
            read_annotations(tmp_path / "m")
        except AnnotationError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


def test_uniform_tiles_are_traced_by_their_border(tmp_path):
    with LabelStore.create(tmp_path / "a.labels", 40_000, 30_000) as store:
        store.polygon([np.array([[512.0, 512.0], [39_000.0, 512.0], [39_000.0, 29_000.0], [512.0, 29_000.0]])], 1)
        store.flush()
        (outline,) = labels_to_outlines(store, DEFAULT_CLASSES)
    assert len(outline.rings) == 1 and len(outline.rings[0]) == 4
    assert outline.bounds == (512, 512, 39_000, 29_000)
