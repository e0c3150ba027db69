"""The patch networks: DLA-34 with iterative deep aggregation (published names and size) and a small U-Net.

Both take RGB in [0, 1] without normalisation, float32 [B, 3, H, W], and give one logit per pixel, [B, 1, H, W].
`coarse` gives the logits before the last nearest upsampling ([B, 1, H/stride, W/stride]): all that a heat map needs.
Structure: Yu et al., "Deep Layer Aggregation" (CVPR 2018), as the authors of arXiv 2107.00934 configured it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from .settings import HybridRecipe

CHANNELS = (16, 32, 64, 128, 256, 512)


def conv_block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; a kernel of 1 has no padding."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual, which the caller may give."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + residual, inplace=True)


class Root(nn.Module):
    """Joins the children of a tree with a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, *children: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(torch.cat(children, 1))), inplace=True)


def _project(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class Tree(nn.Module):
    """Tree of one level: two blocks and a root, which may take extra children."""

    def __init__(self, inputs: int, outputs: int, stride: int, extra: int = 0, level_root: bool = False) -> None:
        super().__init__()
        self.tree1 = BasicBlock(inputs, outputs, stride)
        self.tree2 = BasicBlock(outputs, outputs)
        self.root = Root(2 * outputs + extra + (inputs if level_root else 0), outputs)
        self.pool = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        self.project = _project(inputs, outputs) if inputs != outputs else nn.Identity()
        self.level_root = level_root

    def forward(self, x: Tensor, *children: Tensor) -> Tensor:
        bottom = self.pool(x)
        if self.level_root:
            children = (*children, bottom)
        x1 = self.tree1(x, self.project(bottom))
        x2 = self.tree2(x1, x1)
        return self.root(x2, x1, *children)


class DoubleTree(nn.Module):
    """Tree of two levels with level root: a tree, and a second one whose root also sees its input and the first.

    The published network holds one more projection here, which is computed and thrown away; it is left out.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.tree1 = Tree(inputs, outputs, stride)
        self.tree2 = Tree(outputs, outputs, 1, extra=inputs + outputs)
        self.pool = nn.MaxPool2d(stride)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.tree1(x)
        return self.tree2(x1, self.pool(x), x1)


class DLA34(nn.Module):
    """The backbone. Returns the maps of levels 0..5: 16, 32, 64, 128, 256, 512 channels at 1/1 ... 1/32."""

    channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        c = CHANNELS
        self.base_layer = conv_block(3, c[0], 7)
        self.level0 = conv_block(c[0], c[0])
        self.level1 = conv_block(c[0], c[1], stride=2)
        self.level2 = Tree(c[1], c[2], 2)
        self.level3 = DoubleTree(c[2], c[3], 2)
        self.level4 = DoubleTree(c[3], c[4], 2)
        self.level5 = Tree(c[4], c[5], 2, level_root=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.base_layer(x)
        levels = []
        for index in range(6):
            x = getattr(self, f"level{index}")(x)
            levels.append(x)
        return levels


class IDA(nn.Module):
    """Aggregation node: brings all maps but the first to its width and resolution and folds them, left to right."""

    def __init__(self, width: int, inputs: list[int]) -> None:
        super().__init__()
        self.count = len(inputs)
        for i, channels in enumerate(inputs[1:], 1):
            self.add_module(f"proj_{i}", conv_block(channels, width, 1))
            self.add_module(f"up_{i}", nn.ConvTranspose2d(width, width, 4, 2, 1, groups=width, bias=False))
            self.add_module(f"node_{i}", conv_block(2 * width, width))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        x, results = maps[0], []
        for i in range(1, self.count):
            raised = self.get_submodule(f"up_{i}")(self.get_submodule(f"proj_{i}")(maps[i]))
            x = self.get_submodule(f"node_{i}")(torch.cat([x, raised], 1))
            results.append(x)
        return results


class Aggregation(nn.Module):
    """Four nodes over levels 1..5; gives 32 channels at half the input's resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.ida_0 = IDA(256, [256, 512])
        self.ida_1 = IDA(128, [128, 256, 256])
        self.ida_2 = IDA(64, [64, 128, 128, 128])
        self.ida_3 = IDA(32, [32, 64, 64, 64, 64])

    def forward(self, levels: list[Tensor]) -> Tensor:
        pyramid = list(levels)
        for index in range(4):
            # each node folds the last maps into the one before them; its results take their places
            pyramid[-index - 1 :] = getattr(self, f"ida_{index}")(pyramid[-index - 2 :])
        return pyramid[-1]


class DLA34Up(nn.Module):
    """The published patch network, 17.54 M weights. Sides must be multiples of 32."""

    stride = 2
    multiple = 32
    feature_channels = CHANNELS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.base = DLA34()
        self.dla_up = Aggregation()
        self.fc = nn.Sequential(nn.Conv2d(32, 1, 1), nn.Upsample(scale_factor=2, mode="nearest"))
        initialise(self)
        for module in self.dla_up.modules():
            if isinstance(module, nn.ConvTranspose2d):
                line = torch.tensor([0.25, 0.75, 0.75, 0.25])
                module.weight.data.copy_(torch.outer(line, line).expand_as(module.weight))
        nn.init.xavier_normal_(self.fc[0].weight)  # type: ignore[arg-type]

    @property
    def encoder(self) -> nn.Module:
        return self.base

    def coarse(self, x: Tensor) -> Tensor:
        """Logits at half resolution, [B, 1, H/2, W/2]."""
        return self.fc[0](self.dla_up(self.base(x)[1:]))

    def features(self, x: Tensor) -> Tensor:
        """Deepest backbone map, [B, 512, H/32, W/32]."""
        return self.base(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc[1](self.coarse(x))


class Contracting(nn.Module):
    """Left side of the small U-Net; returns the maps of its three scales."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width)
        self.down_0 = nn.Sequential(conv_block(3, width), conv_block(width, width))
        self.down_1 = nn.Sequential(conv_block(width, 2 * width), conv_block(2 * width, 2 * width))
        self.down_2 = nn.Sequential(conv_block(2 * width, 4 * width), conv_block(4 * width, 4 * width))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.down_0(x)]
        maps.append(self.down_1(F.max_pool2d(maps[-1], 2)))
        maps.append(self.down_2(F.max_pool2d(maps[-1], 2)))
        return maps


class UNet(nn.Module):
    """Small network of three scales for quick runs and the small-scale proof. Sides must be multiples of 4."""

    stride = 1
    multiple = 4

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.feature_channels = 4 * width
        self.base = Contracting(width)
        self.up_1 = nn.Sequential(conv_block(6 * width, 2 * width), conv_block(2 * width, 2 * width))
        self.up_0 = nn.Sequential(conv_block(3 * width, width), conv_block(width, width))
        self.fc = nn.Conv2d(width, 1, 1)
        initialise(self)
        nn.init.xavier_normal_(self.fc.weight)

    @property
    def encoder(self) -> nn.Module:
        return self.base

    def features(self, x: Tensor) -> Tensor:
        """Deepest map, [B, 4 * width, H/4, W/4]."""
        return self.base(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        fine, middle, deep = self.base(x)
        x = self.up_1(torch.cat([middle, F.interpolate(deep, scale_factor=2.0)], 1))
        x = self.up_0(torch.cat([fine, F.interpolate(x, scale_factor=2.0)], 1))
        return self.fc(x)

    coarse = forward


PatchNetwork = DLA34Up | UNet
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def initialise(module: nn.Module) -> None:
    """Convolutions normal with std sqrt(2 / (k * k * out)), batch norm 1 and 0, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(
                part.weight, 0, math.sqrt(2 / (part.kernel_size[0] * part.kernel_size[1] * part.out_channels))
            )
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


class Ensemble(nn.Module):
    """Several patch networks as one for heat maps: the logit of the mean of their probabilities (method card, section 4.3).

    All have the `stride` of the first; the networks may differ in width.
    """

    def __init__(self, networks: Sequence[PatchNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.stride = networks[0].stride

    def coarse(self, x: Tensor) -> Tensor:
        """Logits, [B, 1, H/stride, W/stride]."""
        maps = [torch.sigmoid(cast(PatchNetwork, network).coarse(x).float()) for network in self.networks]
        return torch.logit(torch.stack(maps).mean(0), eps=1e-7)


def build(recipe: HybridRecipe) -> PatchNetwork:
    """Return the patch network that the recipe names, freshly initialised from torch's random state."""
    return DLA34Up() if recipe.network == "dla34" else UNet(recipe.width)


def for_inference(model: AnyNetwork, device: str | torch.device = "cpu") -> AnyNetwork:
    """Return a frozen copy in evaluation mode whose batch norms are folded into the convolutions before them.

    The same function up to float rounding; on a CPU a quarter less time. `model` stays as it is.
    """
    frozen = copy.deepcopy(model).eval()
    for part in list(frozen.modules()):
        pairs: list[tuple[str, str]] = []
        if isinstance(part, nn.Sequential):
            pairs = [(str(i), str(i + 1)) for i in range(len(part) - 1)]
        elif isinstance(part, BasicBlock):
            pairs = [("conv1", "bn1"), ("conv2", "bn2")]
        elif isinstance(part, Root):
            pairs = [("conv", "bn")]
        for first, second in pairs:
            conv, norm = part.get_submodule(first), part.get_submodule(second)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, first, fuse_conv_bn_eval(conv, norm))
                setattr(part, second, nn.Identity())
    frozen.requires_grad_(False)
    return frozen.to(device)
