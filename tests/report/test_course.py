"""What a study's log says of its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.report.course import BEGIN, END, LOG, Course, course_of
from nas.report.record import EventLog


@pytest.mark.parametrize(
    ("events", "course"),
    [
        ([], Course()),
        ([(BEGIN, None)], Course()),
        ([(BEGIN, None), (END, "KILLED")], Course(is_open=False, ending="KILLED")),
        ([(BEGIN, None), (END, "FINISHED"), (BEGIN, None)], Course(ending="FAILED")),  # a resume that was cut off
        ([(BEGIN, None), (END, "FINISHED"), (BEGIN, "FINISHED")], Course(ending="FINISHED")),  # a rebuild that was
        ([(BEGIN, None), (END, "lost"), ("info", "FINISHED")], Course()),
    ],
)
def test_the_last_run_says_how_the_study_stands(events: list[tuple[str, str | None]], course: Course, tmp_path: Path) -> None:
    log = EventLog(tmp_path / LOG)
    log.append("info", {"text": 'it will "begin" and "end"'})
    for kind, status in events:
        log.append(kind, {} if status is None else {"status": status})
    with log.path.open("a") as file:
        file.write('[1]\n{"kind": "begin')
    assert course_of(tmp_path) == course
    assert [event["kind"] for event in log.read((BEGIN, END))] == [kind for kind, _ in events if kind != "info"]


def test_a_log_that_is_lost_says_nothing_against_the_study(tmp_path: Path) -> None:
    assert course_of(tmp_path) == Course(is_open=False, ending="FINISHED")
