"""The loss of the patch network (method card, section 4.2)."""

from __future__ import annotations

import torch
from torch.nn import functional

IGNORED = -1.0
"""Target value of a pixel that nobody labelled, or that is excluded: it does not count."""


def pixel_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy over the pixels that count.

    Parameters
    ----------
    logits : [B, 1, H, W], any float type; the loss is computed in float32.
    target : [B, 1, H, W] or [B, H, W] in [0, 1], soft labels allowed; values below 0 do not count.

    Returns
    -------
    scalar; 0 (with a gradient of 0) when no pixel counts.
    """
    logits = logits.float().reshape(target.shape)
    counts = (target >= 0).to(logits.dtype)
    loss = functional.binary_cross_entropy_with_logits(logits, target.clamp(0, 1), weight=counts, reduction="sum")
    return loss / counts.sum().clamp(min=1)
