"""What the runs of a study hold in MLflow: tags, metrics, params and tables, as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from nas.report.footprint import PURPOSES
from nas.report.front import CANDIDATES, CandidateRecord, FrontRecord
from nas.report.units import SHOWN

__all__ = [
    "STUDY_ID", "Point", "StudyRun", "config_params", "cost_metrics", "cost_tags", "front_metrics", "front_tags", "gene_params", "members",
    "param_name", "run_metrics", "run_tags", "table_of",
]  # fmt: skip

Point = tuple[str, float, int, int]
"""Of a series: metric, value, milliseconds since 1970, step."""
COLOURS = (("#d9641c", "#1b5e9e"), ("#0b6e4f", "#7cc6a4"), ("#6a1b9a", "#c9a0dc"), ("#8d4004", "#e0b187"), ("#37474f", "#a9b7bd"))
"""Of runs in the charts, for each device of a study: finalists, other members of the front."""
LONGEST_TAG = 8000
STUDY_ID = "study_id"
"""Tag that tells a search from others of its name; runs of studies that earlier versions began have none."""


@dataclass(frozen=True, slots=True)
class StudyRun:
    """The parent run of a study, or of a supernet's training.

    Attributes:
        config: nested; its leaves become params.
        data: what the record of the study says of its images (`nas.training.sets.ImageData.to_dict`); at least their "name".
        source: name or path of the images.
        devices: of the study, first the one that it is known by.
        tags: more of them.
        id: of the study (`nas.report.study.study_id`); empty where it has none.
    """

    study: str
    space: str
    config: Mapping[str, object]
    data: Mapping[str, Any]
    source: str = ""
    devices: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    kind: Literal["search", "supernet"] = "search"
    id: str = ""

    @property
    def experiment(self) -> str:
        """Name of the experiment: one per space and data."""
        return f"{self.space} on {self.data['name']}"

    @property
    def identity(self) -> dict[str, str]:
        """The tag that all of its runs and models are told from others by, where it has an id."""
        return {STUDY_ID: self.id} if self.id else {}

    @property
    def labels(self) -> dict[str, str]:
        """All tags of the run."""
        command = "nas search" if self.kind == "search" else "nas train-supernet"
        known = {"kind": self.kind, "study": self.study, "space": self.space, "data": str(self.data["name"])}
        known |= {"data_fingerprint": str(self.data.get("fingerprint", "")), "devices": ", ".join(self.devices)}
        known |= {"mlflow.source.name": command, "mlflow.source.type": "LOCAL", "mlflow.runName": self.study}
        return {**self.tags, **known, **self.identity}


def param_name(name: str) -> str:
    """A name with the characters that mlflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def config_params(config: Mapping[str, object]) -> dict[str, str]:
    """The leaves of a nested configuration, under dotted names."""
    return {param_name(name): str(value)[:6000] for name, value in _leaves(config)}


def gene_params(record: CandidateRecord) -> dict[str, str]:
    """Numeric genes: parallel coordinates want numbers."""
    return {param_name(name): f"{number:.12g}" for name, number in record.gene_numbers.items()}


