"""Training by hybrid supervision, read from top to bottom (arXiv 2107.00934; method card, section 4).

::

    round 0   train the patch network on outlined tiles
    round r   E-step: let it propose soft pixel labels on all training slides; drop tiles with max(p) < T
              M-step: train on, on outlined tiles, tiles of negative slides (all zero) and of positive slides (min(V p, 1))
              stage 2: train the slide classifier on the K most suspicious tiles
    keep the round whose slide classifier explains the training labels best

Each round takes a new snapshot of the labels. Every part leaves a file when it is finished, so a killed run goes on where it
was, bit for bit on a CPU.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...checkpoints import Checkpoint, load_state, save_state
from ...continuing import parent_of
from ...errors import OpsinError, RunError
from ...files import write_json, write_text
from ...runs import Run
from ...training import fit
from .bags import Bags
from .card import model_card
from .corrections import as_corrected, corrected, last_snapshot, told
from .data import Snapshot
from .estep import Looking
from .losses import pixel_loss
from .mil import AttentionMIL, attention_loss, max_pool_loss
from .model import PatchNetwork, build, for_inference
from .published import load_bag, load_imagenet, load_initial, pack
from .settings import HybridRecipe
from .stage2 import Candidate, TileClassifier, train_stage2
from .tiles import EStep, Mix, Opened

NAMED = 5  # held-back slides that a sentence names
NO_CLASSIFIER = (
    "The slide classifier is not trained: it needs training slides of both labels, positive and negative, with tissue. The slide "
    "score is the mean of the K tile maxima."
)


def train(recipe: HybridRecipe, data: Any, run: Run) -> Checkpoint | None:
    """Train on a `data.SlideSet` (or anything with its `snapshot`); see the module's text for the order.

    None when the user stopped it before the first step: then there is nothing to keep.
    """
    with _folder(run) as folder:
        return _Training(recipe, data, run, folder).run_rounds()


def _pixels(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # channels last: half the time for the narrow network on a CPU, what tensor cores want on a GPU
    logits = model(batch["image"].contiguous(memory_format=torch.channels_last))
    return {"loss": pixel_loss(logits, batch["target"])}


def _max_pool(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"loss": max_pool_loss(model, batch["image"], batch["label"])}


def _attention(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"loss": attention_loss(model, batch["image"], batch["label"])}


LOSSES = {
    "hybrid": _pixels,
    "pixel_only": _pixels,
    "self_training": _pixels,
    "max_pool_mil": _max_pool,
    "attention_mil": _attention,
}


@contextlib.contextmanager
def _folder(run: Run) -> Iterator[Path]:
    """The run's folder, or a temporary one for a run that leaves nothing behind."""
    if run.folder is not None:
        yield run.folder
    else:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


def nothing_outlined(snapshot: Snapshot) -> str:
    """Return the sentence for a snapshot without an outlined training slide: it names outlined slides that are held back."""
    held = [s for s in snapshot.samples if not s.trains and (s.outlined or s.labels is not None)]
    if not held:
        return "No training slide is outlined: mark tumour on a slide, or tick 'Outlined completely' on one, and train again."
    names = [f"'{s.name or s.id}'" for s in held[:NAMED]]
    more = [f"{len(held) - NAMED} more"] if len(held) > NAMED else []
    return (
        "No training slide is outlined, as outlined slides are held back for validation or testing: put "
        f"{' and '.join(', '.join([*names, *more]).rsplit(', ', 1))} back into training, then resume or train again."
    )


