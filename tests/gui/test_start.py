"""The start page: recent workspaces, what is missing, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from opsin.engine.recent import recent_workspaces, remember
from opsin.engine.workspace import Workspace
from opsin.gui.start import when

HEAVY = ("torch", "napari", "open3d", "zarr", "dask", "scipy", "skimage", "pandas", "pyqtgraph")


def drop(window, *paths) -> None:
    """Drop files on the window as a file manager does."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    window.dropEvent(
        QDropEvent(
            QPointF(400, 300), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        )
    )


def test_recent_workspaces_are_shown_with_their_facts(window, folder, tmp_path, qtbot):
    with Workspace.open(folder) as workspace:
        workspace.thumbnail(workspace.items()[0])
    remember(tmp_path / "gone")
    remember(folder)
    window.show_start()
    cards = window.start.cards
    assert [card.recent.folder for card in cards] == [folder, tmp_path / "gone"]
    qtbot.waitUntil(lambda: "3 slides" in cards[0].facts.text() and cards[1].facts.text() == "Not found")
    assert "opened today" in cards[0].facts.text()
    assert len(cards[0].strip.pictures) == 1
    assert cards[0].name.full_text() == "workspace"


def test_a_click_on_a_card_opens_the_workspace(window, folder, qtbot):
    remember(folder)
    window.show_start()
    qtbot.mouseClick(window.start.cards[0], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.item is not None)
    assert window.workspace.folder == folder
    assert window.windowTitle() == "alpha – workspace – Opsin"


def test_a_missing_workspace_says_so_and_can_be_forgotten(window, tmp_path):
    (tmp_path / "gone").mkdir()
    remember(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    window.show_start()
    window.start.cards[0].click()
    assert window.workspace is None
    assert "gone is not there" in window.banners.texts()[0]
    assert not (tmp_path / "gone").exists(), "nothing is made in its place"
    window.start.cards[0].forgotten.emit(tmp_path / "gone")
    assert recent_workspaces() == []
    assert window.start.cards == []


def test_dropping_a_slide_opens_it_in_a_workspace_beside_it(window, slides, qtbot):
    drop(window, slides / "beta.png")
    qtbot.waitUntil(lambda: window.item is not None)
    assert window.item.name == "beta"
    assert window.workspace.folder == slides / "opsin"
    assert window.windowTitle() == "beta – case 7 – Opsin"
    assert window.model.slide.width == 640


def test_dropping_a_folder_adds_all_its_slides(window, slides, qtbot):
    drop(window, slides)
    qtbot.waitUntil(lambda: window.item is not None)
    assert [item.name for item in window.workspace.items()] == ["alpha", "beta", "gamma"]


def test_dropping_something_unreadable_says_one_sentence(window, tmp_path, qtbot):
    (tmp_path / "notes.svs").write_text("no slide")
    drop(window, tmp_path / "notes.svs")
    qtbot.waitUntil(lambda: bool(window.banners.banners))
    assert "notes.svs" in window.banners.texts()[0]
    assert "Traceback" not in window.banners.texts()[0]


def test_times_in_words():
    now = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
    assert when(now - 3600, now) == "today 11:00"
    assert when(now - 86400, now) == "yesterday"
    assert when(now - 86400 * 20, now) == "5 November"
    assert when(now - 86400 * 400, now) == "21 October 2025"
    assert when(0, now) == ""


def test_sample_is_made_in_the_background_and_opened(window, tmp_path, monkeypatch, qtbot):
    from opsin.engine import samples

    make = samples.make_slides
    monkeypatch.setattr(samples, "make_slides", lambda folder, count, seed: make(folder, count, seed, (1024, 768)))
    window.make_sample(tmp_path / "Sample")
    qtbot.waitUntil(window.start.progress_box.isVisible)
    assert not window.start.buttons["file.sample"].isEnabled()
    qtbot.waitUntil(lambda: window.item is not None, timeout=50_000)
    assert len(window.workspace.items()) == 6
    assert not window.start.progress_box.isVisible()


def test_start_page_imports_nothing_heavy(tmp_path):
    code = f"""
import json, sys
from opsin.gui.application import make_application, make_window
application = make_application()
window = make_window([])
window.show()
application.processEvents()
print("@@" + json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
window.close()
"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "OPSIN_CONFIG": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=50)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.split("@@")[1]) == []


def test_run_window_opens_the_files_named_and_ends_with_the_window(slides, tmp_path):
    code = f"""
from qtpy.QtCore import QTimer
from opsin.gui import application
make = application.make_window
def make_and_close(files):
    window = make(files)
    def look():
        if window.item is None:
            return
        print("@@", window.item.name, flush=True)
        timer.stop()
        window.close()
    timer = QTimer(window)
    timer.timeout.connect(look)
    timer.start(20)
    return window
application.make_window = make_and_close
raise SystemExit(application.run_window([{str(slides / "gamma.png")!r}]))
"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "OPSIN_CONFIG": str(tmp_path / "config")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "@@ gamma" in done.stdout
    assert "Traceback" not in done.stderr
    settings = json.loads((tmp_path / "config" / "settings.json").read_text())
    assert settings["geometry"]


def test_a_missing_workspace_is_taken_from_the_list_by_its_own_button(window, folder, tmp_path, qtbot):
    remember(tmp_path / "gone")
    remember(folder)
    window.show_start()
    there, gone = window.start.cards
    qtbot.waitUntil(lambda: gone.forget.isVisible())
    assert not there.forget.isVisible()
    assert there.height() == gone.height()
    gone.forget.setFocus()
    qtbot.keyClick(gone.forget, Qt.Key.Key_Return)
    assert [card.recent.folder for card in window.start.cards] == [folder]
    assert [entry.folder for entry in recent_workspaces()] == [str(folder)]


def test_a_folder_without_slides_is_left_as_it_is(window, tmp_path):
    empty = tmp_path / "notes"
    empty.mkdir()
    (empty / "read me.txt").write_text("no slide")
    drop(window, empty)
    assert window.workspace is None
    assert "no slides lie directly in it" in window.banners.texts()[0]
    drop(window, empty / "read me.txt")
    assert "is no slide that Opsin knows" in window.banners.texts()[0]
    drop(window, empty / "gone.svs")
    assert "is not there" in window.banners.texts()[0]
    assert sorted(path.name for path in empty.iterdir()) == ["read me.txt"]


def test_open_workspace_on_a_folder_without_slides_makes_nothing(window, tmp_path):
    empty = tmp_path / "notes"
    empty.mkdir()
    window.commands.open_folder(empty)
    assert window.workspace is None
    assert "New workspace" in window.banners.texts()[0]
    assert list(empty.iterdir()) == []
