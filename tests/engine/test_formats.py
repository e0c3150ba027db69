"""Every format there and back: no pixel is lost, nothing half-written, nothing of the disk or the patient in a file."""

import json
import re

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from opsin.engine.errors import AnnotationError, Cancelled
from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.coco import coco_outlines, run_lengths, unpacked
from opsin.engine.labels.exchange import class_mapping, import_annotations, read_annotations
from opsin.engine.labels.formats import BY_NAME, FORMATS, Options, export, format_of, is_annotation_file, slide_stem
from opsin.engine.labels.frame import Frame, guessed_origin
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.shapes import Outline, Outlines
from opsin.engine.labels.store import LabelStore

WIDTH, HEIGHT = 620, 530


def painted(path, pixels):
    """A store with these pixels."""
    store = LabelStore.create(path, pixels.shape[1], pixels.shape[0])
    with store.transaction():
        for row in range(-(-pixels.shape[0] // 512)):
            for column in range(-(-pixels.shape[1] // 512)):
                part = pixels[row * 512 : (row + 1) * 512, column * 512 : (column + 1) * 512]
                store.write(row, column, np.ascontiguousarray(part))
    return store


def random_pixels(seed, grain, width=WIDTH, height=HEIGHT):
    random = np.random.default_rng(seed)
    small = random.integers(0, 4, (-(-height // grain), -(-width // grain)), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(grain, 0).repeat(grain, 1)[:height, :width])


def back(path, folder, width=WIDTH, height=HEIGHT, marks=False):
    outlines = read_annotations(path)
    with LabelStore.create(folder / "back.labels", width, height) as store:
        report = import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES), marks=marks)
        store.flush()
        return store.region(0, 0, 0, width, height), report, store.marks()


@given(
    seed=st.integers(0, 2**32 - 1),
    grain=st.sampled_from([5, 9, 31, 90]),
    format=st.sampled_from([*FORMATS, "runs"]),
    bounds=st.sampled_from([None, (37, 61, 500, 400)]),
    size=st.sampled_from([(560, 90), (90, 560)]),
)
@settings(max_examples=24, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_labels_survive_any_format_to_the_pixel(tmp_path_factory, seed, grain, format, bounds, size):
    folder = tmp_path_factory.mktemp("any")
    pixels = random_pixels(seed, grain, *size)
    options = Options(runs=format == "runs")
    kind = BY_NAME["coco"] if format == "runs" else format
    frame = Frame(mpp=0.25, bounds=bounds, origin="bounds" if bounds else "slide")
    with painted(folder / "a.labels", pixels) as store:
        export(store, DEFAULT_CLASSES, folder / f"a{kind.ending}", kind, frame, options)
    outlines = read_annotations(folder / f"a{kind.ending}")
    assert outlines.origin == (frame.origin if kind.has_origin else "slide")
    if outlines.origin == "bounds":
        outlines = outlines.moved(*bounds[:2])
    with LabelStore.create(folder / "b.labels", *size) as store:
        import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        store.flush()
        assert (store.region(0, 0, 0, *size) == pixels).all()
        store.undo()
        store.flush()
        assert not store.areas(), "an import is one step"


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_no_path_and_no_name_of_a_slide_is_in_any_file(tmp_path, kind):
    folder = tmp_path / "Jane Doe"
    folder.mkdir()
    with painted(folder / "Jane Doe 1960.labels", random_pixels(1, 50)) as store:
        store.add_marks([Mark("marker", ((5.0, 5.0),), note="here", author="drwho")])
        target = folder / f"x{kind.ending}"
        done = export(store, DEFAULT_CLASSES, target, kind, Frame(mpp=0.5))
    files = [
        path for path in folder.rglob("*") if path.is_file() and "labels" not in path.suffixes and path != store.path
    ]
    files = [path for path in files if not path.name.startswith("Jane Doe 1960")]
    assert files and done.outlines != 0
    for path in files:
        content = path.read_bytes()
        assert not re.search(rb"Jane|/tmp|drwho", content), path


def test_the_mask_tiff_is_a_pyramid_that_any_reader_opens(tmp_path):
    pixels = random_pixels(2, 7, 1300, 1100)
    with painted(tmp_path / "a.labels", pixels) as store:
        export(store, DEFAULT_CLASSES, tmp_path / "a-mask.tif", BY_NAME["mask-tiff"], Frame(mpp=0.25))
    with tifffile.TiffFile(tmp_path / "a-mask.tif") as tiff:
        page = tiff.pages[0]
        assert (page.tilewidth, page.dtype, page.compression.name) == (512, np.uint8, "ADOBE_DEFLATE")
        assert (page.asarray() == pixels).all()
        assert (tiff.pages[1].asarray() == pixels[::2, ::2]).all() and tiff.pages[1].subfiletype == 1
        number, parts = page.tags["XResolution"].value
        assert number / parts == pytest.approx(40_000) and page.tags["ResolutionUnit"].value == 3
    table = json.loads((tmp_path / "a-mask.classes.json").read_text())
    assert [entry["name"] for entry in table["classes"]] == ["Tumour", "Normal", "Exclude"]
    assert table["origin"] == "slide" and table["size"] == [1300, 1100]
    (tmp_path / "a-mask.classes.json").unlink()
    assert {o.class_name for o in read_annotations(tmp_path / "a-mask.tif")} == {"Tumour", "Normal", "Exclude"}


def test_ome_zarr_follows_the_rules_of_ngff(tmp_path):
    pixels = random_pixels(3, 11, 1300, 1100)
    with painted(tmp_path / "a.labels", pixels) as store:
        export(store, DEFAULT_CLASSES, tmp_path / "a-labels.ome.zarr", BY_NAME["ome-zarr"], Frame(mpp=0.25))
    group = zarr.open_group(tmp_path / "a-labels.ome.zarr", mode="r")
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5" and group.metadata.zarr_format == 3
    (scale,) = ome["multiscales"]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in scale["axes"]] == [
        ("y", "space", "micrometer"), ("x", "space", "micrometer"),
    ]  # fmt: skip
    for level, dataset in enumerate(scale["datasets"]):
        (step,) = dataset["coordinateTransformations"]
        assert step == {"type": "scale", "scale": [0.25 * 2**level] * 2}
        array = group[dataset["path"]]
        assert array.dtype == np.uint8 and array.metadata.dimension_names == ("y", "x")
        assert (array[:] == pixels[:: 2**level, :: 2**level]).all()
    label = ome["image-label"]
    values = [[entry["label-value"] for entry in label[key]] for key in ("colors", "properties")]
    assert values == [[1, 2, 3], [1, 2, 3]] and all(len(entry["rgba"]) == 4 for entry in label["colors"])


def test_labels_go_below_an_image_and_its_list_names_them(tmp_path):
    image = zarr.open_group(tmp_path / "slide.ome.zarr", mode="w")
    axes = [{"name": name, "type": "channel" if name == "c" else "space"} for name in "czyx"]
    scale = {
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1] * 4}]}],
    }
    image.attrs["ome"] = {"version": "0.5", "multiscales": [scale]}
    image.create_array("0", shape=(3, 1, HEIGHT, WIDTH), dtype="u1", chunks=(1, 1, 256, 256))
    other = zarr.open_group(tmp_path / "slide.ome.zarr" / "labels", mode="w")
    other.attrs["ome"] = {"version": "0.5", "labels": ["nuclei"]}
    pixels = random_pixels(4, 13)
    with painted(tmp_path / "a.labels", pixels) as store:
        for _ in range(2):  # written again, it replaces itself
            export(store, DEFAULT_CLASSES, tmp_path / "slide.ome.zarr", BY_NAME["ome-zarr"], Frame())
    labels = zarr.open_group(tmp_path / "slide.ome.zarr" / "labels", mode="r")
    assert labels.attrs["ome"]["labels"] == ["nuclei", "annotations"]
    assert labels["annotations"].attrs["ome"]["image-label"]["source"] == {"image": "../../"}
    assert labels["annotations/0"].shape == (1, HEIGHT, WIDTH)
    assert (back(tmp_path / "slide.ome.zarr", tmp_path)[0] == pixels).all()
    assert image["0"].shape == (3, 1, HEIGHT, WIDTH)


