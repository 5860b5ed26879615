"""What is told of the time before a search."""

from __future__ import annotations

from pathlib import Path

from nas.estimating import Estimate, Left
from nas.search.finalists import Finalist
from nas.search.kept import keep_finalist
from tests.executors import Growing
from tests.test_opening import TRIALS, ready, searched


def test_finalists_that_devices_share_are_not_counted_twice() -> None:
    one = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 120.0}, 10 * 2**20)
    assert one.event().text == "This will take about 3.5 minutes (supernet 1.0, search 0.5, finalists 2.0) and 10 MiB of disk"
    two = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 240.0}, 10 * 2**20, shared_s=120.0)
    assert two.event().text == (
        "This will take about 3.5 to 5.5 minutes (supernet 1.0, search 0.5, finalists 2.0 to 4.0) and 10 MiB of disk; devices share "
        "finalists where one serves both"
    )
    assert two.event().fields["estimate_s"] == 330.0


def test_a_search_that_goes_on_has_less_to_do(tmp_path: Path) -> None:
    devices = ("raspberrypi4", "pixel3")
    prepared, longer = ready(tmp_path, devices=devices), ready(tmp_path, devices=devices, trials=2 * TRIALS)
    done = searched(prepared, tmp_path, Growing(prepared.space))
    studies = [each.study for each in done]
    assert Left.of(prepared, studies) == Left(0, 10)
    keep_finalist(studies[0], Finalist(done[0].done[0].candidate, {}, ""))
    assert Left.of(prepared, studies) == Left(0, 9)
    # With twice the evaluations, and for the second device a quarter of them, other finalists may be better.
    assert Left.of(longer, studies) == Left(TRIALS + TRIALS // 4, 10)
