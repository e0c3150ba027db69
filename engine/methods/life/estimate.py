"""Flow of two pictures of any size: padding, memory, iterations, back to the pixels of the original pictures.

Flow points from a pixel of the first picture to its place in the original second picture, in pixels, with pixel centres at whole
numbers (method card, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .correlation import FullVolume, OnDemand
from .model import Design, FlowNetwork, MakeCorrelation

Memory = Literal["auto", "volume", "on_demand"]
LEAST = 16
"""Least number of feature pixels along a side: below it the coarsest level of the correlation is a single pixel wide."""
SHARE = 0.5
"""Share of the free memory that a correlation volume may take."""


@dataclass(frozen=True)
class Padding:
    """Pixels added by repeating the edge: left, right, bottom. As published: the width on both sides, the height below."""

    left: int
    right: int
    bottom: int

    @classmethod
    def of(cls, height: int, width: int, stride: int = 8) -> Padding:
        """Return the padding up to multiples of `stride` and at least `LEAST` strides."""
        least = LEAST * stride
        wide = max(least, -(-width // stride) * stride) - width
        return cls(wide // 2, wide - wide // 2, max(least, -(-height // stride) * stride) - height)

    def put(self, image: torch.Tensor) -> torch.Tensor:
        """Pad [B, C, H, W]."""
        return F.pad(image, (self.left, self.right, 0, self.bottom), mode="replicate")

    def take_off(self, image: torch.Tensor) -> torch.Tensor:
        """Undo `put` on anything of the padded size."""
        return image[..., : image.shape[-2] - self.bottom, self.left : image.shape[-1] - self.right]


def volume_bytes(height: int, width: int, design: Design, pairs: int = 1) -> int:
    """Return the memory of the full correlation volume with its pyramid, for padded pictures of that size."""
    padding = Padding.of(height, width, design.stride)
    rows = (height + padding.bottom) // design.stride
    columns = (width + padding.left + padding.right) // design.stride
    return int(4 * (rows * columns) ** 2 * sum(0.25**n for n in range(design.levels))) * pairs


def choose_correlation(memory: Memory, needed: int, free: int) -> tuple[MakeCorrelation, str]:
    """Return how to correlate, and a sentence that says so.

    Parameters
    ----------
    needed : bytes of the full volume, see `volume_bytes`.
    free : bytes that are free on the device.
    """
    size = f"{needed / 1e9:.2g} GB" if needed >= 1e8 else f"{max(1, round(needed / 1e6))} MB"
    if memory == "volume":
        return FullVolume, f"Correlation volume of {size}, as chosen."
    if memory == "on_demand":
        return OnDemand, f"Correlation on demand instead of a volume of {size}, as chosen."
    if needed <= SHARE * free:
        return FullVolume, f"Correlation volume of {size}; {free / 1e9:.1f} GB are free."
    return OnDemand, f"Correlation on demand: a volume of {size} is too much for the {free / 1e9:.1f} GB that are free."


def tensor(image: np.ndarray, colours: str = "RGB") -> torch.Tensor:
    """Turn uint8 RGB [H, W, 3] into float32 [1, 3, H, W] with the channels in the order that the weights expect."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None]
    return planes.flip(1) if colours == "BGR" else planes


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] bilinearly with half-pixel centres and without antialiasing, as published."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def rescaled(flow: torch.Tensor, height: int, width: int, centred: bool = True) -> torch.Tensor:
    """Make a flow into a second picture of this flow's own size point into one of `height` x `width`.

    Parameters
    ----------
    flow : [B, 2, H, W].
    centred : pixel centres keep their places; False: as published, which is off by half the ratio less half a pixel.
    """
    h, w = flow.shape[-2:]
    if (h, w) == (height, width):
        return flow
    y, x = torch.meshgrid(
        torch.arange(h, device=flow.device, dtype=flow.dtype),
        torch.arange(w, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    here = torch.stack([x, y])
    ratio = flow.new_tensor([width / w, height / h])[:, None, None]
    half = 0.5 if centred else 0.0
    return (here + flow + half) * ratio - half - here


@torch.inference_mode()
def estimate(
    model: FlowNetwork,
    first: np.ndarray,
    second: np.ndarray,
    iterations: int = 12,
    *,
    colours: str = "RGB",
    correlate: MakeCorrelation = FullVolume,
    centred: bool = True,
    coarse_first: bool = False,
) -> torch.Tensor:
    """Return the flow [1, 2, H, W] from `first` to `second`, both uint8 RGB [H, W, 3] and of any size.

    The second picture is resized to the first one's size where they differ. With `coarse_first` the flow is found at half the
    size first and refined from there (recommended for more than about two megapixels).
    """
    height, width = first.shape[:2]
    device = next(model.parameters()).device
    stride = model.design.stride
    padding = Padding.of(height, width, stride)
    a, b = (padding.put(tensor(image, colours).to(device)) for image in (first, resized(second, height, width)))
    start = None
    if coarse_first:
        smaller = [F.interpolate(x, scale_factor=0.5, mode="area") for x in (a, b)]
        inner = Padding.of(smaller[0].shape[-2], smaller[0].shape[-1], stride)
        low = model(*(inner.put(x) for x in smaller), iterations, correlate=correlate).full[-1]
        start = 2 * F.interpolate(inner.take_off(low), size=(a.shape[-2], a.shape[-1]), mode="bilinear")
        start = F.avg_pool2d(start, stride) / stride
    flow = padding.take_off(model(a, b, iterations, start, correlate=correlate).full[-1])
    return rescaled(flow, second.shape[0], second.shape[1], centred)
