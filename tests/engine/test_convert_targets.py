"""`opsin convert`: what a target's name means, slides found by name, nothing replaced unasked, failures that name a file once."""

import json

import numpy as np
import pytest
from PIL import Image

from opsin.engine.cli import main
from opsin.engine.labels.exchange import read_annotations, write_annotations
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore
from opsin.engine.tiles import TilePyramid
from opsin.engine.workspace import Workspace

SQUARE = np.array([[10.0, 10.0], [200.0, 10.0], [200.0, 200.0], [10.0, 200.0]])


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A folder to work in: t.labels, and the slide t.png, of 300 x 250 pixels."""
    monkeypatch.chdir(tmp_path)
    with LabelStore.create(tmp_path / "t.labels", 300, 250) as store:
        store.polygon([SQUARE], 1)
        store.flush()
    Image.new("RGB", (300, 250), "white").save("t.png")
    return tmp_path


def opsin(capsys, *words):
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def painted(path):
    (outline,) = read_annotations(path)
    return outline.class_name, outline.bounds


def test_a_name_that_says_mask_makes_a_mask(inside, capsys):
    assert opsin(capsys, "convert", "t.labels", "t-mask.png")[0] == 0
    for name in ("a-mask.tif", "a_mask.png"):
        assert opsin(capsys, "convert", "t-mask.png", name)[0] == 0
        assert painted(name) == ("Tumour", (10, 10, 200, 200))
    plain = np.zeros((250, 300), np.uint8)
    plain[10:200, 10:200] = 1
    Image.fromarray(plain).save("plain.png")
    assert opsin(capsys, "convert", "plain.png", "p-mask.tif")[0] == 0
    assert painted("p-mask.tif")[1] == (10, 10, 200, 200)


def test_a_colour_picture_is_no_mask(inside, capsys):
    colours = np.random.default_rng(0).integers(0, 255, (250, 300, 3), dtype=np.uint8)
    Image.fromarray(colours).save("colours.png")
    status, out, err = opsin(capsys, "convert", "colours.png", "c-mask.tif")
    assert status == 1 and not out and err.count("\n") == 1 and "colours.png" in err
    assert not (inside / "c-mask.tif").exists()


def test_a_heat_map_is_no_mask(inside, capsys):
    TilePyramid.create(inside / "h.heat", 300, 250, base=2, reduce="mean", meta={"kind": "heat"}).close()
    status, _, err = opsin(capsys, "convert", "h.heat", "h-mask.tif")
    assert status == 1 and "probabilities, no classes" in err and not (inside / "h-mask.tif").exists()


def test_json_is_coco_and_geojson_is_geojson(inside, capsys):
    assert opsin(capsys, "convert", "t.labels", "t.json")[0] == 0
    assert opsin(capsys, "convert", "t.labels", "t.geojson")[0] == 0
    assert "annotations" in json.loads((inside / "t.json").read_text())
    assert json.loads((inside / "t.geojson").read_text())["type"] == "FeatureCollection"


def test_geojson_of_opsin_knows_the_size_of_its_slide(inside, capsys):
    assert opsin(capsys, "convert", "t.labels", "t.geojson")[0] == 0
    assert opsin(capsys, "convert", "t.geojson", "w-mask.tif")[0] == 0
    found = read_annotations(inside / "w-mask.tif")
    assert found.size == (300, 250) and found[0].bounds == (10, 10, 200, 200)
    for said in ("x", [1], [0, 5], [True, 5], [1.5, 2], [10**9, 5]):
        (inside / "odd.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "opsin": {"size": said}, "features": [
                {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}}]})
        )  # fmt: skip
        assert read_annotations(inside / "odd.geojson").size is None


def test_through_folders_there_and_back(inside, capsys):
    with Workspace.create(inside / "w") as workspace:
        (item,) = workspace.add([inside / "t.png"])
        workspace.labels(item).polygon([SQUARE], 1)
    assert opsin(capsys, "convert", "w", "out", "--to", "geojson")[0] == 0
    assert opsin(capsys, "convert", "out", "out2", "--to", "mask-tiff")[0] == 0
    assert painted(inside / "out2" / "t-mask.tif") == ("Tumour", (10, 10, 200, 200))
    before = (inside / "out" / "t.geojson").read_bytes()
    status, out, err = opsin(capsys, "convert", "w", "out", "--to", "geojson")
    assert status == 1 and not out and "exists already" in err
    assert (inside / "out" / "t.geojson").read_bytes() == before
    assert opsin(capsys, "convert", "w", "out", "--to", "geojson", "--force")[0] == 0
    assert (inside / "out" / "t.geojson").read_bytes() != before, "ids of objects are new ones"


@pytest.mark.parametrize("to", ["coco", "ome-zarr", "mask-tiff", "mask-png", "labels"])
def test_slides_are_found_by_name_in_a_folder(inside, capsys, to):
    (inside / "in").mkdir()
    (inside / "slides").mkdir()
    for name in ("a", "b", "c"):
        write_annotations(inside / "in" / f"{name}.xml", [Outline("a", [SQUARE], "Tumor")])
    Image.new("RGB", (300, 250)).save(inside / "slides" / "a.png")
    Image.new("RGB", (310, 260)).save(inside / "slides" / "b.png")
    status, out, err = opsin(capsys, "convert", "in", "out", "--to", to, "--slide", "slides")
    assert status == 1 and out.count("\n") == 2 and "No slide in slides is called like c.xml" in err
    sizes = []
    for path in sorted(inside.glob("out/[ab]*")):
        if to == "labels":
            with LabelStore.open(path, readonly=True) as store:
                sizes.append((store.width, store.height))
        elif not path.name.endswith(".classes.json"):
            sizes.append(read_annotations(path).size)
    assert sizes == [(300, 250), (310, 260)]


@pytest.mark.parametrize("name", ["b.geojson", "b-mask.tif", "b.zarr"])
def test_what_is_there_is_replaced_only_when_asked(inside, capsys, name):
    assert opsin(capsys, "convert", "t.labels", name)[0] == 0
    held = [path for path in sorted([inside / name, *(inside / name).rglob("*")]) if path.is_file()]
    before = [path.read_bytes() for path in held]
    status, out, err = opsin(capsys, "convert", "t.labels", name)
    assert status == 1 and not out and "exists already" in err and "--force" in err and err.count("\n") == 1
    assert [path.read_bytes() for path in held] == before
    assert opsin(capsys, "convert", "t.labels", name, "--force")[0] == 0


def test_nothing_is_converted_onto_itself(inside, capsys):
    assert opsin(capsys, "convert", "t.labels", "b.geojson")[0] == 0
    before = (inside / "b.geojson").read_bytes()
    for words in ([], ["--force"]):
        status, _, err = opsin(capsys, "convert", "b.geojson", "b.geojson", *words)
        assert status == 1 and "choose another name" in err
        assert (inside / "b.geojson").read_bytes() == before


def test_a_failure_names_its_file_once_and_subfolders_are_not_searched(inside, capsys):
    (inside / "in" / "deeper").mkdir(parents=True)
    write_annotations(inside / "in" / "deeper" / "a.xml", [Outline("a", [SQUARE], "Tumor")])
    status, _, err = opsin(capsys, "convert", "in", "out", "--to", "geojson")
    assert status == 1 and "subfolders are not searched" in err
    (inside / "in" / "broken.xml").write_text("<ASAP_Annotations><Annot")
    status, _, err = opsin(capsys, "convert", "in", "out", "--to", "geojson")
    assert status == 1 and err.splitlines()[0].count("broken.xml") == 1


def test_a_pyramid_says_that_it_was_encoded_anew(inside, capsys):
    status, out, _ = opsin(capsys, "convert", "t.png", "t.tif")
    assert status == 0 and "encoded anew as JPEG of quality 85" in out