def test_version_04_is_read(tmp_path):
    pixels = random_pixels(5, 17)
    old = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    scale = {"type": "scale", "scale": [1, 1]}
    old.attrs["multiscales"] = [
        {"version": "0.4", "axes": [{"name": "y"}, {"name": "x"}],
         "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    ]  # fmt: skip
    names = ("Tumour", "Normal", "Exclude")
    old.attrs["image-label"] = {"properties": [{"label-value": k, "class": name} for k, name in enumerate(names, 1)]}
    array = old.create_array("0", shape=pixels.shape, dtype="u2", chunks=(100, 130))
    array[:] = pixels
    assert (back(tmp_path / "a.zarr", tmp_path)[0] == pixels).all()


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    folder = tmp_path / "a.ome.zarr"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    with (
        painted(tmp_path / "a.labels", random_pixels(1, 50)) as store,
        pytest.raises(AnnotationError, match="exists already"),
    ):
        export(store, DEFAULT_CLASSES, folder, BY_NAME["ome-zarr"], Frame())
    assert (folder / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind.name != "mask-png"], ids=lambda kind: kind.name)
def test_a_cancelled_export_leaves_nothing(tmp_path, kind):
    def stop(done, total):
        raise Cancelled

    with painted(tmp_path / "a.labels", random_pixels(1, 50)) as store, pytest.raises(Cancelled):
        export(store, DEFAULT_CLASSES, tmp_path / f"x{kind.ending}", kind, Frame(), progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["a.labels"]


def test_a_large_sparse_slide_stays_small_in_memory_and_on_disk(tmp_path):
    import tracemalloc

    with LabelStore.create(tmp_path / "a.labels", 100_000, 80_000) as store:
        store.stroke(np.array([[90_000.0, 70_000.0], [91_000.0, 70_300.0]]), 150, 1)
        store.polygon([np.array([[100.0, 100], [3000, 100], [3000, 2000], [100, 2000]])], 2)
        store.flush()
        expected = store.content_hash()
        tracemalloc.start()
        target = tmp_path / "a-labels.ome.zarr"
        export(store, DEFAULT_CLASSES, target, BY_NAME["ome-zarr"], Frame(mpp=0.25))
        outlines = read_annotations(target)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 250e6, f"{peak / 1e6:.0f} MB"
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) < 3e6
    with LabelStore.create(tmp_path / "b.labels", 100_000, 80_000) as store:
        import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES))
        assert store.content_hash() == expected


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, np.uint8),
        ({"tile": (240, 176)}, np.uint8),
        ({"rowsperstrip": 37}, np.uint16),
        ({"tile": (1024, 1024)}, np.uint16),
    ],
)
def test_masks_of_other_programs(tmp_path, options, dtype):
    pixels = random_pixels(6, 8)
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype) * 40, compression="zlib", **options)
    (tmp_path / "a.classes.json").write_text(json.dumps({"40": "Tumour", "80": "Normal", "120": "Exclude"}))
    assert (back(tmp_path / "a.tif", tmp_path)[0] == pixels).all()


