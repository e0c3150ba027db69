"""The metrics of the method card, section 6, of a checkpoint on pairs of which something is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...checkpoints import Checkpoint
from ...data.pairs import Pair, PairSet
from ...errors import OpsinError, RunError
from ...geometry.epipolar import find_pose, fundamental, pose_error, relative_pose
from ...geometry.homography import find_homography, transformed
from ...metrics.flow import (
    FlowScores,
    area_under_curve,
    corner_error,
    homography_accuracy,
    matching_accuracy,
    sparse_pck,
)
from ...runs import Run
from .losses import epipolar_distance
from .matching import at, guided, sift, unguided
from .samples import fitted
from .settings import LifeOptions

SPARSE_PIXELS = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 22.0, 36.0)
ANGLES = (5.0, 10.0, 20.0)
SHORT_SIDE = 480
EVERY = 8
"""Flow vectors of every eighth pixel go into RANSAC."""


def epipolar_errors(flow: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric epipolar distance [H, W] in pixels of a flow [2, H, W]."""
    return epipolar_distance(flow[None].double().cpu(), torch.from_numpy(matrix)[None])[0].numpy()


def evaluate(checkpoint: Checkpoint, data: PairSet, run: Run) -> dict[str, Any]:
    """Return the metrics of all pairs that are held out: of the split "test", else "val", else of all.

    True flow: EPE, Fl-all and PCK at 1, 3, 5 px. Homographies: share of pairs whose homography is right, from the flow and from
    SIFT matches with and without the flow as guide; mean matching accuracy of both. Matching points: PCK over all points. Poses:
    epipolar distance; area under the curve of the pose error. "per pair" lists the pairs, with why one could not be judged.
    """
    from .predict import Looking, consistency, to_array

    pairs = data.held_out
    looking = Looking(checkpoint, LifeOptions(), run)
    judge = _Judge()
    for number, pair in enumerate(pairs):
        run.wait_if_paused()
        if run.stopping:
            break
        run.phase(f"predict {pair.name}")
        row: dict[str, Any] = {"pair": pair.name}
        try:
            first, second = pair.pictures()
            if pair.points is not None:
                judge.points(pair, first, second, lambda a, b: to_array(looking.flow(a, b)), row)
            else:
                flow = looking.flow(first, second)
                if pair.has_flow:
                    judge.flow(pair, to_array(flow), first.shape, second.shape, row)
                if pair.homography is not None or pair.views is not None:
                    back = looking.flow(second, first)
                    visible = consistency(flow, back)[1]
                    judge.geometry(pair, (first, second), (to_array(flow), to_array(back)), visible, row)
                if not pair.has_flow and pair.views is None:
                    row["error"] = "nothing is known of this pair"
        except OpsinError as error:
            run.message(f"{pair.name} is left out. {error}", "warning")
            row["error"] = str(error)
        judge.rows.append(row)
        run.progress(number + 1, len(pairs), "pairs")
    metrics = judge.metrics()
    if len(metrics) == 0:
        raise RunError(f"Nothing could be judged: no pair of {data.path} has true flow, poses, points or a homography.")
    return {"pairs": sum("error" not in row for row in judge.rows), **metrics, "per pair": judge.rows}


