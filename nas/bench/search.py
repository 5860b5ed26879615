"""How many evaluations samplers need for a front, on tables where the true one is known.

Every search is repeated over seeds; each result is kept under runs/.cache as it comes, so that a run that was stopped goes on, and is made
anew when the sources it came from change.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nas.bench.nasbench import PROBLEMS, Problem, Table, load_table
from nas.bench.outcome import Mark, Outcome
from nas.bench.search_plot import picture
from nas.bench.searchers import OURS, PEERS, searched
from nas.files import write_atomic

__all__ = ["CACHE", "Plan", "curves", "plans", "run"]

CACHE = Path("runs/.cache/bench-search")
PICTURE = Path("docs/search-regret.png")
"""Drawn where the folder is: in a checkout."""
CHECKPOINTS = (25, 50, 100, 200, 500)
LEVELS = (5.0, 2.0, 1.0)
"""Regrets, per cent, whose first evaluation is reported."""
NEVER = 10_000.0
"""Shown as the number of evaluations where a search did not get there."""
SEEDS, PEER_SEEDS, SLOW_SEEDS = 20, 10, 3
"""Of ours, of peers, and of GP, whose trials take seconds each."""
PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = ("domain", "front", "gaussian_process", "ground", "improvement", "outlook", "proposal", "reading")
BENCH_SOURCES = ("nasbench", "searchers")
WHY = "missed over the seeds that are given"


@dataclass(frozen=True, slots=True)
class Plan:
    """A sampler on a problem, how often and how long.

    Attributes:
        pending: evaluations under way at once.
    """

    sampler: str
    problem: Problem
    seeds: int
    trials: int
    pending: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What one search came to.

    Attributes:
        regrets: per cent, after each evaluation.
    """

    regrets: tuple[float, ...]
    seconds_a_trial: float

    def evaluations_to(self, level: float) -> float:
        """The first evaluation from which on regret is at most `level`; NEVER where there is none."""
        return float(next((n for n, regret in enumerate(self.regrets, 1) if regret <= level), NEVER))


def plans(smoke: bool) -> list[Plan]:
    """What is run, peers first: they change least."""
    if smoke:
        return [Plan(name, problem, 1, 20) for problem in PROBLEMS for name in ("random", "front")]
    first, others = PROBLEMS[0], PROBLEMS[1:]
    found = [Plan(name, first, PEER_SEEDS, 500) for name in PEERS if name != "GP"]
    found += [Plan(name, problem, PEER_SEEDS, 200) for problem in others for name in PEERS if name != "GP"]
    found.append(Plan("GP", first, SLOW_SEEDS, 100))
    found += [Plan("front", first, SEEDS, 200), *(Plan("front", problem, SEEDS, 200) for problem in others)]
    return found + [Plan(name, first, SEEDS, 200) for name in OURS if name != "front"]


def run(data: Path, smoke: bool) -> Outcome:
    """All plans over the table in `data`.

    Args:
        smoke: one seed of 20 trials, and nothing is kept.
    """
    table = load_table(data)
    found = {(plan.sampler, plan.problem.id): curves(table, plan, None if smoke else CACHE) for plan in plans(smoke)}
    if not smoke and PICTURE.parent.is_dir():
        curves_of = {name: [run.regrets for run in runs] for (name, problem), runs in found.items() if problem == "P1"}
        write_atomic(PICTURE, picture(curves_of, "P1: CIFAR-100 accuracy against Raspberry Pi 5 latency, NAS-Bench-201"))
    rows: list[Mapping[str, float | str | bool]] = [_row(plan, found[plan.sampler, plan.problem.id]) for plan in plans(smoke)]
    if find_spec("pymoo") is None:
        rows.append({"skipped": "pymoo NSGA-II", "reason": "pymoo is not installed"})
    return Outcome(rows, _marks(found, smoke))


