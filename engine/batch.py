"""Prediction of many inputs: what is done stays done, what fails is listed and can be tried again alone.

Beside the results lie ``items/<name>.json``, the state of each input, and ``summary.md``, the same in words. A later
prediction into the same folder may be told to do only what is missing or what failed.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import time
import traceback
from pathlib import Path
from typing import Any, get_args

from .errors import Cancelled, Ended, OpsinError, RunError
from .files import from_json, is_full, replacing, write_json, write_text
from .jobs import Only
from .method import Method
from .runs import CHECKPOINT, Run, plain, read_record

ITEMS = "items"
SUMMARY = "summary.md"
TABLE_SECONDS = 10.0
"""The table of scores is written at least so often while a batch is at work."""
UNITS = {"area": "area_mm2"}
"""Columns of the table whose unit stands in their name."""


def input_of(entry: str | dict[str, Any]) -> dict[str, Any]:
    """An input is a path, or a dictionary with ``path`` and, as the window knows them, ``id`` and ``options``."""
    return entry if isinstance(entry, dict) else {"path": entry}


def said_of_one(method: Method) -> set[str]:
    """Return the options that speak of a single input (where the user looks, its name): they have no heading in the form."""
    extras = {name: field.json_schema_extra or {} for name, field in method.Options.model_fields.items()}
    return {name for name, extra in extras.items() if isinstance(extra, dict) and not extra.get("group")}


def read_states(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what is known of each input of the predictions into `folder`, by the name its results have.

    Each has ``state`` ("running", "done", "stopped" or "failed"), ``input``, ``error``, ``key`` (hash of network and
    settings), ``files``, ``time`` (unix) and ``seconds``. One that says "running" while nobody works there was cut off.
    """
    found = {}
    for path in sorted((folder / ITEMS).glob("*.json")):
        try:
            record = from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # as good as not done
        if isinstance(record, dict) and isinstance(record.get("state"), str):
            found[path.stem] = record
    return found


def is_done(folder: Path, record: dict[str, Any] | None, key: str) -> bool:
    """True when an input was predicted with the same network and settings and its files are still there."""
    return (
        record is not None
        and record["state"] == "done"
        and record.get("key") == key
        and all((folder / name).exists() for name in record.get("files", ()))
    )


def predict_all(method: Method, checkpoint: Any, job: dict[str, Any], run: Run) -> dict[str, Any]:
    """Predict the inputs of a job, one after the other; return ``done``, ``failed`` and ``kept``.

    What goes wrong with one input is kept as its state and reported, and the next one follows; only a full disk ends the
    batch. A single input that fails fails the job.

    Raises
    ------
    RunError : none of the inputs could be used, or there is nothing to do for what ``only`` asks.
    """
    return _Batch(method, checkpoint, job, run).predict()


