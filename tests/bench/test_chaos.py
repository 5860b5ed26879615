"""The short form of the chaos: searches that are killed for real; and the checks see what they are to see."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nas.bench import chaos
from nas.bench.invariants import BrokenError, check


def test_killed_searches_come_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Path] = []

    class Folder:
        """A temporary folder that outlives the benchmark."""

        def __init__(self, prefix: str) -> None:
            assert prefix

        def __enter__(self) -> str:
            kept.append(tmp_path)
            return str(tmp_path)

        def __exit__(self, *args: object) -> None:
            """Stays."""

    monkeypatch.setattr(chaos.tempfile, "TemporaryDirectory", Folder)
    outcome = chaos.run(Path(), smoke=True)
    assert [row for row in outcome.rows if not row["held"]] == []
    assert {row["case"] for row in outcome.rows} == {"undisturbed", "kill-0", "worker-killed", "interrupted"}
    assert [(mark.id, mark.met) for mark in outcome.marks] == [("kill30", True), ("faults", True)]
    runs = tmp_path / "runs"

    def broken(text: str, **changes: int) -> None:
        with pytest.raises(BrokenError, match=text):
            check(runs, "undisturbed", changes.get("trials", chaos.TRIALS), {})

    broken("30 candidates of 31", trials=31)
    half = runs / "undisturbed" / "models" / ".model.onnx.1.tmp"
    half.write_bytes(b"half")
    broken("temporary files are left")
    half.unlink()
    with sqlite3.connect(runs / "undisturbed" / "study.db") as database:
        database.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 3")
    broken("29 candidates of 30")


DRIVER = """
import subprocess, sys
subprocess.Popen(["true"])  # ended, not waited for
worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()  # spawn_main"], stdin=subprocess.PIPE)
print(worker.pid, flush=True)
sys.stdin.read()
worker.communicate()
"""


def test_a_worker_is_found_among_processes_that_end() -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    assert chaos._a_worker(driver).pid == worker
    driver.communicate()
    with pytest.raises(BrokenError, match="the search ended before"):
        chaos._a_worker(driver)
