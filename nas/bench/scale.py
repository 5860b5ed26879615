"""How far one driver goes: `nas bench scale`.

Workers that sleep (`nas.bench.simulated`), in real time: half an hour for 2 workers, most of it idle. Pending evaluations on a table whose
true front is known. A study of 100,000 trials (`nas.bench.large`). Digits, evaluated for real by one process and by a pool of two.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

from nas.bench.large import fill, opened
from nas.bench.nasbench import PROBLEMS, load_table
from nas.bench.outcome import Mark, Outcome
from nas.bench.search import CACHE, Plan, curves
from nas.bench.simulated import fed
from nas.bench.supernet import say
from nas.config import default_recipe
from nas.search.evaluators import EvaluatorContext
from nas.search.executors import Executor, InProcess, LocalPool
from nas.space import load_space
from nas.training.data import load_data
from nas.training.reuse import SupernetJob

__all__ = ["run"]

WORKERS: Mapping[int, float] = MappingProxyType({2: 0.95, 64: 0.70, 32: 0.0, 16: 0.88, 8: 0.0})
"""Workers, and the efficiency that is wanted of them; 0 where none is. The longest search runs beside the others, which come in turn."""
TRIALS, MEAN_S = 500, 5.0
PENDING, SEEDS, EVALUATIONS = 16, 20, 200
LARGE = 100_000
WARM, POOLED = 48, 192
"""Digits networks that are evaluated: some before, until each process of a pool has torch and the weights, and those that are timed."""
ALL_THREADS, ONE_THREAD, POOL = "one process, all threads", "one process, one thread", "pool of two processes, one thread each"
SHARED = "the machine was shared while it ran"
NOT_TAKEN_APART = "what takes it was not taken apart; see the row for what is there before the study is opened"
STRAGGLERS = "the last evaluations leave workers idle, and one proposal after the other has to start them all"
Row = Mapping[str, float | str | bool]


def run(data: Path, smoke: bool) -> Outcome:
    """Marks eff-2, eff-16, eff-64, regret-16, open-s, open-mib, pool.

    Args:
        data: folder of the table of regret-16.
        smoke: few trials, short sleeps: that it runs, not how good it is.
    """
    rows: list[Row] = []
    # First what other work on the machine would change most: the rest sleeps most of its half hour.
    pool = _pool(rows, *((2, 4) if smoke else (WARM, POOLED)))
    large = _large(rows, 200 if smoke else LARGE)
    return Outcome(rows, [*_parallel(rows, smoke), _regret(rows, data, smoke), *large, pool])


def _parallel(rows: list[Row], smoke: bool) -> list[Mark]:
    """Two at a time: they need a few per cent of a core, but for those of many workers."""
    sizes, trials, mean_s = ([2], 12, 0.05) if smoke else (list(WORKERS), TRIALS, MEAN_S)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = {workers: pool.submit(fed, workers, trials, mean_s) for workers in sizes}
        wait(running.values())
    found = {workers: future.result() for workers, future in running.items()}
    rows += [found[workers] for workers in sorted(found)]
    return [
        Mark(
            f"eff-{workers}", f"parallel efficiency, {trials} evaluations of {mean_s:g} s on {workers} workers",
            float(found[workers]["efficiency"]), mark, "higher", STRAGGLERS,
        )
        for workers, mark in sorted(WORKERS.items()) if workers in found and mark
    ]  # fmt: skip


def _regret(rows: list[Row], data: Path, smoke: bool) -> Mark:
    """What it costs the search that the sampler does not know what is under way."""
    table, problem = load_table(data), PROBLEMS[0]
    seeds, trials = (1, 2 * PENDING) if smoke else (SEEDS, EVALUATIONS)
    cache = None if smoke else CACHE
    medians = {}
    for pending in (1, PENDING):
        runs = curves(table, Plan("front", problem, seeds, trials, pending), cache)
        medians[pending] = statistics.median(each.regrets[-1] for each in runs)
        rows.append({"problem": problem.id, "pending": float(pending), "evaluations": float(trials), "regret": medians[pending]})
    return Mark(
        "regret-16", f"P1 regret at {trials} evaluations with {PENDING} pending over one at a time, {seeds} seeds",
        medians[PENDING] / medians[1], 1.5, "lower", "sixteen proposals are made without what fifteen others will tell",
    )  # fmt: skip


def _large(rows: list[Row], trials: int) -> list[Mark]:
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        path = Path(folder) / "study.db"
        fill(path, trials)
        found = opened(path, trials)
    rows.append(found)
    what = f"SQLite study of {trials:,} trials opened and resumed for one more candidate"
    return [
        Mark("open-s", f"{what}, seconds", float(found["resumed_s"]), 45, "lower", SHARED),
        Mark("open-mib", f"{what}, peak memory of the process, MiB", float(found["peak_mib"]), 1536, "lower", NOT_TAKEN_APART),
    ]


def _pool(rows: list[Row], warm: int, count: int) -> Mark:
    """Real evaluations. A process that has all cores to itself is timed beside."""
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        cache = Path(folder)
        space = load_space("mobilenet_tiny")
        images = load_data("digits", space.resolutions[-1], 0, cache)
        recipe = default_recipe("digits").model_copy(update={"epochs": 1})
        weights = SupernetJob(space.with_data(images.in_chs, images.num_classes), images, recipe, 0, cache).run(say, lambda: False).path
        context = EvaluatorContext(space, "digits", 0, cache, weights)
        archs = [space.sample(seed) for seed in range(warm + count)]
        seconds = {}
        executors: dict[str, Callable[[], Executor]] = {
            ALL_THREADS: lambda: InProcess("supernet", context),
            ONE_THREAD: lambda: InProcess("supernet", replace(context, threads=1)),
            POOL: lambda: LocalPool("supernet", context, 2),
        }
        for name, open_one in executors.items():
            executor = open_one()
            wait([executor.submit(arch) for arch in archs[:warm]])
            started = time.perf_counter()
            wait([executor.submit(arch) for arch in archs[warm:]])
            seconds[name] = time.perf_counter() - started
            executor.close()
            rows.append({"executor": name, "evaluations": float(count), "seconds": seconds[name], "cores": float(os.cpu_count() or 1)})
    return Mark(
        "pool", "digits evaluations, pool of two processes over one process, each with one thread, throughput",
        seconds[ONE_THREAD] / seconds[POOL], 1.6, "higher", SHARED,
    )  # fmt: skip
