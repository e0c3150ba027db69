"""Poses, epipolar lines, models of COLMAP and MegaDepth, homographies."""

import struct

import numpy as np
import pytest

from opsin.engine.geometry.epipolar import (
    View,
    after_change,
    epipolar_lines,
    find_pose,
    fundamental,
    pose_error,
    relative_pose,
    scaling,
    symmetric_epipolar_distance,
)  # fmt: skip
from opsin.engine.geometry.homography import (
    GeometryError,
    find_homography,
    homography_flow,
    read_homography,
    transformed,
)  # fmt: skip
from opsin.engine.geometry.sfm import is_colmap, read_colmap, read_img_cam, rotation_of

QUATERNIONS = {"a.jpg": (1.0, 0.0, 0.0, 0.0), "b c.jpg": (0.98, 0.02, -0.15, 0.05)}
PLACES = {"a.jpg": (0.0, 0.0, 0.0), "b c.jpg": (-0.8, 0.1, 0.2)}


def views():
    k = np.array([[500.0, 0, 319.5], [0, 480, 239.5], [0, 0, 1]])
    return [View(n, 640, 480, k, rotation_of(QUATERNIONS[n]), np.array(PLACES[n])) for n in QUATERNIONS]


def points(count=60):
    return np.random.default_rng(1).uniform((-1, -1, 3), (1, 1, 6), (count, 3))


def seen(view, world):
    camera = world @ view.rotation.T + view.translation
    return (camera @ view.intrinsics.T)[:, :2] / camera[:, 2:]


def test_matches_lie_on_their_lines_also_after_a_change_of_size():
    a, b = views()
    first, second = seen(a, points()), seen(b, points())
    matrix = fundamental(a, b)
    assert np.linalg.norm(matrix) == pytest.approx(1)
    assert symmetric_epipolar_distance(matrix, first, second).max() < 1e-9
    assert symmetric_epipolar_distance(matrix.T, first, second).mean() > 1
    line = epipolar_lines(matrix, first[:1])[0]
    assert abs(line @ [*second[0], 1]) < 1e-9 and np.hypot(*line[:2]) == pytest.approx(1)
    small, other = a.resized(320, 120), b.resized(640, 960)
    changed = after_change(matrix, scaling(0.5, 0.25), scaling(1, 2))
    assert np.allclose(np.abs(changed), np.abs(fundamental(small, other)))
    moved = first * (0.5, 0.25) + ((0.5 - 1) / 2, (0.25 - 1) / 2)
    assert np.allclose(seen(small, points()), moved)


def test_one_place_has_no_epipolar_lines():
    a, b = views()
    turned = View("b", 640, 480, b.intrinsics, b.rotation, np.zeros(3))
    with pytest.raises(GeometryError, match="from the same place"):
        fundamental(a, turned)


def test_pose_from_matches():
    a, b = views()
    first, second = seen(a, points(200)), seen(b, points(200))
    first[:40] += 60
    found = find_pose(first, second, (a.intrinsics, b.intrinsics))
    errors = pose_error(found.rotation, found.translation, *relative_pose(a, b))
    assert max(errors) < 0.1 and found.inliers[40:].mean() > 0.95 and found.inliers[:40].mean() < 0.3
    assert find_pose(first[:3], second[:3], (a.intrinsics, b.intrinsics)) is None


def write_colmap(folder, suffix, kind="PINHOLE", values=(500.0, 480.0, 320.0, 240.0)):
    folder.mkdir(parents=True, exist_ok=True)
    number = {"PINHOLE": 1, "SIMPLE_RADIAL": 2}[kind]
    world = points(40)
    if suffix == ".txt":
        (folder / "cameras.txt").write_text(f"# cameras\n7 {kind} 640 480 {' '.join(map(str, values))}\n")
        lines = ["# images"]
        for i, name in enumerate(QUATERNIONS):
            lines.append(f"{i} {' '.join(map(str, (*QUATERNIONS[name], *PLACES[name])))} 7 {name}")
            lines.append(" ".join(f"1.5 2.5 {p}" for p in [-1, *range(10, 50)]))
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        (folder / "points3D.txt").write_text(
            "\n".join(f"{10 + i} {' '.join(map(str, p))} 0 0 0 0.5 1 1" for i, p in enumerate(world.tolist()))
        )
        return
    (folder / "cameras.bin").write_bytes(struct.pack(f"<QiiQQ{len(values)}d", 1, 7, number, 640, 480, *values))
    content = struct.pack("<Q", 2)
    for i, name in enumerate(QUATERNIONS):
        content += struct.pack("<i7di", i, *QUATERNIONS[name], *PLACES[name], 7) + name.encode() + b"\0"
        content += struct.pack("<Q", 41) + b"".join(struct.pack("<ddq", 1.5, 2.5, p) for p in [-1, *range(10, 50)])
    (folder / "images.bin").write_bytes(content)
    content = struct.pack("<Q", 40)
    for i, p in enumerate(world.tolist()):
        content += struct.pack("<Q3d3Bd", 10 + i, *p, 0, 0, 0, 0.5) + struct.pack("<Qii", 1, 1, 1)
    (folder / "points3D.bin").write_bytes(content)


