"""The slide view: gigapixel slides, looked at and painted on, in one plain QWidget (no OpenGL).

`model.py` is what is shown and with which tool (no Qt); `view.py` draws it and `input.py` takes the events; `toolset.py` is
the list of tools and `tools.py` says what a tool is (`brush.py`, `outline.py`, … are the tools); `tilecache.py` decodes
slide tiles in two threads; `painting.py` colours label and heat tiles and draws live strokes on them; `overview.py` and
`overlay.py` are the small map, scale bar and read-outs.
All tiles are 512 x 512 on grids of 1, 2, 4, … level-0 pixels per tile pixel, whatever the slide's own levels are.
"""

from .model import Overlay, SlideViewModel
from .toolset import TOOL_KEYS, TOOLS, TOOLSET, ToolInfo

__all__ = ["TOOLS", "TOOLSET", "TOOL_KEYS", "Overlay", "SlideView", "SlideViewModel", "ToolInfo"]


def __getattr__(name: str) -> object:
    # The model must be importable where there is no Qt.
    if name == "SlideView":
        from .view import SlideView

        return SlideView
    raise AttributeError(name)
