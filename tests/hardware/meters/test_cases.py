from __future__ import annotations

from pathlib import Path

import pytest

from nas.bench.meter_cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_recorded_case_gives_its_joules_or_its_refusal(case: Case, tmp_path: Path) -> None:
    assert case.failure(tmp_path) == ""


def test_a_case_that_does_not_hold_says_so(tmp_path: Path) -> None:
    assert "2.0 J expected, got 1.0" in Case("one", lambda folder: 1.0, 2.0).failure(tmp_path)
    assert "a refusal expected: negative" in Case("one", lambda folder: 1.0, refusal="negative").failure(tmp_path)
