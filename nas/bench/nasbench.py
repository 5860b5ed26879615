"""NAS-Bench-201 networks with measured costs (nasbench201_pi.parquet) as problems of a search.

All that is asked for is connected: whether a path leads from input to output is seen before anything is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError, StudyError
from nas.search import pareto
from nas.search.domain import KnownCosts, Rows

__all__ = ["EDGES", "OPS", "PROBLEMS", "Problem", "Table", "TableDomain", "describe", "live", "load_table", "number", "operators"]

Array = NDArray[np.float64]

FILE = "nasbench201_pi.parquet"
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From node to node, in the order of the architecture string (Dong & Yang 2020, arXiv:2001.00326): |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""From input to output, as edges."""
BEST, SPAN = 73.5133, 23.5133
"""Accuracy in per cent that scales to 0, and points down to what scales to 1."""
BEYOND = 1.1
"""Reference point of scaled costs."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Accuracy against costs, as FINDINGS 7 defines it.

    Attributes:
        costs: column of the table and its range on the true front's members of more than 50 % accuracy, ms or mJ.
        hypervolume: of the true front.
    """

    id: str
    what: str
    costs: tuple[tuple[str, float, float], ...]
    hypervolume: float


PI5, ENERGY = ("pi5_onnx_lat_ms", 1.176644, 16.8667905), ("pi5_onnx_energy_mj", 1.594131, 22.869523)
PROBLEMS = (
    Problem("P1", "CIFAR-100 accuracy, Pi 5 latency", (PI5,), 0.938461),
    Problem("P2", "CIFAR-100 accuracy, Pi 5 latency and energy", (PI5, ENERGY), 0.925429),
    Problem("P3", "CIFAR-100 accuracy, Pi 4 latency", (("raspi4_lat_ms", 2.529453, 80.400089),), 0.848212),
)


@dataclass(frozen=True)
class Table:
    """All networks, by the number that their six operators spell in base five.

    Attributes:
        connected: (15625,).
        accuracy: per cent, (15625,).
        costs: by column of the file, ms or mJ, (15625,) each.
        classes: networks of one class share a measurement, (15625,).
        measured: the operators of the network that was measured for each one's class on the Pi 5, (15625, 6).
    """

    connected: NDArray[np.bool_]
    accuracy: Array
    costs: Mapping[str, Array]
    classes: NDArray[np.int64]
    measured: Rows

    def regret(self, problem: Problem, numbers: Sequence[int]) -> float:
        """Share of the true front's hypervolume that the front of these networks lacks, true costs, per cent."""
        index = np.array(numbers, dtype=np.int64)
        scaled = [(BEST - self.accuracy[index]) / SPAN]
        for column, low, high in problem.costs:
            scaled.append(np.log(self.costs[column][index] / low) / np.log(high / low))
        reference = [1.0, *([BEYOND] * len(problem.costs))]
        return 100.0 * (1.0 - pareto.hypervolume(np.column_stack(scaled), reference) / problem.hypervolume)


def load_table(folder: Path) -> Table:
    """The table of `folder`.

    Raises:
        DataError: it is absent or has other columns.
    """
    import pyarrow.parquet as pq

    path = folder / FILE
    try:
        columns = pq.read_table(path).to_pydict()
        rows = np.array([_ops(arch) for arch in columns["arch"]], dtype=np.int16)
        order = np.argsort(number(rows))
        costs = {name: np.array(columns[name])[order] for problem in PROBLEMS for name, _, _ in problem.costs}
        accuracy, connected = np.array(columns["cifar100_acc"])[order], np.array(columns["connected"], dtype=np.bool_)[order]
        by_index = dict(zip(columns["arch_idx"], rows, strict=True))
        measured = np.array([by_index[index] for index in columns["rep_arch_idx"]], dtype=np.int16)[order]
        return Table(connected, accuracy, costs, np.array(columns["rep_arch_idx"], dtype=np.int64)[order], measured)
    except (OSError, KeyError, ValueError) as exc:
        raise DataError(f"{path} is no table of NAS-Bench-201 with costs: {exc}") from exc


