"""FrontSampler: an Optuna sampler for few dear evaluations and costs that are known beforehand."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import InputError
from nas.search.domain import Array, Domain, Function, ParamDomain, Params, Rows
from nas.search.ground import Ground
from nas.search.outlook import Evidence
from nas.search.proposal import Proposer
from nas.search.reading import Reader

__all__ = ["CUT_OFF", "FrontSampler"]

CUT_OFF = "cut_off"
"""User attribute of a trial that failed because its process ended: its point may be asked for again. All other failures bar a point."""
VIEWS = 16
"""Studies, times spaces, that one sampler keeps what it read of."""
_Read = tuple[str, Rows | None, tuple[float, ...]]


class FrontSampler(BaseSampler):
    """Proposes what should add most hypervolume to the front, when some objectives cost nothing to know and others are dear.

    It works in any Optuna study of any number of objectives, by ask and tell or by optimize. Objectives that `costs` knows are not modelled
    unless the study tells other values than the function does; the others are modelled by a Gaussian process on the parameters, the known
    costs and the descriptors. Points that break a constraint are not asked for, nor is one asked for twice; trials under way count as
    evaluated with their expected value, so that proposals of a batch differ. A space that is exhausted ends with `SpaceExhaustedError`.

    All it goes by is in the study: what trial n is asked for is a function of the trials before it, of the arguments and of n. A study
    that was interrupted goes on as if it had not been.

        sampler = FrontSampler(space, costs={1: latency_ms}, seed=0)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        trial = study.ask(space)
        study.tell(trial, [accuracy(trial.params), latency_ms(trial.params)])

    Args:
        space: the distribution of every parameter. Without it, the parameters that all finished trials have in common; trials before the
            first that is told are uniform draws then.
        costs: for each objective (by its index) that is known, a function of the parameters. It gives the value as the study is told it, or
            a pair of value and standard error, which widens what is expected. About a thousand points are looked at for a trial, so it
            should take microseconds; what it gave is remembered. A point for which it raises, or gives no finite number, is not asked for.
        constraints: functions of the parameters that are <= 0 where a point may be asked for.
        canonical: the parameters that matter, given all, e.g. {"depth": 1, "kernel_size_2": 5} -> {"depth": 1}. Points that differ only in
            others are one point.
        descriptors: numbers that describe a point to the model, always as many.
        floor: value of the first objective that is not known, e.g. the accuracy, beyond which a point is of no use. None is needed: without
            one the worst tenth of what was seen is of no interest.
        seed: of everything that is random.

    Raises:
        InputError: `costs` names no objective, or canonical, costs, constraints or descriptors are given without `space`.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution] | None = None,
        *,
        costs: Mapping[int, Function] | None = None,
        constraints: Sequence[Callable[[Params], float]] = (),
        canonical: Callable[[Params], Params] | None = None,
        descriptors: Callable[[Params], Sequence[float]] | None = None,
        floor: float | None = None,
        seed: int = 0,
    ) -> None:
        for objective in costs or {}:
            if not isinstance(objective, int) or objective < 0:
                raise InputError(f"costs are given by the index of their objective, 0 for the first, got {objective!r}")
        if seed < 0:
            raise InputError(f"a seed is a whole number from 0 on, got {seed}")
        if space is None and (costs or constraints or canonical or descriptors):
            raise InputError("costs, constraints, canonical and descriptors are functions of the parameters: name them all by space=")
        self._space = None if space is None else dict(space)
        self._domain: Domain | None = None if space is None else ParamDomain(space, costs, constraints, canonical, descriptors)
        self._seed, self._floor = seed, floor
        self._inferred = IntersectionSearchSpace()
        self._views: dict[tuple[str, str], _View] = {}

    @classmethod
    def over(cls, domain: Domain, space: Mapping[str, BaseDistribution], seed: int, floor: float | None = None) -> FrontSampler:
        """A sampler of a domain that answers for many points at once, as that of a `SearchSpace` does."""
        made = cls(space, floor=floor, seed=seed)
        made._domain = domain
        return made

    def promise(self, study: Study) -> float | None:
        """The most that any candidate for the last proposal was expected to add to the hypervolume, as a share of it; None where no model
        was asked. Hypervolume is over normal scores of modelled objectives times the logarithms of known costs.
        """
        views = [view for (name, _), view in self._views.items() if name == study.study_name]
        return views[-1].proposer.promise if views else None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return dict(self._space) if self._space is not None else self._inferred.calculate(study)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """A value for every parameter of the space.

        Raises:
            SpaceExhaustedError: every point was asked for, as far as could be found.
            InfeasibleError: no point meets the constraints.
            StudyError: the study has trials of another space.
            InputError: `costs` names an objective that the study has not.
        """
        if not search_space:
            return {}
        view = self._view(study, search_space)
        evidence = view.evidence(study, trial)
        # Counted, not numbered: a trial that was cut off leaves a number behind, but nothing that was learned.
        count = sum(len(rows) for rows in (evidence.rows, evidence.pending, evidence.barred))
        return view.domain.params(view.proposer.propose(evidence, count))

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """A uniform draw, for parameters that are not of the space."""
        seed = np.random.default_rng([self._seed, trial.number, zlib.crc32(param_name.encode())]).integers(2**32)
        return RandomSampler(seed=int(seed)).sample_independent(study, trial, param_name, param_distribution)

    def _view(self, study: Study, space: Mapping[str, BaseDistribution]) -> _View:
        """What is kept of a study between trials: nothing that it could not be asked for again."""
        key = (study.study_name, repr(sorted(space.items())))
        if key not in self._views:
            domain = self._domain or ParamDomain(space)
            signs = np.array([1.0 if direction == StudyDirection.MINIMIZE else -1.0 for direction in study.directions])
            beyond = [objective for objective in domain.known if objective >= len(signs)]
            if beyond:
                raise InputError(f"costs are given for objective {beyond[0]}, but the study has {len(signs)}, counted from 0")
            ground = Ground(domain, [float(signs[objective]) for objective in domain.known], self._seed)
            while len(self._views) >= VIEWS:
                del self._views[next(iter(self._views))]
            unknown = [sign for objective, sign in enumerate(signs) if objective not in domain.known]
            worst = float(unknown[0]) * self._floor if unknown and self._floor is not None else None
            self._views[key] = _View(domain, Proposer(ground, signs, self._seed, worst), signs, is_given=self._space is not None)
        return self._views[key]


