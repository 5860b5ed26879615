"""Quantisation-aware training: a network that rounds in its forward pass what an int8 runtime rounds, with gradients passed through.

Jacob et al. 2018 (arXiv:1712.05877, sections 3 and 3.1), with batch norm folded beforehand: weights symmetric and per channel, activations
per tensor and unsigned, their ranges an exponential average of the extremes of each batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nas.errors import TrainingError
from nas.models.blocks import LinearBlock, MBConvBlock, SqueezeExcite
from nas.models.folding import fold_batch_norm
from nas.models.network import Network

__all__ = ["FakeQuantNetwork", "frozen"]

WEIGHT_MAX = 127
"""Weights are symmetric: -127..127, zero point 0."""
LEVELS = 255
RANGE_DECAY = 0.99
"""Of the average of the extremes (the same reference, section 3.1)."""
SMALLEST_SCALE = 1e-8


class ActivationQuant(nn.Module):
    """Rounds activations to 256 levels of a range that holds 0. While `calibrating` it only widens its range to what it sees."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.calibrating = False

    def forward(self, x: Tensor) -> Tensor:
        if self.calibrating:
            self.low = torch.minimum(self.low, x.detach().amin())
            self.high = torch.maximum(self.high, x.detach().amax())
            return x
        if self.training:
            with torch.no_grad():
                self.low.lerp_(x.detach().amin().clamp(max=0), 1 - RANGE_DECAY)
                self.high.lerp_(x.detach().amax().clamp(min=0), 1 - RANGE_DECAY)
        scale, zero_point = self.grid()
        out: Tensor = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, LEVELS)
        return out

    def grid(self) -> tuple[float, int]:
        """Scale and zero point."""
        low, high = float(self.low), float(self.high)
        scale = max((high - low) / LEVELS, SMALLEST_SCALE)
        return scale, min(LEVELS, max(0, round(-low / scale)))


def weight_scale(weight: Tensor) -> Tensor:
    """(out_chs,): the largest magnitude of each output channel becomes 127."""
    return weight.detach().abs().flatten(1).amax(dim=1).clamp(min=SMALLEST_SCALE * WEIGHT_MAX) / WEIGHT_MAX


def _rounded(layer: QuantConv | QuantLinear) -> tuple[Tensor, Tensor | None]:
    """Weight as int8 and bias as int32 hold them, gradients passed through."""
    scale = weight_scale(layer.weight) if layer.scale is None else layer.scale
    zero = torch.zeros(len(layer.weight), dtype=torch.int32)
    weight: Tensor = torch.fake_quantize_per_channel_affine(layer.weight, scale, zero, 0, -WEIGHT_MAX - 1, WEIGHT_MAX)
    bias: Tensor | None = layer.bias
    if bias is None or layer.scale is not None:
        return weight, bias
    step = scale * layer.feeds[0].grid()[0]
    return weight, bias + ((bias / step).round() * step - bias).detach()


class QuantConv(nn.Conv2d):
    """A convolution with rounded weights and bias.

    Attributes:
        feeds: the quantiser whose output is the layer's input; in a tuple, so that it is no part of the layer.
        scale: of the weights where they are frozen for export, with biases rounded already; None while they may change.
    """

    feeds: tuple[ActivationQuant, ...] = ()
    scale: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, *_rounded(self), self.stride, self.padding, self.dilation, self.groups)


class QuantLinear(nn.Linear):
    """A fully connected layer with rounded weights and bias; its attributes are those of `QuantConv`."""

    feeds: tuple[ActivationQuant, ...] = ()
    scale: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, *_rounded(self))


class FakeQuantNetwork(Network):
    """A trained network with its batch norm folded, that computes what its int8 form will.

    Args:
        network: in eval mode.
        images: normalised training images (batch, in_chs, size, size): the ranges of activations begin with their extremes.

    Raises:
        TrainingError: no images.
    """

    def __init__(self, network: Network, images: Iterable[Tensor]) -> None:
        nn.Module.__init__(self)  # a network's own would draw weights
        self.blocks = network.blocks
        folded = copy.deepcopy(fold_batch_norm(network))
        for module in folded.modules():
            if isinstance(getattr(module, "inplace", None), bool):  # gradients need what was there
                module.inplace = False  # type: ignore[assignment]
        _rounding(folded)
        self.entry = ActivationQuant()
        self.body = folded.body
        self._wire()
        self._calibrate(images)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(self.entry(x))
        return out

    def _wire(self) -> None:
        """In the order of execution, which is that of the modules, the last quantiser before a layer feeds it."""
        last = self.entry
        for module in self.modules():
            if isinstance(module, ActivationQuant):
                last = module
            elif isinstance(module, QuantConv | QuantLinear):
                module.feeds = (last,)

    @torch.no_grad()
    def _calibrate(self, images: Iterable[Tensor]) -> None:
        quants = [module for module in self.modules() if isinstance(module, ActivationQuant)]
        for quant in quants:
            quant.calibrating = True
        seen = 0
        for batch in images:
            self.eval()(batch)
            seen += len(batch)
        for quant in quants:
            quant.calibrating = False
        if not seen:
            raise TrainingError("int8 needs images to calibrate with, and there are none: give some of the training set")


def _rounding(module: nn.Module) -> None:
    """Puts rounding where an int8 runtime has it: on weights, and on the output of every fused operator."""
    for name, child in list(module.named_children()):
        _rounding(child)
        made = child
        if isinstance(child, nn.Conv2d):
            made = _like(QuantConv.__new__(QuantConv), child)
        elif isinstance(child, nn.Linear):
            made = _like(QuantLinear.__new__(QuantLinear), child)
        elif isinstance(child, nn.AdaptiveAvgPool2d | nn.ReLU | nn.ReLU6):
            made = nn.Sequential(child, ActivationQuant())
        elif isinstance(child, nn.Hardswish | nn.SiLU | nn.Sigmoid | nn.Hardsigmoid):  # operators of their own in int8
            made = nn.Sequential(ActivationQuant(), child, ActivationQuant())
        elif isinstance(child, SqueezeExcite) or (isinstance(child, MBConvBlock) and child.residual):  # the product; the sum
            made = nn.Sequential(child, ActivationQuant())
        elif isinstance(child, nn.Identity) and (name == "bn3" or (name.startswith("act") and not isinstance(module, LinearBlock))):
            made = ActivationQuant()  # a projection, or a convolution without activation; logits stay as they are
        if made is not child:
            setattr(module, name, made)


def _like(made: nn.Module, layer: nn.Module) -> nn.Module:
    """A layer of another class with all that `layer` holds."""
    made.__dict__.update(copy.deepcopy(layer).__dict__)
    return made


def frozen(network: FakeQuantNetwork) -> FakeQuantNetwork:
    """A copy whose weight scales and rounded biases are constants, as an exporter needs them."""
    made = copy.deepcopy(network).eval()
    for module in made.modules():
        if isinstance(module, QuantConv | QuantLinear):
            scale, (_, bias) = weight_scale(module.weight), _rounded(module)
            if bias is not None:
                module.bias = nn.Parameter(bias.detach())
            module.scale = scale
    return made
