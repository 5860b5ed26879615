from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.bench.priors import run


def test_a_band_is_judged_by_rows_that_did_not_make_it(shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    outcome = run(shared_data, smoke=True)
    marks = {mark.id: mark for mark in outcome.marks}
    assert all(mark.met for mark in outcome.marks)
    alone = [row["covered"] for row in outcome.rows if row.get("threads") == 1]
    assert 0 < len(alone) < sum("covered" in row for row in outcome.rows)
    assert marks["coverage"].value == np.mean(alone)
    assert "1 thread" in marks["coverage"].what
    assert "speed-up" in marks["published-4t"].what
    assert "speed-up" not in marks["published-1t"].what
