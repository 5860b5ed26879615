from __future__ import annotations

from pathlib import Path

from nas.bench.supernet import run


def test_it_runs_and_gives_every_mark() -> None:
    outcome = run(Path(), smoke=True)
    marks = {mark.id: mark for mark in outcome.marks}
    assert list(marks) == ["step-nchw", "step-cl", "feed", "largest", "smallest", "evaluate", "digits", "digits-accuracy", "reuse"]
    assert marks["reuse"].value == 0
    assert marks["digits"].value == 0  # the one search of this form finds the supernet of the long training
    assert 0 < marks["smallest"].value < 1
    steps = [row for row in outcome.rows if "step" in row]
    assert [row["step"] for row in steps] == ["ours", "plain, NCHW", "plain, channels-last", "plain, channels-last, memory kept"]
    assert all(0 < float(row["share_of_matmul_peak"]) < 1 and float(row["peak_memory_mib"]) > 10 for row in steps)
