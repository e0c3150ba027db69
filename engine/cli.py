"""The command line. Exit status: 0 done, 1 failed (one line on stderr), 2 wrong usage, 130 stopped by the user."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Action, make_parser
from .errors import OpsinError, RecipeError, RunError, UsageError
from .jobs import JobSpec
from .runs import Control, Event

if TYPE_CHECKING:
    from .method import Method

STATUS = {"done": 0, "failed": 1, "cancelled": 130, "stopped": 130}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    # threads that wait for each other sleep instead of spinning: on a busy machine small networks are many times faster
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--worker"]:
        from .worker import main as serve

        serve()
        return 0
    actions = _actions()
    parser = make_parser(actions)
    try:
        if not words or (not words[0].startswith("-") and words[0] not in actions):
            if words and not Path(words[0]).exists():
                near = difflib.get_close_matches(words[0], actions, 1)
                guess = f" Did you mean 'opsin {near[0]}'?" if near else ""
                parser.error(f"'{words[0]}' is neither a verb nor a file that exists.{guess}")
            return _window(words)
        arguments = parser.parse_args(words)
        return arguments.action(arguments)
    except OpsinError as error:
        print(f"opsin: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # the reader of our output has gone (`opsin methods | head`): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _actions() -> dict[str, Action]:
    """What each verb does, in the order of the help."""
    return {
        "demo": _demo,
        "methods": _methods,
        "recipe": _recipe,
        "train": _train,
        "predict": _predict,
        "workspace": _workspace,
        "report": _report,
        "evaluate": _evaluate,
        "import": _import,
        "export": _export,
        "convert": _convert,
        "doctor": _doctor,
    }


# ---- verbs that run a job -------------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    if arguments.devices < 1 or arguments.nodes < 1:
        raise UsageError("--devices and --nodes must be 1 or more.")
    if arguments.resume and arguments.run is None:
        raise UsageError("--resume needs --run DIR, the folder of the run to go on with.")
    method = _method(arguments.method)
    data = _existing(arguments.data)
    if arguments.resume:
        if not (_existing(arguments.run) / "run.json").exists():
            raise RunError(f"{arguments.run} holds no run to resume; leave out --resume to start one there.")
        source: Any = arguments.run / "recipe.yaml"
        preset = None
    else:
        source = arguments.recipe
        preset = source if source in method.presets() else None
    recipe = _recipe_of(method, source)
    with _usage():
        recipe = recipe.changed(arguments.settings)
    together = arguments.devices > 1 or arguments.nodes > 1
    if together and "RANK" not in os.environ:
        _check_processes(arguments)
    run = arguments.run
    if run is None:
        from .runs import new_folder

        run = new_folder(data / "runs" if data.is_dir() else Path("runs"), method.name)
    if together and "RANK" not in os.environ:
        from .scale import launch

        words = ["train", method.name, "--data", str(data), "--run", str(run), "--device", arguments.device]
        words += ["--recipe", arguments.recipe, *(f"--set={text}" for text in arguments.settings)]
        words += ["--resume"] * arguments.resume + ["--events"] * arguments.events
        return launch(words, arguments.devices, arguments.nodes)
    job = JobSpec(
        "train",
        method.name,
        {
            "data": str(data),
            "recipe": recipe.model_dump(mode="json"),
            "preset": preset,
            "run": str(run),
            "resume": arguments.resume,
        },
        arguments.device,
    )
    from .scale import leave_at_once, member

    one_of_several = member()
    status = _execute(job, arguments.events)
    if one_of_several:
        leave_at_once(status)
    return status


def _check_processes(arguments: argparse.Namespace) -> None:
    """Raise what several processes would all raise, so that it is said once."""
    from .devices import resolve

    if arguments.nodes > 1 and arguments.run is None:
        raise UsageError("With --nodes, --run must name the run's folder, on a disk that all machines share.")
    resolve(arguments.device, arguments.devices - 1)


def _predict(arguments: argparse.Namespace) -> int:
    method = _method(arguments.method)
    with _usage():
        options = method.Options().changed(arguments.settings)
    if (arguments.workspace is None) == (not arguments.inputs) or bool(arguments.inputs) != bool(arguments.output):
        raise UsageError("Name slides with --input and a folder with --output, or a workspace with --workspace.")
    checkpoint = _existing(arguments.checkpoint)
    _check_regions(getattr(options, "regions", None))
    values = options.model_dump(mode="json")
    what = {"checkpoint": str(checkpoint), "options": values, "only": arguments.only or "all"}
    failed: list[Any] = []

    def keep(event: Event) -> None:
        if event["event"] == "done":
            failed.extend(event["value"]["failed"])

    if arguments.workspace is not None:
        from .workspace_command import predict_workspace

        said = [text.partition("=")[0].strip() for text in arguments.settings]
        with predict_workspace(arguments.workspace, checkpoint, values, said) as (more, take):

            def also(event: Event) -> None:
                keep(event)
                take(event)

            job = JobSpec("predict", method.name, {**what, **more}, arguments.device)
            status = _execute(job, arguments.events, also)
    else:
        inputs = [str(path) for each in arguments.inputs for path in method.inputs(Path(each))]
        job = JobSpec(
            "predict", method.name, {**what, "inputs": inputs, "output": str(arguments.output)}, arguments.device
        )
        status = _execute(job, arguments.events, keep)
    return status or int(bool(failed))  # what could be predicted is there, but not everything that was asked for


def _check_regions(path: str | None) -> None:
    """Raise once, and not for each slide, what is wrong with a file of regions of interest."""
    from .labels.store import LabelStore

    if path and not Path(path).is_file():
        raise OpsinError(f"The regions of interest cannot be read: {path} is no file.")
    if path:
        LabelStore.open(Path(path), readonly=True).close()


def _workspace(arguments: argparse.Namespace) -> int:
    from .workspace_command import run

    return run(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from .report import write_report
    from .workspace import Workspace

    with Workspace.open(_existing(arguments.workspace)) as workspace:
        known = sorted(workspace.scores(), key=lambda entry: entry["time"])
        if arguments.run is None and not known:
            raise RunError(f"No slide of {arguments.workspace} has a score; predict slides first.")
        run = Path(arguments.run).name if arguments.run is not None else known[-1]["run"]
        split = "" if arguments.split == "all" else arguments.split
        chosen = {"split": split, "threshold": arguments.threshold, "names": arguments.names}
        write_report(workspace, run, arguments.output, **chosen)
    print(arguments.output)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from .files import write_json

    if arguments.json:
        _writable(arguments.json)
    job = JobSpec(
        "evaluate",
        _method(arguments.method).name,
        {"checkpoint": str(_existing(arguments.checkpoint)), "data": str(_existing(arguments.data))},
        arguments.device,
    )
    metrics: dict[str, Any] = {}

    def keep(event: Event) -> None:
        if event["event"] == "done":
            metrics.update(event["value"])

    status = _execute(job, arguments.events, keep)
    if status == 0:
        if not arguments.events:
            for name, value in metrics.items():
                if isinstance(value, list):  # the answers for each slide or patient, a line each
                    print(f"{name}:")
                    for row in value:
                        print("  " + ", ".join(f"{key} {'n/a' if v is None else v}" for key, v in row.items()))
                else:
                    print(f"{name}: {'n/a' if value is None else value}")
        if arguments.json:
            write_json(arguments.json, metrics)
    return status


def _execute(job: JobSpec, events: bool, also: Callable[[Event], None] | None = None) -> int:
    """Carry out a job in this process; Ctrl-C once stops and keeps, twice ends at once."""
    from .runs import Run, read_record
    from .verbs import command_line, execute

    control = Control()
    interrupted = False
    quiet = int(os.environ.get("RANK", "0")) > 0  # of several processes the first one speaks

    def interrupt(*_: Any) -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(130)
        interrupted = True
        if not quiet:
            print("opsin: stopping at the next batch; Ctrl-C again ends at once", file=sys.stderr)
        control.stop()

    before = signal.signal(signal.SIGINT, interrupt)
    line = _ProgressLine()

    def sink(event: Event) -> None:
        if events:
            print(json.dumps(event), flush=True)
        else:
            line.show(event)
        if also:
            also(event)

    runs: list[Run] = []
    try:
        state = execute(job.plain(), None if quiet else sink, control, runs.append)
    finally:
        signal.signal(signal.SIGINT, before)
        line.end()
    folder = runs[0].folder if runs else None
    if state == "stopped" and job.verb == "train" and folder is not None and not quiet and not events:
        words = ["opsin", "train", job.method, "--data", job.arguments["data"], "--run", str(folder), "--resume"]
        print(f"stopped; go on with: {shlex.join([*words, '--device', job.device])}", file=sys.stderr)
    elif state in ("done", "stopped") and not quiet and not events:
        command = read_record(folder)["command"] if folder is not None else command_line(job.plain())
        print(f"repeat it with: {command}", file=sys.stderr)
    return STATUS[state]


class _ProgressLine:
    """Phase, progress and latest numbers on stderr: one line that rewrites itself on a terminal, else a line a phase."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.text = ""
        self.numbers = ""
        self.shown = 0.0

    def show(self, event: Event) -> None:
        kind = event["event"]
        if kind == "message" and event["level"] != "debug":
            self.end()
            prefix = "opsin: " if event["level"] == "error" else ""
            print(prefix + event["text"], file=sys.stderr)
        elif kind == "phase":
            self.end()
            print(event["name"], file=sys.stderr)
        elif kind == "metrics":
            self.numbers = "  ".join(f"{k} {v:.4g}" for k, v in list(event["values"].items())[:3] if v is not None)
        elif kind == "progress" and self.terminal and time.monotonic() - self.shown > 0.1:
            self.text = f"{event['what']}  {event['done']:g}/{event['total']:g}  {self.numbers}"
            self.shown = time.monotonic()
            print("\r\033[K" + self.text[:150], end="", file=sys.stderr, flush=True)
        elif kind == "done" and isinstance(event["value"], dict) and "checkpoint" in event["value"]:
            self.end()
            print(f"checkpoint: {event['value']['checkpoint']}", file=sys.stderr)

    def end(self) -> None:
        if self.text:
            print(file=sys.stderr)
            self.text = ""


