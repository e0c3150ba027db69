"""Channels of a fluorescence slide: what each is called, in which colour and between which values it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2")
"""Okabe and Ito's colours in an order whose sums can be told apart: blue first, the nuclear stain is mostly channel 0."""

PERCENTILES = (0.1, 99.9)
"""Between these percentiles of a coarse level a channel is shown whose file does not say better."""


@dataclass(frozen=True)
class Channel:
    """One channel, as the file describes it (`Slide.channels`) or as it is shown (`Slide.display`).

    Attributes
    ----------
    name : of the stain or filter; "Channel 1" where the file has none.
    color : "#rrggbb", what the value `high` is shown as.
    low, high : values (in the unit of the file's pixels) that are shown as black and as the full colour; low < high.
    visible : whether it takes part in the composite.
    """

    name: str
    color: str
    low: float
    high: float
    visible: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise ValueError(f"a colour is written #rrggbb, not {self.color}")
        if not self.low < self.high:
            raise ValueError(f"channel {self.name}: low ({self.low:g}) must be below high ({self.high:g})")


def composite(values: np.ndarray, display: Sequence[Channel]) -> np.ndarray:
    """Add the visible channels in their colours.

    Parameters
    ----------
    values : [C, h, w] of any number type; not-a-number counts as black.
    display : C channels.

    Returns
    -------
    uint8 [h, w, 3], RGB: each channel scaled from ``low..high`` to ``0..1`` and cut there, times its colour; the sum is cut
    at 255.
    """
    total = np.zeros((3, *values.shape[1:]), np.float32)
    for plane, channel in zip(values, display, strict=True):
        if not channel.visible:
            continue
        weight = plane.astype(np.float32)
        weight -= np.float32(channel.low)
        weight *= np.float32(1.0 / (channel.high - channel.low))
        np.clip(weight, 0, 1, out=weight)
        if plane.dtype.kind == "f":
            np.nan_to_num(weight, copy=False)
        for part, amount in zip(total, rgb_of(channel.color)):
            if amount:
                part += weight * np.float32(amount)
    total += 0.5
    np.clip(total, 0, 255, out=total)
    return np.ascontiguousarray(total.transpose(1, 2, 0).astype(np.uint8))


def rgb_of(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of "#rrggbb"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def described(
    values: np.ndarray | None,
    count: int,
    names: Sequence[str | None] = (),
    colors: Sequence[str | None] = (),
    windows: Sequence[tuple[float, float] | None] = (),
    visible: Sequence[bool] = (),
) -> tuple[Channel, ...]:
    """Channels from what a file says, filled up where it says nothing.

    Parameters
    ----------
    values : [C, n] or [C, h, w] pixels of a coarse level for the windows that are missing; None = there are none.
    count : number of channels C; the lists may be shorter.
    """
    found = []
    for number in range(count):
        name = (names[number] if number < len(names) else None) or f"Channel {number + 1}"
        color = colors[number] if number < len(colors) else None
        if color is None or not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            color = "#ffffff" if count == 1 else COLOURS[number % len(COLOURS)]
        window = windows[number] if number < len(windows) else None
        if window is None or not (np.isfinite(window).all() and window[0] < window[1]):
            window = window_of(values[number]) if values is not None else (0.0, 1.0)
        found.append(Channel(name, color, *window, visible[number] if number < len(visible) else True))
    return tuple(found)


def window_of(values: np.ndarray) -> tuple[float, float]:
    """(low, high) for showing pixels: their percentiles 0.1 and 99.9; never empty."""
    finite = np.ravel(values)
    finite = finite[np.isfinite(finite)] if finite.dtype.kind == "f" else finite
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, PERCENTILES))
    if not low < high:  # an even field, or specks too few for the percentiles
        low, high = float(finite.min()), float(finite.max())
    if not low < high:
        high = low + (1.0 if finite.dtype.kind in "iu" else max(abs(low), 1.0))
    return low, high


def color_of_number(value: int) -> str:
    """ "#rrggbb" of OME's Color, a signed 32-bit RGBA."""
    return f"#{(value & 0xFFFFFFFF) >> 8:06x}"
