"""A model file is measured in one way, whoever asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas.config import MeasureProtocol
from nas.hardware import file_latency as module
from nas.hardware.device_state import pick_cores
from nas.hardware.file_latency import file_latency
from nas.hardware.measurement import Measurement
from tests.hardware.clocks import FakeClock
from tests.hardware.devices import Board

PROTOCOL = MeasureProtocol(windows=2, window_s=1e-4, min_runs=2, warmup_runs=1)


class Watching(Board):
    """Notes the cores that it is opened on."""

    cores: tuple[int, ...] = ()

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        if hasattr(os, "sched_getaffinity"):
            self.cores = tuple(sorted(os.sched_getaffinity(0)))
        with super().open(model, threads) as run:
            yield run


def test_a_busy_machine_is_told_and_threads_are_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_text("0.01")
    board = Watching(FakeClock())
    quiet, busy = (Measurement(((0.01, 0.01, slow, slow),) * 2) for slow in (0.01, 0.02))
    monkeypatch.setattr(module, "load_runtime", lambda name: board)
    notes: list[str] = []
    for found in (quiet, busy):
        monkeypatch.setattr(module, "measure", lambda run, protocol, found=found: found)
        assert file_latency(tmp_path / "model.onnx", "fake", 1, PROTOCOL, notes.append).source == "measured"
    assert notes == ["latency of model.onnx with fake, 1 thread: IQR is 67% of the median: the machine was busy"]
    if hasattr(os, "sched_getaffinity"):
        assert board.cores == pick_cores(1, sorted(os.sched_getaffinity(0)))
