"""What a store holds of a study, without what no two stores have alike: ids and the times of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType

from nas.report.runs import StudyRun
from nas.report.tracking import Connection

EXPERIMENT = "mobilenet_tiny on digits"


def store(runs: Path, uri: str | None = None) -> MlflowClient:
    with Connection(runs, uri).client() as client:
        return client


def found_runs(client: MlflowClient, study: str, kind: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    ids = [each.experiment_id for each in client.search_experiments(ViewType.ALL)]
    return list(client.search_runs(ids, f"tags.kind = '{kind}' AND tags.study = '{study}'", view, 1000))


def the_parent(client: MlflowClient, study: str) -> Run:
    (parent,) = found_runs(client, study, "search")
    return parent


def experiment(client: MlflowClient, name: str = EXPERIMENT) -> Experiment:
    found = client.get_experiment_by_name(name)
    assert found is not None
    return found


def artifacts(run: Run) -> Path:
    return Path(unquote(urlparse(run.info.artifact_uri).path))


def files_of(client: MlflowClient, run: Run, folder: str | None = None) -> set[str]:
    found = client.list_artifacts(run.info.run_id, folder)
    return {path for each in found for path in (files_of(client, run, each.path) if each.is_dir else {each.path})}


def study_run(study: str, space: str = "mobilenet_tiny", **config: object) -> StudyRun:
    return StudyRun(study, space, config, {"name": "digits"}, devices=("raspberrypi4", "pixel3"))


def everything(client: MlflowClient, study: str, name: str = EXPERIMENT) -> Mapping[str, Any]:
    """All that people see of a study: runs with series, files, views, and models with aliases."""
    found = experiment(client, name)
    runs = {}
    for kind in ("search", "candidate"):
        for run in found_runs(client, study, kind):
            history = {
                key: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            }
            tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.parentRunId"}
            inputs = [(each.dataset.name, each.dataset.digest, each.dataset.source) for each in run.inputs.dataset_inputs]
            outputs = len(run.outputs.model_outputs) if run.outputs else 0
            key = f"{kind} {run.info.run_name} {tags.get('device', '')}"
            runs[key] = (run.info.status, run.data.params, tags, history, inputs, outputs, files_of(client, run))
    views = {key: json.loads(value) for key, value in found.tags.items() if key.startswith("mlflow.sharedViewState")}
    note = found.tags["mlflow.note.content"].replace(f"experiments/{found.experiment_id}/", "experiments/N/")
    models = {}
    for model in client.search_registered_models():
        if model.tags["study"] == study:
            versions = client.search_model_versions(f"name='{model.name}'")
            ids = {str(each.version): each.tags["candidate_id"] for each in versions}
            aliases = {alias: ids[str(number)] for alias, number in model.aliases.items()}
            models[model.name] = (model.tags, aliases, sorted((each.tags["candidate_id"], tuple(each.tags.items())) for each in versions))
    return {"runs": runs, "views": views, "note": note, "models": models}
