"""Slides to train on: from a workspace, a CAMELYON-like folder, or a folder with a table; frozen once per round.

The training never writes to the user's labels. At the start of each round `SlideSet.snapshot` copies them into the run's
folder, so that corrections made meanwhile enter there, and a resumed or repeated run sees exactly the same labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...data.slides import Slide, file_fingerprint, open_slide
from ...errors import OpsinError, RunError
from ...files import write_json
from ...labels.classes import DEFAULT_CLASSES, LabelClass
from ...labels.roi import counted_areas
from ...labels.store import LabelStore

UNLABELLED, EXCLUDED = -1, -2
"""Pixel states beside 0 (negative) and 1 (positive): nobody said anything; not to be trained on."""
STATES = {"positive": 1, "negative": 0, "ignore": EXCLUDED}


@dataclass(frozen=True)
class SlideSample:
    """One slide of a data set.

    Attributes
    ----------
    id : unique within the data set; names its files in the run folder.
    path : the slide file.
    label : 1 positive, 0 negative, None unknown.
    split : "train", "val", "test" or None (used for training).
    outlined : the outlines are complete: unlabelled pixels are negative, as far as they lie in the slide's regions of interest.
    labels : label store (a frozen copy within a snapshot), None without outlines. It also holds the regions of interest: where
        there are any, nothing outside them counts in training, prediction and evaluation.
    mpp : µm per pixel of level 0 as the user said; None: as the file says.
    outlines : annotation file (ASAP XML, GeoJSON) that a snapshot rasterises; only in foreign folders.
    node : class of a lymph node slide as CAMELYON17 gives it: "negative", "itc", "micro" or "macro"; None elsewhere.
    """

    id: str
    path: Path
    label: int | None = None
    split: str | None = None
    patient: str | None = None
    outlined: bool = False
    labels: Path | None = None
    mpp: float | None = None
    name: str = ""
    outlines: Path | None = None
    node: str | None = None

    def open(self) -> Slide:
        """Open the slide; `SlideError` when it is unreadable."""
        return open_slide(self.path, mpp=self.mpp)

    def open_labels(self) -> LabelStore | None:
        """Open the label store for reading only."""
        return LabelStore.open(self.labels, readonly=True) if self.labels is not None else None

    @property
    def trains(self) -> bool:
        return self.split in (None, "train")

    def plain(self) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> SlideSample:
        paths = {key: Path(values[key]) for key in ("path", "labels", "outlines") if values.get(key)}
        return cls(**{**values, **paths})


@dataclass(frozen=True)
class Snapshot:
    """What one round trains on: slides, frozen labels, meaning of the label values."""

    round: int
    samples: Sequence[Any]
    states: np.ndarray
    """int8 [256]: label value -> 1, 0, `UNLABELLED` or `EXCLUDED`."""
    hash: str
    problems: Sequence[str] = ()

    @property
    def training(self) -> list[Any]:
        return [sample for sample in self.samples if sample.trains]


def class_states(classes: Sequence[LabelClass]) -> np.ndarray:
    """Return the table label value -> pixel state, int8 [256]; values without a class count as excluded."""
    states = np.full(256, EXCLUDED, np.int8)
    states[0] = UNLABELLED
    for item in classes:
        states[item.value] = STATES[item.role]
    return states


@dataclass
class SlideSet:
    """A data set of slides. `samples` is as it was when opened; `snapshot` looks again."""

    folder: Path
    layout: str
    samples: list[SlideSample]
    classes: list[LabelClass]
    notes: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        """Hash of slides, labels, splits and classes."""
        digest = hashlib.sha256(json.dumps([item.model_dump() for item in self.classes]).encode())
        for sample in self.samples:
            values = {k: v for k, v in sample.plain().items() if k not in ("path", "labels", "outlines")}
            digest.update(json.dumps(values, sort_keys=True).encode())
            digest.update(_slide_fingerprint(sample).encode())
            digest.update(_label_hash(sample).encode())
        return digest.hexdigest()

    def describe(self) -> str:
        training = [s for s in self.samples if s.trains]
        painted = sum(s.outlines is not None or _painted(s) for s in training)
        complete = sum(s.outlined for s in training)
        count = {label: sum(s.label == label for s in training) for label in (1, 0, None)}
        text = (
            f"{self.layout}: {len(self.samples)} slides, {len(training)} for training ({count[1]} positive, "
            f"{count[0]} negative, {count[None]} without a slide label; {painted} painted, {complete} outlined completely), "
            f"{sum(s.split == 'val' for s in self.samples)} for validation, "
            f"{sum(s.split == 'test' for s in self.samples)} for testing."
        )
        return " ".join([text, *self.notes])

    def refreshed(self) -> SlideSet:
        """Read the source again: labels and slide labels may have changed since."""
        return open_data(self.folder)

    def snapshot(self, folder: Path, round: int) -> Snapshot:
        """Return the frozen labels of a round; made now, or read again when the run has them already.

        Parameters
        ----------
        folder : the run's folder; ``snapshots/round_<r>.json`` is the table, the copies lie in ``snapshots/labels``.
        """
        table = Path(folder) / "snapshots" / f"round_{round}.json"
        if not table.exists():
            now = self.refreshed()
            problems: list[str] = []
            samples = [_frozen(s, table.parent / "labels", now.classes, problems) for s in now.samples]
            content = {
                "round": round,
                "source": str(self.folder),
                "classes": [item.model_dump() for item in now.classes],
                "problems": problems,
                "samples": [
                    {**s.plain(), "labels": s.labels.name if s.labels else None, "outlines": None} for s in samples
                ],
            }
            content["hash"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
            write_json(table, content)
        return read_snapshot(table)


def read_snapshot(table: Path) -> Snapshot:
    """Read ``snapshots/round_<r>.json``; works wherever the run's folder has been moved to."""
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"The frozen labels {table} cannot be read ({error}); start the training anew.") from None
    samples = [SlideSample.from_plain(values) for values in content["samples"]]
    samples = [replace(s, labels=table.parent / "labels" / s.labels) if s.labels else s for s in samples]
    classes = [LabelClass(**values) for values in content["classes"]]
    return Snapshot(content["round"], samples, class_states(classes), content["hash"], content["problems"])


