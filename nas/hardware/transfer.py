"""Latency models of devices that nobody has measured here: the nearest measured core's coefficients, and one scale.

The scale is fitted to published end-to-end latencies of known networks. Where there are none it comes from the facts of both chips.
What is known least is the step from the published runtime and 224 x 224 networks to another runtime and to small networks: it is
measured where it can be, on the Raspberry Pi 4, and taken for all (`OTHER_USE`).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from nas.errors import InputError, ProfileError
from nas.hardware.features import FEATURES, network_features
from nas.hardware.fitting import shape_ranges
from nas.hardware.predictor import LatencyPredictor, Origin, SpeedUp
from nas.hardware.roofline import CoreFacts, roofline
from nas.space import reference_blocks

__all__ = ["ASSUMED_SPEEDUP", "OTHER_USE", "Published", "Transferred", "transfer", "transfer_by_facts", "unmeasured"]

OTHER_USE = 1.6
"""x/÷ of whole networks at 32 x 32 against the scale of one runtime's networks at 224 x 224. On the Raspberry Pi 4, the only board with
both, HW-NAS-Bench's 5,000 networks lie 1.39 to 1.60 times (5-95 %) above the scale of ncnn's; runtimes alone differ by 1.35."""
LEAST_SCATTER = 1.15
"""x/÷ of ncnn's networks about one scale, pooled over six boards: what few rows show by chance is never taken for less."""
LONE_ROW = 2.0
"""x/÷ of a scale from one published network."""
SIBLING = 2.0
"""x/÷ of another chip of the family: a generation of vector units."""
HALF_PRECISION = 1.5
"""x/÷ of latencies that may be of half precision: assumed, between none and the double speed that twice the lanes allow."""
UNMEASURED = 3.0
"""x/÷ where only facts of the chips are known."""
ASSUMED_SPEEDUP = SpeedUp(
    4, 2.12, 1.51, 2.98,
    "assumed: from 1.51, ncnn's least on the Raspberry Pi 4, to 2.98, RK3588's four A76 over the Raspberry Pi 5's one",
)  # fmt: skip
"""Four threads over one, for boards that were published with only one thread count. Its middle is the geometric one."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published latency of a reference network at its own resolution, fp32, batch 1.

    Attributes:
        model: one of `nas.space.reference_names`.
        latency_s: seconds of one inference.
        may_be_half: the core has fp16 arithmetic and the runtime may have used it. ncnn's benchmark does (benchmark/benchncnn.cpp:
            opt.use_fp16_arithmetic = true), whatever its tables are called.
    """

    model: str
    threads: int
    latency_s: float
    runtime: str
    may_be_half: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_s) and self.latency_s > 0):
            raise ProfileError(f"latency_s of {self.model} must be a positive number of seconds, got {self.latency_s}")
        if self.threads < 1:
            raise ProfileError(f"threads of {self.model} must be at least 1, got {self.threads}")


