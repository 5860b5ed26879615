"""The Pareto view of a study in the MLflow UI: one experiment tag that its link opens.

The UI reads `mlflow.sharedViewState.<name>` as JSON. The format is undocumented (read off the UI of mlflow 3.17), so mlflow's minor
version is pinned.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from types import MappingProxyType
from urllib.parse import quote

from nas.report.units import SHOWN

__all__ = ["view_path", "view_state", "view_tag"]

GRID = MappingProxyType({"columns": 2, "cardHeight": 400})
_COLUMNS = ("accuracy_search", "accuracy_test", "latency_s", "energy_j", "params", "macs", "size_bytes")


def view_path(experiment_id: str, study: str) -> str:
    """Path and query of a study's view, to be put behind a server's address."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={quote(study)}&compareRunsMode=CHART&workflowType=machine_learning"


def view_tag(study: str) -> str:
    """The experiment tag that holds a study's view."""
    return f"mlflow.sharedViewState.{study}"


def view_state(study: str, genes: Sequence[str], known: Sequence[str]) -> str:
    """The view as the tag's value: table columns, scatter of accuracy against latency and energy, contour, parallel coordinates.

    Args:
        genes: params that every candidate of the view has; the chart of parallel coordinates leaves out runs that lack one.
        known: metrics of `nas.metrics.UNITS` that the candidates have.
    """
    keys = {name: SHOWN[name].key for name in _COLUMNS if name in known}
    accuracy, latency, energy, params = (SHOWN[name].key for name in ("accuracy_search", "latency_s", "energy_j", "params"))
    section = _uuid(study, "section")
    charts: list[dict[str, object]] = []

    def chart(kind: str, name: str, axes: dict[str, str], **more: object) -> None:
        placed = {axis: {"key": key, "type": "METRIC"} for axis, key in axes.items()}
        common = {"runsCountToCompare": 100, "metricSectionId": section, "deleted": False, "isGenerated": False}
        charts.append({"uuid": _uuid(study, name), "type": kind, "displayName": name, **common, **placed, **more})

    if "latency_s" in known:
        chart("SCATTER", "Accuracy against latency", {"xaxis": latency, "yaxis": accuracy})
    if "energy_j" in known:
        chart("SCATTER", "Accuracy against energy", {"xaxis": energy, "yaxis": accuracy})
    if "latency_s" in known and "params" in known:
        chart("CONTOUR", "Accuracy over latency and parameters", {"xaxis": latency, "yaxis": params, "zaxis": accuracy})
    if genes:
        metrics = [key for key in (latency, accuracy) if key in keys.values()]
        chart("PARALLEL", "Genes, latency and accuracy", {}, selectedParams=list(genes), selectedMetrics=metrics, showAllRuns=True)
    state = {
        "searchFilter": f"tags.kind = 'candidate' AND tags.study = '{study}'",
        "orderByKey": f"metrics.`{latency if 'latency_s' in known else accuracy}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [f"metrics.`{key}`" for key in keys.values()] + ["tags.`finalist`", "tags.`device`"],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": False,
        "groupBy": None,
        "compareRunSections": [{"uuid": section, "name": f"Pareto front of {study}", "display": True, "isReordered": False, **GRID}],
        "compareRunCharts": charts,
    }
    return json.dumps(state, separators=(",", ":"))


def _uuid(study: str, name: str) -> str:
    """The same id each time, so that a view that is written again is the same view."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hwnas/{study}/{name}"))
