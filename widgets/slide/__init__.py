"""The slide view: gigapixel slides, looked at and painted on, in one plain QWidget (no OpenGL).

`model.py` is what is shown and with which tool (no Qt); `view.py` draws it and takes the events; `tools.py` holds one
class per tool; `tilecache.py` decodes slide tiles in two threads; `painting.py` colours label and heat tiles and draws
live strokes on them; `overview.py` and `overlay.py` are the small map, scale bar and read-outs.
All tiles are 512 x 512 on grids of 1, 2, 4, … level-0 pixels per tile pixel, whatever the slide's own levels are.
"""

from .model import TOOL_KEYS, TOOLS, Overlay, SlideViewModel

__all__ = ["TOOLS", "TOOL_KEYS", "Overlay", "SlideView", "SlideViewModel"]


def __getattr__(name: str) -> object:
    # The model must be importable where there is no Qt.
    if name == "SlideView":
        from .view import SlideView

        return SlideView
    raise AttributeError(name)
