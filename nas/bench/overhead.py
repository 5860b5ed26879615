"""What a trial costs besides its evaluation: the sampler alone, and the whole engine on a storage, in studies of growing size."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nas.bench.large import tell_made_up
from nas.bench.outcome import Mark, Outcome
from nas.bench.simulated import PAIR, Free, accepts_all, scorer_of_a_board
from nas.search import engine, storage
from nas.search.sampler import SamplerContext, UniqueSampler, sampler
from nas.search.scored_domain import ScoredDomain
from nas.search.scoring import Scorer

__all__ = ["run"]

TIMED = 20
"""Trials that are timed at each size; their median counts."""
STORAGES: Mapping[str, tuple[int, ...]] = MappingProxyType({"sqlite": (100, 1_000, 10_000), "journal": (100, 1_000, 10_000)})
"""Sizes of study on each."""
WHY = "the machine was shared while it ran, or its disk is slow"


def run(data: Path, smoke: bool) -> Outcome:
    """FrontSampler and NSGA-II through the engine on both storages; the sampler's own time is CPU time.

    Args:
        data: not used: architectures are of a shipped space and their accuracy is made up.
        smoke: studies of 30 trials only.
    """
    del data
    scorer = scorer_of_a_board()
    rows = []
    for kind, sizes in STORAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            rows += _grown(scorer, kind, Path(folder), (30,) if smoke else sizes, 3 if smoke else TIMED)
    largest = 30 if smoke else 1_000
    at = {(row["storage"], row["sampler"]): row for row in rows if row["trials"] == largest}
    ours = at["sqlite", "front"]
    return Outcome(rows, [
        Mark("sampler-ms", f"FrontSampler, CPU ms a trial at {largest:,} trials", float(ours["sampler_ms"]), 50, "lower", WHY),
        Mark("engine-ms", f"whole engine on SQLite at {largest:,} trials, ms a trial", float(ours["engine_ms"]), 100, "lower", WHY),
    ])  # fmt: skip


class _Timed(UniqueSampler):
    """Adds up the CPU time of proposals; the engine reads the trials before, once for all who look at them."""

    seconds = 0.0

    def sample_relative(self, *args: object) -> dict[str, object]:
        started = time.process_time()
        try:
            return super().sample_relative(*args)  # type: ignore[arg-type]
        finally:
            self.seconds += time.process_time() - started


def _grown(scorer: Scorer, kind: str, folder: Path, sizes: tuple[int, ...], timed: int) -> list[Mapping[str, float | str | bool]]:
    """One study, timed at each size with each sampler; filled with random architectures in between."""
    space = scorer.space
    url = f"sqlite:///{folder / 'study.db'}" if kind == "sqlite" else f"journal:///{folder / 'study.journal'}"
    rows: list[Mapping[str, float | str | bool]] = []
    rng = np.random.default_rng(0)
    for size in sizes:
        for name in ("front", "nsga2"):
            context = SamplerContext(space, ScoredDomain(scorer, PAIR, ()), size, 0)
            wrapped = _Timed(sampler(name, context), space, accepts_all, (), 0)
            study = storage.open_study(storage.open_storage(url), "overhead", PAIR, wrapped, {"space": space.name})
            tell_made_up(study, scorer, max(0, size - len(storage.evaluated(study))), rng)
            there = len(storage.evaluated(study))
            stamps: list[float] = []

            def told(event: object, stamps: list[float] = stamps) -> None:  # noqa: ARG001
                stamps.append(time.perf_counter())

            # The first trial of a run reads the whole study and explores the space: it is not timed.
            for count in (1, 1 + timed):
                wrapped.seconds = 0.0
                stamps.clear()
                problem = engine.Problem(scorer, PAIR, (), (0.0, 1.0), there + count)
                engine.run(problem, study, Free(), {}, told, lambda: False)
            median = float(np.median(np.diff(stamps)))
            rows.append({
                "storage": kind, "sampler": name, "trials": float(size), "engine_ms": round(1e3 * median, 1),
                "sampler_ms": round(1e3 * wrapped.seconds / timed, 1),
            })  # fmt: skip
    return rows
