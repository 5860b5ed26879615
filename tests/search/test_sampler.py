"""Samplers: none asks twice, or for what the constraints forbid; each repeats by its seed."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import TrialState

from nas import plugins
from nas.architecture import Architecture
from nas.errors import UnknownNameError
from nas.search.domain import ParamDomain
from nas.search.front import CUT_OFF
from nas.search.sampler import SamplerContext, SpaceExhaustedError, UniqueSampler, distributions, sampler
from nas.search.scoring import Scorer
from nas.space import SearchSpace
from nas.testing import SamplerContract
from tests.spaces import everything, make_space, rich_space

TINY = make_space()  # 20 architectures
names = pytest.mark.parametrize("name", plugins.names("samplers"))


def context(space: SearchSpace, seed: int = 0) -> SamplerContext:
    domain = ParamDomain(distributions(space), canonical=lambda params: dict(space.canonical(params).genes))
    return SamplerContext(space, domain, 20, seed)


def new_study(
    space: SearchSpace,
    name: str,
    seed: int = 0,
    accept: Callable[[Architecture], bool] = lambda arch: True,
    fallback: tuple[Architecture, ...] = (),
) -> Study:
    unique = UniqueSampler(sampler(name, context(space, seed)), space, accept, fallback, seed)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=unique)


def ask(study: Study, space: SearchSpace) -> Architecture:
    """Asks and tells; a deep network is good and dear."""
    trial = study.ask(distributions(space))
    assert set(trial.params) == {gene.name for gene in space.genes}
    arch = space.canonical(trial.params)
    study.tell(trial, [len(arch.genes), float(sum(len(name) for name, _ in arch.genes))])
    return arch


def until_exhausted(study: Study, space: SearchSpace) -> list[Architecture]:
    asked: list[Architecture] = []
    with pytest.raises(SpaceExhaustedError, match=r"have been tried$"):
        asked.extend(ask(study, space) for _ in range(space.size + 1))
    return asked


@names
def test_every_architecture_is_asked_for_once_until_there_are_none(name: str) -> None:
    asked = until_exhausted(new_study(TINY, name), TINY)
    assert len(asked) == len(set(asked)) == TINY.size == 20
    assert set(asked) == set(everything(TINY))


@names
def test_what_is_not_accepted_is_not_asked_for(name: str) -> None:
    wanted = {arch for arch in everything(TINY) if dict(arch.genes)["s1.b1.kernel_size"] == 5}
    asked = until_exhausted(new_study(TINY, name, accept=wanted.__contains__), TINY)
    assert len(asked) == len(wanted)
    assert set(asked) == wanted


def test_rare_architectures_come_from_the_fallback() -> None:
    """One in 5,600: neither the base nor mutations find it."""
    space = rich_space()
    rare = space.canonical({**dict(space.largest.genes), "s1.b2.kernel_size": 3})
    study = new_study(space, "random", accept=rare.__eq__, fallback=(space.smallest, rare))
    assert until_exhausted(study, space) == [rare]


@names
def test_another_seed_asks_for_others(name: str) -> None:
    space = rich_space()
    one, other = ([ask(study, space) for _ in range(5)] for study in (new_study(space, name, seed) for seed in (3, 4)))
    assert one != other


class TestBuiltIns(SamplerContract):
    @pytest.fixture(params=plugins.names("samplers"))
    def make(self, request: pytest.FixtureRequest) -> Callable[[SamplerContext], BaseSampler]:
        made: Callable[[SamplerContext], BaseSampler] = plugins.load("samplers", request.param)
        return made

    def test_a_sampler_that_does_not_heed_the_seed_is_told(self, scorer: Scorer) -> None:
        with pytest.raises(AssertionError):
            self.test_one_seed_asks_for_the_same_again(lambda context: RandomSampler(), scorer)


def test_a_good_parent_has_children() -> None:
    """After its first generation, NSGA-II finds the deepest networks sooner than chance does."""
    space = rich_space()
    deep = {}
    for name in ("nsga2", "random"):
        study = new_study(space, name, seed=1)
        deep[name] = sum(len(ask(study, space).genes) for _ in range(80))
    assert deep["nsga2"] > deep["random"]


def test_failures_and_interruptions() -> None:
    """An architecture that failed on its own account is not asked for again, one that was cut off may be; those under way are not."""
    study = new_study(TINY, "random")
    failed, cut_off, running = (study.ask(distributions(TINY)) for _ in range(3))
    failed.set_user_attr("reason", "the loss is nan")
    cut_off.set_user_attr(CUT_OFF, True)
    study.tell(failed, state=TrialState.FAIL)
    study.tell(cut_off, state=TrialState.FAIL)
    asked = until_exhausted(study, TINY)
    assert len(asked) == len(set(asked)) == 18
    assert TINY.canonical(cut_off.params) in asked
    assert not {TINY.canonical(trial.params) for trial in (failed, running)} & set(asked)


def test_values_that_are_asked_for_name_every_gene() -> None:
    unique = UniqueSampler(sampler("random", context(TINY)), TINY, lambda arch: True, (), 0)
    for arch in everything(TINY):
        filled = unique.filled(arch)
        assert list(filled) == [gene.name for gene in TINY.genes]
        assert TINY.canonical(filled) == arch


def test_a_space_without_a_choice_is_exhausted_after_one() -> None:
    space = make_space(stages=[{"out_chs": 8}])
    assert until_exhausted(new_study(space, "nsga2"), space) == [space.largest]


def test_unknown_samplers_list_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown sampler 'nsga': did you mean nsga2"):
        sampler("nsga", context(TINY))
