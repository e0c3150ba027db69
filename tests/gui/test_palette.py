"""The command palette: what comes first, how large it is, what it says when nothing fits."""

from __future__ import annotations

import pytest

from opsin.gui.palette import CommandPalette, Entry, entries, ranked, score


def names(query, *texts):
    candidates = [Entry(text, text, "Menu", "", "") for text in texts]
    return [entry.text for entry in ranked(query, candidates)]


def test_order_is_name_start_of_name_start_of_a_word_inside_letters():
    order = ["Fit", "Fit slide", "Slide fit", "Outfitters", "File into"]
    assert names("fit", *reversed(order)) == order


def test_all_words_count_in_any_order():
    assert names("slide open", "Open workspace", "Slide view", "Open slides") == ["Open slides"]


def test_the_name_counts_more_than_the_menu():
    candidates = [Entry("a", "Results", "Train", "", ""), Entry("b", "Stop training", "Jobs", "", "")]
    assert [e.id for e in ranked("train", candidates)] == ["b", "a"]


def test_the_first_letter_starts_a_word():
    assert score("brsh", "Brush") > 0
    assert score("rush", "Brush") > 0, "inside the name"
    assert score("rsh", "Brush") == 0


def test_what_can_be_run_comes_first_among_those_that_fit_alike():
    candidates = [
        Entry("grey", "Redo", "Edit", "", "There is nothing to redo."),
        Entry("now", "Redraw", "View", "", ""),
    ]
    assert [e.id for e in ranked("red", candidates)] == ["now", "grey"]
    assert ranked("redo", candidates)[0].id == "grey", "but its own name beats it"


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("train", "Train"), ("open", "Open slides"), ("zoom", "Zoom in"), ("set", "Settings"), ("un", "Undo"),
        ("dark", "Dark"), ("heat", "Show heat maps"), ("neg", "Negative"), ("tumour", "Tumour"), ("guide", "Guide"),
    ],
)  # fmt: skip
def test_what_one_types_finds_what_one_means(opened, query, first):
    found = [Entry(e.id, e.text, e.where, e.keys, "") for e in entries(opened.book)]
    assert ranked(query, found)[0].text == first


def test_the_palette_is_as_high_as_what_it_found(opened, qtbot):
    opened.commands.show_palette()
    palette = opened.findChild(CommandPalette)
    qtbot.waitUntil(palette.isVisible)
    everything = palette.height()
    palette.line.setText("undo")
    qtbot.waitUntil(lambda: palette.height() < everything)
    assert palette.list.verticalScrollBar().maximum() == 0
    assert not palette.nothing.isVisible()
    palette.line.setText("xyzzy")
    qtbot.waitUntil(palette.nothing.isVisible)
    assert not palette.list.isVisible()
    palette.close()
