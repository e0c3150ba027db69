"""What is trained on: the layouts of folders, frozen labels, pixel states, the lists of tiles and their mix."""

import json
import re
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from opsin.engine.errors import RunError
from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.store import LabelStore
from opsin.engine.methods.hybrid_wsi.data import EXCLUDED, UNLABELLED, class_states, open_data
from opsin.engine.methods.hybrid_wsi.heat import SlideHeat, TileScore
from opsin.engine.methods.hybrid_wsi.losses import IGNORED
from opsin.engine.methods.hybrid_wsi.made import MadeSample
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.tiles import EStep, Mix, Opened, Window, fine_windows, label_blocks, quantised
from opsin.engine.workspace import Workspace

STATES = class_states(DEFAULT_CLASSES)
RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=64, scale_augmentation=False, colour_augmentation=False,
    batch_size=4,
)  # fmt: skip


def picture(path: Path, width: int = 200, height: int = 160) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (180, 120, 160)).save(path)
    return path


def asap(path: Path, points: list[tuple[int, int]], group: str = "Tumor") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coordinates = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points))
    path.write_text(
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="{group}" '
        f'Color="#F4FA58"><Coordinates>{coordinates}</Coordinates></Annotation></Annotations><AnnotationGroups>'
        f'<Group Name="{group}" PartOfGroup="None" Color="#F4FA58"><Attributes /></Group></AnnotationGroups>'
        "</ASAP_Annotations>"
    )
    return path


SQUARE = [(20, 30), (60, 30), (60, 70), (20, 70)]


# ---- layouts -----------------------------------------------------------------------------------------------------------


def test_camelyon16_is_found_by_stem_wherever_it_lies(tmp_path):
    for name in ("training/normal/normal_001", "training/tumor/tumor_001", "testing/images/test_001"):
        picture(tmp_path / f"{name}.png")
    for name in ("test_002", "test_049", "test_114"):
        picture(tmp_path / f"testing/images/{name}.png")
    picture(tmp_path / "masks" / "tumor_001_mask.png")
    for name in ("tumor_001", "test_002", "test_114"):
        asap(tmp_path / "annotations" / f"{name}.xml", SQUARE)
    (tmp_path / "testing" / "reference.csv").write_text("test_001,Normal\ntest_002,Tumor,macro\ntest_114,Tumor\n")
    data = open_data(tmp_path)
    found = {s.name: (s.label, s.split, s.outlined, s.outlines is not None) for s in data.samples}
    assert found == {
        "normal_001": (0, "train", False, False),
        "tumor_001": (1, "train", True, True),
        "test_001": (0, "test", False, False),
        "test_002": (1, "test", True, True),
        "test_114": (1, "test", False, True),  # not exhaustively outlined
    }
    assert "CAMELYON" in data.describe() and "test_049" in data.describe()


def test_camelyon17_slide_rows_and_itc(tmp_path):
    for node in range(3):
        picture(tmp_path / f"patient_004_node_{node}.png")
    picture(tmp_path / "patient_150_node_0.png")
    for node in (0, 1):
        asap(tmp_path / f"patient_004_node_{node}.xml", SQUARE, "metastases")
    (tmp_path / "stages.csv").write_text(
        "patient,stage\npatient_004.zip,pN1\npatient_004_node_0.tif,macro\npatient_004_node_1.tif,itc\n"
        "patient_004_node_2.tif,negative\n"
    )
    found = {s.name: s for s in open_data(tmp_path).samples}
    assert [found[f"patient_004_node_{n}"].label for n in range(3)] == [1, 1, 0]
    assert [found[f"patient_004_node_{n}"].outlined for n in range(3)] == [True, False, False]
    assert found["patient_004_node_2"].patient == "patient_004"
    assert found["patient_150_node_0"].label is None and found["patient_150_node_0"].split == "test"


