"""The home of mlflow: a study as runs, so that its front can be looked at, filtered and compared in the MLflow UI.

One experiment per space and data, one parent run a study, one child run a member of the front or finalist; all else is one table.
Everything here can be logged again from the study's files and changes nothing then: a tracking server that fails costs a search nothing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from nas.errors import InputError, MissingExtraError, NasError, StudyError
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.runs import config_params, gene_params, members, run_metrics, run_tags, table_of
from nas.report.units import SHOWN
from nas.report.view import view_path, view_state, view_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["Tracker", "TrackingError", "local_store"]

PARENT_FILES = ("config.json", "front.json", "front.csv", "front.html", "front.png", "hypervolume.png", "candidates.parquet")
ENVIRONMENT = MappingProxyType(
    {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }
)
"""Settings of mlflow that hold where the user has none of their own."""
FLUSH_S = 2.0
"""Shortest time between two writes of the progress."""


class TrackingError(NasError):
    """The tracking store or server did not do what was asked. The study's files hold all that it should have got."""


def local_store(runs: Path) -> str:
    """URI of the store that a laptop uses: SQLite in runs/mlflow."""
    return f"sqlite:///{(runs / 'mlflow' / 'mlflow.db').resolve()}"


class Tracker:
    """Logs one study. Nothing is connected before the first call.

    Args:
        runs: the folder of the studies; the local store lives in its mlflow/.
        tracking_uri: another store or server.
    """

    def __init__(self, runs: Path, tracking_uri: str | None = None) -> None:
        self.uri = tracking_uri or local_store(runs)
        self._artifacts = None if tracking_uri else (runs / "mlflow" / "artifacts").resolve()
        self._client: MlflowClient | None = None
        self._study = self._experiment_id = self._run_id = ""
        self._pending: list[tuple[str, float, int, int]] = []
        self._flushed = 0.0

    @property
    def view_path(self) -> str:
        """Path of the study's view behind the address of an MLflow server; after `start`."""
        return view_path(self._started(self._experiment_id), self._study)

    def find_view(self, study: str) -> str:
        """Path of the view of any study in the store.

        Raises:
            StudyError: nothing is recorded of it.
            TrackingError: the store cannot be read.
        """
        missing = StudyError(f"nothing is recorded yet of study {study} in {_shown(self.uri)}: nas studies rebuild {study} does it")
        if self._artifacts is not None and not (self._artifacts.parent / "mlflow.db").is_file():
            raise missing
        with self._server() as client:
            ids = [each.experiment_id for each in client.search_experiments()]
            found = client.search_runs(ids, f"tags.kind = 'search' AND tags.study = '{study}'", max_results=1) if ids else []
        if not found:
            raise missing
        return view_path(found[0].info.experiment_id, study)

    def start(
        self, study: str, space: str, data: str, config: Mapping[str, object], tags: Mapping[str, str],
        kind: Literal["search", "supernet"] = "search",
    ) -> str:  # fmt: skip
        """Starts the study's parent run, or takes up the one that it already has.

        Args:
            study: name of the run; of a supernet's training, where `kind` says so.
            config: nested; its leaves become params. A resume that changes one logs it as tag `resumed.<key>`: params never change.

        Returns: the run's id.
        """
        params = config_params(config)
        labels = {**tags, "kind": kind, "study": study, "space": space, "data": data}
        labels |= {
            "mlflow.source.name": "nas search" if kind == "search" else "nas train-supernet",
            "mlflow.source.type": "LOCAL",
            "mlflow.runName": study,
        }
        with self._server() as client:
            self._experiment_id = self._experiment(client, f"{space} on {data}")
            self._study, self._pending = study, []
            run = self._runs(client, kind).get(study)
            if run is None:
                run = client.create_run(self._experiment_id, run_name=study, tags=labels)
            else:
                if run.info.lifecycle_stage != "active":
                    client.restore_run(run.info.run_id)
                client.update_run(run.info.run_id, status="RUNNING")
            self._run_id = run.info.run_id
            changed = {f"resumed.{key}": value for key, value in params.items() if run.data.params.get(key, value) != value}
            self._log(client, run, {}, params, {**labels, **changed})
        return self._run_id

    def log_progress(self, step: int, hypervolume: float, best_accuracy: float) -> None:
        """Adds a point to the parent's series. Points are sent together, at most every two seconds; `finish` sends the rest."""
        self._started(self._run_id)
        now = int(time.time() * 1000)
        self._pending += [("hypervolume", hypervolume, now, step), ("best_accuracy", best_accuracy, now, step)]
        if time.monotonic() - self._flushed >= FLUSH_S:
            self._flush()

    def log_epoch(self, fields: Mapping[str, object]) -> None:
        """Adds an epoch of the supernet to the parent's series: supernet/largest, supernet/smallest and so on, over "epoch"."""
        self._started(self._run_id)
        now, step = int(time.time() * 1000), int(str(fields["epoch"]))
        self._pending += [
            (f"supernet/{name}", float(value), now, step)
            for name, value in fields.items()
            if name != "epoch" and isinstance(value, int | float)
        ]
        self._flush()

    def log_front(self, record: FrontRecord, folder: Path, limit: int = 100) -> int:
        """Logs a device's front: a child run for its members and finalists, files and the table of the others at the parent, the view.

        Args:
            folder: the study's; the files that are there are logged.
            limit: child runs at most. The UI gets slow beyond 100 (mlflow#21841), so several devices share them.

        Returns: how many child runs there are.
        """
        self._started(self._run_id)
        shown = members(record, limit)
        with self._server() as client:
            old = {name: run for name, run in self._runs(client, "candidate").items() if run.data.tags.get("device") == record.device}
            for each in shown:
                self._log_candidate(client, each, record, folder, old.get(each.id))
            ids = {each.id for each in shown}
            for name in set(old) - ids:
                if old[name].info.lifecycle_stage == "active":
                    client.delete_run(old[name].info.run_id)
            self._log_parent(client, record, folder, [each for each in record.candidates if each.id not in ids])
            params = [gene_params(each) for each in shown]
            genes = [name for name in (params[0] if params else ()) if all(name in each for each in params)]
            known = [name for name in SHOWN if any(name in each.candidate.metrics for each in shown)]
            client.set_experiment_tag(self._experiment_id, view_tag(record.study), view_state(record.study, genes, known))
        return len(shown)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Ends the parent run."""
        self._started(self._run_id)
        self._flush()
        with self._server() as client:
            client.set_terminated(self._run_id, status)

    def _log_candidate(self, client: MlflowClient, each: CandidateRecord, record: FrontRecord, folder: Path, run: Run | None) -> None:
        labels = {**run_tags(each, record), "mlflow.parentRunId": self._run_id}
        if run is None:
            run = client.create_run(self._experiment_id, run_name=each.id, tags=labels)
        elif run.info.lifecycle_stage != "active":
            client.restore_run(run.info.run_id)
        self._log(client, run, run_metrics(each), gene_params(each), labels)
        for path in each.artifacts.values():
            if path.endswith(".onnx") and (folder / path).is_file():
                client.log_artifact(run.info.run_id, str(folder / path))
        if run.info.status != "FINISHED":
            client.set_terminated(run.info.run_id, "FINISHED")

    def _log_parent(self, client: MlflowClient, record: FrontRecord, folder: Path, others: Sequence[CandidateRecord]) -> None:
        best: dict[str, float] = {
            "hypervolume": record.hypervolume,
            "front_members": len(record.front),
            "candidates": len(record.candidates),
        }
        for name, shown in SHOWN.items():
            values = [value for each in (*record.front, *record.finalists) if (value := each.value(name)) is not None]
            if values:
                best[f"best_{shown.key}"] = (max if name.startswith("accuracy") else min)(values) * shown.factor
        run = client.get_run(self._run_id)
        table = f"candidates/{record.device}.json"
        tables = json.loads(run.data.tags.get("mlflow.loggedArtifacts", "[]"))
        tables += [entry for entry in [{"path": table, "type": "table"}] if entry not in tables]
        client.log_dict(self._run_id, table_of(others), table)
        metrics = {f"{record.device}/{key}": value for key, value in best.items()}
        self._log(client, run, metrics, {}, {"mlflow.loggedArtifacts": json.dumps(tables)})
        for path in (*(folder / name for name in PARENT_FILES), folder / "fronts" / f"{record.device}.json"):
            if path.is_file():
                client.log_artifact(self._run_id, str(path), "fronts" if path.parent.name == "fronts" else None)

    def _log(
        self, client: MlflowClient, run: Run, metrics: Mapping[str, float], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """One transaction with what the run does not hold yet, so that logging again adds nothing."""
        from mlflow.entities import Metric, Param, RunTag

        now, data = int(time.time() * 1000), run.data
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, now, 0) for key, value in metrics.items() if data.metrics.get(key) != value],
            params=[Param(key, value) for key, value in params.items() if key not in data.params],
            tags=[RunTag(key, value[:8000]) for key, value in tags.items() if data.tags.get(key) != value],
        )

    def _flush(self) -> None:
        if not self._pending:
            return
        with self._server() as client:
            from mlflow.entities import Metric

            for start in range(0, len(self._pending), 1000):
                client.log_batch(self._run_id, metrics=[Metric(*point) for point in self._pending[start : start + 1000]])
        self._pending, self._flushed = [], time.monotonic()

    def _experiment(self, client: MlflowClient, name: str) -> str:
        """Id of the experiment of that name, made or restored where needed."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            place = None if self._artifacts is None else (self._artifacts / re.sub(r"[^A-Za-z0-9._-]+", "_", name)).as_uri()
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
        """The study's runs of that kind, deleted ones too, by study or by candidate id."""
        from mlflow.entities import ViewType

        runs: list[Run] = []
        token: str | None = None
        while token != "":
            page = client.search_runs(
                [self._experiment_id], f"tags.kind = '{kind}' AND tags.study = '{self._study}'", ViewType.ALL, 1000, page_token=token
            )
            runs, token = [*runs, *page], page.token or ""
        return {run.data.tags["candidate_id" if kind == "candidate" else "study"]: run for run in runs}

    def _started(self, value: str) -> str:
        if not value:
            raise InputError("a tracker logs nothing before start() has made the study's run")
        return value

    @contextmanager
    def _server(self) -> Iterator[MlflowClient]:
        """The client; the one place where failures of mlflow, of its store and of the network become a `TrackingError`."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                from alembic.util.exc import CommandError
                from mlflow import MlflowClient
                from mlflow.exceptions import MlflowException
                from sqlalchemy.exc import SQLAlchemyError
            except ModuleNotFoundError as exc:
                raise MissingExtraError(exc.name or "mlflow", "search") from exc
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            try:
                if self._client is None:
                    if self._artifacts is not None:
                        self._artifacts.mkdir(parents=True, exist_ok=True)
                    self._client = MlflowClient(tracking_uri=self.uri)
                yield self._client
            except (MlflowException, SQLAlchemyError, CommandError, OSError) as exc:
                reason = str(exc).strip().splitlines() or [type(exc).__name__]
                cause = re.split(r" with url| \(Caused by", _shown(reason[0]))[0]  # requests repeats the address there
                raise TrackingError(f"tracking to {_shown(self.uri)} failed: {cause[:300]}") from exc


def _shown(text: str) -> str:
    """Without the password that a URI may hold."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