def _frozen(sample: SlideSample, folder: Path, classes: list[LabelClass], problems: list[str]) -> SlideSample:
    """Return `sample` with its labels copied (or rasterised) into `folder`; equal content is stored once."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{sample.id}.new"
    _remove_store(temporary)
    try:
        if sample.outlines is not None:
            target = folder / f"{sample.id}-{_label_hash(sample)[:12]}.labels"
            if not target.exists():
                problems.extend(rasterise(sample, temporary, classes))
                temporary.replace(target)
        elif sample.labels is not None and sample.labels.exists():
            with closing(LabelStore.open(sample.labels, readonly=True)) as store:
                content = store.snapshot(temporary)
            target = folder / f"{sample.id}-{content[:12]}.labels"
            temporary.replace(target)
        else:
            return replace(sample, labels=None)
    except OpsinError as error:
        problems.append(f"{sample.name or sample.id}: its outlines are not used. {error}")
        return replace(sample, labels=None, outlines=None, outlined=False)
    finally:
        _remove_store(temporary)
    tumour, whole = _draws_tumour(target, classes)
    if sample.outlined and sample.label == 1 and sample.outlines is not None and not tumour:
        problems.append(
            f"{sample.name or sample.id}: the slide is positive and no tumour is outlined, so its outlines do not count as "
            "complete."
        )
        sample = replace(sample, outlined=False)
    # where nobody said the label: tumour drawn, or all drawn and none there (which regions of interest cannot say of the rest)
    implied = 1 if tumour else 0 if sample.outlined and whole else None
    return replace(sample, labels=target, outlines=None, label=implied if sample.label is None else sample.label)


def _draws_tumour(labels: Path, classes: list[LabelClass]) -> tuple[bool, bool]:
    """Tell whether tumour is drawn where the slide counts, and whether all of it counts."""
    with closing(LabelStore.open(labels, readonly=True)) as store:
        return bool((class_states(classes)[list(counted_areas(store))] == 1).any()), store.roi() is None


def rasterise(sample: SlideSample, path: Path, classes: list[LabelClass]) -> list[str]:
    """Write the outlines of a foreign annotation file as a label store at `path`; return what was skipped, in words."""
    assert sample.outlines is not None
    from ...labels.exchange import class_mapping, import_annotations, read_annotations
    from ...labels.mapping import cautious, left_out_of_training

    outlines = read_annotations(sample.outlines)
    mapping = class_mapping(outlines, classes)
    with sample.open() as slide:
        width, height = slide.width, slide.height
    with closing(LabelStore.create(path, width, height)) as store:
        report = import_annotations(store, outlines, cautious(mapping, classes))
        store.flush()
    skipped = f"{len(report.skipped)} shapes were skipped." if report.skipped else ""
    return [f"{sample.outlines.name}: {text}" for text in (skipped, left_out_of_training(mapping)) if text]


def open_data(path: Path) -> SlideSet:
    """Open a workspace, a CAMELYON-like folder, or a folder of slides with ``labels.csv``.

    Raises
    ------
    RunError : there is nothing to train on; the sentence says what was looked for.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder: choose an Opsin workspace or a folder with slides.")
    if (folder / "opsin.sqlite").exists():
        found = _open_workspace(folder)
    else:
        from .layouts import read_folder

        layout, samples, notes = read_folder(folder)
        found = SlideSet(folder, layout, samples, list(DEFAULT_CLASSES), notes)
    if not found.samples:
        raise RunError(f"{folder} holds no slides: choose an Opsin workspace or a folder with slides.")
    return found


def _open_workspace(folder: Path) -> SlideSet:
    from ...workspace import Workspace

    workspace = Workspace.open(folder)
    try:
        samples = []
        for item in workspace.items():
            labels = workspace.label_path(item.id)  # of the reader whose labels count
            samples.append(
                SlideSample(
                    id=item.id,
                    path=workspace.slide_path(item),
                    label={"positive": 1, "negative": 0}.get(item.label or ""),
                    split=item.split,
                    patient=item.patient,
                    outlined=item.outlined,
                    labels=labels if labels.exists() else None,
                    mpp=item.mpp,
                    name=item.name,
                )
            )
        return SlideSet(folder, "Opsin workspace", samples, list(workspace.classes))
    finally:
        workspace.close()


def _slide_fingerprint(sample: SlideSample) -> str:
    try:
        return file_fingerprint(sample.path)
    except OSError:
        return "missing"


def _painted(sample: SlideSample) -> bool:
    """Tell whether there is anything in the slide's label file: opening a slide makes an empty one."""
    if sample.labels is None or not sample.labels.exists():
        return False
    try:
        with closing(LabelStore.open(sample.labels, readonly=True)) as store:
            return bool(store.keys(0))
    except OpsinError:  # the snapshot says what is wrong with it
        return False


def _label_hash(sample: SlideSample) -> str:
    if sample.outlines is not None:
        return hashlib.sha256(sample.outlines.read_bytes()).hexdigest()
    if sample.labels is None or not sample.labels.exists():
        return ""
    with closing(LabelStore.open(sample.labels, readonly=True)) as store:
        return store.content_hash()


def _remove_store(path: Path) -> None:
    """Remove a SQLite file with what lies beside it."""
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
