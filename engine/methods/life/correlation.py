"""Correlation of two feature maps, looked up around where the flow points: from a volume, or without one.

Both ways give the same numbers but for rounding, and the same gradients: pooling is linear, so it commutes with the scalar
product (method card, sections 2.3 and 2.6).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

TILE = 16
"""Side of the tiles of the first map for which products are made together where there is no volume."""
LEAST_TILE = 4
WINDOW = 64 * 64
"""Feature pixels of the second map beyond which a tile is cut into four: its pixels go to different places."""
KEPT_BYTES = 96 << 20
"""Memory for volumes of coarse levels, which are small, where there is none of the fine ones."""


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
        batch, _, h, w = first.shape
        self._build(_products(_scaled(first), second.float()).view(batch, h * w, h, w), levels, radius)

    def _build(self, volume: torch.Tensor, levels: int, radius: int) -> None:
        self.radius = radius
        self.shape = volume.shape
        self.pyramid = [volume]
        for _ in range(levels - 1):
            self.pyramid.append(_pooled(self.pyramid[-1]))

    def turned(self) -> FullVolume:
        batch, _, h, w = self.shape
        volume = self.pyramid[0].view(batch, h * w, h * w).transpose(1, 2).reshape(batch, h * w, h, w)
        other = FullVolume.__new__(FullVolume)
        other._build(volume, len(self.pyramid), self.radius)
        return other

    def __call__(self, there: torch.Tensor) -> torch.Tensor:
        found = [_map(look_up(v, _places(there, n), self.radius), there) for n, v in enumerate(self.pyramid)]
        return torch.cat(found, 1)


class OnDemand:
    """No volume of fine levels: at every lookup the products are made anew, for a tile of pixels at a time and with that part
    of the second map alone in which the tile's pixels look."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor, levels: int, radius: int) -> None:
        """`first`, `second`: features, float32 [B, D, h, w] of equal shape."""
        self.first, self.second, self.levels, self.radius = first, second, levels, radius
        self.scaled = _scaled(first)
        self.maps = [second.float()]
        for _ in range(levels - 1):
            self.maps.append(_pooled(self.maps[-1]))
        self.volumes: dict[int, torch.Tensor] = {}
        batch, _, h, w = first.shape
        left = KEPT_BYTES
        for level in range(levels - 1, -1, -1):
            rows, columns = self.maps[level].shape[-2:]
            left -= 4 * batch * h * w * rows * columns
            if left < 0:
                break
            self.volumes[level] = _products(self.scaled, self.maps[level]).view(batch, h * w, rows, columns)

    def turned(self) -> OnDemand:
        return OnDemand(self.second, self.first, self.levels, self.radius)

    def __call__(self, there: torch.Tensor) -> torch.Tensor:
        found = []
        for level in range(self.levels):
            if level in self.volumes:
                found.append(_map(look_up(self.volumes[level], _places(there, level), self.radius), there))
            else:
                found.append(self._by_tiles(there / 2**level, self.maps[level]))
        return torch.cat(found, 1)

    def _by_tiles(self, there: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Look up one level around `there` [B, 2, h, w], in pixels of that level."""
        ends = torch.stack([-F.max_pool2d(-there, TILE, ceil_mode=True), F.max_pool2d(there, TILE, ceil_mode=True)], 1)
        boxes = ends.nan_to_num(0.0).clamp(-1e6, 1e6).cpu()
        batches = []
        for number, box in enumerate(boxes):
            rows = []
            for i in range(box.shape[2]):
                parts = []
                for j in range(box.shape[3]):
                    tile = (slice(i * TILE, (i + 1) * TILE), slice(j * TILE, (j + 1) * TILE))
                    parts.append(
                        self._tile(
                            self.scaled[number][:, *tile], there[number][:, *tile], second[number], box[:, :, i, j]
                        )
                    )
                rows.append(torch.cat(parts, 2))
            batches.append(torch.cat(rows, 1))
        return torch.stack(batches)

    def _tile(self, first: torch.Tensor, there: torch.Tensor, second: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return the products [side^2, rows, columns] of a tile; `box` is the least and largest place (x, y) in it."""
        height, width = second.shape[-2:]
        (left, top), (right, bottom) = box.tolist()
        r = self.radius
        x0, x1 = max(0, math.floor(left) - r), min(width, math.floor(right) + r + 2)
        y0, y1 = max(0, math.floor(top) - r), min(height, math.floor(bottom) + r + 2)
        if x1 <= x0 or y1 <= y0:
            return there.new_zeros((2 * r + 1) ** 2, *there.shape[1:])
        if (x1 - x0) * (y1 - y0) > WINDOW and max(there.shape[1:]) > LEAST_TILE:
            return torch.cat(
                [torch.cat([self._part(first, there, second, s) for s in row], 2) for row in _quarters(there)], 1
            )
        seen = second[:, y0:y1, x0:x1]
        places = there - there.new_tensor([x0, y0])[:, None, None]
        if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
            found = checkpoint(_look_in, first, seen, places, r, use_reentrant=False)
            assert isinstance(found, torch.Tensor)
            return found
        return _look_in(first, seen, places, r)

    def _part(
        self, first: torch.Tensor, there: torch.Tensor, second: torch.Tensor, part: tuple[slice, slice]
    ) -> torch.Tensor:
        inner = there[:, *part]
        box = torch.stack([inner.amin((1, 2)), inner.amax((1, 2))]).nan_to_num(0.0).clamp(-1e6, 1e6)
        return self._tile(first[:, *part], inner, second, box)


def _quarters(tile: torch.Tensor) -> Iterator[list[tuple[slice, slice]]]:
    """Yield the two or one rows of parts that a tile [2, rows, columns] is cut into."""
    rows, columns = tile.shape[1:]
    across = [slice(0, (columns + 1) // 2), slice((columns + 1) // 2, columns)] if columns > 1 else [slice(0, 1)]
    down = [slice(0, (rows + 1) // 2), slice((rows + 1) // 2, rows)] if rows > 1 else [slice(0, 1)]
    for vertical in down:
        yield [(vertical, horizontal) for horizontal in across]


def _look_in(first: torch.Tensor, second: torch.Tensor, there: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the lookup [side^2, rows, columns] of a tile `first` [D, rows, columns] in a part of the second map."""
    products = _products(first[None], second[None]).view(1, -1, *second.shape[-2:])
    return _map(look_up(products, _places(there[None], 0), radius), there[None])[0]


def look_up(volume: torch.Tensor, centre: torch.Tensor, radius: int) -> torch.Tensor:
    """Read the (2 radius + 1)^2 places around each centre; bilinear, zero outside.

    Parameters
    ----------
    volume : [B, N, h, w]: for each of N pixels a map.
    centre : [B * N, 1, 1, 2]: (x, y) in pixels of the maps.

    Returns
    -------
    [B * N, side, side]; the first index moves x, the second y: what the published weights expect.
    """
    side = 2 * radius + 1
    maps = volume.flatten(0, 1)[:, None]
    if not maps.numel():
        return centre.new_zeros(len(centre), side, side)
    offset = torch.arange(-radius, radius + 1, device=centre.device, dtype=torch.float32)
    delta = torch.stack(torch.meshgrid(offset, offset, indexing="ij"), -1)
    grid = sampling_grid(centre + delta, maps.shape[-1], maps.shape[-2])
    return F.grid_sample(maps, grid, align_corners=False)[:, 0]


def sampling_grid(places: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Turn pixel places (..., 2) into what `grid_sample` with ``align_corners=False`` reads at exactly these places.

    The same values as with ``align_corners=True`` and ``2 x / (W - 1) - 1``, which divides by zero where a side is one pixel.
    """
    size = places.new_tensor([width, height])
    return (2 * places + 1) / size - 1


def _scaled(features: torch.Tensor) -> torch.Tensor:
    return features.float() / math.sqrt(features.shape[1])


def _products(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return all scalar products [B, N, M] of two maps [B, D, ...], in float32 whatever the precision of the training."""
    with torch.autocast(first.device.type, enabled=False):
        return first.flatten(2).transpose(1, 2) @ second.flatten(2)


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    """Halve the last two sides; an odd last row or column is dropped, and where nothing is left the maps are empty."""
    return F.avg_pool2d(maps, 2) if min(maps.shape[-2:]) > 1 else maps[..., :0, :0]


def _places(there: torch.Tensor, level: int) -> torch.Tensor:
    return there.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level


def _map(values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Turn [B * h * w, side, side] into [B, side^2, h, w]."""
    batch, _, h, w = there.shape
    return values.reshape(batch, h, w, -1).permute(0, 3, 1, 2)
