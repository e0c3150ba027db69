"""`opsin convert`: every way, the slide's size, classes by name; a mistake is one sentence and leaves no file."""

import numpy as np
import pytest
from PIL import Image

from opsin.engine.cli import main
from opsin.engine.convert import convert, read_size
from opsin.engine.errors import OpsinError
from opsin.engine.labels.classes import LabelClass
from opsin.engine.labels.exchange import read_annotations, write_annotations
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore
from opsin.engine.workspace import Workspace

SQUARE = np.array([[10.0, 10.0], [200.0, 10.0], [200.0, 200.0], [10.0, 200.0]])


@pytest.fixture
def xml(tmp_path):
    path = tmp_path / "a.xml"
    write_annotations(path, [Outline("a", [SQUARE], "Tumor"), Outline("b", [SQUARE / 4 + 40], "Gland")])
    return path


def areas(path):
    with LabelStore.open(path, readonly=True) as store:
        return (store.width, store.height), store.areas()


def opsin(capsys, *words):
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_there_and_back(tmp_path):
    write_annotations(tmp_path / "a.geojson", [Outline("a", [SQUARE], "Tumor")])
    assert "1 outline" in convert(tmp_path / "a.geojson", tmp_path / "a.xml")
    assert "Imported 1 outline as Tumour" in convert(tmp_path / "a.xml", tmp_path / "a.labels", (300, 300))
    assert "1 outline" in convert(tmp_path / "a.labels", tmp_path / "b.geojson")
    assert areas(tmp_path / "a.labels") == ((300, 300), {1: 190 * 190})
    assert read_annotations(tmp_path / "b.geojson")[0].class_name == "Tumour"


def test_size_in_numbers_or_from_the_slide(tmp_path, xml, capsys):
    assert opsin(capsys, "convert", xml, tmp_path / "b.labels", "--size", "300x250")[0] == 0
    assert areas(tmp_path / "b.labels")[0] == (300, 250)
    Image.new("RGB", (320, 240), "white").save(tmp_path / "s.png")
    status, out, _ = opsin(capsys, "convert", xml, tmp_path / "c.labels", "--slide", tmp_path / "s.png")
    assert status == 0 and areas(tmp_path / "c.labels")[0] == (320, 240)
    assert out.count("\n") == 1 and "1 outline as Tumour" in out and "'Gland'" in out and "--map" in out
    assert {path.name for path in tmp_path.iterdir()} == {"a.xml", "b.labels", "c.labels", "s.png"}


