"""What the demo found out: figures, pictures and the page that shows them. Knows nothing of the window."""

from __future__ import annotations

import csv
import html
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.files import write_json, write_text
from ..engine.metrics.roc import auc, auc_interval, full_sensitivity
from ..engine.runs import LIBRARIES, read_lines, read_record

STYLE = """body{font:16px/1.5 system-ui,sans-serif;color:#1c2430;max-width:70em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}th,td{text-align:left;padding:.3em 1.2em .3em 0;border-bottom:1px solid #d4d9e0;
vertical-align:top}td.number{text-align:right}figure{margin:2.5em 0}img{max-width:100%;border:1px solid #c3c9d2}
figcaption{color:#4a5568}code{background:#f1f3f6;padding:.1em .3em;overflow-wrap:anywhere}"""

CLASSIFIER, MAXIMA = "slide classifier", "mean of the K tile maxima"


def area(rings: list[np.ndarray]) -> float:
    """Return the area in px that rings [N, 2] cover together."""
    import shapely

    return float(shapely.unary_union([shapely.make_valid(shapely.Polygon(ring)) for ring in rings]).area)


def simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the corners [M, 2] of a ring that are needed to stay within `tolerance` px of it."""
    import shapely

    return np.asarray(shapely.Polygon(ring).simplify(tolerance).exterior.coords)[:-1]


def judged(labels: list[str], names: list[str], scores: list[float]) -> dict[str, Any]:
    """Return area under the curve with its interval and the operating point at 100 % sensitivity, as the window shows them."""
    positive, values = np.array([label == "positive" for label in labels]), np.array(scores, float)
    point, interval = full_sensitivity(positive, values), auc_interval(positive, values)
    negatives = int((~positive).sum())
    return {
        "positive": int(positive.sum()),
        "negative": negatives,
        "AUC": auc(positive, values),
        "AUC interval": list(interval) if interval else None,
        "specificity": point.specificity if point else None,
        "rightly negative": round(point.specificity * negatives) if point else None,
        "threshold": point.threshold if point else None,
        "set by": names[point.setter] if point else None,
    }


class Report:
    """Collects what the demo does and writes it down.

    Parameters
    ----------
    output : folder of the demo; gets the pictures, ``figures.json`` and ``report.html``.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.facts: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.pictures: list[tuple[str, str]] = []
        self.trainings: dict[str, dict[str, Any]] = {}
        self.scores: dict[str, dict[str, Any]] = {}

    def add_picture(self, pixmap: Any, name: str, text: str) -> None:
        """Keep a picture; one of a single colour is an error."""
        image = pixmap.toImage()
        colors = {image.pixel(x, y) for x in range(0, image.width(), 37) for y in range(0, image.height(), 29)}
        if len(colors) < 3:
            raise OSError(f"the picture '{name}' is empty")
        file = f"{len(self.pictures) + 1:02d}-{name}.png"
        if not image.save(str(self.output / file)):
            raise OSError(f"the picture {file} cannot be written")
        self.pictures.append((file, text))

    def add_training(self, name: str, folder: Path) -> None:
        """Read what a finished training left in its run folder."""
        record = read_record(folder)
        rows = read_lines(folder / "metrics.jsonl")
        self.trainings[name] = {
            "run": folder.name,
            "steps": sum("loss" in row for row in rows),
            "batch": record["recipe"]["batch_size"],
            "kept round": record.get("round"),
            "problems": record.get("problems", []),
            "command": record["command"],
            "device": record["device"],
            "changes": {key: record["recipe"][key] for key in ("supervision", "seed")},
        }

    def add_scores(self, name: str, found: list[tuple[str, str, dict[str, Any]]], job: dict[str, Any]) -> None:
        """Judge the scores of a prediction: (slide, label, plain `SlideScore`) of each test slide."""
        from ..engine.verbs import command_line

        names, labels = [slide for slide, _, _ in found], [label for _, label, _ in found]
        maxima = [float(np.mean([tile[3] for tile in info["tiles"]])) if info["tiles"] else 0.0 for _, _, info in found]
        plain = found[0][2]["source"] == MAXIMA  # a network without a slide classifier
        self.scores[name] = {
            "source": found[0][2]["source"],
            "slides": [
                {"slide": slide, "label": label, "score": info["score"], "maxima": value, "area": info["area"]}
                for (slide, label, info), value in zip(found, maxima)
            ],
            "judged": {
                **({} if plain else {CLASSIFIER: judged(labels, names, [info["score"] for _, _, info in found])}),
                MAXIMA: judged(labels, names, maxima),
            },
            "command": command_line(job),
        }

    # ---- what it says ---------------------------------------------------------------------------------------------

    def machine(self) -> dict[str, Any]:
        """Return system, processor and versions, as the first training's run folder has them."""
        import psutil

        folder = next(self.output.glob("made_slides/opsin/runs/*/run.json"), None)
        record = read_record(folder.parent) if folder is not None else {}
        versions = record.get("versions", {})
        return {
            "system": platform.platform(),
            "Python": platform.python_version(),
            "cores": psutil.cpu_count(),
            "memory GiB": round(psutil.virtual_memory().total / 2**30),
            "device": record.get("device"),
            **{name: versions[name] for name in LIBRARIES if versions.get(name)},
        }

    def lines(self) -> list[str]:
        """Return the last lines that the demo prints: both figures, side by side."""
        found = []
        for name, scores in self.scores.items():
            for source, v in scores["judged"].items():
                found.append(
                    f"{name + ', ' + source + ':':<54} specificity at 100 % sensitivity {number(v['specificity'])} "
                    f"({v['rightly negative']} of {v['negative']}), AUC {number(v['AUC'])} {interval(v['AUC interval'])}"
                )
        slides = sum(next(iter(self.scores.values()))["judged"][MAXIMA][kind] for kind in ("positive", "negative"))
        found.append(
            f"Measured on {slides} made slides that took no part in training; {self.steps()} steps on each side."
        )
        found.append(f"Report and pictures: {self.output / 'report.html'}")
        return found

    def steps(self) -> int:
        """Return the steps of each training; a comparison of unequal ones is an error."""
        steps = {training["steps"] for training in self.trainings.values()}
        if len(steps) != 1:
            raise OSError(f"the trainings took different numbers of steps: {sorted(steps)}")
        return steps.pop()

    def write(self) -> None:
        """Write ``figures.json``, ``scores.csv`` and ``report.html``."""
        self.steps()
        figures = {
            **self.facts, "trainings": self.trainings, "scores": self.scores,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()}, "machine": self.machine(),
        }  # fmt: skip
        write_json(self.output / "figures.json", figures)
        with (self.output / "scores.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("network", "slide", "label", "score", "mean of tile maxima"))
            for name, scores in self.scores.items():
                for row in scores["slides"]:
                    table.writerow((name, row["slide"], row["label"], row["score"], row["maxima"]))
        write_text(self.output / "report.html", self.page(figures))

    def page(self, figures: dict[str, Any]) -> str:
        """Return the report as HTML."""
        plan = figures["plan"]
        text = html.escape
        rows = []
        for name, scores in self.scores.items():
            for source, v in scores["judged"].items():
                rows.append(
                    (
                        name, source, f"{number(v['specificity'])} ({v['rightly negative']} of {v['negative']})",
                        f"{number(v['AUC'])} {interval(v['AUC interval'])}", v["set by"] or "n/a",
                    )
                )  # fmt: skip
        trainings = [
            (
                name, t["steps"], t["batch"], "n/a" if t["kept round"] is None else t["kept round"],
                f"{figures['seconds'].get('train with slide labels' if i == 0 else 'train with outlines alone', 0):.0f} s",
            )
            for i, (name, t) in enumerate(self.trainings.items())
        ]  # fmt: skip
        commands = [(f"train, {name}", t["command"]) for name, t in self.trainings.items()]
        commands += [(f"predict, {name}", s["command"]) for name, s in self.scores.items()]
        drawn, pause = figures.get("drawn by mouse"), figures.get("pause")
        notes = [
            f"{plan['training slides']} made slides to train on, half of them with lesions; {plan['outlined']} are outlined, the "
            f"others have a slide label alone. {plan['test slides']} further slides, half with lesions, took no part in training.",
            "The outlined slides are the first positive ones that show no look-alike, where there are such: look-alikes of "
            "lesions are known from slide labels alone.",
        ]
        if drawn:
            notes.append(
                f"{drawn['slide']} was outlined with {drawn['clicks']} clicks of the polygon tool; the drawn area is "
                f"{100 * drawn['area']:.1f} % of the exact one."
            )
        if pause:
            notes.append(f"Pause was answered in {pause['answered']:.2f} s and done in {pause['done']:.1f} s.")
        notes += [f"Said while training: {problem}" for t in self.trainings.values() for problem in t["problems"]]
        parts = [
            "<!doctype html><html lang='en'><meta charset='utf-8'><title>Opsin demo</title>",
            f"<style>{STYLE}</style><h1>Opsin demo</h1>",
            "<p>For research use, not for diagnosis. All slides are made; they are pictures of no patient.</p>",
            "<h2>Slides that took no part in training</h2>",
            table(
                ("network", "slide score", "specificity at 100 % sensitivity", "AUC (95 % interval)", "set by"), rows
            ),
            f"<p>Both networks took {self.steps()} steps with the same settings; the only difference is that one sees the "
            "slide labels. “Specificity at 100 % sensitivity” is the share of negative slides that score below every positive "
            "one; the positive slide that scores least is named under “set by”. The mean of the K tile maxima is the patch "
            "network alone; the slide classifier is stage 2, which learns from slide labels, so the baseline has none. With so "
            "few slides a single one moves a figure much. The interval of the area is from 1,000 bootstrap samples; where it is a "
            "single point, the scores of both kinds do not overlap on these slides, which says little about others. The "
            "settings of the preset were chosen on other made slides.</p>",
            "<h2>What was done</h2>",
            "<ul>" + "".join(f"<li>{text(note)}</li>" for note in notes) + "</ul>",
            table(("training", "steps", "crops a step", "round kept", "time"), trainings),
            "<h2>The same from a shell</h2>",
            *(f"<p>{text(name)}<br><code>{text(command)}</code></p>" for name, command in commands),
            "<h2>In pictures</h2>",
            *(
                f'<figure><img src="{file}" alt="{text(words)}"><figcaption>{text(words)}</figcaption></figure>'
                for file, words in self.pictures
            ),
            "<h2>Time and machine</h2>",
            table(("part", "seconds"), [(k, f"{v:.0f}") for k, v in figures["seconds"].items()]),
            table(("", ""), list(figures["machine"].items())),
            "</html>\n",
        ]
        return "\n".join(parts)


def table(head: tuple[str, ...], rows: list[Any]) -> str:
    """Return an HTML table."""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{lines}</table>"


def number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def interval(value: list[float] | None) -> str:
    return "" if value is None else f"({value[0]:.3f} to {value[1]:.3f})"


def read_figures(output: Path) -> dict[str, Any]:
    """Return what the demo in `output` found out."""
    return json.loads((output / "figures.json").read_text(encoding="utf-8"))
