"""One study in a store: its parent run, its children, its views. Everything can be logged again and changes nothing then."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from nas.errors import InputError, StudyError
from nas.passwords import shown_uri, without_passwords
from nas.report.course import Status
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.runs import (
    STUDY_ID,
    Point,
    StudyRun,
    config_params,
    front_metrics,
    front_tags,
    gene_params,
    members,
    run_metrics,
    run_tags,
    table_of,
)
from nas.report.tracking.artifacts import finished_files, send_files
from nas.report.tracking.connection import Connection, TrackingError
from nas.report.tracking.dataset import dataset_input
from nas.report.units import SHOWN
from nas.report.view import experiment_note, is_view_of, own_key, view_path, view_state, view_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["MOST_CHILDREN", "PATTERNS", "LoggedRuns", "Tracker", "find_view", "logged_runs"]

NAMES = ("config.json", "front.json", "front.csv", "front.html", "front.png", "hypervolume.png", "report.html", "candidates.parquet")
PATTERNS = (*NAMES, "predictor_*.png", "fronts/*.json", "ceilings/*.json")
"""Files of a study's folder that the parent run gets."""
MOST_CHILDREN = 100
"""The UI gets slow beyond (mlflow#21841); the devices of a study share them."""
BATCH = 1000
"""Points a request: the most that mlflow takes."""
NOTE_TRIES = 3
MOST_LINKED = 100
"""Studies, more than the note has room for."""


