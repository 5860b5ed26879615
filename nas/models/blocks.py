"""One plain module for each kind of `BlockSpec`. Inputs and outputs: (batch, chs, size, size); after pooling (batch, chs)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from nas.architecture import BlockSpec

__all__ = ["activate_in_place", "build_block"]

ACTIVATION_MODULES: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        "none": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "hardswish": nn.Hardswish,
        "silu": nn.SiLU,
        "sigmoid": nn.Sigmoid,
        "hardsigmoid": nn.Hardsigmoid,
    }
)


class ConvBlock(nn.Module):
    """Convolution, batch norm, activation."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            spec.in_chs, spec.out_chs, spec.kernel_size, spec.stride, spec.kernel_size // 2, groups=spec.groups, bias=False
        )  # fmt: skip
        self.bn = nn.BatchNorm2d(spec.out_chs)
        self.act = ACTIVATION_MODULES[spec.act]()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, arXiv:1709.01507). AdaptiveAvgPool and not a mean: it exports to GlobalAveragePool."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv_reduce = nn.Conv2d(spec.mid_chs, spec.se_chs, 1)
        self.act = ACTIVATION_MODULES[spec.se_act]()
        self.conv_expand = nn.Conv2d(spec.se_chs, spec.mid_chs, 1)
        self.gate = ACTIVATION_MODULES[spec.se_gate]()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.conv_expand(self.act(self.conv_reduce(self.pool(x))))  # (batch, mid_chs, 1, 1)
        out: Tensor = x * self.gate(scale)
        return out


class MBConvBlock(nn.Module):
    """Inverted residual (Sandler et al. 2018, arXiv:1801.04381), with squeeze-excite and grouped 1x1 where the spec says so."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.groups = spec.groups
        self.residual = spec.residual
        self.expand = spec.expand
        mid_chs, kernel_size = spec.mid_chs, spec.kernel_size
        if spec.expand:
            self.conv_pw = nn.Conv2d(spec.in_chs, mid_chs, 1, groups=spec.groups, bias=False)
            self.bn1 = nn.BatchNorm2d(mid_chs)
            self.act1 = ACTIVATION_MODULES[spec.act]()
        self.conv_dw = nn.Conv2d(mid_chs, mid_chs, kernel_size, spec.stride, kernel_size // 2, groups=mid_chs, bias=False)
        self.bn2 = nn.BatchNorm2d(mid_chs)
        self.act2 = ACTIVATION_MODULES[spec.act]()
        self.se = SqueezeExcite(spec) if spec.se_chs else nn.Identity()
        self.conv_pwl = nn.Conv2d(mid_chs, spec.out_chs, 1, groups=spec.groups, bias=False)
        self.bn3 = nn.BatchNorm2d(spec.out_chs)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """`keep`, (batch, 1, 1, 1), is what the residual branch is multiplied by: 0 drops it for an image (Huang et al. 2016,
        arXiv:1603.09382). Blocks without a residual have nothing to drop.
        """
        shortcut = x
        if self.expand:
            x = self.act1(self.bn1(self.conv_pw(x)))  # (batch, mid_chs, size, size)
            if self.groups > 1:
                x = _shuffle(x, self.groups)
        x = self.se(self.act2(self.bn2(self.conv_dw(x))))  # (batch, mid_chs, out_size, out_size)
        x = self.bn3(self.conv_pwl(x))  # (batch, out_chs, out_size, out_size)
        if not self.residual:
            return x
        return x + shortcut if keep is None else x * keep + shortcut


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle (Zhang et al. 2018, arXiv:1707.01083): the next grouped convolution sees every group."""
    batch, chs, height, width = x.shape
    return x.view(batch, groups, chs // groups, height, width).transpose(1, 2).reshape(batch, chs, height, width)


class PoolBlock(nn.Module):
    """Global average pooling to (batch, chs)."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.pool(x), 1)


class LinearBlock(nn.Module):
    """Fully connected layer, activation."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.in_chs, spec.out_chs)
        self.act = ACTIVATION_MODULES[spec.act]()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.linear(x))
        return out


def build_block(spec: BlockSpec) -> nn.Module:
    """The module of one block, weights drawn by He et al. 2015 (arXiv:1502.01852), fan out, from torch's global generator."""
    module: nn.Module
    match spec.kind:
        case "conv":
            module = ConvBlock(spec)
        case "mbconv":
            module = MBConvBlock(spec)
        case "pool":
            module = PoolBlock()
        case "linear":
            module = LinearBlock(spec)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
    return module


def activate_in_place(network: nn.Module) -> None:
    """Lets activations overwrite what they read: without gradients nobody else reads it, and it is several times as fast."""
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardswish | nn.SiLU | nn.Hardsigmoid):
            module.inplace = True
