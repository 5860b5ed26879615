"""FrontSampler in plain Optuna studies: what it asks for, what it refuses, and that all it knows is in the study."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import TrialState

from nas.errors import InfeasibleError, InputError, SpaceExhaustedError, StudyError
from nas.search import pareto
from nas.search.front import CUT_OFF, FrontSampler

optuna.logging.set_verbosity(optuna.logging.ERROR)

Params = Mapping[str, Any]
SPACE: dict[str, BaseDistribution] = {
    "depth": IntDistribution(1, 4),
    **{f"k{i}": CategoricalDistribution((3, 5, 7)) for i in range(1, 5)},
    **{f"w{i}": CategoricalDistribution((1, 2, 4)) for i in range(1, 5)},
}


def layers(params: Params) -> list[tuple[int, int]]:
    return [(params[f"k{i}"], params[f"w{i}"]) for i in range(1, params["depth"] + 1)]


def active(params: Params) -> Params:
    """Layers beyond the depth do not exist."""
    return {name: value for name, value in params.items() if name == "depth" or int(name[1:]) <= params["depth"]}


def latency(params: Params) -> float:
    return 1.0 + sum(0.1 * k * w for k, w in layers(params))


def shallow(params: Params) -> float:
    return -1.0 * params["depth"]


def accuracy(params: Params) -> float:
    """Saturates, has interactions, and noise that is a function of the point."""
    gain = sum(np.sqrt(k * w) * (1.3 if i % 2 == (k == 5) else 1.0) for i, (k, w) in enumerate(layers(params)))
    noise = np.random.default_rng(abs(hash(tuple(layers(params)))) % 2**32).normal()
    return float(1 - np.exp(-gain / 6) + 0.002 * noise)


def ours(seed: int = 0, **changes: Any) -> FrontSampler:
    return FrontSampler(SPACE, **{"costs": {1: latency}, "canonical": active, "seed": seed, **changes})


def new(sampler: Any, directions: tuple[Any, ...] = ("maximize", "minimize"), store: Any = None) -> Study:
    return optuna.create_study(directions=directions, sampler=sampler, storage=store, study_name="s", load_if_exists=True)


def step(
    study: Study, space: Mapping[str, BaseDistribution] = SPACE, tell: Callable[[Params], Any] = lambda p: (accuracy(p), latency(p))
) -> Params:
    trial = study.ask(dict(space))
    study.tell(trial, tell(active(trial.params) if "depth" in trial.params else trial.params))
    return active(trial.params) if "depth" in trial.params else trial.params


def volume(study: Study) -> float:
    points = np.array([[-t.values[0], np.log(t.values[1])] for t in study.trials])
    return pareto.hypervolume(points, [0.0, np.log(15.0)])


def test_it_needs_far_fewer_evaluations_than_chance() -> None:
    volumes = []
    for sampler in (ours(), optuna.samplers.RandomSampler(seed=0)):
        study = new(sampler)
        for _ in range(40):
            step(study)
        volumes.append(volume(study))
    best = max(volumes)
    assert volumes[0] == best
    random = new(optuna.samplers.RandomSampler(seed=1))
    for _ in range(200):
        step(random)
    assert volumes[0] > volume(random)


def test_a_floor_turns_it_to_what_is_of_use() -> None:
    """Counted after the first 16 points, which are spread before a model is asked."""
    useful = []
    for floor in (None, 0.95):
        studies = [new(ours(seed=seed, floor=floor)) for seed in range(2)]
        found = [[accuracy(step(study)) for _ in range(36)] for study in studies]
        useful.append(sum(value >= 0.95 for each in found for value in each[16:]))
    assert useful[1] > 1.5 * useful[0]
    unreachable = new(ours(floor=2.0))
    plain = new(ours())
    assert [step(unreachable) for _ in range(20)] == [step(plain) for _ in range(20)]


def test_it_never_asks_twice_and_inactive_genes_make_no_other_point() -> None:
    study = new(ours())
    asked = [tuple(sorted(step(study).items())) for _ in range(45)]
    assert len(set(asked)) == 45


@pytest.mark.parametrize("cut", [3, 14])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(cut: int, tmp_path: Path) -> None:
    whole = new(ours())
    expected = [step(whole) for _ in range(18)]
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = new(ours(), store=url)
    for _ in range(cut):
        step(first)
    lost = first.ask(dict(SPACE))  # the process dies here
    again = new(ours(), store=url)
    again._storage.set_trial_user_attr(lost._trial_id, CUT_OFF, True)
    again.tell(lost.number, state=TrialState.FAIL)
    assert [step(again) for _ in range(18 - cut)] == expected[cut:]


def test_the_seed_decides() -> None:
    one, same, other = ([step(study) for _ in range(14)] for study in (new(ours(seed)) for seed in (1, 1, 2)))
    assert one == same != other


def test_proposals_of_a_batch_differ_and_pending_ones_are_not_asked_for() -> None:
    study = new(ours())
    for _ in range(14):
        step(study)
    batch = [study.ask(dict(SPACE)) for _ in range(6)]
    points = {tuple(sorted(active(trial.params).items())) for trial in batch}
    assert len(points) == 6
    for trial in batch:
        study.tell(trial, [accuracy(active(trial.params)), latency(active(trial.params))])
    assert tuple(sorted(step(study).items())) not in points


def test_constraints_hold_before_anything_is_asked() -> None:
    study = new(ours(constraints=[lambda params: latency(params) - 3.5]))
    assert all(latency(step(study)) <= 3.5 for _ in range(30))
    with pytest.raises(InfeasibleError, match="no point"):
        step(new(ours(constraints=[lambda params: 1.0])))


def test_a_small_space_ends_with_a_word() -> None:
    space = {"a": CategoricalDistribution(("x", "y", "z")), "b": IntDistribution(0, 3)}
    study = new(FrontSampler(space, costs={1: lambda p: p["b"] + 1.0}))
    asked = [tuple(step(study, space, lambda p: (float(p["b"] * len(p["a"])), p["b"] + 1.0)).values()) for _ in range(12)]
    assert len(set(asked)) == 12
    with pytest.raises(SpaceExhaustedError, match="12 have been tried"):
        study.ask(space)


@pytest.mark.parametrize(
    ("directions", "costs", "tell"),
    [
        (("minimize",), None, lambda p: 1 - accuracy(p)),
        (("minimize", "minimize"), {1: latency}, lambda p: (100 - 100 * accuracy(p), latency(p))),
        (("maximize", "minimize"), None, lambda p: (accuracy(p), latency(p))),
        (("minimize", "maximize", "minimize"), {0: latency, 2: shallow}, lambda p: (latency(p), 1e-6 * accuracy(p), shallow(p))),
        (("maximize", "minimize"), {1: lambda p: (latency(p), 0.2)}, lambda p: (accuracy(p), latency(p))),
        (("maximize", "minimize"), {1: lambda p: 1.2 * latency(p)}, lambda p: (accuracy(p), latency(p))),
        (("maximize", "minimize"), {0: accuracy, 1: latency}, lambda p: (accuracy(p), latency(p))),
        (("maximize", "minimize"), {1: latency}, lambda p: (0.5, latency(p))),
    ],
    ids=["one objective", "error in per cent", "nothing known", "three mixed", "uncertain", "told otherwise", "all known", "constant"],
)  # fmt: skip
def test_any_objectives(directions: tuple[str, ...], costs: Any, tell: Callable[[Params], Any]) -> None:
    study = new(ours(costs=costs), directions)
    points = [tuple(sorted(step(study, tell=tell).items())) for _ in range(18)]
    assert len(set(points)) == 18


def test_without_a_space_it_takes_what_trials_have_in_common() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x, n = trial.suggest_float("x", 1e-3, 1.0, log=True), trial.suggest_int("n", 1, 100)
        if n > 50:
            trial.suggest_categorical("extra", ["a", "b"])
        return (np.log(x) + 3) ** 2 + 0.01 * n, float(n)

    study = new(FrontSampler(seed=1), ("minimize", "minimize"))
    study.optimize(objective, n_trials=25)
    best = min(trial.values[0] for trial in study.trials)
    assert best < 0.2
    assert len({(t.params["x"], t.params["n"]) for t in study.trials}) == 25


def test_costs_that_fail_are_said_once_with_a_count() -> None:
    def cost(params: Params) -> float:
        if params["depth"] == 4:
            raise ZeroDivisionError("no such block")
        return float("nan") if params["depth"] == 3 else latency(params)

    study = new(ours(costs={1: cost}))
    with pytest.warns(UserWarning, match=r"of \d+ of the first 2048 points are no finite numbers \(") as said:
        found = [step(study) for _ in range(20)]
    assert len(said) == 1
    assert all(params["depth"] <= 2 for params in found)


def test_a_failed_point_is_not_asked_for_again() -> None:
    study = new(ours())
    for _ in range(13):
        step(study)
    failed = study.ask(dict(SPACE))
    study.tell(failed, state=TrialState.FAIL)
    assert all(step(study) != active(failed.params) for _ in range(5))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="index of their objective"):
        FrontSampler(SPACE, costs={"latency": latency})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="name them all by space="):
        FrontSampler(costs={1: latency})
    with pytest.raises(InputError, match="objective 2, but the study has 2"):
        step(new(ours(costs={2: latency})))
    with pytest.raises(InputError, match="from 0 on, got -1"):
        FrontSampler(seed=-1)
    study = new(optuna.samplers.RandomSampler(), ("maximize", "minimize"))
    other = {"depth": IntDistribution(1, 9), "x": FloatDistribution(0, 1)}
    study.tell(study.ask(other), (0.5, 1.0))
    study.sampler = ours()
    with pytest.raises(StudyError, match="the study has parameters depth, x, the sampler depth, k1"):
        study.ask(dict(SPACE))


def test_it_is_named_lazily() -> None:
    code = "import sys, nas; assert 'optuna' not in sys.modules; from nas import FrontSampler; print(FrontSampler.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nas.search.front"
