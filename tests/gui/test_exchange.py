"""Annotations in and out through the window, with real ASAP files where the samples are at hand."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel, QScrollArea

from opsin.engine.labels.exchange import read_annotations, write_annotations
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.shapes import Outline
from opsin.engine.workspace import Workspace
from opsin.gui.exchange import CLEAR, SKIP, MappingDialog
from opsin.gui.import_dialog import NEW
from opsin.widgets.background import finish_background


def square(x: float, y: float, size: float) -> list[np.ndarray]:
    return [np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]], float)]


@pytest.fixture
def annotations(tmp_path):
    """An ASAP file: two tumour squares and a normal one, named like the second slide."""
    path = tmp_path / "beta.xml"
    outlines = [
        Outline("a", square(10, 10, 100), "Tumor"),
        Outline("b", square(200, 10, 100), "Tumor"),
        Outline("c", square(40, 40, 20), "stroma"),
    ]
    write_annotations(path, outlines)
    return path


def mapping(window, qtbot) -> MappingDialog:
    qtbot.waitUntil(lambda: any(isinstance(d, MappingDialog) for d in window._dialogs))
    return next(d for d in window._dialogs if isinstance(d, MappingDialog))


def test_import_asks_with_a_prefilled_table_and_is_one_undo_step(opened, annotations, qtbot):
    opened.exchange.import_file(annotations)
    dialog = mapping(opened, qtbot)
    choices = dialog.choices()
    assert choices["Tumor"].name == "Tumour" and choices["stroma"].name == "Normal"
    dialog.accept()
    store = opened.model.labels
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert opened.banners.texts()[0] == (
        "Imported into alpha: 2 outlines as Tumour, 1 as Normal. Undo takes it back in one step."
    )
    assert store.areas() == {1: 2 * 100 * 100 - 20 * 20, 2: 20 * 20}
    qtbot.waitUntil(lambda: opened.workspace.items()[0].marked > 0)
    opened.book["edit.undo"].trigger()
    store.flush()
    assert store.areas() == {}


def test_classes_can_be_left_out_or_cleared(opened, annotations, qtbot):
    opened.model.labels.polygon(square(0, 0, 80), 3)
    opened.exchange.import_file(annotations)
    dialog = mapping(opened, qtbot)
    dialog.boxes["Tumor"].setCurrentIndex(dialog.boxes["Tumor"].findData(SKIP))
    dialog.boxes["stroma"].setCurrentIndex(dialog.boxes["stroma"].findData(CLEAR))
    dialog.accept()
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert opened.model.labels.areas() == {3: 80 * 80 - 20 * 20}
    assert "2 outlines of class 'Tumor': left out." in opened.banners.banners[0].details


def unknown(path, *names, size=100):
    write_annotations(path, [Outline(n, square(120 * i, 10, size), n, "#0000FF") for i, n in enumerate(names)])
    return path


def choose(dialog, name, value):
    box = dialog.boxes[name]
    box.setCurrentIndex(box.findData(value))


def test_nothing_is_imported_before_somebody_says_what_an_unknown_class_is(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", "Gland"))
    dialog = mapping(opened, qtbot)
    assert dialog.choices() == {"Gland": SKIP} and not dialog.import_button.isEnabled()
    assert "choose what the outlines become" in dialog.note.text()
    assert dialog.focusWidget() is dialog.boxes["Gland"]
    choose(dialog, "Gland", 1)
    assert dialog.import_button.isEnabled()
    qtbot.mouseClick(dialog.import_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert opened.model.labels.areas() == {1: 100 * 100}


def test_unknown_classes_beside_known_ones_are_left_out_and_named(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", "Tumor", "Gland", "Ignore*", "normal"))
    dialog = mapping(opened, qtbot)
    names = {name: getattr(choice, "name", choice) for name, choice in dialog.choices().items()}
    assert names == {"Tumor": "Tumour", "Gland": SKIP, "Ignore*": "Exclude", "normal": "Normal"}
    assert "Left out: 'Gland'" in dialog.note.text() and dialog.import_button.isEnabled()
    dialog.accept()
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "1 left out ('Gland')" in opened.banners.texts()[0]
    assert set(opened.model.labels.areas()) == {1, 2, 3}


def test_a_new_class_takes_name_and_colour_of_the_file(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", "Gland", "Duct"))
    dialog = mapping(opened, qtbot)
    choose(dialog, "Gland", NEW)
    choose(dialog, "Duct", NEW)
    dialog.accept()
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    made = opened.workspace.classes[-2:]
    assert [(c.name, c.value, c.role) for c in made] == [("Gland", 4, "ignore"), ("Duct", 5, "ignore")]
    assert made[0].color == "#0000FF" and made[1].color != "#0000FF", "two classes never look the same"
    assert opened.model.labels.areas() == {4: 10_000, 5: 10_000}
    qtbot.waitUntil(lambda: [c.name for c in opened.model.classes[-2:]] == ["Gland", "Duct"])
    assert "left out of training" in opened.banners.texts()[0]


def test_a_new_class_of_a_file_never_gets_the_value_of_a_removed_one(opened, tmp_path, qtbot):
    opened.room.annotations.remove_class(1)
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", "Gland"))
    dialog = mapping(opened, qtbot)
    choose(dialog, "Gland", NEW)
    assert dialog.choices()["Gland"].value == 4


def test_a_failed_import_leaves_classes_and_labels_as_they_were(opened, tmp_path, qtbot):
    opened.model.labels.polygon(square(0, 0, 80), 3)
    far = [Outline("far", square(5000, 10, 20), "Gland")]
    write_annotations(tmp_path / "a.geojson", far)
    before = opened.workspace.classes
    opened.exchange.import_file(tmp_path / "a.geojson")
    dialog = mapping(opened, qtbot)
    choose(dialog, "Gland", NEW)
    dialog.accept()
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "outside the slide" in opened.banners.texts()[0]
    assert opened.workspace.classes == before and opened.model.labels.areas() == {3: 80 * 80}


def test_erasing_is_prefilled_for_exclusions_alone(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.xml", "Tumor", "_2", "Gland", "None"))
    choices = mapping(opened, qtbot).choices()
    assert [name for name, choice in choices.items() if choice == CLEAR] == ["_2"]


def test_the_dialog_is_done_by_keyboard(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", "Gland"))
    dialog = mapping(opened, qtbot)
    qtbot.keyClick(dialog.boxes["Gland"], Qt.Key.Key_Home)
    assert dialog.choices()["Gland"].name == "Tumour"
    order, at = [], dialog.boxes["Gland"]
    for _ in range(3):
        at = at.nextInFocusChain()
        while not (at.isEnabled() and at.focusPolicy() & Qt.FocusPolicy.TabFocus):
            at = at.nextInFocusChain()
        order.append(at)
    assert dialog.import_button in order, "Tab leads to Import"
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert opened.model.labels.areas() == {1: 100 * 100}


def test_names_of_a_file_are_shown_as_text_not_as_markup(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", "<b>Gland</b>", "x" * 300))
    dialog = mapping(opened, qtbot)
    formats = {label.textFormat() for label in dialog.findChildren(QLabel) if "Gland" in label.text()}
    assert formats == {Qt.TextFormat.PlainText}
    assert dialog.width() < 900, "a long name does not stretch the dialog"


def test_a_dropped_file_goes_to_the_slide_of_its_name(opened, annotations, qtbot):
    opened.open_paths([annotations])
    dialog = mapping(opened, qtbot)
    assert "into beta" in dialog.head.text()
    dialog.accept()
    qtbot.waitUntil(lambda: opened.workspace.items()[1].marked > 0)
    assert opened.model.labels.areas() == {}, "the open slide stays as it was"
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    said = opened.banners.texts()[0]
    assert said.startswith("Imported into beta: ") and said.endswith("open that slide and press Undo once.")


@pytest.mark.parametrize(
    ("name", "doubt"),
    [
        ("alpha", ""),
        ("alpha_annotations", ""),
        ("beta", "named like the slide beta"),
        ("tumor_073", "No slide is named"),
    ],
)
def test_a_file_that_fits_the_open_slide_badly_is_doubted(opened, annotations, qtbot, name, doubt):
    path = annotations.rename(annotations.with_name(f"{name}.xml"))
    opened.exchange.import_file(path)
    dialog = mapping(opened, qtbot)
    assert doubt in dialog.doubt.text() and dialog.doubt.isVisible() == bool(doubt)


def test_outlines_without_a_class_are_taken_for_tumour_and_the_dialog_says_so(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "alpha.geojson", ""))
    dialog = mapping(opened, qtbot)
    assert dialog.choices()[""].name == "Tumour" and "taken for 'Tumour'" in dialog.note.text()
    choose(dialog, "", 2)
    assert "taken for" not in dialog.note.text()


def test_import_of_a_real_file(opened, data, qtbot):
    path = data / "wsi" / "composed" / "comp_01.xml"
    opened.open_paths([data / "wsi" / "composed" / "comp_01.tif"])
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.name == "comp_01")
    opened.exchange.import_file(path)
    mapping(opened, qtbot).accept()
    qtbot.waitUntil(lambda: bool(opened.model.labels.areas()), timeout=10_000)
    assert set(opened.model.labels.areas()) == {1}
    qtbot.waitUntil(lambda: opened.status.saved.text().startswith("Saved "))


@pytest.mark.parametrize(
    "text",
    [
        "<ASAP_Annotations><Annotations><Annot",
        '{"type": "FeatureCollection", "features": [',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[1, NaN], [2, 2], [3, 1]]]}}]',
        "",
    ],
)
def test_malformed_file_is_one_sentence(opened, tmp_path, qtbot, text):
    opened.model.labels.polygon(square(0, 0, 80), 3)
    path = tmp_path / "bad.xml"
    path.write_text(text)
    opened.exchange.import_file(path)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "bad.xml" in opened.banners.texts()[0] and "\n" not in opened.banners.texts()[0]
    assert opened.model.labels.areas() == {3: 80 * 80} and not opened._dialogs


def test_the_wheel_scrolls_the_table_and_changes_no_class(opened, tmp_path, qtbot):
    opened.exchange.import_file(unknown(tmp_path / "a.geojson", *(f"Class {k}" for k in range(20)), size=10))
    dialog = mapping(opened, qtbot)
    before = dialog.choices()
    box = dialog.boxes["Class 3"]
    at, turn = QPointF(box.rect().center()), QPoint(0, -120)
    buttons, keys = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(at, QPointF(box.mapToGlobal(at.toPoint())), QPoint(), turn, buttons, keys,
                        Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(box, event)
    assert dialog.choices() == before
    assert dialog.findChild(QScrollArea).verticalScrollBar().maximum() > 0


def test_export_writes_what_is_painted(opened, tmp_path, qtbot):
    opened.model.labels.polygon(square(100, 50, 64), 2)
    target = tmp_path / "out.geojson"
    opened.exchange.export_file(target)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "Wrote 1 outline to" in opened.banners.texts()[0]
    outlines = read_annotations(target)
    assert [o.class_name for o in outlines] == ["Normal"]
    assert outlines[0].bounds == (100, 50, 164, 114)


def test_import_without_a_slide_says_what_to_do(window, annotations):
    window.exchange.import_file(annotations)
    assert "open the slide" in window.banners.texts()[0]


def test_an_import_that_is_asked_about_ends_with_its_workspace(opened, annotations, tmp_path, qtbot):
    """Neither a dialog that is open nor a file that is still being read follows into another workspace."""
    opened.exchange.import_file(annotations)
    mapping(opened, qtbot)
    first = opened.workspace.folder
    with Workspace.create(tmp_path / "other"):
        pass
    assert opened.open_workspace(tmp_path / "other")
    assert not [d for d in opened._dialogs if isinstance(d, MappingDialog)]
    assert opened.open_workspace(first)
    qtbot.waitUntil(lambda: opened.item is not None)
    opened.exchange.import_file(annotations)
    assert opened.open_workspace(tmp_path / "other")
    finish_background()
    QApplication.processEvents()
    assert not opened._dialogs and not opened.banners.texts()


def test_marks_that_a_format_cannot_hold_are_told_in_a_sentence_of_their_own(opened, tmp_path, qtbot):
    opened.model.labels.polygon(square(100, 50, 64), 2)
    opened.model.labels.add_marks([Mark("marker", ((at, at),)) for at in (10.0, 20.0)])
    target = tmp_path / "out.tif"
    opened.exchange.export_file(target)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    text = opened.banners.texts()[0]
    assert text.endswith(f" to {target}. 2 marks were left out: this format cannot hold them."), text
