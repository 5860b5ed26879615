"""What became of candidates, kept with their study: finalists, why others failed, and what finalists were pruned to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.architecture import Architecture
from nas.metrics import Candidate, Metric
from nas.search.finalists import Finalist
from nas.search.storage import FAILED, FINALIST, PRUNED, Study

__all__ = ["keep_failure", "keep_finalist", "keep_pruned", "read_failure", "read_finalist", "read_pruned", "whole_finalist"]


def read_finalist(study: Study, candidate: Candidate) -> Finalist | None:
    """What an earlier run made of a candidate; None where it has not."""
    known = study.user_attrs.get(f"{FINALIST}{candidate.id}")
    if known is None:
        return None
    metrics = {name: Metric.from_dict(metric) for name, metric in known["metrics"].items()}
    # What is predicted may have been predicted anew since.
    metrics |= {name: metric for name, metric in candidate.metrics.items() if metrics.get(name, metric).source in ("predicted", "modelled")}
    return Finalist(replace(candidate, metrics=metrics), known["artifacts"], known["note"])


def whole_finalist(study: Study, candidate: Candidate, folder: Path) -> Finalist | None:
    """What an earlier run made of a candidate; None where it has not, or where files of it are gone or another network's.

    Args:
        folder: of the study.
    """
    kept = read_finalist(study, candidate)
    return kept if kept is not None and kept.present(folder) == kept else None


def keep_finalist(study: Study, made: Finalist) -> None:
    """Keeps a finalist with the study."""
    study.set_user_attr(f"{FINALIST}{made.candidate.id}", made.to_dict())


def keep_failure(study: Study, candidate: Candidate, reason: str) -> None:
    """Keeps with the study why a candidate is no finalist, though it was to be one."""
    study.set_user_attr(f"{FAILED}{candidate.id}", reason)


def read_failure(study: Study, candidate: Candidate) -> str:
    """Why making a finalist of a candidate failed the last time that it did; empty where it never did."""
    return str(study.user_attrs.get(f"{FAILED}{candidate.id}", ""))


def read_pruned(study: Study, parent: Candidate, share: float) -> tuple[Architecture, Metric, str] | None:
    """What an earlier run pruned a finalist to, its accuracy_validation and how it was made; None where none did."""
    known = study.user_attrs.get(f"{PRUNED}{parent.id}@{share:g}")
    if known is None:
        return None
    return Architecture.from_dict(known["architecture"]), Metric.from_dict(known["accuracy_validation"]), str(known["note"])


def keep_pruned(study: Study, parent: Candidate, share: float, made: Candidate, note: str) -> None:
    """Keeps what a finalist was pruned to, whether it earns a place or not."""
    accuracy = made.metrics["accuracy_validation"].to_dict()
    known = {"architecture": made.arch.to_dict(), "accuracy_validation": accuracy, "note": note}
    study.set_user_attr(f"{PRUNED}{parent.id}@{share:g}", known)
