"""Predicting the slides of a workspace: what the engine is told of each, and what is kept of its answers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .runs import Event
from .workspace_items import Item

if TYPE_CHECKING:
    from .workspace import Workspace


def inputs_of(workspace: Workspace, items: Iterable[Item], fields: Iterable[str], said: Iterable[str]) -> list[Any]:
    """Return the inputs of a prediction (see `jobs.JobSpec`), one for each slide.

    Parameters
    ----------
    fields : names of the method's options: what it does not know it is not told.
    said : options that the user set: they go before what the workspace knows of a slide.
    """
    free = set(fields) - set(said)
    inputs = []
    for item in items:
        own: dict[str, Any] = {"item": item.id}
        if item.mpp is not None and "slide_mpp" in free:
            own["slide_mpp"] = item.mpp
        if "regions" in free and workspace.has_labels(item, workspace.counting):  # read when the slide's turn comes
            own["regions"] = str(workspace.label_path(item.id, workspace.counting))
        inputs.append({"path": str(workspace.slide_path(item)), "id": item.id, "options": own})
    return inputs


def output_of(workspace: Workspace, run: Path) -> Path:
    """Return where the heat maps of a run lie; the folder's name is the one under which scores are kept."""
    return workspace.folder / "heatmaps" / run.stem


class ScoreKeeper:
    """Takes the results of predictions into the workspace as they are reported."""

    def __init__(self) -> None:
        self.maps: dict[tuple[str, str], str] = {}
        """(run, slide id) -> file of the newest heat map that was reported."""

    def take(self, workspace: Workspace, run: str, event: Event) -> None:
        """Keep what a "result" event says of a slide of the workspace; others are none of ours.

        Raises
        ------
        WorkspaceError : the score cannot be written.
        """
        info = event.get("info", {})
        item = info.get("item")
        if event.get("event", "result") != "result" or item is None:
            return
        if event["kind"] == "Heatmap":
            self.maps[run, item] = str(event["path"])
        elif event["kind"] == "SlideScore":
            values = {key: value for key, value in info.items() if key not in ("item", "input")}
            workspace.set_score(item, run, {**values, "heatmap": self.maps.get((run, item))})
