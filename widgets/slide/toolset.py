"""Which tools there are: one row per tool, from which tool box, menu, keys, palette and help are made. Knows no Qt.

A new tool is a subclass of `tools.Tool` in a module beside this one and a row in `TOOLSET`; the module is imported when
the tool is first chosen.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ToolInfo:
    """One tool.

    Attributes
    ----------
    name : what `SlideViewModel.tool` holds; also the name of the icon.
    title : on button and in the menu.
    key : portable shortcut that chooses it.
    help : one or two sentences for tooltip, menu and palette.
    place : "module:Class" in this folder.
    group : tools of one group stand together in the tool box.
    """

    name: str
    title: str
    key: str
    help: str
    place: str
    group: str = "paint"


# Letters of QuPath where it has the tool (M, B, R, O, W, P), else the usual ones of painting programs.
TOOLSET: tuple[ToolInfo, ...] = (
    ToolInfo(
        "pan", "Move", "M", "Drag to move the slide. Wheel zooms, Space or the middle button moves, in every tool.",
        "tools:Pan", "look",
    ),
    ToolInfo(
        "brush", "Brush", "B", "Paint with the current class; [ and ], or Alt and the wheel, change the size.", "brush:Brush"
    ),
    ToolInfo("eraser", "Eraser", "E", "Take labels away; locked classes stay.", "brush:Eraser"),
    ToolInfo(
        "polygon", "Polygon", "P", "Click corner by corner; Enter or a double click closes, Escape gives up.",
        "outline:Polygon",
    ),
    ToolInfo("lasso", "Lasso", "L", "Draw around an area with the button held.", "outline:Lasso"),
    ToolInfo(
        "rectangle", "Rectangle", "R", "Drag from corner to corner; Shift makes a square, Ctrl draws from the middle.",
        "shapes:Rectangle",
    ),
    ToolInfo(
        "ellipse", "Ellipse", "O", "Drag from corner to corner; Shift makes a circle, Ctrl draws from the middle.",
        "shapes:Ellipse",
    ),
    ToolInfo(
        "wand", "Wand", "W", "Click, or drag over, what looks alike; Alt and the wheel set how alike it has to be.",
        "wand:Wand",
    ),
    ToolInfo(
        "fill", "Fill", "G", "Click an enclosed hole to fill it, or a region to give it to the current class.",
        "region_tools:Fill", "region",
    ),
    ToolInfo("cut", "Cut", "K", "Draw a line across a region to cut it in two; Shift keeps it straight.",
             "region_tools:Cut", "region"),
    ToolInfo(
        "join", "Join", "J", "Draw a line from one region to another: both become one, of the first one's class.",
        "region_tools:Join", "region",
    ),
    ToolInfo("marker", "Marker", ".", "Click to set a marker with a note; drag it, Delete removes it.", "measure:Marker", "mark"),
    ToolInfo("ruler", "Ruler", "U", "Drag from point to point; Shift turns in steps of 15°.", "measure:Ruler", "mark"),
    ToolInfo("area", "Measure area", "Q", "Drag a rectangle, or click corner by corner and press Enter.", "measure:Area", "mark"),
    ToolInfo(
        "roi", "Region of interest", "V",
        "Drawn like an area: outside of it nothing counts, in training, prediction and evaluation.",
        "measure:RegionOfInterest", "mark",
    ),
    ToolInfo("pick", "Pick class", "I", "Click a labelled place to make its class the current one.", "tools:Pick", "look"),
)  # fmt: skip
TOOLS: tuple[str, ...] = tuple(tool.name for tool in TOOLSET)
TOOL_KEYS: dict[str, str] = {tool.name: tool.key for tool in TOOLSET}


def tool_info(name: str) -> ToolInfo:
    """Return the row of a tool; `KeyError` when there is none."""
    for tool in TOOLSET:
        if tool.name == name:
            return tool
    raise KeyError(name)
