"""What is told of the time before a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.cost import count
from nas.estimating import Estimate, estimate
from nas.metrics import Constraint
from nas.models.network import Network
from nas.remaining import Left
from nas.training.finetune import Times
from tests.test_opening import ready


def test_finalists_that_devices_share_are_not_counted_twice() -> None:
    one = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 120.0}, 10 * 2**20)
    assert one.event().text == "This will take about 3.5 minutes (supernet 1.0, search 0.5, finalists 2.0) and 10 MiB of disk"
    two = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 240.0}, 10 * 2**20, shared_s=120.0)
    assert two.event().text == (
        "This will take about 3.5 to 5.5 minutes (supernet 1.0, search 0.5, finalists 2.0 to 4.0) and 10 MiB of disk; devices share "
        "finalists where one serves both"
    )
    assert two.event().fields["estimate_s"] == 330.0


def test_the_time_is_told_of_a_network_that_may_be_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = ready(tmp_path).space
    most = count(space.decode(space.smallest)).macs
    timed: list[int] = []

    def time_network(network: Network, *_: Any) -> Times:
        timed.append(count(network.blocks).macs)
        return Times(1.0, 1.0)

    monkeypatch.setattr("nas.estimating.time_network", time_network)
    for seed in range(3):
        prepared = ready(tmp_path, seed=seed, evaluator="train", constraints=(Constraint("macs", most),))
        estimate(prepared, None, trained=False, left=Left(1, 1))
    assert timed == [most] * 3


def test_a_search_that_goes_on_has_what_is_left_of_its_time(tmp_path: Path) -> None:
    prepared = ready(tmp_path, evaluator="train", time_budget_s=100.0)
    for spent_s, most in ((0.0, {"search": 20.0, "finalists": 80.0}), (90.0, {"search": 10.0, "finalists": 0.0}), (1e6, {})):
        seconds = estimate(prepared, None, trained=False, left=Left(10**9, 10**9, spent_s)).seconds
        assert seconds == {"supernet": 0.0, "search": 0.0, "finalists": 0.0, **most}
