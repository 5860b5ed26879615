from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.bench.fbnet import OPS, FbnetTable, read_fbnet
from nas.cost import count
from nas.errors import DataError
from nas.hardware.features import network_features


@pytest.fixture(scope="module")
def table(shared_data: Path) -> FbnetTable:
    return read_fbnet(shared_data / "fbnet_latency.parquet")


def test_networks_are_encoded_by_their_blocks(table: FbnetTable) -> None:
    features, macs, hot = table.features(), table.macs(), table.one_hot()
    for number, arch in enumerate(table.space.decode_rows(table.genes[:20])):
        blocks = table.space.decode(arch)
        np.testing.assert_allclose(features[number], network_features(blocks))
        assert macs[number] == count(blocks).macs
        assert [dict(arch.genes)[gene.name] for gene in table.space.genes] == [OPS[op] for op in table.operators[number]]
    assert hot.shape == (5000, 22 * 9)
    assert (hot.sum(axis=1) == 22).all()
    assert len(table.latency_s) == 27


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.parquet.*--data"):
        read_fbnet(tmp_path / "absent.parquet")
