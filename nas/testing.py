"""Contracts as test classes: a plug-in inherits one, gives its object, and is tested as the built-in ones are."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import InputError, ModelFileError
from nas.hardware.runtimes import Runtime
from nas.target import PRECISIONS

__all__ = ["RuntimeContract"]


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
