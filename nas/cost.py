"""What can be counted from the description alone: multiply-adds, parameters, weight bytes, peak memory. No torch.

Convention: MACs are the multiply-adds of convolutions and linear layers (squeeze-excite included), batch 1; parameters are the
trained ones (batch norm's scale and shift included). MobileNetV2 at 224 has 300.8 M MACs and 3.50 M parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.errors import InputError
from nas.metrics import UNITS, Metric
from nas.ops import Op, lower_block

__all__ = ["Cost", "count", "count_block", "count_ops", "count_rows"]

BYTES_PER_ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of a network or a block.

    Attributes:
        macs: multiply-adds.
        params: trained parameters.
        weight_bytes: weights as deployed: batch norm folded into a bias; int8 keeps biases and scales in 4 bytes each.
        peak_activation_bytes: the largest sum of tensors that are live at once while one operator runs, inputs and outputs included.
    """

    macs: int
    params: int
    weight_bytes: int
    peak_activation_bytes: int

    def metrics(self) -> dict[str, Metric]:
        """macs, params, size_bytes (weights) and peak_memory_bytes (weights and activations), source `counted`."""
        values = {
            "macs": self.macs,
            "params": self.params,
            "size_bytes": self.weight_bytes,
            "peak_memory_bytes": self.weight_bytes + self.peak_activation_bytes,
        }
        return {name: Metric(float(value), UNITS[name], "counted") for name, value in values.items()}


def _weight_bytes(op: Op, precision: str) -> int:
    if not op.weight_elements:
        return 0
    per_channel = 8 if precision == "int8" else BYTES_PER_ELEMENT[precision]
    return op.weight_elements * BYTES_PER_ELEMENT[precision] + op.out_chs * per_channel


def count_ops(ops: Sequence[Op], precision: str = "fp32") -> Cost:
    """Counts of operators that run one after another.

    Raises:
        InputError: for a precision that is not fp32, fp16, bf16 or int8.
    """
    if precision not in BYTES_PER_ELEMENT:
        raise InputError(f"precision must be one of {', '.join(BYTES_PER_ELEMENT)}, got {precision!r}")
    return Cost(
        macs=sum(op.macs for op in ops),
        params=sum(op.params for op in ops),
        weight_bytes=sum(_weight_bytes(op, precision) for op in ops),
        peak_activation_bytes=BYTES_PER_ELEMENT[precision]
        * max((op.in_elements + op.out_elements + op.held_elements for op in ops), default=0),
    )


def count_block(block: BlockSpec, precision: str = "fp32") -> Cost:
    """Counts of one block.

    Raises:
        InputError: for a precision that is not fp32, fp16, bf16 or int8.
    """
    return count_ops(lower_block(block), precision)


def count(blocks: Iterable[BlockSpec], precision: str = "fp32") -> Cost:
    """Counts of a network: sums, and the peak over its blocks."""
    costs = [count_block(block, precision) for block in blocks]
    return Cost(
        macs=sum(cost.macs for cost in costs),
        params=sum(cost.params for cost in costs),
        weight_bytes=sum(cost.weight_bytes for cost in costs),
        peak_activation_bytes=max((cost.peak_activation_bytes for cost in costs), default=0),
    )


@lru_cache(maxsize=64)
def _counts(blocks: tuple[BlockSpec, ...], precision: str) -> NDArray[np.float64]:
    """macs, params, weight bytes and peak activation bytes of each block, (blocks + 1, 4)."""
    costs = [count_block(block, precision) for block in blocks]
    # One row of zeros at the end: index -1 (no block) adds nothing.
    return np.array([[c.macs, c.params, c.weight_bytes, c.peak_activation_bytes] for c in costs] + [[0, 0, 0, 0]], dtype=np.float64)


def count_rows(blocks: Iterable[BlockSpec], block_index: NDArray[np.intp], precision: str = "fp32") -> dict[str, NDArray[np.float64]]:
    """Counts of many networks at once.

    Args:
        blocks: the different blocks of a space, `SearchSpace.blocks`.
        block_index: (n, positions), which block stands where, -1 for none: `SearchSpace.block_index(rows)`.
        precision: of the weights and activations.

    Returns:
        macs, params, size_bytes, peak_memory_bytes, each of shape (n,), the values of `Cost.metrics()`.
    """
    table = _counts(tuple(blocks), precision)
    macs, params, size = (table[:, column][block_index].sum(axis=1) for column in range(3))
    peak = table[:, 3][block_index].max(axis=1)
    return {"macs": macs, "params": params, "size_bytes": size, "peak_memory_bytes": size + peak}
