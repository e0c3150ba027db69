"""The page of a report: HTML that needs nothing beside it and prints well."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import OpsinError
from .judgement import SPLITS, Judgement, ScoreRow, honest_sentence, judge, rounded_down, score_digits, share
from .method import get_method
from .metrics.roc import wilson
from .report_pictures import data_uri, roc_svg
from .runs import LIBRARIES

STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1c2430;background:#fff;max-width:62em;margin:2.5em auto;padding:0 1.5em}
h1{font-size:1.7em;margin:0 0 .2em}h2{font-size:1.2em;margin:2.2em 0 .6em;border-bottom:1px solid #d4d9e0;padding-bottom:.25em}
p.lead{color:#4a5568;margin:.2em 0}p.notice{background:#fff7e0;border-left:4px solid #b26b00;padding:.5em .9em}
table{border-collapse:collapse;margin:.6em 0 1em}caption{text-align:left;color:#4a5568;padding-bottom:.3em}
th,td{text-align:left;padding:.28em 1.3em .28em 0;border-bottom:1px solid #e3e7ec;vertical-align:top}
th{font-weight:600;color:#4a5568}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
table.matrix td,table.matrix th{text-align:center;padding:.5em 1.2em}table.matrix td.good{background:#e6f2ea}
table.matrix td.bad{background:#fbe7e3}.side{display:flex;flex-wrap:wrap;gap:2.5em;align-items:flex-start}
svg.roc{width:23em;max-width:100%;font:12px system-ui,sans-serif}svg.roc .frame{fill:none;stroke:#9aa4b1}
svg.roc .chance{stroke:#c3c9d2;stroke-dasharray:4 4}svg.roc .band{fill:#2f6fb3;opacity:.16}
svg.roc .curve{fill:none;stroke:#2f6fb3;stroke-width:2.2}svg.roc .mark0{fill:#b3412f}
svg.roc .mark1{fill:#fff;stroke:#1c2430;stroke-width:2}
.dot{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.4em;vertical-align:-.05em}
figure{margin:0 0 1.6em;break-inside:avoid}figure div{display:flex;gap:.6em;flex-wrap:wrap}
figure img{max-width:calc(50% - .3em);height:auto;border:1px solid #c3c9d2}figcaption{margin:.3em 0 0}
.wrong{color:#b3412f;font-weight:600}code{background:#f1f3f6;padding:.1em .3em;overflow-wrap:anywhere}
@media print{body{margin:0;max-width:none;font-size:11px}h2{break-after:avoid}tr{break-inside:avoid}}
"""


