"""`opsin convert` as the shell calls it: which of one file, many files or a workspace is meant, and what is said of each."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .convert import PICTURE, TARGETS, Settings, convert, convert_many, read_size
from .errors import OpsinError, UsageError
from .labels.formats import BY_NAME, Options
from .labels.mapping import Target, chosen, class_mapping
from .transfer import Step, import_files

if TYPE_CHECKING:
    from .labels.classes import LabelClass
    from .labels.shapes import Outlines


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out; return the exit status: 0, or 1 where something of many could not be done."""
    settings = _settings(arguments)
    paths: list[Path] = arguments.paths
    if arguments.to and arguments.to not in (*BY_NAME, "labels", PICTURE):
        raise UsageError(f"There is no format '{arguments.to}'; there are {TARGETS}.")
    if arguments.workspace is not None:
        if arguments.to:
            raise UsageError("--to names what is written; with --workspace the files are painted into its slides.")
        return _tell(_into_workspace(arguments.workspace, paths, settings), _count(paths))
    if len(paths) < 2:
        raise UsageError("Name what to convert and then the target, or a workspace with --workspace.")
    *sources, target = paths
    if len(sources) == 1 and not _many(sources[0], target):
        if not sources[0].exists():
            raise OpsinError(f"{sources[0]} does not exist.")
        print(convert(sources[0], target, settings=settings, to=arguments.to))
        return 0
    if not arguments.to:
        raise UsageError(f"Say with --to what many files are converted to: {TARGETS}.")
    if target.is_file():
        raise UsageError(f"{target} is a file; many files are converted into a folder.")
    return _tell(convert_many(sources, target, arguments.to, settings), _count(sources))


def _many(source: Path, target: Path) -> bool:
    """Whether one source means many: a workspace, or a folder that is no OME-Zarr."""
    from .labels.ngff import is_zarr

    return (source.is_dir() and not is_zarr(source)) or (target.is_dir() and not is_zarr(target))


def _settings(arguments: argparse.Namespace) -> Settings:
    try:
        size = read_size(arguments.size) if arguments.size is not None else None
    except OpsinError as error:
        raise UsageError(str(error)) from None
    if arguments.mpp is not None and not (math.isfinite(arguments.mpp) and 0 < arguments.mpp < 1000):
        raise UsageError(f"--mpp {arguments.mpp:g} is no size of a pixel; it is a number of µm above 0.")
    if not (math.isfinite(arguments.simplify) and 0 <= arguments.simplify <= 1000):
        raise UsageError(f"--simplify {arguments.simplify:g} is no distance; it is from 0 to 1000 pixels.")
    options = Options(tolerance=arguments.simplify, runs=arguments.runs)
    settings = Settings(
        size, arguments.mpp, None, "", arguments.choices, arguments.origin, arguments.from_origin, options,
        force=arguments.force,
    )  # fmt: skip
    if arguments.slide is None:
        return settings
    from .data.slides import is_slide

    if not arguments.slide.exists():
        raise OpsinError(f"{arguments.slide} does not exist.")
    if arguments.slide.is_dir() and not is_slide(arguments.slide):
        return replace(settings, slides=arguments.slide)
    return settings.on(arguments.slide)


def _into_workspace(folder: Path, paths: Sequence[Path], settings: Settings) -> Iterator[Step]:
    from .labels.formats import is_annotation_file
    from .labels.ngff import is_zarr
    from .workspace import Workspace

    files: list[Path] = []
    for path in paths:
        inside = path.is_dir() and not is_zarr(path)
        files += sorted(p for p in path.iterdir() if is_annotation_file(p)) if inside else [path]
    files = [path for path in files if not path.name.endswith(".classes.json")]

    def choose(outlines: Outlines, classes: Sequence[LabelClass], taken: Sequence[int]) -> dict[str, Target]:
        mapping = class_mapping(outlines, classes)
        known = [text for text in settings.choices if text.rpartition("=")[0].casefold() in map(str.casefold, mapping)]
        return chosen(known, mapping, classes)

    with Workspace.open(folder) as workspace:
        yield from import_files(workspace, files, choose, settings.source_origin)


def _count(paths: Sequence[Path]) -> str:
    return "1 input" if len(paths) == 1 else f"{len(paths)} inputs"


def _tell(steps: Iterator[Step], what: str) -> int:
    """Say what became of each, the failures last and together; a line that rewrites itself shows how far it is."""
    terminal = sys.stderr.isatty()
    failed: list[Step] = []
    done = 0
    for step in steps:
        if terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if step.failed:
            failed.append(step)
        else:
            done += 1
            print(step.text, flush=True)
        if terminal:
            print(f"{done + len(failed)} of {what} so far, last {step.name[:60]}", end="", file=sys.stderr, flush=True)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    for step in failed:
        named = step.name in step.text  # a sentence that names the file needs no other name before it
        print(f"opsin: {step.text}" if named else f"opsin: {step.name}: {step.text}", file=sys.stderr)
    if failed:
        print(f"opsin: {done} done, {len(failed)} failed", file=sys.stderr)
    return 1 if failed or not done else 0
