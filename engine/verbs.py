"""Carrying out a job: the one code path behind the command line, the worker process and so the window.

A job is plain data (`jobs.JobSpec.plain()`); what happens is reported through a `Run`. Nothing here knows who asked.
"""

from __future__ import annotations

import csv
import os
import shlex
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from .devices import resolve
from .errors import Cancelled, Ended, OpsinError, RunError
from .files import is_full, replacing, write_text
from .method import Method, get_method
from .runs import FINAL, Control, Event, Run, plain, read_record
from .scale import ALONE, join, place

CHECKPOINT = Path("checkpoints") / "final.safetensors"


def execute(
    job: dict[str, Any],
    sink: Callable[[Event], None] | None = None,
    control: Control | None = None,
    started: Callable[[Run], None] | None = None,
) -> str:
    """Carry out a job and return its final state: done, stopped, cancelled or failed. Never raises for what goes wrong
    in the job: that is reported as an error message and in the run's log.

    `started` is called with the run as soon as there is one (the worker's heartbeat watches it).
    """
    arguments = job["arguments"]
    folder = {"train": "run", "predict": "output"}.get(job["verb"])
    run = Run(None, sink, control)
    state = "failed"
    owned = True
    team = ALONE
    try:
        device = resolve(job.get("device", "auto"), place() if job["verb"] == "train" else None)
        method = get_method(job["method"])
        path = Path(arguments[folder]) if folder and arguments.get(folder) else None
        if job["verb"] == "train":
            team = join(device)
        with team.lead_first():
            if path is not None and team.lead:
                # a folder that was there before a prediction may hold what is not ours to throw away
                owned = job["verb"] == "train" or not path.exists()
                _claim(path, job["verb"], bool(arguments.get("resume")))
            run = Run(path, sink, control, device, team)
        if not team.lead and (path is None or not path.is_dir()):
            raise RunError(f"The run's folder {path} is not seen here; choose one on a disk that all machines share.")
        if started:
            started(run)
        command = command_line(job) + (f" --devices {team.world}" if team.world > 1 else "")
        run.describe(method=method.name, verb=job["verb"], device=device, command=command, **_process())
        run.set_state("running")
        value = {"train": _train, "predict": _predict, "evaluate": _evaluate}[job["verb"]](method, arguments, run)
        run.emit("done", value=value)
        state = "stopped" if run.stopping else "done"
    except Cancelled:
        state = "cancelled"
    except Ended as error:
        if team.lead:
            words = team.heard() or [(str(error), "")]
            run.write_log(words[0][1] or str(error))
            run.message(words[0][0], "error")
    except OpsinError as error:
        _fail(run, str(error))
    except MemoryError:
        _fail(run, "The machine's memory is full; close other programs or choose a smaller tile or batch.")
    except Exception as error:
        details = traceback.format_exc()
        run.write_log(details)
        run.emit("message", level="debug", text=details)
        where = f"; the details are in {run.folder / 'log.txt'}" if run.folder else ""
        reason = (str(error).splitlines() or [""])[0]
        sentence = f"{job['verb']} failed: {type(error).__name__}: {reason}{where}."
        if is_full(error):
            sentence = (
                f"The disk is full: make room where {run.folder or 'temporary files'} lies, then go on or try again."
            )
        _fail(run, sentence, details)
    if state == "cancelled" and owned:
        run.discard()
        run.folder = None
    try:
        run.set_state(state)
    except OpsinError as error:
        run.folder = None
        if state != "failed":  # else the cause has been said
            run.message(str(error), "error")
        run.set_state("failed")
        state = "failed"
    run.close()
    team.leave()
    return state


def _fail(run: Run, sentence: str, details: str = "") -> None:
    """Report what went wrong; a process that is not the lead leaves it to the lead, so that it is said once."""
    if run.team.lead:
        run.message(sentence, "error")
    else:
        run.team.last_words(sentence, details)