@dataclass(frozen=True, slots=True)
class Transferred:
    """A transferred predictor and the thread counts that it is for."""

    predictor: LatencyPredictor
    threads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Of a measured core's coefficients, for one thread count.

    Attributes:
        rows: networks that it was fitted to.
        factor: geometric mean of published over predicted.
        error: largest |log| error of a network under the scale of the others; of `LONE_ROW` for one network alone.
    """

    rows: int
    factor: float
    error: float


def transfer(
    source: LatencyPredictor, rows: Sequence[Published], cores: int, like: str, sibling: str = "", speed: float = 1.0
) -> tuple[Transferred, ...]:
    """Predictors from a measured core's and published latencies; together they answer for up to `cores` threads.

    Published at one thread: one predictor, other counts by the published speed-up where there is one, else by `ASSUMED_SPEEDUP`.
    Published only at n threads: one for each n, and one for fewer, whose band holds the uncertainty of the assumed speed-up.

    Half-widths add in quadrature, in log space: the source's own, the largest leave-one-model-out error (at least `LEAST_SCATTER`),
    `OTHER_USE`, `HALF_PRECISION` where a row may be of it, and `SIBLING` for another chip's rows.

    Args:
        source: of one thread of the measured core.
        rows: at least one.
        cores: of the device.
        like: name of the measured core's device, for the record.
        sibling: name of the chip that was published, where it is not the device itself.
        speed: of the device over the sibling.

    Raises:
        InputError: no rows, one network twice at one thread count, or more threads than cores.
        ProfileError: a source that was not measured itself.
    """
    if "fitted" not in source.origins:
        raise ProfileError(f"like: {like} was not measured itself: name a device whose predictor was fitted to measurements")
    if not rows:
        raise InputError("a scale needs at least one published latency")
    source = dataclasses.replace(source, correction=None)  # of the measured device's own residuals: nothing of it is the core's
    networks = {model: reference_blocks(model) for model in sorted({row.model for row in rows})}
    by_threads = _by_threads(rows, cores)
    ranges = _wider(source.ranges, shape_ranges(networks.values()))
    features = [network_features(blocks) for blocks in networks.values()]
    seen = {name for vector in features for name, amount in zip(FEATURES, vector, strict=True) if amount}
    predicted_s = {model: source.predict(blocks, 1).value for model, blocks in networks.items()}
    unseen = tuple(name for name in source.unseen if name not in seen)
    extra = math.hypot(math.log(SIBLING) if sibling else 0.0, math.log(HALF_PRECISION) if any(row.may_be_half for row in rows) else 0.0)
    made = []

    def add(scale: _Scale, counts: tuple[int, ...], threads: int, speedup: SpeedUp | None, half_width: float, note: str) -> None:
        runtimes = " and ".join(sorted({row.runtime for row in rows}))
        whose = f"{sibling}, of its family (taken as {speed:g} times slower)" if sibling else "it"
        predictor = dataclasses.replace(
            source,
            coefficients=tuple(value * scale.factor / speed for value in source.coefficients),
            origins=_RATIO,
            half_width=half_width,
            threads=threads,
            speedup=speedup,
            ranges=ranges,
            unseen=unseen,
            measurements=scale.rows,
            quality=(
                ("scale", scale.factor / speed),
                ("leave_one_model_out_largest", math.expm1(scale.error)),
                ("source_half_width", source.half_width),
            ),
            source=f"{like}'s coefficients times one scale, fitted to {scale.rows} published latencies of {whose} with {runtimes}{note}",
        )
        made.append(Transferred(predictor, counts))

    if 1 in by_threads:
        scale = _scale(predicted_s, by_threads[1])
        speedup = _speedup(by_threads, cores)
        add(scale, tuple(range(1, (speedup.threads if speedup else 1) + 1)), 1, speedup, _half_width(source, scale, extra), "")
        return tuple(made)
    for threads, latencies in sorted(by_threads.items()):
        scale = _scale(predicted_s, latencies)
        add(scale, (threads,), threads, None, _half_width(source, scale, extra), f", {threads} threads")
    least = min(by_threads)
    scale, (median, slowest, fastest) = _scale(predicted_s, by_threads[least]), _assumed(least)
    single = _Scale(scale.rows, scale.factor * median, scale.error)
    half_width = math.hypot(_half_width(source, scale, extra), math.log(max(median / slowest, fastest / median)))
    fewer = _assumed(least - 1)[0]
    speedup = SpeedUp(least - 1, fewer, fewer, fewer, ASSUMED_SPEEDUP.source + "; its spread is in the half-width") if least > 2 else None
    add(single, tuple(range(1, least)), 1, speedup, half_width, f", {least} threads; fewer by an assumed speed-up of {median:.2f}")
    return tuple(made)


def transfer_by_facts(source: LatencyPredictor, source_core: CoreFacts, core: CoreFacts, threads: int, like: str) -> LatencyPredictor:
    """A measured core's coefficients, each times what the facts of both chips say: band x/÷ 3, wider for more threads.

    Args:
        source: of one thread of the measured core.
        source_core, core: facts of the measured core and of the device's.
        threads: that the predictor is for, by `ASSUMED_SPEEDUP`.

    Raises:
        ProfileError: a source that was not measured itself.
    """
    if "fitted" not in source.origins:
        raise ProfileError(f"like: {like} was not measured itself: name a device whose predictor was fitted to measurements")
    there, here = roofline(source_core).coefficients, roofline(core).coefficients
    faster, half_width = unmeasured(threads)
    return dataclasses.replace(
        source,
        coefficients=tuple(value * b / a / faster for value, a, b in zip(source.coefficients, there, here, strict=True)),
        origins=_RATIO,
        half_width=half_width,
        threads=threads,
        speedup=None,
        ranges=(),
        unseen=(),
        measurements=0,
        quality=(("source_half_width", source.half_width),),
        correction=None,
        source=f"{like}'s coefficients, scaled by the facts of both chips: nothing was measured or published",
    )


def unmeasured(threads: int) -> tuple[float, float]:
    """Speed of that many threads over one, and the half-width, in log space, where only facts of the chip are known."""
    median, slowest, fastest = _assumed(threads)
    return median, math.hypot(math.log(UNMEASURED), math.log(max(median / slowest, fastest / median)))


_RATIO: tuple[Origin, ...] = tuple("chip" for _ in FEATURES)  # the ratio to a fitted coefficient, no measurement of its own


def _by_threads(rows: Sequence[Published], cores: int) -> dict[int, dict[str, float]]:
    """Seconds by model, by thread count."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.threads > cores:
            raise InputError(f"{row.model} is published with {row.threads} threads, but there are {cores} cores")
        if row.model in found.setdefault(row.threads, {}):
            raise InputError(f"{row.model} is published twice with {row.threads} thread(s): give one")
        found[row.threads][row.model] = row.latency_s
    return found


