"""Trials from scratch: which are hopeless, and what is told of those that are trained side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nas.architecture import Architecture
from nas.bench import from_scratch as module
from nas.bench.alone import TrainedAlone
from nas.bench.cifar10 import contest_of
from nas.bench.from_scratch import clearly_worse, from_scratch
from nas.errors import TrainingError


@pytest.mark.parametrize(
    ("curve", "rivals", "hopeless"),
    [
        ([0.3], [[0.6]], True),
        ([0.3], [], False),  # nobody is no slower
        ([0.3], [[]], False),  # somebody is, but came to no epoch
        ([0.56], [[0.6]], False),  # it may catch up
        ([0.7, 0.6], [[0.9], [0.2, 0.5]], False),  # the better one did not come so far
        ([0.3, 0.3], [[0.3, 0.4], [0.3, 0.2]], True),
    ],
)
def test_hopeless_is_who_is_clearly_behind_somebody_no_slower(curve: list[float], rivals: list[list[float]], hopeless: bool) -> None:
    assert clearly_worse(curve, rivals, 3) is hopeless


def test_nobody_is_hopeless_in_the_first_third() -> None:
    rival = [0.9] * 9
    assert [clearly_worse([0.1] * done, [rival], 10) for done in range(1, 6)] == [False, False, False, True, True]


def test_each_network_is_trained_once_and_one_that_diverges_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def fake(*given: object) -> TrainedAlone:
        (arch, rivals, budget_s) = given[-3:]
        assert isinstance(arch, Architecture)
        assert isinstance(rivals, Sequence)
        assert isinstance(budget_s, float)
        assert 0 < budget_s <= 1000
        assert len(rivals) <= len(trained)
        trained.append(arch.arch_id)
        if len(trained) == 3:
            raise TrainingError("the loss is nan")
        return TrainedAlone(0.5, 0.4, (0.3,), 1, True, 2.0, 0.0)

    monkeypatch.setattr(module, "_trained", fake)
    monkeypatch.setattr(module, "MOST_TRIALS", 40)
    contest, _ = contest_of(Path(), tmp_path, smoke=True)
    found = from_scratch(replace(contest, budget_s=1000.0), 1, 0, tmp_path)
    ids = [point.id for point in found.points]
    assert trained[2] not in ids
    assert len(set(ids)) == len(ids) == found.networks
    assert 10 < found.networks < 40
    assert [point.at_s for point in found.points] == sorted(point.at_s for point in found.points)
    assert found.points[-1].at_s == pytest.approx(found.seconds, abs=0.5)


def test_several_processes_train_side_by_side(tmp_path: Path) -> None:
    contest, _ = contest_of(Path(), tmp_path, smoke=True)
    found = from_scratch(replace(contest, budget_s=6.0, processes=2), 1, 0, tmp_path)
    assert found.networks == len(found.points) >= 2  # two are begun at once
    assert all(0 < point.test < 1 and point.own_s > 0 for point in found.points)
