"""The one contract that every method fulfils, and the registry of methods.

Importing this module imports no method and no torch: methods are entry points of the group ``opsin.methods`` and are
loaded when somebody asks for one by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import OpsinError, RecipeError

if TYPE_CHECKING:
    from .checkpoints import Checkpoint
    from .results import Result
    from .runs import Run

RECIPES = Path(__file__).resolve().parent.parent / "resources" / "recipes"


def setting(
    default: Any,
    title: str,
    help: str,
    *,
    unit: str = "",
    group: str = "General",
    advanced: bool = False,
    unless: str = "",
    when: Mapping[str, tuple[str, ...]] | None = None,
    words: dict[str, str] | None = None,
    **limits: Any,
) -> Any:
    """Return a pydantic field that carries what a form, the command line and the YAML file need.

    Parameters
    ----------
    default : the value used when nothing is said.
    title, help : short name (two or three words) and one sentence, both shown in the form.
    unit : shown behind the number, e.g. ``"px"``, ``"µm/px"``.
    group : heading in the form under which the setting stands.
    advanced : hidden in the form until the user asks for all settings.
    unless : name of another setting that takes this one's place where it is not None; the form shows the one in force.
    when : name of another setting -> its values for which this one has an effect; the form hides it otherwise.
    words : choice -> how the form shows it; empty: as it is.
    limits : pydantic constraints (``ge``, ``gt``, ``le``, ``lt``, ``multiple_of``).
    """
    extra: Any = {"unit": unit, "group": group, "advanced": advanced, "unless": unless}
    extra |= {"when": {name: list(values) for name, values in when.items()}} if when else {}
    extra |= {"words": words} if words else {}
    return Field(default, title=title, description=help, json_schema_extra=extra, validate_default=True, **limits)


class Settings(BaseModel):
    """Base of recipes and options: unknown names are errors, every assignment is checked."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    @classmethod
    def checked(cls, values: dict[str, Any], source: str = "the settings") -> Any:
        """Build the model from plain values; raise `RecipeError` with one sentence that names the bad setting."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or "(all)"
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise RecipeError(f"{source}: there is no setting '{name}'; known are {known}.") from None
            reason = first["msg"].removeprefix("Value error, ")
            if not first["loc"]:  # of several settings together: not one value is at fault
                raise RecipeError(f"{source}: {reason}.") from None
            raise RecipeError(f"{source}: setting '{name}' is {_short(first.get('input'))}: {reason}.") from None

    def changed(self, assignments: Sequence[str]) -> Any:
        """Return a copy with ``key=value`` texts applied (values are read as YAML)."""
        values = self.model_dump()
        for text in assignments:
            key, equals, value = text.partition("=")
            if not equals:
                raise RecipeError(f"'{text}' is not of the form key=value.")
            try:
                values[key.strip()] = _plain(value)
            except yaml.YAMLError:
                raise RecipeError(f"'{text}': the value cannot be read.") from None
        return type(self).checked(values, "--set")


def _plain(text: str) -> Any:
    """Return the values of a YAML text.

    `yaml.YAMLError` also for brackets without end and for aliases (``*name``): a few lines of them unfold to gigabytes.
    """
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > 50:
                raise yaml.YAMLError("it is nested too deeply")
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError("aliases such as *name are not allowed in it")
        return yaml.safe_load(text)
    except ValueError as error:  # a date that there is not, a number of thousands of digits
        raise yaml.YAMLError(str(error)) from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


class Recipe(Settings):
    """Settings of a training that all methods have; each method adds its own."""

    seed: int = setting(0, "Random seed", "Same seed, same data, same result.", ge=0, advanced=True)
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32", "Precision", "Number format of the forward pass; 16 bit is faster on a GPU.", advanced=True
    )


class Options(Settings):
    """Settings of a prediction; each method adds its own."""


class Dataset(Protocol):
    """What `Method.open` returns: samples, how they are split, what is labelled."""

    def fingerprint(self) -> str:
        """Hash of everything a training reads from here; the same hash means the same data."""

    def describe(self) -> str:
        """One or two sentences for the log: how many samples, how they are split and labelled."""


class Method(ABC):
    """A published method with its five verbs. Stateless: everything a verb needs comes with the call."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    task: ClassVar[str]
    Recipe: ClassVar[type[Recipe]]
    Options: ClassVar[type[Options]]

    @abstractmethod
    def open(self, path: Path) -> Dataset:
        """Open a data set in one of the layouts its users already have."""

    @abstractmethod
    def train(self, recipe: Any, data: Any, run: Run) -> Checkpoint | None:
        """Train; report every step to `run`, which can pause, stop and resume it. None when stopped before the first step."""

    def inputs(self, path: Path) -> list[Path]:
        """Return what to predict of a path that the user names; methods that take folders apart override this."""
        return [path]

    @abstractmethod
    def predict(self, checkpoint: Checkpoint, sample: Path, options: Any, run: Run) -> Iterator[Result]:
        """Yield one or more results for the sample; partial results go to `run.preview` while it works."""

    @abstractmethod
    def evaluate(self, checkpoint: Checkpoint, data: Any, run: Run) -> dict[str, Any]:
        """Return the metrics of the method card (section 6) by name; lists hold the answers for each slide or patient."""

    @abstractmethod
    def import_published(self, path: Path) -> Checkpoint:
        """Read a file with the authors' parameter names, never unpickling more than tensors."""

    def export(self, checkpoint: Checkpoint, path: Path) -> None:
        """Write the network of `checkpoint` for use without Opsin; methods that can override this."""
        raise OpsinError(f"{self.name} has no single network that could be exported.")

    @classmethod
    def presets(cls) -> list[str]:
        """Names of the recipes that come with Opsin, the smallest last."""
        found = {p.name.split(".")[1] for p in RECIPES.glob(f"{cls.name}.*.yaml")}
        order = ["paper", "workstation", "quick", "tiny"]
        return sorted(found, key=lambda n: (order.index(n) if n in order else -1, n))

    @classmethod
    def recipe(cls, source: str | Path | None = None) -> Any:
        """Return a recipe from a preset name, a YAML file, or (None) the defaults, which are the published ones."""
        if source is None:
            return cls.Recipe()
        path = Path(source)
        if not path.suffix:
            if str(source) not in cls.presets():
                raise RecipeError(
                    f"There is no preset '{source}' for {cls.name}; there are {', '.join(cls.presets())}."
                )
            path = RECIPES / f"{cls.name}.{source}.yaml"
        try:
            values = _plain(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise RecipeError(f"The recipe {path} cannot be read ({reason}).") from None
        if not isinstance(values, dict):
            raise RecipeError(f"The recipe {path} must be a list of 'setting: value' lines.")
        return cls.Recipe.checked(values, f"the recipe {path.name}")


@cache
def _found() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="opsin.methods")}


def method_names() -> list[str]:
    """Names of the installed methods; loads none of them."""
    return sorted(_found())


@cache
def get_method(name: str) -> Method:
    """Load and return the method called `name`."""
    if name not in _found():
        raise RecipeError(f"There is no method '{name}'; there are {', '.join(method_names())}.")
    return _found()[name].load()()
