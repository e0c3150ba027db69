"""The network of LIFE, which is RAFT layer by layer (arXiv 2003.12039), under the published parameter names.

Images are float32 [B, 3, H, W] with values 0..255, both sides multiples of the network's stride and at least 16 strides long;
flow is [B, 2, H, W] in pixels, channel 0 = x (right), channel 1 = y (down). Method card, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .correlation import Correlation, FullVolume

# ---- variants ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """Widths of a variant; the published ones are `BASIC` and `SMALL`."""

    stem: int
    widths: tuple[int, int, int]
    strides: tuple[int, int, int]
    bottleneck: bool
    features: int
    context_norm: str
    hidden: int
    context: int
    levels: int
    radius: int
    from_correlation: tuple[int, ...]
    from_flow: tuple[int, int]
    motion: int
    separable: bool
    head: int
    mask: int

    @property
    def stride(self) -> int:
        """Pixels of the image per pixel of the features."""
        return 2 * prod(self.strides)

    @property
    def looked_up(self) -> int:
        """Channels of a correlation lookup."""
        return self.levels * (2 * self.radius + 1) ** 2


BASIC = Design(
    64, (64, 96, 128), (1, 2, 2), False, 256, "batch", 128, 128, 4, 4, (256, 192), (128, 64), 126, True, 256, 256
)
SMALL = Design(32, (32, 64, 96), (1, 2, 2), True, 128, "none", 96, 64, 4, 3, (96,), (64, 32), 80, False, 128, 0)
TINY = Design(16, (16, 24, 32), (1, 2, 1), False, 48, "batch", 40, 40, 3, 3, (64, 48), (32, 16), 38, False, 64, 64)
"""A network at a quarter of the resolution for processors (card, section 9); the widths not stated there are ours."""
DESIGNS = {"basic": BASIC, "small": SMALL, "tiny": TINY}

# ---- encoders ------------------------------------------------------------------------------------------------------


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions; ReLU before the addition as well as after it."""

    def __init__(self, inside: int, outside: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.norm1 = _norm(norm, outside)
        self.norm2 = _norm(norm, outside)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inside != outside:
            self.norm3 = _norm(norm, outside)  # published files hold it under both names
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride), self.norm3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu((x if self.downsample is None else self.downsample(x)) + y)


