"""What the runs of a study hold in MLflow: tags, metrics, params and tables, as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas.report.front import CandidateRecord, FrontRecord
from nas.report.units import SHOWN

__all__ = ["config_params", "gene_params", "members", "param_name", "run_metrics", "run_tags", "table_of"]


FINALIST, MEMBER = "#d9641c", "#1b5e9e"
"""Colours of runs in the charts."""


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


def run_tags(each: CandidateRecord, front: FrontRecord) -> dict[str, str]:
    """Tags of a candidate's run: what it is filtered by."""
    target = each.candidate.target
    labels = {"kind": "candidate", "study": front.study, "space": front.space, "data": front.data, "candidate_id": each.id}
    labels |= {"arch_id": each.candidate.arch.arch_id, "device": target.device, "runtime": target.runtime}
    labels |= {"runtime_version": target.runtime_version, "precision": target.precision, "threads": str(target.threads)}
    labels |= {key: str(value).lower() for key, value in (("pareto", each.on_front), ("finalist", each.finalist), ("tied", each.tied))}
    labels |= {f"source_{SHOWN[name].key}": metric.source for name, metric in each.candidate.metrics.items()}
    labels |= {"title": each.title, "mlflow.note.content": "\n\n".join(filter(None, (each.title, each.note)))}
    labels |= {"mlflow.runName": each.id, "mlflow.source.name": "nas search", "mlflow.runColor": FINALIST if each.finalist else MEMBER}
    return labels


def members(record: FrontRecord, limit: int) -> list[CandidateRecord]:
    """Finalists and front, the latter thinned evenly where there are more than `limit`."""
    finalists = list(record.finalists)[:limit]
    front = [each for each in record.front if not each.finalist]
    room = limit - len(finalists)
    if len(front) > room:
        front = [front[index * (len(front) - 1) // max(room - 1, 1)] for index in range(room)]
    return sorted((*finalists, *front), key=lambda each: (each.value(record.objectives[-1]) or 0.0, each.id))


def table_of(records: Sequence[CandidateRecord]) -> dict[str, Any]:
    """The form of a table artifact: what `MlflowClient.log_table` writes."""
    rows = [{"id": each.id, "title": each.title, **run_metrics(each)} for each in records]
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["id", "title"]
    return {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}
