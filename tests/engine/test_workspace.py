"""A workspace keeps slides, labels and scores, survives moves, and refuses what it cannot hold."""

import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from opsin.engine.data.slides import file_fingerprint, sampled_fingerprint
from opsin.engine.errors import WorkspaceError
from opsin.engine.labels.classes import LabelClass
from opsin.engine.workspace import DATABASE, Workspace


def _picture(path, seed=0, size=(90, 60)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace.create(tmp_path / "space")
    yield workspace
    workspace.close()


def test_everything_survives_reopening(workspace, tmp_path):
    (item,) = workspace.add([_picture(tmp_path / "slides" / "a.png")])
    workspace.update(item.id, label="positive", split="val", patient="p1", outlined=True, mpp=0.5)
    workspace.labels(item).stroke([[20, 20]], 5, 1)
    share = workspace.update_marked(item.id)
    workspace.set_score(item.id, "run1", {"score": 0.7, "source": "mean"})
    workspace.set_setting("threshold", 0.4)
    workspace.close()
    with Workspace.open(workspace.folder) as again:
        (found,) = again.items()
        assert (found.label, found.split, found.patient, found.outlined, found.mpp) == (
            "positive",
            "val",
            "p1",
            True,
            0.5,
        )
        assert found.marked == share > 0
        assert again.scores()[0]["score"] == 0.7 and again.setting("threshold") == 0.4
        assert set(again.labels(found).areas()) == {1}


def test_folder_of_slides_and_broken_ones(workspace, tmp_path):
    _picture(tmp_path / "slides" / "a.png", 1)
    _picture(tmp_path / "slides" / "b.png", 2)
    (tmp_path / "slides" / "broken.png").write_bytes(b"nothing")
    (tmp_path / "slides" / "notes.txt").write_text("x")
    items = workspace.add([tmp_path / "slides"])
    assert [item.name for item in items] == ["a", "b"]
    ((path, sentence),) = workspace.rejected
    assert path.endswith("broken.png") and "broken.png" in sentence


def test_same_slide_is_not_added_twice_and_is_found_where_it_moved(workspace, tmp_path):
    path = _picture(tmp_path / "slides" / "a.png")
    (item,) = workspace.add([path])
    workspace.update(item.id, label="negative")
    moved = tmp_path / "elsewhere" / "renamed.png"
    moved.parent.mkdir()
    path.rename(moved)
    (found,) = workspace.add([moved])
    assert found.id == item.id and found.label == "negative" and len(workspace.items()) == 1
    assert workspace.slide_path(found) == moved.resolve()


def _almost(path, changed):
    """A picture without compression, with or without a small square that sampled blocks do not meet."""
    pixels = np.full((600, 600, 3), 200, np.uint8)
    pixels[300:310, 300:310] -= np.uint8(changed)
    Image.fromarray(pixels).save(path)
    return path


def test_slides_that_differ_in_a_few_pixels_are_two(workspace, tmp_path):
    paths = [_almost(tmp_path / f"{number}.bmp", number) for number in range(2)]
    assert sampled_fingerprint(paths[0]) == sampled_fingerprint(paths[1])
    items = workspace.add(paths)
    assert len({item.id for item in items}) == 2 and [item.name for item in workspace.items()] == ["0", "1"]


def test_a_workspace_with_fingerprints_of_samples_still_knows_its_slides(workspace, tmp_path):
    one, other = (_almost(tmp_path / f"{number}.bmp", number) for number in range(2))
    (item,) = workspace.add([one])
    workspace._execute("UPDATE item SET fingerprint = ?", (sampled_fingerprint(one),))
    (second,) = workspace.add([other])
    assert second.id != item.id, "another slide, though its samples are the same"
    moved = one.rename(tmp_path / "moved.bmp")
    assert [found.id for found in workspace.add([moved])] == [item.id] and len(workspace.items()) == 2
    assert workspace.slide_path(workspace.item(item.id)) == moved
    assert workspace.item(item.id).fingerprint == file_fingerprint(moved), "brought up to date"


def test_workspace_and_slides_move_together(workspace, tmp_path):
    (item,) = workspace.add([_picture(tmp_path / "slides" / "a.png")])
    assert item.path == "../slides/a.png"
    workspace.close()
    shutil.copytree(tmp_path, tmp_path.parent / "moved")
    shutil.rmtree(tmp_path / "slides")
    with Workspace.open(tmp_path.parent / "moved" / "space") as again, again.open_slide(again.items()[0]) as slide:
        assert slide.width == 90


def test_removing_keeps_the_labels(workspace, tmp_path):
    (item,) = workspace.add([_picture(tmp_path / "a.png")])
    workspace.labels(item).stroke([[20, 20]], 5, 1)
    workspace.remove([item.id])
    assert not workspace.items()
    assert list((workspace.folder / "labels" / "removed").glob("a-*.labels"))
    assert (tmp_path / "a.png").exists()


def test_classes_are_kept_and_locks_reach_open_stores(workspace, tmp_path):
    (item,) = workspace.add([_picture(tmp_path / "a.png")])
    store = workspace.labels(item)
    classes = [LabelClass(value=5, name="Gland", color="#123456", locked=True)]
    workspace.set_classes(classes)
    assert workspace.classes == classes and store.protected == {5}
    with pytest.raises(WorkspaceError, match="same name"):
        workspace.set_classes([*classes, LabelClass(value=6, name="Gland", color="#123456")])


@pytest.mark.parametrize("head", ["", "slide,label,split,patient\n"])
def test_labels_from_a_table(workspace, tmp_path, head):
    workspace.add([_picture(tmp_path / "a.png", 1), _picture(tmp_path / "b.png", 2)])
    rows = "a.png,Tumor,val,p1\nB,normal,train,p2\nc,positive,,\n" if head else "a.png,Tumor\nB,normal\nc,positive\n"
    (tmp_path / "t.csv").write_text(head + rows)
    count, unknown = workspace.import_labels_csv(tmp_path / "t.csv")
    assert count == 2 and len(unknown) == 1 and unknown[0].startswith("c")
    assert [item.label for item in workspace.items()] == ["positive", "negative"]
    assert [item.split for item in workspace.items()] == (["val", "train"] if head else [None, None])


@pytest.mark.parametrize(
    "path", ["{0}/s.tif", "slides/{0}/s.tif", "/elsewhere/{0}/s.tif", "C:\\old\\{0}\\S.TIF", "{root}/slides/{0}/s.tif"]
)
def test_rows_of_a_table_reach_the_slide_whose_path_they_name(workspace, tmp_path, path):
    folders = {name: tmp_path / "slides" / name / "s.tif" for name in ("p", "n")}
    items = workspace.add([_picture(place, number) for number, place in enumerate(folders.values())])
    row = [path.format(name, root=tmp_path) for name in folders]
    (tmp_path / "t.csv").write_text(f"{row[0]},positive\n{row[1]},negative\ns.tif,positive\ns,positive\n")
    count, unknown = workspace.import_labels_csv(tmp_path / "t.csv")
    assert count == 2 and [workspace.item(item.id).label for item in items] == ["positive", "negative"]
    assert unknown == [f"{name}, positive (several slides have this name)" for name in ("s.tif", "s")]


def test_a_row_that_names_another_file_labels_no_slide(workspace, tmp_path):
    other = _picture(tmp_path / "p" / "s.png", 1)
    (item,) = workspace.add([_picture(tmp_path / "n" / "s.png", 2)])
    (tmp_path / "t.csv").write_text(f"{other},positive\n")
    assert workspace.import_labels_csv(tmp_path / "t.csv") == (0, [f"{other}, positive (there is no such slide)"])
    (tmp_path / "t.csv").write_text("n/s.png,negative\nq/s.png,positive\n")
    count, unknown = workspace.import_labels_csv(tmp_path / "t.csv")
    assert count == 1 and "another row names this slide more exactly" in unknown[0]
    assert workspace.item(item.id).label == "negative"


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_words_of_a_table_that_mean_nothing_are_told(workspace, tmp_path, mark):
    workspace.add([_picture(tmp_path / f"{name}.png", number) for number, name in enumerate("abcde")])
    rows = [
        "patient,slide,split,label",
        "p,a,training,metastasis",
        "r,b,dev,healthy",
        "q,c,test,perhaps",
        "q,d,,0.0",
        ",e,,",
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows).replace(",", mark))
    count, unknown = workspace.import_labels_csv(tmp_path / "t.csv")
    assert [(i.label, i.split, i.patient) for i in workspace.items()] == [
        ("positive", "train", "p"), ("negative", "val", "r"), (None, "test", "q"), ("negative", "test", "q"), (None, None, None),
    ]  # fmt: skip
    assert (count, unknown) == (4, ["q, c, test, perhaps ('perhaps' is not known)", ", e (it says nothing)"])