def _ops(arch: str) -> list[int]:
    return [OPS.index(op.split("~")[0]) for node in arch.split("+") for op in node.strip("|").split("|")]


def number(rows: Rows) -> NDArray[np.int64]:
    """Of networks (n, 6): their place in the table."""
    return np.asarray(rows.astype(np.int64) @ (len(OPS) ** np.arange(len(EDGES))))


def describe(rows: Rows) -> Array:
    """How often each operator stands on an edge that lies on a path from input to output, how many such edges there are, the most
    convolutions on a path, and how many paths have 0, 1 or 2.

    Facts of the graph that need no evaluation; paths tell a model more than edges do (White et al. 2021, arXiv:1910.11858).
    """
    on, is_live = rows != 0, live(rows)
    counts = [((rows == op) & is_live).sum(axis=1) for op in range(1, len(OPS))]
    conv = np.isin(rows, (2, 3))
    convs = np.stack([np.where(on[:, path].all(axis=1), conv[:, path].sum(axis=1), -1) for path in map(list, PATHS)], axis=1)
    paths = [(convs == count).sum(axis=1) for count in range(3)]
    return np.column_stack([*counts, is_live.sum(axis=1), np.maximum(convs.max(axis=1), 0), *paths]).astype(np.float64)


def live(rows: Rows) -> NDArray[np.bool_]:
    """Edges that lie on a path from input to output, (n, 6)."""
    on = rows != 0
    reached = np.zeros((len(rows), 4), dtype=np.bool_)
    reached[:, 0] = True
    for edge, (start, end) in enumerate(EDGES):
        reached[:, end] |= reached[:, start] & on[:, edge]
    return np.asarray(_needed(rows) & reached[:, [start for start, _ in EDGES]])


def _needed(rows: Rows) -> NDArray[np.bool_]:
    """Edges whose result reaches the output, (n, 6)."""
    on = rows != 0
    reaching = np.zeros((len(rows), 4), dtype=np.bool_)
    reaching[:, 3] = True
    for edge, (start, end) in reversed(list(enumerate(EDGES))):
        reaching[:, start] |= reaching[:, end] & on[:, edge]
    return np.asarray(on & reaching[:, [end for _, end in EDGES]])


def operators(rows: Rows) -> Array:
    """How often each operator but none stands in networks, (n, 4)."""
    return np.stack([(rows == op).sum(axis=1) for op in range(1, len(OPS))], axis=1).astype(np.float64)


class TableDomain:
    """The connected networks as a sampler's domain.

    Args:
        costs: known ones, (15625, known), and their standard errors; None for none known.
        is_described: whether a model is told `describe`, or the six operators alone.
    """

    names = tuple(f"{start}-{end}" for start, end in EDGES)
    sizes = (len(OPS),) * len(EDGES)

    def __init__(self, table: Table, costs: Array | None, std: Array | None = None, *, is_described: bool = True) -> None:
        self._table = table
        self._costs = np.zeros((len(table.accuracy), 0)) if costs is None else costs
        self._std = np.zeros_like(self._costs) if std is None else std
        self._is_described = is_described
        self.known = tuple(range(1, 1 + self._costs.shape[1]))

    def canonical(self, rows: Rows) -> Rows:
        return rows

    def violation(self, rows: Rows) -> Array:
        return np.where(self._table.connected[number(rows)], 0.0, np.inf)

    def costs(self, rows: Rows) -> KnownCosts:
        index = number(rows)
        return KnownCosts(self._costs[index].copy(), self._std[index].copy())

    def descriptors(self, rows: Rows) -> Array:
        return describe(rows) if self._is_described else np.zeros((len(rows), 0))

    def row(self, params: Mapping[str, Any]) -> Rows:
        if set(params) != set(self.names):
            raise StudyError(f"a network of the table has edges {', '.join(self.names)}, got {', '.join(params)}")
        return np.array([OPS.index(params[name]) for name in self.names], dtype=np.int16)

    def params(self, row: Rows) -> dict[str, Any]:
        return {name: OPS[int(op)] for name, op in zip(self.names, row, strict=True)}
