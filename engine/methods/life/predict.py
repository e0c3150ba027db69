"""Prediction on one pair or on all pairs of a folder: the flow, and where it is wanted, the flow back and where both agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ...checkpoints import Checkpoint
from ...data.flow_files import write_flow
from ...data.pairs import PICTURES, PairError, open_pairs, read_picture
from ...devices import list_devices
from ...errors import DeviceError, RunError
from ...files import replacing
from ...results import Flow, Result
from ...runs import Run
from .correlation import Correlation
from .estimate import Memory, Padding, choose_correlation, estimate, volume_bytes
from .losses import cycle_error
from .model import FlowNetwork, MakeCorrelation
from .published import unpack
from .settings import LifeOptions

HALF_FIRST = 2_000_000
"""Pixels beyond which large motion is found at half the size first."""


def predict(checkpoint: Checkpoint, sample: Path, options: LifeOptions, run: Run) -> Iterator[Result]:
    """Yield the `Flow` from the picture `sample` to the picture `options.second`; with `backward` the flow back, too.

    A folder or a list as `sample` stands for all pairs that `data.pairs.open_pairs` finds in it; a pair that cannot be read is
    reported and left out. Files go to ``<run folder>/<name>.<format>`` (a temporary folder without one), the flow back to
    ``<name>_back.<format>`` and the consistency to ``<name>_consistency.npz``; the name is the item, the stem of the first picture
    or, of several, the name of the pair.

    Raises
    ------
    RunError : no second picture is named, or no pair of a folder could be read.
    PairError : a picture is missing or damaged, or a folder holds no pairs.
    DeviceError : not even without a correlation volume is there enough memory.
    """
    sample = Path(sample)
    looking = Looking(checkpoint, options, run)
    folder = run.folder if run.folder is not None else Path(tempfile.mkdtemp(prefix="opsin-"))
    if options.second:
        yield from _pair(looking, sample, Path(options.second), folder / (options.item or sample.stem))
        return
    if sample.is_file() and sample.suffix.lower() in PICTURES:
        raise RunError(f"{sample.name} is one picture: name the second one (--set second=FILE), a folder or a list.")
    found = open_pairs(sample)
    run.message(found.describe())
    done = 0
    for number, pair in enumerate(found.pairs):
        run.wait_if_paused()
        if run.stopping:
            return
        run.progress(number, len(found.pairs), "pairs")
        try:
            yield from _pair(looking, pair.first, pair.second, folder / pair.name)
            done += 1
        except PairError as error:
            run.message(str(error), "warning")
    if not done:
        raise RunError(f"No pair of {sample} could be read; the log says why.")


def _pair(looking: Looking, first: Path, second: Path, target: Path) -> Iterator[Flow]:
    """Yield the flow of two pictures, kept as `target` with endings."""
    options = looking.options
    pictures = read_picture(first), read_picture(second)

    def ending(text: str) -> Path:  # a name may hold dots
        return target.with_name(target.name + text)

    flow = looking.flow(*pictures)
    result = Flow(ending(f".{options.format}"), str(first), str(second))
    assert result.path is not None
    if not options.backward:
        write_flow(result.path, to_array(flow))
        yield result
        return
    back = looking.flow(pictures[1], pictures[0])
    error, visible = consistency(flow, back)
    result.consistency, result.visible = ending("_consistency.npz"), float(visible.mean())
    write_flow(result.path, to_array(flow))
    returned = Flow(ending(f"_back.{options.format}"), str(second), str(first))
    assert returned.path is not None
    write_flow(returned.path, to_array(back))
    with replacing(result.consistency) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, error=error, visible=visible)
    yield result
    yield returned


def to_array(flow: torch.Tensor) -> np.ndarray:
    """Return the flow [1, 2, H, W] as float32 [H, W, 2]."""
    return flow[0].float().permute(1, 2, 0).cpu().numpy()


def consistency(flow: torch.Tensor, back: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the forward-backward error in pixels (float32 [H, W]) and where it is small enough to be visible (bool).

    Visible: ``e^2 < 0.01 (|f_AB|^2 + |f_BA|^2) + 0.5`` and inside the second picture (method card, section 5.5).
    """
    from .losses import pixel_grid, sampled

    error, on = cycle_error(flow, back)
    length = flow.square().sum(1) + sampled(back, pixel_grid(flow) + flow).square().sum(1)
    visible = on & (error.square() < 0.01 * length + 0.5)
    return error[0].float().cpu().numpy(), visible[0].cpu().numpy()


class Looking:
    """The network of a checkpoint on the run's device, ready for pairs of any size."""

    def __init__(self, checkpoint: Checkpoint, options: LifeOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.model: FlowNetwork = unpack(checkpoint).to(run.device)
        header = str(checkpoint.header.get("colours", "RGB"))
        self.colours = header if options.colours == "auto" else options.colours

    def flow(self, first: np.ndarray, second: np.ndarray) -> torch.Tensor:
        """Return the flow [1, 2, H, W]; how it was correlated is reported, and it can be cancelled at each iteration."""
        options, run = self.options, self.run
        height, width = first.shape[:2]
        half = options.half_first == "yes" or (options.half_first == "auto" and height * width > HALF_FIRST)
        half = half and min(height, width) >= 32
        padded = Padding.of(height, width, self.model.design.stride)
        needed = volume_bytes(height + padded.bottom, width + padded.left + padded.right, self.model.design)
        free = next((d.free for d in list_devices() if d.id == run.device), list_devices()[-1].free)
        memory: Memory = options.memory
        while True:
            make, said = choose_correlation(memory, needed, free)
            run.message(said)
            total = options.iterations * (2 if half else 1)
            try:
                return estimate(
                    self.model,
                    first,
                    second,
                    options.iterations,
                    colours=self.colours,
                    correlate=watched(make, run, total),
                    centred=options.centred,
                    coarse_first=half,
                )
            except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
                full = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "alloc" in str(error)
                if not full:
                    raise
                if memory == "on_demand" or make.__name__ == "OnDemand":
                    raise DeviceError(
                        f"{run.device} has too little free memory for pictures of {width} x {height} pixels; make them "
                        "smaller, choose another device, or close other programs."
                    ) from None
                memory = "on_demand"
                run.message("Out of memory with a correlation volume; trying without one.", "warning")


def watched(make: MakeCorrelation, run: Run, total: int) -> MakeCorrelation:
    """Return `make` such that every lookup counts as progress and can be paused or cancelled."""
    done = 0

    class Watched:
        def __init__(self, inner: Correlation) -> None:
            self.inner = inner

        def turned(self) -> Correlation:
            return Watched(self.inner.turned())

        def __call__(self, there: torch.Tensor) -> torch.Tensor:
            nonlocal done
            run.wait_if_paused()
            found = self.inner(there)
            done += 1
            run.progress(done, total, "iterations")
            return found

    def correlate(first: torch.Tensor, second: torch.Tensor, levels: int, radius: int) -> Correlation:
        return Watched(make(first, second, levels, radius))

    return correlate
