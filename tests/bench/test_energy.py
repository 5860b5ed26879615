from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.bench import energy
from nas.bench.cells import cell_features, cell_macs
from nas.bench.energy import run
from nas.bench.outcome import Outcome
from nas.hardware.features import FEATURES

NONE, SKIP, ONE, THREE, POOL = range(5)


def rows(*networks: tuple[int, ...]) -> np.ndarray:
    return np.array(networks, dtype=np.int16)


def test_dead_edges_count_nothing() -> None:
    alive = rows((THREE, NONE, NONE, ONE, NONE, NONE))
    dead = rows((THREE, NONE, NONE, ONE, THREE, NONE), (THREE, THREE, NONE, ONE, NONE, NONE))  # 1-3 is live in the first
    assert (cell_features(dead)[1] == cell_features(alive)[0]).all()
    assert cell_macs(dead)[1] == cell_macs(alive)[0]


def test_a_convolution_on_each_live_edge_is_counted_once_a_cell() -> None:
    none, one = cell_macs(rows((NONE, NONE, NONE, SKIP, NONE, NONE), (NONE, NONE, NONE, ONE, NONE, NONE)))
    # 1x1 on 16, 32 and 64 channels at 32, 16 and 8 pixels: 2**18 multiply-adds each, five cells a stage.
    assert one - none == 15 * 2**18
    features = cell_features(rows((NONE, NONE, NONE, SKIP, NONE, NONE), (NONE, NONE, NONE, THREE, NONE, NONE)))
    difference = dict(zip(FEATURES, features[1] - features[0], strict=True))
    assert difference["macs_stem"] == 15 * 9 * 2**18  # dense convolutions wider than 1x1
    assert difference["count_conv"] == 15
    assert difference["count_add"] == 15  # the relu before it
    assert difference["constant"] == 0


def test_nodes_that_several_edges_reach_add() -> None:
    features = cell_features(rows((SKIP, NONE, NONE, SKIP, SKIP, NONE), (NONE, NONE, NONE, SKIP, NONE, NONE)))
    difference = dict(zip(FEATURES, features[0] - features[1], strict=True))
    assert difference["count_add"] == 15


def test_the_pi5_s_marks_are_met_by_one_seed(shared_data: Path) -> None:
    found, marks = energy._pi5(shared_data, 1)
    assert [mark.id for mark in marks] == ["pi5-mape", "pi5-rho"]
    assert all(mark.met for mark in marks)
    assert all("MACs-linear" in mark.what for mark in marks)
    assert float(found[0]["mape"]) < float(found[1]["mape"])


def test_there_is_a_mark_for_each_line(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is tested by its own tests, and takes a minute."""
    monkeypatch.setattr(energy, "_search", lambda smoke: Outcome([], energy._search_marks(0.8, np.array([0.1, 1.0]), 0.7, 0.01)))
    monkeypatch.setattr(energy, "WINDOW_S", 0.05)
    outcome = run(shared_data, smoke=True)
    assert [mark.id for mark in outcome.marks] == ["pi5-mape", "pi5-rho", "meters", "sampler-cost", "axis", "footprint"]
    assert next(mark for mark in outcome.marks if mark.id == "meters").value == 1.0
