"""Where the accuracy of an architecture comes from: an inherited network, a training of its own, a table."""

from __future__ import annotations

from nas.search.evaluators.base import Evaluation, Evaluator, EvaluatorContext, accuracy_evaluator, open_evaluator, threads_each

__all__ = ["Evaluation", "Evaluator", "EvaluatorContext", "accuracy_evaluator", "open_evaluator", "threads_each"]
