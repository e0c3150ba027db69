"""Heat maps as OME-Zarr images (NGFF 0.5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OpsinError
from ..tiles import TilePyramid

if TYPE_CHECKING:
    from ..results import Heatmap


def write_heatmap_zarr(heatmap: Heatmap, path: Path) -> None:
    """Write a heat map as a multiscale image, whole or not at all: uint8, 255 = probability 1, 0 = 0 or not computed.

    Scale in µm where the slide's is known, else in level-0 pixels; every level is the mean over the one before.

    Raises
    ------
    OpsinError : the map is not on disk, or `path` exists already.
    """
    import zarr

    from ..labels.ngff import replacing_folder, write_levels

    if heatmap.path is None:
        raise OpsinError("This heat map is not on disk yet, so it cannot be exported: predict the slide again.")
    if path.exists():
        raise OpsinError(f"{path} exists already; choose another name.")
    # 0 = not computed, v >= 1 stands for (v - 1) / 254
    table = np.concatenate([[0], np.round(np.arange(255) * (255 / 254))]).astype(np.uint8)
    with TilePyramid.open(heatmap.path, readonly=True) as pyramid, replacing_folder(path) as temporary:
        mpp = pyramid.meta.get("mpp")
        scale = pyramid.base * (float(mpp) if mpp else 1.0)
        axes = [{"name": name, "type": "space", **({"unit": "micrometer"} if mpp else {})} for name in ("y", "x")]
        datasets = [
            {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [scale * (1 << n)] * 2}]}
            for n in range(pyramid.levels)
        ]
        window = {"min": 0, "max": 255, "start": round(255 * heatmap.threshold), "end": 255}
        channel = {"label": heatmap.title, "color": "FFB000", "active": True, "window": window}
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        facts: dict[str, Any] = {
            "version": "0.5",
            "multiscales": [{"name": heatmap.title, "type": "mean", "axes": axes, "datasets": datasets}],
            "omero": {"channels": [channel]},
        }
        group.attrs["ome"] = facts
        write_levels(group, pyramid, ("y", "x"), table)
