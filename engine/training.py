"""The training loop that methods share: steps, precision, many processes, pause, stop, save, out-of-memory.

The loop is stateless but for weights, optimiser and step: the batch of a step is made from the step's number alone, and
torch's generator is seeded anew at every step. So resuming at step s gives bit for bit what not stopping would have given.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from .errors import DeviceError, RunError
from .runs import Run
from .scale import ALONE, Team

Batch = dict[str, torch.Tensor]
PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
PATIENCE = 10


def step_seed(*parts: int | str) -> int:
    """Return a 31-bit seed that depends on all `parts`."""
    return zlib.crc32("/".join(map(str, parts)).encode()) & 0x7FFFFFFF


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Return an accelerator bound to `device`; one process can make several in a row (tests, a warm worker)."""
    AcceleratorState._reset_state(reset_partial_state=True)
    if ":" in device:
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    else:
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    return Accelerator(mixed_precision=PRECISIONS[precision], cpu=device == "cpu")


def fit(
    run: Run,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    batch: Callable[[int], Batch],
    loss: Callable[[torch.nn.Module, Batch], dict[str, torch.Tensor]],
    save: Callable[[int], None],
    start: int = 0,
    seed: Sequence[int | str] = (0,),
    what: str = "training",
    phase: str = "",
    step_offset: int = 0,
    accumulate: int = 1,
    precision: str = "float32",
    threads: int = 2,
    save_seconds: float = 60.0,
) -> int:
    """Train `module` from step `start` up to `steps`; return the step reached.

    Parameters
    ----------
    batch : makes the batch of a step from its number alone: tensors on the CPU, all with the same first dimension. Called
        from `threads` prefetch threads. In a team each process makes its own part of the batch.
    loss : gives ``{"loss": scalar mean over the batch, ...}``; the other entries are reported too. The batch is on the device.
    save : writes weights, optimiser and step so that training can go on; called every `save_seconds`, when the user stops,
        and at the end; in a team by the lead alone.
    seed : parts of the seed that torch's generator gets at each step, with the step.
    what : is counted in the reported progress.
    phase : reported when the first batch, which takes longer than the others, is through; empty: none.
    step_offset : added to the step in reported metrics (a method with rounds counts on).
    accumulate : parts a batch is cut into; doubled, and said so, when the device runs out of memory.

    Raises
    ------
    RunError : the loss was not finite in `PATIENCE` steps one after the other.
    DeviceError : not even one sample fits into the device's memory.
    Cancelled : the user discards the run.
    """
    accelerator = make_accelerator(run.device, precision)
    team = ALONE if run.team.working_apart else run.team
    wrapped, prepared = accelerator.prepare(module, optimizer)
    module.train()
    last_save, bad, reached, pace = time.monotonic(), 0, start, 0.0
    with ThreadPoolExecutor(threads, thread_name_prefix="batch") as pool:
        ahead: deque[Future[Batch]] = deque()
        wanted = start
        try:
            for step in range(start, steps):
                run.wait_if_paused()
                if team.agree(run.control.stop_asked):
                    run.control.stop()
                    break
                while wanted < min(step + threads + 1, steps):
                    ahead.append(pool.submit(batch, wanted))
                    wanted += 1
                whole = ahead.popleft().result()
                torch.manual_seed(step_seed(*seed, step, team.rank))
                before = time.monotonic()
                while True:
                    try:
                        values = _gradient(accelerator, wrapped, prepared, whole, loss, accumulate)
                        break
                    except torch.cuda.OutOfMemoryError:
                        prepared.zero_grad(set_to_none=True)
                        torch.cuda.empty_cache()
                        size = len(next(iter(whole.values())))
                        if accumulate >= size:
                            raise DeviceError(
                                f"{run.device} has too little free memory for a single sample; "
                                "choose a smaller tile, another device, or close other programs."
                            ) from None
                        accumulate = min(size, accumulate * 2)
                        run.message(f"Out of memory: each batch is now computed in {accumulate} parts.", "warning")
                values = _shared(team, module, len(next(iter(whole.values()))), values)
                if math.isfinite(values["loss"]):
                    prepared.step()
                pace = time.monotonic() - before
                bad = 0 if math.isfinite(values["loss"]) else bad + 1
                if bad == PATIENCE:
                    raise RunError(f"The loss was not finite {PATIENCE} times in a row; lower the learning rate.")
                reached = step + 1
                run.log(step=step_offset + reached, **values, seconds_per_step=pace)
                if phase and step == start:
                    run.phase(phase)
                run.progress(reached, steps, what)
                if time.monotonic() - last_save > save_seconds and reached < steps and team.lead:
                    save(reached)
                    last_save = time.monotonic()
        finally:
            for future in ahead:
                future.cancel()
    for buffer in module.buffers():  # statistics of batch norm: each process has seen its own part; the lead's count
        team.spread(buffer)
    if team.lead:
        save(reached)
    team.wait()
    return reached


def _gradient(
    accelerator: Accelerator,
    module: torch.nn.Module,
    optimizer: Any,
    whole: Batch,
    loss: Callable[[torch.nn.Module, Batch], dict[str, torch.Tensor]],
    accumulate: int,
) -> dict[str, float]:
    """Leave the mean gradient over `whole`, computed in `accumulate` parts, in the weights; return the mean losses."""
    size = len(next(iter(whole.values())))
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, float] = {}
    for part in range(accumulate):
        chunk = slice(part * size // accumulate, (part + 1) * size // accumulate)
        share = (chunk.stop - chunk.start) / size
        values = {name: value[chunk].to(accelerator.device, non_blocking=True) for name, value in whole.items()}
        with accelerator.autocast():
            parts = loss(module, values)
        accelerator.backward(parts["loss"] * share)
        for name, value in parts.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach()) * share
    return totals


def _shared(team: Team, module: torch.nn.Module, size: int, values: dict[str, float]) -> dict[str, float]:
    """Make of the gradients and losses over each process's part, of `size` samples, those over the whole batch.

    Done by hand and not by DistributedDataParallel: a process that runs out of memory can compute its part again in smaller
    ones, parts may differ in size, and all processes see the same loss, so all leave out the same steps.
    """
    if team.world == 1:
        return values
    names = sorted(values)
    means = torch.tensor([size, *(values[name] * size for name in names)], dtype=torch.float64)
    team.add_up(means)
    total = means[0].item()
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    flat = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None]) * (size / total)
    team.add_up(flat)
    for weight, gradient in zip(weights, flat.split([weight.numel() for weight in weights])):
        weight.grad = gradient.view_as(weight).to(weight.dtype)
    return {name: float(value / total) for name, value in zip(names, means[1:].tolist())}
