"""Correlation of two feature maps, looked up around where the flow points: from a volume, or without one.

Both ways give the same numbers but for rounding, and the same gradients: pooling and bilinear sampling are linear, so they
commute with the scalar product (method card, sections 2.3 and 2.6).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F

CHUNK_BYTES = 48 << 20
"""Memory for what is gathered at a time without a volume."""


class Correlation(Protocol):
    """Correlation of a first with a second feature map."""

    def __call__(self, there: torch.Tensor) -> torch.Tensor:
        """Look up around `there` [B, 2, h, w] (x, y in feature pixels of the second map).

        Returns
        -------
        float32 [B, levels * (2 radius + 1)^2, h, w]; coarser levels later, inside a level the offset in x moves slowest.
        """

    def turned(self) -> Correlation:
        """Return the correlation of the second with the first map."""


class FullVolume:
    """All pairs at once: 4/3 * 4 * (h w)^2 bytes per image pair; the fastest where it fits."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor, levels: int, radius: int) -> None:
        """`first`, `second`: features, float32 [B, D, h, w] of equal shape."""
        with torch.autocast(first.device.type, enabled=False):
            batch, channels, h, w = first.shape
            scaled = first.float().flatten(2) / math.sqrt(channels)
            volume = scaled.transpose(1, 2) @ second.float().flatten(2)
        self._build(volume.view(batch, h * w, h, w), levels, radius)

    def _build(self, volume: torch.Tensor, levels: int, radius: int) -> None:
        self.radius = radius
        self.shape = volume.shape
        pyramid = [volume.flatten(0, 1)[:, None]]
        for _ in range(levels - 1):
            pyramid.append(
                F.avg_pool2d(pyramid[-1], 2) if min(pyramid[-1].shape[-2:]) > 1 else pyramid[-1][..., :0, :0]
            )
        self.pyramid = pyramid

    def turned(self) -> FullVolume:
        batch, _, h, w = self.shape
        volume = self.pyramid[0].view(batch, h * w, h * w).transpose(1, 2).reshape(batch, h * w, h, w)
        other = FullVolume.__new__(FullVolume)
        other._build(volume, len(self.pyramid), self.radius)
        return other

    def __call__(self, there: torch.Tensor) -> torch.Tensor:
        batch, _, h, w = there.shape
        side = 2 * self.radius + 1
        offset = torch.arange(-self.radius, self.radius + 1, device=there.device, dtype=torch.float32)
        # the first index moves x, the second y: what the published weights expect
        delta = torch.stack(torch.meshgrid(offset, offset, indexing="ij"), -1)
        centre = there.permute(0, 2, 3, 1).reshape(batch * h * w, 1, 1, 2)
        found = []
        for level, volume in enumerate(self.pyramid):
            if not volume.numel():
                found.append(there.new_zeros(batch, side * side, h, w))
                continue
            grid = sampling_grid(centre / 2**level + delta, volume.shape[-1], volume.shape[-2])
            values = F.grid_sample(volume, grid, align_corners=False)
            found.append(values.view(batch, h, w, side * side).permute(0, 3, 1, 2))
        return torch.cat(found, 1).contiguous()


