"""From the storage's truth to what people look at: fronts, files of the study, MLflow. All of it can be derived again."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from nas.config import SearchConfig
from nas.errors import InfeasibleError
from nas.events import Event, Listener
from nas.files import write_atomic
from nas.metrics import Candidate
from nas.picturing import study_facts
from nas.preparation import Device, Prepared
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.pictures import DRAWING, write_pictures
from nas.report.record import EvaluatedRecord, EventLog, write_candidates, write_front
from nas.report.runs import Status
from nas.report.tracking import BEGIN, END, LOG, Background, Connection, StudyMirror
from nas.search import pareto
from nas.search.engine import losses
from nas.search.finalists import Finalist
from nas.search.storage import Evaluated

__all__ = ["Recorder", "Selection", "front_record", "save_config", "select"]

LIBRARIES = ("hwnas", "torch", "optuna", "mlflow", "onnx", "onnxruntime", "numpy", "scikit-learn")
MOST_DOMINATED = 1000
"""Dominated candidates in front.json; candidates.parquet has all of them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A device's front, and which of its members become finalists, both fastest first."""

    front: tuple[Candidate, ...]
    finalists: tuple[Candidate, ...]


def select(prepared: Prepared, done: Sequence[Evaluated]) -> Selection:
    """The front of what was evaluated, and `config.finalists` of its members: the ends, the knee, and others spread between them.

    Raises:
        InfeasibleError: no candidate reaches the accuracy asked for.
    """
    minima = [c for c in prepared.config.constraints if c.kind == "min"]
    able = [
        e.candidate for e in done if all(c.holds(e.candidate.metrics[c.metric].value) for c in minima if c.metric in e.candidate.metrics)
    ]
    if not able:
        best = max((e.candidate.metrics["accuracy_search"].value for e in done), default=0.0)
        wanted = ", ".join(f"{c.metric} >= {c.bound:g}" for c in minima) or "the constraints"
        raise InfeasibleError(
            f"none of {len(done)} candidates meets {wanted}: the best accuracy_search is {best:.4f}", len(done), {"accuracy_search": best}
        )
    front = [candidate for candidate, on_front in zip(able, pareto.front(losses(able, prepared.objectives)), strict=True) if on_front]
    front.sort(key=lambda candidate: (candidate.metrics["latency_s"].value, candidate.id))
    # Costs spread over decades: finalists are spread over their logarithms.
    points = losses(front, prepared.objectives)
    points[:, 1:] = np.log(points[:, 1:])
    return Selection(tuple(front), tuple(front[row] for row in pareto.select(points, prepared.config.finalists)))


def front_record(
    prepared: Prepared,
    device: Device,
    done: Sequence[Evaluated],
    selection: Selection,
    finalists: Mapping[str, Finalist],
    notes: Mapping[str, str],
    extras: Mapping[str, float | str],
) -> FrontRecord:
    """What the study says of a device.

    Args:
        finalists: by candidate id.
        notes: why a finalist failed, by candidate id.
    """
    config, space = prepared.config, prepared.space
    members = {candidate.id for candidate in selection.front}
    accuracies = [candidate.metrics["accuracy_search"] for candidate in selection.front]
    marks = pareto.tied([a.value for a in accuracies], [a.std or 0.0 for a in accuracies])
    tied = {candidate.id for candidate, mark in zip(selection.front, marks, strict=True) if mark}
    points = losses(selection.front, prepared.objectives)
    reference = [o.loss(value) for o, value in zip(prepared.objectives, device.reference, strict=True)]
    dominated = [e.candidate for e in done if e.candidate.id not in members]
    thinned = [dominated[i] for i in np.unique(np.linspace(0, len(dominated) - 1, min(len(dominated), MOST_DOMINATED)).astype(int))]
    records = []
    for candidate in [*selection.front, *thinned]:
        made = finalists.get(candidate.id)
        records.append(
            CandidateRecord(
                made.candidate if made else candidate,
                on_front=candidate.id in members,
                finalist=made is not None,
                tied=candidate.id in tied,
                gene_numbers=space.gene_numbers(candidate.arch),
                title=space.describe(candidate.arch),
                artifacts={**made.artifacts, DRAWING: f"models/{candidate.id}/architecture.svg"} if made else {},
                note="; ".join(filter(None, (made.note, device.scorer.words(candidate.arch)))) if made else notes.get(candidate.id, ""),
            )
        )
    return FrontRecord(
        study=config.study,
        device=device.target.device,
        space=space.name,
        data=prepared.data.name,
        data_fingerprint=prepared.data.fingerprint,
        objectives=tuple(objective.metric for objective in prepared.objectives),
        hypervolume=pareto.hypervolume(points, reference),
        reference_point=device.reference,
        candidates=tuple(records),
        search=extras,
    )


def save_config(folder: Path, config: SearchConfig, prepared: Prepared) -> None:
    """Writes config.json: the configuration, versions, git commit and data."""
    facts = {
        "schema": 1,
        "config": json.loads(config.model_dump_json()),
        "versions": {"python": platform.python_version(), **{name: v for name in LIBRARIES if (v := _version(name))}},
        "git_commit": _git_commit(),
        "space": prepared.space.name,
        "data": prepared.data.to_dict(),
        "targets": [device.target.to_dict() for device in prepared.devices],
    }
    write_atomic(folder / "config.json", json.dumps(facts, indent=1) + "\n")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git_commit() -> str:
    """Commit of the checkout that this package lies in; empty elsewhere."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


class Recorder:
    """Keeps the log and the files of a study; MLflow gets a copy in the background, and its failing never ends a search."""

    def __init__(self, folder: Path, prepared: Prepared, on_event: Listener) -> None:
        self._folder = folder
        self._prepared = prepared
        self._on_event = on_event
        self._log = EventLog(folder / LOG)
        self._connection = Connection(folder.parent, prepared.config.tracking_uri)
        self._mirror = StudyMirror(folder, self._connection)
        self._background = Background(self._connection, self._mirror.send)

    def start(self) -> None:
        """Starts or takes up the parent run."""
        self._log.append(BEGIN)
        self._background.wake()

    def listen(self, event: Event) -> None:
        """Passes an event on, and keeps it where it matters."""
        if event.kind != "progress":
            self._log.append(event.kind, {"text": event.text, **event.fields})
        if event.kind in ("trial", "epoch"):
            self._background.wake()
        self._on_event(event)

    def record(self, fronts: Sequence[FrontRecord], done: Sequence[Sequence[Evaluated]]) -> None:
        """Writes the files of every device's front; then they are sent."""
        for number, front in enumerate(fronts):
            write_front(self._folder, front, first=number == 0)
        write_candidates(self._folder, [EvaluatedRecord(e.candidate, e.seconds) for evaluated in done for e in evaluated])
        write_pictures(self._folder, study_facts(self._prepared, fronts, done, self._log.read()))
        self._background.wake()

    def finish(self, status: Status) -> None:
        """Ends the parent run, and waits for a bounded time until all is sent. Says what to do where it is not."""
        self._log.append(END, {"status": status})
        self._background.wake()
        error = self._background.close()
        if error is not None:
            runs = self._folder.parent
            where = [] if runs == Path("runs") else ["--runs", str(runs)]
            later = shlex.join(["nas", "sync", self._prepared.config.study, *where])
            self.listen(Event("warning", f"MLflow does not have all of this search, its files do ({error}); to send it: {later}"))

    @property
    def view(self) -> str:
        """The Pareto view: its address on a server, else its path behind the address of one; empty where MLflow failed."""
        path = self._mirror.view_path
        return self._connection.uri.rstrip("/") + path if path and self._connection.is_server else path
