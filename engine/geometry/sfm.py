"""Models of structure from motion: COLMAP and hloc (text and binary), and the camera files of MegaDepth (CAPS form).

COLMAP counts pixels from the corner (the first centre is (0.5, 0.5)); here the first centre is (0, 0), so half a pixel is taken off
the principal point.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .epipolar import View
from .homography import GeometryError

CAMERAS: dict[int, tuple[str, int]] = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
}
_NUMBERS = {name: (number, count) for number, (name, count) in CAMERAS.items()}
_ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"}


@dataclass
class Model:
    """Views by name; `points`: places in the world [P, 3]; `seen`: of each view the numbers of the points it sees (sorted).

    `distorted` names the views whose camera has a lens distortion: their pictures must be undistorted first.
    """

    views: dict[str, View] = field(default_factory=dict)
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    seen: dict[str, np.ndarray] = field(default_factory=dict)
    distorted: set[str] = field(default_factory=set)

    def pairs(self, shared: int = 30, angles: tuple[float, float] = (2.0, 60.0)) -> list[tuple[str, str]]:
        """Return the pairs that share at least so many points, seen under a median angle (degrees) between these two."""
        names = sorted(self.seen)
        found = []
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                both = np.intersect1d(self.seen[first], self.seen[second], assume_unique=True)
                if len(both) < shared:
                    continue
                a, b = (self.points[both] - self.views[n].centre for n in (first, second))
                cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-300)
                angle = float(np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))))
                if angles[0] <= angle <= angles[1]:
                    found.append((first, second))
        return found


def is_colmap(folder: Path) -> bool:
    """Tell whether a folder holds a model of COLMAP."""
    return any(all((folder / f"{name}{end}").is_file() for name in ("cameras", "images")) for end in (".bin", ".txt"))


def read_colmap(folder: Path) -> Model:
    """Read ``cameras``, ``images`` and (where it is there) ``points3D``, ``.bin`` before ``.txt``.

    Raises
    ------
    GeometryError : a file is missing, damaged, or names what another one lacks.
    """
    folder = Path(folder)
    for suffix, readers in ((".bin", _BINARY), (".txt", _TEXT)):
        paths = [folder / f"{name}{suffix}" for name in ("cameras", "images", "points3D")]
        if paths[0].is_file() and paths[1].is_file():
            parts = []
            for path, reader in zip(paths, readers):
                try:
                    parts.append(reader(path.read_bytes()) if path.is_file() else {})
                except (struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
                    raise GeometryError(f"{path} is damaged or no file of COLMAP ({str(error)[:60]}).") from None
                except OSError as error:
                    raise GeometryError(f"{path} cannot be read: {error.strerror}.") from None
            return _model(folder, *parts)
    raise GeometryError(f"{folder} holds no model of COLMAP: there are no files 'cameras' and 'images' (.bin or .txt).")


def _model(folder: Path, cameras: dict, images: dict, points: dict) -> Model:
    model = Model()
    numbers = {identity: place for place, identity in enumerate(points)}
    model.points = np.array(list(points.values()), float).reshape(-1, 3)
    for name, (quaternion, translation, camera, seen) in images.items():
        if camera not in cameras:
            raise GeometryError(f"In {folder} the picture {name} names the camera {camera}, which is not there.")
        kind, width, height, values = cameras[camera]
        fx, fy, cx, cy = (values[0], values[0], *values[1:3]) if kind in _ONE_FOCAL else values[:4]
        intrinsics = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
        model.views[name] = View(name, width, height, intrinsics, rotation_of(quaternion), np.array(translation))
        model.seen[name] = np.unique([numbers[identity] for identity in seen if identity in numbers]).astype(int)
        if any(values[3 if kind in _ONE_FOCAL else 4 :]):
            model.distorted.add(name)
    return model


def rotation_of(quaternion: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Return the rotation [3, 3] of a quaternion (w, x, y, z), which is normalised."""
    q = np.asarray(quaternion, float)
    length = float(np.linalg.norm(q))
    if not length > 0 or not np.isfinite(length):
        raise GeometryError("A picture has no rotation: its quaternion is zero.")
    w, x, y, z = q / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


