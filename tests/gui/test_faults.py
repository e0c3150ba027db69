"""What goes wrong: one clear sentence in the window each time, and nothing that was done is lost."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox, QToolButton

from opsin.engine import worker
from opsin.engine.workspace import Workspace
from opsin.gui.dialogs import ListDialog
from opsin.gui.settings import AppSettings
from opsin.gui.window import MainWindow

LEFT = Qt.MouseButton.LeftButton


def drop(window: MainWindow, *paths: Path) -> None:
    """Drop files on the window, as a file manager does."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, none = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(600, 300), copy, mime, LEFT, none)
    QApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(window, QDropEvent(QPointF(600, 300), copy, mime, LEFT, none))


def drag(window: MainWindow, *places: tuple[int, int]) -> None:
    """A stroke with the mouse."""
    view = window.room.view
    QTest.mousePress(view, LEFT, pos=QPoint(*places[0]))
    for place in places[1:]:
        QTest.mouseMove(view, QPoint(*place))
    QTest.mouseRelease(view, LEFT, pos=QPoint(*places[-1]))


def said(window: MainWindow, qtbot) -> str:
    """The sentence of the newest message, which is then dismissed. It must be one, in words, and the only one."""
    qtbot.waitUntil(lambda: bool(window.banners.banners))
    (banner,) = window.banners.banners
    assert banner.isVisible() and banner.kind in ("error", "warning")
    text = banner.sentence
    for word in ("Traceback", "Error:", "Errno", "went wrong"):
        assert word not in text
    assert "\n" not in text and text.endswith(".")
    close = next(b for b in banner.findChildren(QToolButton) if b.accessibleName() == "Dismiss message")
    QTest.mouseClick(close, LEFT)
    assert not window.banners.banners
    return text


def labels_of(window: MainWindow) -> np.ndarray:
    window.model.labels.flush()
    return window.model.labels.region(0, 0, 0, 640, 480)


def painted(window: MainWindow) -> np.ndarray:
    """Paint a little; return the labels."""
    window.model.tool = "brush"
    drag(window, (150, 150), (250, 200))
    labels = labels_of(window)
    assert labels.any()
    return labels


# ---- slides and annotations ------------------------------------------------------------------------------------------


def test_a_broken_slide_dropped_on_the_window(opened, tmp_path, qtbot, data):
    shutil.copy(data / "wsi" / "slides" / "broken.svs", tmp_path)
    drop(opened, tmp_path / "broken.svs")
    assert said(opened, qtbot).startswith("broken.svs ")
    assert opened.item.name == "alpha" and len(opened.workspace.items()) == 3


