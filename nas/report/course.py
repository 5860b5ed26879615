"""Where the run of a study stands, as its log tells: it goes on, has ended, or was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal, cast

from nas.report.record import EventLog

__all__ = ["BEGIN", "END", "LOG", "Course", "Status", "course_of"]

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
LOG = "log.jsonl"
BEGIN, END = "begin", "end"
"""Kinds of events of the log that say when the study has a driver; the latter with its "status", and as "cost" what all runs of the study
cost until then (`nas.report.footprint.Footprint.record`). What searches nothing, but derives files again, says in its begin as "status"
what the search ended with."""
_ENDINGS = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, slots=True)
class Course:
    """Where the run of a study stands.

    Attributes:
        is_open: it has begun and not ended.
        ending: what the search ended with; of an open one what that is if nobody drives it any more: a search that was cut off has failed.
    """

    is_open: bool = True
    ending: Status = "FAILED"

    def after(self, event: Mapping[str, Any]) -> Course:
        """Where it stands when another event has happened; what says nothing of it, or cannot be read, changes nothing."""
        kind, told = event.get("kind"), event.get("status")
        status = cast("Status", told) if told in _ENDINGS else None
        if kind == BEGIN:
            return Course(ending=status or "FAILED")
        return Course(is_open=False, ending=status) if kind == END and status else self


def course_of(folder: Path) -> Course:
    """Of the study in a folder. Where its log is lost nothing says that the search did not end well."""
    log = EventLog(folder / LOG)
    if not log.path.is_file():
        return Course(is_open=False, ending="FINISHED")
    return reduce(Course.after, log.read((BEGIN, END)), Course())
