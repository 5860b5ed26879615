"""Costs counted from the description against networks that are really built: hooks, tensors and a liveness analysis of their own."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from nas.architecture import BlockSpec
from nas.cost import count, count_block, count_rows
from nas.errors import InputError
from nas.models.network import Network
from nas.space import SearchSpace, reference_blocks, reference_names, space_names
from tests.hardware.strategies import blocks as any_blocks
from tests.hardware.strategies import networks
from tests.spaces import rich_space, shipped, spaces

NETWORKS = [
    pytest.param(space.decode(arch), id=f"{space.name}-{number}")
    for space in (*map(shipped, space_names()), rich_space())
    for number, arch in enumerate((space.smallest, space.largest, space.sample(0), space.sample(1)))
] + [pytest.param(reference_blocks(name), id=name) for name in reference_names()]

conv_blocks = any_blocks().filter(lambda block: block.kind in ("conv", "mbconv"))


def build(blocks: Sequence[BlockSpec]) -> tuple[Network, Tensor]:
    """The network and an image, both without memory."""
    with torch.device("meta"):
        return Network(blocks).eval(), torch.empty(1, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size)


@pytest.mark.parametrize("blocks", NETWORKS)
def test_counts_are_those_of_the_built_network(blocks: tuple[BlockSpec, ...]) -> None:
    network, image = build(blocks)
    macs = 0

    def hook(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            macs += out.numel() * height * width * layer.in_channels // layer.groups
        elif isinstance(layer, nn.Linear):
            macs += layer.in_features * layer.out_features

    for layer in network.modules():
        layer.register_forward_hook(hook)
    assert network(image).shape == (1, blocks[-1].out_chs)
    cost = count(blocks)
    assert cost.macs == macs
    assert cost.params == sum(parameter.numel() for parameter in network.parameters())
    # As deployed, batch norm is folded: each convolution and linear layer has weights and one bias a channel.
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    weights, channels = sum(layer.weight.numel() for layer in layers), sum(layer.weight.shape[0] for layer in layers)
    assert cost.weight_bytes == 4 * (weights + channels)
    assert count(blocks, "fp16").weight_bytes == count(blocks, "bf16").weight_bytes == 2 * (weights + channels)
    assert count(blocks, "int8").weight_bytes == weights + channels * (4 + 4)  # a bias and a scale


def peak_elements(network: Network, image: Tensor) -> int:
    """Largest sum of live tensors, from the graph that torch traces: batch norm and activations in place, views free."""
    graph = fx.symbolic_trace(network).graph
    shapes: dict[fx.Node, int] = {}
    owner: dict[fx.Node, fx.Node] = {}  # whose memory a node's value lies in

    class Shapes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                shapes[n] = value.numel()
            return value

    module = fx.GraphModule(network, graph)
    Shapes(module).run(image)
    free = (nn.BatchNorm2d, nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Sigmoid, nn.Hardsigmoid)
    order = [node for node in graph.nodes if node in shapes and node.op != "output"]
    first, last = {}, {}  # place in the order at which memory is taken, and that of its last use
    for place, node in enumerate(order):
        is_view = node.target in (torch.flatten, "view", "transpose")
        in_place = node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), free)
        owner[node] = owner[node.args[0]] if is_view or in_place else node
        first.setdefault(owner[node], place)
        last.update({owner[source]: place for source in node.all_input_nodes if source in owner} | {owner[node]: place})
    taken = [place for node, place in first.items() if node.op != "placeholder"]
    return max(sum(shapes[node] for node in first if first[node] <= place <= last[node]) for place in taken)


@settings(deadline=None, max_examples=60)
@given(conv_blocks)
def test_peak_memory_of_a_block_is_that_of_its_traced_graph(block: BlockSpec) -> None:
    cost = count_block(block)
    assert cost.peak_activation_bytes == 4 * peak_elements(*build([block]))
    assert count_block(block, "int8").peak_activation_bytes * 4 == cost.peak_activation_bytes


@pytest.mark.parametrize("name", space_names())
def test_peak_memory_of_a_network_is_that_of_its_traced_graph(name: str) -> None:
    blocks = shipped(name).decode(shipped(name).sample(0))
    cost = count(blocks)
    assert cost.peak_activation_bytes == 4 * peak_elements(*build(blocks))
    assert cost.metrics()["peak_memory_bytes"].value == cost.weight_bytes + cost.peak_activation_bytes


def test_peak_memory_by_hand() -> None:
    block = BlockSpec("b", "mbconv", 16, 16, 8, 3, 1, "relu", mid_chs=48, expand=True, residual=True)
    # While the depthwise convolution runs: its input, its output, and the block's input for the residual.
    assert count_block(block).peak_activation_bytes == 4 * 64 * (48 + 48 + 16)
    without = BlockSpec("b", "mbconv", 16, 24, 8, 3, 2, "relu", mid_chs=48, expand=True)
    # While the expansion runs: 16 + 48 channels of 8 x 8. The depthwise convolution has less: 48 of 8 x 8 and 48 of 4 x 4.
    assert count_block(without).peak_activation_bytes == 4 * 64 * (16 + 48)
    scaled = BlockSpec("b", "mbconv", 16, 16, 8, 3, 1, "relu", mid_chs=48, expand=True, se_chs=8, residual=True)
    # While the excitation scales: what is scaled, what comes out, the scales, and the block's input.
    assert count_block(scaled).peak_activation_bytes == 4 * (64 * (48 + 48 + 16) + 48)
    stem = BlockSpec("stem", "conv", 3, 16, 32, 3, 2, "relu")
    assert count([stem, scaled]).peak_activation_bytes == 4 * max(3 * 1024 + 16 * 256, 64 * 112 + 48)


@settings(deadline=None, max_examples=25)
@given(spaces(), st.integers(0, 2**32 - 1), st.sampled_from(["fp32", "fp16", "int8"]))
def test_rows_agree_with_single_networks(space: SearchSpace, seed: int, precision: str) -> None:
    rows = space.sample_rows(10, seed)
    found = count_rows(space.blocks, space.block_index(rows), precision)
    for number, arch in enumerate(space.decode_rows(rows)):
        expected = count(space.decode(arch), precision).metrics()
        assert {name: values[number] for name, values in found.items()} == {name: metric.value for name, metric in expected.items()}


@pytest.mark.parametrize("name", space_names())
def test_rows_of_shipped_spaces_agree_too(name: str) -> None:
    space = shipped(name)
    rows = np.concatenate([space.sample_rows(20, 0), space.encode([space.smallest, space.largest])])
    found = count_rows(space.blocks, space.block_index(rows))
    for number, arch in enumerate(space.decode_rows(rows)):
        for metric, value in count(space.decode(arch)).metrics().items():
            assert found[metric][number] == value.value


@given(networks)
def test_networks_are_sums_of_blocks(network: tuple[BlockSpec, ...]) -> None:
    costs = [count_block(block) for block in network]
    total = count(network)
    for name in ("macs", "params", "weight_bytes"):
        assert getattr(total, name) == sum(map(operator.attrgetter(name), costs))
    assert total.peak_activation_bytes == max(cost.peak_activation_bytes for cost in costs)
    assert all(metric.source == "counted" and math.isfinite(metric.value) for metric in total.metrics().values())


def test_a_precision_that_is_unknown_is_refused() -> None:
    with pytest.raises(InputError, match=r"precision must be one of fp32, .*, got 'fp64'"):
        count(reference_blocks("mobilenet_v2"), "fp64")
