"""The latency model: features times seconds per unit, a correction, a band, the range it was fitted on and where each number is from.

`LatencyPredictor` is the value; `nas.hardware.fitting` makes one from measurements, `nas.hardware.roofline` from chip facts,
`nas.hardware.predictor_file` reads and writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.errors import InputError, ProfileError
from nas.hardware.correction import Correction
from nas.hardware.features import FEATURES, op_features, op_shape
from nas.metrics import Metric
from nas.ops import Op, lower_block

__all__ = ["CHIP_HALF_WIDTH", "BlockTable", "LatencyPredictor", "Origin", "Part", "SpeedUp"]

Origin = Literal["fitted", "chip"]
Part = BlockSpec | Op
"""What a network is given as, in order: blocks, or operators of a graph that is not of our making."""
CHIP_HALF_WIDTH = math.log(3.0)
"""Half the 90 % band, in log space, of what only facts of the chip tell."""
# A network is inside the range when no more than this share of its predicted time is spent in operators unlike the measured ones.
_MAX_OUTSIDE_SHARE = 0.25
_FOREIGN_OPS = ("copy", "resize", "elementwise")  # in no block, so never measured
_LARGEST_HEAD = 2048 * 1000  # multiply-adds: ResNet-50's. Of what was measured before ranges had linear layers, no head was larger
_MAX_DISTANCE = math.log(10.0)  # further beyond the range is no less sure: the form is physical, and tied to facts of the chip
# Of the log distance beyond the range, how much is doubt. Fewer measurements than coefficients cannot tell multiply-adds from bytes, and
# what is split wrongly grows with the size: a host fitted on eight networks of 16 pixels was 3 to 6 times off at 224. More can: leaving
# a stage of the shipped boards' blocks out costs 14 %.
_DOUBT_OF_DISTANCE, _DOUBT_WHERE_DECIDED = 1.0, 0.5
_CHUNK_ROWS = 4096  # rows folded at once: their gathered table entries stay in a core's cache


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """How much faster `threads` threads are than one: median and range over published networks."""

    threads: int
    median: float
    low: float
    high: float
    source: str = ""

    def __post_init__(self) -> None:
        if self.threads < 2:
            raise ProfileError(f"a speed-up is of at least 2 threads over one, got {self.threads}")
        if not 1.0 <= self.low <= self.median <= self.high <= self.threads:
            raise ProfileError(
                f"a speed-up of {self.threads} threads must hold 1 <= low <= median <= high <= {self.threads}, "
                f"got {self.low}, {self.median}, {self.high}"
            )

    def at(self, threads: int) -> tuple[float, float, float]:
        """Median, low and high for up to `self.threads` threads.

        Amdahl's law (AFIPS 1967): 1 / (1 - p + p / n), with the parallel share p that the known speed-up implies.
        """

        def amdahl(known: float) -> float:
            parallel = (1.0 - 1.0 / known) / (1.0 - 1.0 / self.threads)
            return 1.0 / (1.0 - parallel + parallel / threads)

        return amdahl(self.median), amdahl(self.low), amdahl(self.high)


@dataclass(frozen=True, slots=True)
class BlockTable:
    """A predictor folded over the different blocks of a space.

    Attributes:
        seconds: (n_blocks + 1,), each block's seconds on the fitted threads; 0 at the end, so that index -1 (no block) adds nothing.
        doubt_s: (n_blocks + 1,), seconds times how unsure they are beyond the measured range, see `LatencyPredictor.band`.
        correction: (n_blocks + 1,), each block's part of the correction's log; all 0 without one.
    """

    predictor: LatencyPredictor
    seconds: NDArray[np.float64]
    doubt_s: NDArray[np.float64]
    correction: NDArray[np.float64]

    def rows(self, block_index: NDArray[np.intp], threads: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Latency and its 90 % band, seconds, each (n,), of networks given as (n, positions) block indices, -1 for none."""
        constant_s, constant_doubt_s = self.predictor.constant_seconds()
        total = np.full(len(block_index), constant_s)
        doubt = np.full(len(block_index), constant_doubt_s)
        linear = None if self.predictor.correction is None else np.full(len(block_index), self.predictor.correction.weights[-1])
        for start in range(0, len(block_index), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            chunk = block_index[rows]
            total[rows] += self.seconds[chunk].sum(axis=1)
            doubt[rows] += self.doubt_s[chunk].sum(axis=1)
            if linear is not None:
                linear[rows] += self.correction[chunk].sum(axis=1)
        return self.predictor.band(total, doubt, threads, linear)


@dataclass(frozen=True, slots=True)
class LatencyPredictor:
    """Additive latency model. Immutable.

    Attributes:
        coefficients: seconds per unit of each of `FEATURES`.
        origins: "fitted" where measurements decide a coefficient, "chip" where chip facts or the ratio to a fitted one do.
        half_width: half the 90 % band of a network inside the range, in log space: value x/÷ exp(half_width).
        threads: threads that the coefficients are for.
        speedup: of other thread counts over one, where known (needs threads == 1).
        ranges: (name, low, high) of `features.op_shape` over the measured operators; empty: nothing was measured.
        unseen: features that no measured network had.
        measurements: rows that were fitted.
        quality: (name, value) pairs of the fit's own error.
        source, licence: of the measurements.
        correction: of the additive model, where cross-validation said that it helps. It fades with the doubt outside the range.
    """

    coefficients: tuple[float, ...]
    origins: tuple[Origin, ...]
    half_width: float
    threads: int = 1
    speedup: SpeedUp | None = None
    ranges: tuple[tuple[str, float, float], ...] = ()
    unseen: tuple[str, ...] = ()
    measurements: int = 0
    quality: tuple[tuple[str, float], ...] = ()
    source: str = ""
    licence: str = ""
    correction: Correction | None = None
    _vector: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _unseen: NDArray[np.bool_] = field(init=False, repr=False, compare=False)
    _undecided: NDArray[np.bool_] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.coefficients) != len(FEATURES) or len(self.origins) != len(FEATURES):
            raise ProfileError(
                f"a predictor has {len(FEATURES)} coefficients and origins, got {len(self.coefficients)} and {len(self.origins)}"
            )
        for name, value, origin in zip(FEATURES, self.coefficients, self.origins, strict=True):
            if not (math.isfinite(value) and value > 0):
                raise ProfileError(f"coefficient {name!r} must be a positive number of seconds, got {value}")
            if origin not in ("fitted", "chip"):
                raise ProfileError(f"the origin of coefficient {name!r} must be fitted or chip, got {origin!r}")
        if not (math.isfinite(self.half_width) and self.half_width > 0):
            raise ProfileError(f"half_width must be a positive number, got {self.half_width}")
        if self.threads < 1 or self.measurements < 0:
            raise ProfileError(f"threads must be at least 1 and measurements not negative, got {self.threads} and {self.measurements}")
        if self.speedup is not None and self.threads != 1:
            raise ProfileError(f"a speed-up is over one thread, but the coefficients are for {self.threads}")
        for name, low, high in self.ranges:
            if not 0 < low <= high:
                raise ProfileError(f"range {name!r} must be 0 < low <= high, got {low}, {high}")
        unknown = sorted(set(self.unseen) - set(FEATURES))
        if unknown:
            raise ProfileError(f"unknown feature {unknown[0]!r} in unseen: known are {', '.join(FEATURES)}")
        object.__setattr__(self, "_vector", np.array(self.coefficients))
        object.__setattr__(self, "_unseen", np.array([name in self.unseen for name in FEATURES]))
        object.__setattr__(self, "_undecided", self._unseen | np.array([origin == "chip" for origin in self.origins]))

    def thread_counts(self) -> tuple[int, ...]:
        """Threads that `predict` can answer for."""
        return tuple(range(1, self.speedup.threads + 1)) if self.speedup else (self.threads,)

    def predict(self, parts: Sequence[Part], threads: int | None = None) -> Metric:
        """Latency of a network, with its 90 % band.

        Args:
            parts: of the network, in order: its blocks, or the operators of its graph.
            threads: None for those the coefficients are for.

        Raises:
            InputError: for a thread count that the predictor does not know.
        """
        total, doubt, linear = (np.array([value]) for value in self._sums(parts))
        value, low, high = self.band(total, doubt, self.threads if threads is None else threads, linear)
        return Metric(float(value[0]), "s", "predicted", low=float(low[0]), high=float(high[0]))

    def predict_blocks(self, parts: Sequence[Part], threads: int | None = None) -> list[float]:
        """Seconds of each part; with the constant of a run (corrected and sped up as they are) they add up to `predict`'s value."""
        seconds = [self._amounts(part)[0] for part in parts]
        scale = self.predict(parts, threads).value / (sum(seconds) + self.constant_seconds()[0])
        return [value * scale for value in seconds]

    def predict_rows(
        self, blocks: Sequence[BlockSpec], block_index: NDArray[np.intp], threads: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Latency and its 90 % band, seconds, each (n,), of many networks at once.

        Args:
            blocks: the different blocks of a space.
            block_index: (n, positions), which block stands where, -1 for none.
            threads: None for those the coefficients are for.
        """
        return self.fold(blocks).rows(block_index, self.threads if threads is None else threads)

    def fold(self, blocks: Sequence[BlockSpec]) -> BlockTable:
        """Folds the predictor over the different blocks of a space, for scoring many networks (>= 1e6 a second and core)."""
        amounts = np.array([self._amounts(block) for block in blocks] + [(0.0, 0.0, 0.0)])
        return BlockTable(self, *(np.ascontiguousarray(column) for column in amounts.T))

    def in_range(self, parts: Sequence[Part]) -> bool:
        """Whether at most a quarter of the predicted time is in operators unlike those that were measured."""
        return self.outside_share(parts) <= _MAX_OUTSIDE_SHARE

    def outside_share(self, parts: Sequence[Part]) -> float:
        """Share of the predicted time in operators unlike those that were measured, or of kinds that never were, 0 to 1."""
        if not self.is_measured:
            return 1.0
        outside = self.coefficients[-1] if self._unseen[-1] else 0.0
        for op in (op for part in parts for op in _ops(part)):
            seconds = op_features(op) * self._vector
            outside += float((seconds if self._distance(op) > 0 or op.kind in _FOREIGN_OPS else seconds[self._unseen]).sum())
        return outside / self._sums(parts)[0]

    @property
    def is_measured(self) -> bool:
        """Whether anything was measured of the device itself, or published."""
        return bool(self.ranges)

    def constant_seconds(self) -> tuple[float, float]:
        """What a run costs whatever the network, seconds, and that times its doubt."""
        constant = self.coefficients[-1]
        return constant, CHIP_HALF_WIDTH * constant if self.is_measured and self._unseen[-1] else 0.0

    def band(
        self, total_s: NDArray[np.float64], doubt_s: NDArray[np.float64], threads: int, linear: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Value, low and high, seconds, each (n,).

        Half-widths add in quadrature, in log space: the one inside the range, the mean doubt over the predicted time, and that of the
        thread speed-up. An operator's doubt is how far beyond the measured range its sizes are, the log of the ratio (twice the
        largest measured is as unsure as a factor of two; ten times at most), half of it where there are as many measurements as
        coefficients, and in quadrature `CHIP_HALF_WIDTH` for the share of its time that measurements did not decide. A predictor
        without measurements has the band of its maker, wherever it is used.

        Args:
            total_s: (n,), of the additive model on the fitted threads.
            doubt_s: (n,), the sum over operators of seconds times doubt; 0 inside the range.
            linear: (n,), features @ the correction's weights; needed where there is a correction.
        """
        median, slowest, fastest = self._speed(threads)
        doubt = doubt_s / total_s
        half = np.hypot(self.half_width, doubt)
        value = total_s / median
        if self.correction is not None and linear is not None:
            value = value * np.exp(self.correction.log_factor(linear) * np.maximum(0.0, 1.0 - doubt / (self._slope * CHIP_HALF_WIDTH)))
        high = value * np.exp(np.hypot(half, math.log(median / slowest)))
        low = value * np.exp(-np.hypot(half, math.log(fastest / median)))
        return value, low, high

    def _speed(self, threads: int) -> tuple[float, float, float]:
        if threads not in self.thread_counts():
            raise InputError(f"latency is known for {' or '.join(map(str, self.thread_counts()))} thread(s), got {threads}")
        return (1.0, 1.0, 1.0) if threads == self.threads or self.speedup is None else self.speedup.at(threads)

    def _sums(self, parts: Sequence[Part]) -> tuple[float, float, float]:
        """Of a network: additive seconds, the same times doubt, features @ the correction's weights; the constant included."""
        total, doubt = self.constant_seconds()
        linear = 0.0 if self.correction is None else self.correction.weights[-1]
        for part in parts:
            seconds, doubt_s, log_part = self._amounts(part)
            total, doubt, linear = total + seconds, doubt + doubt_s, linear + log_part
        return total, doubt, linear

    def _amounts(self, part: Part) -> tuple[float, float, float]:
        """Of a part: additive seconds, the same times doubt, and its part of the correction."""
        vector, doubt = np.zeros(len(FEATURES)), 0.0
        for op in _ops(part):
            of_op = op_features(op)
            vector += of_op
            doubt += self._doubt_s(op, of_op * self._vector) if self.is_measured else 0.0
        log_part = 0.0 if self.correction is None else float(vector @ np.array(self.correction.weights))
        return float(vector @ self._vector), doubt, log_part

    def _doubt_s(self, op: Op, seconds: NDArray[np.float64]) -> float:
        """Seconds (n_features,) times how unsure they are, see `band`."""
        if op.kind in _FOREIGN_OPS:
            return CHIP_HALF_WIDTH * float(seconds.sum())
        distance = min(self._distance(op), _MAX_DISTANCE)
        undecided = seconds[self._undecided if distance > 0 else self._unseen]
        return math.hypot(self._slope * distance * float(seconds.sum()), CHIP_HALF_WIDTH * float(undecided.sum()))

    @property
    def _slope(self) -> float:
        return _DOUBT_WHERE_DECIDED if self.measurements >= len(FEATURES) else _DOUBT_OF_DISTANCE

    def _distance(self, op: Op) -> float:
        """How far beyond the measured range an operator is: the log of the largest ratio of a size to the nearest measured one."""
        shape = op_shape(op)
        known = {name: (low, high) for name, low, high in self.ranges if name in shape}
        if op.kind == "linear" and shape:
            known.setdefault("linear.macs", (1.0, _LARGEST_HEAD))
        return max((math.log(max(shape[name] / high, low / shape[name], 1.0)) for name, (low, high) in known.items()), default=0.0)


def _ops(part: Part) -> tuple[Op, ...]:
    return (part,) if isinstance(part, Op) else lower_block(part)