def _existing(path: Path) -> Path:
    if not path.exists():
        raise OpsinError(f"{path} does not exist.")
    return path


def _writable(path: Path) -> None:
    """Raise before the work begins what would keep its result from being written to `path`."""
    if path.is_dir():
        raise OpsinError(f"{path} is a folder; name a file.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise OpsinError(f"{path} cannot be written: {parent} is no folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OpsinError(f"{path} cannot be written: {parent} allows no new files.")


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """In this block a name or setting that does not exist is wrong usage."""
    try:
        yield
    except RecipeError as error:
        raise UsageError(str(error)) from None


def _method(name: str) -> Method:
    from .method import get_method

    with _usage():
        return get_method(name)


def _recipe_of(method: Method, source: str | Path) -> Any:
    """Return a recipe; a preset that does not exist is wrong usage, a file that cannot be read is not."""
    if Path(source).suffix:
        return method.recipe(source)
    with _usage():
        return method.recipe(source)


# ---- the other verbs ------------------------------------------------------------------------------------------------


def _window(files: list[str]) -> int:
    _check_display()
    try:
        from ..gui.application import run_window
    except ImportError as error:
        print(
            f"opsin: the window needs Qt, which is not usable here ({error}); 'opsin doctor' says more.",
            file=sys.stderr,
        )
        return 1
    return run_window(files)


def _check_display() -> None:
    """Raise where Qt would end the process without a word: on Linux, where no display was said to be there."""
    plugins = os.environ.get("QT_QPA_PLATFORM") or "xcb"
    on_screen = all(name.startswith(("xcb", "wayland")) for name in plugins.split(";"))
    if sys.platform == "linux" and on_screen and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OpsinError("There is no display to open the window on; 'opsin --help' lists what works without one.")


def _demo(arguments: argparse.Namespace) -> int:
    if not arguments.headless:
        _check_display()
    from ..gui.demo import run_demo

    return run_demo(arguments.output, headless=arguments.headless)


def _methods(arguments: argparse.Namespace) -> int:
    from .method import get_method, method_names

    for name in method_names():
        method = get_method(name)
        print(f"{name:22}{method.title}  (arXiv {method.paper}; presets {', '.join(method.presets())})")
    return 0


def _recipe(arguments: argparse.Namespace) -> int:
    import yaml

    method = _method(arguments.method)
    recipe: Any = method.Options() if arguments.options else _recipe_of(method, arguments.preset)
    for name, field in type(recipe).model_fields.items():
        extra: Any = field.json_schema_extra or {}
        if arguments.options and not extra.get("group"):
            continue  # the window's own words about one slide
        unit = extra.get("unit", "")
        print(f"# {field.description}{f' [{unit}]' if unit else ''}")
        print(yaml.safe_dump({name: recipe.model_dump(mode="json")[name]}, allow_unicode=True), end="")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    checkpoint = _method(arguments.method).import_published(_existing(arguments.file))
    checkpoint.save(arguments.output)
    print(f"{arguments.output}: {len(checkpoint.tensors)} tensors of {checkpoint.method}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from .verbs import load_checkpoint

    method = _method(arguments.method)
    checkpoint = load_checkpoint(_existing(arguments.checkpoint), method.name)
    method.export(checkpoint, arguments.output)
    print(arguments.output)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from .convert_command import run

    return run(arguments)


def _doctor(arguments: argparse.Namespace) -> int:
    from .doctor import report

    lines, good = report()
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
