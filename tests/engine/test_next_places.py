"""What to look at next and which labels are likely wrong: the formulas, the regions, and what a change paints."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opsin.engine.label_errors import change_labels, label_errors
from opsin.engine.labels.classes import DEFAULT_CLASSES, LabelClass
from opsin.engine.labels.store import LabelStore
from opsin.engine.look import LEFT_OUT, UNDECIDED, class_of, look, region_at
from opsin.engine.methods.hybrid_wsi.data import EXCLUDED, UNLABELLED, class_states
from opsin.engine.next_places import (
    DONE,
    entropy,
    remember,
    remembered,
    sources,
    uncertain_places,
)
from opsin.engine.runs import CHECKPOINT, Run
from opsin.engine.tiles import TilePyramid
from opsin.engine.workspace import Workspace

STATES = class_states(DEFAULT_CLASSES)
SIDE = 256


def heat(path, p: np.ndarray, base: int = 2, side: int = SIDE) -> None:
    """Write a heat map of probabilities [side / base, side / base]; NaN = not computed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.where(np.isnan(p), 0, np.rint(np.nan_to_num(p) * 254) + 1).astype(np.uint8)
    with TilePyramid.create(path, side, side, base=base, reduce="mean", meta={"kind": "heat"}) as pyramid:
        with pyramid.transaction():
            for row in range(0, values.shape[0], 512):
                for column in range(0, values.shape[1], 512):
                    pyramid.write(row // 512, column // 512, values[row : row + 512, column : column + 512])


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


@pytest.fixture
def workspace(tmp_path):
    """Four slides: s0 positive, s1 negative, s2 unknown, s3 positive and held out; a finished run."""
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"s{number}.png")
        Image.fromarray(np.full((SIDE, SIDE, 3), 200 + number, np.uint8)).save(paths[-1])
    with Workspace.create(tmp_path / "ws") as found:
        for item, label in zip(found.add(paths), ("positive", "negative", None, "positive")):
            found.update(item.id, label=label, split="test" if item.name == "s3" else "train")
        folder = found.new_run_folder("hybrid_wsi")
        run = Run(folder)
        run.describe(verb="train", method="hybrid_wsi", preset="tiny")
        run.set_state("done")
        run.close()
        (folder / CHECKPOINT).parent.mkdir(exist_ok=True)
        (folder / CHECKPOINT).write_bytes(b"weights")
        yield found


def ids(workspace) -> dict[str, str]:
    return {item.name: item.id for item in workspace.items()}


def predictions(workspace, maps: dict[str, np.ndarray], scores: dict[str, float] | None = None):
    """Leave predictions of the run; return their source."""
    run = workspace.runs()[0]["folder"].rpartition("/")[2]
    for name, p in maps.items():
        heat(workspace.heatmap_path(run, ids(workspace)[name]), p)
    for name, score in (scores or {}).items():
        workspace.set_score(ids(workspace)[name], run, {"score": score, "source": "x"})
    return next(source for source in sources(workspace) if source.round is None)


def listed(workspace, source):
    found = [place for _, places, problem in uncertain_places(workspace, source, STATES) for place in places]
    return sorted(found, key=lambda place: -place.value)


def test_the_states_are_those_of_the_training():
    assert (UNDECIDED, LEFT_OUT) == (UNLABELLED, EXCLUDED)


def test_entropy_is_one_at_the_threshold():
    p = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert entropy(p, 0.25)[1] == pytest.approx(1)
    assert entropy(p)[[0, 4]] == pytest.approx([0, 0], abs=1e-4)
    assert entropy(p)[1] == pytest.approx(0.8113, abs=1e-4) == entropy(p)[3]
    assert entropy(np.array([0.625]), 0.25)[0] == pytest.approx(0.8113, abs=1e-4)


def test_the_most_uncertain_place_comes_first_and_is_where_it_is(workspace):
    p = np.full((128, 128), 0.01)
    p[32:48, 64:80] = 0.5  # cell (2, 4): level-0 x 128 .. 160, y 64 .. 96
    p[96:112, 16:32] = 0.8
    source = predictions(workspace, {"s0": p, "s2": np.full((128, 128), 0.99)})
    first, second = listed(workspace, source)
    assert (first.name, first.rect) == ("s0", (128, 64, 32, 32)) and first.value == pytest.approx(1, abs=1e-3)
    assert second.rect == (32, 192, 32, 32) and second.value == pytest.approx(0.722, abs=0.01)
    assert first.reason.startswith("uncertain: 1.00 bit")


