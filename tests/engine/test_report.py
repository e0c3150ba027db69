"""The report: figures that agree with the panel's, slides by number, nothing of the file's own pictures and paths."""

import re

import numpy as np
import pytest
from PIL import Image

from opsin.engine.cli import main
from opsin.engine.errors import OpsinError, RunError
from opsin.engine.files import write_json
from opsin.engine.judgement import ScoreRow, score_digits
from opsin.engine.metrics.roc import auc, curve_band, wilson
from opsin.engine.report import chosen_for_pictures, collect, write_report
from opsin.engine.report_pictures import slide_pictures
from opsin.engine.runs import Run
from opsin.engine.tiles import TilePyramid
from opsin.engine.workspace import Workspace

RUN = "first"
SCORES = {"a": 0.9, "b": 0.7, "c": 0.2, "d": 0.8, "e": 0.1, "f": None, "g": 0.3}
LABELS = dict.fromkeys("abc", "positive") | dict.fromkeys("de", "negative") | {"f": "negative", "g": None}


@pytest.fixture
def workspace(tmp_path):
    """Seven slides scored by one run: c is missed and sets the threshold, d is a false alarm, f has no tissue, h failed."""
    paths = []
    for number, name in enumerate("abcdefgh"):
        path = tmp_path / "Jane Doe" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((96, 128, 3), 200 - number, np.uint8)).save(path)
        paths.append(path)
    with Workspace.create(tmp_path / "w") as made:
        folder = made.folder / "runs" / RUN
        run = Run(folder)
        run.describe(
            method="hybrid_wsi", verb="train", preset="quick", recipe={"mpp": 0.5, "tile": 256, "rounds": 7},
            metrics={"loss": 0.25}, device="cpu", seed=7, fingerprint="f00d" * 8, versions={"torch": "2.15.0"},
        )  # fmt: skip
        run.set_state("done")
        run.close()
        for item in made.add(paths):
            made.update(item.id, label=LABELS.get(item.name), split="test")
            if item.name == "h":
                write_json(made.folder / "heatmaps" / RUN / "items" / f"{item.id}.json",
                           {"state": "failed", "error": "Jane Doe/h.png cannot be read."})  # fmt: skip
                continue
            source = "no tissue found" if item.name == "f" else "top-K classifier"
            made.set_score(item.id, RUN, {"score": SCORES[item.name], "source": source, "area": 0.5})
            heat = made.heatmap_path(RUN, item.id)
            heat.parent.mkdir(parents=True, exist_ok=True)
            with TilePyramid.create(heat, 128, 96, base=1, reduce="mean", meta={"kind": "heat"}) as pyramid:
                pixels = np.zeros((512, 512), np.uint8)
                pixels[:48, :64] = 240
                with pyramid.transaction():
                    pyramid.write(0, 0, pixels)
        yield made


def written(workspace, tmp_path, **options):
    target = tmp_path / "report.html"
    return write_report(workspace, RUN, target, **options), target.read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_scores(workspace, tmp_path):
    report, page = written(workspace, tmp_path, threshold=0.5)
    labels, scores = np.array([1, 1, 1, 0, 0], bool), np.array([0.9, 0.7, 0.2, 0.8, 0.1])
    assert f"ROC curve {auc(labels, scores):.3f}" in page
    assert "specificity is 0.500 (1 of 2; " in page and "The threshold is 0.200" in page
    matrix = re.search(r'<table class="matrix">.*?</table>', page, re.S)[0]
    assert re.findall(r"<td class='(\w+)'>(\d)", matrix) == [("good", "2"), ("bad", "1"), ("bad", "1"), ("good", "1")]
    low, high = wilson(2, 3)
    assert f"0.667 (2 of 3; {low:.2f} to {high:.2f})" in page
    assert report.judged.setter == "c" and f"set by <b>{report.numbers[report.judged.setter_row.item]}</b>" in page
    assert page.count('<polygon class="band"') == 1


def test_one_slide_of_a_kind_has_no_interval(workspace, tmp_path):
    for item in workspace.items():
        if item.name in "bcd":
            workspace.update(item.id, label=None)
    _, page = written(workspace, tmp_path)
    assert "Area under the ROC curve 1.000</b>, 95 % interval n/a" in page and "bootstrap" not in page


def test_names_and_paths_stay_out_unless_names_are_asked_for(workspace, tmp_path):
    report, page = written(workspace, tmp_path)
    assert "Jane" not in page and str(tmp_path) not in page and "Slide 1" in page
    assert set(report.numbers.values()) == {f"Slide {n}" for n in range(1, 9)}
    assert "its prediction failed" in page and "no tissue found" in page
    report, page = written(workspace, tmp_path, names=True)
    assert str(tmp_path) not in page and "set by <b>c</b>" in page and "h.png cannot be read" in page


def test_the_card_says_what_the_network_is(workspace, tmp_path):
    _, page = written(workspace, tmp_path)
    for words in (
        "arXiv 2107.00934",
        "0.5 µm per pixel",
        "torch 2.15.0",
        "<td>7</td>",
        "f00df00df00df00d",
        "not for diagnosis",
    ):
        assert words in page, words
    assert re.search(r"<tr><td>Rounds</td><td>7</td><td>\d+</td></tr>", page)


