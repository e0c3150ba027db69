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

Batch = dict[str, torch.Tensor]
PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
PATIENCE = 10


def step_seed(*parts: int | str) -> int:
    """Return a 31-bit seed that depends on all `parts`."""
    return zlib.crc32("/".join(map(str, parts)).encode()) & 0x7FFFFFFF


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Return an accelerator bound to `device`; one process can make several in a row (tests, a warm worker)."""
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    if ":" in device and "LOCAL_RANK" not in os.environ:
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
        from `threads` prefetch threads.
    loss : gives ``{"loss": scalar mean over the batch, ...}``; the other entries are reported too. The batch is on the device.
    save : writes weights, optimiser and step so that training can go on; called every `save_seconds`, when the user stops,
        and at the end.
    seed : parts of the seed that torch's generator gets at each step, with the step.
    step_offset : added to the step in reported metrics (a method with rounds counts on).
    accumulate : parts a batch is cut into; doubled, and said so, when the device runs out of memory.

    Raises
    ------
    RunError : the loss was not finite in `PATIENCE` steps one after the other.
    DeviceError : not even one sample fits into the device's memory.
    Cancelled : the user discards the run.
    """
    accelerator = make_accelerator(run.device, precision)
    wrapped, prepared = accelerator.prepare(module, optimizer)
    module.train()
    rank, world = accelerator.process_index, accelerator.num_processes
    last_save, bad, reached, pace = time.monotonic(), 0, start, 0.0
    with ThreadPoolExecutor(threads, thread_name_prefix="batch") as pool:
        ahead: deque[Future[Batch]] = deque()
        wanted = start
        try:
            for step in range(start, steps):
                run.wait_if_paused()
                if _any_stops(run, accelerator):
                    break
                while wanted < min(step + threads + 1, steps):
                    ahead.append(pool.submit(batch, wanted))
                    wanted += 1
                whole = ahead.popleft().result()
                if world > 1:
                    whole = {name: value[rank::world] for name, value in whole.items()}
                torch.manual_seed(step_seed(*seed, step, rank))
                before = time.monotonic()
                while True:
                    try:
                        values = _step(accelerator, wrapped, prepared, whole, loss, accumulate)
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
                pace = time.monotonic() - before
                bad = 0 if math.isfinite(values["loss"]) else bad + 1
                if bad == PATIENCE:
                    raise RunError(f"The loss was not finite {PATIENCE} times in a row; lower the learning rate.")
                reached = step + 1
                run.log(step=step_offset + reached, **values, seconds_per_step=pace)
                run.progress(reached, steps, what)
                if time.monotonic() - last_save > save_seconds and reached < steps:
                    save(reached)
                    last_save = time.monotonic()
        finally:
            for future in ahead:
                future.cancel()
    if accelerator.is_main_process:
        save(reached)
    accelerator.wait_for_everyone()
    return reached


def _step(
    accelerator: Accelerator,
    module: torch.nn.Module,
    optimizer: Any,
    whole: Batch,
    loss: Callable[[torch.nn.Module, Batch], dict[str, torch.Tensor]],
    accumulate: int,
) -> dict[str, float]:
    """One optimiser step over `whole` in `accumulate` parts; a step whose loss is not finite changes no weight."""
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
    if math.isfinite(totals["loss"]):
        optimizer.step()
    return totals


def _any_stops(run: Run, accelerator: Accelerator) -> bool:
    """True when the user asked any of the processes to stop."""
    if accelerator.num_processes == 1:
        return run.stopping
    flag = torch.tensor([float(run.stopping)], device=accelerator.device)
    stops = bool(accelerator.reduce(flag, "sum").item() > 0)
    if stops:
        run.control.stop_asked = True
    return stops