# ---- text ----------------------------------------------------------------------------------------------------------


def _lines(content: bytes) -> list[str]:
    return [line for line in content.decode("utf-8").splitlines() if not line.startswith("#")]


def _cameras_text(content: bytes) -> dict:
    found = {}
    for line in _lines(content):
        if words := line.split():
            values = tuple(float(word) for word in words[4:])
            if len(values) != _NUMBERS[words[1]][1]:
                raise ValueError(f"camera {words[0]} has {len(values)} parameters")
            found[int(words[0])] = (words[1], int(words[2]), int(words[3]), values)
    return found


def _images_text(content: bytes) -> dict:
    found = {}
    lines = _lines(content)
    while lines and not lines[0].strip():
        lines.pop(0)
    for head, points in zip(lines[::2], [*lines[1::2], ""]):  # the last picture may see no point and end the file
        words = head.split(maxsplit=9)
        if not words:
            continue
        values = [float(word) for word in words[1:8]]
        found[words[9]] = (values[:4], values[4:], int(words[8]), [int(word) for word in points.split()[2::3]])
    return found


def _points_text(content: bytes) -> dict:
    return {int(w[0]): [float(v) for v in w[1:4]] for line in _lines(content) if (w := line.split())}


# ---- binary --------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.content, self.place)
        self.place += struct.calcsize("<" + layout)
        return values

    def name(self) -> str:
        end = self.content.index(b"\0", self.place)
        text = self.content[self.place : end].decode("utf-8")
        self.place = end + 1
        return text


def _cameras_binary(content: bytes) -> dict:
    reader, found = _Reader(content), {}
    for _ in range(reader.take("Q")[0]):
        number, kind, width, height = reader.take("iiQQ")
        name, count = CAMERAS[kind]
        found[number] = (name, width, height, reader.take(f"{count}d"))
    return found


def _images_binary(content: bytes) -> dict:
    reader, found = _Reader(content), {}
    for _ in range(reader.take("Q")[0]):
        _, *values, camera = reader.take("i7di")
        name = reader.name()
        count = reader.take("Q")[0]
        points = np.frombuffer(content, np.dtype("<f8, <f8, <i8"), count, reader.place)["f2"]
        reader.place += 24 * count
        found[name] = (values[:4], values[4:], camera, points[points >= 0].tolist())
    return found


def _points_binary(content: bytes) -> dict:
    reader, found = _Reader(content), {}
    for _ in range(reader.take("Q")[0]):
        number, *place = reader.take("Q3d")
        reader.place += 3 + 8
        length = reader.take("Q")[0]
        reader.place += 8 * length
        found[number] = place
    return found


_BINARY = (_cameras_binary, _images_binary, _points_binary)
_TEXT = (_cameras_text, _images_text, _points_text)

# ---- MegaDepth -----------------------------------------------------------------------------------------------------


def read_img_cam(path: Path) -> Model:
    """Read ``img_cam.txt``: name, width, height, fx, fy, cx, cy, rotation row by row, translation; world-to-camera.

    The principal point is taken as it stands: the form does not say from where it counts.
    """
    path = Path(path)
    model = Model()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GeometryError(f"{path} cannot be read ({str(error)[:60]}).") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            w, h, fx, fy, cx, cy, *pose = (float(word) for word in words[1:])
            if len(pose) != 12 or not min(w, h, fx, fy) > 0:
                raise ValueError
            rotation = np.array(pose[:9]).reshape(3, 3)
            translation = np.array(pose[9:])
        except ValueError:
            raise GeometryError(f"{path}, line {number}: 18 values are expected after the name, not these.") from None
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        model.views[words[0]] = View(words[0], int(w), int(h), intrinsics, rotation, translation)
    return model
