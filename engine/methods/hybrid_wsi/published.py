"""Weights in and out: checkpoints of Opsin, files with the authors' names, ImageNet weights for the backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...checkpoints import Checkpoint, fill_module, is_safetensors, read_header, read_published
from ...errors import CheckpointError
from ...files import replacing
from ...runs import CHECKPOINT
from .model import DLA34Up, PatchNetwork, build
from .settings import HybridRecipe

if TYPE_CHECKING:
    from .mil import GatedAttention
    from .stage2 import TileClassifier

METHOD = "hybrid_wsi"
# In the published files, but without influence on the output: the ImageNet head, and the outer projections of the
# two-level trees, which are computed and thrown away.
DEAD = ("base.fc.", "base.level3.project.", "base.level4.project.")


@dataclass
class Trained:
    """What a checkpoint holds, ready for use: the networks on the CPU, in evaluation mode."""

    recipe: HybridRecipe
    patch: PatchNetwork
    slide: TileClassifier | None
    bag: GatedAttention | None
    header: dict[str, Any]


def import_published(path: Path) -> Checkpoint:
    """Read a file with the published parameter names (``<name>_latest.pth.tar`` of the authors' training)."""
    path = Path(path)
    model = DLA34Up()
    fill_module(model, read_published(path), path.name, DEAD)
    return pack(HybridRecipe(), model, None, source=path.name)


def export(checkpoint: Checkpoint, path: Path) -> None:
    """Write the patch network as an ExportedProgram (``.pt2``): float32 RGB [B, 3, H, W] / 255 -> logits [B, 1, H, W]."""
    path = Path(path)
    if path.suffix != ".pt2":
        raise CheckpointError(f"{path.name}: a network is exported as .pt2 (ExportedProgram); choose such a name.")
    trained = unpack(checkpoint)
    if trained.bag is not None:
        raise CheckpointError(
            "Gated-attention MIL answers for a slide and not for a tile, so there is no single network to export."
        )
    side = trained.recipe.tile
    program = torch.export.export(trained.patch, (torch.zeros(1, 3, side, side),))
    with replacing(path) as temporary:
        renamed = temporary.with_suffix(".pt2")
        torch.export.save(program, renamed)
        renamed.replace(temporary)


def load_imagenet(model: PatchNetwork, path: Path) -> None:
    """Fill the backbone of a DLA-34 from an ImageNet file (``dla34-ba72cf86.pth`` or timm's ``dla34``)."""
    path = Path(path)
    if not isinstance(model, DLA34Up):
        raise CheckpointError(
            f"{path.name} is for the network 'dla34'; choose it, or leave the ImageNet weights empty."
        )
    unused = tuple(name.removeprefix("base.") for name in DEAD)
    fill_module(model.base, read_published(path, ("module.", "base.")), path.name, unused)


def load_initial(model: PatchNetwork, path: Path) -> None:
    """Fill the patch network from a run folder or checkpoint of this method, or from a file with the published names."""
    path = _in_folder(Path(path))
    if is_safetensors(path) and "method" in read_header(path):
        tensors = _named(Checkpoint.load(path, METHOD).tensors, "patch.")
    else:
        tensors = read_published(path)
    fill_module(model, tensors, path.name, DEAD)


def load_bag(bag: GatedAttention, path: Path) -> None:
    """Fill the attention from a checkpoint of gated-attention MIL."""
    fill_module(bag, _named(Checkpoint.load(path, METHOD).tensors, "bag."), path.name)


def load_trained(path: Path) -> Checkpoint:
    """Return the checkpoint in a run folder or file of this method."""
    return Checkpoint.load(_in_folder(path), METHOD)


def _in_folder(path: Path) -> Path:
    if not path.is_dir():
        return path
    if not (path / CHECKPOINT).is_file():
        raise CheckpointError(f"{path} holds no finished training: {CHECKPOINT} is missing.")
    return path / CHECKPOINT


def pack(
    recipe: HybridRecipe,
    patch: PatchNetwork,
    slide: TileClassifier | None,
    bag: torch.nn.Module | None = None,
    **header: Any,
) -> Checkpoint:
    """Return a checkpoint: tensors ``patch.<published name>``, ``slide.<name>`` of the slide classifier and ``bag.<name>`` of
    gated attention where there are such, the recipe in its header."""
    tensors = {f"patch.{name}": value.detach().cpu() for name, value in patch.state_dict().items()}
    if slide is not None:
        tensors |= {f"slide.{name}": value.detach().cpu() for name, value in slide.state_dict().items()}
    if bag is not None:
        tensors |= {f"bag.{name}": value.detach().cpu() for name, value in bag.state_dict().items()}
    facts = {"recipe": recipe.model_dump(), "mpp": recipe.mpp, "classes": ["Tumour"], **header}
    return Checkpoint(METHOD, tensors, facts)


def unpack(checkpoint: Checkpoint) -> Trained:
    """Rebuild the networks of a checkpoint; `CheckpointError` when it does not fit its own recipe."""
    from .mil import GatedAttention
    from .stage2 import TileClassifier

    if checkpoint.method != METHOD:
        raise CheckpointError(f"This checkpoint is of {checkpoint.method}, not of {METHOD}.")
    recipe = HybridRecipe.checked(checkpoint.header.get("recipe", {}), "the checkpoint's recipe")
    with torch.random.fork_rng(devices=[]):  # the initialisation is overwritten: leave the caller's numbers alone
        patch = build(recipe)
        fill_module(patch, _named(checkpoint.tensors, "patch."), "The checkpoint", DEAD)
        slide = None
        weights = _named(checkpoint.tensors, "slide.")
        if weights:
            slide = TileClassifier(patch)
            fill_module(slide, weights, "The checkpoint's slide classifier")
            slide.eval()
        bag = None
        if recipe.supervision == "attention_mil":
            bag = GatedAttention(patch.feature_channels)
            fill_module(bag, _named(checkpoint.tensors, "bag."), "The checkpoint's attention")
            bag.eval()
    return Trained(recipe, patch.eval(), slide, bag, checkpoint.header)


def _named(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