class _View:
    """A study as the proposer sees it."""

    def __init__(self, domain: Domain, proposer: Proposer, signs: Array, *, is_given: bool) -> None:
        self.domain, self.proposer = domain, proposer
        self._signs, self._is_given = signs, is_given
        self._names = frozenset(domain.names)
        self._trials = Reader(self._read)

    def evidence(self, study: Study, trial: FrozenTrial) -> Evidence:
        read = self._trials(study, trial.number)
        none = np.zeros((0, len(self.domain.sizes)), dtype=np.int16)

        def rows(kind: str) -> Rows:
            found = [row for was, row, _ in read if was == kind and row is not None]
            return np.array(found, dtype=np.int16) if found else none

        losses = np.array([losses for was, _, losses in read if was == "told"], dtype=np.float64).reshape(-1, len(self._signs))
        return Evidence(rows("told"), losses, rows("pending"), rows("barred"))

    def _read(self, trial: FrozenTrial) -> _Read:
        """Told, pending, barred, or nothing: a trial that has not got its values yet, waits, or was cut off."""
        is_cut_off = trial.state == TrialState.FAIL and CUT_OFF in trial.user_attrs
        lacks_some = not trial.params.keys() >= self._names and trial.state != TrialState.COMPLETE
        if trial.state == TrialState.WAITING or is_cut_off or lacks_some:
            return "nothing", None, ()
        # Without a space of its own the sampler takes what trials have in common, and some have more.
        row = self.domain.row(trial.params if self._is_given else {name: trial.params[name] for name in self.domain.names})
        if trial.state == TrialState.RUNNING:
            return "pending", row, ()
        if trial.state == TrialState.COMPLETE and np.isfinite(trial.values).all():
            return "told", row, tuple(np.asarray(trial.values) * self._signs)
        return "barred", row, ()
