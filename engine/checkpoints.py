"""Weights and training states on disk: safetensors with a JSON header, written whole or not at all.

Files of others are read with `read_published`, which never unpickles more than tensors and plain containers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .errors import CheckpointError
from .files import from_json, replacing
from .runs import plain

FORMAT = 1


@dataclass
class Checkpoint:
    """Weights and everything needed to use them.

    Attributes
    ----------
    method : name of the method.
    tensors : name -> tensor, on the CPU.
    header : plain values: ``recipe``, ``metrics``, ``classes``, ``mpp``, ``step``, ``source``, ... as the method needs.
    """

    method: str
    tensors: dict[str, torch.Tensor]
    header: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write to `path` (``.safetensors``)."""
        header = {"format": FORMAT, "method": self.method, **plain(self.header)}
        _save(path, self.tensors, header)

    @classmethod
    def load(cls, path: Path, method: str | None = None) -> Checkpoint:
        """Read a checkpoint; `CheckpointError` when it is none, or belongs to another method than `method`."""
        tensors, header = _load(path)
        found = header.pop("method", None)
        if found is None:
            raise CheckpointError(
                f"{path} holds weights but says nothing of an Opsin method; bring published weights in with 'opsin import'."
            )
        if method is not None and found != method:
            raise CheckpointError(f"{path} is a checkpoint of {found}, not of {method}.")
        if header.pop("format", 0) > FORMAT:
            raise CheckpointError(f"{path} was written by a newer Opsin; update Opsin to open it.")
        return cls(found, tensors, header)


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a checkpoint without reading its tensors."""
    try:
        with safe_open(str(path), "pt") as file:
            return _header(file.metadata())
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint ({_reason(error)}).") from None


def save_state(path: Path, tree: Any) -> None:
    """Write a training state: nested dicts and lists of numbers, texts, None, tensors and numpy arrays."""
    tensors: dict[str, torch.Tensor] = {}

    def strip(value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[name] = value.detach().cpu()
            return {"$tensor": name}
        if isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
            return {"$array": name}
        if isinstance(value, dict):
            return {"$items": [[key, strip(item, f"{name}.{key}")] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return [strip(item, f"{name}.{index}") for index, item in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a training state cannot hold {type(value).__name__} ({name})")

    structure = strip(tree, "state")
    _save(path, tensors, {"format": FORMAT, "state": structure})


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote; tuples come back as lists."""
    tensors, header = _load(path)
    if "state" not in header:
        raise CheckpointError(f"{path} is no training state.")

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        if isinstance(value, dict):
            if "$tensor" in value:
                return tensors[value["$tensor"]]
            if "$array" in value:
                return tensors[value["$array"]].numpy()
            return {key: fill(item) for key, item in value["$items"]}
        return value

    try:
        return fill(header["state"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no readable training state ({_reason(error)}).") from None


def is_safetensors(path: Path) -> bool:
    """Tell by its content, whatever its name, whether a file is one of safetensors: a length, then a JSON header.

    Raises
    ------
    CheckpointError : there is no such file, or it cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _why_not(path: Path, error: Exception) -> str:
    """Return a sentence for a file that torch does not open as weights alone; its own words are for programmers."""
    with path.open("rb") as file:
        start = file.read(4)
    packed = start == b"PK\x03\x04"
    if not packed and start[:1] != b"\x80":
        return f"{path} is no file of weights (.safetensors, .pth, .pt)."
    asked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if asked or not packed:
        what = f" (it asks for '{asked[1]}')" if asked else ""
        return f"{path} cannot be read as weights alone{what}; files that hold code are never opened."
    return f"{path} is damaged or cut off: it cannot be read as weights."


def read_published(path: Path, strip: tuple[str, ...] = ("module.",)) -> dict[str, torch.Tensor]:
    """Return the tensors of an authors' file (``.pth``, ``.pth.tar``, ``.pt``, ``.safetensors``) by published name.

    A dictionary with one of the usual wrappers (``state_dict``, ``model``, ``net``) is unwrapped and the prefixes in
    `strip` are removed. Nothing but tensors and plain containers is ever unpickled.
    """
    path = Path(path)
    if is_safetensors(path):
        tensors, _ = _load(path)
    else:
        try:
            with path.open("rb") as file:  # by name, torch would take some for what they are not
                content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(_why_not(path, error)) from None
        for name in ("state_dict", "model_state_dict", "model", "net", "netG"):
            if isinstance(content, dict) and isinstance(content.get(name), dict):
                content = content[name]
                break
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} holds no dictionary of weights.")
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no weights.")
    for prefix in strip:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def fill_module(
    module: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str, unused: tuple[str, ...] = ()
) -> None:
    """Load `tensors` into `module`, strictly.

    Names that start with one of `unused` may be in the file without being in the module. Anything else that is missing,
    left over or of the wrong shape is a `CheckpointError` that names the first of them.
    """
    own = module.state_dict()
    wanted = {name: value for name, value in tensors.items() if name in own or not name.startswith(unused or ("\0",))}
    for problem, names in (
        ("lacks", own.keys() - wanted.keys()),
        ("has the unknown", wanted.keys() - own.keys()),
    ):
        names = {n for n in names if not n.endswith("num_batches_tracked")}
        if names:
            raise CheckpointError(
                f"{source} {problem} weight '{min(names)}' ({len(names)} such): it is of another network."
            )
    for name, value in wanted.items():
        if name in own and own[name].shape != value.shape:
            raise CheckpointError(
                f"{source}: weight '{name}' has shape {tuple(value.shape)}, the network wants {tuple(own[name].shape)}."
            )
    module.load_state_dict({name: value for name, value in wanted.items() if name in own}, strict=False)


def _save(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(header, ensure_ascii=False)
    with replacing(Path(path)) as temporary:
        save_file(whole, str(temporary), metadata={"opsin": text})


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    if not Path(path).exists():
        raise CheckpointError(f"{path} does not exist.")
    try:
        with safe_open(str(path), "pt") as file:
            header = _header(file.metadata())
            # a copy, so that the file may be replaced or removed while the tensors are in use
            return {name: file.get_tensor(name).clone() for name in file.keys()}, header  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint ({_reason(error)}).") from None


def _header(metadata: dict[str, str] | None) -> dict[str, Any]:
    header = from_json((metadata or {}).get("opsin", "{}"))
    if not isinstance(header, dict) or not isinstance(header.get("format", 0), int):
        raise ValueError("its header is damaged")
    return header


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