def _claim(folder: Path, verb: str, resume: bool) -> None:
    """Make sure that `folder` may be written: new or empty, or a run to resume that no living process works on."""
    if not (folder / "run.json").exists():
        if resume and verb == "train":
            raise RunError(f"{folder} holds no run to resume; leave out --resume to start one there.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and verb == "train":
            raise RunError(f"{folder} exists and is no run; choose a new folder for the run.")
        return
    record = read_record(folder)
    if alive(record):
        raise RunError(f"Another process ({record['pid']}) is working on the run in {folder}; stop it first.")
    if verb == "train" and not resume:
        raise RunError(f"{folder} already holds a run ({_state(record)}); resume it or choose a new folder.")
    if verb == "train" and record.get("state") == "done":
        raise RunError(f"The run in {folder} is finished; there is nothing to resume.")


def alive(record: dict[str, Any]) -> bool:
    """True when the process that a ``run.json`` names is still at work on it."""
    if record.get("state") in FINAL or "pid" not in record:
        return False
    try:
        process = psutil.Process(record["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:  # ended, but whoever started it has not asked yet
            return False
        return abs(process.create_time() - record["process_started"]) < 2 and process.pid != os.getpid()
    except (psutil.Error, KeyError, ValueError, OverflowError):  # the last two: no number of a process
        return False


def _state(record: dict[str, Any]) -> str:
    """In words, for a run that nobody works on."""
    state = str(record.get("state", ""))
    return state if state in FINAL else "interrupted"


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "process_started": psutil.Process().create_time()}


def command_line(job: dict[str, Any]) -> str:
    """Return the shell command that repeats the job."""
    arguments = job["arguments"]
    words = ["opsin", job["verb"], job["method"]]
    if job["verb"] == "train":
        recipe = Path(arguments["run"]) / "recipe.yaml" if arguments.get("run") else arguments.get("preset", "quick")
        words += ["--data", arguments["data"], "--recipe", str(recipe)]
    elif job["verb"] == "predict":
        words += ["--checkpoint", arguments["checkpoint"], "--output", arguments["output"]]
        words += [f"--set={key}={_yaml_value(value)}" for key, value in arguments.get("options", {}).items()]
        words += ["--input", *[_input(entry)["path"] for entry in arguments["inputs"]]]
    else:
        words += ["--checkpoint", arguments["checkpoint"], "--data", arguments["data"]]
    words += ["--device", job.get("device", "auto")]
    return shlex.join(map(str, words))


def _yaml_value(value: Any) -> str:
    return yaml.safe_dump(plain(value), default_flow_style=True, width=10_000).replace("\n...", "").strip()


# ---- the verbs ----------------------------------------------------------------------------------------------------


def _train(method: Method, arguments: dict[str, Any], run: Run) -> dict[str, Any]:
    recipe = method.Recipe.checked(arguments.get("recipe") or {})
    values = recipe.model_dump()
    with run.team.lead_first():
        if run.folder is not None and run.team.lead:
            if arguments.get("resume"):
                earlier = read_record(run.folder).get("recipe", values)
                if earlier != plain(values):
                    names = sorted(k for k in values if plain(values[k]) != earlier.get(k))
                    raise RunError(f"The run in {run.folder} was started with other settings ({', '.join(names)}).")
            else:
                text = yaml.safe_dump(plain(values), sort_keys=False, allow_unicode=True)
                write_text(run.folder / "recipe.yaml", text)
        run.phase("index")
        data = method.open(Path(arguments["data"]))
        run.message(data.describe())
    if run.team.lead:
        run.describe(
            recipe=values,
            preset=arguments.get("preset"),
            seed=recipe.seed,
            data=str(Path(arguments["data"]).resolve()),
            fingerprint=data.fingerprint(),
            processes=run.team.world,
        )
    checkpoint = method.train(recipe, data, run)
    if checkpoint is None:
        run.message("Stopped before the first step: there are no weights to keep.")
        return {"metrics": {}}
    result: dict[str, Any] = {"metrics": checkpoint.header.get("metrics", {})}
    if run.folder is not None and run.team.lead:
        checkpoint.save(run.folder / CHECKPOINT)
        run.checkpoint(run.folder / CHECKPOINT, checkpoint.header.get("step", 0))
        run.describe(metrics=result["metrics"], checkpoint=str(CHECKPOINT))
        result["checkpoint"] = str(run.folder / CHECKPOINT)
    run.team.wait()
    return result


def _input(entry: str | dict[str, Any]) -> dict[str, Any]:
    """An input is a path, or a dictionary with ``path`` and, as the window knows them, ``id`` and ``options``."""
    return entry if isinstance(entry, dict) else {"path": entry}


def _predict(method: Method, arguments: dict[str, Any], run: Run) -> dict[str, Any]:
    from .checkpoints import Checkpoint

    options = dict(arguments.get("options") or {})
    method.Options.checked(options)
    run.phase("load")
    checkpoint = load_checkpoint(Path(arguments["checkpoint"]), method.name)
    assert isinstance(checkpoint, Checkpoint)
    run.describe(options=options, checkpoint=arguments["checkpoint"])
    done, failed, rows = [], [], []
    inputs = [_input(entry) for entry in arguments["inputs"]]
    for number, entry in enumerate(inputs):
        if run.stopping:
            break
        path = Path(entry["path"])
        info = {"item": entry.get("id"), "input": str(path)}
        run.phase(f"predict {path.name}")
        own = method.Options.checked({**options, **entry.get("options", {})})
        try:
            for result in method.predict(checkpoint, path, own, run):
                values = result.plain() if hasattr(result, "plain") else {}
                run.emit("result", kind=type(result).__name__, path=result.path, info={**info, **values})
                if values:
                    rows.append({"input": str(path), **values})
            done.append(str(path))
        except OpsinError as error:
            failed.append({"input": str(path), "error": str(error)})
            if len(inputs) > 1:  # a single one fails the job, which says so
                run.message(str(error), "warning")
        run.emit("item", done=number + 1, total=len(inputs), **info)
    if run.folder is not None and rows:
        _write_table(run.folder / "scores.csv", rows)
    if failed and not done:
        raise RunError(
            failed[0]["error"] if len(failed) == 1 else f"None of the {len(failed)} inputs could be used; see the log."
        )
    if failed:
        run.message(f"{len(failed)} of {len(inputs)} inputs could not be used; they are listed in the log.", "warning")
    return {"done": done, "failed": failed}


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = [name for name, value in rows[0].items() if not isinstance(value, list | dict)]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _evaluate(method: Method, arguments: dict[str, Any], run: Run) -> dict[str, Any]:
    run.phase("load")
    checkpoint = load_checkpoint(Path(arguments["checkpoint"]), method.name)
    run.phase("index")
    data = method.open(Path(arguments["data"]))
    run.message(data.describe())
    return plain(method.evaluate(checkpoint, data, run))


_kept: dict[tuple[str, float], Any] = {}


def load_checkpoint(path: Path, method: str) -> Any:
    """Read a checkpoint; a run folder stands for its final checkpoint. The last one read is kept (warm worker)."""
    from .checkpoints import Checkpoint

    if path.is_dir():
        path = path / CHECKPOINT
    key = (str(path.resolve()), path.stat().st_mtime if path.exists() else 0.0)
    if key not in _kept:
        _kept.clear()
        _kept[key] = Checkpoint.load(path, method)
    return _kept[key]


def wait_for_end(folder: Path, seconds: float) -> bool:
    """Wait until no process works on the run in `folder`; False when one still does after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(read_record(folder)):
            return True
        time.sleep(0.1)
    return False
