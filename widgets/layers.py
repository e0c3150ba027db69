"""What the views show of a result: one rule per type, and the bridge that follows jobs as they work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import OpsinError
from ..engine.tiles import TilePyramid

if TYPE_CHECKING:
    from ..engine.jobs import Job
    from .slide.model import Overlay, SlideViewModel

PSEUDO = "pseudo labels"
"""How names of layers begin that a training reports."""
PAINTING = ("brush", "eraser", "polygon", "lasso")

Rule = Callable[["SlideViewModel", Path, str, dict[str, Any]], None]


def _heatmap(view: SlideViewModel, path: Path, name: str, settings: dict[str, Any]) -> None:
    """A probability for each place becomes a coloured overlay."""
    from .slide.model import Overlay

    shown = view.overlay(name)
    pseudo = name.startswith(PSEUDO)
    kept: dict[str, Any] = {"colormap": "magenta" if pseudo else "ice", "yields": pseudo}
    if shown is not None:
        kept |= {"threshold": shown.threshold, "opacity": shown.opacity, "visible": shown.visible}
    view.add_overlay(Overlay(name, TilePyramid.open(path, readonly=True), **{**kept, **settings}))


RULES: dict[str, Rule] = {"Heatmap": _heatmap}
"""Type of result -> how the slide view shows it."""


def show(view: SlideViewModel, kind: str, path: str | Path, name: str, **settings: Any) -> bool:
    """Show the result of type `kind` at `path` as the overlay `name`; False when nothing can be shown.

    Parameters
    ----------
    settings : "threshold", "opacity", "visible", "colormap"; what is not named stays as it was.
    """
    rule = RULES.get(kind)
    if rule is None or not Path(path).exists():
        return False
    try:
        rule(view, Path(path), name, settings)
    except OpsinError:
        return False  # still being made, or damaged: the job's own messages tell
    return True


class LiveLayers:
    """Shows on the open slide what jobs report of it: heat maps as they grow, pseudo labels after each round.

    Parameters
    ----------
    jobs : the queue (`gui/jobs.py` or a stand-in): ``jobs``, ``added``.
    view : the model of the slide view.
    wanted : says of a prediction whether its heat maps are to be shown; None: of each.
    """

    def __init__(self, jobs: Any, view: SlideViewModel, wanted: Callable[[Job], bool] | None = None) -> None:
        self.view = view
        self.item: str | None = None
        self.negative = False
        self._wanted = wanted
        self._paths: dict[str, str] = {}  # overlay name -> path, of what is shown here
        self._seen: set[tuple[str, float]] = set()  # (path, time) of the previews that are shown
        self._jobs: list[Job] = []
        jobs.added.connect(self.follow)
        for job in jobs.jobs:
            self.follow(job)

    def follow(self, job: Job) -> None:
        """Show what `job` reports from now on."""
        self._jobs.append(job)
        job.changed.connect(lambda what: self._changed(job, what))

    def set_item(self, item: str | None, negative: bool = False) -> None:
        """Another slide is open: the newest previews of running jobs for it are shown.

        Pseudo labels of a `negative` slide arrive switched off: training takes all of it for negative whatever they say.
        """
        self.item, self.negative = item, negative
        self._paths, self._seen = {}, set()
        for job in self._jobs:
            if not job.final:
                self._changed(job, {"preview"})

    def _changed(self, job: Job, what: set[str]) -> None:
        if self.item is None:
            return
        if job.spec.verb == "predict" and self._wanted is not None and not self._wanted(job):
            return
        if "preview" in what:
            for event in list(job.previews.values()):
                self._show(event["name"], event, fresh=True)
        if "result" in what:
            for event in job.results[-20:]:
                if event.get("kind") in RULES:
                    self._show("heat map", event)
        if "region" in what:
            regions = list(job.regions)
            job.regions.clear()
            by_name: dict[str, list[Any]] = {}
            for event in regions:
                name = next((n for n, p in self._paths.items() if p == str(event["path"])), None)
                if name is not None:
                    by_name.setdefault(name, []).append(event["rect"])
            for name, rects in by_name.items():
                self.view.refresh_overlay(name, around(rects))

    def _show(self, name: str, event: dict[str, Any], fresh: bool = False) -> None:
        """Show what `event` reports; a `fresh` one stands for a new file, also under a path that was shown before."""
        path, key = str(event.get("path")), (str(event.get("path")), event["time"])
        if event.get("info", {}).get("item") != self.item or key in self._seen:
            return
        self._seen.add(key)
        known = next((n for n, p in self._paths.items() if p == path), None)
        if known is not None and not fresh:  # the finished map is the one that has grown: only read it again
            self.view.refresh_overlay(known)
        elif show(self.view, event["kind"], path, name, **self._visible(name)):
            self._paths[name] = path
            for earlier in self._earlier(name):
                self.view.update_overlay(earlier.name, visible=False)

    def _earlier(self, name: str) -> list[Overlay]:
        """Previews that come round by round ("pseudo labels, round 2"): those of which only the newest is in sight."""
        head, comma, _ = name.partition(", round ")
        return [o for o in self.view.overlays if comma and o.name != name and o.name.startswith(head + comma)]

    def _visible(self, name: str) -> dict[str, bool]:
        """Return what a new layer begins with: pseudo labels never come between a brush and the tissue."""
        if not name.startswith(PSEUDO) or self.view.overlay(name) is not None:
            return {}
        earlier = self._earlier(name)
        if earlier:
            return {"visible": any(o.visible for o in earlier)}
        return {"visible": not self.negative and self.view.tool not in PAINTING}


def around(rects: list[Any]) -> tuple[float, float, float, float]:
    """Return the rectangle (x, y, width, height) around all of `rects`."""
    left, top = min(r[0] for r in rects), min(r[1] for r in rects)
    right, bottom = max(r[0] + r[2] for r in rects), max(r[1] + r[3] for r in rects)
    return (left, top, right - left, bottom - top)
