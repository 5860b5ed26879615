"""How many architectures a second are scored for latency on one core, and whether the fast path says what the slow one says.

The fast path is the predictor folded over the blocks of a space, its correction included: three gathers a position and an exponential.
The slow one is `LatencyPredictor.predict` on decoded blocks, one network after another. They claim the same numbers, band included.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from nas.bench.outcome import Mark, Outcome
from nas.hardware.features import network_features
from nas.hardware.fitting import fit, shape_ranges
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.roofline import CoreFacts, roofline
from nas.space import SearchSpace, load_space, space_names

__all__ = ["run"]

CHIP = CoreFacts(clock_hz=2e9, macs_per_cycle=8.0, memory_bytes_per_s=8e9)
WHY = "the machine is slower than a core of 2024, or busy"


def run(data: Path, smoke: bool) -> Outcome:
    """Every shipped space, with a predictor that has a correction and one that has none; the slowest of them is the mark.

    Args:
        data: not used: the networks are drawn from the spaces.
        smoke: a hundredth of the networks.
    """
    del data
    count = 10_000 if smoke else 1_000_000
    rows: list[dict[str, float | str | bool]] = []
    for name in space_names():
        space = load_space(name)
        for corrected in (False, True):
            predictor = _predictor(space, corrected)
            rows.append(
                {
                    "space": name,
                    "correction": corrected,
                    **_score(space, predictor, count),
                    **_difference(space, predictor, 20 if smoke else 200),
                }
            )
    slowest = min(float(row["architectures_per_s"]) for row in rows)
    largest = max(float(row["largest_difference"]) for row in rows)
    return Outcome(rows, [
        Mark("score", "architectures/s on one core, slowest space and predictor", slowest, 1e6, "higher", WHY),
        Mark("score-difference", "largest relative difference to the slow path, value and band", largest, 1e-6, "lower", "a bug"),
    ])  # fmt: skip


def _predictor(space: SearchSpace, corrected: bool) -> LatencyPredictor:
    """Fitted to 40 networks of a made-up device whose latency is not quite additive."""
    networks = [space.decode(arch) for arch in space.decode_rows(space.sample_rows(40, 1))]
    features = np.array([network_features(blocks) for blocks in networks])
    factors = np.random.default_rng(2).uniform(0.3, 3.0, features.shape[1])
    additive_s = features @ (factors * np.array(roofline(CHIP).coefficients))
    latency_s = additive_s**0.8 * float(np.median(additive_s)) ** 0.2
    fitted = fit(features, latency_s, roofline(CHIP), shape_ranges(networks))
    return fitted if corrected else dataclasses.replace(fitted, correction=None)


def _score(space: SearchSpace, predictor: LatencyPredictor, count: int) -> dict[str, float]:
    """Best of three, block indices at hand, and from genes on."""
    rows = space.sample_rows(count, 0)
    table = predictor.fold(space.blocks)
    folded, whole = [], []
    for _ in range(3):
        started = time.perf_counter()
        index = space.block_index(rows)
        indexed = time.perf_counter()
        table.rows(index, 1)
        ended = time.perf_counter()
        folded.append(ended - indexed)
        whole.append(ended - started)
    return {"architectures_per_s": count / min(folded), "from_genes_per_s": count / min(whole)}


def _difference(space: SearchSpace, predictor: LatencyPredictor, count: int) -> dict[str, float | bool]:
    rows = space.sample_rows(count, 3)
    fast = np.array(predictor.predict_rows(space.blocks, space.block_index(rows)))
    metrics = [predictor.predict(space.decode(arch)) for arch in space.decode_rows(rows)]
    slow = np.array([(metric.value, metric.low, metric.high) for metric in metrics], dtype=np.float64).T
    return {"largest_difference": float(np.abs(fast / slow - 1.0).max()), "was_corrected": predictor.correction is not None}
