"""Two readers' labels compared and settled, against the same done on plain arrays."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from opsin.engine.errors import LabelError
from opsin.engine.labels import difference as module
from opsin.engine.labels.difference import Comparison, Difference, Differing, compare, counted_regions
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.settling import begin, take
from opsin.engine.labels.store import LabelStore

WIDTH, HEIGHT = 1500, 1200


def rectangle(left: float, top: float, right: float, bottom: float) -> list[np.ndarray]:
    return [np.array([[left, top], [right, top], [right, bottom], [left, bottom]])]


def store(folder: Path, name: str, width: int = WIDTH, height: int = HEIGHT) -> LabelStore:
    return LabelStore.create(folder / f"{name}.labels", width, height)


def painted(folder: Path, seed: int, name: str) -> LabelStore:
    random = np.random.default_rng(seed)
    made = store(folder, name)
    made.polygon(rectangle(300, 200, 1300, 900), 1)  # both have this
    for _ in range(25):
        points = random.uniform((0, 0), (WIDTH, HEIGHT), (3, 2))
        made.stroke(points, float(random.uniform(4, 40)), int(random.integers(0, 4)))
    made.flush()
    return made


def array(labels: LabelStore) -> np.ndarray:
    labels.flush()
    return labels.region(0, 0, 0, labels.width, labels.height)


def compared(difference: Difference) -> Comparison:
    *shares, found = compare(difference)
    assert isinstance(found, Comparison)
    assert shares == sorted(shares)  # type: ignore[type-var]
    return found


@pytest.mark.parametrize("region", [False, True])
def test_numbers_and_regions_are_those_of_plain_arrays(tmp_path: Path, region: bool) -> None:
    with painted(tmp_path, 1, "a") as first, painted(tmp_path, 2, "b") as second:
        inside = np.ones((HEIGHT, WIDTH), bool)
        if region:
            first.add_marks([Mark(kind="roi", points=tuple(map(tuple, rectangle(100, 100, 1100, 1150)[0])))])
            second.add_marks([Mark(kind="roi", points=tuple(map(tuple, rectangle(0, 300, 1400, 1200)[0])))])
            inside[:] = False
            inside[300:1150, 100:1100] = True
        one, other = array(first) * inside, array(second) * inside
        found = compared(Difference(first, second, counted_regions(first, second)))
        table = np.zeros((256, 256), np.int64)
        np.add.at(table, (one, other), 1)
        table[0, 0] = 0
        assert np.array_equal(found.table, table)
        numbers, count = ndimage.label(one != other)
        assert len(found.regions) == count > 10
        assert found.differing == int((one != other).sum()) == sum(r.area for r in found.regions)
        boxes = ndimage.find_objects(numbers)
        for each in found.regions:
            number = numbers[each.y, each.x]
            here = numbers == number
            down, across = boxes[number - 1]
            assert each.box == (across.start, down.start, across.stop, down.stop)
            assert each.area == here.sum()
            assert each.only_first == (here & (other == 0)).sum()
            assert each.only_second == (here & (one == 0)).sum()
            assert each.other_class == (here & (one > 0) & (other > 0)).sum()
        assert [r.area for r in found.regions] == sorted((r.area for r in found.regions), reverse=True)
        assert found.values == [1, 2, 3]
        for value in (1, 2, 3):
            a, b = one == value, other == value
            assert found.dice(value) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        either = (one > 0) | (other > 0)
        same, total = (one == other)[either].mean(), either.sum()
        chance = sum((one[either] == v).sum() / total * (other[either] == v).sum() / total for v in range(4))
        assert found.kappa == pytest.approx((same - chance) / (1 - chance))


def test_equal_labels_agree_wholly_and_empty_ones_say_nothing(tmp_path: Path) -> None:
    with store(tmp_path, "a") as first, store(tmp_path, "b") as second:
        empty = compared(Difference(first, second))
        assert (empty.kappa, empty.dice(1), empty.regions, empty.labelled) == (None, None, (), 0)
        for one in (first, second):
            one.polygon(rectangle(0, 0, 1100, 1100), 1)
            one.polygon(rectangle(0, 1100, 1100, 1200), 2)
            one.flush()
        equal = compared(Difference(first, second))
        assert (equal.kappa, equal.dice(1), equal.differing) == (1.0, 1.0, 0)
        assert equal.areas(1) == (1_210_000,) * 3


def test_only_the_largest_regions_are_listed_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with painted(tmp_path, 1, "a") as first, painted(tmp_path, 2, "b") as second:
        whole = compared(Difference(first, second))
        monkeypatch.setattr(module, "MOST", 5)
        short = compared(Difference(first, second))
    assert [r.area for r in short.regions] == [r.area for r in whole.regions[:5]]
    assert short.more == len(whole.regions) - 5
    assert short.more_area == sum(r.area for r in whole.regions[5:])


def test_labels_of_slides_of_other_sizes_are_refused(tmp_path: Path) -> None:
    with store(tmp_path, "a") as first, store(tmp_path, "b", 100, 100) as second:
        with pytest.raises(LabelError, match="different sizes"):
            Difference(first, second)


def test_five_gigapixels_are_compared_in_little_memory(tmp_path: Path) -> None:
    with store(tmp_path, "a", 100_000, 80_000) as first, store(tmp_path, "b", 100_000, 80_000) as second:
        first.polygon(rectangle(1000, 1000, 41_000, 31_000), 1)
        second.polygon(rectangle(1000, 1000, 41_000, 30_900), 1)
        second.polygon(rectangle(95_000, 70_000, 95_300, 70_300), 2)
        first.flush()
        second.flush()
        tracemalloc.start()
        found = compared(Difference(first, second))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [(r.area, r.box) for r in found.regions] == [
        (4_000_000, (1000, 30_900, 41_000, 31_000)), (90_000, (95_000, 70_000, 95_300, 70_300)),
    ]  # fmt: skip
    assert found.areas(1) == (1_200_000_000, 1_196_000_000, 1_196_000_000)
    assert peak < 200e6, "of it 64 MB of decoded tiles in each store"


def test_settling_takes_one_sides_labels_and_undo_goes_back_step_by_step(tmp_path: Path) -> None:
    with (
        painted(tmp_path, 1, "a") as first,
        painted(tmp_path, 2, "b") as second,
        store(tmp_path, "agreed") as agreed,
    ):
        first.add_marks([Mark(kind="roi", points=tuple(map(tuple, rectangle(100, 100, 1100, 1150)[0])))])
        regions = counted_regions(first, second)
        plain = Difference(first, second, regions, plain=True)
        found = compared(Difference(first, second, regions)).regions
        one, other = array(first), array(second)
        both = np.where(one == other, one, 0)
        assert begin(agreed, plain) == (both > 0).sum()
        assert np.array_equal(array(agreed), both)
        assert len(agreed.marks("roi")) == 1
        numbers, _ = ndimage.label((one != other) & first.roi().mask(0, 0, WIDTH, HEIGHT))  # type: ignore[union-attr]

        def where(region: Differing) -> np.ndarray:
            return np.asarray(numbers == numbers[region.y, region.x])

        assert take(agreed, second, plain, found[:1], "Take Ben's") == found[0].area
        theirs = np.where(where(found[0]), other, both)
        assert np.array_equal(array(agreed), theirs)
        assert take(agreed, first, plain, found[1:4], "Take mine") == sum(r.area for r in found[1:4])
        mine = np.where(where(found[1]) | where(found[2]) | where(found[3]), one, theirs)
        assert np.array_equal(array(agreed), mine)
        assert agreed.undo_text == "Take mine"
        agreed.undo()
        assert np.array_equal(array(agreed), theirs)
        agreed.undo()
        assert np.array_equal(array(agreed), both)
        assert begin(agreed, plain) == 0, "what was agreed on is not taken up again"
        agreed.undo()
        assert not array(agreed).any()
        assert not agreed.marks("roi")
        assert np.array_equal(array(first), one)
        assert np.array_equal(array(second), other)


def test_a_region_that_a_reader_has_changed_since_is_left_alone(tmp_path: Path) -> None:
    with store(tmp_path, "a") as first, store(tmp_path, "b") as second, store(tmp_path, "c") as agreed:
        first.polygon(rectangle(10, 10, 50, 50), 1)
        first.flush()
        plain = Difference(first, second, plain=True)
        found = compared(plain).regions
        first.undo()
        first.flush()
        assert take(agreed, first, plain, found, "Take mine") == 0
        assert not agreed.can_undo
