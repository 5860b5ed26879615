"""NAS-Bench-201 networks as operators: the features that the product's predictors are fitted on, from the architecture alone.

The network (Dong & Yang 2020, arXiv:2001.00326): a stem of 16 channels at 32 pixels; three stages of five cells with 16, 32 and 64
channels at 32, 16 and 8 pixels; a residual block of stride 2 between stages; global pool and a linear layer. An edge's convolution is
relu, convolution, batch norm: the relu stays an operator of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.bench.nasbench import EDGES, OPS, live
from nas.hardware.features import FEATURES, op_features
from nas.ops import Op
from nas.search.domain import Rows

__all__ = ["cell_features", "cell_macs"]

Array = NDArray[np.float64]
STAGES = ((16, 32), (32, 16), (64, 8))
"""Channels and pixels."""
CELLS = 5
CLASSES = 100


def _edge(op: str, chs: int, size: int) -> tuple[Op, ...]:
    """Operators of one edge; a skip connection is none, it is the add behind it that moves bytes."""
    if op == "avg_pool_3x3":
        return (Op("pool", chs, chs, size, size, 3),)
    if op in ("nor_conv_1x1", "nor_conv_3x3"):
        relu = Op("elementwise", chs, chs, size, size, act="relu")
        return (relu, Op("conv", chs, chs, size, size, 1 if op == "nor_conv_1x1" else 3, batch_norm=True))
    return ()


def _around() -> tuple[Op, ...]:
    """What every network has: stem, the blocks between stages, and the head."""
    found = [Op("conv", 3, 16, 32, 32, 3, batch_norm=True, role="stem")]
    for chs, size in STAGES[:-1]:
        wide, small = 2 * chs, size // 2
        found += [
            Op("elementwise", chs, chs, size, size, act="relu"),
            Op("conv", chs, wide, size, small, 3, 2, batch_norm=True, act="relu"),
            Op("conv", wide, wide, small, small, 3, batch_norm=True),
            Op("pool", chs, chs, size, small, 2, 2),
            Op("conv", chs, wide, small, small, 1),
            Op("add", wide, wide, small, small),
        ]
    chs, size = STAGES[-1]
    head = (Op("pool", chs, chs, size, 1, role="head"), Op("linear", chs, CLASSES, 1, 1, bias=True, role="head"))
    return (*found, Op("elementwise", chs, chs, size, size, act="relu"), *head)


def _tables() -> tuple[Array, Array, Array]:
    """Features of an operator on an edge of all cells, (ops, n_features); of an add in all cells, and of the rest, (n_features,)."""
    per_op = np.zeros((len(OPS), len(FEATURES)))
    add = np.zeros(len(FEATURES))
    for chs, size in STAGES:
        for number, name in enumerate(OPS):
            per_op[number] += CELLS * sum((op_features(op) for op in _edge(name, chs, size)), np.zeros(len(FEATURES)))
        add += CELLS * op_features(Op("add", chs, chs, size, size))
    rest = sum((op_features(op) for op in _around()), np.zeros(len(FEATURES)))
    rest[-1] = 1.0
    return per_op, add, rest


def cell_features(rows: Rows) -> Array:
    """Features of networks given as the operators of their six edges (n, 6), (n, n_features); dead edges count nothing.

    An edge is live where a path leads from the input to it and from it to the output. A node with k live edges adds k - 1 times.
    """
    per_op, add, rest = _tables()
    is_live = live(rows)
    counts = np.stack([((rows == op) & is_live).sum(axis=1) for op in range(len(OPS))], axis=1).astype(np.float64)
    ends = np.array([end for _, end in EDGES])
    adds = sum(np.maximum(is_live[:, ends == node].sum(axis=1) - 1, 0) for node in (1, 2, 3))
    found: Array = counts @ per_op + np.asarray(adds, dtype=np.float64)[:, None] * add + rest
    return found


def cell_macs(rows: Rows) -> Array:
    """Multiply-adds of the same networks, (n,): what MACs-linear is fitted on."""
    is_live = live(rows)
    macs = np.zeros(len(rows))
    for number, name in enumerate(OPS):
        each = CELLS * sum(op.macs for chs, size in STAGES for op in _edge(name, chs, size))
        macs += each * ((rows == number) & is_live).sum(axis=1)
    return macs + sum(op.macs for op in _around())
