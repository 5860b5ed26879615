"""Samplers by name, and the wrapper that keeps every one of them from asking twice or for what cannot be used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas import plugins
from nas.architecture import Architecture, GeneValue
from nas.errors import SpaceExhaustedError, UnknownNameError
from nas.search.domain import Domain
from nas.search.front import CUT_OFF, FrontSampler
from nas.search.reading import Reader
from nas.space import SearchSpace

__all__ = [
    "FrontSampler",
    "SamplerContext",
    "SpaceExhaustedError",
    "UniqueSampler",
    "categorical",
    "distributions",
    "front",
    "gp",
    "nsga2",
    "peer",
    "random",
    "sampler",
    "tpe",
]

BASE_TRIES = 8
"""Proposals of the base sampler, whose model may take seconds for each; chosen by hand, as all that follows but the last."""
MUTATION_TRIES = 200
"""Half of its last proposal, half of anything that was asked for."""
LEAST_RATE, MOST_RATE = 0.1, 0.5
"""Share of the genes that the first and the last mutation draw anew: near the proposal as long as there is something new near it."""
RANDOM_TRIES = 2000
"""Where 1 architecture in 400 is new and acceptable, they find one with a probability of 99 %."""


def peer(name: str, seed: int, population: int = 50) -> BaseSampler:
    """One of Optuna's samplers: random, nsga2, tpe (multivariate), tpe-independent (each gene for itself, Optuna's default) or gp.

    Args:
        population: of NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017); 50 is Optuna's default.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna says that options are experimental
        if name == "nsga2":
            return NSGAIISampler(population_size=population, seed=seed)
        if name in ("tpe", "tpe-independent"):
            return TPESampler(multivariate=name == "tpe", seed=seed)
        if name == "gp":
            return GPSampler(seed=seed)
        if name == "random":
            return RandomSampler(seed=seed)
    raise UnknownNameError("sampler", name, ("gp", "nsga2", "random", "tpe", "tpe-independent"))


@dataclass(frozen=True)
class SamplerContext:
    """What a sampler is made for. A plug-in is called with one and gives an `optuna.samplers.BaseSampler`. It is an entry point of the
    group `nas.samplers`; `nas.testing.SamplerContract` tests it.

    Attributes:
        domain: the space with what is known of its architectures.
        trials: that the search may take.
        floor: accuracy below which a candidate is of no use; None where any is of some.
    """

    space: SearchSpace
    domain: Domain
    trials: int
    seed: int
    floor: float | None = None


def front(context: SamplerContext) -> BaseSampler:
    """Ours: costs that are known, expected gain of hypervolume."""
    return FrontSampler.over(context.domain, distributions(context.space), context.seed, context.floor)