class _Batch:
    def __init__(self, method: Method, checkpoint: Any, job: dict[str, Any], run: Run) -> None:
        arguments = job["arguments"]
        self.method, self.checkpoint, self.run = method, checkpoint, run
        self.options = dict(arguments.get("options") or {})
        method.Options.checked(self.options)
        only = arguments.get("only") or "all"
        if only not in get_args(Only):
            raise RunError(f"Of a batch one can do {', '.join(get_args(Only))}, not '{only}'.")
        self.only = only
        self.inputs = [input_of(entry) for entry in arguments["inputs"]]
        self.names = _names(self.inputs, self.options, run)
        self.before = read_states(run.folder) if run.folder is not None else {}
        self.network = _hash_of(Path(arguments["checkpoint"]))
        self.rows: dict[str, list[dict[str, Any]]] = {
            name: record["rows"] for name, record in self.before.items() if isinstance(record.get("rows"), list)
        }
        """Rows of the table by name of the input, those of earlier predictions into this folder among them."""
        self._written = time.monotonic()
        run.describe(options=self.options, checkpoint=arguments["checkpoint"])

    def predict(self) -> dict[str, Any]:
        run, inputs = self.run, self.inputs
        done: list[str] = []
        kept: list[str] = []
        failed: list[dict[str, str]] = []
        for number, (entry, name) in enumerate(zip(inputs, self.names)):
            if run.stopping:
                break
            path = str(entry["path"])
            values = self._values(entry, name)
            key = self._key(values)
            if not self._wanted(name, key):
                kept.append(path)
                self._tell(entry, number + 1, "kept")
                continue
            self._tell(entry, number, "running")
            error = self._one(entry, name, values, key)
            if error:
                failed.append({"input": path, "error": error})
                if len(inputs) > 1:  # a single one fails the job, which says so
                    run.message(error, "warning")
            else:
                done.append(path)
            self._tell(entry, number + 1, "failed" if error else "stopped" if run.stopping else "done", error)
            if time.monotonic() - self._written > TABLE_SECONDS:
                self._write()
        if run.folder is not None:
            if done or kept or len(inputs) > 1:
                self._write()
            write_text(run.folder / SUMMARY, summary(read_states(run.folder)))
        if kept:
            reason = (
                "had not failed" if self.only == "failed" else "were done already with this network and these settings"
            )
            run.message(f"{len(kept)} of {len(inputs)} inputs {reason} and stay as they are.")
        if failed and not done and not kept:
            raise RunError(
                failed[0]["error"]
                if len(failed) == 1
                else f"None of the {len(failed)} inputs could be used; see the log."
            )
        if failed:
            run.message(
                f"{len(failed)} of {len(inputs)} inputs could not be used; they are listed in the log.", "warning"
            )
        return {"done": done, "failed": failed, "kept": kept}

    def _write(self) -> None:
        """Write the table of all that is known, also of what a process that was killed has left."""
        rows = [row for name in self.rows for row in self.rows[name]]
        if self.run.folder is not None and rows:
            _write_table(self.run.folder / "scores.csv", rows)
        self._written = time.monotonic()

    def _values(self, entry: dict[str, Any], name: str) -> dict[str, Any]:
        values = {**self.options, **entry.get("options", {})}
        if name != Path(entry["path"]).stem and "item" in self.method.Options.model_fields:
            values["item"] = name
        return values

    def _key(self, values: dict[str, Any]) -> str:
        """Return what tells apart predictions of the same input: network and settings."""
        with contextlib.suppress(OpsinError):  # what is wrong is said when the input's turn comes
            values = self.method.Options.checked(values).model_dump(mode="json")  # defaults may be left out or said
        silent = said_of_one(self.method)
        said = {name: value for name, value in plain(values).items() if name not in silent}
        return hashlib.sha256(json.dumps([self.network, said], sort_keys=True).encode()).hexdigest()[:32]

    def _wanted(self, name: str, key: str) -> bool:
        record = self.before.get(name)
        if self.only == "failed":
            return record is not None and record["state"] == "failed"
        return self.only == "all" or self.run.folder is None or not is_done(self.run.folder, record, key)

    def _one(self, entry: dict[str, Any], name: str, values: dict[str, Any], key: str) -> str:
        """Predict one input and keep its state; return what went wrong with it, "" when nothing did."""
        run, path = self.run, Path(entry["path"])
        info = {"item": entry.get("id"), "input": str(path)}
        row = {"input": str(path.resolve()), "name": name}
        began, files, error = time.time(), [], ""
        rows: list[dict[str, Any]] = []
        run.phase(f"predict {path.name}")
        record = {"input": str(path), "key": key, "time": began}
        self._keep(name, {**record, "state": "running"})
        try:
            own = self.method.Options.checked(values)
            for result in self.method.predict(self.checkpoint, path, own, run):
                found = result.plain() if hasattr(result, "plain") else {}
                run.emit("result", kind=type(result).__name__, path=result.path, info={**info, **found})
                if found:
                    rows.append(
                        {**row, **{key: value for key, value in found.items() if not isinstance(value, list | dict)}}
                    )
                if result.path is not None and run.folder is not None and result.path.is_relative_to(run.folder):
                    files.append(str(result.path.relative_to(run.folder)))
        except (Cancelled, Ended):
            raise
        except OpsinError as problem:
            error = str(problem)
        except MemoryError:
            error = f"{path.name} needs more memory than this machine has free; choose a smaller tile or batch."
        except Exception as problem:
            if is_full(problem):
                raise
            run.write_log(traceback.format_exc())
            first = (str(problem).splitlines() or [""])[0]
            error = f"{path.name} could not be predicted: {type(problem).__name__}: {first}."
        if error:
            rows.append({**row, "error": error})
        if rows:
            self.rows[name] = rows
        state = "failed" if error else "stopped" if run.stopping else "done"
        self._keep(
            name,
            {
                **record,
                "state": state,
                "error": error,
                "files": files,
                "rows": plain(rows),
                "seconds": time.time() - began,
            },
        )
        return error

    def _keep(self, name: str, record: dict[str, Any]) -> None:
        if self.run.folder is not None:
            (self.run.folder / ITEMS).mkdir(exist_ok=True)
            write_json(self.run.folder / ITEMS / f"{name}.json", record)

    def _tell(self, entry: dict[str, Any], done: int, state: str, error: str = "") -> None:
        self.run.emit(
            "item",
            done=done,
            total=len(self.inputs),
            item=entry.get("id"),
            input=str(entry["path"]),
            state=state,
            error=error,
        )


