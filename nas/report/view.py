"""The Pareto views of a study in the MLflow UI: experiment tags that their links open, and the experiment's note that holds the links.

The UI reads `mlflow.sharedViewState.<key>` as JSON. The format is undocumented (read off the UI of mlflow 3.17), so mlflow's minor
version is pinned and a browser test opens it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

from nas.report.runs import STUDY_ID
from nas.report.units import SHOWN

__all__ = ["experiment_note", "is_view_of", "own_key", "view_key", "view_keys", "view_path", "view_state", "view_tag"]

PREFIX = "mlflow.sharedViewState."
GRID = MappingProxyType({"columns": 2, "cardHeight": 400})
LONGEST_TAG = 18_000
"""Characters; MLflow refuses more than 20,000 in a tag of an experiment."""
_COLUMNS = (
    "accuracy_search", "accuracy_test", "accuracy_test_int8", "latency_s", "latency_measured_s", "energy_j", "params", "macs", "size_bytes",
)  # fmt: skip


def view_key(study: str, device: str | None = None) -> str:
    """Key of the view of all devices of a study, or of one of them."""
    return study if device is None else f"{study}-{device}"


def view_keys(study: str, study_id: str, device: str | None = None) -> tuple[str, ...]:
    """Keys that a search may have for a view, and names for its models: the plain one, and one with the beginning of its id."""
    key = view_key(study, device)
    return (key, f"{key}-{study_id[:8]}") if study_id else (key,)


def own_key(tags: Mapping[str, str], study: str, study_id: str, device: str | None = None) -> str:
    """Key of a search's view: the first that no other search has.

    Args:
        tags: of the experiment.
    """
    keys = view_keys(study, study_id, device)
    free = (key for key in keys if view_tag(key) not in tags or is_view_of(tags[view_tag(key)], study, study_id))
    return next(free, keys[-1])


def view_path(experiment_id: str, key: str, mode: Literal["CHART", "TABLE"] = "CHART") -> str:
    """Path and query of a view, to be put behind a server's address.

    Args:
        mode: the charts beside the runs' names, or the table of the runs with its columns of metrics.
    """
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={quote(key)}&compareRunsMode={mode}&workflowType=machine_learning"


def view_tag(key: str) -> str:
    """The experiment tag that holds a view."""
    return f"{PREFIX}{key}"


def is_view_of(state: str, study: str, study_id: str) -> bool:
    """Whether a view that is there already is one of this search: others may have its name; "a" on "b-c" and "a-b" on "c" have one key."""
    try:
        text = str(json.loads(state)["searchFilter"])
        is_same = f"{STUDY_ID} = '{study_id}'" in text if study_id else STUDY_ID not in text
        return is_same and f"tags.study = '{study}'" in text
    except (ValueError, KeyError, TypeError):
        return True  # nobody's: it may be written over


def view_state(
    study: str, genes: Sequence[str], known: Sequence[str], device: str | None = None, *, three_axes: bool = False, study_id: str = ""
) -> str:  # fmt: skip
    """A view as the tag's value: table columns, scatter of accuracy against latency and energy, contours, parallel coordinates.

    Args:
        genes: params that every candidate of the view has; the chart of parallel coordinates leaves out runs that lack one.
        known: metrics of `nas.metrics.UNITS` that the candidates have.
        device: that the view is for; None compares all of the study.
        three_axes: energy is an axis of its own; else it follows latency, and nothing lies between them. The UI has no third dimension:
            accuracy is a colour there, and front.html among the files turns it.
        study_id: of the study; empty where it has none.
    """
    key = view_key(study, device)
    keys = {name: SHOWN[name].key for name in _COLUMNS if name in known}
    accuracy, latency, energy, params = (SHOWN[name].key for name in ("accuracy_search", "latency_s", "energy_j", "params"))
    section = _uuid(key, "section")
    charts: list[dict[str, object]] = []

    def chart(kind: str, name: str, axes: dict[str, str], **more: object) -> None:
        placed = {axis: {"key": key, "type": "METRIC"} for axis, key in axes.items()}
        common = {"runsCountToCompare": 100, "metricSectionId": section, "deleted": False, "isGenerated": False}
        charts.append({"uuid": _uuid(key, name), "type": kind, "displayName": name, **common, **placed, **more})

    if "latency_s" in known:
        chart("SCATTER", "Accuracy against latency", {"xaxis": latency, "yaxis": accuracy})
    if "energy_j" in known:
        chart("SCATTER", "Accuracy against energy", {"xaxis": energy, "yaxis": accuracy})
    if three_axes and {"latency_s", "energy_j"} <= set(known):
        chart("CONTOUR", "Accuracy over latency and energy", {"xaxis": latency, "yaxis": energy, "zaxis": accuracy})
    if "latency_s" in known and "params" in known:
        chart("CONTOUR", "Accuracy over latency and parameters", {"xaxis": latency, "yaxis": params, "zaxis": accuracy})
    if genes:
        metrics = [key for key in (latency, accuracy) if key in keys.values()]
        chart("PARALLEL", "Genes, latency and accuracy", {}, selectedParams=list(genes), selectedMetrics=metrics, showAllRuns=True)
    only = f" AND tags.{STUDY_ID} = '{study_id}'" if study_id else ""
    only += "" if device is None else f" AND tags.device = '{device}'"
    title = f"Pareto front of {study}" + ("" if device is None else f" on {device}")
    state = {
        "searchFilter": f"tags.kind = 'candidate' AND tags.study = '{study}'{only}",
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
        "compareRunSections": [{"uuid": section, "name": title, "display": True, "isReordered": False, **GRID}],
        "compareRunCharts": charts,
    }
    text = json.dumps(state, separators=(",", ":"))
    if len(text) > LONGEST_TAG and genes:  # a space with hundreds of genes: the first of them are shown
        return view_state(study, genes[: len(genes) // 2], known, device, three_axes=three_axes, study_id=study_id)
    return text


def experiment_note(experiment_id: str, name: str, tags: Mapping[str, str], newest: Callable[[], Sequence[str]]) -> str:
    """The experiment's note, Markdown: a link to every view, and how to read one. Where a tag has no room for all, those of the oldest
    studies are left out, and counted.

    Args:
        tags: of the experiment; its views are among them.
        newest: names of its studies, the newest first; asked only where there is no room.
    """
    links = {key: _link(experiment_id, key) for key in sorted(key.removeprefix(PREFIX) for key in tags if key.startswith(PREFIX))}
    whole = _note(name, list(links.values()))
    if len(whole) <= LONGEST_TAG:
        return whole
    ranks = {study: rank for rank, study in enumerate(newest())}
    room, kept = LONGEST_TAG - len(_note(name, [_left_out(len(links))])), set[str]()
    for key in sorted(links, key=lambda key: ranks.get(_study_of(tags[view_tag(key)]), len(ranks))):
        room -= len(links[key]) + 1
        if room < 0:
            break
        kept.add(key)
    return _note(name, [*(link for key, link in links.items() if key in kept), _left_out(len(links) - len(kept))])


def _link(experiment_id: str, key: str) -> str:
    chart, table = (view_path(experiment_id, key, mode).removeprefix("/") for mode in ("CHART", "TABLE"))
    return f"- [{key}]({chart}) ([table]({table}))"


def _left_out(count: int) -> str:
    return f"- and {count} of earlier studies: `nas ui STUDY`"


def _note(name: str, lines: Sequence[str]) -> str:
    return "\n".join((f"## Pareto fronts of {name}", "", *lines, "", _how_to_read()))


def _study_of(state: str) -> str:
    """Name of the study that a view is one of; empty where it does not say."""
    found = re.search(r"tags\.study = '([^']*)'", state)
    return found[1] if found else ""


def _how_to_read() -> str:
    return (
        "How to read a view: every point and row is a network on its study's front, fastest first; up and to the left is better. "
        "Orange ones (dark ones, where a study has several devices) are finalists: fine-tuned, tested, exported and registered as "
        "models. `accuracy_search` comes from shared weights and ranks; `accuracy_test` is that of the exported file. Tags `source_*` "
        "say where each number comes from, `*_low` and `*_high` are its 90 % band. The parent run has hypervolume over trials, files "
        "and pictures; its table `candidates/<device>.json` has the networks that are not on the front."
    )


def _uuid(key: str, name: str) -> str:
    """The same id each time, so that a view that is written again is the same view."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hwnas/{key}/{name}"))
