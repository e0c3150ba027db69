"""`opsin demo`: the main job from the start page to the result on made slides, without a hand on the mouse.

It works the real window: buttons and menu entries are those a person uses, outlines are mouse events, training and prediction
run in worker processes. Two slides are outlined, the other training slides carry a slide label alone, the test slides take no
part in training. The same training with the outlines alone is what it is compared with.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import OpsinError
from . import demo_report
from .demo_hands import PATIENCE, DemoError, Hands

MARK = "figures.json"
BASELINE = {"supervision": "pixel_only", "stage2": False}
"""No slide label reaches the baseline, so it has no slide classifier either: that one learns from slide labels."""


@dataclass(frozen=True)
class DemoPlan:
    """How much the demo does. The figures it gives depend on this alone (on one kind of processor).

    Attributes
    ----------
    size : of a slide, px at 0.5 µm.
    train, test : slides of each label.
    outlined : positive training slides whose lesions are outlined; the first by mouse, the others from a file.
    preset, changes : of the recipe, for hybrid supervision and the baseline alike.
    """

    seed: int = 101
    size: tuple[int, int] = (2048, 1536)
    train: int = 8
    test: int = 12
    outlined: int = 2
    preset: str = "quick"
    changes: dict[str, Any] = field(default_factory=dict)


def run_demo(output: Path, headless: bool = False, plan: DemoPlan | None = None) -> int:
    """Do the main job; pictures, figures and ``report.html`` land in `output`. Return the exit status."""
    if headless:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    output = Path(output).resolve()
    try:
        _clear(output)
    except (DemoError, OSError) as error:
        print(f"opsin demo: {error}", flush=True)
        return 1
    before = os.environ.get("OPSIN_CONFIG")
    # the user's own settings and recent workspaces stay as they are
    os.environ["OPSIN_CONFIG"] = str(output / "settings")
    try:
        return _work(output, plan or DemoPlan())
    finally:
        if before is None:
            del os.environ["OPSIN_CONFIG"]
        else:
            os.environ["OPSIN_CONFIG"] = before


def _clear(output: Path) -> None:
    """Make room for a new demo; throws away an earlier one and nothing else."""
    if output.exists() and any(output.iterdir()):
        if not (output / MARK).exists():
            raise DemoError(f"{output} is not empty and holds no earlier demo; name another folder with --output.")
        for name in ("settings", "made_slides", "exports"):
            shutil.rmtree(output / name, ignore_errors=True)
        for picture in output.glob("[0-9][0-9]-*.png"):
            picture.unlink()
        (output / "report.html").unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARK).write_text("{}\n", encoding="utf-8")


def _work(output: Path, plan: DemoPlan) -> int:
    from .application import make_application, make_window
    from .settings import AppSettings

    AppSettings(theme="light").save()
    application = make_application()
    window = make_window([])
    demo = _Demo(application, window, output, plan)
    status = 1
    try:
        demo.run()
        status = 0
    except OpsinError as error:
        print(f"opsin demo: {demo.step}: {error}", flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"opsin demo: {demo.step}: {type(error).__name__}: {error}", flush=True)
    finally:
        demo.ending = True
        window.finish("stop" if status == 0 else "cancel")
        sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
    return status


class _Demo(Hands):
    """The steps; `Hands` has the means."""

    def __init__(self, application: Any, window: Any, output: Path, plan: DemoPlan) -> None:
        super().__init__(application, window, output)
        self.plan = plan

    def run(self) -> None:
        plan = self.plan
        self.report.facts["plan"] = {
            "seed": plan.seed, "size": list(plan.size), "training slides": 2 * plan.train, "test slides": 2 * plan.test,
            "outlined": plan.outlined, "preset": plan.preset, "changes": plan.changes,
        }  # fmt: skip
        with self.phase("start page"):
            self.window.resize(1440, 900)
            self.window.show()
            self.picture("start", "The start page: drop slides or a folder on it, or try a sample.")
        with self.phase("make slides"):
            made = self.make_slides()
        with self.phase("open and look"):
            items = self.open_slides(made)
            outlined = self.choose(made)
            self.look(items[outlined[0].path.stem], outlined[0])
        with self.phase("annotate"):
            self.draw(items[outlined[0].path.stem], outlined[0])
            for slide in outlined[1:]:
                self.import_outlines(items[slide.path.stem], slide)
        with self.phase("train with slide labels"):
            hybrid = self.train("hybrid supervision", {}, items, outlined)
        with self.phase("train with outlines alone"):
            baseline = self.train("pixel labels only", BASELINE, items, outlined)
        with self.phase("predict and judge"):
            self.predict("hybrid supervision", hybrid, show=True)
            self.export(hybrid)
        with self.phase("predict with the baseline"):
            self.predict("pixel labels only", baseline)
            self.picture(
                "baseline", "The same slide as the baseline sees it: the network that learned from outlines alone."
            )
        with self.phase("leave and come back"):
            self.dark(hybrid)
            self.leave()
        self.report.write()
        for line in self.report.lines():
            print(line, flush=True)

    # ---- 1 and 4: start page and workspace ------------------------------------------------------------------------

    def make_slides(self) -> list[Any]:
        from ..engine.samples import make_slides

        plan = self.plan
        count = 2 * (plan.train + plan.test)
        return self.background(lambda: make_slides(self.output / "made_slides", count, plan.seed, size=plan.size))

    def open_slides(self, made: list[Any]) -> dict[str, Any]:
        """Drop the folder on the window, bring in the slide labels as a table; return item ids by slide name."""
        from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
        from qtpy.QtGui import QDropEvent

        window, folder = self.window, self.output / "made_slides"
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(folder))])
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        window.dropEvent(QDropEvent(QPointF(700, 400), Qt.DropAction.CopyAction, mime, left, none))
        self.until(
            lambda: window.workspace is not None and len(window.workspace.items()) == len(made), "open the slides"
        )
        self.until(lambda: window.item is not None, "show the first slide")
        table = folder / "labels.csv"
        rows = ["slide,label,split"]
        seen = {"positive": 0, "negative": 0}
        for slide in made:
            seen[slide.label] += 1
            rows.append(
                f"{slide.path.name},{slide.label},{'train' if seen[slide.label] <= self.plan.train else 'test'}"
            )
        table.write_text("\n".join(rows) + "\n", encoding="utf-8")
        window.commands.import_label_table(table)
        self.until(lambda: all(item.label and item.split for item in window.workspace.items()), "read the slide labels")
        thumbnails = window.workspace.folder / "thumbnails"
        self.until(lambda: len(list(thumbnails.glob("*.png"))) >= len(made), "make the thumbnails")
        return {item.name: item.id for item in window.workspace.items()}

    def choose(self, made: list[Any]) -> list[Any]:
        """Return the slides to outline: the first positive training slides, those without look-alikes first.

        So the outlines say nothing about look-alikes; only the slide labels of the other slides do. That is the case that
        hybrid supervision is made for, and the one of the method card's proof.
        """
        positive = [slide for slide in made if slide.label == "positive"][: self.plan.train]
        return sorted(positive, key=lambda slide: slide.look_alike)[: self.plan.outlined]

    # ---- 2: look --------------------------------------------------------------------------------------------------

    def look(self, item: str, slide: Any) -> None:
        """See the whole slide, then turn the wheel over a lesion."""
        self.open(item)
        self.picture("slide", "A slide of the workspace: made tissue, scale bar, overview, the slide list on the left.")
        self.aim(slide.polygons[0], 0.9)
        self.picture("zoom", "The same slide after turning the wheel over the lesion: level 0, tile by tile.")

    # ---- 3: annotate ----------------------------------------------------------------------------------------------

    def draw(self, item: str, slide: Any) -> None:
        """Paint with the brush and take it back; then outline every lesion with the polygon tool, corner by corner."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        window = self.window
        model, view, book = window.model, window.room.view, window.book
        self.open(item)
        window.room.show_tab("annotate")
        self.aim(slide.polygons[0], 0.6)
        book["class.1"].trigger()
        book["tool.brush"].trigger()
        while model.brush_radius > 0.1 * np.ptp(slide.polygons[0], 0).min():
            book["brush.smaller"].trigger()
        centre = slide.polygons[0].mean(0)
        inner = centre + (slide.polygons[0] - centre) * 0.6
        path = [self.at_view(point) for point in [*inner[:: max(1, len(inner) // 40)], inner[0]]]
        QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=path[0])
        for point in path[1:]:
            QTest.mouseMove(view, point)
            self.spin(0.02)
        QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=path[-1])
        model.labels.flush()
        self.require(model.labels.areas().get(1, 0) > 0, "the brush stroke did not reach the label store")
        self.see_area()
        self.picture("brush", "A brush stroke along the lesion: saved as it is drawn, undone with Ctrl+Z.")
        book["edit.undo"].trigger()
        model.labels.flush()
        self.require(not model.labels.areas(), "undo did not take the brush stroke back")
        book["tool.polygon"].trigger()
        clicks = 0
        for ring in slide.polygons:
            self.aim(ring, 0.6)
            corners = [self.at_view(point) for point in demo_report.simplified(ring, 1.0 / model.zoom)]
            for corner in corners:
                QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=corner)
                self.spin(0.005)
            QTest.keyClick(view, Qt.Key.Key_Return)
            clicks += len(corners)
            model.labels.flush()
        found, exact = model.labels.areas().get(1, 0), demo_report.area(slide.polygons)
        self.require(abs(found / exact - 1) < 0.03, f"the drawn outline covers {found} px instead of {exact:.0f}")
        self.aim(slide.polygons[0], 0.6)
        self.tick_outlined()
        self.see_area()
        self.report.facts["drawn by mouse"] = {"slide": slide.path.stem, "clicks": clicks, "area": found / exact}
        self.picture(
            "polygon", f"The lesions outlined with the polygon tool, {clicks} clicks; “Outlined completely” is on."
        )
        for suffix in ("geojson", "xml"):
            target = self.exports() / f"{slide.path.stem}.{suffix}"
            window.exchange.export_file(target)
            self.until(target.exists, f"export the outlines as {suffix}")
        book["tool.pan"].trigger()

    def see_area(self) -> None:
        """Wait until the class table shows how much is marked."""
        from ..widgets.annotations import area_text

        model, table = self.window.model, self.window.room.annotations.table_model
        shown = area_text(model.labels.areas().get(1, 0), model.mpp)
        self.until(lambda: table.areas.get(1) == shown, "show the marked area")

    def import_outlines(self, item: str, slide: Any) -> None:
        """Outline a slide from an ASAP XML file, through the dialog that asks what its classes become."""
        from ..engine.labels.asap import write_asap
        from ..engine.labels.shapes import Outline
        from .exchange import MappingDialog

        window = self.window
        self.open(item)
        path = self.output / "made_slides" / f"{slide.path.stem}.xml"
        write_asap(path, [Outline(f"Lesion {i}", [ring], "Tumor") for i, ring in enumerate(slide.polygons, 1)])
        window.exchange.import_file(path)
        dialogs: list[Any] = []

        def asked() -> bool:
            dialogs[:] = [w for w in window.findChildren(MappingDialog) if w.isVisible()]
            return bool(dialogs)

        self.until(asked, "read the ASAP XML file")
        self.picture("import", "Outlines of an ASAP XML file: the dialog knows the usual class names.", dialogs[0])
        dialogs[0].import_button.click()
        self.until(lambda: window.model.labels.areas().get(1, 0) > 0, "paint the imported outlines")
        self.tick_outlined()

    def tick_outlined(self) -> None:
        box = self.window.room.bar.outlined
        if not box.isChecked():
            box.click()
        id = self.window.item.id
        self.until(lambda: self.window.workspace.item(id).outlined, "call the slide outlined completely")
        self.window.workspace.update_marked(id)

    # ---- 5: train -------------------------------------------------------------------------------------------------

    def train(self, name: str, changes: dict[str, Any], items: dict[str, str], outlined: list[Any]) -> Path:
        """Train from the panel; return the run's folder."""
        window, plan = self.window, self.plan
        room = window.room
        room.show_tab("train")
        panel = room.panel("train")
        panel.preset.setCurrentText(plan.preset)
        panel.form.change(**plan.changes, **changes)
        first = not changes
        if first:
            self.picture("train", "The training form: preset, device, what it is trained on, every setting.")
        panel.train.click()
        job = window.jobs.jobs[-1]
        folder = Path(job.spec.arguments["run"])
        if first:
            self.watch(job, items, outlined)
        self.until(lambda: job.final, f"train ({name})", PATIENCE)
        self.require(job.state == "done", f"the training ended as {job.state}: {job.error}")
        if first:
            room.panel("runs").refresh()
            self.picture("trained", "The finished run: loss, share of tiles kept per round, what can be done with it.")
        self.report.add_training(name, folder)
        return folder

    def watch(self, job: Any, items: dict[str, str], outlined: list[Any]) -> None:
        """Pause and go on; then look at a positive slide that has no outline until pseudo labels appear on it."""
        window = self.window
        card = window.room.panel("runs").card
        self.until(
            lambda: job.final or len(job.metrics.get("loss", ([], []))[0]) > 2, "see the first batches", PATIENCE
        )
        if not job.final:
            asked = time.monotonic()
            card.pause.click()
            answered = time.monotonic() - asked
            self.until(lambda: job.final or job.state == "paused", "pause")
            self.report.facts["pause"] = {"answered": answered, "done": time.monotonic() - asked}
            card.pause.click()
        names = {slide.path.stem for slide in outlined}
        known = {item.id: item for item in window.workspace.items()}
        free = [id for name, id in items.items() if name not in names and known[id].label == "positive"]
        training = [id for id in free if known[id].split == "train"]
        self.open([*training, items[outlined[-1].path.stem]][0])
        window.model.fit()

        def proposed() -> bool:
            return job.final or any(o.name.startswith("pseudo labels") for o in window.model.overlays)

        self.until(proposed, "see pseudo labels", PATIENCE)
        self.until(lambda: job.final or job.what == "round 1: steps", "begin round 1", PATIENCE)
        self.picture(
            "training", "While it trains: the pseudo labels of the last E-step on a slide that nobody outlined."
        )

    # ---- 6: see the result ----------------------------------------------------------------------------------------

    def predict(self, name: str, run: Path, show: bool = False) -> None:
        """Predict the test slides from the panel; the figures go to the report."""
        window = self.window
        tests = [item for item in window.workspace.items() if item.split == "test"]
        window.room.show_tab("results")
        panel = window.room.panel("results")
        panel.refresh_runs(str(run))
        if show:
            self.open(next(item.id for item in tests if item.label == "positive"))
            window.model.fit()
            window.room.view.wait_painted(30.0)
            panel.predictor.predict_this.click()
            job = window.jobs.jobs[-1]
            self.until(lambda: job.final or 0 < 0.4 * job.total <= job.done, "see the heat map grow", PATIENCE)
            words = "The heat map is drawn while it is computed, tile by tile, nearest to the view first."
            self.picture("growing", words, now=True)
            self.until(lambda: job.final, "predict the open slide", PATIENCE)
            self.require(job.state == "done", f"the prediction ended as {job.state}: {job.error}")
        job = panel.predict([item.id for item in tests])
        self.require(job is not None, f"the prediction with '{name}' could not be started")
        self.until(lambda: job.final, f"predict ({name})", PATIENCE)
        self.require(job.state == "done", f"the prediction ended as {job.state}: {job.error}")
        scored = {event["info"]["item"]: event["info"] for event in job.results if event["kind"] == "SlideScore"}
        self.require(len(scored) == len(tests), f"{len(tests) - len(scored)} test slides got no score")
        self.until(lambda: len(window.workspace.scores(run.name)) == len(tests), "fill the table")
        self.report.add_scores(name, [(item.name, item.label, scored[item.id]) for item in tests], job.spec.plain())
        if show:
            self.judge(panel)

    def judge(self, panel: Any) -> None:
        """Set the threshold at which every positive test slide is found; look at map, table and curve."""
        from qtpy.QtWidgets import QScrollArea

        self.until(lambda: panel.judge.judgement.full is not None, "judge the scores")
        panel.judge.use_full.click()
        self.until(lambda: "interval" in panel.judge.area.text(), "estimate the interval")
        self.picture(
            "results", "Heat map and sorted table; the threshold is the one that finds every positive test slide."
        )
        bar = panel.findChild(QScrollArea).verticalScrollBar()
        if bar.maximum() > 0:
            bar.setValue(bar.maximum())
            self.picture("judged", "Below the table: ROC curve, area, and the operating point at 100 % sensitivity.")
            bar.setValue(0)

    def export(self, run: Path) -> None:
        """Heat map, its outlines and the table of scores as files, as the panel's menu writes them."""
        panel, name = self.window.room.panel("results"), self.window.item.name
        for target in (f"{name}_heat.tif", f"{name}_heat.geojson"):
            panel.export_heatmap(self.exports() / target)
            self.until((self.exports() / target).exists, f"write {target}")
        panel.export_scores(self.exports() / "scores.csv")
        self.until((self.exports() / "scores.csv").exists, "write the table of scores")

    # ---- the end --------------------------------------------------------------------------------------------------

    def dark(self, run: Path) -> None:
        self.window.room.panel("results").refresh_runs(str(run))
        self.window.commands.set_theme("dark")
        self.picture("dark", "The result of hybrid supervision once more, in the dark theme.")
        self.window.commands.set_theme("light")

    def leave(self) -> None:
        """Close the workspace: it stands on the start page now."""
        self.until(lambda: not self.window.jobs.busy, "end all jobs")
        self.require(self.window.close_workspace(), "the workspace could not be closed")
        self.spin(1.0)
        self.picture("again", "Back on the start page: the workspace can be opened again with one click.")
