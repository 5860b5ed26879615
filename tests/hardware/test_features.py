from __future__ import annotations

import numpy as np
from hypothesis import given

from nas.architecture import BlockSpec
from nas.hardware.features import FEATURES, block_features, network_features, op_shape
from nas.ops import Op, lower_block
from tests.hardware.strategies import blocks, networks


def value(vector: np.ndarray, name: str) -> float:
    return float(vector[FEATURES.index(name)])


@given(networks)
def test_a_network_is_the_sum_of_its_blocks_and_a_constant(network: tuple[BlockSpec, ...]) -> None:
    total = sum((block_features(block) for block in network), np.zeros(len(FEATURES)))
    assert value(total, "constant") == 0
    total[FEATURES.index("constant")] = 1
    np.testing.assert_array_equal(network_features(network), total)


@given(blocks())
def test_features_are_counts(block: BlockSpec) -> None:
    vector = block_features(block)
    assert (vector >= 0).all()
    assert vector.any()
    counts = sum(value(vector, name) for name in FEATURES if name.startswith("count_"))
    assert counts == len(lower_block(block))
    # Channels are multiples of 8 and groups keep that but for halves: padding may only add.
    assert sum(value(vector, name) for name in FEATURES if name.startswith("macs_")) >= sum(op.macs for op in lower_block(block))


def test_kinds_go_to_their_own_features() -> None:
    block = BlockSpec("b", "mbconv", 16, 16, 8, 5, 1, "hardswish", mid_chs=48, expand=True, se_chs=8, residual=True)
    vector = block_features(block)
    assert value(vector, "macs_pointwise") == 2 * 16 * 48 * 64
    assert value(vector, "macs_depthwise5") == 25 * 48 * 64
    assert value(vector, "macs_depthwise3") == value(vector, "macs_depthwise7") == 0
    assert value(vector, "macs_se") == 2 * 48 * 8
    assert value(vector, "bytes_add") == 4 * 3 * 16 * 64
    assert value(vector, "bytes_weights") == 4 * (2 * 16 * 48 + 25 * 48 + 2 * 48 * 8)
    assert value(vector, "count_se") == 4
    # Two activations of the expansion's size, one of the bottleneck (relu), one gate.
    assert value(vector, "elements_act") == 2 * 48 * 64 + 8 + 48
    assert value(vector, "elements_hardswish") == 2 * 48 * 64 + 48


def test_channels_are_padded_to_the_vector_width() -> None:
    narrow, padded = (block_features(BlockSpec("stem", "conv", 3, out_chs, 32, 3, 2, "relu")) for out_chs in (9, 16))
    assert value(narrow, "macs_stem") == value(padded, "macs_stem")
    assert value(narrow, "bytes_stem") < value(padded, "bytes_stem")


def test_grouped_blocks_shuffle() -> None:
    vector = block_features(BlockSpec("b", "mbconv", 16, 16, 8, 3, 1, "relu", mid_chs=16, expand=True, groups=2))
    assert value(vector, "macs_grouped") == 2 * 16 * 8 * 64
    assert value(vector, "macs_pointwise") == 0
    assert value(vector, "count_shuffle") == 1


def test_shapes_name_the_kind() -> None:
    (stem,) = lower_block(BlockSpec("stem", "conv", 3, 16, 32, 3, 2))
    assert op_shape(stem) == {"stem.in_size": 32, "stem.in_chs": 3, "stem.out_chs": 16, "stem.kernel_size": 3}
    expand, depthwise, *se, project = lower_block(BlockSpec("b", "mbconv", 16, 24, 8, 5, 2, "relu", mid_chs=48, expand=True, se_chs=8))
    assert op_shape(expand) == {"pointwise.in_size": 8, "pointwise.in_chs": 16, "pointwise.out_chs": 48, "pointwise.kernel_size": 1}
    assert op_shape(depthwise)["depthwise.kernel_size"] == 5
    assert op_shape(project)["pointwise.in_size"] == 4
    assert not any(op_shape(op) for op in se)
    assert op_shape(Op("pool", 16, 16, 4, 1)) == {}
