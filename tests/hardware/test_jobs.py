"""What a device answers to a job that is wrong, and to one whose runtime is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.hardware.jobs import Jobs
from nas.hardware.runtimes import Inspection
from tests.hardware.clocks import FakeClock, FakeMachine
from tests.hardware.devices import Board

JOB = {"id": "1", "op": "inspect", "runtime": "fake", "model": "model.onnx", "threads": 1}


class Outdated(Board):
    """A plug-in's runtime that calls a library of another version."""

    def inspect(self, model: Path, threads: int) -> Inspection:
        raise TypeError("compile() got an unexpected keyword argument 'threads'")


def answer(folder: Path, board: Board, job: dict[str, Any]) -> dict[str, Any]:
    return Jobs(folder, lambda name: board, FakeMachine(board.clock)).answer(job)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({name: value for name, value in JOB.items() if name != "threads"}, "KeyError('threads')"),
        ({**JOB, "threads": None}, "TypeError("),
        ({**JOB, "threads": "two"}, "ValueError("),
        ({**JOB, "op": "measure", "protocol": 3}, "TypeError("),
        ({**JOB, "op": "forget", "ids": 3}, "TypeError("),
    ],
)
def test_a_job_that_is_not_whole(job: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = answer(tmp_path, Board(FakeClock()), job)
    assert (found["ok"], found["kind"]) == (False, "input")
    assert found["message"].startswith(f"a job that is not whole: {words}")


def test_a_runtime_that_is_broken_is_not_the_jobs_fault(tmp_path: Path) -> None:
    assert answer(tmp_path, Outdated(FakeClock()), JOB) == {
        "id": "1", "ok": False, "kind": "internal",
        "message": "TypeError: compile() got an unexpected keyword argument 'threads'",
    }  # fmt: skip
