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
from nas.hardware.features import FEATURES, block_features, block_shape, op_features, op_shape
from nas.metrics import Metric
from nas.ops import Op

__all__ = ["BlockTable", "LatencyPredictor", "Origin", "Part", "SpeedUp"]

Origin = Literal["fitted", "chip"]
Part = BlockSpec | Op
"""What a network is given as, in order: blocks, or operators of a graph that is not of our making."""
# A network is inside the range when no more than this share of its predicted time is spent in blocks or operators unlike the measured ones.
_MAX_OUTSIDE_SHARE = 0.25
_FOREIGN_OPS = ("copy", "resize", "elementwise")  # in no block, so never measured
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
        outside_s: (n_blocks + 1,), the part of it that is outside the measured range.
        correction: (n_blocks + 1,), each block's part of the correction's log; all 0 without one.
    """

    predictor: LatencyPredictor
    seconds: NDArray[np.float64]
    outside_s: NDArray[np.float64]
    correction: NDArray[np.float64]

    def rows(self, block_index: NDArray[np.intp], threads: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Latency and its 90 % band, seconds, each (n,), of networks given as (n, positions) block indices, -1 for none."""
        constant_s, constant_outside_s = self.predictor.constant_seconds()
        total = np.full(len(block_index), constant_s)
        outside = np.full(len(block_index), constant_outside_s)
        linear = None if self.predictor.correction is None else np.full(len(block_index), self.predictor.correction.weights[-1])
        for start in range(0, len(block_index), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            chunk = block_index[rows]
            total[rows] += self.seconds[chunk].sum(axis=1)
            outside[rows] += self.outside_s[chunk].sum(axis=1)
            if linear is not None:
                linear[rows] += self.correction[chunk].sum(axis=1)
        return self.predictor.band(total, outside, threads, linear)


@dataclass(frozen=True, slots=True)
class LatencyPredictor:
    """Additive latency model. Immutable.

    Attributes:
        coefficients: seconds per unit of each of `FEATURES`.
        origins: "fitted" where measurements decide a coefficient, "chip" where chip facts or the ratio to a fitted one do.
        half_width: half the 90 % band of a network inside the range, in log space: value x/÷ exp(half_width).
        threads: threads that the coefficients are for.
        speedup: of other thread counts over one, where known (needs threads == 1).
        ranges: (name, low, high) of `features.block_shape` over the measured blocks; empty: nothing was measured.
        unseen: features that no measured network had.
        measurements: rows that were fitted.
        quality: (name, value) pairs of the fit's own error.
        source, licence: of the measurements.
        correction: of the additive model, where cross-validation said that it helps. It fades with the share of time outside the range.
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
    _op_ranges: tuple[tuple[str, float, float], ...] = field(init=False, repr=False, compare=False)

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
            if not low <= high:
                raise ProfileError(f"range {name!r} must be low <= high, got {low}, {high}")
        unknown = sorted(set(self.unseen) - set(FEATURES))
        if unknown:
            raise ProfileError(f"unknown feature {unknown[0]!r} in unseen: known are {', '.join(FEATURES)}")
        object.__setattr__(self, "_vector", np.array(self.coefficients))
        object.__setattr__(self, "_unseen", np.array([name in self.unseen for name in FEATURES]))
        object.__setattr__(self, "_op_ranges", _op_ranges(self.ranges))

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
        total, outside, linear = (np.array([value]) for value in self._sums(parts))
        value, low, high = self.band(total, outside, self.threads if threads is None else threads, linear)
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
        """Whether at most a quarter of the predicted time is in blocks or operators unlike those that were measured."""
        return self.outside_share(parts) <= _MAX_OUTSIDE_SHARE

    def outside_share(self, parts: Sequence[Part]) -> float:
        """Share of the predicted time in blocks or operators unlike those that were measured, 0 to 1."""
        total, outside, _ = self._sums(parts)
        return outside / total

    def constant_seconds(self) -> tuple[float, float]:
        """What a run costs whatever the network, and the part of it that was never measured, seconds."""
        constant = self.coefficients[-1]
        return constant, constant if self._is_unmeasured() or self._unseen[-1] else 0.0

    def band(
        self, total_s: NDArray[np.float64], outside_s: NDArray[np.float64], threads: int, linear: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Value, low and high, seconds, each (n,).

        The half-width grows with the share outside, to its double; the uncertainty of the thread speed-up adds in quadrature.
        A predictor without measurements has the band of its maker, wherever it is used.

        Args:
            total_s: (n,), of the additive model on the fitted threads.
            outside_s: (n,), the part of it outside the range.
            linear: (n,), features @ the correction's weights; needed where there is a correction.
        """
        median, slowest, fastest = self._speed(threads)
        share = 0.0 if self._is_unmeasured() else outside_s / total_s
        half = self.half_width * (1.0 + share)
        value = total_s / median
        if self.correction is not None and linear is not None:
            value = value * np.exp(self.correction.log_factor(linear) * (1.0 - share))
        high = value * np.exp(np.hypot(half, math.log(median / slowest)))
        low = value * np.exp(-np.hypot(half, math.log(fastest / median)))
        return value, low, high

    def _is_unmeasured(self) -> bool:
        return not self.ranges

    def _speed(self, threads: int) -> tuple[float, float, float]:
        if threads not in self.thread_counts():
            raise InputError(f"latency is known for {' or '.join(map(str, self.thread_counts()))} thread(s), got {threads}")
        return (1.0, 1.0, 1.0) if threads == self.threads or self.speedup is None else self.speedup.at(threads)

    def _sums(self, parts: Sequence[Part]) -> tuple[float, float, float]:
        """Of a network: additive seconds, those outside the range, features @ the correction's weights; the constant included."""
        total, outside = self.constant_seconds()
        linear = 0.0 if self.correction is None else self.correction.weights[-1]
        for part in parts:
            seconds, beyond, log_part = self._amounts(part)
            total, outside, linear = total + seconds, outside + beyond, linear + log_part
        return total, outside, linear

    def _amounts(self, part: Part) -> tuple[float, float, float]:
        """Of a part: additive seconds, those outside the range (all of them where its sizes are, else those of operators never
        measured), and its part of the correction."""
        if isinstance(part, Op):
            vector, shape, ranges, foreign = op_features(part), op_shape(part), self._op_ranges, part.kind in _FOREIGN_OPS
        else:
            vector, shape, ranges, foreign = block_features(part), block_shape(part), self.ranges, False
        seconds = vector * self._vector
        beyond = foreign or self._is_unmeasured() or any(name in shape and not low <= shape[name] <= high for name, low, high in ranges)
        total = float(seconds.sum())
        log_part = 0.0 if self.correction is None else float(vector @ np.array(self.correction.weights))
        return total, total if beyond else float(seconds[self._unseen].sum()), log_part


def _op_ranges(ranges: tuple[tuple[str, float, float], ...]) -> tuple[tuple[str, float, float], ...]:
    """Ranges of `features.op_shape` from those of `features.block_shape`: an operator is like some operator of some measured block."""
    known: dict[str, tuple[float, float]] = {}
    for full, low, high in ranges:
        name = full.split(".")[-1]
        # The middle channels of a block are what its first operator writes and its last one reads; both have 1x1 kernels.
        for target in ("in_chs", "out_chs") if name == "mid_chs" else (name,):
            lowest, highest = known.get(target, (low, high))
            known[target] = (min(low, lowest, 1.0 if name == "kernel_size" else low), max(high, highest))
    return tuple((name, low, high) for name, (low, high) in sorted(known.items()))
