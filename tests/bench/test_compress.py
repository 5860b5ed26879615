from __future__ import annotations

from pathlib import Path

from nas.bench.compress import run


def test_it_runs_and_gives_every_mark() -> None:
    outcome = run(Path(), smoke=True)
    marks = {mark.id: mark for mark in outcome.marks}
    assert list(marks) == ["ptq-drop", "qat-drop", "int8-size", "agree", "prune", "prune-peer", "distil", "card", "export-s"]
    assert (marks["agree"].value, marks["card"].value) == (100, 0)
    assert "one standard error of a difference on " in marks["prune-peer"].why
    kept = {row["pruning"]: float(row["predicted latency kept"]) for row in outcome.rows if "pruning" in row}
    assert kept.pop("none, fine-tuning alone") == 1
    assert len(kept) == 2
    assert all(0.5 < share <= 0.7 for share in kept.values())
    zeros = [round(float(row["zeros"]), 1) for row in outcome.rows if "zeros" in row]
    assert zeros == [0.0, 0.5]
    assert all(float(row["openvino_ms"]) > 0 for row in outcome.rows if "zeros" in row)
