"""Why candidates failed as finalists, kept with their study: what is derived from it again says so too."""

from __future__ import annotations

from nas.metrics import Candidate
from nas.search.storage import FAILED, Study

__all__ = ["keep_failure", "read_failure"]


def keep_failure(study: Study, candidate: Candidate, reason: str) -> None:
    """Keeps with the study why a candidate is no finalist, though it was to be one."""
    study.set_user_attr(f"{FAILED}{candidate.id}", reason)


def read_failure(study: Study, candidate: Candidate) -> str:
    """Why making a finalist of a candidate failed the last time that it did; empty where it never did."""
    return str(study.user_attrs.get(f"{FAILED}{candidate.id}", ""))
