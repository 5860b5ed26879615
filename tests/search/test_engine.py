"""The ask-tell loop with a real study, sampler and scorer; accuracy is made up from the architecture."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.architecture import Architecture
from nas.errors import NasError, StoppedError, TrainingError
from nas.events import Event
from nas.metrics import OBJECTIVES, Constraint, Metric
from nas.search import engine, storage
from nas.search.executors import Evaluation, Executor, LostError
from nas.search.sampler import SamplerContext, UniqueSampler, distributions, sampler
from nas.search.scored_domain import ScoredDomain
from nas.search.scoring import Scorer
from nas.space import SearchSpace
from tests.spaces import everything, make_space, rich_space

OBJECTIVE_PAIR = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])


def accuracy(arch: Architecture) -> float:
    return 0.5 + 0.02 * len(arch.genes) + int(arch.arch_id[:4], 16) / 65536 / 10


class MadeUp:
    """An executor after the Protocol: `capacity` threads that look up an accuracy."""

    isolates = False

    def __init__(
        self, capacity: int = 1, error: Callable[[Architecture], BaseException | None] = lambda arch: None, seconds: float = 0.002
    ) -> None:
        self.capacity, self._seconds = capacity, seconds
        self.asked: list[Architecture] = []
        self.under_way = self.most_under_way = 0
        self._error = error
        self._pool = ThreadPoolExecutor(capacity)

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        self.asked.append(arch)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        return self._pool.submit(self._evaluate, arch)

    def _evaluate(self, arch: Architecture) -> Evaluation:
        time.sleep(self._seconds)
        self.under_way -= 1
        error = self._error(arch)
        if error is not None:
            raise error
        return Evaluation({"accuracy_search": Metric(accuracy(arch), "1", "supernet", std=0.01)}, 0.002)

    def abandon(self, future: Future[Evaluation]) -> None:
        """A thread cannot be ended."""

    def close(self) -> None:
        self._pool.shutdown()


class Fragile(MadeUp):
    """Where an evaluation is lost, so are all others that are under way."""

    def __init__(self, capacity: int, error: Callable[[Architecture], BaseException | None]) -> None:
        super().__init__(capacity, error)
        self._lock = threading.Lock()
        self._futures: list[Future[Evaluation]] = []

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        self.asked.append(arch)
        future: Future[Evaluation] = Future()
        with self._lock:
            self._futures.append(future)
        self._pool.submit(self._end, arch, future)
        return future

    def _end(self, arch: Architecture, future: Future[Evaluation]) -> None:
        time.sleep(0.005)
        error = self._error(arch)
        with self._lock:
            if future.done():  # lost with another
                return
            lost = self._futures if error is not None else [future]
            for each in [each for each in lost if not each.done()]:
                if error is not None:
                    each.set_exception(error)
                else:
                    each.set_result(Evaluation({"accuracy_search": Metric(accuracy(arch), "1", "supernet", std=0.01)}, 0.005))


class AtOnce(MadeUp):
    """All that it is asked for is over when it is looked at; the first ones fail."""

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        self.asked.append(arch)
        future: Future[Evaluation] = Future()
        if len(self.asked) <= engine.MOST_FAILURES_IN_A_ROW:
            future.set_exception(TrainingError("diverged"))
        else:
            future.set_result(Evaluation({"accuracy_search": Metric(accuracy(arch), "1", "supernet", std=0.01)}, 0.002))
        return future


class Hanging(MadeUp):
    """Never answers for the second architecture that it is asked for, until it is told to give up."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.abandoned: list[Architecture] = []
        self._hangs: dict[Future[Evaluation], Architecture] = {}

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        if len(self.asked) == 1 or (len(self.asked) > 1 and arch == self.asked[1]):
            self.asked.append(arch)
            future: Future[Evaluation] = Future()
            self._hangs[future] = arch
            return future
        return super().submit(arch)

    def abandon(self, future: Future[Evaluation]) -> None:
        self.abandoned.append(self._hangs.pop(future))
        future.set_exception(LostError("given up"))


