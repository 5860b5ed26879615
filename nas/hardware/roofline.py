"""What a latency model is before anything was measured: chip facts and typical efficiencies of an inference runtime.

It serves as the whole predictor of a device without measurements (band x/÷ 3), and as what a fit is pulled toward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.errors import ProfileError
from nas.hardware.features import FEATURES
from nas.hardware.predictor import CHIP_HALF_WIDTH, LatencyPredictor

__all__ = ["CoreFacts", "roofline"]

# Share of the peak multiply-add rate that runtimes reach, by kind: matrix products on some tens of channels reach half,
# depthwise convolutions are bound by loads. Typical values of published layer timings; assumptions, not measurements.
_EFFICIENCY = {
    "macs_stem": 0.4,
    "macs_pointwise": 0.5,
    "macs_grouped": 0.25,
    "macs_depthwise3": 0.15,
    "macs_depthwise5": 0.15,
    "macs_depthwise7": 0.15,
    "macs_se": 0.25,
    "macs_linear": 0.25,
}
# Times that a byte's transfer counts: a channel shuffle jumps through memory.
_TRANSFERS = {"bytes_shuffle": 2.0}
_CYCLES_PER_OP = 5_000.0  # dispatch, shape checks, thread wake-up of one operator
_OPS_PER_CALL = 5.0  # a run's own overhead, in operators
# Vector instructions for a register of elements: a hardswish is 5, a sigmoid by rational approximation and its product about 24.
_INSTRUCTIONS_PER_REGISTER = {"elements_act": 2.0, "elements_hardswish": 5.0, "elements_silu": 24.0}


@dataclass(frozen=True, slots=True)
class CoreFacts:
    """One core of a chip.

    Attributes:
        clock_hz: sustained clock.
        macs_per_cycle: peak fp32 multiply-adds per cycle (vector lanes x fused multiply-add pipes).
        memory_bytes_per_s: bytes read and written per second by one core copying memory.
    """

    clock_hz: float
    macs_per_cycle: float
    memory_bytes_per_s: float

    def __post_init__(self) -> None:
        for name in ("clock_hz", "macs_per_cycle", "memory_bytes_per_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ProfileError(f"{name} must be a positive number, got {value}")


def _seconds_per_unit(name: str, core: CoreFacts) -> float:
    if name in _EFFICIENCY:
        return 1.0 / (_EFFICIENCY[name] * core.macs_per_cycle * core.clock_hz)
    if name.startswith("bytes_"):
        return _TRANSFERS.get(name, 1.0) / core.memory_bytes_per_s
    if name in _INSTRUCTIONS_PER_REGISTER:
        # As many elements an instruction, and instructions a cycle, as multiply-adds.
        return _INSTRUCTIONS_PER_REGISTER[name] / (core.macs_per_cycle * core.clock_hz)
    return _CYCLES_PER_OP * (_OPS_PER_CALL if name == "constant" else 1.0) / core.clock_hz


def roofline(
    core: CoreFacts, threads: int = 1, speedup: float = 1.0, source: str = "chip facts", half_width: float = CHIP_HALF_WIDTH
) -> LatencyPredictor:
    """A predictor from chip facts alone: band x/÷ 3, every coefficient flagged "chip".

    Args:
        core: one core of the chip.
        threads: that the coefficients are for.
        speedup: of that many threads over one.
        source: for the record.
        half_width: half the band, in log space; wider where the speed-up is not known either.
    """
    return LatencyPredictor(
        coefficients=tuple(_seconds_per_unit(name, core) / speedup for name in FEATURES),
        origins=tuple("chip" for _ in FEATURES),
        half_width=half_width,
        threads=threads,
        source=source,
    )
