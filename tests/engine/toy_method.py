"""A method that does nothing, quickly, for tests of what all methods share; slides are text files with their score."""

import csv
from pathlib import Path

import pytest
import torch

from opsin.engine import method as registry
from opsin.engine.checkpoints import Checkpoint
from opsin.engine.cli import main
from opsin.engine.errors import CheckpointError, SlideError
from opsin.engine.method import Method, Options, Recipe, setting
from opsin.engine.results import SlideScore


class ToyRecipe(Recipe):
    weights: str | None = setting(None, "Weights", "File to start from.")
    steps: int = setting(1, "Steps", "How many; it fails after them when odd.", ge=0)


class ToyOptions(Options):
    level: int = setting(0, "Level", "Of the slide.")
    slide_mpp: float | None = setting(None, "Resolution", "Of the slide.")
    item: str | None = setting(None, "Item", "Name of the results.", group="")


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def fingerprint(self) -> str:
        return (self.path / "content").read_text()

    def describe(self) -> str:
        return "a folder"


class Toy(Method):
    """A method that does nothing, quickly; slides are text files with their score."""

    name, title, paper, task = "toy", "Toy", "0000.00000", "None"
    Recipe, Options = ToyRecipe, ToyOptions

    @classmethod
    def recipe(cls, source=None):
        return ToyRecipe() if source == "quick" else super().recipe(source)

    def open(self, path):
        return Folder(path)

    def train(self, recipe, data, run):
        run.part("checkpoints")
        (run.part("snapshots") / "round_0.json").write_text("{}")
        run.phase("build")
        if recipe.weights and not Path(recipe.weights).exists():
            raise CheckpointError(f"{recipe.weights} does not exist.")
        for step in range(recipe.steps):
            run.log(step=step, loss=1.0)
        if recipe.steps % 2:
            raise CheckpointError("The disk is gone.")
        return Checkpoint("toy", {"w": torch.ones(1)})

    def inputs(self, path):
        return sorted(path.glob("*.txt")) if path.is_dir() else [path]

    def predict(self, checkpoint, sample, options, run):
        text = Path(sample).read_text() if Path(sample).exists() else ""
        if not text:
            raise SlideError(f"{Path(sample).name} is no slide.")
        path = run.folder / f"{options.item or Path(sample).stem}.heat"
        path.write_text(text)
        yield SlideScore(path, Path(sample).name, float(text))

    def evaluate(self, checkpoint, data, run):
        return {"AUC": 1.0}

    def import_published(self, path):
        raise CheckpointError("There is none.")


class Point:
    def load(self):
        return Toy


@pytest.fixture
def toy(tmp_path, monkeypatch, capsys):
    """Call the command line with the toy method; returns (status, what stands on standard error)."""
    monkeypatch.setattr(registry, "_found", lambda: {"toy": Point()})
    registry.get_method.cache_clear()
    monkeypatch.chdir(tmp_path)
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    Checkpoint("toy", {"w": torch.ones(1)}).save(tmp_path / "c.safetensors")

    def call(*words):
        verb, *rest = [str(word) for word in words]
        status = main([verb, "toy", *rest, "--device", "cpu"])
        return status, capsys.readouterr().err

    yield call
    registry.get_method.cache_clear()


def predict(toy, *slides, output="out", more=()):
    return toy("predict", "--checkpoint", "c.safetensors", "--output", output, *more, "--input", *slides)


def slide(path, score):
    path = Path(path)
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(score))
    return path


def table(folder="out"):
    with (Path(folder) / "scores.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}