def test_splits_never_divide_a_patient(workspace, tmp_path):
    items = workspace.add([_picture(tmp_path / f"{n}.png", n) for n in range(12)])
    for number, item in enumerate(items):
        workspace.update(item.id, patient=f"p{number // 3}", label="positive" if number < 6 else "negative")
    workspace.assign_splits(seed=1, val=0.5)
    by_patient: dict[str, set] = {}
    for item in workspace.items():
        by_patient.setdefault(item.patient, set()).add(item.split)
    assert all(len(splits) == 1 for splits in by_patient.values())
    assert {next(iter(s)) for s in by_patient.values()} == {"train", "val"}


def test_splits_that_are_there_are_kept_on_demand(workspace, tmp_path):
    items = workspace.add([_picture(tmp_path / f"{n}.png", n) for n in range(8)])
    workspace.update(items[0].id, split="test", patient="p")
    workspace.update(items[1].id, patient="p")
    workspace.update(items[2].id, split="test")
    workspace.assign_splits(val=0.5, keep=True)
    splits = [item.split for item in workspace.items()]
    assert splits[:3] == ["test", "test", "test"], "the patient's other slide follows"
    assert set(splits[3:]) == {"train", "val"}
    workspace.assign_splits(val=0.5)
    assert "test" not in [item.split for item in workspace.items()]