class Search:
    """A study that can be opened again and again, and what happened in it."""

    def __init__(
        self, scorer: Scorer, trials: int, store: Any = None, constraints: Sequence[Constraint] = (), sampler: str = "front"
    ) -> None:
        self.sampler = sampler
        self.scorer, self.store = scorer, store or optuna.storages.InMemoryStorage()
        self.problem = engine.Problem(scorer, OBJECTIVE_PAIR, tuple(constraints), (0.1, 1.0), trials)
        self.events: list[Event] = []
        self.study = self.open()

    def open(self) -> storage.Study:
        space = self.scorer.space

        def accept(arch: Architecture) -> bool:
            return bool(self.scorer.meets(space.encode([arch]), self.problem.constraints)[0])

        domain = ScoredDomain(self.scorer, OBJECTIVE_PAIR, self.problem.constraints)
        context = SamplerContext(space, domain, self.problem.trials, 0)
        unique = UniqueSampler(sampler(self.sampler, context), space, accept, (), 0)
        name = f"made up/{self.scorer.target.key}"
        return storage.open_study(self.store, name, OBJECTIVE_PAIR, unique, {"space": space.name})

    def run(
        self,
        executor: Executor,
        accuracies: dict[Architecture, Evaluation] | None = None,
        stop: Callable[[], bool] = lambda: False,
        deadline_s: float | None = None,
    ) -> list[storage.Evaluated]:
        self.study = self.open()
        try:
            known = {} if accuracies is None else accuracies
            return engine.run(self.problem, self.study, executor, known, self.events.append, stop, deadline_s)
        finally:
            executor.close()
            assert not self.trials(TrialState.RUNNING)

    def trials(self, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(states=states or None)

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def new(scorer_of: Callable[..., Scorer]) -> Callable[..., Search]:
    def make(trials: int, space: SearchSpace | None = None, device: str = "raspberrypi4", **options: Any) -> Search:
        return Search(scorer_of(space or rich_space(), device), trials, **options)

    return make


@pytest.mark.parametrize("capacity", [1, 3])
def test_it_ends_with_as_many_candidates_as_asked_for(new: Callable[..., Search], capacity: int) -> None:
    search, executor = new(30), MadeUp(capacity, seconds=0.03)
    done = search.run(executor)
    assert len(done) == 30
    assert len(executor.asked) == len(set(executor.asked)) == 30
    assert {each.candidate.arch for each in done} == set(executor.asked)
    assert executor.most_under_way == capacity
    assert [each.candidate for each in storage.evaluated(search.study)] == sorted(
        (each.candidate for each in done), key=lambda candidate: candidate.trial or 0
    )
    for each in done:
        metrics = each.candidate.metrics
        assert metrics["accuracy_search"].value == accuracy(each.candidate.arch)
        assert {name: metrics[name] for name in ("latency_s", "params")} == {
            name: search.scorer.metrics(each.candidate.arch)[name] for name in ("latency_s", "params")
        }


def test_it_tells_what_happens(new: Callable[..., Search]) -> None:
    search = new(12)
    done = search.run(MadeUp())
    told = search.told("trial")
    assert [event.share for event in told] == pytest.approx([n / 12 for n in range(1, 13)])
    assert [event.fields["candidates"] for event in told] == list(range(1, 13))
    volumes = [event.fields["hypervolume"] for event in told]
    assert volumes == sorted(volumes, key=float)
    assert told[-1].fields["best_accuracy"] == max(accuracy(each.candidate.arch) for each in done)
    assert told[-1].fields["id"] == done[-1].candidate.id
    assert told[-1].seconds_left == 0
    assert told[-1].text.startswith("12/12 candidates, best accuracy 0.")


def test_what_is_known_is_not_evaluated_again(new: Callable[..., Search]) -> None:
    """Two devices, one supernet: the second asks only for what the first has not seen."""
    space = make_space()  # 20 architectures
    accuracies: dict[Architecture, Evaluation] = {}
    first, second = new(14, space), new(20, space, device="pixel3", store=None)
    one, two = MadeUp(), MadeUp()
    first.run(one, accuracies)
    done = second.run(two, accuracies)
    assert (len(one.asked), len(two.asked), len(done)) == (14, 6, 20)
    assert set(one.asked).isdisjoint(two.asked)
    assert accuracies.keys() == set(everything(space))
    for each in done:
        assert each.candidate.target.device == "pixel3"
        assert each.candidate.metrics["accuracy_search"].value == accuracy(each.candidate.arch)


def test_a_space_that_is_exhausted_ends_with_a_word(new: Callable[..., Search]) -> None:
    search, executor = new(50, make_space()), MadeUp(3)
    done = search.run(executor)
    assert len(done) == len(set(executor.asked)) == len(executor.asked) == 20
    assert search.events[-1] == Event("info", "all 20 architectures of space tiny have been tried")
    again = MadeUp()
    assert len(search.run(again)) == 20
    assert again.asked == []


def test_constraints_are_kept(new: Callable[..., Search]) -> None:
    search = new(50, make_space())
    limit = float(np.median([search.scorer.metrics(arch)["latency_s"].value for arch in everything(make_space())]))
    search = new(50, make_space(), constraints=[Constraint("latency_s", limit)])
    done = search.run(MadeUp())
    assert len(done) == 10
    assert all(each.candidate.metrics["latency_s"].value <= limit for each in done)
    assert "no new architecture of space tiny meets the constraints: 10 have been tried" in search.events[-1].text


@pytest.mark.parametrize("capacity", [1, 3])
def test_failures_are_counted_and_never_tried_again(new: Callable[..., Search], capacity: int) -> None:
    def error(arch: Architecture) -> NasError | None:
        return TrainingError(f"{arch.arch_id} diverged") if dict(arch.genes)["s1.b1.kernel_size"] == 5 else None

    search, executor = new(50, make_space()), MadeUp(capacity, error)
    done = search.run(executor)
    assert (len(done), len(executor.asked), len(set(executor.asked))) == (10, 20, 20)
    failed = search.trials(TrialState.FAIL)
    reasons = {trial.user_attrs["reason"] for trial in failed if "reason" in trial.user_attrs}
    assert reasons == {f"{arch.arch_id} diverged" for arch in executor.asked if error(arch)}
    assert {event.text.split("failed: ")[1] for event in search.told("warning")} == reasons
    again = MadeUp(capacity, error)
    search.run(again)
    assert again.asked == []


def test_failures_take_no_candidates_place(new: Callable[..., Search]) -> None:
    def error(arch: Architecture) -> NasError | None:
        return TrainingError("diverged") if arch.arch_id[0] in "01234" else None

    search = new(20)
    assert len(search.run(MadeUp(2, error))) == 20
    assert 0 < len(search.trials(TrialState.FAIL)) < 20


def test_many_failures_end_the_search_and_bar_nothing(new: Callable[..., Search]) -> None:
    """It is not the architectures that are wrong: once the disk has room again they are asked for again."""
    search, executor = new(20, make_space()), MadeUp(1, lambda arch: TrainingError("no memory"))
    with pytest.raises(NasError, match="20 evaluations in a row failed, the last one: no memory"):
        search.run(executor)
    assert len(executor.asked) == 20
    failed = search.trials(TrialState.FAIL)
    assert [trial.user_attrs["cut_off"] for trial in failed] == [True] * 20
    assert len(search.run(MadeUp())) == 20


@pytest.mark.parametrize("capacity", [1, 3])
def test_failures_among_successes_do_not_end_it(new: Callable[..., Search], capacity: int) -> None:
    search = new(40, sampler="random")
    executor = MadeUp(capacity, lambda arch: TrainingError("diverged") if arch.arch_id[0] in "01234567" else None)
    assert len(search.run(executor)) == 40
    assert len(search.trials(TrialState.FAIL)) > engine.MOST_FAILURES_IN_A_ROW


def test_a_success_that_comes_back_with_many_failures_is_told(new: Callable[..., Search]) -> None:
    search = new(25, sampler="random")
    assert len(search.run(AtOnce(engine.MOST_FAILURES_IN_A_ROW + 1))) == 25
    assert [trial.user_attrs["reason"] for trial in search.trials(TrialState.FAIL)] == ["diverged"] * engine.MOST_FAILURES_IN_A_ROW


@pytest.mark.parametrize("error", [ValueError("a plug-in's bug"), KeyboardInterrupt()])
def test_other_errors_are_passed_on_and_leave_a_study_that_goes_on(new: Callable[..., Search], error: BaseException) -> None:
    raised: list[Architecture] = []

    def once(arch: Architecture) -> BaseException | None:
        if len(executor.asked) == 5 and not raised:
            raised.append(arch)
            return error
        return None

    search, executor = new(12), MadeUp(1, once)
    with pytest.raises(type(error)):
        search.run(executor)
    assert len(search.trials(TrialState.COMPLETE)) == 4
    assert len(search.run(MadeUp())) == 12


def test_what_is_lost_is_tried_again_alone(new: Callable[..., Search]) -> None:
    """A worker dies of some architectures, and takes the others with it."""
    search, lost = new(12), LostError("a worker process ended by itself")
    executor = Fragile(3, lambda arch: lost if arch.arch_id[0] in "0123" else None)
    assert len(search.run(executor)) == 12
    guilty = {arch for arch in executor.asked if arch.arch_id[0] in "0123"}
    failed = {trial.number: trial.user_attrs["reason"] for trial in search.trials(TrialState.FAIL)}
    assert set(failed.values()) == {"tried 3 times: a worker process ended by itself"}
    assert len(failed) == len(guilty) > 0
    assert {trial.user_attrs["lease"]["attempt"] for trial in search.trials(TrialState.FAIL)} == {3}
    assert all(trial.user_attrs["lease"]["attempt"] == 1 for trial in search.trials(TrialState.COMPLETE))


def test_what_hangs_is_given_up_and_tried_again(new: Callable[..., Search]) -> None:
    search = new(6)
    search.problem = dataclasses.replace(search.problem, timeout_s=0.05)
    executor = Hanging(2)
    assert len(search.run(executor)) == 6
    assert executor.abandoned == [executor.asked[1]] * 3
    (failed,) = search.trials(TrialState.FAIL)
    assert failed.user_attrs["reason"] == "tried 3 times: it took longer than 0.05 s"


@pytest.mark.parametrize("capacity", [1, 3])
def test_stopped_anywhere_it_goes_on_to_the_same_number(new: Callable[..., Search], tmp_path: Path, capacity: int) -> None:
    store = storage.open_storage(f"sqlite:///{tmp_path / 'study.db'}") if capacity > 1 else None
    search = new(12, make_space(), store=store)
    asked: list[Architecture] = []
    for count in (1, 5, 11):
        executor, more = MadeUp(capacity), count - len(asked)
        with pytest.raises(StoppedError, match=rf"stopped after {count} of 12 candidates: all of them are saved"):
            search.run(executor, stop=lambda executor=executor, more=more: len(executor.asked) >= more)
        asked += executor.asked
        # Nothing that was begun is lost, so nothing is evaluated twice.
        assert len(search.trials(TrialState.COMPLETE)) == len(asked) == count
    executor = MadeUp(capacity)
    done = search.run(executor)
    asked += executor.asked
    assert len(done) == len(asked) == len(set(asked)) == 12
    assert not search.trials(TrialState.FAIL)
    assert len(search.run(MadeUp())) == 12


def test_a_stop_before_the_first_asks_for_nothing(new: Callable[..., Search]) -> None:
    search, executor = new(5), MadeUp()
    with pytest.raises(StoppedError, match="stopped after 0 of 5"):
        search.run(executor, stop=lambda: True)
    assert executor.asked == []


def test_a_stop_after_the_last_is_none_of_the_searchs_business(new: Callable[..., Search]) -> None:
    search = new(5)
    assert len(search.run(MadeUp(), stop=lambda: len(search.trials(TrialState.COMPLETE)) == 5)) == 5


def test_a_crash_leaves_nothing_running(new: Callable[..., Search]) -> None:
    """The power went off: trials that were under way are still marked as running."""
    search = new(10)
    for _ in range(2):
        search.study.ask(distributions(search.scorer.space))
    assert len(search.run(MadeUp())) == 10
    assert search.events[0] == Event("info", "2 evaluation(s) were cut off: others take their places")
    assert len(search.trials(TrialState.FAIL)) == 2


def test_what_is_late_still_has_a_few_candidates(new: Callable[..., Search]) -> None:
    late = time.monotonic() - 1
    search = new(50)
    assert len(search.run(MadeUp(), deadline_s=late)) == engine.LEAST
    assert len(search.run(MadeUp(), deadline_s=late)) == engine.LEAST
    assert search.told("trial")[-1].seconds_left == 0
    assert len(new(3).run(MadeUp(), deadline_s=late)) == 3


def test_a_search_repeats_by_its_seed(new: Callable[..., Search]) -> None:
    found = [[each.candidate for each in new(25).run(MadeUp())] for _ in range(2)]
    assert found[0] == found[1]


def test_losses_turn_what_should_grow(new: Callable[..., Search]) -> None:
    done = [each.candidate for each in new(4).run(MadeUp())]
    rows = engine.losses(done, OBJECTIVE_PAIR)
    assert rows.shape == (4, 2)
    assert rows[:, 0].tolist() == [-accuracy(candidate.arch) for candidate in done]
    assert rows[:, 1].tolist() == [candidate.metrics["latency_s"].value for candidate in done]
    assert engine.losses([], OBJECTIVE_PAIR).shape == (0, 2)


def test_it_stops_when_little_is_left_to_gain(new: Callable[..., Search]) -> None:
    search = new(200, rich_space())
    search.problem = dataclasses.replace(search.problem, target_regret=0.2)
    done = search.run(MadeUp())
    assert engine.PATIENCE <= len(done) < 100
    assert search.events[-1].text == "5 proposals in a row promised less than 0.2 of the hypervolume: stopped"


def test_the_end_of_the_time_is_said(new: Callable[..., Search]) -> None:
    search = new(200)
    done = search.run(MadeUp(), deadline_s=time.monotonic() - 1)
    assert search.events[-1].text == f"the time for the search is over: stopped at {len(done)} of 200 candidates"


@pytest.mark.parametrize("name", ["tpe", "gp", "nsga2", "random"])
def test_every_sampler_goes_through_the_engine(new: Callable[..., Search], name: str) -> None:
    search = new(14, sampler=name)
    assert len({each.candidate.arch for each in search.run(MadeUp())}) == 14
