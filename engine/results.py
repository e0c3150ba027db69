"""What methods return. A result knows where it lies on disk and how to save itself in the formats of its field.

Methods that come later add their kinds here (Flow, Frames, Voxels, Pose, ...); `widgets/layers.py` turns each kind into
what the views show.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .errors import OpsinError
from .files import replacing, write_json


@dataclass
class Result:
    """Base of all results. `path` is the file that holds the data (None while only in memory)."""

    path: Path | None
    formats: ClassVar[dict[str, str]] = {}

    def save(self, path: Path) -> None:
        """Write the result to `path` in the format that its suffix names; `formats` lists suffix -> description."""
        path = Path(path)
        name = next((s for s in sorted(self.formats, key=len, reverse=True) if path.name.lower().endswith(s)), None)
        if name is None:
            raise OpsinError(
                f"{path.name}: a {type(self).__name__} is saved as one of {', '.join(self.formats)}; choose such a name."
            )
        getattr(self, "_save_" + name.strip(".").replace(".", "_"))(path)


@dataclass
class Heatmap(Result):
    """A probability for each place of a slide.

    `path` is a `tiles.TilePyramid` with ``kind="heat"``: uint8, 0 = not computed, v >= 1 means probability (v-1)/254.
    """

    title: str = "Probability"
    threshold: float = 0.5
    formats: ClassVar[dict[str, str]] = {
        ".tif": "pyramidal TIFF, 8 bit, 255 = probability 1",
        ".ome.zarr": "OME-Zarr, 8 bit, 255 = probability 1",
        ".geojson": "QuPath GeoJSON, outlines at the threshold",
        ".xml": "ASAP XML, outlines at the threshold",
    }

    def _save_tif(self, path: Path) -> None:
        from .data.tiff import write_heatmap

        write_heatmap(self, path)

    def _save_ome_zarr(self, path: Path) -> None:
        from .data.heat_zarr import write_heatmap_zarr

        write_heatmap_zarr(self, path)

    def _save_geojson(self, path: Path) -> None:
        from .labels.geojson import write_geojson
        from .labels.trace import heatmap_polygons

        write_geojson(path, heatmap_polygons(self))

    def _save_xml(self, path: Path) -> None:
        from .labels.asap import write_asap
        from .labels.trace import heatmap_polygons

        write_asap(path, heatmap_polygons(self))


NO_TISSUE = "no tissue found"
NO_TILES = "no tile could be read"


@dataclass
class SlideScore(Result):
    """The answer for one slide.

    Attributes
    ----------
    score : probability-like number in [0, 1]; higher = more likely positive. None where there is nothing to score.
    source : how it was made: "top-K classifier" or "mean of the K tile maxima"; without a score why: `NO_TISSUE`, `NO_TILES`.
    tiles : the K tiles it rests on: (x, y, size in level-0 px, probability).
    area : positive area at the threshold in mm², None without µm per pixel.
    skipped : number of tiles that could not be read.
    """

    slide: str = ""
    score: float | None = None
    source: str = ""
    tiles: list[tuple[int, int, int, float]] = field(default_factory=list)
    area: float | None = None
    skipped: int = 0
    formats: ClassVar[dict[str, str]] = {".json": "JSON", ".csv": "table with one row"}

    def plain(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "path"}

    def _save_json(self, path: Path) -> None:
        write_json(path, self.plain())

    def _save_csv(self, path: Path) -> None:
        row = {**self.plain(), "tiles": json.dumps(self.tiles)}
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerow(row)


@dataclass
class Flow(Result):
    """Where each pixel of a first picture lies in a second one; `path` is a file that `data.flow_files` reads.

    Attributes
    ----------
    first, second : the two pictures.
    consistency : ``.npz`` with the error in pixels of going there and back (float32 [H, W]) and where it is small (visible), or None.
    visible : share of visible pixels, None where only one direction was found.
    """

    first: str = ""
    second: str = ""
    consistency: Path | None = None
    visible: float | None = None
    formats: ClassVar[dict[str, str]] = {
        ".flo": "Middlebury, exact",
        ".png": "KITTI, 16 bit, 1/64 px",
        ".pfm": "portable float map, exact",
        ".npy": "numpy array",
        ".npz": "compressed numpy array",
    }

    def plain(self) -> dict[str, Any]:
        return {"first": self.first, "second": self.second, "visible": self.visible}

    def save(self, path: Path) -> None:
        from .data.flow_files import read_flow, write_flow

        if self.path is None:
            raise OpsinError(f"{Path(path).name}: the flow is not on disk; predict it again.")
        write_flow(path, read_flow(self.path))