class Tracker:
    """Logs one study to a store.

    Attributes:
        runs: how many runs were made, or got something new.
        files: how many files were sent.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._study: StudyRun | None = None
        self._experiment_id = self._run_id = self._key = ""
        self._shown: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {}
        self.runs = self.files = 0

    @property
    def view_path(self) -> str:
        """Path of the study's view behind the address of an MLflow server; after `start`."""
        return view_path(self.experiment_id, self._key)

    @property
    def experiment_id(self) -> str:
        """Of the study's experiment; after `start`."""
        _ = self._begun
        return self._experiment_id

    def start(self, study: StudyRun, status: Status = "RUNNING") -> str:
        """Starts the study's parent run, or takes up the one that it already has: also one that failed, or whose driver was killed.

        Another search may have the same name: runs are told apart by the tag `study_id`, and one without an id has those without.

        A resume that changes a param logs it as tag `resumed.<key>`: params never change.

        Returns: the run's id.
        """
        params = {key: shown_uri(value) for key, value in config_params(study.config).items()}
        with self._connection.client() as client:
            self._experiment_id = self._experiment(client, study.experiment)
            self._study = study
            self._key = own_key(client.get_experiment(self._experiment_id).tags, study.study, study.id)
            run = self._runs(client, study.kind).get(study.study)
            labels = study.labels
            if run is None:
                run = client.create_run(self._experiment_id, run_name=study.study, tags=labels)
                self.runs += 1
            else:
                self._restore(client, run)
                labels |= {f"resumed.{key}": value for key, value in params.items() if run.data.params.get(key, value) != value}
            if run.info.status != status:
                self._set_status(client, run.info.run_id, status)
            self._run_id = run.info.run_id
            self._log(client, run, {}, params, labels)
        if "fingerprint" in study.data and not (run.inputs and run.inputs.dataset_inputs):
            self._log_data(study)
        return self._run_id

    def _log_data(self, study: StudyRun) -> None:
        """A store takes a data set of an experiment once: of two studies that bring it at the same moment one has to try again."""
        for is_last in (False, True):
            try:
                with self._connection.client() as client:
                    client.log_inputs(self._run_id, [dataset_input(study.data, study.source)])
                return
            except TrackingError:
                if is_last:
                    raise

    def log_points(self, points: Sequence[Point]) -> None:
        """Adds points to the parent's series. A point that is there already, with its time, is not there twice."""
        from mlflow.entities import Metric

        _ = self._begun
        for start in range(0, len(points), BATCH):
            with self._connection.client() as client:
                client.log_batch(self._run_id, metrics=[Metric(*point) for point in points[start : start + BATCH]])

    def log_front(self, record: FrontRecord, limit: int = MOST_CHILDREN) -> dict[str, str]:
        """Logs a device's front: a child run for its members and finalists, the best of it at the parent, the views.

        Args:
            limit: child runs at most.

        Returns: run ids by candidate id.
        """
        study = self._begun
        shown = members(record, limit)
        with self._connection.client() as client:
            found = self._runs(client, "candidate")
        old = {name: run for name, run in found.items() if run.data.tags.get("device") == record.device}
        ids = {}
        for rank, each in enumerate(shown, 1):
            tags = {**run_tags(each, record, rank, study.devices), **study.identity, "mlflow.parentRunId": self._run_id}
            with self._connection.client() as client:
                ids[each.id] = self._log_candidate(client, each, tags, old.get(each.id))
        with self._connection.client() as client:
            for name in set(old) - set(ids):
                if old[name].info.lifecycle_stage == "active":
                    client.delete_run(old[name].info.run_id)
            self._log(client, client.get_run(self._run_id), front_metrics(record), {}, front_tags(record))
            self._log_views(client, record, shown)
        return ids

    def log_files(self, folder: Path, fronts: Sequence[FrontRecord], ids: Mapping[str, str]) -> None:
        """Sends files that the store lacks: pictures, tables and records to the parent, everything in models/<id>/ to a finalist.

        Args:
            folder: of the study.
            ids: run ids by candidate id, as `log_front` gives them.
        """
        wanted: dict[str, Path | str] = {}
        for pattern in PATTERNS:
            wanted |= {path.relative_to(folder).as_posix(): path for path in finished_files(folder, pattern)}
        if "config.json" in wanted:
            text = (folder / "config.json").read_text(encoding="utf-8")
            shown = without_passwords(json.loads(text))
            wanted["config.json"] = text if shown == json.loads(text) else json.dumps(shown, indent=1) + "\n"
        tables = [f"candidates/{record.device}.json" for record in fronts]
        for table, record in zip(tables, fronts, strict=True):
            wanted[table] = json.dumps(table_of([each for each in record.candidates if each.id not in ids]))
        self.files += send_files(self._connection, self._run_id, wanted)
        with self._connection.client() as client:
            tags = client.get_run(self._run_id).data.tags
            known = [entry["path"] for entry in json.loads(tags.get("mlflow.loggedArtifacts", "[]"))]
            if set(tables) - set(known):
                entries = [{"path": table, "type": "table"} for table in dict.fromkeys((*known, *tables))]
                client.set_tag(self._run_id, "mlflow.loggedArtifacts", json.dumps(entries))
        for record in fronts:
            for each in record.finalists:
                files: dict[str, Path | str] = {path.name: path for path in finished_files(folder, f"models/{each.id}/*")}
                if files and each.id in ids:
                    self.files += send_files(self._connection, ids[each.id], files)

    def finish(self, status: Status, labels: Mapping[str, str] = MappingProxyType({})) -> None:
        """Ends the parent run.

        Args:
            labels: more tags, known in the end only.
        """
        _ = self._begun
        with self._connection.client() as client:
            run = client.get_run(self._run_id)
            self._log(client, run, {}, {}, labels)
            if run.info.status != status:
                self._set_status(client, self._run_id, status)

    @property
    def _begun(self) -> StudyRun:
        if self._study is None:
            raise InputError("a tracker logs nothing before start() has made the study's run")
        return self._study

    def _log_candidate(self, client: MlflowClient, each: CandidateRecord, tags: Mapping[str, str], run: Run | None) -> str:
        if run is None:
            run = client.create_run(self._experiment_id, run_name=each.id, tags=dict(tags))
            new = True
        else:
            new = self._restore(client, run)
        new |= self._log(client, run, run_metrics(each), gene_params(each), tags)
        if run.info.status != "FINISHED":
            client.set_terminated(run.info.run_id, "FINISHED")
        self.runs += new
        return str(run.info.run_id)

    def _log(
        self, client: MlflowClient, run: Run, metrics: Mapping[str, float], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> bool:
        """One transaction with what the run does not hold yet, so that logging again adds nothing. Returns whether there was any."""
        from mlflow.entities import Metric, Param, RunTag

        now, data = int(time.time() * 1000), run.data
        new_metrics = [Metric(key, value, now, 0) for key, value in metrics.items() if data.metrics.get(key) != value]
        new_params = [Param(key, value) for key, value in params.items() if key not in data.params]
        new_tags = [RunTag(key, value) for key, value in tags.items() if data.tags.get(key) != value]
        first = 100  # params and tags that one request takes
        if new_metrics or new_params or new_tags:
            client.log_batch(run.info.run_id, metrics=new_metrics, params=new_params[:first], tags=new_tags[:first])
        for start in range(first, max(len(new_params), len(new_tags)), first):
            stop = start + first
            client.log_batch(run.info.run_id, params=new_params[start:stop], tags=new_tags[start:stop])
        return bool(new_metrics or new_params or new_tags)

    def _log_views(self, client: MlflowClient, record: FrontRecord, shown: Sequence[CandidateRecord]) -> None:
        """The view of this device, the one of all devices so far, and the note with all links."""
        study, study_id = self._begun.study, self._begun.id
        params = [gene_params(each) for each in shown]
        genes = tuple(name for name in (params[0] if params else ()) if all(name in each for each in params))
        known = tuple(name for name in SHOWN if any(name in each.candidate.metrics for each in shown))
        three_axes = {"latency_s", "energy_j"} <= set(record.objectives)
        self._shown[record.device] = genes, known, three_axes
        common = [name for name in genes if all(name in others for others, _, _ in self._shown.values())]
        any_known = [name for name in SHOWN if any(name in others for _, others, _ in self._shown.values())]
        tags, any_axes = client.get_experiment(self._experiment_id).tags, any(each for _, _, each in self._shown.values())
        self._key, key = own_key(tags, study, study_id), own_key(tags, study, study_id, record.device)
        wanted = {key: view_state(study, genes, known, record.device, three_axes=three_axes, study_id=study_id)}
        wanted[self._key] = view_state(study, common, any_known, three_axes=any_axes, study_id=study_id)
        for key, state in wanted.items():
            there = tags.get(view_tag(key))
            if there != state and (there is None or is_view_of(there, study, study_id)):
                client.set_experiment_tag(self._experiment_id, view_tag(key), state)
        for _ in range(NOTE_TRIES):  # another search may write its views and the note meanwhile: the last one to look mends it
            experiment = client.get_experiment(self._experiment_id)
            note = experiment_note(self._experiment_id, experiment.name, experiment.tags, partial(self._newest_studies, client))
            if experiment.tags.get("mlflow.note.content") == note:
                return
            client.set_experiment_tag(self._experiment_id, "mlflow.note.content", note)

    def _newest_studies(self, client: MlflowClient) -> list[str]:
        """Those whose views may stand in the note, the newest first."""
        newest = ["attributes.start_time DESC"]
        runs = client.search_runs([self._experiment_id], "tags.kind = 'search'", max_results=MOST_LINKED, order_by=newest)
        return [run.data.tags["study"] for run in runs]

    def _experiment(self, client: MlflowClient, name: str) -> str:
        """Id of the experiment of that name, made or restored where needed."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            home = self._connection.artifacts
            place = None if home is None else (home / re.sub(r"[^A-Za-z0-9._-]+", "_", name)).as_uri()
            try:
                return str(client.create_experiment(name, artifact_location=place))
            except MlflowException:
                found = client.get_experiment_by_name(name)  # another search made it meanwhile
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _runs(self, client: MlflowClient, kind: Literal["search", "supernet", "candidate"]) -> dict[str, Run]:
        """The runs of that kind of this study, and of no other search of its name; deleted ones too; by study or by candidate id."""
        from mlflow.entities import ViewType

        wanted = f"tags.kind = '{kind}' AND tags.study = '{self._begun.study}'"
        runs: list[Run] = []
        token: str | None = None
        while token != "":
            page = client.search_runs([self._experiment_id], wanted, ViewType.ALL, 1000, page_token=token)
            runs, token = [*runs, *page], page.token or ""
        name = "candidate_id" if kind == "candidate" else "study"
        return {run.data.tags[name]: run for run in runs if run.data.tags.get(STUDY_ID, "") == self._begun.id}

    @staticmethod
    def _restore(client: MlflowClient, run: Run) -> bool:
        """Brings back a run that was deleted; whether it was."""
        if run.info.lifecycle_stage == "active":
            return False
        client.restore_run(run.info.run_id)
        return True

    @staticmethod
    def _set_status(client: MlflowClient, run_id: str, status: Status) -> None:
        if status == "RUNNING":
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status)


def find_view(connection: Connection, study: str, study_id: str) -> str:
    """Path of the view of any study in the store.

    Args:
        study_id: empty where it has none (`nas.report.study.study_id`).

    Raises:
        StudyError: nothing is recorded of it.
        TrackingError: the store cannot be read.
    """
    missing = StudyError(f"nothing is recorded yet of study {study} in {connection.shown}: nas sync {study} sends it")
    if not connection.is_made:
        raise missing
    with connection.client() as client:
        ids = [each.experiment_id for each in client.search_experiments()]
        runs = client.search_runs(ids, f"tags.kind = 'search' AND tags.study = '{study}'") if ids else []
        found = next((run.info.experiment_id for run in runs if run.data.tags.get(STUDY_ID, "") == study_id), None)
        if found is None:
            raise missing
        return view_path(found, own_key(client.get_experiment(found).tags, study, study_id))


@dataclass(frozen=True, slots=True)
class LoggedRuns:
    """What a store has of a study.

    Attributes:
        parents: status of each parent run.
        children: candidate ids of the child runs.
    """

    parents: tuple[str, ...]
    children: tuple[str, ...]


def logged_runs(connection: Connection, study: str) -> LoggedRuns:
    """The runs of a study that are not deleted.

    Raises:
        TrackingError: the store cannot be read.
    """
    with connection.client() as client:
        ids = [each.experiment_id for each in client.search_experiments()]
        parents, children = (
            client.search_runs(ids, f"tags.kind = '{kind}' AND tags.study = '{study}'") for kind in ("search", "candidate")
        )
    return LoggedRuns(tuple(run.info.status for run in parents), tuple(run.data.tags["candidate_id"] for run in children))
