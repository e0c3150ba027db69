"""Learning rates of the five kinds of supervision, tuned alike: three rates on the card's made slides, AUC of 100 tuning slides

The world of seed 101 is in none of the proofs (seeds 1 to 3). Each kind is trained once at each rate with the steps of the proof;
the rate with the largest AUC on the tuning slides is the one that both proofs use (`proof_hybrid.RATES`).
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks.proof_hybrid import RATES, RECIPE, VARIANTS, piece

SEED = 101
GRID = (3e-4, 1e-3, 3e-3)


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure each kind at each rate. Quick: a fifth of the steps."""
    recipe = RECIPE.model_copy(update={"steps_initial": 30, "steps_round": 30}) if quick else RECIPE
    found: dict[str, list[dict[str, float]]] = {}
    for variant in VARIANTS:
        if variant == "V = 1":  # of hybrid; takes its rate
            continue
        found[variant] = []
        for rate in GRID:
            found[variant].append(piece(SEED, variant, recipe, rate))
    return table(found)


def table(found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return the rows of RESULTS.md: the best rate of each kind, and whether the proofs use it."""
    shown = []
    for variant, results in found.items():
        areas = [result["AUC"] for result in results]
        best = GRID[areas.index(max(areas))]
        note = "AUC " + ", ".join(f"{area:.3f} at {rate:g}" for rate, area in zip(GRID, areas))
        used = RATES[VARIANTS[variant]["supervision"]]
        shown.append(
            {"name": f"{variant}: best learning rate", "value": best, "unit": "", "bar": f"used: {used:g}", "ok": best == used,
             "note": note}
        )  # fmt: skip
    return shown
