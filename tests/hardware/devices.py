"""A device without a network between: its jobs are answered here, and its connection breaks when a test says so."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.errors import LinkLostError, ModelFileError, TargetError
from nas.hardware.jobs import PROTOCOL, Jobs
from nas.hardware.meters import EnergyMeter
from nas.hardware.meters.loading import open_meter
from nas.hardware.runtimes import Inspection
from tests.hardware.clocks import FakeClock, FakeMachine


class Board:
    """A runtime whose models are files that hold their seconds; `fails_at` breaks all models opened from the n-th on, `odd` is the n-th
    inspected that runs in bf16, those of more than `limit_s` do not open."""

    name = "fake"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.opened = 0
        self.fails_at = 0
        self.limit_s = math.inf
        self.precision = "fp32"
        self.known: tuple[str, ...] = ("fp32",)
        self.odd = 0
        self.inspected = 0
        self.release = "1"
        self.foreign: tuple[str, ...] = ()

    def version(self) -> str:
        return self.release

    def precisions(self) -> tuple[str, ...]:
        return self.known

    def inspect(self, model: Path, threads: int) -> Inspection:
        self.inspected += 1
        return Inspection("bf16" if self.inspected == self.odd else self.precision, (("Conv", 1),), self.foreign)

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        self.opened += 1
        if self.opened >= self.fails_at > 0:
            raise TargetError("the board is gone")
        seconds = float(model.read_text())
        if seconds > self.limit_s:
            raise ModelFileError(f"{model}: cannot open it: bad_alloc")
        yield self.clock.run_of(seconds)


class FakeTransport:
    """`drops` holds numbers of jobs, from 0: (n, "before") loses the job, (n, "after") its answer. `away` tries to connect then fail."""

    address = "fake://board"

    def __init__(self, home: Path, board: Board, drops: set[tuple[int, str]] | None = None, away: int = 0) -> None:
        self.home = home
        self.board = board
        self.machine = FakeMachine(board.clock)
        self.drops = drops or set()
        self.away = away
        self.asked: list[Mapping[str, Any]] = []
        self.connections = 0
        self.closed = 0
        self.kept = False
        self.meter: Callable[[str], EnergyMeter] = open_meter
        self._jobs: Jobs | None = None

    def connect(self) -> Mapping[str, Any]:
        if self.connections and self.away:
            self.away -= 1
            raise LinkLostError("the board does not answer")
        self.connections += 1
        self._jobs = Jobs(self.home, lambda name: self.board, self.machine, self.meter)
        fake = {"version": self.board.release, "precisions": ["fp32"]}
        return {"id": "hello", "ok": True, "protocol": PROTOCOL, "executable": "/home/pi/.hwnas/bin/python", "runtimes": {"fake": fake}}

    def put(self, path: Path, name: str) -> None:
        shutil.copyfile(path, self.home / "models" / name)

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        number = len(self.asked)
        self.asked.append(job)
        if self._jobs is None or (number, "before") in self.drops:
            self._jobs = None
            raise LinkLostError("the cable was pulled")
        answer = self._jobs.answer(job)
        if (number, "after") in self.drops:
            self._jobs = None
            raise LinkLostError("the cable was pulled")
        return answer

    def close(self, keep: bool = False) -> None:
        self.closed += 1
        self.kept = keep
