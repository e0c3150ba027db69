"""Regions of interest reach every prediction: of an evaluation, and of whoever names a label file."""

from pathlib import Path

import numpy as np
import pytest

from opsin.engine.cli import main
from opsin.engine.data.slides import open_slide
from opsin.engine.errors import RunError
from opsin.engine.labels.marks import Mark
from opsin.engine.methods.hybrid_wsi import evaluate as module
from opsin.engine.methods.hybrid_wsi.data import open_data
from opsin.engine.methods.hybrid_wsi.predict import regions_of
from opsin.engine.runs import Run

from .test_roi import MASK, RING, SIDE, box, sample
from .test_roi import workspace as workspace


def test_evaluating_a_workspace_predicts_inside_only(workspace, tmp_path, monkeypatch):
    item, other = workspace.items()
    store = workspace.labels(item)
    store.polygon(box(80, 80, 220, 220), 1)
    store.add_marks([Mark("roi", RING)])
    store.flush()
    for one in (item, other):
        workspace.update(one.id, label="positive", split="test")
    told = []

    def seen(checkpoint, path, options, run):
        told.append((Path(path).name, options.regions))
        return iter(())

    monkeypatch.setattr(module, "predict", seen)
    with pytest.raises(ValueError, match="not enough values"):
        module.evaluate(None, open_data(workspace.folder), Run())
    assert told == [("a.png", str(store.path))]


def test_a_prediction_reads_the_regions_of_a_label_file(tmp_path):
    one = sample(tmp_path)
    path = one.labels
    with open_slide(one.path) as slide:
        found = regions_of(str(path), slide)
        assert np.array_equal(found.mask(0, 0, SIDE, SIDE), MASK)
        assert regions_of(None, slide) is None and regions_of("", slide) is None
        assert regions_of(str(tmp_path / "no.labels"), slide, True) is None, "nothing was marked on this slide yet"
        with pytest.raises(RunError, match=r"no\.labels is no file"):
            regions_of(str(tmp_path / "no.labels"), slide)


@pytest.mark.parametrize(("name", "says"), [("no.labels", "is no file"), ("text.labels", "text.labels")])
def test_regions_that_cannot_be_read_are_one_sentence_before_anything_is_predicted(tmp_path, capsys, name, says):
    (tmp_path / "text.labels").write_text("no labels at all")
    (tmp_path / "c.safetensors").touch()
    words = ["--checkpoint", tmp_path / "c.safetensors", "--input", tmp_path, "--output", tmp_path / "out"]
    status = main(["predict", "hybrid_wsi", *map(str, words), "--set", f"regions={tmp_path / name}"])
    err = capsys.readouterr().err
    assert status == 1 and err.count("\n") == 1 and says in err and not (tmp_path / "out").exists()
