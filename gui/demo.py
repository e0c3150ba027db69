"""`opsin demo`: the main job from start page to result on made slides, without a hand on the mouse, with pictures and a report.

It works the real window: buttons and panels are the ones a person uses, strokes are mouse events, training and prediction run in
worker processes. Two slides are outlined, the other training slides carry a slide label, the test slides take no part in training.
"""

from __future__ import annotations

import html
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAIN_POSITIVE, TRAIN_NEGATIVE, TEST = 5, 5, 10
OUTLINED = 2
SIZE = (2048, 1536)
PATIENCE = 3600.0


class DemoError(Exception):
    """A step of the demo did not come to its end."""


def run_demo(output: Path, headless: bool = False) -> int:
    """Do the main job; pictures and ``report.html`` land in `output`. Return the exit status."""
    from .application import make_application, make_window

    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    workspace = output / "workspace"
    if workspace.exists():
        shutil.rmtree(workspace)
    application = make_application()
    window = make_window([])
    demo = _Demo(application, window, output, workspace)
    try:
        demo.run()
    except DemoError as error:
        print(f"opsin demo: {error}")
        return 1
    finally:
        window.finish("stop")
        demo.spin(0.2)
    return 0


class _Demo:
    def __init__(self, application: Any, window: Any, output: Path, workspace: Path) -> None:
        self.application, self.window, self.output, self.folder = application, window, output, workspace
        self.pictures: list[tuple[str, str]] = []
        self.lines: list[str] = []

    def run(self) -> None:
        window = self.window
        window.resize(1440, 900)
        window.show()
        self.spin(0.5)
        self.picture("start", "The start page.")
        self.say("Making slides …")
        self.make_slides()
        window.open_workspace(self.folder)
        self.until(lambda: window.item is not None, "open the first slide", 60)
        self.picture("slide", "A slide of the workspace.")
        self.paint()
        hybrid = self.train("hybrid", {})
        baseline = self.train("outlines only", {"pixel_labels_only": True})
        numbers = {}
        for name, run in (("hybrid", hybrid), ("pixel labels only", baseline)):
            numbers[name] = self.predict(name, run)
        self.report(numbers)

    # ---- steps ----------------------------------------------------------------------------------------------------

    def make_slides(self) -> None:
        from ..engine.samples import make_slides
        from ..engine.workspace import Workspace

        count = TRAIN_POSITIVE + TRAIN_NEGATIVE + TEST
        made = make_slides(self.folder / "slides", count, 11, size=SIZE)
        with Workspace.create(self.folder) as workspace:
            items = workspace.add([slide.path for slide in made])
            seen = {True: 0, False: 0}
            for slide, item in zip(made, items):
                positive = bool(slide.polygons)
                training = seen[positive] < (TRAIN_POSITIVE if positive else TRAIN_NEGATIVE)
                seen[positive] += 1
                workspace.update(
                    item.id, label="positive" if positive else "negative", split="train" if training else "test"
                )
                if positive and seen[True] <= OUTLINED:
                    store = workspace.labels(item)
                    store.polygons([([ring], 1) for ring in slide.polygons], text="Outlines")
                    store.flush()
                    workspace.update(item.id, outlined=True)
                    workspace.update_marked(item.id)

    def paint(self) -> None:
        """Paint a stroke with mouse events, and take it back, so that the outlines stay exact."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest

        view, model = self.window.room.view, self.window.model
        model.tool = "brush"
        model.label = 1
        rect = view.rect()
        path = [
            QPoint(int(rect.width() * (0.3 + 0.03 * i)), int(rect.height() * (0.5 + 0.08 * (i % 3)))) for i in range(10)
        ]
        QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=path[0])
        for point in path[1:]:
            QTest.mouseMove(view, point)
            self.spin(0.03)
        QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=path[-1])
        self.window.model.labels.flush()
        self.spin(0.5)
        self.picture("annotate", "Painting on the slide: saved as it is drawn.")
        if not model.undo():
            raise DemoError("the stroke that was painted with the mouse did not reach the label store")
        model.labels.flush()
        model.tool = "pan"

    def train(self, name: str, changes: dict[str, Any]) -> Any:
        self.say(f"Training: {name} …")
        self.window.room.show_tab("train")
        panel = self.window.room.panel("train")
        self.spin(0.3)
        if not changes:
            self.picture("train", "The training form.")
        spec = panel.make_spec()
        spec.arguments["recipe"].update(changes)
        spec.title = name
        job = self.window.jobs.submit(spec)
        self.window.room.show_tab("runs")
        shown = False

        def finished() -> bool:
            nonlocal shown
            if not shown and not changes and len(job.metrics.get("loss", ([], []))[0]) > 30:
                self.picture("training", "While it trains: phase, progress, curves.")
                shown = True
            return job.final

        self.until(finished, f"train ({name})", PATIENCE)
        if job.state != "done":
            raise DemoError(f"the training '{name}' ended as {job.state}: {job.error}")
        if not changes:
            self.picture("run", "The finished run.")
        return Path(spec.arguments["run"])

    def predict(self, name: str, run: Path) -> dict[str, Any]:
        import numpy as np

        from ..engine.metrics.roc import auc, full_sensitivity

        self.say(f"Predicting: {name} …")
        self.window.room.show_tab("results")
        panel = self.window.room.panel("results")
        panel.set_workspace(self.window.workspace)
        self.spin(0.5)
        panel.refresh_runs(str(run))
        job = panel.predict(None)
        if job is None:
            raise DemoError(f"the prediction '{name}' could not be started")
        self.until(lambda: job.final, f"predict ({name})", PATIENCE)
        self.spin(1.0)
        if job.state != "done":
            raise DemoError(f"the prediction '{name}' ended as {job.state}: {job.error}")
        if name == "hybrid":
            self.picture("results", "Heat map, sorted table, ROC and operating point.")
        scores = {e["info"]["item"]: e["info"]["score"] for e in job.results if e["kind"] == "SlideScore"}
        items = [i for i in self.window.workspace.items() if i.split == "test" and i.id in scores]
        labels = np.array([item.label == "positive" for item in items])
        values = np.array([scores[item.id] for item in items])
        point = full_sensitivity(labels, values)
        return {
            "test slides": len(items),
            "specificity at 100 % sensitivity": point.specificity if point else None,
            "slide that sets it": items[point.setter].name if point else None,
            "AUC": auc(labels, values),
        }

    def report(self, numbers: dict[str, dict[str, Any]]) -> None:
        from ..engine.files import write_text

        for name, found in numbers.items():
            specificity, area = found["specificity at 100 % sensitivity"], found["AUC"]
            shown = [("n/a" if value is None else f"{value:.2f}") for value in (specificity, area)]
            self.say(
                f"{name}: specificity at 100 % sensitivity {shown[0]}, AUC {shown[1]} on {found['test slides']} made slides "
                f"that took no part in training (threshold set by {found['slide that sets it']})"
            )
        figures = "".join(
            f'<figure><img src="{file}" width="100%"><figcaption>{html.escape(text)}</figcaption></figure>'
            for file, text in self.pictures
        )
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines)
        page = (
            "<!doctype html><meta charset='utf-8'><title>Opsin demo</title><style>body{font:16px/1.5 sans-serif;max-width:60em;"
            "margin:2em auto;padding:0 1em}figure{margin:2em 0}img{border:1px solid #bbb}</style><h1>Opsin demo</h1>"
            f"<p>For research use, not for diagnosis.</p><ul>{lines}</ul>{figures}"
        )
        write_text(self.output / "report.html", page)
        self.say(f"Report and pictures: {self.output}")

    # ---- means ----------------------------------------------------------------------------------------------------

    def spin(self, seconds: float) -> None:
        """Let the window work for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.application.processEvents()
            time.sleep(0.005)

    def until(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise DemoError(f"it took longer than {seconds:.0f} s to {what}")
            self.spin(0.05)

    def picture(self, name: str, text: str) -> None:
        self.spin(0.6)
        file = f"{len(self.pictures) + 1:02d}-{name}.png"
        self.window.grab().save(str(self.output / file))
        self.pictures.append((file, text))

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)