def nsga2(context: SamplerContext) -> BaseSampler:
    """NSGA-II. A small budget gets a small population, so that it sees generations at all."""
    return peer("nsga2", context.seed, max(10, min(50, context.trials // 5)))


def tpe(context: SamplerContext) -> BaseSampler:
    """Tree-structured Parzen estimators, multivariate (Falkner et al. 2018, arXiv:1807.01774)."""
    return peer("tpe", context.seed)


def gp(context: SamplerContext) -> BaseSampler:
    """Optuna's Gaussian processes; seconds a trial from a few hundred on."""
    return peer("gp", context.seed)


def random(context: SamplerContext) -> BaseSampler:
    """Uniform random search, the baseline."""
    return peer("random", context.seed)


def sampler(name: str, context: SamplerContext) -> BaseSampler:
    """A sampler by name.

    Raises:
        UnknownNameError: with the names there are.
    """
    made: BaseSampler = plugins.load("samplers", name)(context)
    return made


def categorical(choices: Mapping[str, Sequence[GeneValue]]) -> dict[str, BaseDistribution]:
    """A categorical distribution for each name."""
    return {name: CategoricalDistribution(values) for name, values in choices.items()}


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Every gene as a categorical: one fixed space, not a conditional one, so that relative sampling sees it whole."""
    return categorical({gene.name: gene.choices for gene in space.genes})


class UniqueSampler(BaseSampler):
    """Asks `base`, and asks again when the architecture was asked for before or is not acceptable; then mutates; then draws at random.

    Equality is that of canonical architectures, so inactive genes do not make two out of one. No state outside the study but the generator.

    Args:
        accept: whether an architecture may be asked for (the constraints, which are free to check).
        fallback: acceptable architectures to draw from when nothing else is found.
    """

    def __init__(
        self, base: BaseSampler, space: SearchSpace, accept: Callable[[Architecture], bool], fallback: Sequence[Architecture], seed: int
    ) -> None:
        self._base = base
        self._space = space
        self._accept = accept
        self._fallback = tuple(fallback)
        self._seed = seed
        self._distributions = distributions(space)
        self._asked_for = Reader(self._architecture)

    def promise(self, study: Study) -> float | None:
        """What `FrontSampler.promise` says; None of other samplers."""
        return self._base.promise(study) if isinstance(self._base, FrontSampler) else None

    def reseed_rng(self) -> None:
        self._base.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self._distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Values of every gene.

        Raises:
            SpaceExhaustedError: nothing new and acceptable was found.
        """
        seen = {arch for arch in self._asked_for(study, trial.number) if arch is not None}
        if len(seen) >= self._space.size:
            raise SpaceExhaustedError(f"all {self._space.size} architectures of space {self._space.name} have been tried")
        last: Architecture | None = None
        for _ in range(BASE_TRIES):
            try:
                last = self._space.canonical(self._ask_base(study, trial, search_space))
            except SpaceExhaustedError:  # as far as it looked
                break
            if last not in seen and self._accept(last):
                return self.filled(last)
        rng = np.random.default_rng([self._seed, trial.number])
        for arch in self._others(last, rng, seen):
            if arch not in seen and self._accept(arch):
                return self.filled(arch)
        raise SpaceExhaustedError(f"no new architecture of space {self._space.name} meets the constraints: {len(seen)} have been tried")

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._base.before_trial(study, trial)
        if not self._space.genes:
            self.sample_relative(study, trial, {})  # Optuna asks for values only where there are some to choose from

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._base.after_trial(study, trial, state, values)

    def _ask_base(self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]) -> dict[str, GeneValue]:
        values = self._base.sample_relative(study, trial, dict(search_space))
        return {
            name: values[name] if name in values else self._base.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
        }

    def _architecture(self, trial: FrozenTrial) -> Architecture | None:
        """What must not be asked for again because of a trial; None for a trial that has not got its values yet."""
        is_one = _counts(trial) and trial.params.keys() >= self._distributions.keys()
        return self._space.canonical(trial.params) if is_one else None

    def _others(self, last: Architecture | None, rng: np.random.Generator, seen: set[Architecture]) -> Iterator[Architecture]:
        """Mutations of the last proposal, then of what has been asked for, then the fallback, then random ones."""
        parents = [*([last] if last else []), *sorted(seen, key=lambda arch: arch.genes)]
        for attempt in range(MUTATION_TRIES if self._space.genes else 0):
            parent = parents[0] if attempt < MUTATION_TRIES // 2 else parents[rng.integers(len(parents))]
            yield self._space.mutate(parent, rng, rate=LEAST_RATE + (MOST_RATE - LEAST_RATE) * attempt / MUTATION_TRIES)
        if self._fallback:
            yield from (self._fallback[row] for row in rng.permutation(len(self._fallback)))
        yield from self._space.decode_rows(self._space.sample_rows(RANDOM_TRIES, rng))

    def filled(self, arch: Architecture) -> dict[str, GeneValue]:
        """A value for every gene: inactive ones take their smallest choice."""
        active = dict(arch.genes)
        return {gene.name: active.get(gene.name, gene.choices[0]) for gene in self._space.genes}


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial's architecture must not be asked for again: it is being evaluated, has been, or has failed on its own account."""
    return trial.state in (TrialState.COMPLETE, TrialState.RUNNING) or (trial.state == TrialState.FAIL and CUT_OFF not in trial.user_attrs)
