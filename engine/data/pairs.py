"""Sets of image pairs in the layouts their users have, with what is known of each pair: flow, homography, poses or points.

`open_pairs` tells the layout: KITTI, Sintel, Middlebury, HPatches, MegaDepth (CAPS form), a model of COLMAP with its pictures,
correspondences of MegaDepth and RobotCar (``.csv``), ``pairs.json``, a list of files (``.txt``), or a folder of pictures in which
neighbours make pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import OpsinError
from ..geometry.epipolar import View, fundamental
from ..geometry.homography import homography_flow
from .flow_files import is_flow_file, read_flow

PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")


class PairError(OpsinError):
    """A pair or a set of pairs is incomplete, unreadable or does not fit together."""


def read_picture(path: Path, upright: bool = True) -> np.ndarray:
    """Return a picture as uint8 RGB [H, W, 3]: grey as three equal channels, alpha dropped, 16 bit scaled by its brightest value.

    Parameters
    ----------
    upright : turn it as the camera noted (EXIF); not for pictures with poses, which speak of the pixels as stored.

    Raises
    ------
    PairError : there is no such picture, or it is damaged.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            whole = ImageOps.exif_transpose(image) if upright else image
            if whole.mode in ("I", "F") or whole.mode.startswith("I;16"):
                values = np.nan_to_num(np.asarray(whole, np.float32))
                top = float(values.max(initial=0))
                grey = np.clip(values * (255 / top if top > 255 else 1), 0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, 2)
            if whole.mode in ("RGBA", "RGBX", "RGBa"):
                return np.array(whole)[..., :3].copy()
            if whole.mode in ("LA", "La"):
                return np.repeat(np.array(whole)[..., :1], 3, 2)
            return np.array(whole.convert("RGB"))
    except FileNotFoundError:
        raise PairError(f"The picture {path} does not exist.") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or ["unknown reason"])[0][:100]
        raise PairError(f"The picture {path} cannot be read ({reason}).") from None


@dataclass(frozen=True)
class Pair:
    """Two pictures and what is known of them.

    Attributes
    ----------
    flow : file of the true flow; occlusions are marked unknown in it where the data set says so.
    homography : maps pixels of the first picture to the second, [3, 3].
    disparity : 8-bit picture of disparities (0 unknown); flow = (-d, 0).
    views : poses of both pictures.
    points : matching points (x, y) of the first and of the second picture, [N, 2] each.
    mask : picture whose bright pixels count in an evaluation; None: all do.
    split : "train", "val", "test" or None where the layout has no splits.
    """

    name: str
    first: Path
    second: Path
    flow: Path | None = None
    homography: np.ndarray | None = None
    disparity: Path | None = None
    views: tuple[View, View] | None = None
    points: tuple[np.ndarray, np.ndarray] | None = None
    mask: Path | None = None
    split: str | None = None
    group: str = ""

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Read both pictures, uint8 RGB.

        Raises
        ------
        PairError : one is missing or damaged, or has another size than its pose says.
        """
        pair = tuple(read_picture(path, self.views is None) for path in (self.first, self.second))
        for picture, view, path in zip(pair, self.views or (), (self.first, self.second)):
            if picture.shape[:2] != (view.height, view.width):
                raise PairError(
                    f"{path.name} has {picture.shape[1]} x {picture.shape[0]} pixels, its pose speaks of {view.width} x "
                    f"{view.height}: undistort the pictures again, or choose those that belong to the model."
                )
        return pair[0], pair[1]

    @property
    def has_flow(self) -> bool:
        """Whether the true flow is known, as a file or through a homography or disparity."""
        return self.flow is not None or self.homography is not None or self.disparity is not None

    def truth(self, first: Sequence[int], second: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the true flow float32 [H, W, 2] and where it is known (bool [H, W]).

        Parameters
        ----------
        first, second : (height, width) of the two pictures.

        Raises
        ------
        PairError : nothing is known, nothing of it is valid, or it is of another size than the picture.
        """
        if self.flow is not None:
            flow = read_flow(self.flow)
            known = np.isfinite(flow).all(-1)
            source = self.flow.name
        elif self.disparity is not None:
            shown = read_picture(self.disparity)[..., 0].astype(np.float32)
            flow, known, source = np.stack([-shown, np.zeros_like(shown)], -1), shown > 0, self.disparity.name
        elif self.homography is not None:
            flow, known = homography_flow(self.homography, first[0], first[1], (second[0], second[1]))
            source = "the homography"
        else:
            raise PairError(f"{self.name}: no true flow is known.")
        if flow.shape[:2] != tuple(first[:2]):
            raise PairError(
                f"{source} has {flow.shape[1]} x {flow.shape[0]} pixels, {self.first.name} {first[1]} x {first[0]}."
            )
        if self.mask is not None:
            mask = read_picture(self.mask)[..., 0] > 127
            if mask.shape != known.shape:
                raise PairError(f"The mask {self.mask.name} has another size than {self.first.name}.")
            known = known & mask
        if not known.any():
            raise PairError(f"{source} knows the flow of no pixel of {self.first.name}.")
        return np.where(known[..., None], flow, np.float32(0)), known

    def fundamental(self, width: int, height: int) -> np.ndarray:
        """Return the fundamental matrix, of unit norm, of both pictures resized to `width` x `height`.

        Raises
        ------
        GeometryError : both pictures are taken from the same place.
        """
        assert self.views is not None
        return fundamental(self.views[0].resized(width, height), self.views[1].resized(width, height))