def test_a_quarter_of_a_cell_is_enough_and_what_is_painted_is_settled(workspace):
    p = np.zeros((128, 128))
    p[0:16, 0:4] = 0.5  # a quarter of cell (0, 0)
    p[64:80, 64:80] = 0.5
    source = predictions(workspace, {"s0": p})
    assert [place.value for place in listed(workspace, source)] == pytest.approx([1, 1], abs=1e-3)
    store = workspace.labels(workspace.items()[0])
    store.polygon([box(100, 100, 180, 180)], 2)
    (left,) = listed(workspace, source)
    assert left.rect == (0, 0, 32, 32)
    workspace.update(ids(workspace)["s0"], outlined=True)
    assert listed(workspace, source) == []


def test_on_a_negative_slide_only_the_contradiction_counts(workspace):
    p = np.full((128, 128), 0.02)
    p[32:48, 64:80] = 0.5
    p[96:112, 16:32] = 0.9
    source = predictions(workspace, {"s1": p})
    assert listed(workspace, source) == [], "no score: nothing speaks against the label"
    predictions_again = workspace.runs()[0]["folder"].rpartition("/")[2]
    workspace.set_score(ids(workspace)["s1"], predictions_again, {"score": 0.95, "source": "x"})
    first, second = listed(workspace, source)
    assert first.rect == (32, 192, 32, 32)
    assert first.value == pytest.approx(0.9 * 0.9, abs=0.01) and second.value == pytest.approx(0.9 * 0.5, abs=0.01)
    assert first.reason == "labelled negative, score 0.95"


def test_neighbouring_cells_are_one_place(workspace):
    p = np.full((128, 128), 0.01)
    p[32:64, 32:64] = 0.5  # four cells that touch
    assert len(listed(workspace, predictions(workspace, {"s0": p}))) == 1


def test_pseudo_labels_of_the_newest_round_are_a_source_while_training(workspace):
    folder = workspace.runs()[0]["folder"]
    p = np.full((128, 128), 0.01)
    for round in (1, 2):
        p[32:48, 64:80] = 0.5 if round == 2 else 0.01
        heat(Path(folder) / "previews" / f"round_{round}" / f"{ids(workspace)['s0']}.heat", p)
    (source,) = sources(workspace)
    assert source.round == 2 and source.title == "Pseudo labels of tiny, round 2" and source.goes_on
    assert [place.name for place in listed(workspace, source)] == ["s0"]


def test_a_damaged_map_is_left_out_with_a_sentence(workspace):
    p = np.full((128, 128), 0.5)
    source = predictions(workspace, {"s0": p, "s2": p})
    source.path(ids(workspace)["s0"]).write_bytes(b"no map")
    found = list(uncertain_places(workspace, source, STATES))
    assert found[-1][0] == 1 and sum(len(places) for _, places, _ in found) > 0
    assert [problem.startswith("s0 is left out: ") for _, _, problem in found] == [True, False]


def test_what_was_looked_at_is_kept_with_the_workspace(workspace):
    remember(workspace, DONE, "a")
    remember(workspace, DONE, "b")
    remember(workspace, DONE, "a", on=False)
    with Workspace.open(workspace.folder) as again:
        assert remembered(again, DONE) == {"b"}


# ---- looks and regions


def test_labels_are_read_at_the_middle_of_each_pixel_of_the_map(tmp_path):
    heat(tmp_path / "a.heat", np.full((32, 32), 0.3), base=8)
    with (
        TilePyramid.open(tmp_path / "a.heat", readonly=True) as pyramid,
        LabelStore.create(tmp_path / "a.labels", SIDE, SIDE) as labels,
    ):
        labels.polygon([box(12, 20, 13, 21)], 1)  # the middle of pixel (2, 1): level-0 pixel (12, 20)
        labels.polygon([box(40, 40, 44, 44)], 2)  # misses the middle of pixel (5, 5), 44
        labels.polygon([box(80, 80, 96, 96)], 3)
        found = look(pyramid, labels, STATES)
        assert found.step == 8 and found.p[0, 0] == pytest.approx(0.3, abs=0.01)
        assert np.argwhere(found.hand == 1).tolist() == [[2, 1]]
        assert not (found.hand == 0).any() and (found.hand == LEFT_OUT).sum() == 4
        part = look(pyramid, labels, STATES, (8, 16, 30, 30))
        assert (part.x, part.y, part.p.shape) == (8, 16, (4, 4)) and part.hand[0, 0] == 1
        coarse = look(pyramid, labels, STATES, side=16)
        assert coarse.step == 8, "a map that fits into one tile has no coarser level"


