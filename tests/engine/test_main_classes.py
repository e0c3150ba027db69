"""What a place in which readers differ is said to be, small and large ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opsin.engine.labels.difference import Comparison, Difference, compare, main_classes
from opsin.engine.labels.store import LabelStore


def rectangle(left: float, top: float, right: float, bottom: float) -> list[np.ndarray]:
    return [np.array([[left, top], [right, top], [right, bottom], [left, bottom]])]


def test_a_place_has_the_classes_of_most_of_its_pixels(tmp_path: Path) -> None:
    with (
        LabelStore.create(tmp_path / "a.labels", 9000, 7000) as first,
        LabelStore.create(tmp_path / "b.labels", 9000, 7000) as second,
    ):
        first.polygon(rectangle(1000, 1000, 5000, 4000), 1)  # 4000 x 3000, seen in a coarser level
        second.polygon(rectangle(1000, 1000, 1400, 4000), 2)  # its first pixel is of another kind than most
        first.polygon(rectangle(6000, 100, 6100, 200), 3)
        second.polygon(rectangle(6000, 100, 6100, 130), 2)
        second.polygon(rectangle(8999, 6999, 9000, 7000), 4)  # the last pixel of the slide
        first.polygon(rectangle(10, 6990, 4010, 6991), 2)  # a line that coarse levels may lose
        first.flush()
        second.flush()
        difference = Difference(first, second)
        *_, found = compare(difference)
        assert isinstance(found, Comparison)
        assert [(r.area, main_classes(difference, r)) for r in found.regions] == [
            (12_000_000, (1, 0)), (10_000, (3, 0)), (4000, (2, 0)), (1, (0, 4)),
        ]  # fmt: skip
