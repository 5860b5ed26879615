"""From the storage's truth to what people look at: fronts, files of the study, MLflow. All of it can be derived again."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from nas.architecture import Architecture
from nas.config import SearchConfig
from nas.errors import InfeasibleError, StudyError
from nas.events import Event, Listener
from nas.files import remove_stale, write_atomic
from nas.hardware.ceiling import Ceiling
from nas.metrics import Candidate
from nas.picturing import study_facts
from nas.preparation import Device, Prepared
from nas.report.course import BEGIN, END, LOG, Status, course_of
from nas.report.front import CANDIDATES, CandidateRecord, FrontRecord
from nas.report.pictures import DRAWING, write_pictures
from nas.report.record import EvaluatedRecord, EventLog, write_candidates, write_front
from nas.report.study import load_config, load_data_record, study_id
from nas.report.tracking import Background, Connection, StudyMirror
from nas.search import pareto
from nas.search.engine import losses
from nas.search.finalists import Finalist
from nas.search.storage import Evaluated
from nas.training.changes import describe_change
from nas.training.data import ImageData

__all__ = ["Recorder", "Selection", "front_record", "infeasible", "refuse_other_images", "save_config", "select", "select_all"]

LIBRARIES = ("hwnas", "torch", "optuna", "mlflow", "onnx", "onnxruntime", "numpy", "scikit-learn")
MOST_OTHERS = 1000
"""Candidates in front.json that are not on the front; candidates.parquet has all of them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A device's front, and which of its members become finalists, both fastest first."""

    front: tuple[Candidate, ...]
    finalists: tuple[Candidate, ...]


def select_all(prepared: Prepared, done: Sequence[Sequence[Evaluated]]) -> list[Selection]:
    """`select` for each device; what is a finalist of one is a finalist of the next where it serves: it is fine-tuned once."""
    found: list[Selection] = []
    for evaluated in done:
        had = frozenset(_files_of(candidate) for selection in found for candidate in selection.finalists)
        found.append(select(prepared, evaluated, had))
    return found


def _files_of(candidate: Candidate) -> tuple[Architecture, str]:
    """What a finalist's files are those of."""
    return candidate.arch, candidate.target.precision


def infeasible(prepared: Prepared, device: Device, done: Sequence[Evaluated]) -> InfeasibleError | None:
    """Why none of what was evaluated for a device meets the constraints; None where something does."""
    if _able(prepared, done):
        return None
    if not done:
        again = f"nas search --resume {prepared.config.study}"
        return InfeasibleError(f"nothing was evaluated for {device.target.device} yet ({again} goes on)", 0, {})
    best = max(e.candidate.metrics["accuracy_search"].value for e in done)
    wanted = ", ".join(f"{c.metric} {'<=' if c.kind == 'max' else '>='} {c.bound:g}" for c in prepared.config.constraints)
    text = f"none of {len(done)} candidates for {device.target.device} meets {wanted}: the best accuracy_search is {best:.4f}"
    return InfeasibleError(text, len(done), {"accuracy_search": best})


def _able(prepared: Prepared, done: Sequence[Evaluated]) -> list[Candidate]:
    return [each.candidate for each in done if each.candidate.meets(prepared.config.constraints)]