def test_the_region_under_a_point_is_outlined_as_it_is_drawn(tmp_path):
    """A ring of 0.8 with a hole, over several tiles and windows, beside another region that touches at a corner."""
    p = np.full((1200, 1200), 0.2)
    p[100:1100, 100:1100] = 0.8
    p[300:900, 300:900] = 0.4
    p[1100:1150, 1100:1150] = 0.9
    heat(tmp_path / "a.heat", p, base=1, side=1200)
    with TilePyramid.open(tmp_path / "a.heat", readonly=True) as pyramid:
        found = region_at(pyramid, None, STATES, 150, 700, 0.5)
        assert found.area == 1000**2 - 600**2 and found.rect == (100, 100, 1000, 1000)
        ((outer, hole),) = found.polygons
        assert len(outer) == len(hole) == 4 and found.p == pytest.approx(0.8, abs=0.01)
        assert region_at(pyramid, None, STATES, 500, 500, 0.5) is None
        assert region_at(pyramid, None, STATES, 2000, 500, 0.5) is None
        assert region_at(pyramid, None, STATES, 1120, 1120, 0.5).area == 2500
        assert region_at(pyramid, None, STATES, 500, 500, 0.1).area == 1200**2
        wide = region_at(pyramid, None, STATES, 150, 700, 0.5, side=700)
        assert wide.area == found.area, "at half the resolution: these borders lie on whole pixels of it"


def test_painted_places_do_not_belong_to_a_region(tmp_path):
    heat(tmp_path / "a.heat", np.full((128, 128), 0.9))
    with (
        TilePyramid.open(tmp_path / "a.heat", readonly=True) as pyramid,
        LabelStore.create(tmp_path / "a.labels", SIDE, SIDE) as labels,
    ):
        labels.polygon([box(100, 0, 120, 256)], 2)
        found = region_at(pyramid, labels, STATES, 30, 30, 0.5)
        assert found.rect == (0, 0, 100, 256)
        assert region_at(pyramid, labels, STATES, 110, 30, 0.5) is None


def test_the_class_for_a_role_is_the_current_one_where_it_has_it():
    classes = [
        *DEFAULT_CLASSES,
        LabelClass(value=7, name="Other tumour", color="#123456", role="positive"),
        LabelClass(value=8, name="Locked", color="#123456", role="negative", locked=True),
    ]
    assert class_of(classes, "positive", 7) == 7 and class_of(classes, "positive", 2) == 1
    assert class_of(classes, "negative", 8) == 2 and class_of(classes[:1], "negative") is None


# ---- label errors


def errors(workspace, source):
    found, told, problems = [], [], []
    for _, places, problem, text in label_errors(workspace, source, STATES):
        found += places
        problems += [problem] if problem else []
        told += [text] if text else []
    return sorted(found, key=lambda place: -place.value), told, problems


def painted(workspace, name: str, *regions: tuple[tuple[float, float, float, float], int]) -> LabelStore:
    item = next(item for item in workspace.items() if item.name == name)
    store = workspace.labels(item)
    for corners, value in regions:
        store.polygon([box(*corners)], value)
    store.flush()
    return store


@pytest.fixture
def contradicted(workspace):
    """s0: tumour painted at the upper left, where the network agrees but for a square; normal painted with tumour in it."""
    p = np.full((128, 128), 0.1)
    p[0:40, 0:40] = 0.9
    p[20:30, 20:30] = 0.05  # level 0: 40 .. 60
    p[100:110, 100:110] = 0.95  # level 0: 200 .. 220
    p[60, 60] = 0.99  # a single pixel: a border, or noise
    painted(workspace, "s0", ((0, 0, 80, 80), 1), ((100, 100, 256, 256), 2), ((210, 200, 230, 230), 3))
    return p


def test_contradictions_are_found_with_the_limits_of_each_class(workspace, contradicted):
    source = predictions(workspace, {"s0": contradicted})
    found, told, _ = errors(workspace, source)
    assert {(place.rect, place.given, place.says) for place in found} == {
        ((40, 40, 20, 20), 1, 0),
        ((200, 200, 10, 20), 0, 1),  # the rest is excluded
    }
    assert "training slides among them" in told[-1]
    first = found[0]
    assert first.reason == "labelled positive, network 0.05" and first.kind == "pixels"
    assert first.value == pytest.approx(0.9 * 10, abs=0.1)
    inside = contradicted[0:40, 0:40].mean()
    assert first.limits[1] == pytest.approx(inside, abs=0.01)


