"""The model card of a training: what was learnt from, what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .settings import SUPERVISION, HybridRecipe


def model_card(recipe: HybridRecipe, facts: dict[str, Any], losses: dict[int, float], folder: Path) -> str:
    """Return the model card of a training, Markdown with a YAML head; `facts` are those of the checkpoint's header."""
    kept = f"round {facts['round']} of {0 if recipe.pixel_labels_only else recipe.rounds}"
    learnt = SUPERVISION[recipe.supervision]
    if "step" in facts:
        kept += f", stopped after step {facts['step']} of {facts['steps']}"
        kept += "" if recipe.from_bags else "; without a slide classifier"
    lines = [
        "---",
        "library_name: opsin",
        "pipeline_tag: image-segmentation",
        "tags: [pathology, hybrid-supervision, arXiv:2107.00934]",
        "---",
        f"# {'Network of tiles' if recipe.from_bags else 'Patch network and slide classifier'}, {learnt}",
        "",
        "For research use, not for diagnosis.",
        "",
        f"Trained in `{folder.name}`; recipe, versions, data fingerprint and seed stand in `run.json`, the frozen labels in",
        "`snapshots/`.",
        "",
        f"- network {recipe.network}, read at {recipe.mpp:g} µm/px (0 = level 0 as it is), tiles of {recipe.tile} px, RGB / 255",
        f"- kept: {kept}",
        *(f"- stage-2 training loss after round {r}: {loss:.4f}" for r, loss in losses.items()),
        *(
            f"- corrected by hand before round {r}: {one['pixels']:,} pixels on {one['name']}"
            for r, entries in facts.get("corrections", {}).items()
            for one in entries
        ),
    ]
    return "\n".join(lines) + "\n"
