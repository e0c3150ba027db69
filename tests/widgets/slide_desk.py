"""A slide view with an empty label store, for the tests of its tools."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QApplication

from opsin.engine.labels.store import LabelStore
from opsin.widgets.slide import SlideView

from .slide_scenes import grabbed


class Desk:
    """A view with a slide and an empty store; 1 screen pixel = 1 level-0 pixel until it is zoomed."""

    def __init__(self, qtbot, slide, folder, zoom=1.0, centre=None) -> None:
        self.slide, self.qtbot = slide, qtbot
        self.store = LabelStore.create(folder / "slide.labels", slide.width, slide.height)
        self.view = SlideView()
        qtbot.addWidget(self.view)
        self.view.resize(700, 500)
        self.view.show()
        self.model = self.view.model
        self.model.set_slide(slide, self.store)
        if zoom is not None:
            self.model.move_to(*(centre or (slide.width / 2, slide.height / 2)))
            self.model.zoom_at(zoom / self.model.zoom)
        self.model.tool = "brush"
        self.model.brush_um = 40 * (self.model.mpp or 1) / self.model.zoom  # 40 screen pixels wide
        qtbot.waitUntil(self.view.hasFocus)
        self.view.clearFocus()
        assert self.view.wait_painted()

    def to_slide(self, *points) -> np.ndarray:
        return np.array([self.model.to_slide(*p) for p in points])

    def settle(self) -> None:
        """Wait until the edit is in the store and the view has read it again."""
        self.store.flush()
        QApplication.processEvents()
        assert self.view.wait_painted()

    def shown(self) -> np.ndarray:
        """The picture without ring and read-outs: the pointer is taken away."""
        self.view.pointer = None
        return grabbed(self.view).astype(float)

    def labels(self) -> np.ndarray:
        return self.store.region(0, 0, 0, self.slide.width, self.slide.height)

    def close(self) -> None:
        self.model.set_slide(None)
        self.view.scene.tiles.loader.stop()
        self.store.close()
