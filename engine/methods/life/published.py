"""Weights in and out: checkpoints of Opsin, the files of LIFE and of RAFT under the authors' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...checkpoints import Checkpoint, fill_module, is_safetensors, read_header, read_published
from ...errors import CheckpointError
from ...runs import CHECKPOINT
from .model import DESIGNS, FlowNetwork

METHOD = "life"
ALIASES = tuple((f"cnet.layer{n}.0.norm3.", f"cnet.layer{n}.0.downsample.1.") for n in (2, 3))
"""One batch norm under two names in the basic network; on load the second one counts."""


def import_published(path: Path) -> Checkpoint:
    """Read LIFE's ``pretrain.pth``, a RAFT file (``raft-*.pth``) or what the successor's training writes.

    LIFE's files have no ``module.`` before their names, RAFT's have: LIFE's weights expect the colours in the order blue, green,
    red, RAFT's red, green, blue (method card, section 8); the checkpoint's header says which was assumed.

    Raises
    ------
    CheckpointError : the file is unreadable or holds another network.
    """
    path = Path(path)
    raw = read_published(path, ())
    wrapped = all(name.startswith("module.") for name in raw)
    tensors = {name.removeprefix("module."): value for name, value in raw.items()} if wrapped else raw
    network = "small" if "fnet.layer1.0.conv3.weight" in tensors else "basic"
    if network == "basic":
        tensors = with_aliases(tensors, path.name)
    model = FlowNetwork(DESIGNS[network])
    fill_module(model, tensors, path.name)
    # the successor's files are wrapped too, but hold a dictionary with "epoch"; the user can turn the switch
    colours = "RGB" if wrapped else "BGR"
    return pack(model, network, colours, source=path.name)


def with_aliases(tensors: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return `tensors` with the twice named batch norms complete under both names, those of ``downsample.1`` in force."""
    tensors = dict(tensors)
    for first, second in ALIASES:
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            value = tensors.get(second + name, tensors.get(first + name))
            if value is not None:
                tensors[first + name] = tensors[second + name] = value
    return tensors


def pack(model: FlowNetwork, network: str, colours: str, **header: Any) -> Checkpoint:
    """Return a checkpoint with the published names; `colours` is the order of the channels that the weights expect."""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return Checkpoint(METHOD, tensors, {"network": network, "colours": colours, **header})


def unpack(checkpoint: Checkpoint) -> FlowNetwork:
    """Rebuild the network of a checkpoint, on the CPU, in evaluation mode."""
    if checkpoint.method != METHOD:
        raise CheckpointError(f"This checkpoint is of {checkpoint.method}, not of {METHOD}.")
    name = checkpoint.header.get("network")
    if name not in DESIGNS:
        raise CheckpointError(f"The checkpoint is of an unknown network ({name}).")
    with torch.random.fork_rng(devices=[]):  # the initialisation is overwritten: leave the caller's numbers alone
        model = FlowNetwork(DESIGNS[name])
    fill_module(model, checkpoint.tensors, "The checkpoint")
    return model.eval()


def load_initial(model: FlowNetwork, network: str, path: Path) -> str:
    """Fill `model` from a run folder or checkpoint of Opsin, or from an authors' file; return the order of colours it expects.

    Raises
    ------
    CheckpointError : the file is unreadable or holds another network than `network`.
    """
    path = path / CHECKPOINT if path.is_dir() else path
    if is_safetensors(path) and "method" in read_header(path):
        found = Checkpoint.load(path, METHOD)
    else:
        found = import_published(path)
    if found.header.get("network") != network:
        raise CheckpointError(f"{path.name} holds the network '{found.header.get('network')}', the recipe '{network}'.")
    fill_module(model, found.tensors, path.name)
    return str(found.header.get("colours", "RGB"))