@pytest.mark.parametrize("suffix", [".txt", ".bin"])
def test_colmap(tmp_path, suffix):
    write_colmap(tmp_path / "m", suffix)
    assert is_colmap(tmp_path / "m") and not is_colmap(tmp_path)
    model = read_colmap(tmp_path / "m")
    for expected in views():
        found = model.views[expected.name]
        for name in ("intrinsics", "rotation", "translation"):
            assert np.allclose(getattr(found, name), getattr(expected, name)), name
    assert np.allclose(model.points, points(40)) and len(model.seen["a.jpg"]) == 40
    assert model.pairs() == [("a.jpg", "b c.jpg")] and not model.distorted
    assert model.pairs(shared=41) == [] and model.pairs(angles=(50, 60)) == []


def test_a_lens_is_told(tmp_path):
    write_colmap(tmp_path, ".bin", "SIMPLE_RADIAL", (500.0, 320.0, 240.0, 0.1))
    model = read_colmap(tmp_path)
    assert model.distorted == set(QUATERNIONS)
    assert model.views["a.jpg"].intrinsics[0, 2] == 319.5


def test_damaged_models_are_told(tmp_path):
    with pytest.raises(GeometryError, match="holds no model of COLMAP"):
        read_colmap(tmp_path)
    for suffix in (".bin", ".txt"):
        folder = tmp_path / suffix[1:]
        write_colmap(folder, suffix)
        (folder / f"images{suffix}").write_bytes((folder / f"images{suffix}").read_bytes()[:30])
        with pytest.raises(GeometryError, match=f"images{suffix} is damaged"):
            read_colmap(folder)
    write_colmap(tmp_path / "txt", ".txt")
    (tmp_path / "txt" / "cameras.txt").write_text("3 PINHOLE 640 480 1 1 1 1\n")
    with pytest.raises(GeometryError, match="names the camera 7, which is not there"):
        read_colmap(tmp_path / "txt")


def test_megadepth_cameras(tmp_path):
    path = tmp_path / "img_cam.txt"
    a, b = views()
    lines = ["# comment"]
    for v in (a, b):
        numbers = [640, 480, 500, 480, 319.5, 239.5, *v.rotation.ravel(), *v.translation]
        lines.append(f"images/{v.name.replace(' ', '_')} " + " ".join(repr(float(x)) for x in numbers))
    path.write_text("\n".join(lines))
    found = list(read_img_cam(path).views.values())
    assert np.allclose(fundamental(*found), fundamental(a, b))
    path.write_text("x.jpg 1 2 3")
    with pytest.raises(GeometryError, match="line 1: 18 values are expected"):
        read_img_cam(path)


def test_homographies(tmp_path, data):
    matrix = read_homography(data / "flow" / "graf" / "H1to3p.xml")
    first = np.random.default_rng(0).uniform(0, 600, (80, 2))
    second = transformed(matrix, first)
    second[:20] += 50
    found, inliers = find_homography(first, second)
    assert np.allclose(found / found[2, 2], matrix / matrix[2, 2], rtol=1e-3, atol=1e-5)
    assert inliers[20:].all() and not inliers[:20].any()
    assert find_homography(first[:3], second[:3])[0] is None
    (tmp_path / "H_1_2").write_text("1 0 5\n0 1 -3\n0 0 1\n")
    flow, inside = homography_flow(read_homography(tmp_path / "H_1_2"), 10, 20, (10, 20))
    assert (flow == (5, -3)).all() and inside.sum() == 7 * 15
    (tmp_path / "H_1_3").write_text("1 0 5")
    with pytest.raises(GeometryError, match="holds 3 numbers; a homography has nine"):
        read_homography(tmp_path / "H_1_3")
