"""Panels: nothing is cut off, columns stand below each other, texts keep off their frames."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from opsin.engine.jobs import JobSpec
from opsin.engine.method import get_method
from opsin.widgets import theme
from opsin.widgets.editors import IntEditor, QuietComboBox
from opsin.widgets.forms import SettingsForm
from opsin.widgets.results import ResultsPanel
from opsin.widgets.runs import RunPanel
from opsin.widgets.scrolling import PanelScroll
from opsin.widgets.slide.model import SlideViewModel
from opsin.widgets.slidebar import SlideBar
from opsin.widgets.texts import ElidedLabel
from opsin.widgets.training import TrainingPanel


@pytest.fixture(params=[100, 150])
def size(request, qapp):
    theme.apply_theme(qapp, "light", request.param)
    yield request.param
    theme.apply_theme(qapp, "light", 100)


def cut_off(panel):
    """Texts of a panel that get less room than they need."""
    found = []
    for widget in panel.findChildren(QWidget):
        if not widget.isVisibleTo(panel) or isinstance(widget, ElidedLabel):
            continue
        right = widget.mapTo(panel, QPoint(widget.width(), 0)).x()
        if right > panel.width() + 1:
            found.append(f"{type(widget).__name__} ends at {right} of {panel.width()}")
        ignored = widget.sizePolicy().horizontalPolicy() == QSizePolicy.Policy.Ignored
        plain = isinstance(widget, QPushButton) or (isinstance(widget, QLabel) and not widget.wordWrap())
        if plain and not ignored and widget.text() and widget.width() < widget.sizeHint().width():
            found.append(f"'{widget.text()}' has {widget.width()} of {widget.sizeHint().width()} px")
    return found


@pytest.mark.parametrize("which", [TrainingPanel, RunPanel, ResultsPanel])
def test_nothing_is_cut_off_in_a_panel_as_narrow_as_it_gets(which, workspace, fake_jobs, make_run, event, qtbot, size):
    make_run(metrics={"specificity_at_100": 0.82})
    job = fake_jobs.submit(
        JobSpec("train", "hybrid_wsi", {"run": "", "recipe": {}, "data": str(workspace.folder)}, "cpu", "a run")
    )
    job.apply(event("state", state="running"), event("progress", done=300, total=1200, what="round 1"))
    panel = which(workspace, fake_jobs)
    qtbot.addWidget(panel)
    if isinstance(panel, TrainingPanel):
        panel.form.show_all.setChecked(True)
    if isinstance(panel, RunPanel):
        panel.choose(job)
        panel.card.stop.click()
        job.asked_at -= 10
        panel.card.update_now()
    panel.show()
    qtbot.wait(0)
    panel.resize(panel.minimumSizeHint().width(), 900)
    qtbot.wait(0)
    assert cut_off(panel) == []


def test_a_panel_asks_for_the_width_of_its_content_also_when_that_grows(qtbot):
    content = QWidget()
    column = QVBoxLayout(content)
    column.addWidget(QPushButton("short"))
    outer = QWidget()
    qtbot.addWidget(outer)
    QVBoxLayout(outer).addWidget(PanelScroll(content))
    outer.show()
    before = outer.minimumSizeHint().width()
    column.addWidget(QPushButton("a button with a very long text that needs room"))
    qtbot.waitUntil(lambda: outer.minimumSizeHint().width() > before + 100)


def test_all_groups_of_a_form_have_the_same_columns(qtbot, size):
    form = SettingsForm(get_method("hybrid_wsi").Recipe)
    qtbot.addWidget(form)
    form.show_all.setChecked(True)
    form.resize(400, 1200)
    form.show()
    qtbot.wait(0)
    lefts = {row.editor.mapTo(form, QPoint(0, 0)).x() for row in form.rows.values()}
    units = {row.unit.mapTo(form, QPoint(0, 0)).x() for row in form.rows.values()}
    assert len(lefts) == 1
    assert len(units) == 1


def test_a_changed_setting_moves_no_column(qtbot):
    form = SettingsForm(get_method("hybrid_wsi").Recipe)
    qtbot.addWidget(form)
    form.resize(400, 1200)
    form.show()
    row = form.rows["batch_size"]
    before = row.editor.geometry()
    form.change(batch_size=7)
    qtbot.wait(0)
    assert row.reset.isVisible()
    assert row.editor.geometry() == before


def test_digits_keep_off_the_frame_of_a_spin_box(qtbot):
    editor = IntEditor(0, 100)
    qtbot.addWidget(editor)
    assert editor.box.lineEdit().textMargins().left() >= 6


def test_slide_label_and_split_fit_their_boxes(qtbot, size):
    bar = SlideBar(SlideViewModel())
    qtbot.addWidget(bar)
    bar.resize(900, 42)
    bar.show()
    for box in (bar.label, bar.split):
        for index in range(box.count()):
            room = box.width() - theme.px(24) - theme.px(12)  # less arrow and padding
            assert box.fontMetrics().horizontalAdvance(box.itemText(index)) <= room


def test_a_text_too_long_for_its_box_ends_in_dots(qtbot):
    text = "A graphics card with a very long name: 139.1 of 140.4 GiB free"
    box = QuietComboBox()
    qtbot.addWidget(box)
    box.addItem(text)
    box.resize(140, 28)
    box.show()

    def picture(shown):
        box.setItemText(0, shown)
        return box.grab().toImage()

    shown = picture(text)
    assert any(picture(text[:length] + "…") == shown for length in range(5, 25))


def test_the_panel_of_results_lists_what_lies_over_the_slide(workspace, fake_jobs, event, tmp_path, qtbot):
    from opsin.engine.tiles import TilePyramid

    path = tmp_path / "pseudo.heat"
    TilePyramid.create(path, 64, 48, reduce="mean").close()
    model = SlideViewModel()
    panel = ResultsPanel(workspace, fake_jobs, model)
    qtbot.addWidget(panel)
    panel.show()
    item = workspace.items()[1]
    panel.set_item(item.id)
    assert panel.map.no_layers.isVisible()
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": "", "recipe": {}}, "cpu", "a run"))
    preview = {"kind": "Heatmap", "path": str(path), "info": {"item": item.id}}
    job.apply(event("state", state="running"), event("preview", name="pseudo labels, round 1", **preview))
    qtbot.waitUntil(lambda: panel.map.layers.count() == 1)
    assert panel.map.layers.itemAt(0).widget().box.isChecked()
    assert not panel.map.no_layers.isVisible()
    model.remove_overlay("pseudo labels, round 1")
    qtbot.waitUntil(panel.map.no_layers.isVisible)


def test_a_card_without_a_job_takes_no_room_for_buttons(fake_jobs, workspace, qtbot):
    panel = RunPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    assert panel.minimumSizeHint().width() < theme.px(330)
    assert not panel.card.stop.isVisibleTo(panel.card)


def test_the_bar_lets_the_slide_become_narrow(qtbot, size):
    bar = SlideBar(SlideViewModel())
    host = QWidget()
    qtbot.addWidget(host)
    column = QVBoxLayout(host)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(bar)
    host.show()
    for width in (1000, 500, 400, 260, 1000):
        host.resize(theme.px(width), 100)
        qtbot.waitUntil(lambda width=width: bar.width() == theme.px(width))
        qtbot.wait(0)
        shown = [w for w in (bar.label, bar.split, bar.outlined, bar.adjust, bar.fit) if w.isVisible()]
        rights = [w.geometry().right() for w in shown]
        lefts = [w.geometry().left() for w in shown]
        assert all(left > right for left, right in zip(lefts[1:], rights)), "nothing lies on anything else"
        assert rights[-1] <= bar.width()
        assert bar.adjust in shown and bar.fit in shown and bar.label in shown


def test_a_preset_says_what_it_is_for(workspace, fake_jobs, qtbot):
    panel = TrainingPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    for name in ("quick", "paper", "workstation", "tiny"):
        panel.preset.setCurrentText(name)
        assert f"Preset {name}: " in panel.about.text()
        assert panel.about.text().startswith(panel._method.title)
