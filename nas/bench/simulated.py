"""Searches on workers that only sleep: what the driver can feed, in real time."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nas.architecture import Architecture
from nas.bench.made_up import made_up_accuracy
from nas.events import Event
from nas.hardware.profile import load_profile
from nas.metrics import OBJECTIVES
from nas.search import engine, storage
from nas.search.evaluators import Evaluation
from nas.search.sampler import SamplerContext, UniqueSampler, sampler
from nas.search.scored_domain import ScoredDomain
from nas.search.scoring import Scorer
from nas.space import load_space

__all__ = ["PAIR", "Free", "accepts_all", "fed", "never", "scorer_of_a_board", "unheard", "wrapped_sampler"]

SPACE, DEVICE = "mobilenet_cifar", "raspberrypi4"
PAIR = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
SPREAD = 0.3
"""Of the logarithm of an evaluation's seconds: networks of a space differ fivefold in MACs, evaluations far less (data, batch norm)."""


def scorer_of_a_board() -> Scorer:
    """Of a shipped space on a shipped profile."""
    profile = load_profile(DEVICE)
    target = profile.target()
    return Scorer(load_space(SPACE), target, profile.predictor(target), profile.energy_model(target))


def wrapped_sampler(scorer: Scorer, name: str, trials: int) -> UniqueSampler:
    """As a search without constraints has it."""
    context = SamplerContext(scorer.space, ScoredDomain(scorer, PAIR, ()), trials, 0)
    return UniqueSampler(sampler(name, context), scorer.space, accepts_all, (), 0)


def accepts_all(arch: Architecture) -> bool:  # noqa: ARG001
    """There are no constraints."""
    return True


def unheard(event: Event) -> None:
    """A listener that nobody is behind."""


def never() -> bool:
    """Nobody stops it."""
    return False


class Free:
    """An executor whose evaluations cost nothing."""

    capacity = 1
    isolates = True

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        future: Future[Evaluation] = Future()
        future.set_result(Evaluation({"accuracy_search": made_up_accuracy(arch)}, 0.0))
        return future

    def abandon(self, future: Future[Evaluation]) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """Nothing to close."""


class _Sleeping:
    """An executor whose workers sleep for as long as an evaluation would take, lognormal with a mean of `mean_s`."""

    isolates = True

    def __init__(self, workers: int, mean_s: float) -> None:
        self.capacity, self.busy_s = workers, 0.0
        self._mean_s, self._threads = mean_s, ThreadPoolExecutor(workers)

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        chance = (int(arch.arch_id[4:10], 16) + 0.5) / 16**6
        # A logistic draw is nearly a normal one of 1.702 times the scale.
        seconds = self._mean_s * math.exp(SPREAD * math.log(chance / (1 - chance)) / 1.702 - SPREAD**2 / 2)
        self.busy_s += seconds
        return self._threads.submit(_slept, arch, seconds)

    def abandon(self, future: Future[Evaluation]) -> None:
        """None takes too long."""

    def close(self) -> None:
        self._threads.shutdown()


def _slept(arch: Architecture, seconds: float) -> Evaluation:
    time.sleep(seconds)
    return Evaluation({"accuracy_search": made_up_accuracy(arch)}, seconds)


def fed(workers: int, trials: int, mean_s: float) -> Mapping[str, float | str | bool]:
    """A search of `trials` by FrontSampler on a journal, evaluations of `mean_s` seconds on so many workers.

    Returns:
        efficiency: seconds of evaluation over seconds of all workers, from the first proposal to the last result.
        cpu_share: CPU time of the driver over time; writes_per_s: of records into the journal; proposals_per_cpu_s: what a driver that did
        nothing else could do a second.
    """
    scorer = scorer_of_a_board()
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        journal = Path(folder) / "study.journal"
        wrapped = wrapped_sampler(scorer, "front", trials)
        study = storage.open_study(storage.open_storage(f"journal:///{journal}"), "simulated", PAIR, wrapped, {})
        executor = _Sleeping(workers, mean_s)
        started, cpu = time.perf_counter(), time.process_time()
        problem = engine.Problem(scorer, PAIR, (), (0.0, 1.0), trials)
        done = engine.run(problem, study, executor, {}, unheard, never)
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        executor.close()
        records = sum(1 for _ in journal.open("rb"))
    return {
        "workers": float(workers), "trials": float(len(done)), "mean_evaluation_s": mean_s, "wall_s": wall_s,
        "efficiency": executor.busy_s / (workers * wall_s), "cpu_share": cpu_s / wall_s, "writes_per_s": records / wall_s,
        "proposals_per_cpu_s": len(done) / cpu_s,
    }  # fmt: skip
