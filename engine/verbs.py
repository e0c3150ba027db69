"""Carrying out a job: the one code path behind the command line, the worker process and so the window.

A job is plain data (`jobs.JobSpec.plain()`); what happens is reported through a `Run`. Nothing here knows who asked.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from .batch import input_of, predict_all, said_of_one
from .devices import resolve
from .errors import Cancelled, Ended, OpsinError, RunError
from .files import is_full, write_text
from .method import Method, get_method
from .runs import CHECKPOINT as CHECKPOINT
from .runs import FINAL, Control, Event, Run, plain, read_record
from .scale import ALONE, join, place

KINDS = {"train": "a training", "predict": "a prediction"}
RECORDS = frozenset({"run.json", "recipe.yaml", "events.jsonl", "log.txt"})
"""What a run writes before its first step, beside ``snapshots/``."""


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
        each = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if job["verb"] == "train":
            team = join(device)
        job = {**job, "command": command_line(job, min(each, team.world), team.world // min(each, team.world))}
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
        run.describe(method=method.name, verb=job["verb"], device=device, **_process())
        if not arguments.get("resume"):  # a resumed run keeps its command until it is sure to be the same run
            run.describe(command=job["command"])
        run.set_state("running")
        value = {"train": _train, "predict": _predict, "evaluate": _evaluate}[job["verb"]](method, job, run)
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
    """Make sure that `folder` may be written: new or empty, or of the same verb and no living process works on it.

    A training that failed before its first step makes room for one that is started anew.
    """
    if not (folder / "run.json").exists():
        if resume and verb == "train":
            raise RunError(f"{folder} holds no run to resume; leave out --resume to start one there.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and verb == "train":
            raise RunError(f"{folder} exists and is no run; choose a new folder for the run.")
        return
    record = read_record(folder)
    found = record.get("verb", "train")
    if found != verb:
        kind = KINDS.get(found, "another job")
        raise RunError(f"{folder} is the folder of {kind}; choose another one for {KINDS[verb]}.")
    if alive(record):
        raise RunError(f"Another process ({record['pid']}) is working on the run in {folder}; stop it first.")
    if verb == "train" and not resume and record.get("state") == "failed" and _without_step(folder):
        _clear(folder, *RECORDS)
        return
    if verb == "train" and not resume:
        raise RunError(f"{folder} already holds a run ({_state(record)}); resume it or choose a new folder.")
    if verb == "train" and record.get("state") == "done":
        raise RunError(f"The run in {folder} is finished; there is nothing to resume.")


def _without_step(folder: Path) -> bool:
    """True while nothing was learnt in a run: there are its records and the frozen labels, and no other file."""
    snapshots = folder / "snapshots"
    return all(
        path.is_dir() or snapshots in path.parents or (path.parent == folder and path.name in RECORDS)
        for path in folder.rglob("*")
    )


def _clear(folder: Path, *names: str) -> None:
    """Remove what a run without a step has left, so that it can begin anew."""
    shutil.rmtree(folder / "snapshots", ignore_errors=True)
    for name in names:
        (folder / name).unlink(missing_ok=True)


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


def command_line(job: dict[str, Any], devices: int = 1, nodes: int = 1) -> str:
    """Return the shell command that repeats the job; options that say nothing new are left out.

    Parameters
    ----------
    devices, nodes : processes on each machine and machines that share a training.
    """
    arguments = job["arguments"]
    words = ["opsin", job["verb"], job["method"]]
    if job["verb"] == "train":
        run = arguments.get("run")
        recipe = Path(run) / "recipe.yaml" if run else arguments.get("preset") or "quick"
        words += ["--data", arguments["data"], "--recipe", str(recipe)]
    elif job["verb"] == "predict":
        words += ["--checkpoint", arguments["checkpoint"], "--output", arguments["output"]]
        words += [f"--set={key}={_yaml_value(value)}" for key, value in _said_options(job).items()]
        if arguments.get("only", "all") != "all":
            words += ["--only", arguments["only"]]
        words += ["--input", *[input_of(entry)["path"] for entry in arguments["inputs"]]]
    else:
        words += ["--checkpoint", arguments["checkpoint"], "--data", arguments["data"]]
    words += ["--device", job.get("device", "auto")]
    if nodes > 1:  # they must agree on a folder beforehand
        words += ["--run", f"{arguments['run']}_again", "--nodes", nodes]
    if devices > 1 or nodes > 1:
        words += ["--devices", devices]
    return shlex.join(map(str, words))


def _said_options(job: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a prediction that differ from the defaults, those that all inputs share among them.

    What the window says of the single slide (where the user looks, its name) has no heading in the form and is left out.
    """
    arguments = job["arguments"]
    own = [input_of(entry).get("options", {}) for entry in arguments["inputs"]]
    shared = {k: v for k, v in (own[0] if own else {}).items() if all(k in o and o[k] == v for o in own)}
    try:
        method = get_method(job["method"])
    except OpsinError:  # a method that is not installed here
        return dict(arguments.get("options", {}))
    options, silent = method.Options, said_of_one(method)
    said = {**arguments.get("options", {}), **{k: v for k, v in shared.items() if k not in silent}}
    usual = plain(options().model_dump(mode="json"))
    return {key: value for key, value in said.items() if key not in usual or plain(value) != usual[key]}


def _yaml_value(value: Any) -> str:
    return yaml.safe_dump(plain(value), default_flow_style=True, width=10_000).replace("\n...", "").strip()


# ---- the verbs ----------------------------------------------------------------------------------------------------


def _train(method: Method, job: dict[str, Any], run: Run) -> dict[str, Any]:
    arguments = job["arguments"]
    recipe = method.Recipe.checked(arguments.get("recipe") or {})
    values = recipe.model_dump()
    source = Path(arguments["data"])
    with run.team.lead_first():
        record: dict[str, Any] = {}
        if run.folder is not None and run.team.lead:
            if arguments.get("resume"):
                record = read_record(run.folder)
            earlier = record.get("recipe", plain(values))
            if earlier != plain(values):
                names = sorted(k for k in values if plain(values[k]) != earlier.get(k))
                _begin_anew(run.folder, f"was started with other settings ({', '.join(names)})")
            if earlier != plain(values) or not record:
                text = yaml.safe_dump(plain(values), sort_keys=False, allow_unicode=True)
                write_text(run.folder / "recipe.yaml", text)
        run.phase("index")
        data = method.open(source)
        run.message(data.describe())
        before = record.get("data", "")
        # a data set that was moved is the same one
        if before and before != str(source.resolve()) and record.get("fingerprint") != data.fingerprint():
            assert run.folder is not None
            _begin_anew(run.folder, f"was started with other data ({before})")
    if run.team.lead:
        run.describe(
            recipe=values,
            preset=arguments.get("preset"),
            seed=recipe.seed,
            data=str(source.resolve()),
            fingerprint=data.fingerprint(),
            processes=run.team.world,
            command=job["command"],
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


def _begin_anew(folder: Path, difference: str) -> None:
    """Let a run to resume take other settings or data as long as it has not made a step; raise when it has."""
    if not _without_step(folder):
        raise RunError(f"The run in {folder} {difference}; resume it as it was, or start a new one.")
    _clear(folder)


def _predict(method: Method, job: dict[str, Any], run: Run) -> dict[str, Any]:
    run.phase("load")
    checkpoint = load_checkpoint(Path(job["arguments"]["checkpoint"]), method.name)
    return predict_all(method, checkpoint, job, run)


def _evaluate(method: Method, job: dict[str, Any], run: Run) -> dict[str, Any]:
    arguments = job["arguments"]
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
