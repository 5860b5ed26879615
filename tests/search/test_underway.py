"""Evaluations that are lost: tried again alone, or beside the others where each is lost by itself."""

from __future__ import annotations

from concurrent.futures import Future

import optuna
import pytest

from nas.architecture import Architecture
from nas.errors import NasError
from nas.metrics import Metric
from nas.search.executors import Evaluation, LostError
from nas.search.underway import ATTEMPTS, Asked, UnderWay
from tests.spaces import rich_space

FOUND = Evaluation({"accuracy_search": Metric(0.9, "1", "supernet", std=0.01)}, 0.1)


class ByHand:
    """Two at a time. The first evaluation never ends by itself; all later ones are lost until `losses` of them were."""

    capacity = 2

    def __init__(self, *, isolates: bool, losses: int) -> None:
        self.isolates, self._losses = isolates, losses
        self.abandoned = 0
        self.beside: list[int] = []
        self._under_way: list[Future[Evaluation]] = []

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        del arch
        future: Future[Evaluation] = Future()
        self.beside.append(sum(not each.done() for each in self._under_way))
        self._under_way.append(future)
        if len(self._under_way) > 1:
            if self._losses:
                self._losses -= 1
                future.set_exception(LostError("its node is gone"))
            else:
                future.set_result(FOUND)
        return future

    def abandon(self, future: Future[Evaluation]) -> None:
        self.abandoned += 1
        future.set_exception(LostError("given up"))

    def close(self) -> None:
        """Nothing to close."""


def _begun(executor: ByHand, timeout_s: float | None) -> UnderWay:
    study = optuna.create_study()
    under_way = UnderWay(executor, timeout_s, lambda asked, seconds: None)
    for arch in (rich_space().smallest, rich_space().largest):
        under_way.submit(Asked(study.ask(), arch))
    return under_way


@pytest.mark.parametrize("losses", [1, ATTEMPTS - 1])
def test_what_an_isolating_executor_loses_is_tried_again_beside_the_others(losses: int) -> None:
    executor = ByHand(isolates=True, losses=losses)
    ((asked, evaluation),) = _begun(executor, 600).finished()
    assert (asked.attempt, evaluation, executor.abandoned) == (losses + 1, FOUND, 0)
    assert executor.beside == [0, *[1] * (losses + 1)]


def test_what_it_loses_again_and_again_is_given_up() -> None:
    executor = ByHand(isolates=True, losses=ATTEMPTS)
    ((asked, error),) = _begun(executor, 600).finished()
    assert isinstance(error, NasError)
    assert (asked.attempt, str(error)) == (ATTEMPTS, f"tried {ATTEMPTS} times: its node is gone")


def test_elsewhere_it_waits_until_it_is_alone() -> None:
    executor = ByHand(isolates=False, losses=1)
    ((asked, evaluation),) = _begun(executor, 0.05).finished()
    assert (asked.attempt, evaluation, executor.abandoned) == (1, FOUND, 1)
    assert executor.beside == [0, 1, 0]
