"""Modelled energy: board watts at the number of busy cores, times latency. A monotone of latency on one target: shown, not searched."""

from __future__ import annotations

from nas.hardware.profile import Power
from nas.metrics import Metric

__all__ = ["modelled_energy"]


def modelled_energy(latency: Metric, power: Power, threads: int) -> Metric:
    """Joules of one inference, scope and spread of the watts as in `power`, band of the latency times the spread of the watts.

    Args:
        latency: seconds, with or without a band.
        power: of the device.
        threads: that the runtime keeps busy.
    """
    watts = power.at(threads)
    low = latency.value if latency.low is None else latency.low
    high = latency.value if latency.high is None else latency.high
    return Metric(
        watts * latency.value,
        "J",
        "modelled",
        low=watts * low / power.spread,
        high=watts * high * power.spread,
        scope=power.scope,
    )