def test_a_mask_of_every_fourth_pixel_is_enlarged_and_another_shape_refused(tmp_path):
    pixels = random_pixels(7, 8)
    Image.fromarray(pixels[::4, ::4]).save(tmp_path / "a.png")
    (tmp_path / "a.classes.json").write_text(json.dumps({"1": "Tumour", "2": "Normal", "3": "Exclude"}))
    found, report, _ = back(tmp_path / "a.png", tmp_path)
    assert (found == pixels).all() and "scaled by 4" in report.repaired[-1]
    with LabelStore.create(tmp_path / "c.labels", 700, 700) as store:
        with pytest.raises(AnnotationError, match="does not fit a slide of 700 x 700"):
            import_annotations(store, read_annotations(tmp_path / "a.png"), {"Tumour": DEFAULT_CLASSES[0]})


def test_objects_by_number_become_one_class_and_the_report_says_so(tmp_path):
    cells = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40).repeat(4, 0).repeat(4, 1)
    tifffile.imwrite(tmp_path / "a.tif", cells)
    outlines = read_annotations(tmp_path / "a.tif")
    assert {o.class_name for o in outlines} == {"Objects"} and "more than 64 values" in outlines.repaired[0]
    Image.fromarray((cells > 9).astype(np.uint8) * 255).save(tmp_path / "b.png")
    assert {o.class_name for o in read_annotations(tmp_path / "b.png")} == {""}, "one value without a table has no name"


