"""Where evaluations run must not change what comes out."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from nas.architecture import Architecture
from nas.errors import DataError, ModelFileError, NasError, SpaceError, TrainingError
from nas.search.evaluators import Evaluation, EvaluatorContext
from nas.search.executors import InProcess, LocalPool, LostError, open_executor
from nas.search.executors.base import _evaluator, evaluate_here, evaluate_with


def test_a_local_pool_gives_what_this_process_gives(context: EvaluatorContext) -> None:
    space = context.space
    archs = [space.smallest, space.largest, *(space.sample(seed) for seed in range(4))]
    here, pool = open_executor("supernet", context, 1), open_executor("supernet", context, 2)
    assert isinstance(here, InProcess)
    assert isinstance(pool, LocalPool)
    assert (here.capacity, pool.capacity) == (1, 2)
    try:
        futures = [pool.submit(arch) for arch in archs]
        stranger = pool.submit(Architecture("of_nobody", ()))
        one_by_one = [here.submit(arch).result() for arch in archs]
        assert [future.result(timeout=120).metrics for future in futures] == [evaluation.metrics for evaluation in one_by_one]
        assert all(evaluation.seconds > 0 for evaluation in one_by_one)
        # Errors arrive as what they are: the trial fails, the search goes on.
        with pytest.raises(NasError, match="of_nobody"):
            stranger.result(timeout=120)
    finally:
        pool.close()
        here.close()


def test_an_error_in_this_process_is_that_of_the_evaluation(context: EvaluatorContext) -> None:
    future = InProcess("supernet", context).submit(Architecture("of_nobody", ()))
    with pytest.raises(NasError, match="of_nobody"):
        future.result()


def test_a_worker_opens_its_evaluator_once(context: EvaluatorContext) -> None:
    """Every task brings its own copy of the context."""
    first, second = (_evaluator("supernet", pickle.loads(pickle.dumps(context))) for _ in range(2))
    assert first is second


def test_weights_that_cannot_be_read_are_said_at_once(context: EvaluatorContext, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"absent\.safetensors"):
        open_executor("supernet", dataclasses.replace(context, weights=tmp_path / "absent.safetensors"), 1)


def test_a_worker_that_is_killed_loses_what_it_had_and_nothing_else(context: EvaluatorContext) -> None:
    pool = open_executor("supernet", context, 2)
    assert isinstance(pool, LocalPool)
    try:
        pool.submit(context.space.smallest).result(timeout=120)
        for process in list(pool._pool._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(LostError, match="a worker process ended by itself"):
            pool.submit(context.space.smallest).result(timeout=120)
        again = pool.submit(context.space.largest)
        assert again.result(timeout=120).metrics["accuracy_search"].source == "supernet"
        begun = pool.submit(context.space.smallest)
        pool.abandon(begun)
        with pytest.raises(LostError):
            begun.result(timeout=120)
    finally:
        pool.close()


def test_closing_waits_for_no_evaluation(context: EvaluatorContext) -> None:
    pool = open_executor("supernet", context, 2)
    assert isinstance(pool, LocalPool)
    pool.submit(context.space.smallest).result(timeout=120)
    for process in list(pool._pool._processes.values()):
        os.kill(process.pid, signal.SIGSTOP)  # as one that computes for hours
    begun = pool.submit(context.space.largest)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(timeout=60)
    assert not closing.is_alive()
    with pytest.raises(LostError):
        begun.result(timeout=60)


def test_what_a_machine_lacks_is_not_the_networks_fault(context: EvaluatorContext, tmp_path: Path) -> None:
    absent = dataclasses.replace(context, weights=tmp_path / "absent.safetensors")
    with pytest.raises(LostError, match=r"the evaluator supernet does not open on .*absent\.safetensors"):
        evaluate_here("supernet", absent, context.space.smallest)


class Failing:
    """An evaluator that fails with one error."""

    gives: ClassVar[str] = "accuracy_search"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, error: Exception) -> None:
        self._error = error

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (DataError("the images changed"), True),
        (TrainingError("diverged"), False),
        (SpaceError("of another space"), False),
    ],
)
def test_files_and_disks_lose_an_evaluation_and_networks_fail_it(error: Exception, is_lost: bool) -> None:
    with pytest.raises(NasError, match=str(error.args[-1])) as caught:
        evaluate_with(Failing(error), Architecture("any", ()))
    assert isinstance(caught.value, LostError) == is_lost