def summary(states: dict[str, dict[str, Any]]) -> str:
    """Return the states of a batch as a page of Markdown, what failed first."""
    counts = {state: [n for n, r in states.items() if r["state"] == state] for state in ("done", "failed", "stopped")}
    lines = [
        "# Prediction",
        "",
        ", ".join(f"{len(names)} {state}" for state, names in counts.items()) + f", {len(states)} in all.",
    ]
    if counts["failed"]:
        lines += ["", "## Failed", ""]
        lines += [f"- {name}: {states[name].get('error') or 'no reason given'}" for name in counts["failed"]]
    if counts["done"]:
        lines += ["", "## Done", "", "| input | seconds |", "| --- | --- |"]
        lines += [f"| {name} | {states[name].get('seconds', 0):.0f} |" for name in counts["done"]]
    return "\n".join(lines) + "\n"


def _hash_of(checkpoint: Path) -> str:
    """Return the SHA-256 of a checkpoint's file; a run folder stands for its final checkpoint."""
    path = checkpoint / CHECKPOINT if checkpoint.is_dir() else checkpoint
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(inputs: list[dict[str, Any]], options: dict[str, Any], run: Run) -> list[str]:
    """Return under which name the results of each input are kept: its stem, with a number where another one has it.

    ``run.json`` keeps the names of earlier predictions into the same folder: the same file gets the same name again.
    The window gives names of its own, which differ already.
    """
    kept: dict[str, str] = {}
    if run.folder is not None and (run.folder / "run.json").exists():
        kept = dict(read_record(run.folder).get("inputs", {}))
    taken = {name.casefold(): path for name, path in kept.items()}  # some file systems take x and X for one name
    names = []
    for entry in inputs:
        name = entry.get("options", {}).get("item")
        if name is None:
            path = str(Path(entry["path"]).resolve())
            stem = name = options.get("item") or Path(entry["path"]).stem
            number = 1
            while taken.get(name.casefold(), path) != path:
                number += 1
                name = f"{stem}_{number}"
            taken[name.casefold()] = kept[name] = path
        names.append(name)
    if kept:
        run.describe(inputs=kept)
    return names


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the scores; the rows of other inputs that earlier predictions left in the table stay."""
    fresh = {row["input"] for row in rows}
    rows = [row for row in _read_table(path) if row["input"] not in fresh] + [
        {UNITS.get(name, name): _digits(value) if name in UNITS else value for name, value in row.items()}
        for row in rows
    ]
    names = {name: None for row in rows for name, value in row.items() if not isinstance(value, list | dict)}
    columns = [name for name in names if name != "error"] + ["error"]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _digits(value: Any) -> Any:
    """Return a number without the digits that are noise of the arithmetic."""
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _read_table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table that `_write_table` has written; none when there is no such table."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, restkey="")
            return [{k: v for k, v in row.items() if k} for row in rows] if "input" in (rows.fieldnames or []) else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"The table {path} of earlier results cannot be read ({error}); move it away.") from None