def sampling_grid(places: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Turn pixel places (..., 2) into what `grid_sample` with ``align_corners=False`` reads at exactly these places.

    The same values as with ``align_corners=True`` and ``2 x / (W - 1) - 1``, which divides by zero where a side is one pixel.
    """
    size = places.new_tensor([width, height])
    return (2 * places + 1) / size - 1


class OnDemand:
    """No volume: the products are made anew at every lookup, for as many pixels at a time as fit into `CHUNK_BYTES`."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor, levels: int, radius: int) -> None:
        """`first`, `second`: features, float32 [B, D, h, w] of equal shape."""
        self.first, self.second, self.levels, self.radius = first.float(), second.float(), levels, radius
        self.pixels = first.float().permute(0, 2, 3, 1).flatten(0, 2) / math.sqrt(first.shape[1])
        margin = 2 * radius + 2
        self.tables: list[torch.Tensor | None] = []
        level = self.second
        for number in range(levels):
            if number:
                if min(level.shape[-2:]) < 2:
                    self.tables.append(None)
                    continue
                level = F.avg_pool2d(level, 2)
            self.tables.append(F.pad(level, (margin,) * 4).permute(0, 2, 3, 1).contiguous())

    def turned(self) -> OnDemand:
        return OnDemand(self.second, self.first, self.levels, self.radius)

    def __call__(self, there: torch.Tensor) -> torch.Tensor:
        batch, _, h, w = there.shape
        side = 2 * self.radius + 1
        centre = there.permute(0, 2, 3, 1).reshape(-1, 2)
        found = []
        for level, table in enumerate(self.tables):
            if table is None:
                found.append(there.new_zeros(batch, side * side, h, w))
                continue
            values = _Look.apply(self.pixels, table, centre / 2**level, self.radius)
            found.append(values.view(batch, h, w, side * side).permute(0, 3, 1, 2))
        return torch.cat(found, 1)


class _Look(torch.autograd.Function):
    """Scalar products of each pixel's features with those around a place; gathered again, not kept, for the gradient."""

    @staticmethod
    def forward(
        context: Any, pixels: torch.Tensor, table: torch.Tensor, centre: torch.Tensor, radius: int
    ) -> torch.Tensor:
        """`pixels` [N, D]; `table` [B, H + 2m, W + 2m, D] with a margin m of zeros; `centre` [N, 2]; gives [N, side^2]."""
        context.save_for_backward(pixels, table, centre)
        context.radius = radius
        side = 2 * radius + 1
        result = pixels.new_empty(len(pixels), side * side)
        for part in _parts(pixels, radius):
            corner, share = _corners(centre[part], table, radius, part, len(pixels))
            around = _gather(table, corner, radius)
            product = torch.bmm(around, pixels[part, :, None]).view(-1, side + 1, side + 1)
            fx, fy = share[:, 0, None, None], share[:, 1, None, None]
            columns = product[..., :-1] * (1 - fx) + product[..., 1:] * fx
            values = columns[:, :-1] * (1 - fy) + columns[:, 1:] * fy
            result[part] = values.transpose(1, 2).flatten(1)
        return result

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        pixels, table, centre = context.saved_tensors
        radius, side = context.radius, 2 * context.radius + 1
        to_pixels, to_table = torch.empty_like(pixels), torch.zeros_like(table)
        flat = to_table.view(-1, table.shape[-1])
        steps = torch.arange(side + 1, device=table.device)
        for part in _parts(pixels, radius):
            corner, share = _corners(centre[part], table, radius, part, len(pixels))
            fx, fy = share[:, 0, None, None], share[:, 1, None, None]
            given = gradients[0][part].view(-1, side, side).transpose(1, 2)
            rows = F.pad(given * (1 - fy), (0, 0, 0, 1)) + F.pad(given * fy, (0, 0, 1, 0))
            weight = (F.pad(rows * (1 - fx), (0, 1)) + F.pad(rows * fx, (1, 0))).flatten(1)
            to_pixels[part] = torch.bmm(weight[:, None], _gather(table, corner, radius))[:, 0]
            b, y, x = (value[:, None, None] for value in corner.unbind(1))
            index = (b * table.shape[1] + y + steps[:, None]) * table.shape[2] + x + steps
            flat.index_add_(0, index.flatten(), (weight[..., None] * pixels[part, None]).flatten(0, 1))
        return to_pixels, to_table, None, None


def _parts(pixels: torch.Tensor, radius: int) -> list[slice]:
    count = max(1, CHUNK_BYTES // (4 * pixels.shape[1] * (2 * radius + 2) ** 2))
    return [slice(start, start + count) for start in range(0, len(pixels), count)]


def _corners(
    centre: torch.Tensor, table: torch.Tensor, radius: int, part: slice, total: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (image, row, column) of the first of the (2 radius + 2)^2 neighbours in `table`, and the fraction (x, y)."""
    margin = 2 * radius + 2
    centre = centre.nan_to_num(nan=-1e6, posinf=1e6, neginf=-1e6)
    whole = centre.floor()
    place = whole.long() - radius + margin
    x = place[:, 0].clamp(0, table.shape[2] - margin)  # beyond the margin everything is zero
    y = place[:, 1].clamp(0, table.shape[1] - margin)
    number = torch.arange(part.start, part.start + len(centre), device=centre.device)
    return torch.stack([number // (total // table.shape[0]), y, x], 1), centre - whole


def _gather(table: torch.Tensor, corner: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the features [n, (2 radius + 2)^2, D] at and right below of each corner; rows are copied whole."""
    side = 2 * radius + 2
    batch, height, width, channels = table.shape
    runs = table.as_strided(
        (batch, height, width - side + 1, side * channels), (height * width * channels, width * channels, channels, 1)
    )
    b, y, x = corner.unbind(1)
    rows = runs[b[:, None], y[:, None] + torch.arange(side, device=table.device), x[:, None]]
    return rows.view(len(corner), side * side, channels)