class BottleneckBlock(nn.Module):
    """1 x 1 to a quarter of the channels, 3 x 3, 1 x 1; ReLU before the addition as well as after it."""

    def __init__(self, inside: int, outside: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside // 4, 1)
        self.conv2 = nn.Conv2d(outside // 4, outside // 4, 3, stride, 1)
        self.conv3 = nn.Conv2d(outside // 4, outside, 1)
        self.norm1 = _norm(norm, outside // 4)
        self.norm2 = _norm(norm, outside // 4)
        self.norm3 = _norm(norm, outside)
        self.downsample: nn.Sequential | None = None
        if stride > 1:
            self.norm4 = _norm(norm, outside)
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride), self.norm4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        y = F.relu(self.norm3(self.conv3(y)))
        return F.relu((x if self.downsample is None else self.downsample(x)) + y)


class Encoder(nn.Module):
    """Image [B, 3, H, W] in -1..1 to features [B, out, H/stride, W/stride]."""

    def __init__(self, design: Design, out: int, norm: str) -> None:
        super().__init__()
        block = BottleneckBlock if design.bottleneck else ResidualBlock
        self.norm1 = _norm(norm, design.stem)
        self.conv1 = nn.Conv2d(3, design.stem, 7, 2, 3)
        inside = design.stem
        for number, (width, stride) in enumerate(zip(design.widths, design.strides), 1):
            layer = nn.Sequential(block(inside, width, stride, norm), block(width, width, 1, norm))
            setattr(self, f"layer{number}", layer)
            inside = width
        self.conv2 = nn.Conv2d(inside, out, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # type: ignore[operator]
        return self.conv2(x)


# ---- update --------------------------------------------------------------------------------------------------------


class MotionEncoder(nn.Module):
    """Correlation and flow to motion features; the last two channels are the flow itself."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        first, *rest = design.from_correlation
        self.convc1 = nn.Conv2d(design.looked_up, first, 1)
        self.convc2 = nn.Conv2d(first, rest[0], 3, padding=1) if rest else None
        self.convf1 = nn.Conv2d(2, design.from_flow[0], 7, padding=3)
        self.convf2 = nn.Conv2d(design.from_flow[0], design.from_flow[1], 3, padding=1)
        self.conv = nn.Conv2d(design.from_correlation[-1] + design.from_flow[1], design.motion, 3, padding=1)

    def forward(self, flow: torch.Tensor, correlation: torch.Tensor) -> torch.Tensor:
        c = F.relu(self.convc1(correlation))
        if self.convc2 is not None:
            c = F.relu(self.convc2(c))
        f = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat([F.relu(self.conv(torch.cat([c, f], 1))), flow], 1)


class GRU(nn.Module):
    """Convolutional GRU: one pass of 3 x 3 kernels (names convz, convr, convq)."""

    PASSES: tuple[tuple[str, tuple[int, int]], ...] = (("", (3, 3)),)

    def __init__(self, hidden: int, inside: int) -> None:
        super().__init__()
        for number, kernel in self.PASSES:
            padding = (kernel[0] // 2, kernel[1] // 2)
            for gate in "zrq":
                conv = nn.Conv2d(hidden + inside, hidden, kernel, padding=padding)
                setattr(self, f"conv{gate}{number}", conv)

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        for number, _ in self.PASSES:
            gate = {g: getattr(self, f"conv{g}{number}") for g in "zrq"}
            both = torch.cat([h, x], 1)
            z, r = torch.sigmoid(gate["z"](both)), torch.sigmoid(gate["r"](both))
            q = torch.tanh(gate["q"](torch.cat([r * h, x], 1)))
            h = (1 - z) * h + z * q
        return h


class SeparableGRU(GRU):
    """A pass with 1 x 5 kernels, then one with 5 x 1."""

    PASSES = (("1", (1, 5)), ("2", (5, 1)))


class FlowHead(nn.Module):
    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(hidden, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(F.relu(self.conv1(x)))


class UpdateBlock(nn.Module):
    """One iteration: hidden state, correlation and flow to the new state, the step of the flow and the up-sampling mask."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.encoder = MotionEncoder(design)
        gru = SeparableGRU if design.separable else GRU
        self.gru = gru(design.hidden, design.context + design.motion + 2)
        self.flow_head = FlowHead(design.hidden, design.head)
        self.mask: nn.Sequential | None = None
        if design.mask:
            self.mask = nn.Sequential(
                nn.Conv2d(design.hidden, design.mask, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(design.mask, 9 * design.stride**2, 1),
            )

    def forward(
        self, hidden: torch.Tensor, context: torch.Tensor, correlation: torch.Tensor, flow: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        motion = self.encoder(flow, correlation)
        hidden = self.gru(hidden, torch.cat([context, motion], 1))
        return hidden, self.flow_head(hidden)


# ---- network -------------------------------------------------------------------------------------------------------


class Encoded(NamedTuple):
    """What the encoders make of one image: features, start of the hidden state, context."""

    features: torch.Tensor
    hidden: torch.Tensor
    context: torch.Tensor


class Flows(NamedTuple):
    """`low`: flow after the last iteration at the features' resolution and in their pixels; `full`: up-sampled flows in
    pixels, of every iteration or of the last alone."""

    low: torch.Tensor
    full: list[torch.Tensor]


MakeCorrelation = Callable[[torch.Tensor, torch.Tensor, int, int], Correlation]


class FlowNetwork(nn.Module):
    """RAFT as published: encoders, all-pairs correlation, recurrent updates, up-sampling.

    Attributes
    ----------
    frozen_norm : batch norm keeps its statistics while training (for small batches).
    """

    def __init__(self, design: Design = BASIC) -> None:
        super().__init__()
        self.design = design
        self.frozen_norm = False
        self.fnet = Encoder(design, design.features, "instance")
        self.cnet = Encoder(design, design.hidden + design.context, design.context_norm)
        self.update_block = UpdateBlock(design)

    def train(self, mode: bool = True) -> FlowNetwork:
        super().train(mode)
        if mode and self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        iterations: int = 12,
        start: torch.Tensor | None = None,
        last_only: bool = True,
        correlate: MakeCorrelation = FullVolume,
    ) -> Flows:
        """Flow from `first` to `second`; `start` is a flow to begin with, [B, 2, H/stride, W/stride] in its own pixels."""
        a, b = self.encode(first, context=True), self.encode(second, context=False)
        correlation = correlate(a.features, b.features, self.design.levels, self.design.radius)
        return self.refine(a, correlation, iterations, start, last_only)

    def both(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        iterations: int = 12,
        last_only: bool = True,
        correlate: MakeCorrelation = FullVolume,
    ) -> tuple[Flows, Flows]:
        """Flows first -> second and second -> first; encoders run once per image, the correlation is turned round."""
        pair = self.encode(torch.cat([first, second]), context=True)
        a, b = (Encoded(*values) for values in zip(*(value.chunk(2) for value in pair)))
        correlation = correlate(a.features, b.features, self.design.levels, self.design.radius)
        there = self.refine(a, correlation, iterations, None, last_only)
        return there, self.refine(b, correlation.turned(), iterations, None, last_only)

    def encode(self, image: torch.Tensor, context: bool) -> Encoded:
        """Run the encoders; without `context` only the features are made."""
        x = 2 * (image / 255) - 1
        features = self.fnet(x).float()
        if not context:
            nothing = features[:, :0]
            return Encoded(features, nothing, nothing)
        hidden, inp = self.cnet(x).split([self.design.hidden, self.design.context], 1)
        return Encoded(features, torch.tanh(hidden), F.relu(inp))

    def refine(
        self, image: Encoded, correlation: Correlation, iterations: int, start: torch.Tensor | None, last_only: bool
    ) -> Flows:
        """Update the flow `iterations` times from zero or from `start`."""
        hidden, context = image.hidden, image.context
        here = pixel_grid(image.features)
        there = here if start is None else here + start
        full: list[torch.Tensor] = []
        for number in range(1, iterations + 1):
            there = there.detach()
            hidden, step = self.update_block(hidden, context, correlation(there), there - here)
            there = there + step.float()
            if not last_only or number == iterations:
                full.append(self._up(there - here, hidden))
        return Flows(there - here, full)

    def _up(self, flow: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        stride = self.design.stride
        if self.update_block.mask is None:
            size = (flow.shape[2] * stride, flow.shape[3] * stride)
            return F.interpolate(stride * flow, size, mode="bilinear", align_corners=True)
        return convex_upsample(flow, 0.25 * self.update_block.mask(hidden).float(), stride)


def pixel_grid(like: torch.Tensor) -> torch.Tensor:
    """Return (x, y) of every pixel of `like` [B, C, h, w] as float32 [B, 2, h, w]."""
    y, x = torch.meshgrid(
        torch.arange(like.shape[2], device=like.device, dtype=torch.float32),
        torch.arange(like.shape[3], device=like.device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([x, y]).expand(len(like), 2, -1, -1)


def convex_upsample(flow: torch.Tensor, mask: torch.Tensor, stride: int) -> torch.Tensor:
    """Up-sample `flow` [B, 2, h, w] by `stride`: each fine pixel is a convex combination of the 3 x 3 coarse ones around it.

    `mask` is [B, 9 * stride^2, h, w]; outside the picture the coarse flow counts as zero (method card, section 2.5).
    """
    batch, _, h, w = flow.shape
    weights = mask.view(batch, 1, 9, stride, stride, h, w).softmax(2)
    around = F.unfold(stride * flow, 3, padding=1).view(batch, 2, 9, 1, 1, h, w)
    fine = (weights * around).sum(2)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, stride * h, stride * w)
