"""The pseudo-label rule: what a proposed probability map becomes as a training target."""

from __future__ import annotations

from typing import Literal

import numpy as np

Kind = Literal["fine", "positive", "negative"]


def pseudo_label(p: np.ndarray, kind: Kind, V: float = 4.0, clip: float = 0.01) -> np.ndarray:
    """Return the target of a stored tile (section 4.2 of the paper's rule).

    Parameters
    ----------
    p : probabilities in [0, 1], any shape; uint8 is read as p/255. For ``"fine"`` it is the outlined target.
    kind : ``"fine"`` (outlined), ``"positive"`` or ``"negative"``: what is known of the slide.
    V : re-weighting factor; 1 switches it off.
    clip : what is below after multiplying becomes exactly 0.

    Returns
    -------
    float32, shape of `p`. The order is multiply, limit to 1, cut off: with 8-bit maps the last rule hardly
    acts, as a stored 1/255 becomes 4/255 > 0.01.
    """
    p = p.astype(np.float32) / np.float32(255) if p.dtype == np.uint8 else p.astype(np.float32)
    if kind == "fine":
        return p
    if kind == "negative":
        return np.zeros_like(p)
    target = np.minimum(p * np.float32(V), np.float32(1))
    target[target < clip] = 0
    return target
