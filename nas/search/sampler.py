"""Samplers by name, and the wrapper that keeps every one of them from asking twice or for what cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas import plugins
from nas.architecture import Architecture, GeneValue
from nas.errors import NasError
from nas.space import SearchSpace

__all__ = ["SpaceExhaustedError", "UniqueSampler", "distributions", "nsga2", "random", "sampler"]

BASE_TRIES, MUTATION_TRIES, RANDOM_TRIES = 8, 200, 2000


class SpaceExhaustedError(NasError):
    """Every architecture that meets the constraints has been asked for, as far as could be found."""


def nsga2(seed: int, trials: int) -> BaseSampler:
    """NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017). A small budget gets a small population, so that it sees generations at all."""
    return NSGAIISampler(population_size=max(10, min(50, trials // 5)), seed=seed)


def random(seed: int, trials: int) -> BaseSampler:  # noqa: ARG001
    """Uniform random search, the baseline."""
    return RandomSampler(seed=seed)


def sampler(name: str, seed: int, trials: int) -> BaseSampler:
    """A sampler by name (entry points `nas.samplers`).

    Raises:
        UnknownNameError: with the names there are.
    """
    made: BaseSampler = plugins.load("samplers", name)(seed, trials)
    return made


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Every gene as a categorical: one fixed space, not a conditional one, so that relative sampling sees it whole."""
    return {gene.name: CategoricalDistribution(gene.choices) for gene in space.genes}


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

    def reseed_rng(self) -> None:
        self._base.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return self._distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Values of every gene.

        Raises:
            SpaceExhaustedError: nothing new and acceptable was found.
        """
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number and _counts(t))
        # A trial that has not got its values yet has no architecture.
        seen = {self._space.canonical(t.params) for t in others if t.params.keys() >= self._distributions.keys()}
        if len(seen) >= self._space.size:
            raise SpaceExhaustedError(f"all {self._space.size} architectures of space {self._space.name} have been tried")
        last: Architecture | None = None
        for _ in range(BASE_TRIES):
            last = self._space.canonical(self._ask_base(study, trial, search_space))
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

    def _others(self, last: Architecture | None, rng: np.random.Generator, seen: set[Architecture]) -> Any:
        """Mutations of the last proposal, then of what has been asked for, then the fallback, then random ones."""
        parents = [*([last] if last else []), *sorted(seen, key=lambda arch: arch.genes)]
        for attempt in range(MUTATION_TRIES if self._space.genes else 0):
            parent = parents[0] if attempt < MUTATION_TRIES // 2 else parents[rng.integers(len(parents))]
            yield self._space.mutate(parent, rng, rate=0.1 + 0.4 * attempt / MUTATION_TRIES)
        if self._fallback:
            yield from (self._fallback[row] for row in rng.permutation(len(self._fallback)))
        yield from self._space.decode_rows(self._space.sample_rows(RANDOM_TRIES, rng))

    def filled(self, arch: Architecture) -> dict[str, GeneValue]:
        """A value for every gene: inactive ones take their smallest choice."""
        active = dict(arch.genes)
        return {gene.name: active.get(gene.name, gene.choices[0]) for gene in self._space.genes}


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial's architecture must not be asked for again: it is being evaluated, has been, or has failed on its own account."""
    return trial.state in (TrialState.COMPLETE, TrialState.RUNNING) or (trial.state == TrialState.FAIL and "reason" in trial.user_attrs)
