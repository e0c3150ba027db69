"""Training of LIFE, read from top to bottom (method card, section 4).

::

    for each step
        draw pairs (A, B) with fundamental matrices, warp each B by a known transformation into B1
        find the flows A <-> B and B <-> B1, both directions of a pair in one go
        sum over all iterations: epipolar distance of A <-> B both ways + error of B <-> B1 both ways (+ 0.1 cycle error, last one)
        back-propagate, limit the gradient, step; the learning rate rises for 5 % of the steps, then falls to zero

Weights, optimiser and step are saved once a minute and when the user stops; a resumed training goes on bit for bit on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...checkpoints import Checkpoint, load_state, save_state
from ...data.flow_files import write_flow
from ...data.pairs import PairSet
from ...devices import list_devices
from ...errors import OpsinError, RunError
from ...files import write_text
from ...results import Flow
from ...runs import Run
from ...training import fit, step_seed
from .estimate import choose_correlation, estimate, volume_bytes
from .evaluate import epipolar_errors
from .losses import cycle_loss, epipolar_loss, over_iterations, photometric_loss, sequence_loss, warp_loss
from .model import DESIGNS, FlowNetwork
from .published import load_initial, pack
from .samples import Sample, Samples, fitted
from .settings import SUPERVISION, LifeRecipe

RISE = 0.05
LOOKED_AT = 4
"""Held-out pairs and warps that are judged while training."""


def train(recipe: LifeRecipe, data: PairSet, run: Run) -> Checkpoint | None:
    """Train on a `PairSet`; see the module's text. None when the user stopped it before the first step."""
    return _Training(recipe, data, run).steps()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of a step: linear from a 25th of the peak up to it in 5 % of the steps, then linear to nearly zero."""
    rise = max(1.0, RISE * steps)
    if step < rise:
        return peak * (1 / 25 + (1 - 1 / 25) * step / rise)
    return peak * max(1e-4 / 25, 1 - (step - rise) / max(1.0, steps - rise))


def free_memory(device: str) -> int:
    """Return the free bytes of a device."""
    return next((d.free for d in list_devices() if d.id == device), list_devices()[-1].free)


class _Training:
    def __init__(self, recipe: LifeRecipe, data: PairSet, run: Run) -> None:
        self.recipe, self.data, self.run = recipe, data, run
        if recipe.batch_size < run.team.world:
            raise RunError(f"A batch of {recipe.batch_size} cannot be shared by {run.team.world} processes.")
        run.phase("build")
        torch.manual_seed(recipe.seed)
        self.model = FlowNetwork(DESIGNS[recipe.network])
        if recipe.initial_checkpoint:
            colours = load_initial(self.model, recipe.network, Path(recipe.initial_checkpoint))
            if colours != recipe.colours:
                run.message(f"The weights to start from expect {colours}, so the training uses {colours}.")
                self.recipe = recipe = recipe.model_copy(update={"colours": colours})
        frozen = bool(recipe.initial_checkpoint) and recipe.batch_size < 4
        self.model.frozen_norm = recipe.freeze_norm == "yes" or (recipe.freeze_norm == "auto" and frozen)
        self.model.to(run.device)
        self.samples = Samples(recipe, data, run.team.rank, run.team.world)
        part = -(-recipe.batch_size // (run.team.world * recipe.accumulate))
        # both directions, and the gradients of all iterations' lookups into one volume
        needed = 4 * volume_bytes(recipe.height, recipe.width, self.model.design, part)
        self.correlate, said = choose_correlation(recipe.memory, needed, free_memory(run.device))
        run.message(said)
        self.looked = -1
        self.metrics: dict[str, float] = {}

    def steps(self) -> Checkpoint | None:
        recipe, run = self.recipe, self.run
        optimizer = torch.optim.AdamW(
            self.model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, eps=1e-8
        )

        def limit(*_: Any) -> None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)

        optimizer.register_step_pre_hook(limit)
        start = 0
        path = run.part("checkpoints") / "state.safetensors" if run.folder is not None else None
        if path is not None and path.exists():
            state = load_state(path)
            self.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            start = state["step"]

        def save(step: int) -> None:
            if path is not None:
                state = {"step": step, "model": self.model.state_dict(), "optimizer": optimizer.state_dict()}
                save_state(path, state)
                run.checkpoint(path, step)

        def loss(model: Any, batch: Sample) -> dict[str, torch.Tensor]:
            step = int(batch["step"][0])
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe.steps, recipe.learning_rate)
            if recipe.preview_every and step % recipe.preview_every == 0 and step != self.looked and step:
                self.looked = step
                self._look(step)
            return losses(recipe, model, batch, self.correlate)

        run.phase("first batch" if not start else f"going on at step {start}")
        reached = fit(
            run, self.model, optimizer, steps=recipe.steps, start=start, batch=self.samples.batch, loss=loss, save=save,
            seed=(recipe.seed,), what="steps", phase="training", accumulate=recipe.accumulate, precision=recipe.precision,
        )  # fmt: skip
        if not reached:
            return None
        if not run.stopping:
            run.phase("held-out pairs")
            self._look(reached)
        facts = {"recipe": recipe.model_dump(), "step": reached, "metrics": self.metrics}
        checkpoint = pack(self.model, recipe.network, recipe.colours, **facts)
        if run.folder is not None and run.team.lead:
            write_text(run.folder / "model_card.md", model_card(recipe, reached, self.metrics, run.folder, self.data))
        return checkpoint

    def _look(self, step: int) -> None:
        """Judge held-out pairs and warps and show the first pair."""
        run = self.run
        if not run.team.lead:
            return
        was = self.model.training
        self.model.eval()
        with torch.no_grad(), torch.autocast(run.device.partition(":")[0], enabled=False):
            self.metrics = {**self._warps(), **self._pairs(step)}
        self.model.train(was)  # the loss is computed after this look
        run.log(step=step, **self.metrics)

    def _warps(self) -> dict[str, float]:
        errors = []
        for number in range(LOOKED_AT):
            generator = torch.Generator().manual_seed(step_seed("held out", number))
            photographs = self.samples.photographs
            photograph = self.samples._tensor(photographs[number * len(photographs) // LOOKED_AT])
            warp = self.samples.warp(photograph, generator)
            a, b = (warp[name][None].to(self.run.device) for name in ("photograph", "warped"))
            flow = self.model(a, b, self.recipe.iterations, correlate=self.correlate).full[-1][0].cpu()
            errors.append((flow - warp["forth"]).square().sum(0).sqrt()[warp["forth_known"]])
        pooled = torch.cat(errors)
        if not len(pooled):
            return {}
        rates = {f"warps within {t} px": float((pooled <= t).float().mean()) for t in (1, 3, 5)}
        return {"EPE of warps": float(pooled.mean()), **rates}

    def _pairs(self, step: int) -> dict[str, float]:
        recipe, run = self.recipe, self.run
        found: dict[str, list[float]] = {}
        for number, pair in enumerate(self.data.held_out[:LOOKED_AT]):
            try:
                first, second = (fitted(p, recipe.height, recipe.width) for p in pair.pictures())
                flow = estimate(
                    self.model, first, second, recipe.iterations, colours=recipe.colours, correlate=self.correlate
                )[0].float().cpu()  # fmt: skip
                if pair.views is not None:
                    matrix = pair.fundamental(recipe.width, recipe.height)
                    found.setdefault("held-out epipolar distance", []).append(
                        float(epipolar_errors(flow, matrix).mean())
                    )
                if number == 0 and run.folder is not None:
                    path = run.part("previews") / f"step_{step}_{pair.name}.flo"
                    shown = Flow(path, str(pair.first), str(pair.second))
                    write_flow(path, flow.permute(1, 2, 0).numpy())
                    run.preview(shown, "flow of a held-out pair", step=step, pair=pair.name)
            except OpsinError as error:
                run.message(str(error), "warning")
        return {name: sum(values) / len(values) for name, values in found.items()}


def losses(recipe: LifeRecipe, model: FlowNetwork, batch: Sample, correlate: Any) -> dict[str, torch.Tensor]:
    """Return the loss of a batch and its parts."""
    parts: dict[str, torch.Tensor] = {}
    both = {"iterations": recipe.iterations, "last_only": False, "correlate": correlate}
    if recipe.supervision == "flow":
        flows = model(batch["first"], batch["second"], **both).full
        total = over_iterations(flows, lambda f: sequence_loss(f, batch["flow"], batch["known"]), recipe.gamma)
        return {"loss": total}
    total = torch.zeros((), device=batch["step"].device)
    if "first" in batch:
        there, back = model.both(batch["first"], batch["second"], **both)
        if "fundamental" in batch:
            matrix, turned = batch["fundamental"], batch["fundamental"].transpose(1, 2)
            form = recipe.epipolar_form
            parts["epipolar"] = over_iterations(
                there.full, lambda f: epipolar_loss(f, matrix, form=form), recipe.gamma
            ) + over_iterations(back.full, lambda f: epipolar_loss(f, turned, form=form), recipe.gamma)
        else:
            a, b = batch["first"], batch["second"]
            # scaled to be of the size of distances in pixels
            parts["photometric"] = 10 * (
                over_iterations(there.full, lambda f: photometric_loss(f, a, b), recipe.gamma)
                + over_iterations(back.full, lambda f: photometric_loss(f, b, a), recipe.gamma)
            )
        if recipe.cycle_weight and int(batch["step"][0]) >= recipe.cycle_after * recipe.steps:
            parts["cycle"] = recipe.cycle_weight * (
                cycle_loss(there.full[-1], back.full[-1]) + cycle_loss(back.full[-1], there.full[-1])
            )
    if "warped" in batch:
        there, back = model.both(batch["photograph"], batch["warped"], **both)
        parts["warp"] = over_iterations(
            there.full, lambda f: warp_loss(f, batch["forth"], batch["forth_known"]), recipe.gamma
        ) + over_iterations(back.full, lambda f: warp_loss(f, batch["back"], batch["back_known"]), recipe.gamma)
    for value in parts.values():
        total = total + value
    return {"loss": total, **parts}


def model_card(recipe: LifeRecipe, step: int, metrics: dict[str, float], folder: Path, data: PairSet) -> str:
    """Return the model card of a training, Markdown with a YAML head."""
    lines = [
        "---",
        "library_name: opsin",
        "pipeline_tag: other",
        "tags: [optical-flow, image-matching, arXiv:2104.03097]",
        "---",
        f"# Flow network, learnt from {SUPERVISION[recipe.supervision]}",
        "",
        f"Trained in `{folder.name}`; recipe, versions, data fingerprint and seed stand in `run.json`.",
        "",
        f"- network {recipe.network}, pictures of {recipe.width} x {recipe.height} px, colours {recipe.colours}",
        f"- {data.describe()}",
        f"- kept: step {step} of {recipe.steps}",
        *(f"- {name}: {value:.4f}" for name, value in metrics.items()),
    ]
    return "\n".join(lines) + "\n"