def test_a_folder_with_a_table(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / "slides" / f"{name}.png")
    asap(tmp_path / "outlines" / "a.xml", SQUARE)
    (tmp_path / "labels.csv").write_text(
        "slide;label;split;mpp;outlined\na.png;positive;train;0.5;no\nb.png;0;val;;\nc.png;unknown;;0.25;\n"
    )
    a, b, c = open_data(tmp_path).samples
    assert (a.label, a.split, a.mpp, a.outlined) == (1, "train", 0.5, False)
    assert (b.label, b.split, b.mpp) == (0, "val", None)
    assert (c.label, c.split) == (None, None) and c.trains and not b.trains


def tiff(path: Path, grey: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full((64, 80, 3), grey, np.uint8), tile=(64, 64), photometric="rgb")
    return path


@pytest.mark.parametrize("thumbnail", ["normal_001.png", "a/normal_001.jpg", "thumbs/normal_001.jpg"])
def test_a_thumbnail_never_stands_in_for_its_slide(tmp_path, thumbnail):
    tiff(tmp_path / "slides" / "normal_001.tif")
    picture(tmp_path / thumbnail)
    data = open_data(tmp_path)
    assert [s.path for s in data.samples] == [tmp_path / "slides" / "normal_001.tif"]
    assert f"{Path(thumbnail).name}: pictures with the name of a slide, left out" in data.describe()


def test_a_second_copy_of_a_slide_is_left_out(tmp_path):
    for place in ("a/x.tif", "b/x.tif"):
        tiff(tmp_path / place)
    data = open_data(tmp_path)
    assert [s.path for s in data.samples] == [tmp_path / "a" / "x.tif"] and "x.tif: copies" in data.describe()


@pytest.mark.parametrize("second", ["x.svs", "other/x.tif"])
def test_two_slides_of_one_name_are_never_mixed_up(tmp_path, second):
    tiff(tmp_path / "x.tif")
    tiff(tmp_path / second, 100)
    with pytest.raises(RunError, match=r"Two slides have the same name: .*Keep one"):
        open_data(tmp_path)
    (tmp_path / "labels.csv").write_text(f"path,label\nx.tif,positive\n{second},negative\n")
    found = {s.path.relative_to(tmp_path).as_posix(): s.label for s in open_data(tmp_path).samples}
    assert found == {"x.tif": 1, second: 0}


def test_every_slide_has_an_id_of_its_own(tmp_path):
    tiff(tmp_path / "tumor 1.tif", 1)
    tiff(tmp_path / "tumor_1.tif", 2)
    for number, folder in enumerate(("normal", "tumor")):
        tiff(tmp_path / folder / "s.tif", number + 3)
        asap(tmp_path / folder / "s.xml", SQUARE)
    samples = open_data(tmp_path).samples
    ids = [s.id for s in samples]
    assert len(set(ids)) == len(samples) == 4 and all(re.fullmatch(r"[\w.-]+", id) for id in ids)
    one, other = (s for s in samples if s.path.stem == "s")
    assert (one.name, one.label, one.outlines) == ("normal/s", 0, tmp_path / "normal" / "s.xml")
    assert (other.name, other.label, other.outlines) == ("tumor/s", 1, tmp_path / "tumor" / "s.xml")
    tiff(tmp_path / "0.tif")  # what comes later changes nothing
    assert set(ids) < {s.id for s in open_data(tmp_path).samples}


def test_the_folder_closest_to_the_slide_says_its_label(tmp_path):
    for place in ("cancer/normal/a", "normal/tumor/b", "macro/c", "1/d"):
        picture(tmp_path / f"{place}.png")
    assert {s.name: s.label for s in open_data(tmp_path).samples} == {"a": 0, "b": 1, "c": None, "d": None}


