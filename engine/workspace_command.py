"""A workspace from the shell: making one, filling it, listing it, predicting its slides."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OpsinError, UsageError
from .runs import Event
from .workspace import Workspace
from .workspace_predict import ScoreKeeper, inputs_of, output_of


def run(arguments: argparse.Namespace) -> int:
    """Carry `opsin workspace` out; return the exit status: 1 where something of many could not be used."""
    folder: Path = arguments.folder
    if not Workspace.is_workspace(folder) and not arguments.add:
        raise UsageError(f"{folder} is no workspace; make one there by naming slides with --add.")
    if arguments.split is not None and not 0 < arguments.split < 1:
        raise UsageError("--split is a share between 0 and 1, such as 0.2.")
    left: list[str] = []
    with Workspace.open_or_create(folder) as workspace:
        if arguments.add:
            missing = [path for path in arguments.add if not path.exists()]
            left += [f"{path} does not exist." for path in missing]
            workspace.add([path for path in arguments.add if path not in missing])
            left += [sentence for _, sentence in workspace.rejected]
        if arguments.labels is not None:
            if not arguments.labels.is_file():
                raise OpsinError(f"{arguments.labels} does not exist.")
            left += workspace.import_labels_csv(arguments.labels)[1]
        if arguments.outlined:
            names = {item.name: item.id for item in workspace.items()}
            left += [f"There is no slide called '{name}'." for name in arguments.outlined if name not in names]
            known = [name for name in arguments.outlined if name in names]
            workspace.edit({names[name]: {"outlined": True} for name in known}, "outlined completely")
        if arguments.split is not None:
            workspace.assign_splits(val=arguments.split, keep=True)
        if arguments.table is not None:
            workspace.write_slide_table(arguments.table)
        print(listing(workspace))
    for sentence in left:
        print(f"opsin: {sentence}", file=sys.stderr)
    return int(bool(left))


def listing(workspace: Workspace) -> str:
    """Return the slides as a table: name, label, split, patient, review, marked share, newest score."""
    scores = {entry["item"]: entry for entry in workspace.scores()}
    rows = [("slide", "label", "split", "patient", "review", "marked", "score")]
    for item in workspace.items():
        score = scores.get(item.id, {}).get("score")
        marked = f"{100 * item.marked:.1f} %" + (" outlined" if item.outlined else "")
        rows.append(
            (
                item.name, item.label or "-", item.split or "-", item.patient or "-", item.review, marked,
                "-" if score is None else f"{score:.3f}",
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


@contextmanager
def predict_workspace(
    folder: Path, checkpoint: Path, options: dict[str, Any], said: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Callable[[Event], None]]]:
    """Give the inputs and the output of a prediction of all slides, and what takes its events; in the block it is carried out.

    Parameters
    ----------
    options : of the prediction, all of them. said : names of those that the user set.

    Raises
    ------
    WorkspaceError : the folder is no workspace. OpsinError : it has no slides.
    """
    with Workspace.open(folder) as workspace:
        items = workspace.items()
        if not items:
            raise OpsinError(f"{folder} has no slides; add some with 'opsin workspace {folder} --add …'.")
        output = output_of(workspace, checkpoint)
        keeper = ScoreKeeper()

        def take(event: Event) -> None:
            if event["event"] == "result":
                keeper.take(workspace, output.name, event)

        yield {"inputs": inputs_of(workspace, items, options, said), "output": str(output)}, take
