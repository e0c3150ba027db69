"""The layouts of sets of image pairs; each function returns the set, or None where a path is not of its layout."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..geometry.epipolar import View, relative_pose
from ..geometry.homography import read_homography
from ..geometry.sfm import Model, is_colmap, read_colmap, read_img_cam
from .flow_files import SUFFIXES
from .pairs import Pair, PairError, PairSet, pictures_in

MOST_PAIRS = 1000
"""Pairs that are drawn of one reconstruction, as published."""


def kitti(root: Path) -> PairSet | None:
    """``image_2/000000_10.png`` and ``_11``, ``flow_occ/000000_10.png`` (2012: ``image_0`` or ``colored_0``); paired by name."""
    for base in (root / "training", root):
        folder = next((base / n for n in ("image_2", "colored_0", "image_0") if (base / n).is_dir()), None)
        truth = next((base / n for n in ("flow_occ", "flow_noc") if (base / n).is_dir()), None)
        if folder is None or (truth is None and not any(folder.glob("*_10.*"))):
            continue
        found = PairSet(root, "KITTI")
        for first in sorted(folder.glob("*_10.*")):
            second = first.with_name(first.name.replace("_10.", "_11."))
            flow = truth / f"{first.stem}.png" if truth is not None else None
            if second.is_file():
                known = flow if flow is not None and flow.is_file() else None
                found.pairs.append(Pair(first.stem, first, second, flow=known))
            else:
                found.warnings.append(f"{second.name} is missing.")
        return found
    return None


def sintel(root: Path) -> PairSet | None:
    """``training/{clean,final}/<scene>/frame_0001.png``, ``training/flow/<scene>/frame_0001.flo``."""
    base = root / "training" if (root / "training").is_dir() else root
    passes = [p for p in (base / "clean", base / "final") if p.is_dir()]
    if not passes:
        return None
    found = PairSet(root, "Sintel")
    for folder in passes:
        for scene in sorted(p for p in folder.iterdir() if p.is_dir()):
            frames = pictures_in(scene)
            for first, second in zip(frames, frames[1:]):
                flow = base / "flow" / scene.name / f"{first.stem}.flo"
                name = f"{folder.name}_{scene.name}_{first.stem}"
                found.pairs.append(Pair(name, first, second, flow if flow.is_file() else None, group=scene.name))
    return found


def middlebury(root: Path) -> PairSet | None:
    """``<scene>/frame10.png``, ``frame11.png``, ``flow10.flo``; the truth may lie in a folder ``other-gt-flow`` beside."""
    base = next((root / n for n in ("other-data", "other-color-twoframes") if (root / n).is_dir()), root)
    scenes = [base] if (base / "frame10.png").is_file() else sorted(p for p in base.iterdir() if p.is_dir())
    scenes = [scene for scene in scenes if (scene / "frame10.png").is_file()]
    if not scenes:
        return None
    found = PairSet(root, "Middlebury")
    for scene in scenes:
        first, second = scene / "frame10.png", scene / "frame11.png"
        places = (scene / "flow10.flo", root / "other-gt-flow" / scene.name / "flow10.flo")
        if second.is_file():
            found.pairs.append(Pair(scene.name, first, second, next((p for p in places if p.is_file()), None)))
        else:
            found.warnings.append(f"{scene.name}: frame11.png is missing.")
    return found


def hpatches(root: Path) -> PairSet | None:
    """``{i_*,v_*}/1.ppm`` to ``6.ppm`` and ``H_1_2`` to ``H_1_6``: picture 1 against the others."""
    scenes = [root] if (root / "H_1_2").is_file() else sorted(p.parent for p in root.glob("*/H_1_2"))
    if not scenes:
        return None
    found = PairSet(root, "HPatches")
    for scene in scenes:
        pictures = {p.stem: p for p in pictures_in(scene)}
        for number in range(2, 7):
            matrix = scene / f"H_1_{number}"
            if matrix.is_file() and "1" in pictures and str(number) in pictures:
                found.pairs.append(
                    Pair(
                        f"{scene.name}_1_{number}",
                        pictures["1"],
                        pictures[str(number)],
                        homography=read_homography(matrix),
                        group=scene.name,
                    )
                )
            elif matrix.is_file():
                found.warnings.append(f"{scene.name}: picture 1 or {number} is missing.")
    return found


def megadepth(root: Path) -> PairSet | None:
    """``{train,val}/<scene>/dense<k>/aligned/{images/*.jpg, pairs.txt, img_cam.txt}``, or any folder below."""
    places = sorted(root.rglob("img_cam.txt")) if not (root / "img_cam.txt").is_file() else [root / "img_cam.txt"]
    if not places:
        return None
    found = PairSet(root, "MegaDepth")
    for place in places:
        model = read_img_cam(place)
        named: dict[str, View] = {Path(name).name: view for name, view in model.views.items()} | model.views
        parts = place.relative_to(root).parts
        split = next((s for s in ("train", "val", "test") if s in parts), None)
        listed = place.with_name("pairs.txt")
        if not listed.is_file():
            raise PairError(f"{listed} is missing: it lists the pairs of {place.name}.")
        count = 0
        for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if len(words) < 2 or count == MOST_PAIRS:
                continue
            views = [named.get(w) or named.get(Path(w).name) for w in words[:2]]
            if views[0] is None or views[1] is None:
                found.warnings.append(f"{place} has no pose of {words[0] if views[0] is None else words[1]}.")
                continue
            files = [place.parent / "images" / Path(w).name for w in words[:2]]
            name = "_".join([*parts[:-1], *(f.stem for f in files)])
            posed = (views[0], views[1])
            pair = Pair(name, files[0], files[1], views=posed, split=split, group=str(place.parent))
            count += _add_posed(found, pair)
    return found


def colmap(root: Path) -> PairSet | None:
    """A model in the folder, ``sparse`` or ``sparse/0``, its pictures in ``images`` beside it or in the folder."""
    places = [p for p in (root, root / "sparse", root / "sparse" / "0", root / "sfm") if p.is_dir() and is_colmap(p)]
    if not places:
        return None
    model = read_colmap(places[0])
    folders = [f for base in (root, places[0], root.parent, root.parent.parent) for f in (base / "images", base)]
    folder = next((f for f in folders if any((f / name).is_file() for name in model.views)), None)
    if folder is None:
        raise PairError(f"{places[0]} names pictures that are neither in {root / 'images'} nor in {root}.")
    found = PairSet(root, "COLMAP model")
    if model.distorted:
        found.warnings.append(
            f"{len(model.distorted)} cameras have a lens distortion, which is not modelled: undistort the pictures first."
        )
    return _posed(found, model, folder)


def _posed(found: PairSet, model: Model, folder: Path) -> PairSet:
    pairs = model.pairs() if any(len(seen) for seen in model.seen.values()) else []
    if not pairs:
        names = sorted(model.views)
        pairs = list(zip(names, names[1:]))
        found.warnings.append("No pair shares 30 points under 2 to 60 degrees: neighbours in order of name are taken.")
    step = max(1, -(-len(pairs) // MOST_PAIRS))
    for first, second in pairs[::step]:
        name = f"{Path(first).stem}_{Path(second).stem}"
        views = (model.views[first], model.views[second])
        _add_posed(found, Pair(name, folder / first, folder / second, views=views, group="scene"))
    return found


def _add_posed(found: PairSet, pair: Pair) -> bool:
    """Add a pair whose pictures are there and whose poses differ; the published training drops equal poses."""
    assert pair.views is not None
    missing = next((p for p in (pair.first, pair.second) if not p.is_file()), None)
    if missing is not None:
        found.warnings.append(f"The picture {missing} is missing.")
        return False
    if not np.linalg.norm(relative_pose(*pair.views)[1]) > 1e-6 * (1 + np.linalg.norm(pair.views[0].centre)):
        found.warnings.append(f"{pair.name}: both pictures are taken from the same place.")
        return False
    found.pairs.append(pair)
    return True


def json_list(path: Path) -> PairSet | None:
    """``pairs.json``: a list of {name, a, b} with ``H_a_to_b`` or ``flow`` and ``mask_a`` where they are known."""
    path = path / "pairs.json" if path.is_dir() else path
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        found = PairSet(path, "List of pairs")
        for record in records:
            matrix = record.get("H_a_to_b")
            files = {k: path.parent / record[k] for k in ("a", "b", "flow", "mask_a") if record.get(k)}
            homography = np.array(matrix, float).reshape(3, 3) if matrix is not None else None
            found.pairs.append(
                Pair(
                    str(record.get("name") or files["a"].stem),
                    files["a"],
                    files["b"],
                    flow=files.get("flow"),
                    homography=homography,
                    mask=files.get("mask_a"),
                    split=record.get("split"),
                )
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PairError(f"{path} is no list of pairs ({str(error)[:80]}).") from None
    return found


def text_list(path: Path) -> PairSet | None:
    """One pair on a line: first picture, second picture, and where it is known the file of the flow; ``#`` begins a comment."""
    if path.suffix.lower() not in (".txt", ".lst"):
        return None
    found = PairSet(path, "List of pairs")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [shlex.split(line, comments=True) for line in lines]
    except (OSError, ValueError) as error:
        raise PairError(f"{path} is no list of pairs ({str(error)[:80]}).") from None
    for number, words in enumerate(rows, 1):
        if not words:
            continue
        if len(words) not in (2, 3):
            raise PairError(f"{path.name}, line {number}: two pictures and at most one file of flow are expected.")
        files = [path.parent / word for word in words]
        for file in files:
            if not file.is_file():
                raise PairError(f"{path.name}, line {number}: {file} does not exist.")
        found.pairs.append(
            Pair(f"{files[0].stem}_{files[1].stem}", files[0], files[1], files[2] if files[2:] else None)
        )
    return found


def correspondences(path: Path) -> PairSet | None:
    """A table with source_image, target_image, XA, YA, XB, YB (points separated by ``;``): MegaDepth and RobotCar tests.

    The flow is asked from the target (B) to the source (A). The table is read row by row.
    """
    if path.suffix.lower() != ".csv":
        return None
    found = PairSet(path, "Correspondences")
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    folders = [path.parent / path.stem, path.parent / "img", path.parent / "images", path.parent]
    folders += sorted(p for p in path.parent.iterdir() if p.is_dir())
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                points = [np.array([float(v) for v in re.split(r"[;\s]+", row[k].strip(" ;")) if v]) for k in _COLUMNS]
                names = [row["target_image"].strip(), row["source_image"].strip()]
                tried = [(f, str(row.get("scene") or "").strip(" /")) for f in folders]
                files = [next((q for f, s in tried for q in (f / n, f / s / n) if q.is_file()), None) for n in names]
                if files[0] is None or files[1] is None:
                    missing = names[0] if files[0] is None else names[1]
                    found.warnings.append(f"Line {number}: {missing} is not beside {path.name}.")
                    continue
                b, a = np.stack(points[2:], 1), np.stack(points[:2], 1)
                name = f"{number - 1:05d}_{files[0].stem}_{files[1].stem}"
                found.pairs.append(Pair(name, files[0], files[1], points=(b, a), split="test"))
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise PairError(f"{path} is no table of correspondences ({str(error)[:80]}).") from None
    return found


_COLUMNS = ("XA", "YA", "XB", "YB")


def pictures(root: Path) -> PairSet | None:
    """Pictures in order of name: each with the next one; a flow beside the first one (same stem) is its truth."""
    files = pictures_in(root)
    if len(files) < 2:
        return None
    found = PairSet(root, "Folder of pictures")
    for first, second in zip(files, files[1:]):
        flow = next((p for s in SUFFIXES if s != ".png" and (p := first.with_suffix(s)).is_file()), None)
        found.pairs.append(Pair(f"{first.stem}_{second.stem}", first, second, flow))
    return found


Layout = Callable[[Path], PairSet | None]
FOLDERS: tuple[Layout, ...] = (json_list, kitti, sintel, middlebury, hpatches, megadepth, colmap, pictures)
FILES: tuple[Layout, ...] = (json_list, text_list, correspondences)
