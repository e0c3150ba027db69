"""What golden tests share: read a golden, fill a network, compare every array, and see the comparison fail when it must."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .fill import state

HERE = Path(__file__).parent


class Golden:
    """The facts of one method's golden: ``json`` how inputs were made, ``arrays`` the reference outputs."""

    def __init__(self, name: str) -> None:
        self.json: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
        with np.load(HERE / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files}
        self.keys = HERE / f"{name}.keys.json"

    def weights(self) -> dict[str, torch.Tensor]:
        """Return every published parameter, filled by the rule of `fill.py`."""
        return {name: torch.from_numpy(np.asarray(value)) for name, value in state(self.keys).items()}

    def compare(self, found: dict[str, np.ndarray], tolerance: dict[str, float]) -> dict[str, float]:
        """Assert that `found` holds arrays equal to the golden's within `tolerance`; return the largest differences."""
        worst = {}
        for name, least in tolerance.items():
            expected = self.arrays[name]
            assert found[name].shape == expected.shape, f"{name}: {found[name].shape} instead of {expected.shape}"
            worst[name] = float(np.abs(found[name].astype(np.float64) - expected).max(initial=0.0))
            assert worst[name] <= least, f"{name} differs by {worst[name]:.3g}, more than {least:g}"
        return worst

    def must_fail(
        self, find: Callable[[dict[str, torch.Tensor]], dict[str, np.ndarray]], name: str, tolerance: Any
    ) -> None:
        """Change one weight by 5 % of its spread and see `compare` fail."""
        weights = self.weights()
        weights[name] = weights[name] * 1.05
        try:
            self.compare(find(weights), tolerance)
        except AssertionError:
            return
        raise AssertionError(f"{name} was changed and the comparison did not notice")
