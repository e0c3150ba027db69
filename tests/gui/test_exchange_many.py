"""Export and import of many slides through the window: every format, progress, cancel, the origin of coordinates."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog

from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import read_annotations, write_annotations
from opsin.engine.labels.formats import FORMATS
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.shapes import Outline
from opsin.gui.export_dialog import ALL, THIS, ExportDialog, ProgressSheet
from opsin.gui.import_dialog import MappingDialog


def square(x, y, size):
    return [np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]], float)]


@pytest.fixture
def labelled(opened):
    """The window; alpha and beta have labels."""
    for item in opened.workspace.items()[:2]:
        opened.workspace.labels(item).polygon(square(10, 10, 60), 1)
    opened.workspace.flush()
    return opened


def dialog_of(window, qtbot, kind):
    qtbot.waitUntil(lambda: any(isinstance(d, kind) for d in window._dialogs))
    return next(d for d in window._dialogs if isinstance(d, kind))


def press(qtbot, dialog):
    """Press the first button as the user does."""
    box = dialog.findChild(QDialogButtonBox)
    button = next(b for b in box.buttons() if box.buttonRole(b) == QDialogButtonBox.ButtonRole.AcceptRole)
    assert button.isVisible() and button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def said(window, qtbot):
    qtbot.waitUntil(lambda: bool(window.banners.banners))
    return window.banners.banners[0]


@pytest.mark.parametrize("place", range(len(FORMATS)), ids=lambda place: FORMATS[place].name)
def test_the_open_slide_in_every_format(labelled, tmp_path, qtbot, monkeypatch, place):
    kind = FORMATS[place]
    target = tmp_path / f"out{kind.ending}"
    asked = []

    def name(parent, title, suggested, filter):
        asked.append(suggested)
        return str(target), filter

    monkeypatch.setattr(QFileDialog, "getSaveFileName", name)
    labelled.book["file.export"].trigger()
    dialog = dialog_of(labelled, qtbot, ExportDialog)
    assert dialog.slides.currentData() == THIS and "alpha" in dialog.slides.currentText()
    for _ in range(place):
        qtbot.keyClick(dialog.format, Qt.Key.Key_Down)
    assert dialog.chosen_format == kind
    assert "level-0" in dialog.note.text() and dialog.about.text() == kind.help
    press(qtbot, dialog)
    assert asked[0].endswith(f"alpha{kind.ending}")
    assert said(labelled, qtbot).sentence.startswith("Wrote ")
    outlines = read_annotations(target)
    assert [o.bounds for o in outlines] == [(10, 10, 70, 70)] and outlines.origin == "slide"


def test_all_slides_go_into_a_folder_and_may_be_numbered(labelled, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    labelled.book["file.export"].trigger()
    dialog = dialog_of(labelled, qtbot, ExportDialog)
    assert not dialog.numbered.isVisible()
    dialog.slides.setFocus()
    qtbot.keyClick(dialog.slides, Qt.Key.Key_Down)
    assert dialog.slides.currentData() == ALL and "(2)" in dialog.slides.currentText()
    qtbot.mouseClick(dialog.numbered, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert dialog.numbered.isChecked()
    press(qtbot, dialog)
    banner = said(labelled, qtbot)
    assert banner.sentence == f"Wrote 2 files to {tmp_path / 'out'}."
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"slide-0001.geojson", "slide-0002.geojson"}


def test_what_cannot_be_written_is_listed_and_the_rest_is_there(labelled, tmp_path, qtbot, monkeypatch):
    target = tmp_path / "out"
    (target / "alpha-labels.ome.zarr").mkdir(parents=True)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(target))
    labelled.book["file.export"].trigger()
    dialog = dialog_of(labelled, qtbot, ExportDialog)
    dialog.format.setCurrentIndex(dialog.format.findData("ome-zarr"))
    dialog.slides.setCurrentIndex(dialog.slides.findData(ALL))
    press(qtbot, dialog)
    banner = said(labelled, qtbot)
    assert (
        banner.kind == "warning"
        and "Wrote 1 file to" in banner.sentence
        and "1 could not be written" in banner.sentence
    )
    assert "exists already" in banner.details
    assert read_annotations(target / "beta-labels.ome.zarr")


def test_an_export_is_cancelled_from_its_sheet(labelled, tmp_path, qtbot, monkeypatch):
    from opsin.engine import transfer
    from opsin.gui import transfer as sheet_of

    monkeypatch.setattr(sheet_of, "PATIENCE_MS", 0)
    held = []

    def export_item(workspace, item, path, format, origin, options, inner):
        while True:  # until the sheet's button is pressed
            inner(len(held), 10**9)
            held.append(item)

    monkeypatch.setattr(transfer, "export_item", export_item)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    labelled.book["file.export"].trigger()
    dialog = dialog_of(labelled, qtbot, ExportDialog)
    dialog.slides.setCurrentIndex(dialog.slides.findData(ALL))
    press(qtbot, dialog)
    sheet = dialog_of(labelled, qtbot, ProgressSheet)
    qtbot.waitUntil(lambda: "1 of 2" in sheet.what.full_text())
    qtbot.mouseClick(sheet.cancel_button, Qt.MouseButton.LeftButton)
    assert "The rest was cancelled" in said(labelled, qtbot).sentence
    assert not list(tmp_path.glob("out/*")) and not labelled._dialogs


def test_many_files_go_into_the_slides_of_their_names_in_one_go(opened, tmp_path, qtbot):
    for name in ("alpha", "gamma", "delta"):
        write_annotations(tmp_path / f"{name}.xml", [Outline("a", square(10, 10, 50), "Gland", "#0000FF")])
    opened.open_paths([tmp_path / f"{name}.xml" for name in ("alpha", "gamma", "delta")])
    dialog = dialog_of(opened, qtbot, MappingDialog)
    assert dialog.head.text() == "2 outlines from 2 files into 2 slides"
    assert "delta.xml" in dialog.doubt.text()
    dialog.boxes["Gland"].setCurrentIndex(0)
    press(qtbot, dialog)
    banner = said(opened, qtbot)
    assert banner.sentence == "Imported 2 files, each one step of Undo on its slide. 1 could not be imported."
    assert "Imported into gamma: 1 outline as Tumour" in banner.details and "delta.xml" in banner.details
    for item, count in zip(opened.workspace.items(), (2500, None, 2500)):
        if count:
            store = opened.workspace.labels(item)
            assert store.areas() == {1: count} and store.undo_text.startswith("Import")


def test_a_dropped_mask_and_dropped_labels_go_to_the_slide_of_their_name(labelled, tmp_path, qtbot):
    from opsin.engine.labels.formats import BY_NAME
    from opsin.engine.transfer import export_item

    item = labelled.workspace.items()[1]
    for name in ("mask-tiff", "mask-png", "ome-zarr"):
        target = tmp_path / f"beta{BY_NAME[name].ending}"
        export_item(labelled.workspace, item, target, BY_NAME[name])
        labelled.open_paths([target])
        dialog = dialog_of(labelled, qtbot, MappingDialog)
        assert dialog.head.text() == f"1 outline from {target.name} into beta"
        assert dialog.choices()["Tumour"].value == 1 and not dialog.origin_row.isVisible()
        dialog.reject()
        qtbot.waitUntil(lambda: not labelled._dialogs)
    assert len(labelled.workspace.items()) == 3, "a mask is no slide"


def test_coordinates_of_the_bounds_box_are_asked_for_and_guessed(opened, tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr("opsin.engine.labels.frame.bounds_of", lambda slide: (400, 300, 200, 150))
    monkeypatch.setattr("opsin.engine.transfer.bounds_of", lambda slide: (400, 300, 200, 150))
    monkeypatch.setattr("opsin.engine.data.picture.PictureSlide.thumbnail", lambda *_: blank_but(400, 300))
    feature = {"type": "Polygon", "coordinates": [[[10, 10], [60, 10], [60, 60], [10, 60], [10, 10]]]}
    (tmp_path / "alpha.geojson").write_text(json.dumps(feature))
    opened.exchange.import_file(tmp_path / "alpha.geojson")
    dialog = dialog_of(opened, qtbot, MappingDialog)
    assert dialog.origin_row.isVisible() and dialog.origin() == "bounds"
    assert "miss the tissue" in dialog.origin_note.text()
    press(qtbot, dialog)
    said(opened, qtbot)
    assert opened.model.labels.bounds() == (410, 310, 50, 50)


def blank_but(x, y):
    """A small picture of the slide with tissue right of and below a point."""
    small = np.full((480, 640, 3), 255, np.uint8)
    small[y:, x:] = (200, 100, 150)
    return small


def test_marks_are_offered_and_come_in(opened, tmp_path, qtbot):
    from opsin.engine.labels.geojson import write_geojson
    from opsin.engine.labels.mark_outlines import mark_outlines

    marks = [Mark("marker", ((30.0, 40.0),), label=1, note="mitosis"), Mark("ruler", ((0.0, 0.0), (50.0, 60.0)))]
    write_geojson(tmp_path / "alpha.geojson", mark_outlines(marks, DEFAULT_CLASSES))
    opened.exchange.import_file(tmp_path / "alpha.geojson")
    dialog = dialog_of(opened, qtbot, MappingDialog)
    assert dialog.marks_box.text() == "Also add 1 marker, 1 ruler" and dialog.marks_box.isVisible()
    press(qtbot, dialog)
    assert "2 marks" in said(opened, qtbot).sentence
    assert {(m.kind, m.label, m.note) for m in opened.model.labels.marks()} == {
        ("marker", 1, "mitosis"),
        ("ruler", None, ""),
    }