class _Training:
    def __init__(self, recipe: HybridRecipe, data: Any, run: Run, folder: Path) -> None:
        self.recipe, self.data, self.run, self.folder = recipe, data, run, folder
        self.problems: set[str] = set()
        self.corrections: dict[str, list[dict[str, Any]]] = {}
        self.partial: tuple[int, int, int] | None = None
        """Round, step and steps of weights that are not those of a finished round: the user stopped."""
        for name in ("checkpoints", "previews", "snapshots", "estep"):
            (folder / name).mkdir(exist_ok=True)
        if recipe.batch_size < run.team.world:
            raise RunError(f"A batch of {recipe.batch_size} cannot be shared by {run.team.world} processes.")
        run.phase("build")
        torch.manual_seed(recipe.seed)
        self.patch: PatchNetwork = build(recipe)
        if recipe.imagenet_weights:
            load_imagenet(self.patch, Path(recipe.imagenet_weights))
        if recipe.initial_checkpoint:
            load_initial(self.patch, Path(recipe.initial_checkpoint))
        attends = recipe.supervision == "attention_mil"
        self.model: PatchNetwork | AttentionMIL = AttentionMIL(self.patch) if attends else self.patch
        self.model.to(run.device)
        self.looking = Looking(recipe, run, folder, self.model)

    def run_rounds(self) -> Checkpoint | None:
        recipe, run = self.recipe, self.run
        # the baseline trains on outlines alone, in one go, for as many steps as all rounds together
        rounds = 0 if recipe.pixel_labels_only else recipe.rounds
        run.emit("plan", steps=self._plan(rounds))
        losses: dict[int, float] = {}
        parent = parent_of(recipe.model_dump())
        before = last_snapshot(parent) if run.team.lead else None
        for round in range(rounds + 1):
            with run.team.lead_first():
                snapshot = self.data.snapshot(self.folder, round)
            for problem in snapshot.problems:
                self._problem(problem)
            finished = self._round_path(round).exists()  # before this run was resumed
            if run.team.lead:
                self._compare(round, before, snapshot, finished)
                before = snapshot
            run.team.wait()
            if not finished:
                proposals = self._e_step(round, snapshot) if round else {}
                if run.stopping or not self._m_step(round, snapshot, proposals):
                    break
            if recipe.classifies and (round or not rounds):
                trained = self._stage2(round, rounds, snapshot)
                if trained is None:
                    break
                if trained["classifier"] is None:
                    self._problem(NO_CLASSIFIER)
                    continue
                losses[round] = trained["loss"]
                run.log(step=round, slide_classifier_loss=trained["loss"])
        return self._finish(losses)

    def _compare(self, round: int, before: Snapshot | None, now: Snapshot, finished: bool) -> None:
        """Note what was corrected by hand since the round before, or since the run that this one goes on from."""
        found = corrected(before, now) if before is not None else []
        if found:
            self.corrections[str(round)] = [one.plain() for one in found]
            self.run.describe(corrections=self.corrections)
            if not finished:
                self.run.message(told(round, found, parent=not round))

    def _plan(self, rounds: int) -> list[str]:
        """Return the phases that begin a part of the work, in order; whoever watches tells from it how much is left."""
        steps = []
        for round in range(rounds + 1):
            steps += [f"round {round}: E-step"] if round else []
            steps += [f"round {round}: load"]
            if self.recipe.classifies and (round or not rounds):
                steps += [f"round {round}: tiles for the slide classifier", f"round {round}: slide classifier"]
        return steps

    # ---- the steps ------------------------------------------------------------------------------------------------

    def _e_step(self, round: int, snapshot: Snapshot) -> dict[int, EStep]:
        """Propose pixel labels with the weights of the round before, on every training slide."""
        recipe, run = self.recipe, self.run
        run.phase(f"round {round}: E-step")
        self._load_round(round - 1)
        proposals = self._propose(round - 1, snapshot, show=True)
        maxima: dict[str, list[float]] = {"positive": [], "negative": []}
        for index, proposed in proposals.items():
            label = snapshot.samples[index].label
            if label is not None:
                maxima["positive" if label else "negative"] += [s.p for s in proposed.scores]
        bins = np.linspace(0, 1, 21)
        counts = {name: np.histogram(values, bins)[0].tolist() for name, values in maxima.items()}
        table = {"round": round, "T": recipe.tile_threshold, "bins": bins.tolist(), **counts}
        if run.team.lead:
            write_json(self.folder / f"tile_maxima_round_{round}.json", table)
        for name, values in maxima.items() if not run.stopping else ():  # of half the slides: the resumed round says it
            kept = sum(p >= recipe.tile_threshold for p in values)
            run.log(step=round, **{f"{name}_tiles_kept": kept / max(1, len(values))})
        if not run.stopping and run.team.lead:
            # every round's maps replace those of the round before; the scores are small and stay
            for old in self.folder.glob("estep/*/*.npy"):
                if old.parent.name != f"after_round_{round - 1}":
                    old.unlink()
        return proposals

    def _propose(self, trained: int, snapshot: Snapshot, show: bool) -> dict[int, EStep]:
        """Run the weights of round `trained` over all training slides; finished slides are read from disk.

        In a team each slide is done by the process that is free first.
        """
        recipe, run = self.recipe, self.run
        folder = self.folder / "estep" / f"after_round_{trained}"
        folder.mkdir(exist_ok=True)
        chosen = [
            (i, s) for i, s in enumerate(snapshot.samples) if s.trains and (s.label is not None or recipe.self_training)
        ]
        problems: list[str] = []
        done: list[str] = []
        with run.team.apart(run.control), contextlib.closing(Opened(snapshot.samples, recipe)) as opened:
            network = None
            for number, (index, sample) in run.team.shared(list(enumerate(chosen))):
                run.wait_if_paused()
                if run.stopping:
                    break
                path = folder / f"{sample.id}.npz"
                # of negative slides only the places matter; a slide whose label was changed meanwhile is done again
                with_maps = recipe.keeps_maps(sample.label)
                if not path.exists() or (with_maps and EStep.load(path).maps is None):
                    network = network if network is not None else for_inference(self.model, run.device)
                    try:
                        heat, maps = self.looking.over_slide(opened, index, network, trained, show, with_maps, problems)
                    except OpsinError as error:
                        problems.append(f"{sample.name or sample.id} is left out of this round. {error}")
                        if run.team.lead:
                            self._problem(problems[-1])
                        continue
                    if run.stopping:
                        break
                    EStep.save(path, heat, recipe.tile_threshold, maps if with_maps else None)
                    done.append(sample.id)
                run.progress(number + 1, len(chosen), "slides")  # the phase says of which round
        for problem in run.team.gather(problems):
            self._problem(problem)
        others = set(run.team.gather(done)).difference(done)
        for _, sample in chosen:
            if show and sample.id in others:
                self.looking.show(self.looking.preview_path(trained, sample), trained, sample)
        found = {}
        for index, sample in chosen:
            path = folder / f"{sample.id}.npz"
            proposed = EStep.load(path) if path.exists() else None
            if proposed is not None and (proposed.maps is not None or not recipe.keeps_maps(sample.label)):
                found[index] = as_corrected(proposed, sample, recipe, snapshot.states, self._problem)
        return found

    def _m_step(self, round: int, snapshot: Snapshot, proposals: dict[int, EStep]) -> bool:
        """Train the patch network of this round; False when the user stopped it before the end."""
        recipe, run = self.recipe, self.run
        run.phase(f"round {round}: load")
        training = [s if s.trains else None for s in snapshot.samples]
        samples = [s for s in training if s is not None]
        places = {id(s): i for i, s in enumerate(samples)}
        shifted = {
            places[id(snapshot.samples[i])]: e for i, e in proposals.items() if id(snapshot.samples[i]) in places
        }
        opened = Opened(samples, recipe)
        try:
            mix = self._mix(opened, snapshot, round, shifted)
            run.message(f"Round {round}: {mix}.")
            steps = self._steps(round, mix.fine_count)
            optimizer = torch.optim.Adam([w for w in self.model.parameters() if w.requires_grad], recipe.learning_rate)
            start = 0
            state_path = self.folder / "checkpoints" / "state.safetensors"
            if state_path.exists():
                state = load_state(state_path)
                if state["round"] == round:
                    self.model.load_state_dict(state["model"])
                    optimizer.load_state_dict(state["optimizer"])
                    start = state["step"]
            run.phase(f"round {round}: first batch" if not start else f"round {round}: going on at step {start}")

            def save(step: int) -> None:
                state = {
                    "round": round,
                    "step": step,
                    "model": self.model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
                save_state(state_path, state)
                run.checkpoint(state_path, step)

            reached = fit(
                run,
                self.model,
                optimizer,
                steps=steps,
                start=start,
                batch=mix.batch,
                loss=LOSSES[recipe.supervision],
                save=save,
                seed=(recipe.seed, round),
                what=f"round {round}: steps",
                phase=f"round {round}: training",
                step_offset=sum(self._steps(r, mix.fine_count) for r in range(round)),
                accumulate=recipe.accumulate,
                precision=recipe.precision,
            )
            if reached < steps:
                if reached:  # else these are the weights of the round before
                    self.partial = round, reached, steps
                return False
            if run.team.lead:
                header = {"round": round, "snapshot": snapshot.hash}
                pack(recipe, self.patch, None, self._bag, **header).save(self._round_path(round))
            run.team.wait()
            return True
        finally:
            opened.close()

    def _mix(self, opened: Opened, snapshot: Snapshot, round: int, proposals: dict[int, EStep]) -> Mix | Bags:
        """Return what this round learns from."""
        recipe, team = self.recipe, self.run.team
        kind: type[Mix | Bags] = Bags if recipe.from_bags else Mix
        try:
            mix = kind(opened, snapshot.states, recipe, round, proposals, self._problem, team.rank, team.world)
            if not mix.fine_count:
                raise RunError(nothing_outlined(snapshot))
        except RunError:
            if team.lead:  # nothing was learnt from these labels: a resumed run looks at the workspace again
                (self.folder / "snapshots" / f"round_{round}.json").unlink(missing_ok=True)
            raise
        return mix

    def _stage2(self, round: int, rounds: int, snapshot: Snapshot) -> dict[str, Any] | None:
        """Train the slide classifier of this round; return its "loss" and weights ("classifier", None where it has nothing to
        learn from). None when the user stopped it."""
        run = self.run
        path = self.folder / "checkpoints" / f"stage2_round_{round}.safetensors"
        if not path.exists():
            run.phase(f"round {round}: tiles for the slide classifier")
            self._load_round(round)
            proposals = self._propose(round, snapshot, show=round < rounds)
            if run.stopping:
                return None
            # its batches are too small to be shared: in a team the lead trains it while the others wait
            with run.team.apart(run.control):
                if run.team.lead:
                    self._train_stage2(path, round, snapshot, proposals)
            if run.stopping:
                return None
        return load_state(path)

    def _train_stage2(self, path: Path, round: int, snapshot: Snapshot, proposals: dict[int, EStep]) -> None:
        recipe, run = self.recipe, self.run
        with contextlib.closing(Opened(snapshot.samples, recipe)) as opened:
            candidates = [
                Candidate(snapshot.samples[i].open, snapshot.samples[i].label, _top(e, recipe.K), opened.scale(i))
                for i, e in proposals.items()
                if snapshot.samples[i].label is not None
            ]
        run.phase(f"round {round}: slide classifier")
        classifier, loss = train_stage2(recipe, self.patch, candidates, run, round)
        if not run.stopping:
            weights = classifier.state_dict() if classifier is not None else None
            save_state(path, {"loss": loss if weights is not None else None, "classifier": weights})

    # ---- the end --------------------------------------------------------------------------------------------------

    def _finish(self, losses: dict[int, float]) -> Checkpoint | None:
        """Return the checkpoint of the best round, or of what there is when the user stopped; None when that is nothing."""
        recipe = self.recipe
        complete = [r for r in range(recipe.rounds + 1) if self._round_path(r).exists()]
        best = min(losses, key=lambda r: (losses[r], r)) if losses and recipe.select_round else None
        slide = None
        facts: dict[str, Any] = {}
        if (
            best is None and self.partial is not None
        ):  # the weights are there already, and no classifier belongs to them
            chosen, facts["step"], facts["steps"] = self.partial
        elif complete:
            chosen = best if best is not None else max(complete)
            self._load_round(chosen)
            if chosen in losses:
                slide = TileClassifier(self.patch)
                state = load_state(self.folder / "checkpoints" / f"stage2_round_{chosen}.safetensors")
                slide.load_state_dict(state["classifier"])
        else:
            return None
        rounds = {str(r): loss for r, loss in losses.items()}
        facts |= {"round": chosen, "stage2_losses": rounds, "problems": sorted(self.problems)}
        facts |= {"corrections": self.corrections} if self.corrections else {}
        checkpoint = pack(
            recipe,
            self.patch,
            slide,
            self._bag,
            metrics={f"stage 2 loss, round {r}": v for r, v in rounds.items()},
            **facts,
        )
        if self.run.folder is not None and self.run.team.lead:
            self.run.describe(**{"step": None, "steps": None, **facts})
            write_text(self.folder / "model_card.md", model_card(recipe, facts, losses, self.folder))
        return checkpoint

    def _steps(self, round: int, fine: int) -> int:
        recipe = self.recipe
        per_epoch = fine / recipe.batch_size
        first = recipe.steps_initial or max(1, round_up(per_epoch * recipe.initial_epochs))
        later = recipe.steps_round or max(1, round_up(per_epoch * recipe.epochs))
        if recipe.pixel_labels_only:
            return first + recipe.rounds * later
        return first if round == 0 else later

    def _round_path(self, round: int) -> Path:
        return self.folder / "checkpoints" / f"round_{round}.safetensors"

    def _load_round(self, round: int) -> None:
        load_initial(self.patch, self._round_path(round))
        if isinstance(self.model, AttentionMIL):
            load_bag(self.model.bag, self._round_path(round))
        self.model.to(self.run.device)

    @property
    def _bag(self) -> torch.nn.Module | None:
        return self.model.bag if isinstance(self.model, AttentionMIL) else None

    def _problem(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.add(sentence)
            self.run.message(sentence, "warning")


def round_up(value: float) -> int:
    return int(-(-value // 1))


def _top(proposed: EStep, count: int) -> list[Any]:
    return sorted(proposed.scores, key=lambda s: (-s.p, s.x, s.y))[:count]