def test_pictures_show_the_mistakes_and_the_map(workspace, tmp_path):
    report, page = written(workspace, tmp_path, threshold=0.5, map_threshold=0.9)
    why = {report.numbers[id]: words for id, words, _, _ in report.pictures}
    names = {item.id: item.name for item in workspace.items()}
    by_name = {names[id]: words for id, words, _, _ in report.pictures}
    assert by_name["c"].startswith("sets the threshold") and by_name["d"] == "false alarm"
    assert list(by_name)[:2] == ["c", "d"] and "h" not in by_name
    assert page.count("data:image/jpeg") == 2 * len(why)
    plain, over = report.pictures[0][2:]
    assert (plain[:40, :60] != over[:40, :60]).any() and np.array_equal(plain[60:], over[60:])
    assert chosen_for_pictures(report, 2) == chosen_for_pictures(report, 9)[:2]


def test_a_map_below_the_threshold_changes_nothing(workspace):
    item = workspace.items()[0]
    with workspace.open_slide(item) as slide:
        plain, over = slide_pictures(slide, workspace.heatmap_path(RUN, item.id), 100, 0.99)
        assert np.array_equal(plain, over) and max(plain.shape) <= 100
        assert slide_pictures(slide, None, 100, 0.5)[1] is None


def test_a_slide_that_is_gone_is_named_without_a_picture(workspace, tmp_path):
    (tmp_path / "Jane Doe" / "c.png").unlink()
    report, page = written(workspace, tmp_path)
    assert report.unreadable == [report.numbers[report.judged.setter_row.item]]
    assert "Without a picture, as it could not be read" in page


def test_without_labels_there_are_only_scores(workspace, tmp_path):
    for item in workspace.items():
        workspace.update(item.id, label=None)
    _, page = written(workspace, tmp_path)
    assert "nothing can be judged" in page and "0.900" in page and "matrix" not in page.partition("</style>")[2]


def test_slides_of_the_training_are_called_so(workspace):
    for item in workspace.items():
        workspace.update(item.id, split="train")
    assert "These slides took part in training" in collect(workspace, RUN, split="train").page()


def test_mistakes_are_one_sentence_and_leave_nothing(workspace, tmp_path):
    with pytest.raises(RunError, match="'other' has scored no slide of w; there are scores of first"):
        write_report(workspace, "other", tmp_path / "x.html")
    with pytest.raises(OpsinError, match="ends in .html"):
        write_report(workspace, RUN, tmp_path / "x.pdf")
    assert not list(tmp_path.glob("x.*"))


def test_from_the_shell(workspace, tmp_path, capsys):
    workspace.close()
    target = tmp_path / "r.html"
    assert (
        main(["report", str(workspace.folder), "--output", str(target), "--split", "all", "--threshold", "0.15"]) == 0
    )
    assert "Threshold in use: 0.150" in target.read_text() and capsys.readouterr().out.strip() == str(target)
    assert main(["report", str(tmp_path), "--output", str(target)]) == 1


def test_the_band_holds_the_curve_and_wilson_agrees_with_known_values():
    rng = np.random.default_rng(1)
    labels = np.repeat([True, False], 60)
    scores = np.where(labels, rng.normal(1, 1, 120), rng.normal(0, 1, 120))
    rates, low, high = curve_band(labels, scores)
    true = np.array([(scores[labels] > np.quantile(scores[~labels], 1 - x)).mean() for x in rates[1:-1]])
    assert ((low[1:-1] <= true + 0.02) & (true <= high[1:-1] + 0.02)).mean() > 0.98
    assert curve_band(np.ones(3, bool), scores[:3]) is None
    assert wilson(0, 0) is None
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_a_slide_keeps_its_number_and_the_key_stays_in_the_workspace(workspace, tmp_path):
    first, _ = written(workspace, tmp_path)
    workspace.set_score(workspace.items()[4].id, RUN, {"score": 0.99, "source": "top-K classifier"})
    gone = workspace.items()[0]
    workspace.remove([gone.id])
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "new.png")
    (new,) = workspace.add([tmp_path / "new.png"])
    second, _ = written(workspace, tmp_path)
    assert second.numbers == {k: v for k, v in first.numbers.items() if k != gone.id} | {new.id: "Slide 9"}
    key = (workspace.folder / "slide_numbers.csv").read_text(encoding="utf-8-sig").splitlines()
    assert key[0] == "number,slide,id" and key[1].startswith("2,b,") and key[-1].startswith("9,new,")


def test_slides_that_were_trained_on_are_named_whatever_their_split_is_now(workspace, tmp_path):
    items = {item.name: item.id for item in workspace.items()}
    snapshots = workspace.folder / "runs" / RUN / "snapshots"
    snapshots.mkdir()
    samples = [{"id": items["a"], "split": "train"}, {"id": items["b"], "split": "val"}]
    write_json(snapshots / "round_0.json", {"samples": samples})
    report, page = written(workspace, tmp_path)
    assert report.trained == {items["a"]}
    assert "1 of these slides took part in the training of this network" in page and report.numbers[items["a"]] in page
    (snapshots / "round_1.json").write_text("{ cut")
    assert collect(workspace, RUN).trained == {items["a"]}


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 2.0])
def test_a_threshold_that_is_none_is_refused(workspace, tmp_path, threshold):
    with pytest.raises(OpsinError, match="between 0 and 1"):
        write_report(workspace, RUN, tmp_path / "x.html", threshold=threshold)
    assert not (tmp_path / "x.html").exists()


def test_scores_that_lie_close_are_told_apart():
    def rows(*scores):
        return [ScoreRow(str(n), "", None, None, score) for n, score in enumerate(scores)]

    assert score_digits(rows(0.1, 0.2, None)) == 3
    assert score_digits(rows(0.50198, 0.50202)) == 5
    assert score_digits(rows(0.5, 0.5000000001)) == 6
    assert score_digits([]) == 3