def test_what_an_annotation_file_draws_says_the_label_and_its_mere_presence_nothing(tmp_path):
    for name in "abcdef":
        picture(tmp_path / f"{name}.png")
    asap(tmp_path / "a.xml", SQUARE, "_0")
    asap(tmp_path / "b.xml", SQUARE, "normal")
    (tmp_path / "c.xml").write_text("<ASAP_Annotations><Annotations /><AnnotationGroups /></ASAP_Annotations>")
    (tmp_path / "d.xml").write_text("<Annotations><Annotation><Regions /></Annotation></Annotations>")
    asap(tmp_path / "e.xml", SQUARE).write_text((tmp_path / "a.xml").read_text()[:200])
    asap(tmp_path / "f.xml", SQUARE, "normal")
    (tmp_path / "labels.csv").write_text("slide,outlined\nf,yes\n")
    data = open_data(tmp_path)
    found = {
        "a": (1, True),
        "b": (None, False),
        "c": (None, False),
        "d": (None, False),
        "e": (None, False),
        "f": (0, True),
    }
    assert {s.name: (s.label, s.outlined) for s in data.samples} == found
    snapshot = data.snapshot(tmp_path / "run", 0)
    assert {s.name: (s.label, s.outlined) for s in snapshot.samples} == found
    assert sorted(text[0] for text in snapshot.problems) == ["c", "d", "e"]


