"""`python -m opsin.widgets.slide [SLIDE]`: the slide view alone, on a slide or a made one, with labels to try out."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from qtpy.QtWidgets import QApplication

from ...engine.data.slides import open_slide
from ...engine.labels.store import LabelStore
from ..theme import apply_theme
from .view import SlideView


def main() -> int:
    """Open the window; the labels live in a temporary folder."""
    app = QApplication(sys.argv)
    apply_theme(app)
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            path = Path(sys.argv[1])
        else:
            from ...engine.samples import make_slides

            path = make_slides(Path(folder), 1, seed=1)[0].path
        slide = open_slide(path)
        with slide, LabelStore.create(Path(folder) / "try.labels", slide.width, slide.height) as labels:
            view = SlideView()
            view.setWindowTitle(path.name)
            view.model.set_slide(slide, labels)
            view.model.tool = "brush"
            view.show()
            status = app.exec()
            view.model.set_slide(None)
        return status


if __name__ == "__main__":
    raise SystemExit(main())
