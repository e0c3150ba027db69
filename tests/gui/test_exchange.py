"""Annotations in and out through the window, with real ASAP files where the samples are at hand."""

from __future__ import annotations

import numpy as np
import pytest

from opsin.engine.labels.exchange import read_annotations, write_annotations
from opsin.engine.labels.shapes import Outline
from opsin.gui.exchange import CLEAR, SKIP, MappingDialog


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
    assert "2 Tumour" in opened.banners.texts()[0]
    assert store.areas() == {1: 2 * 100 * 100 - 20 * 20, 2: 20 * 20}
    qtbot.waitUntil(lambda: opened.workspace.items()[0].marked > 0)
    opened.commands.undo()
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
    assert "2 of class 'Tumor', as you chose." in opened.banners.banners[0].details


def test_a_dropped_file_goes_to_the_slide_of_its_name(opened, annotations, qtbot):
    opened.open_paths([annotations])
    dialog = mapping(opened, qtbot)
    assert "into beta" in dialog.findChildren(type(opened.status.position))[0].text()
    dialog.accept()
    qtbot.waitUntil(lambda: opened.workspace.items()[1].marked > 0)
    assert opened.model.labels.areas() == {}, "the open slide stays as it was"


def test_import_of_a_real_file(opened, data, qtbot):
    path = data / "wsi" / "composed" / "comp_01.xml"
    opened.open_paths([data / "wsi" / "composed" / "comp_01.tif"])
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.name == "comp_01")
    opened.exchange.import_file(path)
    mapping(opened, qtbot).accept()
    qtbot.waitUntil(lambda: bool(opened.model.labels.areas()), timeout=10_000)
    assert set(opened.model.labels.areas()) == {1}
    qtbot.waitUntil(lambda: opened.status.saved.text().startswith("Saved "))


def test_malformed_file_is_one_sentence(opened, tmp_path, qtbot):
    path = tmp_path / "bad.xml"
    path.write_text("<ASAP_Annotations><Annotations><Annot")
    opened.exchange.import_file(path)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "bad.xml" in opened.banners.texts()[0]
    assert opened.model.labels.areas() == {}


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
