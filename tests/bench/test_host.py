from __future__ import annotations

import math

import pytest

from nas.bench import host


def test_the_smoke_form_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("torch")
    outcome = host.run_host(smoke=True)
    assert [mark.id for mark in outcome.marks] == ["ort40", "ort80", "ov40", "coverage", "coverage-most", "width", "repeat"]
    assert all(math.isfinite(mark.value) for mark in outcome.marks)
    assert {row["host"] for row in outcome.rows} == set(host.RUNTIMES)