def test_words_and_rows_that_are_not_used_are_told(tmp_path):
    for name in "abcdef":
        picture(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text(
        "wsi,patient,label\na.png,P1,malignant\nb.png,P1,benign\nc.png,P2,1.0\nd.png,P2,Carcinoma\ne.png,P3,dubious\n"
        "f.png,P4,tumor\nf.png,P4,normal\nzz.png,P5,tumor\n"
    )
    data = open_data(tmp_path)
    assert [(s.label, s.patient) for s in data.samples] == [
        (1, "P1"), (0, "P1"), (1, "P2"), (1, "P2"), (None, "P3"), (None, None),
    ]  # fmt: skip
    assert "'dubious' (1 row)" in data.describe() and "there is no such slide (zz.png)" in data.describe()
    assert "2 rows are not used, as another row says something else of this slide (f.png, f.png)" in data.describe()


def test_a_folder_without_slides_is_one_clear_sentence(tmp_path):
    with pytest.raises(RunError, match="holds no slides"):
        open_data(tmp_path)
    with pytest.raises(RunError, match="is no folder"):
        open_data(tmp_path / "nowhere")


# ---- snapshots ---------------------------------------------------------------------------------------------------------


def test_foreign_outlines_are_rasterised_into_the_run(tmp_path):
    picture(tmp_path / "data" / "tumor_001.png")
    asap(tmp_path / "data" / "tumor_001.xml", SQUARE)
    picture(tmp_path / "data" / "tumor_002.png")
    (tmp_path / "data" / "tumor_002.xml").write_text("<ASAP_Annotations><Annot")
    snapshot = open_data(tmp_path / "data").snapshot(tmp_path / "run", 0)
    good, bad = snapshot.samples
    with good.open_labels() as labels:
        assert labels.areas() == {1: 40 * 40}
        assert labels.bounds() == (20, 30, 40, 40)
    assert bad.labels is None and not bad.outlined
    assert len(snapshot.problems) == 1 and "tumor_002" in snapshot.problems[0]
    assert {p.name for p in (tmp_path / "data").iterdir()} == {
        f"tumor_00{n}.{e}" for n in (1, 2) for e in ("png", "xml")
    }


@pytest.mark.parametrize("label", ["positive", ""])
@pytest.mark.parametrize("group", ["None", "normal"])
def test_a_file_without_tumour_never_makes_a_positive_slide_negative(tmp_path, group, label):
    """Nor does it make one whose label nobody said; and what has no class is trained neither as tumour nor as tissue."""
    picture(tmp_path / "data" / "a.png")
    asap(tmp_path / "data" / "a.xml", SQUARE, group)
    (tmp_path / "data" / "labels.csv").write_text(f"slide,label\na,{label}\n")
    snapshot = open_data(tmp_path / "data").snapshot(tmp_path / "run", 0)
    (sample,) = snapshot.samples
    assert (sample.label, sample.outlined) == (1 if label else None, False)
    with sample.open_labels() as labels:
        ((value, area),) = labels.areas().items()
    assert (snapshot.states[value], area) == (EXCLUDED if group == "None" else 0, 40 * 40)
    said = " ".join(snapshot.problems)
    assert ("no tumour is outlined" in said) == bool(label) and ("no class" in said) == (group == "None")


@pytest.fixture
def workspace(tmp_path):
    with Workspace.create(tmp_path / "ws") as workspace:
        items = workspace.add([picture(tmp_path / "one.png"), picture(tmp_path / "two.png", 210)])
        workspace.update(items[0].id, label="positive", split="train")
        workspace.update(items[1].id, split="val")
        store = workspace.labels(items[0])
        store.polygon([np.array(SQUARE, float)], 1)
        store.flush()
        yield workspace


def test_a_snapshot_stays_what_it_was_and_the_next_one_has_what_changed(workspace, tmp_path):
    run = tmp_path / "run"
    data = open_data(workspace.folder)
    first = data.snapshot(run, 0)
    item = workspace.items()[0]
    store = workspace.labels(item)
    hash_before = store.content_hash()
    store.polygon([np.array(SQUARE, float) + 50], 2)
    workspace.update(workspace.items()[1].id, label="negative")
    store.flush()
    second = data.snapshot(run, 1)
    again = data.snapshot(run, 0)
    assert again.hash == first.hash != second.hash
    assert [s.label for s in again.samples] == [1, None] and [s.label for s in second.samples] == [1, 0]
    with again.samples[0].open_labels() as old, second.samples[0].open_labels() as new:
        assert old.content_hash() == hash_before
        assert set(old.areas()) == {1} and set(new.areas()) == {1, 2}
    assert store.can_undo  # the user's own store is as it was


def test_unchanged_labels_are_stored_once(workspace, tmp_path):
    data = open_data(workspace.folder)
    for round in range(3):
        data.snapshot(tmp_path / "run", round)
    assert len(list((tmp_path / "run" / "snapshots" / "labels").iterdir())) == 1


def test_a_moved_run_still_finds_its_labels(workspace, tmp_path):
    data = open_data(workspace.folder)
    data.snapshot(tmp_path / "run", 0)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    sample = data.snapshot(tmp_path / "elsewhere", 0).samples[0]
    with sample.open_labels() as labels:
        assert labels.areas() == {1: 1600}


def test_the_slide_label_follows_from_complete_outlines(workspace, tmp_path):
    one, two = workspace.items()
    workspace.update(one.id, label=None)
    workspace.update(two.id, outlined=True)
    workspace.labels(two).polygon([np.array(SQUARE, float)], 2)
    workspace.labels(two).flush()
    assert [s.label for s in open_data(workspace.folder).snapshot(tmp_path / "run", 0).samples] == [1, 0]


def test_the_fingerprint_follows_the_content(workspace):
    first = open_data(workspace.folder).fingerprint()
    assert open_data(workspace.folder).fingerprint() == first
    workspace.labels(workspace.items()[0]).stroke(np.array([[5.0, 5.0]]), 3, 1)
    workspace.labels(workspace.items()[0]).flush()
    second = open_data(workspace.folder).fingerprint()
    workspace.update(workspace.items()[1].id, label="negative")
    assert len({first, second, open_data(workspace.folder).fingerprint()}) == 3


def test_the_table_is_readable_without_opsin(workspace, tmp_path):
    open_data(workspace.folder).snapshot(tmp_path / "run", 0)
    table = json.loads((tmp_path / "run" / "snapshots" / "round_0.json").read_text())
    assert table["samples"][0]["label"] == 1 and table["classes"][0]["name"] == "Tumour" and len(table["hash"]) == 64


# ---- pixel states and tiles --------------------------------------------------------------------------------------------


def painted(path: Path, labels: np.ndarray) -> Path:
    height, width = labels.shape
    with LabelStore.create(path, width, height) as store, store.transaction():
        for row in range(0, height, 512):
            for column in range(0, width, 512):
                tile = np.zeros((512, 512), np.uint8)
                part = labels[row : row + 512, column : column + 512]
                tile[: part.shape[0], : part.shape[1]] = part
                store.write(row // 512, column // 512, tile)
    return path


def sample_of(path: Path, labels: np.ndarray, **facts) -> MadeSample:
    pixels = np.full((*labels.shape, 3), 150, np.uint8)
    store = painted(path / f"{facts['id']}.labels", labels) if labels.any() else None
    return MadeSample(pixels=pixels, truth=labels == 1, labels=store, **facts)


@pytest.mark.parametrize("step", [1, 4, 16, 64])
def test_no_labelled_pixel_is_missed_however_coarse_the_blocks(tmp_path, step):
    labels = np.zeros((700, 1100), np.uint8)
    labels[3, 5], labels[699, 1099], labels[511, 512], labels[300, 40:60] = 1, 1, 2, 3
    with LabelStore.open(painted(tmp_path / "a.labels", labels), readonly=True) as store:
        positive, negative = label_blocks(store, STATES, step)
    expected = np.zeros_like(positive)
    expected[3 // step, 5 // step] = expected[699 // step, 1099 // step] = True
    assert np.array_equal(positive, expected)
    assert np.argwhere(negative).tolist() == [[511 // step, 512 // step]]


def test_windows_of_an_outlined_slide(tmp_path):
    labels = np.zeros((512, 512), np.uint8)
    labels[10:20, 30:40] = 1  # small: one window centred on it
    labels[200:400, 200:400] = 1  # larger than a tile: a grid with stride 48
    labels[450:460, 100:300] = 1  # wide and flat: one window that is not square
    sample = sample_of(tmp_path, labels, id="a", label=1, outlined=True)
    positive, negative = fine_windows(0, Opened([sample], RECIPE), STATES, True)
    small = [w for w in positive if w.y < 100]
    assert [(w.x, w.y, w.width, w.height) for w in small] == [(3, -17, 64, 64)]
    flat = [w for w in positive if w.width > 64]
    assert [(w.x, w.y, w.width, w.height) for w in flat] == [(100, 423, 200, 64)]
    inner = [w for w in positive if w not in small + flat]
    covered = np.zeros((512, 512), bool)
    for w in inner:
        assert 200 <= w.x <= 336 and 200 <= w.y <= 336
        covered[int(w.y) : int(w.y) + 64, int(w.x) : int(w.x) + 64] = True
    assert covered[200:400, 200:400].all() and len({w.x for w in inner}) == 4
    for w in negative:
        box = labels[int(w.y) : int(w.y) + 64, int(w.x) : int(w.x) + 64]
        assert not box.any()
    assert len(negative) > 20


def test_a_partly_outlined_slide_gives_only_windows_with_labels(tmp_path):
    labels = np.zeros((512, 512), np.uint8)
    labels[100:300, 100] = 1  # an L whose bounding box is mostly unlabelled
    labels[300, 100:300] = 1
    labels[400:420, 400:420] = 2
    sample = sample_of(tmp_path, labels, id="a", label=1)
    positive, negative = fine_windows(0, Opened([sample], RECIPE), STATES, False)
    for window in positive + negative:
        x, y = max(0, int(window.x)), max(0, int(window.y))
        assert labels[y : y + int(window.height), x : x + int(window.width)].any()
    assert len(negative) == 1 and 4 < len(positive) < 16


def mix_of(samples, tmp_path, recipe=RECIPE, maps=None):
    """A mix with E-step tiles at (0, 0) and (64, 64) of every slide that has a map."""
    proposals = {}
    for index, p in (maps or {}).items():
        scores = [TileScore(0, 0, 64, float(p.max()), 0, 0), TileScore(64, 64, 64, 0.1, 64, 64)]
        path = tmp_path / f"e{index}.npz"
        EStep.save(path, SlideHeat(scores), recipe.tile_threshold, {(0, 0): quantised(p), (64, 64): quantised(p * 0)})
        proposals[index] = EStep.load(path)
    problems: list[str] = []
    return Mix(Opened(samples, recipe), STATES, recipe, 1, proposals, problems.append)


def test_pixel_states_become_targets(tmp_path):
    labels = np.zeros((128, 128), np.uint8)
    labels[0:10, 0:10], labels[10:20, 0:10], labels[20:30, 0:10] = 1, 2, 3
    partly = sample_of(tmp_path, labels, id="partly", label=1)
    fully = replace(partly, id="fully", outlined=True)
    window = Window(0, 0, 0, 64, 64)
    for sample, unlabelled in ((partly, IGNORED), (fully, 0)):
        target = mix_of([sample], tmp_path).target("fine", window, 0, 0, 64)
        assert (target[0:10, 0:10] == 1).all() and (target[10:20, 0:10] == 0).all()
        assert (target[20:30, 0:10] == IGNORED).all() and (target[40:, 40:] == unlabelled).all()


def test_what_lies_outside_the_slide_does_not_count(tmp_path):
    sample = sample_of(tmp_path, np.zeros((128, 128), np.uint8), id="a", label=0, outlined=True)
    target = mix_of([sample], tmp_path).target("fine", Window(0, -32, 0, 64, 64), -32, 0, 64)
    assert (target[:, :32] == IGNORED).all() and (target[:, 32:] == 0).all()


def test_own_labels_win_over_pseudo_labels(tmp_path):
    labels = np.zeros((128, 128), np.uint8)
    labels[0:8, 0:8], labels[8:16, 0:8], labels[16:24, 0:8] = 1, 2, 3
    sample = sample_of(tmp_path, labels, id="a", label=1)
    p = np.full((32, 32), 0.2)
    p[0, 0] = 1
    target = mix_of([sample], tmp_path, maps={0: p}).target("positive", Window(0, 0, 0, 64, 64, 0), 0, 0, 64)
    assert (target[0:8, 0:8] == 1).all() and (target[8:16, 0:8] == 0).all() and (target[16:24, 0:8] == IGNORED).all()
    np.testing.assert_allclose(target[30:, 30:], 4 * 51 / 255, rtol=1e-6)  # V times 8-bit 0.2
    outlined = replace(sample, outlined=True)
    target = mix_of([outlined], tmp_path, maps={0: p}).target("positive", Window(0, 0, 0, 64, 64, 0), 0, 0, 64)
    assert (target[30:, 30:] == 0).all()


def test_targets_at_another_resolution_agree_with_the_pixels(tmp_path):
    labels = (np.indices((256, 256)).sum(0) // 32 % 2 + 1).astype(np.uint8)
    sample = sample_of(tmp_path, labels, id="a", label=1)
    target = mix_of([sample], tmp_path).target("fine", Window(0, 0, 0, 256, 256), 10, 20, 160)
    at = np.floor((np.arange(64) + 0.5) * 2.5).astype(int)
    expected = (labels[np.ix_(20 + at, 10 + at)] == 1).astype(np.float32)
    assert (target == expected).all()  # the level below the one that would do
    whole = mix_of([sample], tmp_path).target("fine", Window(0, 0, 0, 64, 64), 16, 8, 64)
    assert np.array_equal(whole, labels[8:72, 16:80] == 1)


@pytest.mark.parametrize("step", [1, 1.5, 2, 3, 4, 5.3, 8])
def test_targets_are_not_shifted_at_any_resolution(tmp_path, step):
    """The edge of an outline stands in the target where it was drawn: on average over edges and corners of crops."""
    side, off, rng = 64 * step, [], np.random.default_rng(0)
    unmarked = sample_of(tmp_path, np.zeros((8, 8), np.uint8), id="a", label=1, outlined=True)
    for edge in range(700, 716):
        path = tmp_path / f"{edge}.labels"
        with closing(LabelStore.create(path, 1536, 1536)) as store:
            store.polygon([np.array([[edge, 0], [1536, 0], [1536, 1536], [edge, 1536]], float)], 1)
            store.flush()
        sample = replace(unmarked, labels=path)
        mix = Mix.__new__(Mix)
        mix.opened, mix.states, mix.recipe = Opened([sample], RECIPE), STATES, RECIPE
        mix.opened._slides[0] = (SimpleNamespace(width=1536, height=1536, close=lambda: None), sample.open_labels())
        with closing(mix.opened):
            for x in edge - side / 2 + rng.random(40) * 16:
                target = mix.target("fine", Window(0, x, 100, side, side), x, 100, side)
                off.append((x + (target[0] == 0).sum() * step - edge) / step)
    assert abs(np.mean(off)) < 0.06 and np.abs(off).max() < 0.8, "in pixels of the target"


def world(tmp_path, recipe=RECIPE) -> Mix:
    """An outlined slide with tumour, a positive and a negative slide with one tile each above T."""
    labels = np.zeros((256, 256), np.uint8)
    labels[100:110, 100:110] = 1
    samples = [
        sample_of(tmp_path, labels, id="outlined", label=1, outlined=True),
        sample_of(tmp_path, labels * 0, id="positive", label=1),
        sample_of(tmp_path, labels * 0, id="negative", label=0),
    ]
    return mix_of(samples, tmp_path, recipe, {1: np.full((32, 32), 0.6), 2: np.full((32, 32), 0.6)})


def test_the_mix_has_the_published_shares(tmp_path):
    mix = world(tmp_path)
    rng = np.random.default_rng(0)
    drawn = [mix.draw(rng) for _ in range(30_000)]
    share = {kind: count / len(drawn) for kind, count in Counter(kind for kind, _ in drawn).items()}
    for kind, expected in (("fine", 52 / 101), ("negative", 40 / 101), ("positive", 9 / 101)):
        assert share[kind] == pytest.approx(expected, abs=0.01)
    fine = [w for kind, w in drawn if kind == "fine"]
    holding_tumour = sum(w in mix.fine[0] for w in fine) / len(fine)
    assert holding_tumour == pytest.approx(0.5, abs=0.015)  # each list of outlined tiles gets half


def test_tiles_below_the_threshold_are_removed_and_an_empty_kind_goes_to_the_outlined(tmp_path):
    mix = world(tmp_path)
    assert [len(mix.positive), len(mix.negative)] == [1, 1]
    (tmp_path / "strict").mkdir()
    strict = world(tmp_path / "strict", RECIPE.model_copy(update={"threshold": 0.7}))
    assert [len(strict.positive), len(strict.negative)] == [0, 0]
    rng = np.random.default_rng(0)
    assert {strict.draw(rng)[0] for _ in range(200)} == {"fine"}


def test_a_batch_depends_on_seed_round_and_step_alone(tmp_path):
    mix = world(tmp_path)
    first = mix.batch(7)
    mix.batch(3)
    again = mix.batch(7)
    assert all((first[k] == again[k]).all() for k in first)
    assert first["image"].shape == (4, 3, 64, 64) and first["target"].shape == (4, 64, 64)
    assert any((first[k] != mix.batch(8)[k]).any() for k in first)


def test_states_of_the_default_classes():
    assert STATES[:4].tolist() == [UNLABELLED, 1, 0, EXCLUDED] and (STATES[4:] == EXCLUDED).all()
