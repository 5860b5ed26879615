from __future__ import annotations

from pathlib import Path

from nas.bench.scoring import run
from nas.space import space_names


def test_both_paths_agree_in_every_space() -> None:
    outcome = run(Path(), smoke=True)
    assert {row["space"] for row in outcome.rows} == set(space_names())
    assert {row["was_corrected"] for row in outcome.rows} == {True, False}
    assert [mark.id for mark in outcome.marks] == ["score", "score-difference"]
    assert outcome.marks[1].value <= 1e-9
    # The mark is 1e6 on a core of its own.
    assert outcome.marks[0].value > 2e5
