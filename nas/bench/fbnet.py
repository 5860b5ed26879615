"""The FBNet latency table: 5,000 random networks on 27 devices (HW-NAS-Bench, Li et al. 2021, arXiv:2103.10584, and HELP, Lee et al. 2021,
arXiv:2106.08630, both MIT), encoded through the space `fbnet` by the shapes of their blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError
from nas.hardware.features import FEATURES, block_features
from nas.ops import lower_block
from nas.space import SearchSpace, load_space

__all__ = ["OPS", "FbnetTable", "read_fbnet"]

OPS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
"""Order of the operators in the table."""


@dataclass(frozen=True, slots=True)
class FbnetTable:
    """The table.

    Attributes:
        space: `fbnet`.
        genes: (n, 22), rows of the space.
        operators: (n, 22), numbers of `OPS` as in the file.
        latency_s: device to (n,), seconds.
    """

    space: SearchSpace
    genes: NDArray[np.int16]
    operators: NDArray[np.intp]
    latency_s: Mapping[str, NDArray[np.float64]]

    def features(self) -> NDArray[np.float64]:
        """Physical features, (n, n_features), from the shapes of the blocks."""
        per_block = np.array([*(block_features(block) for block in self.space.blocks), np.zeros(len(FEATURES))])
        total: NDArray[np.float64] = per_block[self.space.block_index(self.genes)].sum(axis=1)
        total[:, FEATURES.index("constant")] = 1.0
        return total

    def macs(self) -> NDArray[np.float64]:
        """Multiply-adds, (n,)."""
        per_block = np.array([*(sum(op.macs for op in lower_block(block)) for block in self.space.blocks), 0], dtype=np.float64)
        total: NDArray[np.float64] = per_block[self.space.block_index(self.genes)].sum(axis=1)
        return total

    def one_hot(self) -> NDArray[np.float64]:
        """Which operator stands where, (n, 198)."""
        hot: NDArray[np.float64] = np.eye(len(OPS))[self.operators].reshape(len(self.operators), -1)
        return hot


def read_fbnet(path: Path) -> FbnetTable:
    """Reads fbnet_latency.parquet.

    Raises:
        DataError: it is absent.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path} is absent: give the folder of the public tables with --data")
    table = pq.read_table(path).to_pydict()
    space = load_space("fbnet")
    layers = len(space.genes)
    operators = np.array([table[f"op{layer}"] for layer in range(layers)], dtype=np.intp).T
    choice = np.array([[gene.choices.index(op) for op in OPS] for gene in space.genes])
    genes = choice[np.arange(layers), operators].astype(np.int16)
    devices = {name.removesuffix("_ms"): np.array(values) * 1e-3 for name, values in table.items() if name.endswith("_ms")}
    return FbnetTable(space, genes, operators, devices)