def test_a_table_says_beforehand_what_it_would_overwrite_and_can_leave_it(workspace, tmp_path):
    a, b = workspace.add([_picture(tmp_path / f"{name}.png", k) for k, name in enumerate("ab")])
    workspace.update(a.id, label="negative", split="val")
    workspace.update(b.id, label="positive")
    (tmp_path / "t.csv").write_text("slide,label,split,patient\na,positive,train,p\nb,positive,train,\n")
    says, left = workspace.read_labels_csv(tmp_path / "t.csv")
    assert left == [] and workspace.item(a.id).label == "negative", "reading changes nothing"
    assert workspace.overwritten(says) == ["a: label negative becomes positive, split val becomes train"]
    assert workspace.import_labels_csv(tmp_path / "t.csv", keep=True)[0] == 2
    assert [(i.label, i.split, i.patient) for i in workspace.items()] == [
        ("negative", "val", "p"), ("positive", "train", None),
    ]  # fmt: skip
    workspace.import_labels_csv(tmp_path / "t.csv")
    assert workspace.item(a.id).label == "positive" and workspace.item(a.id).split == "train"


def test_threads_share_one_store_per_slide(workspace, tmp_path):
    (item,) = workspace.add([_picture(tmp_path / "a.png")])
    stores = []
    threads = [threading.Thread(target=lambda: stores.append(workspace.labels(item))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(store) for store in stores}) == 1


def test_thumbnail_is_made_once(workspace, tmp_path):
    (item,) = workspace.add([_picture(tmp_path / "a.png", size=(600, 300))])
    path = workspace.thumbnail(item, 128)
    assert Image.open(path).size == (128, 64)
    before = path.stat().st_mtime_ns
    assert workspace.thumbnail(item, 128).stat().st_mtime_ns == before


def test_folders_that_are_no_workspace(tmp_path):
    with pytest.raises(WorkspaceError, match="is no Opsin workspace"):
        Workspace.open(tmp_path)
    (tmp_path / DATABASE).write_bytes(b"noise" * 999)
    with pytest.raises(WorkspaceError, match="restore it from a backup"):
        Workspace.open(tmp_path)


def test_opening_what_is_no_longer_there_makes_nothing(tmp_path):
    with pytest.raises(WorkspaceError, match="was moved or deleted, or its disk is not connected"):
        Workspace.open(tmp_path / "gone" / "space")
    (tmp_path / "emptied").mkdir()
    with pytest.raises(WorkspaceError, match="is no Opsin workspace"):
        Workspace.open(tmp_path / "emptied")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["emptied"]


def test_workspace_of_a_newer_opsin_is_refused(workspace):
    workspace._execute("UPDATE setting SET value = '99' WHERE key = 'schema'")
    workspace.close()
    with pytest.raises(WorkspaceError, match="newer Opsin"):
        Workspace.open(workspace.folder)


def test_runs_of_dead_processes_are_interrupted(workspace):
    folder = workspace.new_run_folder("hybrid_wsi")
    (folder / "run.json").write_text('{"state": "running", "pid": 999999999, "process_started": 1.0}')
    (workspace.new_run_folder("hybrid_wsi") / "run.json").write_text('{"sta')
    assert sorted(run["state"] for run in workspace.runs()) == ["interrupted", "unreadable"]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        '"a text"',
        "null",
        "{}",
        '{"state": "done", "meth',
        '{"state": ["done"], "method": "hybrid_wsi"}',
        '{"state": "done", "created": "yesterday"}',
        '{"state": "done", "created": true}',
        '{"state": "done", "metrics": [1, 2]}',
        '{"state": "done", "recipe": "tiny"}',
        '{"state": "running", "pid": "12", "process_started": 1.0}',
        '{"state": "done", "method": 7}',
        '{"steps": 3, "epochs": 5}',
        "[" * 100_000,
        "\ufffe\x00",
    ],
    ids=range(15),
)
def test_a_run_that_cannot_be_read_is_listed_with_one_sentence_beside_the_others(workspace, text):
    good, bad = workspace.new_run_folder("good"), workspace.new_run_folder("bad")
    (good / "run.json").write_text('{"state": "done", "method": "hybrid_wsi", "created": 5.0}')
    (bad / "run.json").write_text(text, encoding="utf-16")
    found = {run["folder"]: run for run in workspace.runs()}
    assert found[str(good)]["state"] == "done" and "error" not in found[str(good)]
    assert found[str(bad)]["state"] == "unreadable"
    (bad / "run.json").write_text(text, encoding="utf-8")
    (run,) = (run for run in workspace.runs() if run["folder"] == str(bad))
    assert run["state"] == "unreadable" and str(bad) in run["error"] and "\n" not in run["error"]
    assert run.keys() == {"state", "error", "folder"}


@pytest.mark.parametrize("pid", [-1, 0, 10**30])
def test_a_run_with_an_impossible_process_is_interrupted(workspace, pid):
    record = f'{{"state": "running", "pid": {pid}, "process_started": 1.0}}'
    (workspace.new_run_folder("hybrid_wsi") / "run.json").write_text(record)
    assert [run["state"] for run in workspace.runs()] == ["interrupted"]