class _Judge:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.scores = FlowScores()
        self.sparse: list[np.ndarray] = []
        self.corners: dict[str, list[float]] = {}
        self.matches: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        self.counts: dict[str, list[int]] = {}
        self.distances: list[np.ndarray] = []
        self.poses: dict[str, list[float]] = {}

    def flow(self, pair: Pair, flow: np.ndarray, first: Any, second: Any, row: dict[str, Any]) -> None:
        truth, known = pair.truth(first, second)
        row["EPE"] = self.scores.add(flow, truth, known)

    def points(self, pair: Pair, first: np.ndarray, second: np.ndarray, look: Any, row: dict[str, Any]) -> None:
        """RobotCar and MegaDepth: short side 480 px, sides multiples of 16, flow at rounded points of the target."""
        assert pair.points is not None
        small, places = [], []
        for picture, points in zip((first, second), pair.points):
            scale = SHORT_SIDE / min(picture.shape[:2])
            height, width = (max(16, round(side * scale / 16) * 16) for side in picture.shape[:2])
            small.append(fitted(picture, height, width))
            places.append(points * (width / picture.shape[1], height / picture.shape[0]))
        sizes = [np.array([p.shape[1], p.shape[0]]) for p in small]
        here = np.rint(places[0])
        inside = ((here >= 0) & (here < sizes[0])).all(1) & ((places[1] >= 0) & (places[1] < sizes[1])).all(1)
        flow = look(small[0], small[1])
        x, y = here[inside].astype(int).T
        error = np.linalg.norm(here[inside] + flow[y, x] - places[1][inside], axis=1)
        self.sparse.append(error)
        row["points"], row["median error"] = int(inside.sum()), float(np.median(error)) if error.size else None

    def geometry(
        self,
        pair: Pair,
        pictures: tuple[np.ndarray, np.ndarray],
        flows: tuple[np.ndarray, np.ndarray],
        visible: np.ndarray,
        row: dict[str, Any],
    ) -> None:
        """Homographies and poses from the flow and from SIFT with and without the flow as guide."""
        height, width = pictures[0].shape[:2]
        y, x = np.mgrid[:height:EVERY, :width:EVERY]
        chosen = visible[::EVERY, ::EVERY]
        here = np.stack([x[chosen], y[chosen]], -1).astype(float)
        one, two = sift(pictures[0]), sift(pictures[1])
        alone, led = unguided(one, two), guided(one, two, flows[0], flows[1])
        found = {
            "flow": (here, here + at(flows[0], here)),
            "SIFT": (alone.first, alone.second),
            "guided SIFT": (led.first, led.second),
        }
        for name in ("SIFT", "guided SIFT"):
            row[f"{name} matches"] = len(found[name][0])
            self.counts.setdefault(name, []).append(len(found[name][0]))
        if pair.homography is not None:
            for name, (a, b) in found.items():
                error = corner_error(find_homography(a, b)[0], pair.homography, height, width)
                self.corners.setdefault(name, []).append(error)
                row[f"corner error, {name}"] = error
                if name != "flow":
                    self.matches.setdefault(name, []).append((a, b, pair.homography))
                    if len(a):
                        right = np.linalg.norm(transformed(pair.homography, a) - b, axis=1) <= 3
                        row[f"{name} right within 3 px"] = float(right.mean())
        if pair.views is not None:
            a_view, b_view = pair.views
            distance = epipolar_errors(torch.from_numpy(flows[0]).permute(2, 0, 1), fundamental(a_view, b_view))
            self.distances.append(distance.ravel().astype(np.float32))
            row["epipolar distance"] = float(distance.mean())
            for name, (a, b) in found.items():
                pose = find_pose(a, b, (a_view.intrinsics, b_view.intrinsics))
                worst = 180.0
                if pose is not None:
                    worst = max(pose_error(pose.rotation, pose.translation, *relative_pose(a_view, b_view)))
                self.poses.setdefault(name, []).append(worst)
                row[f"pose error, {name}"] = worst

    def metrics(self) -> dict[str, Any]:
        """Return what is defined."""
        found: dict[str, Any] = self.scores.metrics() if self.scores.means else {}
        if self.sparse:
            found |= {f"sparse {name}": value for name, value in sparse_pck(self.sparse, SPARSE_PIXELS).items()}
        for name, errors in self.corners.items():
            found |= {f"{key}, {name}": value for key, value in homography_accuracy(errors).items()}
        for name, matches in self.matches.items():
            found |= {f"{key}, {name}": value for key, value in matching_accuracy(matches).items()}
        found |= {f"{name} matches": float(np.mean(counts)) for name, counts in self.counts.items()}
        if self.distances:
            each = [float(d.mean()) for d in self.distances]
            found["epipolar distance (px)"] = float(np.mean(each))
            for pixels in (1, 3, 5):
                shares = [float((d <= pixels).mean()) for d in self.distances]
                found[f"epipolar distance within {pixels} px"] = float(np.mean(shares))
        for name, errors in self.poses.items():
            for limit, area in zip(ANGLES, area_under_curve(errors, ANGLES)):
                found[f"pose AUC at {limit:g} degrees, {name}"] = area
        return found
