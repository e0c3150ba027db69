"""Child process of `test_fuzz.py`: opens each file it is told and answers with one JSON line.

A line on standard input is ``kind<TAB>path``. The answer has "state": "read", "refused" (with the sentence) or "crash" (with
the trace), "seconds", and "peak", the most memory that this process has held so far, in MiB. A file that takes this process
along gets no answer. Started with "torch" it loads that first, and then reads weights: they are judged by what they add.
"""

import itertools
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from opsin.engine.batch import read_states
from opsin.engine.data.slides import open_slide
from opsin.engine.errors import OpsinError
from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import class_mapping, import_annotations, read_annotations
from opsin.engine.labels.store import LabelStore
from opsin.engine.method import get_method
from opsin.engine.recent import recent_workspaces
from opsin.engine.replay import EventFile, job_of, repeat_spec, thin
from opsin.engine.runs import read_lines
from opsin.engine.slide_table import read_slide_table
from opsin.engine.tiles import TilePyramid
from opsin.engine.workspace import Workspace
from opsin.gui.settings import AppSettings


def read_slide(path: Path) -> None:
    """Open it as the window does: tiles of every level, a region across the edge, the thumbnail."""
    with open_slide(path) as slide:
        for level in range(len(slide.levels)):
            slide.tile(level, 0, 0)
            slide.read(level, slide.levels[level].width - 20, slide.levels[level].height - 20, 40, 40)
        slide.read_scaled(0, 0, 64, 64, max(1.0, slide.width / 64))
        slide.thumbnail(64)
        slide.fingerprint()


numbers = itertools.count()


def read_outlines(path: Path) -> None:
    """Read it and import all of it into labels, as far as they can be used."""
    outlines = read_annotations(path)
    for outline in outlines:
        outline.bounds
    beside = path.parents[1] / f"import{next(numbers)}.labels"
    try:
        with LabelStore.create(beside, 256, 192) as store:
            mapping = class_mapping(outlines, DEFAULT_CLASSES)
            import_annotations(store, outlines, mapping, marks=True)
            store.flush()
            store.areas()
    finally:
        for left in beside.parent.glob(f"{beside.name}*"):
            left.unlink()


def read_labels(path: Path) -> None:
    with LabelStore.open(path, readonly=True) as store:
        store.areas()
        store.region(0, 0, 0, 64, 64)
        store.marks()
        store.roi()
        store.content_hash()


def edit_labels(path: Path) -> None:
    """Undo everything, do it again, paint, erase a mark: what the file says of earlier steps is used for that."""
    with LabelStore.open(path) as store:
        for _ in range(20):
            store.undo()
        store.flush()
        for _ in range(3):
            store.redo()
        store.stroke(np.array([[9.0, 9.0], [100.0, 50.0]]), 9, 2)
        store.remove_marks([mark.id for mark in store.marks()][:1])
        store.flush()
        store.areas()
        store.region(1, 0, 0, 64, 64)


def read_heat(path: Path) -> None:
    with TilePyramid.open(path, readonly=True) as pyramid:
        for row, column in pyramid.keys(0)[:4]:
            pyramid.tile(0, row, column)


def read_workspace(path: Path) -> None:
    """Open it as the window does, show every slide and its labels, change a label, take that back."""
    with Workspace.open(path) as workspace:
        workspace.classes
        workspace.scores()
        workspace.runs()
        workspace.setting("last_item")
        for item in workspace.items():
            workspace.heatmaps(item)
            workspace.review_history(item.id)
            workspace.follow_labels(item)
            if workspace.has_labels(item):
                workspace.labels_to_read(item).close()
        for item in workspace.items():
            workspace.edit({item.id: {"label": "negative"}})
        workspace.undo_edit()
        workspace.undo_edit()
        workspace.undo_edit()
        workspace.redo_edit()


def read_run(path: Path) -> None:
    """Show it as the runs panel does."""
    job = job_of(path)
    repeat_spec(path, path.with_name("again"))
    file = EventFile(path)
    while events := file.read():
        job.apply(*thin(events))
    job.share, job.seconds_left, job.seconds_waited, job.failed_items, job.worked()
    read_lines(path / "metrics.jsonl")
    read_states(path)


def read_recipe(path: Path) -> None:
    get_method("hybrid_wsi").recipe(path)


def read_settings(path: Path) -> None:
    os.environ["OPSIN_CONFIG"] = str(path.parent)
    AppSettings.load().save()
    recent_workspaces()


def read_weights(path: Path) -> None:
    from opsin.engine.checkpoints import Checkpoint, read_header

    read_header(path)
    Checkpoint.load(path, "hybrid_wsi")


def read_state(path: Path) -> None:
    from opsin.engine.checkpoints import load_state

    load_state(path)


def read_others(path: Path) -> None:
    from opsin.engine.checkpoints import read_published

    read_published(path)


READERS = {
    "slide": read_slide,
    "annotations": read_outlines,
    "labels": read_labels,
    "edits": edit_labels,
    "heat": read_heat,
    "table": read_slide_table,
    "workspace": read_workspace,
    "run": read_run,
    "recipe": read_recipe,
    "settings": read_settings,
}
OF_TORCH = {"weights": read_weights, "state": read_state, "published": read_others}


def main() -> None:
    budget, readers = int(sys.argv[1]), READERS
    if "torch" in sys.argv[2:]:
        import opsin.engine.checkpoints  # noqa: F401

        readers = OF_TORCH
    # address space, generously: what libraries map is not what they use; `peak` is judged by the parent
    resource.setrlimit(resource.RLIMIT_AS, (budget << 20, budget << 20))
    print(json.dumps({"state": "ready", "peak": _peak()}), flush=True)
    for line in sys.stdin:
        kind, _, name = line.rstrip("\n").partition("\t")
        began = time.process_time()  # of the processor: a machine that is busy with other things is no fault of a file
        answer: dict[str, object] = {"state": "read"}
        try:
            readers[kind](Path(name))
        except OpsinError as error:
            answer = {"state": "refused", "sentence": str(error)}
        except BaseException:
            answer = {"state": "crash", "trace": traceback.format_exc()}
        print(json.dumps({**answer, "seconds": time.process_time() - began, "peak": _peak()}), flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