@dataclass
class Report:
    """What a report shows; `page` makes the HTML.

    Attributes
    ----------
    rows : all slides of the workspace, with or without a score.
    split : the slides that are judged, see `judgement.SPLITS`.
    threshold : slides from here on are called positive; `source` says what it rests on.
    numbers : slide id -> how the page calls it.
    trained : ids of the slides that the network was trained on.
    pictures : (slide id, why it is shown, slide, slide under its heat map).
    """

    title: str
    rows: list[ScoreRow]
    split: str
    threshold: float
    source: str
    record: dict[str, Any]
    numbers: dict[str, str]
    named: bool
    map_threshold: float = 0.5
    trained: frozenset[str] = frozenset()
    pictures: list[tuple[str, str, np.ndarray, np.ndarray | None]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def judged(self) -> Judgement:
        return judge(self.rows, self.split)

    def page(self) -> str:
        """Return the page."""
        judged = self.judged
        parts = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>{text(self.title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{text(self.title)}</h1>",
            f'<p class="lead">{text(self._lead(judged))}</p>',
            '<p class="lead"><b>For research use, not for diagnosis.</b></p>',
            *self._answer(judged),
            *self._slides(),
            *self._pictures(),
            *self._card(),
            "</body></html>\n",
        ]
        return "\n".join(parts)

    # ---- how good it is -------------------------------------------------------------------------------------------

    def _lead(self, judged: Judgement) -> str:
        when = time.strftime("%Y-%m-%d %H:%M")
        labels = judged.labels
        return (
            f"{when}. Judged on {SPLITS[self.split].lower()}: {int(labels.sum())} positive and "
            f"{int((~labels).sum())} negative with a score, of {len(self.rows)} slides in the workspace."
        )

    def _answer(self, judged: Judgement) -> list[str]:
        if not judged.rows:
            return ['<p class="notice">No slide has both a score and a label, so nothing can be judged.</p>']
        parts = ["<h2>How good the scores are</h2>"]
        if self.split == "train":
            parts.append(
                '<p class="notice">These slides took part in training: the figures say nothing about other slides.</p>'
            )
        elif self.split == "":
            parts.append(
                '<p class="notice">All slides are judged together, those of training among them: the figures say little '
                "about other slides.</p>"
            )
        learnt = [self.numbers[row.item] for row in judged.rows if row.item in self.trained]
        if learnt and self.split not in ("train", ""):
            named = ", ".join(learnt[:6]) + (f" and {len(learnt) - 6} more" if len(learnt) > 6 else "")
            parts.append(
                f'<p class="notice">{len(learnt)} of these slides took part in the training of this network, although their split '
                f"is another one now: {text(named)}. The figures are too good.</p>"
            )
        labels, scores = judged.labels, judged.scores
        words, marks = [], {}
        if judged.auc is not None:
            interval = judged.interval()
            said = "95 % interval n/a (it takes two positive and two negative slides)."
            if interval is not None:
                low, high = interval
                said = f"95 % interval {low:.3f} to {high:.3f} (1,000 bootstrap samples)."
                if low == high:
                    said += " The scores of both kinds do not overlap here, which says little about other slides."
            words.append(f"<b>Area under the ROC curve {judged.auc:.3f}</b>, {said}")
        if judged.full is not None:
            negatives = int((~labels).sum())
            right = round((judged.full_specificity or 0) * negatives)
            words.append(
                f'<span class="dot" style="background:#b3412f"></span><b>At 100 % sensitivity</b> the specificity is '
                f"{share(judged.full_specificity)} ({right} of {negatives}{_range(right, negatives)}). The threshold is "
                f"{judged.full_text}; it is set by <b>{text(self._setter(judged))}</b>, the positive slide that scores least."
            )
            marks["at 100 % sensitivity"] = (1 - (judged.full_specificity or 0), 1.0)
        point = judged.point(self.threshold)
        if point is not None:
            marks["at the threshold in use"] = point
        shown = rounded_down(self.threshold, scores)
        words.append(
            '<span class="dot" style="background:#fff;border:2px solid #1c2430;box-sizing:border-box"></span>'
            f"<b>Threshold in use: {shown}</b>{f' ({text(self.source)})' if self.source else ''}."
        )
        honest = honest_sentence(self.rows)
        if honest:
            words.append(text(honest))
        parts.append('<div class="side">')
        if judged.auc is not None:
            parts.append(roc_svg(labels, scores, marks))
        parts += ['<div style="flex:1;min-width:20em">', *(f"<p>{word}</p>" for word in words), self._matrix(judged)]
        parts += ["</div></div>", self._rates(judged)]
        return parts

    def _setter(self, judged: Judgement) -> str:
        assert judged.setter_row is not None
        return self.numbers[judged.setter_row.item]

    def _matrix(self, judged: Judgement) -> str:
        v = judged.at(self.threshold)
        return (
            '<table class="matrix"><caption>Confusion matrix at the threshold in use</caption>'
            "<tr><th></th><th>called positive</th><th>called negative</th></tr>"
            f"<tr><th>positive</th><td class='good'>{v['true positives']}</td><td class='bad'>{v['false negatives']}</td></tr>"
            f"<tr><th>negative</th><td class='bad'>{v['false positives']}</td><td class='good'>{v['true negatives']}</td></tr>"
            "</table>"
        )

    def _rates(self, judged: Judgement) -> str:
        rows = []
        points = [("threshold in use", self.threshold)]
        if judged.full is not None:
            points.append(("100 % sensitivity", judged.full))
        for name, threshold in points:
            v = judged.at(threshold)
            tp, fp, fn, tn = (v[f"{a} {b}"] for a, b in (
                ("true", "positives"), ("false", "positives"), ("false", "negatives"), ("true", "negatives")))  # fmt: skip
            rows.append(
                (name, *(_rate(k, n) for k, n in ((tp, tp + fn), (tn, tn + fp), (tp, tp + fp), (tn, tn + fn))),
                 _rate(tp + tn, len(judged.rows)))
            )  # fmt: skip
        head = ("", "sensitivity", "specificity", "positive predictive value", "negative predictive value", "accuracy")
        return table(
            head,
            rows,
            "Rates with their 95 % interval (Wilson); predictive values hold for the share of positives here",
        )

    # ---- the slides -----------------------------------------------------------------------------------------------

    def _slides(self) -> list[str]:
        head = ("slide", "score", "called", "label", "verdict", "split", "positive area, mm²", "scored by")
        rows = []
        digits = score_digits(self.rows)
        for row in sorted(self.rows, key=ScoreRow.order, reverse=True):
            if row.score is None:
                continue
            verdict = row.verdict(self.threshold)
            rows.append(
                (
                    self.numbers[row.item], f"{row.score:.{digits}f}", "positive" if row.score >= self.threshold else "negative",
                    row.label or "", Wrong(verdict) if verdict == "wrong" else verdict, row.split or "",
                    "" if row.area is None else f"{row.area:.2f}", row.source,
                )
            )  # fmt: skip
        parts = ["<h2>Slides</h2>", table(head, rows, numbers=(1, 6))]
        without = [(self.numbers[row.item], why) for row in self.rows if (why := self._why(row))]
        if without:
            parts.append(table(("slide", "why it has no score"), without))
        left = sum(row.score is None and not self._why(row) for row in self.rows)
        if left:
            parts.append(f"<p>{left} slides of the workspace were not predicted with this network.</p>")
        return parts

    def _why(self, row: ScoreRow) -> str:
        """Return why a slide that was predicted has no score; a failure's sentence may name the file: it needs names."""
        if row.score is not None:
            return ""
        if row.state == "failed":
            return row.error if self.named else "its prediction failed"
        return row.source or ("its prediction was stopped" if row.state == "stopped" else "")

    def _pictures(self) -> list[str]:
        if not self.pictures:
            return []
        rows = {row.item: row for row in self.rows}
        parts = [
            "<h2>Pictures</h2>",
            f"<p>Left the slide, right the same under its heat map, from probability {self.map_threshold:.2f} on, dark to light.</p>",
        ]
        for id, why, plain, over in self.pictures:
            row, name = rows[id], self.numbers[id]
            images = [(plain, f"{name}")] + ([(over, f"{name} under its heat map")] if over is not None else [])
            tags = "".join(f'<img src="{data_uri(image)}" alt="{text(words)}">' for image, words in images)
            score = "" if row.score is None else f", score {row.score:.{score_digits(self.rows)}f}"
            parts.append(
                f"<figure><div>{tags}</div><figcaption><b>{text(name)}</b>{score}, "
                f"{text(row.label or 'without a label')}: {text(why)}</figcaption></figure>"
            )
        if self.unreadable:
            parts.append(f"<p>Without a picture, as it could not be read: {text(', '.join(self.unreadable))}.</p>")
        return parts

    # ---- the network ----------------------------------------------------------------------------------------------

    def _card(self) -> list[str]:
        record, recipe = self.record, self.record.get("recipe") or {}
        parts = ["<h2>Model card</h2>"]
        name = record.get("method", "")
        try:
            method = get_method(name)
            rows = [("Method", f"{method.title} (arXiv {method.paper})")]
            usual = method.Recipe().model_dump(mode="json")
            fields = method.Recipe.model_fields
        except OpsinError:
            rows, usual, fields = [("Method", name)], {}, {}
        versions = record.get("versions") or {}
        counts = [
            f"{sum((r.split or 'train') == split and r.label == label for r in self.rows)} {label}"
            for split in ("train",)
            for label in ("positive", "negative")
        ]
        rows += [
            ("Preset", record.get("preset") or "own settings"),
            ("Trained", time.strftime("%Y-%m-%d %H:%M", time.localtime(record.get("created", 0)))),
            ("Training slides now", ", ".join(counts)),
            ("Data (fingerprint)", str(record.get("fingerprint", ""))[:16]),
            ("Random seed", record.get("seed", recipe.get("seed", ""))),
            ("Device", record.get("device", "")),
            ("Versions", ", ".join(f"{n} {versions[n]}" for n in LIBRARIES if versions.get(n))),
            *((k, _short(v)) for k, v in (record.get("metrics") or {}).items() if isinstance(v, int | float)),
        ]
        if "mpp" in recipe:
            size = f"{recipe['mpp']:g} µm per pixel" if recipe["mpp"] else "full resolution"
            reads = f"{size}, tiles of {recipe.get('tile')} px, RGB / 255"
            rows.insert(1, ("Reads", reads))
        parts.append(table(("", ""), [row for row in rows if row[1] not in ("", None)]))
        changed = [
            (fields[key].title or key, _short(value), _short(usual[key]))
            for key, value in recipe.items()
            if key in usual and value != usual[key] and not _is_path(value)
        ]
        if changed:
            parts.append(
                table(("setting", "here", "published"), changed, "Settings that differ from the published ones")
            )
        parts.append(
            "<p>Known limits: the scores hold for slides like those judged here (tissue, stain, scanner). Slides of one patient "
            "count as independent in the intervals. Few slides give wide intervals.</p>"
        )
        return parts


class Wrong(str):
    """A cell that is to be seen."""


# ---- HTML -----------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Return a value as it may stand in HTML."""
    return html.escape(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", numbers: tuple[int, ...] = ()) -> str:
    """Return an HTML table; the columns `numbers` are aligned to the right."""

    def cell(tag: str, place: int, value: Any) -> str:
        kind = ' class="n"' if place in numbers else ' class="wrong"' if isinstance(value, Wrong) else ""
        return f"<{tag}{kind}>{text(value)}</{tag}>"

    top = "<tr>" + "".join(cell("th", i, name) for i, name in enumerate(head)) + "</tr>" if any(head) else ""
    lines = "".join("<tr>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>" for row in rows)
    return f"<table>{f'<caption>{text(caption)}</caption>' if caption else ''}{top}{lines}</table>"


def _rate(hits: int, total: int) -> str:
    return f"{hits / total:.3f} ({hits} of {total}{_range(hits, total)})" if total else "n/a"


def _range(hits: int, total: int) -> str:
    found = wilson(hits, total)
    return "" if found is None else f"; {found[0]:.2f} to {found[1]:.2f}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _is_path(value: Any) -> bool:
    """True for texts that name a file: they stay out of reports."""
    return isinstance(value, str) and ("/" in value or "\\" in value)
