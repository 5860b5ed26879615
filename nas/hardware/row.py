"""A measured network: its figures, who measured them how, and what cannot be among them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.architecture import BlockSpec
from nas.hardware.measure_energy import EnergyMeasurement
from nas.hardware.session import Measured
from nas.target import Target

__all__ = ["Row", "check_row", "make_row", "network_hash", "with_energy"]


@dataclass(frozen=True, slots=True)
class Row:
    """A measured network: one line of the summary.

    Attributes:
        network: hash of the blocks.
        ratio: latency over the anchor's, median over the windows.
        anchor: hash of the anchor network.
        anchor_s: the anchor's median beside this network, seconds.
        median_s, iqr_s, p90_s, p99_s: of the raw runs.
        windows_s: median of each window, seconds, joined by blanks.
        blocks: the network as JSON, so that the file stands alone.
        target: key of the target; empty in files of older versions.
        precision: that the network really ran in.
        peak_memory_bytes: resident memory that the session added at most; 0 where the device does not tell.
        cores: that it was pinned to, joined by blanks.
        governor, clock_hz, temperature_c: of the device before the first window; temperature_after_c after the last.
        rejected: windows that were disturbed and repeated.
        foreign: operators that did not run natively, joined by commas.
        energy_j: joules of an inference as metered; None where no meter ran. The fields below belong to it.
        energy_net_j: net of idle; energy_idle_w: watts at rest beside it.
        energy_cv: coefficient of variation of energy_windows_j: joules of an inference by window, joined by blanks.
        energy_window_s: the shortest window.
        energy_scope, energy_meter: what the joules cover, and which meter said so.
        energy_warning: what is wrong with it.
    """

    network: str
    ratio: float
    anchor: str
    anchor_s: float
    median_s: float
    iqr_s: float
    p90_s: float
    p99_s: float
    runs: int
    windows_s: str
    warning: str
    runtime_version: str
    date: str
    blocks: str
    target: str = ""
    precision: str = ""
    peak_memory_bytes: int = 0
    cores: str = ""
    governor: str = ""
    clock_hz: float | None = None
    temperature_c: float | None = None
    temperature_after_c: float | None = None
    rejected: int = 0
    foreign: str = ""
    energy_j: float | None = None
    energy_net_j: float | None = None
    energy_idle_w: float | None = None
    energy_cv: float | None = None
    energy_window_s: float | None = None
    energy_windows_j: str = ""
    energy_scope: str = ""
    energy_meter: str = ""
    energy_warning: str = ""

    def specs(self) -> tuple[BlockSpec, ...]:
        """The network.

        Raises:
            ValueError: `blocks` is no JSON list of blocks; SpaceError is one.
        """
        blocks = json.loads(self.blocks)
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise ValueError(f"blocks must be a JSON list of blocks, got {self.blocks[:60]}")
        return tuple(BlockSpec.from_dict(block) for block in blocks)


def _blocks_json(blocks: Sequence[BlockSpec]) -> str:
    """The fields that differ from their defaults, as compact JSON."""
    fields = dataclasses.fields(BlockSpec)
    return json.dumps(
        [{f.name: getattr(block, f.name) for f in fields if getattr(block, f.name) != f.default} for block in blocks],
        separators=(",", ":"),
    )


def network_hash(blocks: Sequence[BlockSpec]) -> str:
    """First 12 hex digits of the SHA-256 of the blocks."""
    return hashlib.sha256(_blocks_json(blocks).encode()).hexdigest()[:12]


def make_row(name: str, blocks: Sequence[BlockSpec], anchor: str, target: Target, measured: Measured) -> Row:
    """The summary of a measurement."""
    measurement = measured.measurement
    before, after = measurement.states
    return Row(
        network=name,
        ratio=measurement.latency_s(1.0),
        anchor=anchor,
        anchor_s=measurement.anchor_s or 0.0,
        median_s=measurement.median_s,
        iqr_s=measurement.iqr_s,
        p90_s=measurement.p90_s,
        p99_s=measurement.p99_s,
        runs=len(measurement.samples_s),
        windows_s=" ".join(f"{np.median(window):.6g}" for window in measurement.windows_s),
        warning=measurement.warning,
        runtime_version=measured.version,
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        blocks=_blocks_json(blocks),
        target=target.key,
        precision=measured.precision,
        peak_memory_bytes=measured.peak_memory_bytes,
        cores=" ".join(map(str, measured.cores)),
        governor=before.governor,
        clock_hz=before.clock_hz,
        temperature_c=before.temperature_c,
        temperature_after_c=after.temperature_c,
        rejected=len(measurement.rejected),
        foreign=", ".join(measured.foreign),
    )


def with_energy(row: Row, energy: EnergyMeasurement) -> Row:
    """A row with what was metered of its network."""
    return dataclasses.replace(
        row,
        energy_j=energy.energy_j,
        energy_net_j=energy.net_j,
        energy_idle_w=float(np.median(energy.idle_w)),
        energy_cv=energy.cv,
        energy_window_s=energy.window_s,
        energy_windows_j=" ".join(f"{joules:.6g}" for joules in energy.inferences_j),
        energy_scope=energy.scope,
        energy_meter=energy.meter,
        energy_warning=energy.warning,
    )


_MOST_RATIO = 1e6  # of two networks' latencies: more is a slip of the pen


def check_row(row: Row, target: Target | None) -> None:
    """What a row says must be possible.

    Args:
        target: that it was measured on; None for any.

    Raises:
        ValueError: naming what cannot be; SpaceError is one.
    """
    for name in ("ratio", "anchor_s", "median_s", "p90_s", "p99_s"):
        value = getattr(row, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be more than zero, got {value}")
    for name, least in (("iqr_s", 0), ("runs", 1), ("peak_memory_bytes", 0), ("rejected", 0)):
        value = getattr(row, name)
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not 1 / _MOST_RATIO <= row.ratio <= _MOST_RATIO:
        raise ValueError(f"ratio must be {1 / _MOST_RATIO:g} to {_MOST_RATIO:g} times the anchor, got {row.ratio}")
    if target is not None and row.precision not in ("", target.precision):
        raise ValueError(f"it ran in {row.precision}, not in {target.precision}")
    _check_energy(row)
    dt.datetime.fromisoformat(row.date)
    if network_hash(row.specs()) != row.network:
        raise ValueError(f"the blocks are not those of network {row.network}")


def _check_energy(row: Row) -> None:
    if row.energy_j is None:
        return
    if not (math.isfinite(row.energy_j) and row.energy_j > 0):
        raise ValueError(f"energy_j must be more than zero, got {row.energy_j}")
    if not (row.energy_scope and row.energy_meter):
        raise ValueError(f"energy_j {row.energy_j} needs energy_scope and energy_meter: a joule says what it covers and who says so")