def test_noise_is_no_mask(tmp_path):
    """A photograph taken for a mask would give a million outlines: one sentence at once instead."""
    noise = np.random.default_rng(0).integers(0, 16, (900, 900), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with pytest.raises(AnnotationError, match="change from pixel to pixel"):
        read_annotations(tmp_path / "a.png")
    steps = np.arange(100, dtype=np.uint8).repeat(20)[None].repeat(50, 0)
    Image.fromarray(steps).save(tmp_path / "b.png")
    (tmp_path / "b.classes.json").write_text('{"1": "Tumour"}')
    with pytest.raises(AnnotationError, match="more than 64 values that its table of classes does not name"):
        read_annotations(tmp_path / "b.png")


def test_marks_travel_with_geojson_and_asap(tmp_path):
    marks = [
        Mark("marker", ((10.0, 20.0),), label=1, note="mitosis"),
        Mark("ruler", ((5.0, 5.0), (50.0, 60.0))),
        Mark("area", ((1.0, 1.0), (9.0, 1.0), (9.0, 9.0))),
        Mark("roi", ((0.0, 0.0), (300.0, 0.0), (300.0, 300.0), (0.0, 300.0)), (((5.0, 5.0), (9.0, 5.0), (9.0, 9.0)),)),
    ]
    with LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT) as store:
        store.add_marks(marks)
        store.polygon([np.array([[100.0, 100], [200, 100], [200, 200], [100, 200]])], 2)
        for name in ("geojson", "asap"):
            frame = Frame(bounds=(30, 40, 500, 400), origin="bounds")
            done = export(store, DEFAULT_CLASSES, tmp_path / f"a{BY_NAME[name].ending}", BY_NAME[name], frame)
            assert (done.outlines, done.marks) == (1, 4)
        done = export(store, DEFAULT_CLASSES, tmp_path / "a.coco.json", BY_NAME["coco"], Frame())
        assert done.left_out == 4 and "4 marks left out" in done.sentence
    outlines = read_annotations(tmp_path / "a.geojson").moved(30, 40)
    with LabelStore.create(tmp_path / "b.labels", WIDTH, HEIGHT) as store:
        report = import_annotations(store, outlines, class_mapping(outlines, DEFAULT_CLASSES), marks=True)
        found = store.marks()
        assert [(m.kind, m.points, m.holes, m.label, m.note) for m in found] == [
            (m.kind, m.points, m.holes, m.label, m.note) for m in marks
        ]
        assert store.areas() == {2: 10_000} and report.marks == 4 and "4 marks" in report.sentence
        store.undo()
        store.flush()
        assert not store.marks() and not store.areas(), "pixels and marks are one step"
    kinds = [o.mark for o in read_annotations(tmp_path / "a.xml") if o.mark]
    assert {"marker", "ruler", "area", "roi"} == set(kinds)


def test_simplified_outlines_differ_by_no_more_than_the_tolerance(tmp_path):
    import shapely

    with LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT) as store:
        store.stroke(np.array([[100.0, 100], [500, 400]]), 80, 1)
        for name, tolerance in (("a", 0.0), ("b", 2.0)):
            export(
                store, DEFAULT_CLASSES, tmp_path / f"{name}.geojson", BY_NAME["geojson"], Frame(), Options(tolerance)
            )
    exact, fewer = (read_annotations(tmp_path / f"{name}.geojson")[0].rings[0] for name in "ab")
    assert len(fewer) < len(exact) / 4
    assert shapely.hausdorff_distance(shapely.LinearRing(exact), shapely.LinearRing(fewer)) <= 2.0


def test_real_coco(data):
    content = json.loads((data / "det" / "coco_mini" / "instances.json").read_text())
    crowd = next(entry for entry in content["annotations"] if entry["iscrowd"])
    name = next(image["file_name"] for image in content["images"] if image["id"] == crowd["image_id"])
    outlines = coco_outlines(content, "instances.json", name.partition(".")[0])
    assert outlines.size is not None and not outlines.skipped
    title = next(entry["name"] for entry in content["categories"] if entry["id"] == crowd["category_id"])
    parts = [o for o in outlines if o.name == f"{title} {crowd['id']}"]
    height, width = crowd["segmentation"]["size"]
    total = sum(sum(run_lengths(part, width, height)[1::2]) for part in parts)
    assert total == sum(crowd["segmentation"]["counts"][1::2])
    with pytest.raises(AnnotationError, match="pictures"):
        coco_outlines(content, "instances.json")


def test_run_lengths_as_text():
    # 6, 1, 40, 4, 5, 4, 5, 4, 21: the fourth and later ones are differences to the one before the last
    assert unpacked("61X13mN000`0").tolist() == [6, 1, 40, 4, 5, 4, 5, 4, 21]


def test_ellipses_planes_and_old_spellings_of_qupath(tmp_path):
    ring = [[0, 50], [100, 0], [200, 50], [100, 100], [0, 50]]
    old = [
        {"type": "Feature", "id": "PathDetectionObject",
         "geometry": {"type": "Polygon", "coordinates": [ring], "isEllipse": True},
         "properties": {"name": "e", "measurements": [{"name": "Area", "value": 3.5}, {"name": "Odd", "value": "NaN"}],
                        "classification": {"name": "Tumor", "colorRGB": -3670016}},
         "childObjects": [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}]},
        {"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": [
            {"type": "MultiPolygon", "coordinates": [[ring], [[[300, 0], [310, 0], [310, 9], [300, 0]]]]}]},
         "properties": {"object_type": "annotation", "metadata": {"a": "b"}}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring], "plane": {"c": -1, "z": 3, "t": 0}},
         "properties": {"name": "deep"}},
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(old))
    found = read_annotations(tmp_path / "a.json")
    assert [(o.kind, o.object_type) for o in found] == [
        ("ellipse", "detection"), ("point", "annotation"), ("polygon", "annotation"), ("polygon", "annotation"),
    ]  # fmt: skip
    x, y = found[0].rings[0].T
    assert found[0].bounds == (0, 0, 200, 100)
    area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    assert area == pytest.approx(np.pi * 100 * 50, rel=1e-3)
    assert found[0].measurements["Area"] == 3.5 and np.isnan(found[0].measurements["Odd"])
    assert found[2].metadata == {"a": "b"}
    assert found.skipped == ["'deep' lies in another plane (z 3, t 0)."]