def test_held_out_slides_give_the_limits_where_they_can(workspace, contradicted):
    p = np.full((128, 128), 0.3)
    p[0:40, 0:40] = 0.6
    painted(workspace, "s3", ((0, 0, 80, 80), 1), ((100, 100, 256, 256), 2))
    source = predictions(workspace, {"s0": contradicted, "s3": p})
    found, told, _ = errors(workspace, source)
    assert told[-1].endswith(
        "0.60 or more for positive, 0.70 or more for negative: the means over 1 slide held back from training."
    )
    assert {place.name for place in found} == {"s0"}
    assert all(place.limits == pytest.approx((0.7, 0.6), abs=0.01) for place in found)


def test_without_labels_of_both_classes_nothing_is_claimed(workspace):
    painted(workspace, "s0", ((0, 0, 80, 80), 1))
    found, told, _ = errors(workspace, predictions(workspace, {"s0": np.full((128, 128), 0.1)}))
    assert found == [] and told == [
        "No slide with a map carries labels of both classes by hand: there is nothing to compare with."
    ]


def test_slides_whose_label_contradicts_their_score_come_first(workspace, contradicted):
    scores = {"s0": 0.9, "s1": 0.97, "s3": 0.8}
    source = predictions(workspace, {"s0": contradicted}, scores)
    workspace.update(ids(workspace)["s2"], label="negative")
    run = workspace.runs()[0]["folder"].rpartition("/")[2]
    workspace.set_score(ids(workspace)["s2"], run, {"score": 0.05, "source": "x"})
    found, told, _ = errors(workspace, source)
    assert (found[0].kind, found[0].name, found[0].given, found[0].says) == ("slide", "s1", 0, 1)
    assert [place.kind for place in found].count("slide") == 1
    assert found[0].rect == (0, 0, 256, 256) and told[0].startswith("Slides: ")


def test_a_change_paints_what_is_in_doubt_and_nothing_else_as_one_step(workspace, contradicted):
    source = predictions(workspace, {"s0": contradicted})
    found, _, _ = errors(workspace, source)
    store = workspace.labels(workspace.items()[0])
    before = store.content_hash()
    for place, corner, was, now in (
        (next(f for f in found if f.given == 1), (40, 40), 1, 2),
        (next(f for f in found if f.given == 0), (200, 200), 2, 1),
    ):
        assert change_labels(workspace, source, place, STATES, (2, 1)) > 0
        store.flush()
        x, y = corner
        area = store.region(0, x - 2, y - 2, 24, 24)
        expected = np.full((24, 24), was)
        expected[2:22, 2:22] = now
        if was == 2:
            expected[2:, 12:] = 3  # excluded by hand: stays
        assert np.array_equal(area, expected)
        assert change_labels(workspace, source, place, STATES, (2, 1)) == 0
    store.undo()
    store.undo()
    assert store.content_hash() == before


def test_on_a_slide_outlined_completely_what_is_not_painted_counts_as_negative(workspace):
    p = np.full((128, 128), 0.1)
    p[0:40, 0:40] = 0.9
    p[100:110, 100:110] = 0.95
    painted(workspace, "s0", ((0, 0, 80, 80), 1))
    workspace.update(ids(workspace)["s0"], outlined=True)
    source = predictions(workspace, {"s0": p})
    (place,) = errors(workspace, source)[0]
    assert place.rect == (200, 200, 20, 20) and place.reason == "not outlined, network 0.95"
    change_labels(workspace, source, place, STATES, (2, 1))
    store = workspace.labels(workspace.items()[0])
    store.flush()
    assert (store.region(0, 200, 200, 20, 20) == 1).all() and store.areas()[1] == 80 * 80 + 400


def test_a_change_needs_a_class_that_means_it(workspace, contradicted):
    from opsin.engine.errors import OpsinError

    source = predictions(workspace, {"s0": contradicted})
    place = next(f for f in errors(workspace, source)[0] if f.given == 1)
    with pytest.raises(OpsinError, match="No unlocked class means “negative”"):
        change_labels(workspace, source, place, STATES, (None, 1))