def curves(table: Table, plan: Plan, cache: Path | None) -> list[Run]:
    """One run a seed; those that are in `cache` are read."""
    found = []
    key = _key(plan)
    for seed in range(plan.seeds):
        path = None if cache is None else cache / f"{key}-{seed}.json"
        if path is not None and path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            found.append(Run(tuple(kept["regrets"]), kept["seconds_a_trial"]))
            continue
        result = searched(plan.sampler, table, plan.problem, seed, plan.trials, plan.pending)
        regrets = tuple(table.regret(plan.problem, result.numbers[:count]) for count in range(1, plan.trials + 1))
        found.append(Run(regrets, result.seconds_a_trial))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps({"regrets": [round(r, 5) for r in regrets], "seconds_a_trial": result.seconds_a_trial}))
    return found


def _key(plan: Plan) -> str:
    """Of everything that decides a result but the seed."""
    if plan.sampler in PEERS:
        made_of = f"optuna {version('optuna')}"
    else:
        folders = [PACKAGE / "search" / f"{name}.py" for name in SOURCES] + [PACKAGE / "bench" / f"{name}.py" for name in BENCH_SOURCES]
        made_of = "".join(_code(path) for path in folders)
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    pending = f"-{plan.pending}-at-once" if plan.pending > 1 else ""
    return f"{plan.problem.id}-{plan.sampler.replace(', ', '-').replace(' ', '-')}-{plan.trials}{pending}-{digest}"


def _code(path: Path) -> str:
    """A module without its docstrings and comments: what they say changes no result."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _at(runs: Sequence[Run], count: int) -> list[float]:
    return [each.regrets[count - 1] for each in runs if len(each.regrets) >= count]


def _row(plan: Plan, runs: Sequence[Run]) -> dict[str, float | str | bool]:
    row: dict[str, float | str | bool] = {"problem": plan.problem.id, "sampler": plan.sampler, "seeds": float(len(runs))}
    for count in CHECKPOINTS:
        values = _at(runs, count)
        row[f"regret_at_{count}"] = round(float(np.median(values)), 3) if values else "-"
    for level in LEVELS:
        middle = float(np.median([each.evaluations_to(level) for each in runs]))
        row[f"evaluations_to_{level:g}"] = middle if middle <= plan.trials else f"> {plan.trials}"
    row["worst_at_end"] = round(max(each.regrets[-1] for each in runs), 3)
    row["ms_a_trial"] = round(1e3 * float(np.median([each.seconds_a_trial for each in runs])), 2)
    return row


def _marks(found: Mapping[tuple[str, str], Sequence[Run]], smoke: bool) -> list[Mark]:
    if smoke:
        front, chance = (float(np.median(_at(found[name, "P1"], 20))) for name in ("front", "random"))
        return [Mark("p1-smoke", "P1 regret %, 20 evaluations of one seed, random's is the mark", front, chance, "lower", "one seed only")]

    def regret(id_: str, sampler: str, problem: str, count: int, mark: float, what: str) -> Mark:
        value = float(np.median(_at(found[sampler, problem], count)))
        return Mark(id_, f"{problem} regret % at {count}, {what}", value, mark, "lower", WHY)

    to_one = [each.evaluations_to(1.0) for each in found["front", "P1"]]
    exact = "exact costs"
    return [
        regret("p1-50", "front", "P1", 50, 3.5, exact),
        regret("p1-100", "front", "P1", 100, 1.0, exact),
        regret("p1-200", "front", "P1", 200, 0.5, exact),
        Mark("p1-to1", "evaluations to 1 % on P1, median", float(np.median(to_one)), 100, "lower", WHY),
        Mark("p1-to1-worst", "evaluations to 1 % on P1, worst seed", max(to_one), 250, "lower", WHY),
        regret("p3-100", "front", "P3", 100, 1.8, exact),
        Mark("p3-worst", "P3 regret % at 200, worst seed", max(_at(found["front", "P3"], 200)), 2.0, "lower", WHY),
        regret("p2-100", "front", "P2", 100, 3.0, exact),
        regret("p2-200", "front", "P2", 200, 2.0, exact),
        regret("p1-pred-100", "front, predicted", "P1", 100, 2.5, "predictor of 40 measurements, true costs scored"),
        regret("p1-blind-100", "front, none known", "P1", 100, 4.5, "no known costs"),
    ]
