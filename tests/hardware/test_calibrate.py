from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from nas import plugins
from nas.architecture import BlockSpec
from nas.config import MeasureProtocol
from nas.errors import InputError, ProfileError, TargetError
from nas.hardware.calibrate import calibrate, choose, network_hash, read_rows, rows_path
from nas.hardware.features import network_features
from nas.hardware.host import detect_host
from nas.hardware.predictor_file import load_predictor
from nas.hardware.roofline import CoreFacts, roofline
from nas.target import Target
from tests.hardware.clocks import FakeClock
from tests.hardware.test_fitting import networks

TARGET = Target("board", "fake", "1", "fp32", 1)
CORE = CoreFacts(1.5e9, 4.0, 4.6e9)
PROTOCOL = MeasureProtocol(windows=2, window_s=1e-4, min_runs=2, warmup_runs=1)


class Board:
    """A runtime whose models say how long they take; `fails_at` breaks the n-th model opened."""

    name = "fake"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.opened = 0
        self.fails_at = 0

    def __call__(self) -> Board:
        return self

    def version(self) -> str:
        return "1"

    def precisions(self) -> tuple[str, ...]:
        return ("fp32",)

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        self.opened += 1
        if self.opened == self.fails_at:
            raise TargetError("the board is gone")
        yield self.clock.run_of(float(model.read_text()))


def export(blocks: Sequence[BlockSpec], path: Path) -> None:
    """A device a tenth as fast as the roofline."""
    path.write_text(str(10 * roofline(CORE).predict(blocks).value))


@pytest.fixture
def board(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Board:
    runtime = Board(clock)
    monkeypatch.setattr(plugins, "load", lambda kind, name: runtime)
    return runtime


def test_a_calibration_learns_the_device(board: Board, tmp_path: Path) -> None:
    nets = networks(8)
    told: list[tuple[int, int, str]] = []
    predictor = calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE), lambda *event: told.append(event))
    for net in networks(12)[8:]:
        assert predictor.predict(net).value == pytest.approx(10 * roofline(CORE).predict(net).value, rel=1e-3)
    assert load_predictor(tmp_path / "predictor-fake-fp32-1t.json") == predictor
    rows = read_rows(rows_path(tmp_path, TARGET))
    assert [row.network for row in rows] == [network_hash(net) for net in nets]
    assert [row.specs() for row in rows] == nets
    assert told[0] == (0, 8, "anchor")
    assert told[-1] == (8, 8, "fit")


def test_a_calibration_goes_on_where_it_stopped(board: Board, tmp_path: Path) -> None:
    nets = networks(6)
    board.fails_at = 5  # the anchor and three networks went well
    with pytest.raises(TargetError, match="gone"):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE))
    assert len(read_rows(rows_path(tmp_path, TARGET))) == 3
    assert not (tmp_path / "predictor-fake-fp32-1t.json").exists()
    board.opened = board.fails_at = 0
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE))
    assert board.opened == 1 + 3
    board.opened = 0
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE))
    assert board.opened == 0
    assert len(read_rows(rows_path(tmp_path, TARGET))) == 6


def test_too_few_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4"):
        calibrate(tmp_path, TARGET, networks(1) * 5, export, PROTOCOL, roofline(CORE))


@pytest.mark.parametrize(
    ("old", "new", "words"), [("ratio", "ration", "columns"), ("1.0,", "fast,", "line 2"), ('""kind""', '""king""', "line 2")]
)
def test_a_broken_row_is_named(board: Board, tmp_path: Path, old: str, new: str, words: str) -> None:
    nets = networks(4)
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, roofline(CORE))
    path = rows_path(tmp_path, TARGET)
    text = path.read_text()
    if old == "1.0,":
        old = json.dumps(read_rows(path)[0].ratio) + ","
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ProfileError, match=words):
        read_rows(path)


def test_choices_hold_the_ends_and_are_better_than_the_first_ones() -> None:
    features = np.array([network_features(net) for net in networks(100)])
    chosen = choose(features, 12)
    assert len(set(chosen.tolist())) == 12
    size = (features / np.maximum(features.max(axis=0), 1e-30)).sum(axis=1)
    assert {int(size.argmin()), int(size.argmax())} <= set(chosen.tolist())
    np.testing.assert_array_equal(chosen, choose(features, 12))

    def information(rows: np.ndarray) -> float:
        scaled = features[rows] / np.maximum(features.max(axis=0), 1e-30)
        return float(np.linalg.slogdet(scaled.T @ scaled + 1e-3 * np.eye(features.shape[1]))[1])

    assert information(chosen) > max(information(np.random.default_rng(seed).permutation(100)[:12]) for seed in range(20))


@pytest.mark.parametrize("k", [1, 6])
def test_choices_that_cannot_be(k: int) -> None:
    with pytest.raises(InputError, match=str(k)):
        choose(np.ones((5, 3)), k)


def test_the_host_is_detected(tmp_path: Path) -> None:
    host = detect_host(tmp_path)
    assert host.folder.parent == tmp_path / "host"
    assert host.cores >= 1
    assert host.chip.memory_bytes.value > 1e8
    assert host.power.assumed
    predictor = host.predictor(host.target(threads=host.cores))
    assert predictor.measurements == 0
    assert predictor.threads == host.cores
    assert not any(tmp_path.iterdir())
    assert detect_host(tmp_path) == host
