"""What is told of the time before a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.cost import count
from nas.estimating import Estimate, estimate
from nas.measuring import measuring_s
from nas.metrics import Constraint
from nas.models.network import Network
from nas.remaining import Left
from nas.schedule import NETWORKS, record_s
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


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step and evaluation takes an hour."""
    monkeypatch.setattr("nas.estimating.time_network", lambda *_: Times(3600.0, 3600.0))


@pytest.mark.usefixtures("slow")
def test_a_search_that_goes_on_has_what_is_left_of_its_time(tmp_path: Path) -> None:
    """Writing what people look at takes 10 s whatever is left, and files of four finalists 20 s of what is."""
    prepared = ready(tmp_path, evaluator="train", time_budget_s=100.0)
    for spent_s, search_s, finalists_s in ((0.0, 70.0, 20.0), (60.0, 10.0, 20.0), (75.0, 0.0, 15.0), (1e6, 0.0, 0.0)):
        seconds = estimate(prepared, None, trained=False, left=Left(10, 4, spent_s)).seconds
        assert seconds == {"supernet": 0.0, "search": search_s, "measuring": 0.0, "finalists": finalists_s, "record": 10.0}


def test_what_measuring_and_writing_take_is_told_too(tmp_path: Path) -> None:
    prepared = ready(tmp_path, evaluator="train", devices=("raspberrypi4", "pixel3"))
    one, more = (estimate(prepared, None, trained=False, left=Left(0, 0, measurings=count)) for count in (0, 3))
    assert one.seconds["record"] == more.seconds["record"] == record_s(2)
    assert one.total_s == record_s(2)
    measuring = 3 * measuring_s(prepared.config.measure, NETWORKS)
    assert more.total_s == record_s(2) + measuring
    assert one.event().text.startswith("This will take about 0.2 minutes (supernet 0.0, search 0.0, finalists 0.0, record 0.2) and ")
    assert f"search 0.0, measuring {measuring / 60:.1f}, finalists 0.0" in more.event().text
