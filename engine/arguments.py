"""The words of the command line: verbs and their options. What the verbs do stands in `cli.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import __version__

Action = Callable[[argparse.Namespace], int]


def make_parser(actions: Mapping[str, Action]) -> argparse.ArgumentParser:
    """Return the parser; `actions` are what the verbs do, by name."""
    parser = argparse.ArgumentParser(
        "opsin",
        description="Look, annotate, train, predict and correct in one window. For research use, not for diagnosis.",
        epilog="'opsin' alone, or 'opsin FILE…', opens the window.",
    )
    parser.add_argument("--version", action="version", version=f"opsin {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, help: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=help, description=help)
        sub.set_defaults(action=actions[name])
        return sub

    demo = verb("demo", "the guided main job on made data, with screenshots and a report")
    demo.add_argument("--headless", action="store_true", help="do not show the window")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR")

    verb("methods", "list the methods")
    recipe = verb("recipe", "print a recipe as YAML")
    recipe.add_argument("method")
    recipe.add_argument("preset", nargs="?", default="paper")
    recipe.add_argument(
        "--options",
        action="store_true",
        help="print what can be set of a prediction (predict --set) in place of the recipe",
    )

    train = verb("train", "train a method")
    train.add_argument("method")
    train.add_argument("--data", required=True, type=Path, help="workspace, or a data set in a layout of the method")
    train.add_argument("--recipe", default="quick", help="preset name or YAML file (default: quick)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
                       help="change a setting of the recipe; 'opsin recipe METHOD' lists all")  # fmt: skip
    train.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/… in the workspace)")
    train.add_argument("--resume", action="store_true", help="go on with the run in --run")
    train.add_argument("--devices", type=int, default=1, metavar="N", help="processes on this machine, one a GPU")
    train.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (start the command on each)")
    _common(train)

    predict = verb("predict", "predict with a checkpoint")
    predict.add_argument("method")
    predict.add_argument("--checkpoint", required=True, type=Path, help="checkpoint file or run folder")
    predict.add_argument(
        "--input",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        dest="inputs",
        help="slides, folders of slides",
    )
    predict.add_argument("--output", type=Path, metavar="DIR",
                         help="folder for the results of --input: maps, scores.csv and summary.md")  # fmt: skip
    predict.add_argument(
        "--workspace",
        type=Path,
        metavar="W",
        help="all slides of a workspace, which keeps maps and scores as the window does",
    )
    predict.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
                         help="change how it predicts; 'opsin recipe METHOD --options' lists what can be set")  # fmt: skip
    predict.add_argument("--only", choices=("missing", "failed"), help="go on with an earlier prediction into --output")
    _common(predict)

    workspace = verb("workspace", "make a workspace, add slides, labels and annotations, list what is there")
    workspace.add_argument("folder", type=Path)
    workspace.add_argument(
        "--add", type=Path, nargs="+", action="extend", default=[], metavar="PATH", help="slides, folders"
    )
    workspace.add_argument("--labels", type=Path, metavar="CSV", help="take over labels, splits, patients from a table")
    workspace.add_argument(
        "--split", type=float, metavar="SHARE", help="slides without a split: this share for validation"
    )
    workspace.add_argument("--outlined", nargs="+", action="extend", default=[], metavar="SLIDE",
                           help="names of slides of which all tumour is outlined")  # fmt: skip
    workspace.add_argument("--table", type=Path, metavar="CSV", help="write the table of slides")

    report = verb("report", "write an HTML report of a run's scores on a workspace")
    report.add_argument("workspace", type=Path)
    report.add_argument("--run", metavar="NAME", help="whose scores (default: the newest)")
    report.add_argument("--output", type=Path, default=Path("report.html"), metavar="FILE")
    report.add_argument("--threshold", type=float, metavar="T", help="slide scores from here on are called positive")
    report.add_argument("--split", choices=("test", "val", "train", "all"), help="the slides to judge")
    report.add_argument("--names", action="store_true", help="call slides by their names instead of numbers")

    evaluate = verb("evaluate", "measure a checkpoint on labelled data")
    evaluate.add_argument("method")
    evaluate.add_argument("--checkpoint", required=True, type=Path, help="checkpoint file or run folder")
    evaluate.add_argument("--data", required=True, type=Path)
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the metrics there")
    _common(evaluate)

    bring = verb("import", "turn a published weight file into a checkpoint")
    bring.add_argument("method")
    bring.add_argument("file", type=Path)
    bring.add_argument("--output", required=True, type=Path, metavar="FILE")

    export = verb("export", "write the network of a checkpoint as an ExportedProgram (.pt2)")
    export.add_argument("method")
    export.add_argument("--checkpoint", required=True, type=Path)
    export.add_argument("--output", required=True, type=Path, metavar="FILE")

    convert = verb("convert", "convert annotations and results between formats")
    convert.description = (
        "Annotations: .xml (ASAP), .geojson (QuPath), .json (COCO), .ome.zarr, -mask.tif and -mask.png, in any direction; "
        ".labels (label store of a slide); .heat (heat map) to .tif, .ome.zarr, .geojson and .xml (outlines at 0.5); slides and "
        "pictures to a pyramidal .tif, encoded anew as JPEG (quality 85, or 90 from pictures larger than the memory). "
        "A file that is there is replaced only with --force. "
        "Coordinates are full-resolution (level-0) pixels of the whole slide. Several files, folders or a workspace go into a "
        "folder OUT with --to; with --workspace all files go into its slides of the same name. Into .labels: classes whose "
        "names mean neither tumour, normal tissue nor an exclusion are left out and named, unless --map says what they become."
    )
    convert.add_argument(
        "paths", type=Path, nargs="+", metavar="IN… OUT", help="files, folders or workspaces, then the target"
    )
    convert.add_argument(
        "--to",
        default="",
        metavar="FORMAT",
        help="geojson, asap, coco, ome-zarr, mask-tiff, mask-png, labels or tiff (a picture as pyramid)",
    )
    convert.add_argument(
        "--workspace", type=Path, metavar="W", help="import all files into the slides of this workspace"
    )
    convert.add_argument("--size", metavar="WIDTHxHEIGHT", help="full size of the slide in pixels")
    convert.add_argument(
        "--slide",
        type=Path,
        metavar="FILE",
        help="take size, resolution and bounds box from this slide; of a folder, from its slide of the same name",
    )
    convert.add_argument("--mpp", type=float, metavar="UM", help="µm per full-resolution pixel, where no slide says it")
    convert.add_argument(
        "--origin",
        choices=("slide", "bounds"),
        default="slide",
        help="write coordinates from the whole slide's corner (default) or, as QuPath, from its bounds box",
    )
    convert.add_argument(
        "--from-origin",
        choices=("slide", "bounds"),
        default="",
        help="the same for the coordinates that are read (default: as the file says, else guessed)",
    )
    convert.add_argument(
        "--simplify",
        type=float,
        default=0.0,
        metavar="PX",
        help="drop points of outlines where they change by less than PX pixels (default: exact)",
    )
    convert.add_argument("--force", action="store_true", help="replace files that are there (label stores never are)")
    convert.add_argument("--runs", action="store_true", help="COCO with run lengths in place of polygons")
    convert.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=CLASS",
        dest="choices",
        help="what a class of the file becomes: Tumour, Normal, Exclude, clear or skip; for .labels and --workspace",
    )

    verb("doctor", "say what works on this machine and what does not")
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps (default: auto)")
    parser.add_argument("--events", action="store_true", help="write events as JSON lines on standard output")
