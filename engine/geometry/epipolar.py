"""Two views with known poses: relative pose, essential and fundamental matrix, epipolar lines, pose from matches.

A pose is world-to-camera: ``x_camera = R x_world + t``. `fundamental` satisfies ``x2' F x1 = 0`` for pixels x1 of the first and x2
of the second picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .homography import GeometryError


@dataclass(frozen=True)
class View:
    """A picture of a scene: name, size in pixels, intrinsics [3, 3], rotation [3, 3] and translation [3] world-to-camera."""

    name: str
    width: int
    height: int
    intrinsics: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Place of the camera in the world."""
        return -self.rotation.T @ self.translation

    def resized(self, width: int, height: int) -> View:
        """Return the view of the picture at another size, the intrinsics scaled about the pixels' corners."""
        return View(
            self.name,
            width,
            height,
            scaling(width / self.width, height / self.height) @ self.intrinsics,
            self.rotation,
            self.translation,
        )


def scaling(x: float, y: float) -> np.ndarray:
    """Return how pixel places (centre of the first at 0) change when a picture is resized: [3, 3]."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def relative_pose(first: View, second: View) -> tuple[np.ndarray, np.ndarray]:
    """Return (R, t) that takes camera coordinates of the first view to those of the second."""
    rotation = second.rotation @ first.rotation.T
    return rotation, second.translation - rotation @ first.translation


def cross(t: np.ndarray) -> np.ndarray:
    """Return the matrix with which a product is the cross product with `t`."""
    return np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])


def essential(first: View, second: View) -> np.ndarray:
    """Return the essential matrix with a translation of unit length.

    Raises
    ------
    GeometryError : both views are taken from the same place.
    """
    rotation, t = relative_pose(first, second)
    length = float(np.linalg.norm(t))
    if not length > 1e-9 * (1 + float(np.linalg.norm(first.translation) + np.linalg.norm(second.translation))):
        raise GeometryError(
            f"{first.name} and {second.name} are taken from the same place: there are no epipolar lines."
        )
    return cross(t / length) @ rotation


def fundamental(first: View, second: View) -> np.ndarray:
    """Return the fundamental matrix of unit Frobenius norm."""
    matrix = np.linalg.inv(second.intrinsics).T @ essential(first, second) @ np.linalg.inv(first.intrinsics)
    return matrix / np.linalg.norm(matrix)


def after_change(matrix: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return a fundamental matrix after the pictures were cropped, resized or turned by the 3 x 3 maps `first`, `second`."""
    changed = np.linalg.inv(second).T @ matrix @ np.linalg.inv(first)
    return changed / np.linalg.norm(changed)


def epipolar_lines(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the lines (a, b, c), a^2 + b^2 = 1, in the second picture for points [N, 2] of the first."""
    lines = np.c_[points, np.ones(len(points))] @ np.asarray(matrix).T
    return lines / np.maximum(np.linalg.norm(lines[:, :2], axis=1, keepdims=True), 1e-300)


def symmetric_epipolar_distance(matrix: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the root of the summed squared distances in pixels of matches [N, 2] to their lines in both pictures."""
    there = epipolar_lines(matrix, first)
    back = epipolar_lines(np.asarray(matrix).T, second)
    a = (np.c_[second, np.ones(len(second))] * there).sum(1)
    b = (np.c_[first, np.ones(len(first))] * back).sum(1)
    return np.hypot(a, b)


def rotation_angle(rotation: np.ndarray) -> float:
    """Return by how many degrees a rotation turns."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def pose_error(
    rotation: np.ndarray, translation: np.ndarray, true_rotation: np.ndarray, true_translation: np.ndarray
) -> tuple[float, float]:
    """Return the angles in degrees by which a rotation and a direction of translation are wrong.

    The sign of a translation found from an essential matrix is taken as it is; without translation the second is 0.
    """
    a, b = (np.asarray(t, float).ravel() for t in (translation, true_translation))
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.degrees(np.arccos(np.clip(a @ b / lengths, -1, 1))) if lengths > 0 else 0.0
    return rotation_angle(rotation @ true_rotation.T), float(angle)


class FoundPose(NamedTuple):
    """Relative pose (rotation, direction of translation), essential matrix, inliers among the matches."""

    rotation: np.ndarray
    translation: np.ndarray
    essential: np.ndarray
    inliers: np.ndarray


def find_pose(
    first: np.ndarray, second: np.ndarray, intrinsics: tuple[np.ndarray, np.ndarray], threshold: float = 1.0
) -> FoundPose | None:
    """Find the relative pose in matches [N, 2] each by RANSAC; `threshold` in pixels. None where there is none."""
    import cv2

    if len(first) < 5:
        return None
    a, b = (
        cv2.undistortPoints(np.asarray(points, float)[:, None], k, np.zeros(4))[:, 0]
        for points, k in zip((first, second), intrinsics)
    )
    focal = np.mean([k[i, i] for k in intrinsics for i in (0, 1)])
    cv2.setRNGSeed(0)
    found, mask = cv2.findEssentialMat(a, b, np.eye(3), cv2.RANSAC, 0.9999, threshold / focal)
    if found is None or found.shape[0] < 3 or mask is None:
        return None
    best: FoundPose | None = None
    most = -1
    for matrix in np.split(found, len(found) // 3):
        count, rotation, t, inliers = cv2.recoverPose(matrix, a, b, np.eye(3), mask=mask.copy())
        if count > most:
            most, best = count, FoundPose(rotation, t.ravel(), matrix, inliers.ravel() > 0)
    return best
