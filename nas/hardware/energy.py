"""Energy of an inference: predicted where joules were measured, else watts times latency, modelled.

Every joule says its scope: what a meter covers ("package", "board"), or what the profile's watts do. Watts times latency is a monotone
of latency on one target; what differs between targets is watts, by busy cores and precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.errors import InputError, ProfileError
from nas.hardware.facts import Power
from nas.hardware.features import network_features
from nas.hardware.fitting import FEWEST_ROWS, fit, shape_ranges
from nas.hardware.predictor import LatencyPredictor, Part
from nas.metrics import Metric

__all__ = ["EnergyModel", "EnergyPredictor", "FoldedEnergy", "PowerTimesLatency", "fit_energy"]

Array = NDArray[np.float64]
FoldedEnergy = Callable[[NDArray[np.intp], Array], Array]
"""Joules (n,) of networks given as block indices (n, positions) and their latencies, seconds (n,)."""

OTHER_PRECISION_SPREAD = 1.25
"""x/÷ of watts in a precision whose own are not known: those of fp32 stand for them. An assumption: the same cores are busy, but with
other instructions; nobody measured it."""


class EnergyModel(Protocol):
    """Energy of networks on one target.

    Attributes:
        scope: what its joules cover.
    """

    @property
    def scope(self) -> str: ...

    def predict(self, parts: Sequence[Part], latency: Metric) -> Metric:
        """Joules of one inference, with band, scope and source.

        Args:
            parts: of the network, in order.
            latency: seconds, of the same network on the same target, with or without a band.
        """
        ...

    def fold(self, blocks: Sequence[BlockSpec]) -> FoldedEnergy:
        """The values of `predict` for many networks of these blocks at once."""
        ...


@dataclass(frozen=True, slots=True)
class PowerTimesLatency:
    """Watts of a profile times latency, source "modelled"; band of the latency times the spread of the watts.

    Attributes:
        threads: that the runtime keeps busy.
    """

    power: Power
    threads: int
    precision: str = "fp32"

    @property
    def scope(self) -> str:
        return self.power.scope

    @property
    def spread(self) -> float:
        """x/÷ of the watts."""
        return self.power.spread * (1.0 if self.power.says(self.precision) else OTHER_PRECISION_SPREAD)

    def predict(self, parts: Sequence[Part], latency: Metric) -> Metric:
        """See `EnergyModel.predict`; the network matters by its latency only."""
        del parts
        watts = self.power.at(self.threads, self.precision)
        low = latency.value if latency.low is None else latency.low
        high = latency.value if latency.high is None else latency.high
        return Metric(
            watts * latency.value, "J", "modelled", low=watts * low / self.spread, high=watts * high * self.spread, scope=self.scope
        )

    def fold(self, blocks: Sequence[BlockSpec]) -> FoldedEnergy:
        """See `EnergyModel.fold`."""
        del blocks
        watts = self.power.at(self.threads, self.precision)
        return lambda index, latency_s: watts * latency_s  # noqa: ARG005


@dataclass(frozen=True, slots=True)
class EnergyPredictor:
    """Fitted to measured joules, source "predicted".

    Attributes:
        model: the additive model of `nas.hardware.predictor` with joules in the place of seconds.
        scope, meter: of the measurements.
    """

    model: LatencyPredictor
    scope: str
    meter: str

    def __post_init__(self) -> None:
        if not self.scope or not self.meter:
            raise ProfileError("an energy predictor says what its joules cover and which meter they are from")

    def predict(self, parts: Sequence[Part], latency: Metric) -> Metric:
        """See `EnergyModel.predict`; the latency does not matter."""
        del latency
        return dataclasses.replace(self.model.predict(parts), unit="J", scope=self.scope)

    def fold(self, blocks: Sequence[BlockSpec]) -> FoldedEnergy:
        """See `EnergyModel.fold`."""
        table = self.model.fold(blocks)
        return lambda index, latency_s: table.rows(index, self.model.threads)[0]  # noqa: ARG005


def fit_energy(
    networks: Sequence[Sequence[BlockSpec]], energy_j: Array, latency_s: Array, prior: LatencyPredictor, scope: str, meter: str, source: str
) -> EnergyPredictor:
    """The fit of latency (`nas.hardware.fitting`) to joules: the prior's seconds times the median watts are what it is pulled toward.

    Args:
        networks: n measured ones.
        energy_j, latency_s: of one inference, (n,) each.
        prior: of latency on the same target and threads.
        scope, meter: of all the joules.

    Raises:
        InputError: fewer than 4 networks, or joules that are not positive.
    """
    if len(networks) < FEWEST_ROWS:
        raise InputError(f"{len(networks)} networks have a measured energy, a fit needs at least {FEWEST_ROWS}")
    watts = float(np.median(np.asarray(energy_j) / np.asarray(latency_s)))
    coefficients = tuple(watts * seconds for seconds in prior.coefficients)
    features = np.array([network_features(blocks) for blocks in networks])
    model = fit(
        features, energy_j, dataclasses.replace(prior, coefficients=coefficients, speedup=None), shape_ranges(networks), source=source
    )
    return EnergyPredictor(model, scope, meter)
