"""Which slides lie in a folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import SlideError
from .sets import slide_files


def slides_in(path: Path) -> list[Path]:
    """Return `path` itself when it is a slide (or no folder), else all slides directly in the folder, by name.

    Raises
    ------
    SlideError : it is a folder without slides.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = [slide for slide in slide_files([path]) if not slide.name.startswith(".")]
    if not found:
        raise SlideError(f"There are no slides directly in the folder {path}; name one that holds some.")
    return found
