"""Contracts as test classes: a plug-in inherits one, gives its object, and is tested as the built-in ones are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.architecture import Architecture
from nas.errors import InputError, ModelFileError, NasError
from nas.hardware.runtimes import Runtime
from nas.metrics import UNITS
from nas.target import PRECISIONS

if TYPE_CHECKING:  # a device that tests a runtime has no torch
    from nas.search.evaluators import Evaluator

__all__ = ["EvaluatorContract", "RuntimeContract"]


class RuntimeContract:
    """What every runtime keeps. Override `runtime` and `model_path`."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        """The runtime under test."""
        raise NotImplementedError

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        """A small model file that the runtime can run."""
        raise NotImplementedError

    def test_says_what_it_is(self, runtime: Runtime) -> None:
        assert runtime.name
        assert runtime.version()
        assert runtime.precisions()
        assert set(runtime.precisions()) <= set(PRECISIONS)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_runs_more_than_once(self, runtime: Runtime, model_path: Path, threads: int) -> None:
        with runtime.open(model_path, threads) as run:
            for _ in range(3):
                run()

    def test_two_models_are_open_at_once(self, runtime: Runtime, model_path: Path) -> None:
        with runtime.open(model_path, 1) as first, runtime.open(model_path, 1) as second:
            first()
            second()
            first()

    def test_a_file_that_is_no_model_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no model")
        with pytest.raises(ModelFileError, match="broken"), runtime.open(broken, 1):
            pass

    def test_an_absent_file_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match="absent"), runtime.open(tmp_path / "absent.onnx", 1):
            pass

    def test_no_threads_are_refused(self, runtime: Runtime, model_path: Path) -> None:
        with pytest.raises(InputError, match="threads"), runtime.open(model_path, 0):
            pass


class EvaluatorContract:
    """What every accuracy evaluator keeps. Override `evaluator` and `archs`."""

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """The evaluator under test."""
        raise NotImplementedError

    @pytest.fixture
    def archs(self) -> list[Architecture]:
        """At least three different architectures that it can evaluate."""
        raise NotImplementedError

    def test_gives_each_architecture_its_accuracy(self, evaluator: Evaluator, archs: list[Architecture]) -> None:
        found = evaluator.evaluate(archs)
        assert len(found) == len(archs) >= 3
        for metrics in found:
            accuracy = metrics["accuracy_search"]
            assert 0 <= accuracy.value <= 1
            assert accuracy.std is not None
            assert accuracy.std > 0
            assert accuracy.source != "measured"
            assert all(metric.unit == UNITS[name] for name, metric in metrics.items())

    def test_says_the_same_again_in_any_order_and_company(self, evaluator: Evaluator, archs: list[Architecture]) -> None:
        together = evaluator.evaluate(archs)
        assert evaluator.evaluate(archs) == together
        assert evaluator.evaluate(archs[::-1]) == together[::-1]
        assert [evaluator.evaluate([arch])[0] for arch in archs] == together

    def test_nothing_is_evaluated_where_nothing_is_asked(self, evaluator: Evaluator) -> None:
        assert evaluator.evaluate([]) == []

    def test_an_architecture_of_another_space_is_refused(self, evaluator: Evaluator, archs: list[Architecture]) -> None:
        with pytest.raises(NasError):
            evaluator.evaluate([Architecture("of_nobody", archs[0].genes)])
        assert len(evaluator.evaluate(archs[:1])) == 1
