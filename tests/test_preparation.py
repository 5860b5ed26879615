"""What is told before a search."""

from __future__ import annotations

from nas.preparation import Estimate


def test_finalists_that_devices_share_are_not_counted_twice() -> None:
    one = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 120.0}, 10 * 2**20)
    assert one.event().text == "This will take about 3.5 minutes (supernet 1.0, search 0.5, finalists 2.0) and 10 MiB of disk"
    two = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 240.0}, 10 * 2**20, shared_s=120.0)
    assert two.event().text == (
        "This will take about 3.5 to 5.5 minutes (supernet 1.0, search 0.5, finalists 2.0 to 4.0) and 10 MiB of disk; devices share "
        "finalists where one serves both"
    )
    assert two.event().fields["estimate_s"] == 330.0
