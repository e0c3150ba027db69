"""What explains the layers over the slide: legend, value under the pointer, heat map in the overview."""

from __future__ import annotations

import numpy as np
import pytest

from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.tiles import TilePyramid
from opsin.widgets.slide import Overlay, SlideView, SlideViewModel
from opsin.widgets.slide.colormaps import colormap
from opsin.widgets.slide.overlay import layers, value_text

from .slide_scenes import ArraySlide, grabbed


@pytest.fixture
def view(qtbot):
    view = SlideView()
    qtbot.addWidget(view)
    view.resize(700, 500)
    view.show()
    view.model.set_slide(ArraySlide(4000, 3000))
    assert view.wait_painted()
    yield view
    view.model.set_slide(None)
    view.scene.tiles.loader.stop()


@pytest.fixture
def heat(tmp_path):
    with TilePyramid.create(tmp_path / "a.heat", 4000, 3000, base=8, reduce="mean") as heat:
        values = np.zeros((512, 512), np.uint8)
        values[:200, :100], values[:200, 100:200] = 255, 128
        with heat.transaction():
            heat.write(0, 0, values)
        yield heat


def test_the_value_under_the_pointer_is_the_maps(heat):
    model = SlideViewModel()
    model.add_overlay(Overlay("heat map", heat))
    assert value_text(model, (799.9, 10)) == "heat map 1.00"
    assert value_text(model, (800, 10)) == "heat map 0.50"
    assert value_text(model, (1600, 10)) == "", "not computed there"
    assert value_text(model, (-1, 10)) == "" and value_text(model, (4000, 10)) == ""
    model.add_overlay(Overlay("pseudo labels, round 1", heat))
    assert value_text(model, (10, 10)) == "pseudo labels, round 1 1.00  heat map 1.00"
    model.update_overlay("heat map", visible=False)
    assert value_text(model, (10, 10)) == "pseudo labels, round 1 1.00"


def test_the_legend_shows_the_colours_in_sight_from_where_they_are_drawn(view, heat):
    def has(value: int) -> bool:
        lower_left = grabbed(view)[-140:, :400].astype(int)
        return bool((abs(lower_left - colormap("ice")[value].astype(int)).sum(2) <= 6).any())

    assert not has(250)
    view.model.add_overlay(Overlay("heat map", heat, colormap="ice", threshold=0.4))
    assert has(250) and has(110)
    view.model.update_overlay("heat map", threshold=0.8)
    assert has(250) and not has(110)
    view.model.update_overlay("heat map", visible=False)
    assert not has(250) and not layers(view.model)


def test_the_overview_shows_the_heat_map_and_follows_it(view, heat, qtbot):
    small = view.overview

    def blue(x: float, y: float) -> bool:
        at = (int(3 + x * (small.width() - 6)), int(3 + y * (small.height() - 6)))
        red, _, blue = grabbed(small)[at[1], at[0]][:3].tolist()
        return blue > red + 60

    view.model.zoom_at(20)  # away with the frame around what is in sight
    assert small.isVisible() and not blue(0.1, 0.25)
    view.model.add_overlay(Overlay("heat map", heat, colormap="ice", threshold=0.6, opacity=1.0))
    qtbot.waitUntil(lambda: blue(0.1, 0.25))
    assert not blue(0.3, 0.25), "below the threshold"
    with heat.transaction():
        heat.write(0, 0, np.full((512, 512), 255, np.uint8))
    view.model.refresh_overlay("heat map")
    qtbot.waitUntil(lambda: blue(0.3, 0.25))
    view.model.update_overlay("heat map", visible=False)
    qtbot.waitUntil(lambda: not blue(0.1, 0.25))


def test_layers_and_classes_are_told_apart_by_their_colours():
    """At each probability that is drawn to begin with, the two maps differ from each other and from the first classes."""
    at = np.arange(128, 256)
    ice, magenta = (colormap(name)[at].astype(int) for name in ("ice", "magenta"))
    assert abs(ice - magenta).sum(1).min() > 100
    for label in DEFAULT_CLASSES:
        rgb = np.array([int(label.color[i : i + 2], 16) for i in (1, 3, 5)])
        for table in (ice, magenta):
            assert abs(table - rgb).sum(1).min() > 100, label.name
