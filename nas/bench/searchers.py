"""The samplers that `nas bench search` compares, each under one name."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.bench.nasbench import OPS, Problem, Table, TableDomain, number, operators
from nas.search.front import FrontSampler
from nas.search.sampler import categorical, peer
from nas.search.storage import BaseSampler, Trial, fail, new_study

__all__ = ["OURS", "PEERS", "Found", "searched"]

Array = NDArray[np.float64]

MEASURED = 40
"""Measurements that the predictor of "front, predicted" is fitted on."""
OURS = ("front", "front, no descriptors", "front, predicted", "front, none known")
PEERS: Mapping[str, str] = MappingProxyType(
    {"random": "random", "NSGA-II": "nsga2", "TPE": "tpe-independent", "TPE multivariate": "tpe", "GP": "gp"}
)
"""By the names of `nas.search.sampler.peer`."""
SPACE = categorical(dict.fromkeys(TableDomain.names, OPS))
REDRAWS = 200
"""Proposals of unconnected networks in a row before one is drawn at random."""


@dataclass(frozen=True, slots=True)
class Found:
    """Networks in the order of their evaluation, and the sampler's time: seconds of this process per trial."""

    numbers: list[int]
    seconds_a_trial: float


def searched(name: str, table: Table, problem: Problem, seed: int, trials: int, pending: int = 1) -> Found:
    """One search by one sampler. Duplicates count; unconnected proposals do not.

    Args:
        pending: evaluations under way at once; any of them may be the next to end.
    """
    true = np.column_stack([table.costs[column] for column, _, _ in problem.costs])
    if name in PEERS:
        return _run(peer(PEERS[name], seed), table, true, seed, trials, pending)
    costs, std = _predicted(table, true, seed) if name == "front, predicted" else (true, np.zeros_like(true))
    if name == "front, none known":
        domain = TableDomain(table, None)
    else:
        domain = TableDomain(table, costs, std, is_described=name != "front, no descriptors")
    return _run(FrontSampler.over(domain, SPACE, seed), table, costs, seed, trials, pending)


def _run(sampler: BaseSampler, table: Table, told: Array, seed: int, trials: int, pending: int) -> Found:
    study = new_study(["maximize", *_minimised(told.shape[1])], sampler)
    rng, order = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 3])
    under_way: list[tuple[Trial, int]] = []
    connected = np.flatnonzero(table.connected)
    names = TableDomain.names
    numbers: list[int] = []
    redraws, seconds = 0, 0.0
    while len(numbers) < trials:
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's experimental samplers warn each time
            trial = study.ask(SPACE)
        row = np.array([OPS.index(trial.params[each]) for each in names], dtype=np.int16)
        at = int(number(row[None])[0])
        if not table.connected[at] and redraws < REDRAWS:
            redraws += 1
            fail(study, trial, "not connected")
            seconds += time.process_time() - started
            continue
        if not table.connected[at]:
            at = int(rng.choice(connected))
        redraws = 0
        under_way.append((trial, at))
        while len(under_way) == pending or (under_way and len(under_way) + len(numbers) == trials):
            ended, at = under_way.pop(int(order.integers(len(under_way))))
            study.tell(ended, [float(table.accuracy[at]), *(float(cost) for cost in told[at])])
            numbers.append(at)
        seconds += time.process_time() - started
    return Found(numbers, seconds / trials)


def _minimised(count: int) -> list[Literal["minimize"]]:
    return ["minimize"] * count


def _predicted(table: Table, true: Array, seed: int) -> tuple[Array, Array]:
    """Costs of all networks by a model fitted on 40 measured classes, and its standard error from leaving each out.

    Non-negative least squares with relative weights, the kind of model that `nas.hardware.predictor` is, on how often each operator stands
    in the network that was measured: the Pi 5's latency of a class is that of one member with its dead edges, which the device ran.
    """
    from scipy.optimize import nnls

    rng = np.random.default_rng([seed, 2])
    features = np.column_stack([np.ones(len(table.measured)), operators(table.measured)])
    classes = rng.permutation(np.unique(table.classes[table.connected]))[:MEASURED]
    picks = np.array([int(np.flatnonzero((table.classes == each) & table.connected)[0]) for each in classes])
    values, errors = [], []
    for column in true.T:

        def fitted(some: NDArray[np.int64], cost: Array = column) -> Array:
            return np.asarray(nnls(features[some] / cost[some, None], np.ones(len(some)))[0])

        left_out = [float(np.log(column[pick] / (features[pick] @ fitted(np.delete(picks, i))))) for i, pick in enumerate(picks)]
        predicted = features @ fitted(picks)
        values.append(predicted)
        errors.append(predicted * float(np.sqrt(np.mean(np.square(left_out)))))
    return np.column_stack(values), np.column_stack(errors)
