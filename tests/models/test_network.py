"""Networks built from blocks, and statistics of batch norm measured on them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from nas.architecture import BlockSpec
from nas.errors import TrainingError
from nas.models.blocks import build_block
from nas.models.network import Network, recalibrate
from tests.hardware.strategies import blocks
from tests.spaces import rich_space

SPACE = rich_space()


def build(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(SPACE.decode(SPACE.sample(seed)))


def batches(*counts: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 1, 8, 8, generator=generator) * (1 + number) + number for number, count in enumerate(counts)]


@settings(deadline=None, max_examples=40)
@given(blocks())
def test_shapes_are_those_of_the_description(block: BlockSpec) -> None:
    with torch.device("meta"):
        module = build_block(block).eval()
        shape = (2, block.in_chs) if block.kind == "linear" else (2, block.in_chs, block.in_size, block.in_size)
        out = module(torch.empty(shape))
    assert out.shape == ((2, block.out_chs) if block.kind in ("pool", "linear") else (2, block.out_chs, block.out_size, block.out_size))


def test_modules_have_the_names_of_their_blocks() -> None:
    network = build()
    assert [name for name, _ in network.body.named_children()] == [block.name.replace(".", "_") for block in network.blocks]
    assert network(batches(2)[0]).shape == (2, 10)


def test_a_residual_adds_the_input() -> None:
    block = BlockSpec("s1.b1", "mbconv", 8, 8, 4, 3, 1, "relu", mid_chs=16, expand=True, residual=True)
    module = build_block(block).eval()
    assert isinstance(module.bn3, nn.BatchNorm2d)
    nn.init.zeros_(module.bn3.weight)
    image = torch.randn(1, 8, 4, 4)
    assert torch.equal(module(image), image)


def test_channels_are_shuffled_between_groups() -> None:
    """Each output depends on each input channel, which two grouped convolutions alone would not give."""
    block = BlockSpec("s1.b1", "mbconv", 8, 8, 4, 3, 1, "none", mid_chs=16, expand=True, groups=2)
    module = build_block(block).eval()
    image = torch.randn(1, 8, 4, 4, requires_grad=True)
    for channel in range(8):
        (grad,) = torch.autograd.grad(module(image)[0, channel].sum(), image)
        assert bool((grad.abs().sum(dim=(0, 2, 3)) > 0).all())


def test_convolutions_are_drawn_with_the_variance_of_he() -> None:
    torch.manual_seed(0)
    conv = build_block(BlockSpec("stem", "conv", 64, 128, 8, 3, 1, "relu")).conv
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)


def test_recalibration_gives_exact_cumulative_statistics() -> None:
    network = build()
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert len(layers) > 3
    for layer in layers.values():
        nn.init.constant_(layer.running_mean, 99.0)  # type: ignore[arg-type]
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    hooks = [layer.register_forward_pre_hook(lambda _, x, name=name: seen[name].append(x[0].double())) for name, layer in layers.items()]
    images = batches(5, 3, 4)
    recalibrate(network, iter(images))
    for hook in hooks:
        hook.remove()
    assert not network.training
    for name, layer in layers.items():
        assert layer.momentum == 0.1
        assert len(seen[name]) == 3
        mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen[name]]).mean(dim=0)
        var = torch.stack([x.var(dim=(0, 2, 3), unbiased=True) for x in seen[name]]).mean(dim=0)
        torch.testing.assert_close(layer.running_mean, mean.float(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(layer.running_var, var.float(), rtol=1e-5, atol=1e-5)


def test_recalibration_changes_no_weight_and_repeats() -> None:
    network = build()
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    recalibrate(network, batches(4, 4))
    once = network(batches(3)[0])
    recalibrate(network, batches(4, 4))
    assert torch.equal(network(batches(3)[0]), once)
    assert all(torch.equal(before[name], parameter) for name, parameter in network.named_parameters())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_recalibration_without_images_is_refused() -> None:
    with pytest.raises(TrainingError, match="without images"):
        recalibrate(build(), [])


def test_weights_that_diverged_are_refused() -> None:
    network = build()
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match="diverged"):
        recalibrate(network, batches(4))