def test_classes_are_mapped_by_name(tmp_path, xml, capsys):
    words = ["--size", "300x300", "--map", "Gland=normal", "--map", "Tumor=skip"]
    assert opsin(capsys, "convert", xml, tmp_path / "b.labels", *words)[0] == 0
    assert list(areas(tmp_path / "b.labels")[1]) == [2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--size WIDTHxHEIGHT"),
        (["--size", "9x9"], "another slide"),
        (["--slide", "missing.svs"], "missing.svs"),
        (["--slide", "a.xml"], "a.xml"),
        (["--slide", "s.png", "--size", "9x9"], "320 x 240"),
        (["--size", "300x300", "--map", "Gland=Foo"], "no class 'Foo'"),
        (["--size", "300x300", "--map", "Foo=Tumour"], "no class 'Foo'"),
        (["--size", "300x300", "--map", "Tumor=skip"], "'Tumor', 'Gland'"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_file(tmp_path, xml, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (320, 240), "white").save("s.png")
    status, out, err = opsin(capsys, "convert", "a.xml", "b.labels", *words)
    assert status == 1 and not out
    assert err.startswith("opsin: ") and err.count("\n") == 1 and says in err, err
    assert {path.name for path in tmp_path.iterdir()} == {"a.xml", "s.png"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--size", "300"], "is no size"),
        (["--size", "0x300"], "0 x 300"),
        (["--mpp", "-1"], "no size of a pixel"),
        (["--simplify", "nan"], "no distance"),
        (["--to", "jpeg"], "no format 'jpeg'"),
    ],
)
def test_wrong_words_are_wrong_usage(tmp_path, xml, capsys, words, says):
    status, out, err = opsin(capsys, "convert", xml, tmp_path / "b.labels", *words)
    assert status == 2 and not out and says in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [xml]


def test_help_says_what_becomes_of_unknown_classes(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "classes whose names mean neither tumour, normal tissue nor an exclusion are left out and named" in text


def test_unknown_classes_alone_are_asked_for(tmp_path, capsys):
    write_annotations(tmp_path / "a.xml", [Outline("b", [SQUARE], "Gland")])
    status, _, err = opsin(capsys, "convert", tmp_path / "a.xml", tmp_path / "b.labels", "--size", "300x300")
    assert status == 1 and "'Gland'" in err and "--map 'Gland=Tumour'" in err and err.count("\n") == 1
    assert not (tmp_path / "b.labels").exists()
    words = ["--size", "300x300", "--map", "Gland=Tumour"]
    assert opsin(capsys, "convert", tmp_path / "a.xml", tmp_path / "b.labels", *words)[0] == 0
    assert areas(tmp_path / "b.labels")[1] == {1: 190 * 190}


def test_labels_that_are_there_are_never_replaced(tmp_path, xml):
    with LabelStore.create(tmp_path / "b.labels", 300, 300) as store:
        store.polygon([SQUARE], 3)
    before = (tmp_path / "b.labels").read_bytes()
    with pytest.raises(OpsinError, match="exists already"):
        convert(xml, tmp_path / "b.labels", (300, 300))
    assert (tmp_path / "b.labels").read_bytes() == before


@pytest.mark.parametrize("content", ["<ASAP_Annotations><Annot", "<a/>", '{"type": "FeatureCollection"', ""])
@pytest.mark.parametrize("target", ["b.labels", "b.geojson", "b.xml"])
def test_a_malformed_source_leaves_nothing(tmp_path, content, target):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(OpsinError, match="a.xml"):
        convert(tmp_path / "a.xml", tmp_path / target, (300, 300) if target == "b.labels" else None)
    assert {path.name for path in tmp_path.iterdir()} == {"a.xml"}


def test_nothing_usable_is_not_written_as_an_empty_file(tmp_path):
    (tmp_path / "a.geojson").write_text('{"type": "Polygon", "coordinates": [[[1, NaN], [2, 2], [3, 1]]]}')
    with pytest.raises(OpsinError, match="no outline that can be used. 'object 1' has coordinates"):
        convert(tmp_path / "a.geojson", tmp_path / "b.xml")
    assert not (tmp_path / "b.xml").exists()


def test_labels_of_a_workspace_keep_their_classes(tmp_path):
    Image.new("RGB", (300, 300), "white").save(tmp_path / "s.png")
    with Workspace.create(tmp_path / "w") as workspace:
        (item,) = workspace.add([tmp_path / "s.png"])
        workspace.set_classes([*workspace.classes, LabelClass(value=7, name="Gland", color="#112233")])
        workspace.labels(item).polygon([SQUARE], 7)
        workspace.labels(item).polygon([SQUARE / 4], 200)
    (store,) = (tmp_path / "w" / "labels").glob("*.labels")
    assert "2 outlines" in convert(store, tmp_path / "b.geojson")
    found = {outline.class_name: outline.color for outline in read_annotations(tmp_path / "b.geojson")}
    assert found["Gland"] == "#112233" and "Class 200" in found, "no label is lost for want of a name"


def test_options_that_would_do_nothing_are_refused(tmp_path, xml):
    with pytest.raises(OpsinError, match="--map"):
        convert(xml, tmp_path / "b.geojson", None, ["Gland=Tumour"])


@pytest.mark.parametrize(
    ("text", "size"), [("300x200", (300, 200)), (" 46000 X 32914 ", (46000, 32914)), ("3×4", (3, 4))]
)
def test_sizes(text, size):
    assert read_size(text) == size


def test_an_impossible_size_is_said_with_the_names_of_the_user(tmp_path, xml, capsys):
    for size, shown in (("0x10", "0 x 10"), ("10x0", "10 x 0"), ("5000000x10", "5000000 x 10")):
        status, _, err = opsin(capsys, "convert", xml, tmp_path / "b.labels", "--size", size)
        assert status == 2 and err.count("\n") == 1 and f"A slide of {shown} pixels" in err
    with pytest.raises(OpsinError, match=r"/b\.labels: a slide of 0 x 10 pixels"):
        convert(xml, tmp_path / "b.labels", (0, 10))
    assert list(tmp_path.iterdir()) == [xml]


# ---- many -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Three annotation files, the second one broken, in a folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "c"):
        write_annotations(folder / f"{name}.xml", [Outline("a", [SQUARE], "Tumor")])
    (folder / "b.xml").write_text("<ASAP_Annotations><Annot")
    return folder


def test_a_broken_file_is_listed_and_the_others_are_written(tmp_path, folder, capsys):
    status, out, err = opsin(capsys, "convert", folder, tmp_path / "out", "--to", "geojson")
    assert status == 1 and out.count("\n") == 2
    assert "b.xml, line 1" in err and "2 done, 1 failed" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.geojson", "c.geojson"}


def test_files_are_named_one_by_one_too(tmp_path, folder, capsys):
    words = [folder / "a.xml", folder / "c.xml", tmp_path / "out", "--to", "mask-png", "--size", "300x250"]
    status, out, err = opsin(capsys, "convert", *words)
    assert status == 0 and not err and out.count("\n") == 2
    with Image.open(tmp_path / "out" / "c-mask.png") as mask:
        assert mask.size == (300, 250) and (np.asarray(mask) != 0).sum() == 190 * 190
    assert opsin(capsys, "convert", tmp_path / "out" / "a-mask.png", tmp_path / "a.coco.json")[0] == 0
    assert read_annotations(tmp_path / "a.coco.json")[0].class_name == "Tumor"


@pytest.mark.parametrize(
    ("words", "says"),
    [(["in"], "and then the target"), (["in", "out"], "--to"), (["in", "in/a.xml", "--to", "geojson"], "is a file")],
)
def test_many_files_need_a_format_and_a_folder(tmp_path, folder, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    status, _, err = opsin(capsys, "convert", *words)
    assert status == 2 and says in err


@pytest.fixture
def workspace(tmp_path):
    """Folder of a closed workspace with slides a, b and c of 300 x 250 pixels; a and b have labels."""
    paths = []
    for number, name in enumerate("abc"):
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (300, 250), (200, 200, number)).save(paths[-1])
    with Workspace.create(tmp_path / "w") as workspace:
        for item in workspace.add(paths)[:2]:
            workspace.labels(item).polygon([SQUARE], 1)
    return tmp_path / "w"


def test_a_workspace_gives_the_labels_of_all_its_slides(tmp_path, workspace, capsys):
    status, _, err = opsin(capsys, "convert", workspace, tmp_path / "out", "--to", "ome-zarr")
    assert status == 0 and not err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a-labels.ome.zarr", "b-labels.ome.zarr"}


def test_files_go_into_the_slides_of_their_names(tmp_path, workspace, capsys):
    write_annotations(tmp_path / "c.xml", [Outline("a", [SQUARE], "Tumor"), Outline("b", [SQUARE / 4 + 40], "Gland")])
    write_annotations(tmp_path / "z.xml", [Outline("a", [SQUARE], "Tumor")])
    words = [tmp_path / "c.xml", tmp_path / "z.xml", "--workspace", workspace, "--map", "Gland=Normal"]
    status, out, err = opsin(capsys, "convert", *words)
    assert status == 1 and "Imported into c: 1 outline as Tumour, 1 as Normal" in out
    assert "No slide of the workspace is called like z.xml" in err
    with Workspace.open(workspace) as opened:
        item = next(item for item in opened.items() if item.name == "c")
        assert set(opened.labels(item).areas()) == {1, 2} and item.marked > 0


def test_a_picture_becomes_a_pyramid(tmp_path, capsys):
    from opsin.engine.data.slides import open_slide

    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((2400, 1800)).save(tmp_path / "a.png")
    assert opsin(capsys, "convert", tmp_path / "a.png", tmp_path / "a.tif", "--mpp", "0.5")[0] == 0
    with open_slide(tmp_path / "a.tif") as slide, open_slide(tmp_path / "a.png") as picture:
        assert (slide.width, slide.height, len(slide.levels)) == (2400, 1800, 2) and slide.mpp == pytest.approx(0.5)
        difference = slide.read(0, 500, 500, 512, 512).astype(int) - picture.read(0, 500, 500, 512, 512)
        assert abs(difference).mean() < 4


class Cropped:
    """What the command asks of a slide with a bounds box."""

    width, height, mpp, bounds = 1000, 900, 0.25, (300, 200, 600, 500)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_coordinates_from_the_bounds_box_there_and_back(tmp_path, capsys, monkeypatch):
    """QuPath's origin out, then in again: to the pixel, and stated in the file."""
    monkeypatch.setattr("opsin.engine.data.slides.open_slide", lambda *_: Cropped())
    (tmp_path / "s.mrxs").touch()
    with LabelStore.create(tmp_path / "a.labels", 1000, 900) as store:
        store.stroke(np.array([[400.0, 300], [700, 500]]), 20.5, 1)
        store.flush()
        expected = store.content_hash()
    for end in ("geojson", "xml"):
        words = ["--slide", tmp_path / "s.mrxs"]
        target = tmp_path / f"b.{end}"
        assert opsin(capsys, "convert", tmp_path / "a.labels", target, *words, "--origin", "bounds")[0] == 0
        found = read_annotations(target)
        assert found.origin == "bounds" and found[0].bounds[0] == 379 - 300 + 1
        assert opsin(capsys, "convert", target, tmp_path / f"{end}.labels", *words)[0] == 0
        with LabelStore.open(tmp_path / f"{end}.labels", readonly=True) as store:
            assert store.content_hash() == expected
        status, _, err = opsin(capsys, "convert", target, tmp_path / "c.labels", "--size", "1000x900")
        assert status == 1 and "name the slide with --slide" in err