def select(prepared: Prepared, done: Sequence[Evaluated], had: Collection[tuple[Architecture, str]] = ()) -> Selection:
    """The front of what was evaluated, and `config.finalists` of its members: the ends, the knee, and others spread between them.

    An architecture may stand on the front with several targets; it is a finalist with one of each precision, for its files are those of a
    precision.

    Args:
        done: with a candidate that meets the constraints (`infeasible`).
        had: architectures with a precision that are finalists of another device.
    """
    able = _able(prepared, done)
    front = [candidate for candidate, on_front in zip(able, pareto.front(losses(able, prepared.front_objectives)), strict=True) if on_front]
    front.sort(key=lambda candidate: (candidate.metrics["latency_s"].value, candidate.id))
    # Costs spread over decades: finalists are spread over their logarithms.
    fastest: dict[tuple[Architecture, str], Candidate] = {}
    for candidate in front:
        fastest.setdefault(_files_of(candidate), candidate)
    once = list(fastest.values())
    points = losses(once, prepared.front_objectives)
    points[:, 1:] = np.log(points[:, 1:])
    rows = [row for row, candidate in enumerate(once) if _files_of(candidate) in had]
    return Selection(tuple(front), tuple(once[row] for row in pareto.select(points, prepared.config.finalists, rows)))


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
    points = losses(selection.front, prepared.front_objectives)
    reference = [o.loss(value) for o, value in zip(prepared.front_objectives, device.front_reference, strict=True)]
    others = [each.candidate for each in done if each.candidate.id not in members]
    thinned = [others[i] for i in np.unique(np.linspace(0, len(others) - 1, min(len(others), MOST_OTHERS)).astype(int))]
    records = []
    pruned = [each.candidate for each in finalists.values() if each.candidate.arch.widths]
    for candidate in [*selection.front, *pruned, *thinned]:
        made = finalists.get(candidate.id)
        records.append(
            CandidateRecord(
                made.candidate if made else candidate,
                on_front=candidate.id in members,
                finalist=made is not None,
                tied=candidate.id in tied,
                feasible=candidate.meets(config.constraints),
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
        objectives=tuple(objective.metric for objective in prepared.front_objectives),
        hypervolume=pareto.hypervolume(points, reference),
        reference_point=device.front_reference,
        candidates=tuple(records),
        search={**extras, CANDIDATES: float(len(done) + len(pruned))},
    )


def save_config(folder: Path, config: SearchConfig, prepared: Prepared) -> None:
    """Writes config.json: the configuration, versions, git commit and data; with the id of a study that begins, which it keeps."""
    begun = study_id(folder) if (folder / "config.json").is_file() else uuid.uuid4().hex
    facts = {
        "schema": 1,
        **({"id": begun} if begun else {}),
        "config": json.loads(config.model_dump_json()),
        "versions": {"python": platform.python_version(), **{name: v for name in LIBRARIES if (v := _version(name))}},
        "git_commit": _git_commit(),
        "space": prepared.space.name,
        "data": prepared.data.to_dict(),
        "targets": [scorer.target.to_dict() for device in prepared.devices for scorer in device.scorer.all],
    }
    write_atomic(folder / "config.json", json.dumps(facts, indent=1) + "\n")


def refuse_other_images(folder: Path, data: ImageData, cache: Path) -> None:
    """A study goes on, and what it found is trained and tested, on the images that it began with, split as they were then.

    Args:
        folder: of the study.
        data: the images as they are now, at the largest resolution of the study's space, as `nas.preparation.prepare` loads them.
        cache: folder of decoded images.

    Raises:
        StudyError: they are others; says what changed.
    """
    config, fingerprint = load_config(folder)
    if fingerprint != data.fingerprint:
        changed = describe_change(cache, load_data_record(folder), data.to_dict())
        raise StudyError(f"the images of {config.data} are not those that study {config.study} began with: {changed}; start a new study")


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
        self._fronts: tuple[FrontRecord, ...] = ()

    @property
    def status(self) -> Status:
        """What the search ended with, as its log has it."""
        return course_of(self._folder).ending

    def start(self, ending: Status | None = None) -> None:
        """Starts or takes up the parent run.

        Args:
            ending: what the search ended with, where it does not go on: its files are only derived again.
        """
        remove_stale(self._folder)
        self._log.append(BEGIN, {} if ending is None else {"status": ending})
        self._background.wake()

    def listen(self, event: Event) -> None:
        """Passes an event on, and keeps it where it matters."""
        if event.kind != "progress":
            self._log.append(event.kind, {"text": event.text, **event.fields})
        if event.kind in ("trial", "epoch"):
            self._background.wake()
        self._on_event(event)

    def record(self, prepared: Prepared, fronts: Sequence[FrontRecord], done: Sequence[Sequence[Evaluated]]) -> None:
        """Writes the files of every device's front; then they are sent.

        Args:
            prepared: with the devices that have one, as they are known by now.
        """
        for path in (self._folder / "fronts").glob("*.json"):
            if path.stem not in {front.device for front in fronts}:  # it had one before
                path.unlink()
        for number, front in enumerate(fronts):
            write_front(self._folder, front, first=number == 0)
        self._fronts = tuple(fronts)
        made = {each.id: each.candidate for front in fronts for each in front.finalists}  # with what was trained and measured of them
        rows = [EvaluatedRecord(made.pop(e.candidate.id, e.candidate), e.seconds) for evaluated in done for e in evaluated]
        write_candidates(self._folder, rows + [EvaluatedRecord(candidate) for candidate in made.values()])  # those left were pruned
        facts = study_facts(prepared, fronts, done, self._log.read())
        for front in fronts:
            self._write_ceilings(front, facts.ceilings.get(front.device, {}))
        write_pictures(self._folder, facts)
        self._background.wake()

    def _write_ceilings(self, front: FrontRecord, ceilings: Mapping[str, Ceiling]) -> None:
        """ceilings/<device>.json: how near front and finalists come to the peaks of the chip, with their energy beside their
        multiply-adds. None of several devices, which are several chips."""
        found = []
        for each in (each for each in front.shown if each.id in ceilings):
            metrics = each.candidate.metrics
            energy = {"energy_j": metrics["energy_j"].to_dict()} if "energy_j" in metrics else {}
            found.append({"id": each.id, "on_front": each.on_front, "finalist": each.finalist, **ceilings[each.id].to_dict(), **energy})
        if found:
            data = {"schema": 1, "study": front.study, "device": front.device, "candidates": found}
            write_atomic(self._folder / "ceilings" / f"{front.device}.json", json.dumps(data, indent=1, allow_nan=False) + "\n")

    def close_costs(self, seconds: float, cost: Mapping[str, float | str]) -> tuple[FrontRecord, ...]:
        """Writes the fronts that were recorded again, and returns them, with all that the search took: pictures are part of it.

        Args:
            seconds: of all runs of the study until now, as `cost` is.
        """
        self._fronts = tuple(replace(front, search={**front.search, "seconds": seconds, **cost}) for front in self._fronts)
        for number, front in enumerate(self._fronts):
            write_front(self._folder, front, first=number == 0)
        return self._fronts

    def finish(self, status: Status, cost: Mapping[str, float | str]) -> None:
        """Ends the parent run, and waits for a bounded time until all is sent. Says what to do where it is not.

        Args:
            cost: of all runs of the study until now.
        """
        self._log.append(END, {"status": status, "cost": dict(cost)})
        self._background.wake()
        error = self._background.close()
        if error is not None:
            runs = self._folder.parent
            where = [] if runs == Path("runs") else ["--runs", str(runs)]
            later = shlex.join(["nas", "sync", self._prepared.config.study, *where])
            self.listen(Event("warning", f"MLflow does not have all of this search, its files do ({error}); to send it: {later}"))
        for name in self._mirror.renamed:
            self.listen(Event("info", f"MLflow has models of another search of this name: those of this one are registered as {name}"))

    @property
    def view(self) -> str:
        """The Pareto view: its address on a server (no password), else its path behind the address of one; empty where MLflow failed."""
        path = self._mirror.view_path
        return self._connection.shown.rstrip("/") + path if path and self._connection.is_server else path
