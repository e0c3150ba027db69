"""Homographies: files of them, their flow, and finding one from matches."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from ..errors import OpsinError


class GeometryError(OpsinError):
    """A file of poses or matrices is damaged or does not fit, or the geometry is undefined."""


def read_homography(path: Path) -> np.ndarray:
    """Return the 3 x 3 matrix in a text file (HPatches ``H_1_2``) or in a file of OpenCV (``.xml``).

    Raises
    ------
    GeometryError : the file holds no such matrix.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".xml":
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise GeometryError(f"{path.name} declares entities and is not opened.")
            text = " ".join(node.text or "" for node in ElementTree.fromstring(text).iter("data"))
        values = [float(word) for word in text.replace(",", " ").split()]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise GeometryError(f"{path.name} cannot be read as a homography ({str(error)[:80]}).") from None
    if len(values) != 9 or not np.isfinite(values).all():
        raise GeometryError(f"{path.name} holds {len(values)} numbers; a homography has nine.")
    return np.array(values).reshape(3, 3)


def transformed(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points [..., 2] under a 3 x 3 homography; NaN where one goes behind the picture's horizon."""
    points = np.asarray(points, np.float64)
    moved = np.concatenate([points, np.ones_like(points[..., :1])], -1) @ np.asarray(homography, np.float64).T
    depth = moved[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(depth * np.sign(np.asarray(homography)[2, 2] or 1) > 1e-12, moved[..., :2] / depth, np.nan)


def pixel_places(height: int, width: int) -> np.ndarray:
    """Return (x, y) of every pixel, float64 [H, W, 2]."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y], -1).astype(np.float64)


def homography_flow(
    homography: np.ndarray, height: int, width: int, second: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow float32 [H, W, 2] of a homography and where it lies inside the second picture.

    Parameters
    ----------
    second : (height, width) of the second picture.
    """
    here = pixel_places(height, width)
    there = transformed(homography, here)
    with np.errstate(invalid="ignore"):
        inside = np.asarray(((there >= 0) & (there <= np.array([second[1] - 1, second[0] - 1]))).all(-1))
    return (there - here).astype(np.float32), inside


def find_homography(
    first: np.ndarray, second: np.ndarray, threshold: float = 3.0
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the homography that RANSAC finds in matches [N, 2] each (None without one), and which are inliers (bool [N])."""
    import cv2

    nothing = np.zeros(len(first), bool)
    if len(first) < 4:
        return None, nothing
    cv2.setRNGSeed(0)
    found, mask = cv2.findHomography(
        np.asarray(first, float),
        np.asarray(second, float),
        cv2.USAC_MAGSAC,
        threshold,
        maxIters=10_000,
        confidence=0.9999,
    )
    return (None, nothing) if found is None else (np.asarray(found), mask.ravel().astype(bool))