def _scale(predicted_s: dict[str, float], latencies: dict[str, float]) -> _Scale:
    logs = [math.log(seconds / predicted_s[model]) for model, seconds in latencies.items()]
    mean, n = statistics.fmean(logs), len(logs)
    # The mean of the others differs from a network by n / (n - 1) times what the mean of all does.
    error = math.log(LONE_ROW) if n == 1 else max(abs(value - mean) for value in logs) * n / (n - 1)
    return _Scale(n, math.exp(mean), error)


def _half_width(source: LatencyPredictor, scale: _Scale, extra: float) -> float:
    return math.hypot(source.half_width, max(scale.error, math.log(LEAST_SCATTER)), math.log(OTHER_USE), extra)


def _assumed(threads: int) -> tuple[float, float, float]:
    """Median, low and high of the assumed speed-up; beyond four threads as Amdahl's law goes on."""
    return (1.0, 1.0, 1.0) if threads == 1 else ASSUMED_SPEEDUP.at(threads)


def _speedup(by_threads: dict[int, dict[str, float]], cores: int) -> SpeedUp | None:
    """Of the most threads that were published beside one thread, over the models that have both; else the assumed one."""
    single, most = by_threads[1], max(by_threads)
    ratios = [single[model] / seconds for model, seconds in by_threads[most].items() if model in single] if most > 1 else []
    bounded = [min(max(ratio, 1.0), float(most)) for ratio in ratios]
    if bounded:
        return SpeedUp(most, statistics.median(bounded), min(bounded), max(bounded), f"published for {len(bounded)} networks")
    return SpeedUp(cores, *_assumed(cores), ASSUMED_SPEEDUP.source) if cores > 1 else None


def _wider(
    ranges: tuple[tuple[str, float, float], ...], others: tuple[tuple[str, float, float], ...]
) -> tuple[tuple[str, float, float], ...]:
    """The first ones, widened to hold the others: of a kind that was never measured by itself an end-to-end latency tells nothing."""
    found = {name: (low, high) for name, low, high in ranges}
    for name, low, high in others:
        if name in found:
            found[name] = (min(low, found[name][0]), max(high, found[name][1]))
    return tuple((name, low, high) for name, (low, high) in sorted(found.items()))