def test_the_origin_is_guessed_only_where_everything_would_miss_the_tissue():
    bounds = (1000, 2000, 500, 500)
    ring = np.array([[10.0, 10], [50, 10], [50, 50]])
    outlines = Outlines([Outline("a", [ring])])
    assert guessed_origin(outlines, bounds, None, 1.0) == "bounds"
    assert guessed_origin(outlines.moved(1000, 2000), bounds, None, 1.0) == "slide"
    tissue = np.zeros((30, 30), bool)
    tissue[20:22, 10:12] = True
    assert guessed_origin(outlines, bounds, tissue, 100.0) == "bounds"
    tissue[:] = False
    assert guessed_origin(outlines, bounds, tissue, 100.0) == "slide", "no guess without a reason"
    outlines.origin = "slide"
    assert guessed_origin(outlines, bounds, None, 1.0) == "slide", "what the file says goes first"


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.geojson", "geojson"), ("a.json", "coco"), ("a.coco.json", "coco"), ("A.XML", "asap"), ("a.ome.zarr", "ome-zarr"),
     ("a.tif", "mask-tiff"), ("a.png", "mask-png")],
)  # fmt: skip
def test_names_say_the_format(tmp_path, name, format):
    assert format_of(tmp_path / name).name == format
    assert slide_stem(tmp_path / name).lower() == "a"
    assert slide_stem(tmp_path / f"b-mask{name[1:]}") == "b"
    assert format_of(tmp_path / "a.doc") is None


def test_slides_are_no_masks(tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "labels.png")
    tifffile.imwrite(tmp_path / "a-mask.tif", np.zeros((20, 20), np.uint8))
    assert not is_annotation_file(tmp_path / "labels.png") and not is_annotation_file(tmp_path / "a-mask.tif")
    with painted(tmp_path / "a.labels", random_pixels(1, 50)) as store:
        export(store, DEFAULT_CLASSES, tmp_path / "b-mask.png", BY_NAME["mask-png"], Frame())
    assert is_annotation_file(tmp_path / "b-mask.png")


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_damaged_files_are_one_sentence(tmp_path, kind):
    """A bounded share of the fuzz run: bytes flipped, files cut off."""
    with painted(tmp_path / "a.labels", random_pixels(8, 40, 300, 200)) as store:
        export(store, DEFAULT_CLASSES, tmp_path / f"a{kind.ending}", kind, Frame())
    target = tmp_path / f"a{kind.ending}"
    (tmp_path / "a-mask.classes.json").unlink(missing_ok=True)
    parts = sorted(path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
    random = np.random.default_rng(0)
    for part in parts:
        good = part.read_bytes()
        for _ in range(40 // len(parts) + 2):
            bad = bytearray(good)
            for place in random.integers(0, len(bad), 3):
                bad[place] = random.integers(0, 256)
            part.write_bytes(bytes(bad[: random.integers(1, len(bad) + 1)] if random.random() < 0.3 else bad))
            try:
                read_annotations(target)
            except AnnotationError as error:
                assert "\n" not in str(error) and len(str(error)) < 500
        part.write_bytes(good)
    assert read_annotations(target)


def test_declared_sizes_are_checked_before_anything_is_made(tmp_path):
    (tmp_path / "a.json").write_text(
        '{"images": [{"id": 1, "width": 1e30, "height": 9}], "annotations": [{"image_id": 1, '
        '"segmentation": {"size": [4000000, 4000000], "counts": [0, 16000000000000]}}], "categories": []}'
    )
    with pytest.raises(AnnotationError, match="pixels"):
        read_annotations(tmp_path / "a.json")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    scale = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"version": "0.5", "image-label": {}, "multiscales": [scale]}
    group.create_array("0", shape=(10**9, 10**9), dtype="u1", chunks=(512, 512))
    with pytest.raises(AnnotationError, match="1,000,000,000 x"):
        read_annotations(tmp_path / "a.zarr")
