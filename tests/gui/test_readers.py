"""The reader in the Annotate tab: what is drawn goes to the labels of the one chosen."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog

from opsin.widgets.reader_box import ADD

SQUARE = [np.array([[10.0, 10.0], [60.0, 10.0], [60.0, 60.0], [10.0, 60.0]])]


def test_a_reader_is_added_and_paints_into_labels_of_his_own(window, folder, qtbot):
    window.open_workspace(folder)
    qtbot.waitUntil(lambda: window.model.labels is not None)
    workspace, item, first = window.workspace, window.item, window.model.labels
    first.polygon(SQUARE, 1)
    first.flush()
    box = window.room.readers.box.box
    assert box.currentText() == "First reader"
    assert box.itemText(box.count() - 1) == ADD
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_End)
    dialog = window.findChild(QInputDialog)
    dialog.setTextValue("Ben")
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: box.currentText() == "Ben")
    assert workspace.reader == "ben"
    assert window.model.labels is workspace.labels(item, "ben")
    window.model.labels.polygon(SQUARE, 2)
    window.model.labels.flush()
    window.model.undo()
    window.model.labels.flush()
    assert workspace.labels(item, "ben").areas() == {}
    assert workspace.labels(item, "").areas() == {1: 2500}
    qtbot.keyClick(box, Qt.Key.Key_Home)
    assert box.currentText() == "First reader"
    assert window.model.labels is first
