"""Where evaluations run: in this process, in local processes, or on a Ray cluster."""

from __future__ import annotations

from nas.search.evaluators import Evaluation, EvaluatorContext
from nas.search.executors.base import Executor, LostError
from nas.search.executors.local import InProcess, LocalPool

__all__ = ["Evaluation", "Executor", "InProcess", "LocalPool", "LostError", "open_executor"]


def open_executor(name: str, context: EvaluatorContext, workers: int, ray: str | None = None) -> Executor:
    """In this process for one worker, a local pool for more, or a Ray cluster by its address.

    Args:
        workers: with `ray` at most so many evaluations at once; 1 for what the cluster has room for.
    """
    if ray is not None:
        from nas.search.executors.cluster import RayPool

        return RayPool(name, context, ray, workers if workers > 1 else None)
    return InProcess(name, context) if workers == 1 else LocalPool(name, context, workers)
