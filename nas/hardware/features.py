"""Physical features of a block or a network: what a latency model may count. Every feature is additive over operators and blocks.

A network's vector is the sum over its blocks, and 1 for the constant. Latency is then `features @ coefficients`, seconds, with
coefficients in seconds per unit (a multiply-add, a byte, an operator, an element).

No term for cache spills: fitted on tensors of at most .6 MB it looks best in the table and is wrong by 1.6-2.1x at 224 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.ops import Op, lower_block

__all__ = ["FAMILIES", "FEATURES", "block_features", "network_features", "op_features", "op_shape"]

FEATURES: tuple[str, ...] = (
    # Multiply-adds, channels padded to the vector width.
    "macs_stem",  # dense convolutions wider than 1x1
    "macs_pointwise",
    "macs_grouped",  # 1x1 with groups
    "macs_depthwise3",
    "macs_depthwise5",
    "macs_depthwise7",  # 7x7 and wider
    "macs_se",
    "macs_linear",
    # Bytes of activations read and written, fp32.
    "bytes_stem",
    "bytes_pointwise",
    "bytes_grouped",
    "bytes_depthwise",
    "bytes_shuffle",  # and of what else jumps through memory: transpositions, resizing
    "bytes_add",  # and of other element-wise operators and copies
    "bytes_pool",
    "bytes_scale",  # squeeze-excite's multiplication
    "bytes_weights",  # of every convolution and linear layer
    # Operators.
    "count_conv",
    "count_depthwise",
    "count_shuffle",
    "count_add",
    "count_se",  # pool, two 1x1 on a vector, multiplication: 4 a squeeze-excite
    "count_head",  # pools and linear layers
    # Elements that pass an activation: all of them, and what dearer ones cost on top of a relu.
    "elements_act",
    "elements_hardswish",
    "elements_silu",
    "constant",
)
"""Names of the features, in the order of every vector and coefficient."""

FAMILIES: tuple[str, ...] = tuple(name.split("_")[0] for name in FEATURES)
"""What bounds each feature, in the order of `FEATURES`: "macs" the multipliers, "bytes" memory, "count" dispatch, "elements" the vector
units, "constant". Chip facts tell the ratios inside a family better than those between families, which are the runtime's."""

_INDEX = {name: index for index, name in enumerate(FEATURES)}
_BYTES = 4  # an fp32 element
# Kernels of NEON and AVX2 work on 8 output channels at a time (two registers of 4, one of 8).
_VECTOR_CHANNELS = 8
_EXTRA_ACT = {"hardswish": "elements_hardswish", "hardsigmoid": "elements_hardswish", "silu": "elements_silu", "sigmoid": "elements_silu"}


def _padded(chs: int) -> int:
    return -(-chs // _VECTOR_CHANNELS) * _VECTOR_CHANNELS


def _padded_macs(op: Op) -> int:
    """Multiply-adds with output channels padded to the vector width: per group, or over all channels of a depthwise one."""
    out_chs = _padded(op.out_chs) if op.is_depthwise else op.groups * _padded(op.out_chs // op.groups)
    return op.kernel_pixels * (op.in_chs // op.groups) * out_chs * op.out_pixels


def _conv_kind(op: Op) -> str:
    if op.is_depthwise:
        return "depthwise"
    if op.groups > 1:
        return "grouped"
    return "pointwise" if op.kernel_pixels == 1 else "stem"


def _amounts(op: Op) -> Iterable[tuple[str, int]]:
    moved = _BYTES * (op.in_elements + op.out_elements)
    yield "bytes_weights", _BYTES * op.weight_elements
    if op.act != "none":
        yield "elements_act", op.out_elements
        if op.act in _EXTRA_ACT:
            yield _EXTRA_ACT[op.act], op.out_elements
    if op.kind in ("shuffle", "resize"):
        yield from (("bytes_shuffle", moved), ("count_shuffle", 1))
    elif op.kind == "add":
        # Two tensors read, one written.
        yield from (("bytes_add", moved + _BYTES * op.in_elements), ("count_add", 1))
    elif op.kind in ("copy", "elementwise"):
        yield from (("bytes_add", moved), ("count_add", 1))
    elif op.kind == "mul":
        yield from (("bytes_scale", moved), ("count_se", 1))
    elif op.kind == "pool":
        read = max(op.in_elements, op.out_elements * op.kernel_pixels)  # windows that overlap read more than once
        yield from (("bytes_pool", _BYTES * (read + op.out_elements)), ("count_se" if op.role == "se" else "count_head", 1))
    elif op.kind == "linear":
        yield from (("macs_linear", op.macs), ("count_head", 1))
    elif op.role == "se":
        yield from (("macs_se", op.macs), ("count_se", 1))
    else:
        kind = _conv_kind(op)
        widest = max(op.kernel_size, op.kernel_width)
        size = ("3" if widest <= 3 else "5" if widest <= 5 else "7") if kind == "depthwise" else ""
        yield f"macs_{kind}{size}", _padded_macs(op)
        yield f"bytes_{kind}", moved
        yield "count_depthwise" if kind == "depthwise" else "count_conv", 1


def op_features(op: Op) -> NDArray[np.float64]:
    """Features of one operator, shape (n_features,); the constant is 0."""
    vector = np.zeros(len(FEATURES))
    for name, amount in _amounts(op):
        vector[_INDEX[name]] += amount
    return vector


def block_features(block: BlockSpec) -> NDArray[np.float64]:
    """Features of one block, shape (n_features,): the sum over its operators."""
    vector = np.zeros(len(FEATURES))
    for op in lower_block(block):
        for name, amount in _amounts(op):
            vector[_INDEX[name]] += amount
    return vector


def network_features(blocks: Iterable[BlockSpec]) -> NDArray[np.float64]:
    """Features of a network, shape (n_features,): the sum over its blocks, and 1 for the constant."""
    vector = np.zeros(len(FEATURES))
    for block in blocks:
        vector += block_features(block)
    vector[_INDEX["constant"]] = 1.0
    return vector


def op_shape(op: Op) -> dict[str, int]:
    """What decides whether an operator is like those that were measured: its sizes, by kind ("depthwise.in_size"); of height and width
    the larger.

    Of a linear layer its multiply-adds, which are its weights. Empty where cost is bytes or dispatch at any size, and for the operators of
    a squeeze-excite, which work on vectors.
    """
    if op.role == "se" or op.kind not in ("conv", "linear"):
        return {}
    if op.kind == "linear":
        return {"linear.macs": op.macs}
    size, kernel_size = max(op.in_size, op.in_width), max(op.kernel_size, op.kernel_width)
    sizes = {"in_size": size, "in_chs": op.in_chs, "out_chs": op.out_chs, "kernel_size": kernel_size}
    return {f"{_conv_kind(op)}.{name}": value for name, value in sizes.items()}
