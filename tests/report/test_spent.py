from __future__ import annotations

from typing import Any

from nas.report.spent import phase_seconds


def _event(second: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"time": f"2026-01-01T10:{second // 60:02d}:{second % 60:02d}+00:00", "kind": kind, **fields}


def test_parts_of_a_run_that_was_cut_off_and_resumed() -> None:
    log = [
        _event(0, "begin"),
        _event(5, "phase", phase="supernet"),
        _event(65, "phase", phase="search"),
        _event(75, "trial"),
        _event(80, "phase", phase="verify"),
        _event(90, "info"),
        _event(95, "trial"),
        # the power went; the next evening
        _event(900, "begin"),
        _event(901, "phase", phase="search"),
        _event(911, "trial"),
        _event(912, "phase", phase="finalists"),
        _event(932, "finalist"),
        _event(932, "phase", phase="record"),
        _event(940, "done"),
        _event(1000, "begin"),
        _event(1001, "phase", phase="record"),
    ]
    assert phase_seconds(log) == {"supernet": 60.0, "search": 10.0 + 5.0 + 5.0 + 10.0 + 1.0, "verify": 10.0, "finalists": 20.0}


def test_logs_that_say_nothing() -> None:
    assert phase_seconds([]) == {}
    assert phase_seconds([{"kind": "phase", "phase": "search"}, {"time": "yesterday", "kind": "trial"}]) == {}
    assert phase_seconds([_event(0, "phase", phase="a phase of another version"), _event(9, "trial")]) == {}