def test_unreadable_slides_in_a_batch_keep_out_no_other(opened, tmp_path, qtbot, monkeypatch):
    batch = tmp_path / "batch"
    batch.mkdir()
    for place, name in enumerate(("a.png", "c.png", "f.png")):
        Image.fromarray(np.full((200, 300, 3), 100 + 50 * place, np.uint8)).save(batch / name)
    (batch / "b.svs").write_bytes(b"")
    (batch / "d.tif").write_bytes(np.random.default_rng(0).bytes(900))
    whole = (batch / "a.png").read_bytes()
    (batch / "e.png").write_bytes(whole[: len(whole) // 2])
    drop(opened, batch)
    qtbot.waitUntil(lambda: any(isinstance(d, ListDialog) for d in opened._dialogs))
    assert [item.name for item in opened.workspace.items()[3:]] == ["a", "c", "f"]
    dialog = next(d for d in opened._dialogs if isinstance(d, ListDialog))
    sentences = [line for line in dialog.text.toPlainText().splitlines() if line]
    assert len(sentences) == 3
    for name, sentence in zip(("b.svs", "d.tif", "e.png"), sentences):
        assert name in sentence and sentence.endswith(".")
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.name == "a")


def test_a_reader_that_stumbles_keeps_out_no_other_slide(opened, tmp_path, qtbot, monkeypatch):
    """A mistake of our own in a reader is one slide less, with a sentence, not a batch less."""
    from opsin.engine import workspace as module

    true = module.open_slide

    def stumbling(path, **settings):
        if path.name == "two.png":
            raise ZeroDivisionError("division by zero")
        return true(path, **settings)

    monkeypatch.setattr(module, "open_slide", stumbling)
    for place, name in enumerate(("one.png", "two.png", "three.png")):
        Image.fromarray(np.full((100, 100, 3), 50 + 50 * place, np.uint8)).save(tmp_path / name)
    drop(opened, *(tmp_path / name for name in ("one.png", "two.png", "three.png")))
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "two.png cannot be read" in opened.banners.texts()[0]
    assert [item.name for item in opened.workspace.items()[3:]] == ["one", "three"]


def test_a_slide_that_vanished_after_it_was_added(opened, qtbot):
    before = painted(opened)
    first, second = opened.workspace.items()[:2]
    path = opened.workspace.slide_path(second)
    path.rename(path.with_name("elsewhere.png"))
    opened.open_item(second.id)
    assert "beta.png does not exist" in said(opened, qtbot)
    assert opened.item.id == first.id and np.array_equal(labels_of(opened), before)
    path.with_name("elsewhere.png").rename(path)
    opened.open_item(second.id)
    qtbot.waitUntil(lambda: opened.item.id == second.id)


def test_the_open_slide_vanishes_and_its_labels_stay(opened, qtbot, folder):
    before = painted(opened)
    opened.workspace.slide_path(opened.item).unlink()
    drag(opened, (200, 300), (300, 320))
    after = labels_of(opened)
    assert (after != before).any()
    id = opened.item.id
    opened.close()
    with Workspace.open(folder) as workspace:
        assert np.array_equal(workspace.labels(workspace.item(id)).region(0, 0, 0, 640, 480), after)


POLYGON = '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Polygon","coordinates":%s}}]}'


MALFORMED = {
    "cut.xml": b"<ASAP_Annotations><Annotations><Annot",
    "other.xml": b"<html></html>",
    "numbers.xml": b'<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="Tumor"><Coordinates>'
    b'<Coordinate Order="0" X="here" Y="1"/></Coordinates></Annotation></Annotations></ASAP_Annotations>',
    "cut.geojson": POLYGON[:60].encode(),
    "noise.geojson": bytes(range(256)),
    "list.json": b"[1, 2, 3]",
    "words.geojson": (POLYGON % '"here"').encode(),
    "empty.geojson": b"",
}


def test_malformed_annotations_dropped_on_the_window_change_no_label(opened, tmp_path, qtbot):
    before = painted(opened)
    for name, content in MALFORMED.items():
        (tmp_path / name).write_bytes(content)
        drop(opened, tmp_path / name)
        assert name in said(opened, qtbot)
        assert not opened._dialogs, "nothing is asked about a file that holds nothing"
        assert np.array_equal(labels_of(opened), before)
    assert opened.commands.lacking("undo") == ""
    opened.commands.undoing.undo()
    assert not labels_of(opened).any() and not opened.model.labels.can_undo, "no step was added"


# ---- labels that cannot be saved ---------------------------------------------------------------------------------------


def fill_disk(window: MainWindow, full: bool = True) -> None:
    """Let the label file grow no more, as on a full disk; or let it."""
    store = window.model.labels
    store.flush() if full else None
    with store._writing:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0] if full else 1_000_000
        store._connection.execute(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def full(opened, qtbot):
    """The window with unsaved strokes: the disk was full when they were painted."""
    painted(opened)
    opened.saving.timer.setInterval(20)
    fill_disk(opened)
    opened.model.brush_um = 5
    for y in range(240, 400, 10):
        drag(opened, (150, y), *((150 + x, y + x % 7) for x in range(200)))
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    return opened


def test_a_full_disk_while_painting_is_said_once_and_nothing_is_lost(full, qtbot, folder):
    seen = full.model.labels.region(0, 0, 0, 640, 480)
    text = full.banners.texts()[0]
    assert "the disk is full; make room" in text
    assert full.status.saved.text() == "Not saved yet"
    drag(full, (400, 100), (420, 300))
    more = full.model.labels.region(0, 0, 0, 640, 480)
    assert (more != seen).any(), "painting goes on"
    qtbot.waitUntil(lambda: "edits" in "".join(full.banners.texts()))
    assert len(full.banners.banners) == 1, "one message, however often it is tried again"

    fill_disk(full, False)
    qtbot.waitUntil(lambda: full.banners.texts() == ["All labels are saved again."])  # by itself
    assert full.status.saved.text().startswith("Saved ")
    assert not full.saving.timer.isActive()
    assert np.array_equal(labels_of(full), more)
    id = full.item.id
    full.close()
    with Workspace.open(folder) as workspace:
        assert np.array_equal(workspace.labels(workspace.item(id)).region(0, 0, 0, 640, 480), more)


def test_closing_with_unsaved_labels_asks_and_trying_again_saves_them(full, folder):
    seen = full.model.labels.region(0, 0, 0, 640, 480)
    assert not full.close_workspace(), "and the workspace is not left either"
    assert full.item is not None
    full.close()
    assert full.isVisible()
    box = next(d for d in full._dialogs if isinstance(d, QMessageBox))
    assert "the disk is full" in box.informativeText()
    fill_disk(full, False)
    id = full.item.id
    next(b for b in box.buttons() if b.text() == "Try again").click()
    assert not full.isVisible()
    with Workspace.open(folder) as workspace:
        assert np.array_equal(workspace.labels(workspace.item(id)).region(0, 0, 0, 640, 480), seen)


def test_closing_without_saving_is_possible(full):
    full.close()
    box = next(d for d in full._dialogs if isinstance(d, QMessageBox))
    next(b for b in box.buttons() if b.text() == "Close without them").click()
    assert not full.isVisible() and full.workspace is None


# ---- folders and windows -----------------------------------------------------------------------------------------------


def test_a_workspace_in_two_windows_at_once(opened, folder, qtbot):
    """The second window shows the slide and its labels, says why they cannot be edited there, and edits other slides."""
    before = painted(opened)
    second = MainWindow(settings=AppSettings(theme="light"))
    qtbot.addWidget(second)
    second.resize(1280, 720)
    second.show()
    second.open_workspace(folder)
    qtbot.waitUntil(lambda: second.item is not None)
    assert second.item.name == "alpha"
    assert "open in another Opsin window" in said(second, qtbot)
    assert np.array_equal(second.model.labels.region(0, 0, 0, 640, 480), before)
    assert not second.room.annotations.toolbox.isEnabled()
    second.model.tool = "brush"
    drag(second, (150, 250), (250, 250))
    QTest.keyClick(second.room.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(labels_of(opened), before)

    second.open_item(second.workspace.items()[1].id)
    qtbot.waitUntil(lambda: second.item.name == "beta")
    assert painted(second).any()
    drag(opened, (150, 250), (250, 250))
    more = labels_of(opened)
    assert (more != before).any()
    opened.commands.set_slide_label("positive")
    assert second.workspace.item(opened.item.id).label == "positive"
    opened.open_item(opened.workspace.items()[2].id)  # leaves the slide, keeps its labels open
    qtbot.waitUntil(lambda: opened.item.name == "gamma")
    opened.close()
    second.open_item(second.workspace.items()[0].id)
    qtbot.waitUntil(lambda: second.item.name == "alpha")
    assert not second.model.labels.readonly and np.array_equal(labels_of(second), more)
    assert not second.banners.banners
    second.close()


READ_ONLY = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from qtpy.QtWidgets import QApplication
    from opsin.gui.settings import AppSettings
    from opsin.gui.window import MainWindow

    application = QApplication([])
    window = MainWindow(settings=AppSettings(theme="light"))
    window.show()
    print(window.open_workspace(Path(sys.argv[1])), *window.banners.texts(), sep="\\n")
    window.close()
    """
)


def _without_superuser_rights() -> None:
    """In the child: let a read-only folder be read-only also for root."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability)


@pytest.mark.skipif(sys.platform != "linux", reason="file rights as on Linux")
def test_a_read_only_workspace_is_one_sentence(folder):
    """In a process of its own, which has no right to write where it may not."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in (*before, *folders):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(folder)],
            check=True, capture_output=True, text=True, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
            preexec_fn=_without_superuser_rights,
        )  # fmt: skip
    finally:
        for path in (*folders, *before):
            path.chmod(0o755 if path.is_dir() else 0o644)
    opened, *sentences = done.stdout.splitlines()
    assert opened == "False"
    (sentence,) = sentences
    assert str(folder) in sentence and "may only be read" in sentence and sentence.endswith(".")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# ---- trainings ---------------------------------------------------------------------------------------------------------


def test_a_setting_out_of_range_is_said_beside_it_and_holds_training_back(opened, qtbot):
    opened.room.show_tab("train")
    panel = opened.room.panel("train")
    row = panel.form.rows["learning_rate"]
    row.editor.line.selectAll()
    QTest.keyClicks(row.editor.line, "7")
    assert row.error.text() == "Must be at most 1."
    assert not panel.train.isEnabled() and panel.train.toolTip()
    QTest.mouseClick(panel.train, LEFT)
    assert not opened.jobs.jobs and not list((opened.workspace.folder / "runs").iterdir())
    row.reset.click()
    assert panel.train.isEnabled() and not row.error.isVisible()


FULL_DISK = textwrap.dedent(
    """
    # The worker as it is, but that after round 0 everything it writes into the run's folder meets a full disk.
    import errno, json, sys
    from opsin.engine import checkpoints, files, runs, worker

    def full(folder):
        return folder is not None and (folder / "checkpoints" / "round_0.safetensors").exists()

    def append(self, name, record):
        if full(self.folder):
            self._files[name] = open("/dev/full", "a")
        true_append(self, name, record)

    def mkstemp(*, prefix, suffix, dir):
        if any(full(folder) for folder in (dir, *dir.parents)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return true_mkstemp(prefix=prefix, suffix=suffix, dir=dir)

    true_append, runs.Run._append = runs.Run._append, append
    true_mkstemp, files.tempfile.mkstemp = files.tempfile.mkstemp, mkstemp
    worker.main()
    """
)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_while_training_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    tiny_workspace, window, qtbot, monkeypatch, tmp_path
):
    program = tmp_path / "worker.py"
    program.write_text(FULL_DISK)
    command = worker.worker_command()
    monkeypatch.setattr(worker, "worker_command", lambda: [sys.executable, str(program)])
    window.open_workspace(tiny_workspace)
    qtbot.waitUntil(lambda: window.item is not None)
    window.room.show_tab("train")
    panel = window.room.panel("train")
    panel.preset.setCurrentText("tiny")
    panel.device.setCurrentIndex(panel.device.findData("cpu"))
    panel.form.change(rounds=1, stage2=False)
    QTest.mouseClick(panel.train, LEFT)
    (job,) = window.jobs.jobs
    card = window.room.panel("runs").card
    qtbot.waitUntil(lambda: job.final and card.error.isVisible() and not window.jobs.busy, timeout=40_000)
    text = card.error.text()
    assert "the disk is full; make room there." in text and "Errno" not in text and "\n" not in text
    folder = Path(job.spec.arguments["run"])
    assert (folder / "checkpoints" / "round_0.safetensors").exists(), "what was finished is kept"
    assert card.state.text() == "Failed"

    monkeypatch.setattr(worker, "worker_command", lambda: command)
    qtbot.waitUntil(card.resume.isVisible)
    QTest.mouseClick(card.resume, LEFT)
    second = window.jobs.jobs[-1]
    qtbot.waitUntil(lambda: second.final and not window.jobs.busy, timeout=40_000)
    assert second.state == "done", "\n".join(second.log)
    assert "\n".join(second.log).count("round 0: first batch") == 1, "round 0 is not trained again"


def test_a_run_folder_that_cannot_be_made_is_said_beside_the_button(opened, qtbot):
    opened.workspace.update(opened.item.id, outlined=True)
    runs = opened.workspace.folder / "runs"
    runs.rmdir()
    runs.write_text("a file where the folder was")
    opened.room.show_tab("train")
    panel = opened.room.panel("train")
    qtbot.waitUntil(panel.train.isVisible)
    QTest.mouseClick(panel.train, LEFT)
    assert not opened.jobs.jobs
    assert panel.problem.text().startswith("No run folder can be made in ") and panel.problem.isVisible()


def test_a_worker_that_dies_at_its_start_is_a_failed_run_with_one_sentence(opened, qtbot, monkeypatch, tmp_path):
    program = tmp_path / "worker.py"
    program.write_text("import sys; print('no such library', file=sys.stderr); sys.exit(5)")
    monkeypatch.setattr(worker, "worker_command", lambda: [sys.executable, str(program)])
    opened.workspace.update(opened.item.id, outlined=True)
    opened.room.show_tab("train")
    QTest.mouseClick(opened.room.panel("train").train, LEFT)
    (job,) = opened.jobs.jobs
    card = opened.room.panel("runs").card
    qtbot.waitUntil(lambda: job.final and card.error.isVisible())
    assert card.state.text() == "Failed"
    assert "exit status 5" in card.error.text() and card.error.text().endswith(".")
    assert any("failed: The process ended" in text for text in opened.banners.texts()), "said wherever one looks"
    card.log_toggle.click()
    assert "no such library" in card.log.toPlainText()
    assert not opened.jobs.busy, "another training can be started"
