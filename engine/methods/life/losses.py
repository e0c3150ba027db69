"""What a training of LIFE minimises (method card, section 4.2).

Flow is float [B, 2, H, W] in pixels (x, y); pixel centres are whole numbers. A fundamental matrix F [B, 3, 3] satisfies
``x2' F x1 = 0`` for matching points x1 of the first and x2 of the second picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from .model import pixel_grid

CLAMP = 200.0
GAMMA = 0.8
PUBLISHED_EPS = 1e-8


def epipolar_distance(
    flow: torch.Tensor, fundamental: torch.Tensor, *, eps: float = 1e-12, form: str = "root"
) -> torch.Tensor:
    """Return the symmetric epipolar distance [B, H, W] in pixels of every match x -> x + flow(x).

    Parameters
    ----------
    fundamental : [B, 3, 3], best of unit Frobenius norm: `eps` is added to squared lengths of lines.
    eps : 1e-12 works with unit norm; the published code has 1e-8, with which short lines fade the distance to zero.
    form : "root": root of the sum of the squared distances to both lines (the code); "sum": sum of the distances (the text).
    """
    here = pixel_grid(flow)
    there = here + flow
    ones = torch.ones_like(here[:, :1])
    first = torch.cat([here, ones], 1).flatten(2).to(fundamental.dtype)
    second = torch.cat([there, ones], 1).flatten(2).to(fundamental.dtype)
    in_second = fundamental @ first
    in_first = fundamental.transpose(1, 2) @ second
    product = (second * in_second).sum(1)
    lengths = [line[:, :2].square().sum(1) + eps for line in (in_second, in_first)]
    if form == "root":
        squared = product.square() * (1 / lengths[0] + 1 / lengths[1])
        distance = torch.sqrt(squared + PUBLISHED_EPS)
    else:
        distance = sum(torch.sqrt(product.square() / length + PUBLISHED_EPS) for length in lengths)  # type: ignore[assignment]
    return distance.view(flow.shape[0], *flow.shape[2:])


def epipolar_loss(
    flow: torch.Tensor,
    fundamental: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    eps: float = 1e-12,
    form: str = "root",
) -> torch.Tensor:
    """Return the mean distance, clamped at 200 px, over all pixels or those of `mask` [B, H, W] (bool)."""
    distance = epipolar_distance(flow, fundamental, eps=eps, form=form).clamp(max=CLAMP)
    return distance.mean() if mask is None else masked_mean(distance, mask)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of `values` where `mask` is true; zero where it is nowhere (with a gradient of zero)."""
    mask = mask.to(values.dtype)
    return (values.nan_to_num() * mask).sum() / mask.sum().clamp(min=1)


def warp_loss(flow: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the mean over valid pixels of ``|x error| + |y error|`` against a known displacement [B, 2, H, W]."""
    return masked_mean((flow - torch.where(valid[:, None], target, 0)).abs().sum(1), valid)


def sequence_loss(flow: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, most: float = 400.0) -> torch.Tensor:
    """Return the supervised loss: mean absolute error per component over valid pixels that move less than `most` px.

    As in RAFT the mean runs over all pixels, invalid ones counting as zero.
    """
    target = target.nan_to_num()
    inside = valid & (target.square().sum(1).sqrt() < most)
    return (inside[:, None] * (flow - target).abs()).mean()


def sampled(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Read `values` [B, C, H, W] bilinearly at pixel places [B, 2, h, w]; zero outside."""
    from .correlation import sampling_grid

    grid = sampling_grid(places.permute(0, 2, 3, 1), values.shape[-1], values.shape[-2])
    return F.grid_sample(values, grid, align_corners=False)


def inside(places: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Tell which places [B, 2, h, w] lie on a picture: bool [B, h, w]."""
    x, y = places.unbind(1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def cycle_error(there: torch.Tensor, back: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``|f_AB(x) + f_BA(x + f_AB(x))|`` [B, H, W] in pixels and where x + f_AB(x) lies inside."""
    places = pixel_grid(there) + there
    total = there + sampled(back, places)
    return torch.sqrt(total.square().sum(1) + PUBLISHED_EPS), inside(places.detach(), *back.shape[-2:])


def cycle_loss(there: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Return the mean cycle error where the place is inside and the error below a tenth of the longer side.

    The form is not published; this is the one that the method card recommends.
    """
    error, on = cycle_error(there, back)
    return masked_mean(error, on & (error.detach() < 0.1 * max(there.shape[-2:])))


def over_iterations(
    flows: Sequence[torch.Tensor], loss: Callable[[torch.Tensor], torch.Tensor], gamma: float = GAMMA
) -> torch.Tensor:
    """Return the sum of the loss of every iteration's flow, weighted with ``gamma^(N - i)``."""
    last = len(flows) - 1
    return torch.stack([gamma ** (last - number) * loss(flow) for number, flow in enumerate(flows)]).sum()


def photometric_loss(flow: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the mean difference of brightness between `first` and `second` warped to it: the rival that light misleads.

    `first`, `second` are [B, 3, H, W], 0..255; the difference is that of colours in 0..1, in the Charbonnier form.
    """
    places = pixel_grid(flow) + flow
    difference = (first - sampled(second, places)) / 255
    return masked_mean(torch.sqrt(difference.square() + 1e-6).mean(1), inside(places.detach(), *second.shape[-2:]))
