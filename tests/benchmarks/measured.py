"""Long measurements piece by piece: what the log holds already is not measured again, so a proof that was cut off goes on.

OPSIN_PROOF_LOG names the log, one JSON line a piece; without it everything is measured and nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from opsin.engine.method import Recipe


def measured(
    proof: str, seed: int, variant: str, recipe: Recipe, measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Return the values of one piece: from the log where it has the same proof, seed, variant and recipe, else measured."""
    settings = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:12]
    piece = {"proof": proof, "seed": seed, "variant": variant, "recipe": settings}
    log = Path(os.environ["OPSIN_PROOF_LOG"]) if os.environ.get("OPSIN_PROOF_LOG") else None
    if log is not None and log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if all(entry[key] == value for key, value in piece.items()):
                return entry["values"]
    wall, processor = time.monotonic(), time.process_time()
    values = measure()
    seconds = {"wall s": round(time.monotonic() - wall, 1), "processor s": round(time.process_time() - processor, 1)}
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**piece, "values": values, **seconds}) + "\n")
    return values
