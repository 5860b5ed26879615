"""Evaluators are found by name, and a search takes only those that give accuracy."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from nas import plugins
from nas.errors import InputError, UnknownNameError
from nas.search.evaluators import EvaluatorContext, accuracy_evaluator, open_evaluator


def test_unknown_evaluators_list_the_nearest(context: EvaluatorContext) -> None:
    with pytest.raises(UnknownNameError, match="unknown evaluator 'supernett': did you mean supernet"):
        open_evaluator("supernett", context)
    with pytest.raises(UnknownNameError, match="unknown evaluator 'tabulate': did you mean tabular"):
        accuracy_evaluator("tabulate")


def test_those_that_give_accuracy_are_told_from_proxies() -> None:
    assert set(plugins.names("evaluators")) >= {"supernet", "train", "tabular", "zero-cost"}
    assert accuracy_evaluator("supernet").needs == {"supernet"}
    assert accuracy_evaluator("tabular").needs == {"table"}
    assert accuracy_evaluator("train").needs == frozenset()
    with pytest.raises(
        InputError, match="zero-cost gives naswot, which ranks networks but is no accuracy: choose supernet or tabular or train"
    ):
        accuracy_evaluator("zero-cost")


def test_a_context_reaches_another_process(context: EvaluatorContext) -> None:
    again = pickle.loads(pickle.dumps(context))
    assert again == context
    assert hash(again) == hash(context)


def test_the_contracts_need_no_torch() -> None:
    """A device tests its runtime with the base install."""
    code = "import sys, nas.testing; sys.exit(any(name in sys.modules for name in ('torch', 'optuna', 'mlflow')))"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False).returncode == 0