def _leaves(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def run_metrics(record: CandidateRecord) -> dict[str, float]:
    """Metrics of a run: values, and bands and standard errors where they are known, under the keys and in the units of the edge."""
    found = {}
    for name, metric in record.candidate.metrics.items():
        for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high"), ("std", "_std")):
            value = getattr(metric, part)
            if value is not None:
                found[SHOWN[name].key + suffix] = value * SHOWN[name].factor
    return found


def front_metrics(record: FrontRecord) -> dict[str, float]:
    """Metrics of a device at the parent: best values, counts, and what the search took; under "<device>/". What the search cost is that of
    all devices together: `cost_metrics`."""
    found: dict[str, float] = {"front_hypervolume": record.hypervolume, "front_members": len(record.front)}
    found |= {"candidates": record.total, "finalists": len(record.finalists)}
    numbers = {key: float(value) for key, value in record.search.items() if isinstance(value, int | float) and key != CANDIDATES}
    found |= {f"search_{key}": value for key, value in numbers.items() if not key.startswith("cost_")}
    for name, shown in SHOWN.items():
        values = [value for each in (*record.front, *record.finalists) if (value := each.value(name)) is not None]
        if values:
            found[f"best_{shown.key}"] = (max if name.startswith("accuracy") else min)(values) * shown.factor
    return {f"{record.device}/{key}": value for key, value in found.items()}


def front_tags(record: FrontRecord) -> dict[str, str]:
    """Tags of a device at the parent: sources and scopes of the joules of `front_metrics`."""
    known = [metric for each in (*record.front, *record.finalists) if (metric := each.candidate.metrics.get("energy_j")) is not None]
    found = (("source", {metric.source for metric in known}), ("scope", {str(metric.scope) for metric in known}))
    return {f"{record.device}/{part}_{SHOWN['energy_j'].key}": ", ".join(sorted(map(str, words))) for part, words in found if words}


def cost_metrics(cost: Mapping[str, object]) -> dict[str, float]:
    """Metrics of the parent: what the search itself cost, cost_<purpose>_<unit> of seconds, kWh and kg of CO2 equivalent.

    Args:
        cost: as the record has it (`nas.report.footprint.Footprint.record`); where nobody counted kWh there are none.
    """
    found = {f"cost_{purpose}_{unit}": cost.get(f"cost_{purpose}_{unit}") for purpose in PURPOSES for unit in ("s", "kwh", "co2e_kg")}
    known = {key: float(value) for key, value in found.items() if isinstance(value, int | float)}
    if known:
        known["cost_total_s"] = sum(known.get(f"cost_{purpose}_s", 0.0) for purpose in PURPOSES)
    totals = {f"cost_total_{unit}": cost.get(f"cost_{unit}") for unit in ("kwh", "co2e_kg")}
    return known | {key: float(value) for key, value in totals.items() if isinstance(value, int | float)}


def cost_tags(cost: Mapping[str, object]) -> dict[str, str]:
    """Tags of the parent: scope, source, method and grid of `cost_metrics`."""
    return {key: value[:LONGEST_TAG] for key, value in cost.items() if key.startswith("cost_") and isinstance(value, str)}


def run_tags(each: CandidateRecord, front: FrontRecord, rank: int, devices: Sequence[str]) -> dict[str, str]:
    """Tags of a candidate's run: what it is filtered by.

    Args:
        rank: place among the members shown, 1 is the fastest.
        devices: of the study; they decide the run's colour.
    """
    target = each.candidate.target
    labels = {"kind": "candidate", "study": front.study, "space": front.space, "data": front.data, "candidate_id": each.id}
    labels |= {"arch_id": each.candidate.arch.arch_id, "device": target.device, "runtime": target.runtime, "rank": str(rank)}
    labels |= {"runtime_version": target.runtime_version, "precision": target.precision, "threads": str(target.threads)}
    labels |= {key: str(value).lower() for key, value in (("pareto", each.on_front), ("finalist", each.finalist), ("tied", each.tied))}
    if each.pruned:
        labels["pruned_from"] = each.candidate.arch.unpruned.arch_id
        labels["pruned_widths"] = ", ".join(f"{group} {width}" for group, width in each.candidate.arch.widths)
    labels |= {f"source_{SHOWN[name].key}": metric.source for name, metric in each.candidate.metrics.items()}
    labels |= {f"scope_{SHOWN[name].key}": metric.scope for name, metric in each.candidate.metrics.items() if metric.scope}
    labels |= {"title": each.title, "mlflow.note.content": "\n\n".join(filter(None, (each.title, each.note)))}
    place = devices.index(front.device) if front.device in devices else 0
    colour = COLOURS[place % len(COLOURS)][0 if each.finalist else 1]
    labels |= {"mlflow.runName": each.id, "mlflow.source.name": "nas search", "mlflow.runColor": colour}
    return {name: value[:LONGEST_TAG] for name, value in labels.items()}


def members(record: FrontRecord, limit: int) -> list[CandidateRecord]:
    """Finalists and front, the latter thinned evenly where there are more than `limit`; fastest first."""
    finalists = list(record.finalists)[:limit]
    front = [each for each in record.front if not each.finalist]
    room = limit - len(finalists)
    if len(front) > room:
        front = [front[index * (len(front) - 1) // max(room - 1, 1)] for index in range(room)]
    return sorted((*finalists, *front), key=lambda each: (each.value("latency_s") or 0.0, each.id))


def _origins(record: CandidateRecord) -> dict[str, str]:
    """Source and scope of joules, where a run has them as tags."""
    found = {name: metric for name, metric in record.candidate.metrics.items() if metric.scope}
    parts = ((f"{part}_{SHOWN[name].key}", getattr(metric, part)) for name, metric in found.items() for part in ("source", "scope"))
    return dict(parts)


def table_of(records: Sequence[CandidateRecord]) -> dict[str, Any]:
    """The form of a table artifact: what `MlflowClient.log_table` writes."""
    rows = [{"id": each.id, "title": each.title, **run_metrics(each), **_origins(each)} for each in records]
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["id", "title"]
    return {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}