@dataclass
class PairSet:
    """What `open_pairs` found: pairs, and single photographs of which pairs can be made.

    `warnings` say what was left out.
    """

    path: Path
    layout: str
    pairs: list[Pair] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def of(self, *splits: str | None) -> list[Pair]:
        return [pair for pair in self.pairs if pair.split in splits]

    @property
    def training(self) -> list[Pair]:
        """Pairs to train on: those of the split "train", or all where there are no splits."""
        return self.of("train", None)

    @property
    def held_out(self) -> list[Pair]:
        """Pairs to judge by: of the split "test", else "val", else all without a split, else those trained on."""
        return self.of("test") or self.of("val") or self.of(None) or self.pairs

    @cached_property
    def photographs(self) -> list[Path]:
        """All pictures of training pairs, each once."""
        return sorted({path for pair in self.training for path in (pair.first, pair.second)})

    def fingerprint(self) -> str:
        """Hash of names, sizes and times of all files, and of matrices and points."""
        digest = hashlib.sha256(self.layout.encode())
        for pair in self.pairs:
            digest.update(f"{pair.name} {pair.split}".encode())
            for path in (pair.first, pair.second, pair.flow, pair.disparity, pair.mask):
                if path is not None:
                    there = path.stat() if path.exists() else None
                    digest.update(f"{path.name} {there and (there.st_size, there.st_mtime_ns)}".encode())
            for array in (pair.homography, *(pair.points or ())):
                digest.update(b"" if array is None else np.ascontiguousarray(array, np.float64).tobytes())
            for view in pair.views or ():
                for values in (view.intrinsics, view.rotation, view.translation):
                    digest.update(np.ascontiguousarray(values, np.float64).tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        counts = {
            "with true flow": sum(p.has_flow for p in self.pairs),
            "with poses": sum(p.views is not None for p in self.pairs),
            "with matching points": sum(p.points is not None for p in self.pairs),
        }
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing known of them"
        splits = {s: len(self.of(s)) for s in ("train", "val", "test") if self.of(s)}
        parts = f"; {', '.join(f'{count} {name}' for name, count in splits.items())}" if splits else ""
        return f"{self.layout}: {len(self.pairs)} pairs ({said}){parts}." + "".join(f" {w}" for w in self.warnings[:3])


def open_pairs(path: Path) -> PairSet:
    """Open a set of pairs in whatever layout it is.

    Raises
    ------
    PairError : there is none of the known layouts, or it holds no pair.
    """
    from .pair_layouts import FILES, FOLDERS

    path = Path(path)
    if not path.exists():
        raise PairError(f"{path} does not exist.")
    for layout in FOLDERS if path.is_dir() else FILES:
        found = layout(path)
        if found is not None:
            if not found.pairs:
                raise PairError(
                    f"{path} looks like {found.layout} but holds no pair."
                    + "".join(f" {w}" for w in found.warnings[:1])
                )
            return found
    raise PairError(
        f"{path} holds no image pairs: expected are KITTI, Sintel, Middlebury, HPatches, MegaDepth, a COLMAP model with its "
        "pictures, a list of pairs, or a folder with at least two pictures."
    )


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures that lie directly in a folder, in order of name; files of flow are none."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in PICTURES and not p.name.startswith(".") and p.is_file() and not is_flow_file(p)
    )
