"""A study's folder in a store: whatever the folder holds and the store lacks is sent.

The folder is the queue: the log has every point of the series with its time, the fronts and models are files. So a search that sends as it
goes and one that could not, sent afterwards, leave the same runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nas.errors import NasError, StudyError
from nas.report.course import END, LOG, Course, Status
from nas.report.record import read_front
from nas.report.runs import Point, StudyRun, cost_metrics, cost_tags
from nas.report.study import load_facts
from nas.report.tracking.artifacts import finished_files
from nas.report.tracking.connection import Connection, TrackingError
from nas.report.tracking.registry import register
from nas.report.tracking.study import MOST_CHILDREN, PATTERNS, Tracker
from nas.report.view import view_key

__all__ = ["Sent", "StudyMirror", "epoch_points"]

CHUNK_BYTES = 1 << 20
"""Of the log, that is read at a time."""
Stamps = tuple[tuple[str, int, int], ...]
"""Path, size and time of change of files."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent that the store did not have: runs that are new or got something new, files, models."""

    runs: int
    files: int
    models: int

    def words(self) -> str:
        """For people."""
        counts = ((self.runs, "run"), (self.files, "file"), (self.models, "model"))
        parts = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
        return ", ".join(parts) or "nothing: all of it is there"


class StudyMirror:
    """Sends a study's folder to a store, as often as it is asked; each time what came since, and what failed before.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path, connection: Connection) -> None:
        self._folder = folder
        self._connection = connection
        self._tracker = Tracker(connection)
        self._study: StudyRun | None = None
        self._course = Course()
        self._sent_status: Status | None = None
        self._labels: dict[str, str] = {}
        self._offset = 0
        self._sent_files: Stamps = ()
        self._models = 0
        self._renamed: dict[str, str] = {}
        self._refused: NasError | None = None

    @property
    def view_path(self) -> str:
        """Path of the study's view behind a server's address; empty where nothing was sent."""
        return self._tracker.view_path if self._study is not None else ""

    @property
    def renamed(self) -> tuple[str, ...]:
        """Names of registered models that are not <study>-<device>, because another search of this name has that."""
        return tuple(self._renamed.values())

    @property
    def sent(self) -> Sent:
        """All that was sent so far."""
        return Sent(self._tracker.runs, self._tracker.files, self._models)

    def send(self, *, is_driven: bool = True) -> Sent:
        """Sends what the store lacks.

        Args:
            is_driven: whether a process searches on, and may write the files just now. Where none does, and the log has no end, the driver
                was killed: the run failed.

        Raises:
            TrackingError: the store failed, or a file went while it was read; what was sent stays, and the next call goes on. Or a model
                was refused, which is said when all else is there.
            StudyError: the folder does not hold together, or another study has the name of a model.
        """
        try:
            self._send_all(is_driven=is_driven)
        except TrackingError:
            self._forget()
            raise
        except (OSError, StudyError) as exc:
            self._forget()
            if isinstance(exc, StudyError) and not is_driven:
                raise  # nobody writes the file anew
            raise TrackingError(f"tracking to {self._connection.shown} failed: the study's files cannot be read: {exc}") from exc
        if self._refused is not None and not (is_driven and self._course.is_open):
            self._sent_files = ()  # tried again the next time
            raise self._refused
        return self.sent

    def _send_all(self, *, is_driven: bool) -> None:
        if self._study is None:
            study = study_run(self._folder)
            self._tracker.start(study)
            self._study, self._sent_status = study, "RUNNING"
        self._send_log()
        stamps = self._stamps()
        if stamps != self._sent_files:
            self._send_files(self._study)
            self._sent_files = stamps
        status: Status = "RUNNING" if is_driven and self._course.is_open else self._course.ending
        if status != self._sent_status:
            self._tracker.finish(status, self._labels)
            self._sent_status = status

    def _forget(self) -> None:
        """All is begun anew the next time: somebody may have deleted the runs meanwhile."""
        self._study, self._sent_status, self._offset, self._sent_files, self._course = None, None, 0, (), Course()

    def _stamps(self) -> Stamps:
        """What tells that a file is new or another one; nothing while the study has no front."""
        paths = [path for pattern in (*PATTERNS, "models/*/*") for path in finished_files(self._folder, pattern)]
        if not any(path.parent.name == "fronts" for path in paths):
            return ()
        stats = [(str(path), path.stat()) for path in sorted(paths)]
        return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)

    def _send_files(self, study: StudyRun) -> None:
        """Runs and views of all devices first, then files, then models: what people look at first is there first.

        A model that is refused keeps neither the others back nor the end of the run.
        """
        fronts = [read_front(self._folder, path.stem) for path in sorted(self._folder.glob("fronts/*.json"))]
        limit = max(1, MOST_CHILDREN // max(1, len(study.devices)))
        ordered = sorted(fronts, key=lambda front: study.devices.index(front.device) if front.device in study.devices else len(fronts))
        ids: dict[str, str] = {}
        for front in ordered:
            ids |= self._tracker.log_front(front, limit)
        self._tracker.log_files(self._folder, ordered, ids)
        self._refused = None
        for front in ordered:
            try:
                name, made = register(self._connection, front, self._folder, ids, study)
                self._models += made
                if name not in ("", view_key(front.study, front.device)):
                    self._renamed[front.device] = name
            except (StudyError, TrackingError) as exc:
                if isinstance(exc, TrackingError) and not exc.refused:
                    raise
                self._refused = self._refused or exc

    def _send_log(self) -> None:
        path = self._folder / LOG
        for events, offset in _chunks(path, self._offset):
            points = [point for event in events for point in _points(event)]
            if points:
                self._tracker.log_points(points)
            for event in events:
                self._course = self._course.after(event)
                self._labels |= cost_tags(_cost(event))
            self._offset = offset


def study_run(folder: Path) -> StudyRun:
    """The parent run of a study, from its config.json.

    Raises:
        StudyError: it cannot be read.
    """
    facts = load_facts(folder)
    config: Mapping[str, Any] = facts["config"]
    devices = tuple(dict.fromkeys(target["device"] for target in facts.get("targets", ())))
    versions = {f"version.{name}": str(value) for name, value in facts.get("versions", {}).items()}
    tags = {**versions, **{name: str(facts[name]) for name in ("git_commit",) if facts.get(name)}}
    data = {"name": Path(str(config["data"])).stem, **facts["data"]}
    space = str(facts.get("space") or Path(str(config["space"])).stem)
    named, source = str(config["study"]), str(config["data"])
    return StudyRun(named, space, config, data, source, devices or tuple(config["devices"]), tags, id=str(facts.get("id", "")))


def epoch_points(fields: Mapping[str, object], milliseconds: int) -> list[Point]:
    """Points of the supernet's series: supernet/largest, supernet/smallest and so on, over "epoch"."""
    step = int(str(fields["epoch"]))
    known = {name: value for name, value in fields.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return [(f"supernet/{name}", float(value), milliseconds, step) for name, value in known.items() if name not in ("epoch", "time")]


def _points(event: Mapping[str, Any]) -> list[Point]:
    """Points of the parent's series that an event of the log holds."""
    try:
        now = int(datetime.fromisoformat(event["time"]).timestamp() * 1000)
        if event["kind"] == "epoch":
            return epoch_points(event, now)
        if event["kind"] == END:
            return [(name, value, now, 0) for name, value in cost_metrics(_cost(event)).items()]
        if event["kind"] == "trial":
            step, device = int(event["candidates"]), event["device"]
            return [(f"{device}/{name}", float(event[name]), now, step) for name in ("hypervolume", "best_accuracy")]
    except (KeyError, TypeError, ValueError):  # a line of another version, or edited
        return []
    return []


def _cost(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the study cost until it ended; nothing of any other event."""
    cost = event.get("cost") if event.get("kind") == END else None
    return cost if isinstance(cost, dict) else {}


def _chunks(path: Path, offset: int) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Events of a log from `offset` on, and where each chunk ends. A line that is not whole yet is left for the next time."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(CHUNK_BYTES):
            data += b"" if data.endswith(b"\n") else file.readline()
            whole = data[: data.rfind(b"\n") + 1]
            events = []
            for line in whole.splitlines():
                try:
                    event = json.loads(line)
                except ValueError:  # cut short by a crash
                    continue
                events += [event] if isinstance(event, dict) else []
            offset += len(whole)
            if events:
                yield events, offset
