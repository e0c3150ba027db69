"""Multiple-instance learning, the two baselines that know slide labels alone: max pooling, and gated attention.

A slide is a bag of tiles with one label. **Max pooling** (Campanella et al. 2019): the slide is as positive as its most
suspicious tile. The network is the patch network whole; a tile's logit is the mean of the largest 5 % of its pixel logits, so the
heat map is the network's own pixel map. **Gated attention** (Ilse, Tomczak, Welling 2018): an embedding h of each tile, a =
softmax(wᵀ(tanh(V h) ⊙ σ(U h))) over the tiles, slide logit = c·(Σ a h) + b. Embedding: the deepest map of the patch network's
backbone, averaged over the tile, trained end to end. The patch network's other half takes no part.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .model import PatchNetwork

TOP_SHARE = 0.05
"""Share of a tile's pixels, those with the largest logits, whose mean is the tile's logit."""
ATTENTION = 64
"""Width of the attention's hidden layer."""
LIMIT = 1e-6  # probabilities are kept this far from 0 and 1 where logits are made of them


def tile_logits(logits: Tensor) -> Tensor:
    """Return the logit of each tile, float32 [B], of pixel logits [B, 1, H, W]."""
    flat = logits.float().flatten(1)
    return flat.topk(max(1, math.ceil(TOP_SHARE * flat.shape[1])), dim=1).values.mean(1)


def tile_probability(p: np.ndarray) -> float:
    """Return the probability of a tile from its map of pixel probabilities, float [h, w]; see `tile_logits`."""
    flat = np.clip(p.astype(np.float64).ravel(), LIMIT, 1 - LIMIT)
    largest = np.sort(flat)[-max(1, math.ceil(TOP_SHARE * flat.size)) :]
    return float(1 / (1 + np.exp(-np.log(largest / (1 - largest)).mean())))


def max_pool_loss(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch of bags by their most suspicious tiles, which are chosen in evaluation mode.

    Parameters
    ----------
    images : [S, N, 3, H, W], N tiles of each of S slides.
    labels : [S], 0 or 1. A positive bag's highest tile is raised; a negative bag's, its hardest false alarm, is lowered.
    """
    with torch.no_grad():
        module.eval()
        # one tile of each bag at a time: no more memory than learning needs, and on a CPU it stays in the cache
        found = torch.stack([tile_logits(module(_last(images[:, i]))) for i in range(images.shape[1])], 1)
        module.train()
    chosen = images[torch.arange(len(images), device=images.device), found.argmax(1)]
    return F.binary_cross_entropy_with_logits(tile_logits(module(_last(chosen))), labels.float())


def attention_loss(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch of bags; all tiles of a bag are learnt from. Parameters as in `max_pool_loss`."""
    return F.binary_cross_entropy_with_logits(module(images), labels.float())


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


class GatedAttention(nn.Module):
    """Attention over tile embeddings and the linear classifier of the slide."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.V = nn.Linear(features, ATTENTION)
        self.U = nn.Linear(features, ATTENTION)
        self.w = nn.Linear(ATTENTION, 1, bias=False)
        self.classifier = nn.Linear(features, 1)

    def attention(self, h: Tensor) -> Tensor:
        """Return the attention before the softmax, [..., N], of embeddings [..., N, F]."""
        return self.w(torch.tanh(self.V(h)) * torch.sigmoid(self.U(h)))[..., 0]

    def forward(self, h: Tensor) -> Tensor:
        """Return the logits of the bags, [S], of embeddings [S, N, F]."""
        a = torch.softmax(self.attention(h), dim=-1)
        return self.classifier((a[..., None] * h).sum(-2))[..., 0]


class AttentionMIL(nn.Module):
    """A patch network's backbone and gated attention. `forward`: bags [S, N, 3, H, W] -> logits [S].

    The slide's logit is Σ a_k s_k with the instance scores s_k = c·h_k + b, because the a_k add up to 1; and s_k is the mean over
    the tile of c·(deepest map) + b. So the map of a tile is what the bag's classifier says of each of its places.
    """

    multiple: int

    def __init__(self, patch: PatchNetwork, bag: GatedAttention | None = None) -> None:
        super().__init__()
        self.patch = patch
        for name, weight in patch.named_parameters():
            weight.requires_grad_(name.startswith("base."))  # the half that draws the pixel map takes no part
        self.bag = bag if bag is not None else GatedAttention(patch.feature_channels)
        self.multiple = patch.multiple
        self.stride = 32 if patch.multiple == 32 else 4  # of the deepest map

    def forward(self, images: Tensor) -> Tensor:
        deep = self.patch.features(_last(images.flatten(0, 1)))
        return self.bag(deep.float().mean((2, 3)).view(*images.shape[:2], -1))

    def coarse(self, x: Tensor) -> Tensor:
        """Return, for tiles [B, 3, H, W], [B, 3, H/stride, W/stride]: the instance logit of each place, and, the same everywhere
        in a tile, the tile's attention before the softmax and its instance score."""
        deep = self.patch.features(x).float()
        line = self.bag.classifier
        places = F.conv2d(deep, line.weight[:, :, None, None].float(), line.bias.float())
        h = deep.mean((2, 3))
        values = torch.stack([self.bag.attention(h), line(h)[..., 0]], 1)
        return torch.cat([places, values[:, :, None, None].expand(-1, -1, *places.shape[2:])], 1)


def bag_answer(attention: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the slide's probability and the weight of each tile in the heat map, attention / largest attention, float [N].

    Parameters
    ----------
    attention : before the softmax, [N]; scores : the instance scores, [N].
    """
    raised = np.exp(attention.astype(np.float64) - attention.max())
    logit = float((raised / raised.sum()) @ scores.astype(np.float64))
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30)))), raised
