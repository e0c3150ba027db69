"""Random known transformations and the pairs they make of one photograph (method card, section 4.3).

A map takes the regular grid (-1..1 along each axis at the centres of the outermost pixels, (x, y) order) to the places where the
source is read. Parameters are moved positions, not offsets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .correlation import sampling_grid

CORNERS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0))
CONTROLS = tuple((x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0))


def regular_grid(height: int, width: int) -> torch.Tensor:
    """Return (x, y) in -1..1 of every pixel, [height, width, 2]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y], -1)


# ---- the three kinds -----------------------------------------------------------------------------------------------


def affine_grid(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the grid [H, W, 2] of a 2 x 3 affine map."""
    return regular_grid(height, width) @ theta[:, :2].T + theta[:, 2]


def homography_of_corners(theta: torch.Tensor) -> torch.Tensor:
    """Return the 3 x 3 matrix (last entry 1) that moves the four corners to `theta`: 4 x, then 4 y."""
    rows, values = [], []
    for (x, y), u, v in zip(CORNERS, theta[:4].tolist(), theta[4:].tolist()):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved = torch.linalg.solve(torch.tensor(rows, dtype=torch.float64), torch.tensor(values, dtype=torch.float64))
    return torch.cat([solved, solved.new_ones(1)]).view(3, 3)


def homography_grid(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the grid [H, W, 2] of the homography that moves the corners to `theta`."""
    grid = regular_grid(height, width).double()
    moved = torch.cat([grid, torch.ones_like(grid[..., :1])], -1) @ homography_of_corners(theta).T
    return (moved[..., :2] / moved[..., 2:]).float()


def spline_grid(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the grid [H, W, 2] of the thin-plate spline that moves the 3 x 3 control points to `theta`: 9 x, then 9 y."""
    points = torch.tensor(CONTROLS, dtype=torch.float64)
    linear = torch.cat([torch.ones(9, 1, dtype=torch.float64), points], 1)
    system = torch.zeros(12, 12, dtype=torch.float64)
    system[:9, :9] = _kernel(points, points)
    system[:9, 9:], system[9:, :9] = linear, linear.T
    wanted = torch.cat([theta.double().view(2, 9).T, torch.zeros(3, 2, dtype=torch.float64)])
    weights = torch.linalg.solve(system, wanted)
    grid = regular_grid(height, width).double().view(-1, 2)
    basis = torch.cat([_kernel(grid, points), torch.ones_like(grid[:, :1]), grid], 1)
    return (basis @ weights).view(height, width, 2).float()


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return r^2 log r^2 of all distances, 0 at r = 0."""
    squared = (a[:, None] - b).square().sum(-1)
    return torch.where(squared > 0, squared * torch.log(squared.clamp(min=1e-300)), 0.0)


def random_grid(height: int, width: int, generator: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Return the grid [H, W, 2] of an affine map, a homography or a thin-plate spline, drawn uniformly, with a random zoom.

    `strength` scales all ranges; 1 is published.
    """

    def uniform(count: int) -> torch.Tensor:
        return (2 * torch.rand(count, generator=generator) - 1) * strength

    kind = int(torch.randint(3, (1,), generator=generator))
    if kind == 0:
        turn, shear = torch.deg2rad(uniform(1) * 60), torch.deg2rad(uniform(1) * 90)
        scale = torch.diag(1 + 0.2 * uniform(2))
        matrix = _rotation(turn) @ _rotation(shear).T @ scale @ _rotation(shear)
        grid = affine_grid(torch.cat([matrix, 0.75 * uniform(2)[:, None]], 1), height, width)
    elif kind == 1:
        corners = torch.tensor(CORNERS).T.flatten()
        grid = homography_grid(corners + 0.5 * uniform(8), height, width)
    else:
        grid = spline_grid(torch.tensor(CONTROLS).T.flatten() + 0.5 * uniform(18), height, width)
    zoom = 0.5 + 4.5 * float(torch.rand(1, generator=generator))
    return grid * zoom**strength


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    c, s = float(angle.cos()), float(angle.sin())
    return torch.tensor([[c, -s], [s, c]])


# ---- a pair with known flow ----------------------------------------------------------------------------------------


def to_pixels(grid: torch.Tensor) -> torch.Tensor:
    """Turn a grid [..., H, W, 2] in -1..1 into pixel places: -1 is the centre of the first, 1 that of the last pixel."""
    height, width = grid.shape[-3:-1]
    return (grid + 1) / 2 * grid.new_tensor([width - 1, height - 1])


def splat_inverse(places: torch.Tensor, on: torch.Tensor, least: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Invert a map by splatting it forwards with bilinear weights.

    Parameters
    ----------
    places : [H, W, 2]: where in the source (pixels) each pixel of the warped picture was read.
    on : [H, W] which of them count: those that were read inside the source.
    least : weight that a pixel of the source must have gathered to count as hit.

    Returns
    -------
    For every pixel of the source its place in the warped picture [H, W, 2], and whether it is known (bool [H, W]).
    """
    height, width = places.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here = torch.stack([columns, rows], -1).to(places).view(-1, 2)
    flat = torch.where(on[..., None], places, -10.0).reshape(-1, 2)
    corner = flat.floor()
    share = flat - corner
    total = places.new_zeros(height * width, 3)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0].long() + dx, corner[:, 1].long() + dy
            weight = (share[:, 0] if dx else 1 - share[:, 0]) * (share[:, 1] if dy else 1 - share[:, 1])
            on = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            values = torch.cat([here, torch.ones_like(here[:, :1])], 1) * weight[:, None]
            total.index_add_(0, (y * width + x)[on], values[on])
    weight = total[:, 2]
    hit = weight > least
    found = torch.where(hit[:, None], total[:, :2] / weight.clamp(min=least)[:, None], 0)
    found, off = _improved(found.view(1, height, width, 2), places, here.view(1, height, width, 2))
    return found[0], hit.view(height, width) & (off[0] < 1)


def _improved(found: torch.Tensor, places: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Improve an inverse by Newton steps; return it with the error in pixels of the source that is left.

    Splatting alone leaves an error of up to a pixel where the picture shrinks.
    """
    planes = places.permute(2, 0, 1)
    height, width = places.shape[:2]
    slopes = [torch.gradient(planes, dim=axis)[0] for axis in (2, 1)] if min(height, width) > 1 else [planes * 0] * 2
    whole = torch.cat([planes, *slopes])[None]  # place (x, y), its change along a row, its change along a column

    def read(at: torch.Tensor) -> torch.Tensor:
        grid = sampling_grid(at, width, height)
        return F.grid_sample(whole, grid, align_corners=False, padding_mode="border").permute(0, 2, 3, 1)

    values = read(found)
    off = (wanted - values[..., :2]).norm(dim=-1)
    for _ in range(3):
        rest = wanted - values[..., :2]
        a, c, b, d = values[..., 2:].unbind(-1)
        determinant = a * d - b * c
        safe = torch.where(determinant.abs() > 1e-6, determinant, 1.0)
        step = (
            torch.stack([d * rest[..., 0] - b * rest[..., 1], a * rest[..., 1] - c * rest[..., 0]], -1)
            / safe[..., None]
        )
        better = found + step.clamp(-2, 2)
        new = read(better)
        left = (wanted - new[..., :2]).norm(dim=-1)
        closer = (left < off) & (determinant.abs() > 1e-6)
        found = torch.where(closer[..., None], better, found)
        values = torch.where(closer[..., None], new, values)
        off = torch.where(closer, left, off)
    return found, off


def warped_pair(
    image: torch.Tensor, background: torch.Tensor, grid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Warp `image` [3, H, W] by `grid` [H, W, 2], with `background` [3, H, W] where it does not reach.

    Returns
    -------
    The warped picture [3, H, W]; the flow image -> warped [2, H, W] and where it is known [H, W]; the flow warped -> image and
    where it is known.
    """
    places = to_pixels(grid)
    height, width = image.shape[-2:]
    on = (grid.abs() <= 1).all(-1)
    read = F.grid_sample(image[None], grid[None], align_corners=True, padding_mode="border")[0]
    warped = torch.where(on, read, background)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here = torch.stack([columns, rows], -1).to(places)
    forth, known = splat_inverse(places, on)
    return warped, (forth - here).permute(2, 0, 1), known, (places - here).permute(2, 0, 1), on
