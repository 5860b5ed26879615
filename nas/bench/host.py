"""Latency prediction on this machine: random networks of `mobilenetv3`, measured twice some minutes apart, ONNX Runtime and OpenVINO fp32,
one thread. The first labels train, the second ones test: a predictor cannot gain by what was wrong with one window of the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.bench.outcome import Mark, Outcome
from nas.config import MeasureProtocol
from nas.errors import DisturbedError, TargetError
from nas.hardware.choosing import choose
from nas.hardware.device_state import pinned
from nas.hardware.evaluation import Evaluation, predict_features
from nas.hardware.export import export_blocks
from nas.hardware.features import network_features
from nas.hardware.fitting import fit
from nas.hardware.host import detect_host
from nas.hardware.measure import measure
from nas.hardware.measurement import Measurement
from nas.hardware.roofline import roofline
from nas.hardware.runtimes.loading import load_runtime
from nas.space import load_space

__all__ = ["run_host"]

RUNTIMES = ("onnxruntime", "openvino")
NETWORKS, BUDGET_S, CHUNK = 120, 20 * 60.0, 15  # a chunk is measured, then measured again
COUNTS = (20, 40, 80)
SEEDS = 20
Labels = dict[str, NDArray[np.float64]]  # runtime to (2, n): first and second labels, seconds


def run_host(smoke: bool) -> Outcome:
    """Marks ort40, ort80, ov40, coverage, coverage-most, width, repeat, measure40.

    Args:
        smoke: few small networks, short windows, no `nas measure`: that it runs, not how good it is.
    """
    space = load_space("mobilenet_tiny" if smoke else "mobilenetv3")
    wanted = 12 if smoke else NETWORKS
    archs = dict.fromkeys([space.smallest, space.largest, *space.decode_rows(space.sample_rows(2 * wanted, 0))])
    networks = [space.decode(arch) for arch in archs][2:wanted + 2]  # fmt: skip
    quick = MeasureProtocol(windows=2, window_s=0.002, min_runs=3, warmup_runs=1, max_warmup_s=0.02, max_drift=1e3)
    protocol = quick if smoke else MeasureProtocol()
    networks, labels = _measure(networks, protocol, 60.0 if smoke else BUDGET_S)
    features = np.array([network_features(blocks) for blocks in networks])
    rows: list[dict[str, float | str | bool]] = []
    found: dict[tuple[str, int], dict[str, float]] = {}
    for runtime in RUNTIMES:
        first, second = labels[runtime]
        apart = np.abs(first / second - 1.0)
        found[runtime, 0] = {"repeat": float(np.median(apart)), "repeat_p90": float(np.quantile(apart, 0.9))}
        for count in (6, 8) if smoke else COUNTS:
            for picks in ("random", "D-optimal"):
                figures = _figures(features, first, second, count, picks, 3 if smoke else SEEDS)
                rows.append({
                    "host": runtime, "networks": len(networks), "measured": count, "picks": picks, **figures,
                    "repeat_median": float(np.median(apart)), "repeat_p90": float(np.quantile(apart, 0.9)),
                })  # fmt: skip
                if picks == "D-optimal":  # as nas measure picks
                    found[runtime, count] = figures
    minutes = 0.0 if smoke else _measure40_minutes()
    return Outcome(rows, _marks(found, 6 if smoke else 40, 8 if smoke else 80, minutes, smoke))


def _marks(found: dict[tuple[str, int], dict[str, float]], few: int, many: int, minutes: float, smoke: bool) -> list[Mark]:
    ort, ort_many, openvino = found["onnxruntime", few], found["onnxruntime", many], found["openvino", few]
    apart = found["onnxruntime", 0]
    why = (
        f"two labels of one network differ by {apart['repeat']:.1%} in the median and by more than {apart['repeat_p90']:.1%} for a tenth "
        f"of the networks: the labels that it is tested on are no better; mean error {{mape:.1%}}"
    )

    def within(id_: str, runtime: str, count: int, figures: dict[str, float], mark: float) -> Mark:
        what = f"host, {runtime} fp32, {count} D-optimal measurements, share within ±10 %"
        return Mark(id_, what, figures["within_10_percent"], mark, "higher", why.format(mape=figures["mape"]))

    band = f"of the 90 % band, host, ORT fp32, {few} D-optimal measurements"
    extremes = "D-optimal picks are extreme networks, so errors out of fold are larger than on the random networks of the test"
    repeat = "median difference between two labels of one network, ORT fp32"
    marks = [
        within("ort40", "ORT", few, ort, 0.96),
        within("ort80", "ORT", many, ort_many, 0.985),
        within("ov40", "OpenVINO", few, openvino, 0.94),
        Mark("coverage", f"coverage {band}", ort["band_coverage"], 0.85, "higher", "the test's labels have errors of their own"),
        Mark("coverage-most", f"coverage {band}, not wasteful", ort["band_coverage"], 0.97, "lower", extremes),
        Mark("width", f"half-width {band}", ort["band_half_width"], 0.12, "lower", extremes),
        Mark("repeat", repeat, apart["repeat"], 0.025, "lower", "the machine was busy"),
    ]
    if not smoke:
        marks.append(Mark("measure40", "nas measure --device host -n 40, minutes", minutes, 6.0, "lower", "the machine is slow or busy"))
    return marks


def _measure(
    networks: Sequence[tuple[BlockSpec, ...]], protocol: MeasureProtocol, budget_s: float
) -> tuple[list[tuple[BlockSpec, ...]], Labels]:
    """Networks that the time allowed, and their labels; each anchored to the network of middle size."""
    features = np.array([network_features(blocks) for blocks in networks])
    expected_s = features @ np.array(roofline(detect_host().chip.core()).coefficients)
    anchor_blocks = networks[int(np.argsort(expected_s)[len(networks) // 2])]
    runtimes = {name: load_runtime(name) for name in RUNTIMES}
    measured: dict[str, list[list[Measurement]]] = {name: [[], []] for name in RUNTIMES}
    kept: list[tuple[BlockSpec, ...]] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder, ExitStack() as stack:
        anchor_path, path = Path(folder) / "anchor.onnx", Path(folder) / "model.onnx"
        export_blocks(anchor_blocks, anchor_path)
        stack.enter_context(pinned(1))
        anchors = {name: stack.enter_context(runtime.open(anchor_path, 1)) for name, runtime in runtimes.items()}
        for at in range(0, len(networks), CHUNK):
            chunk = [blocks for blocks in networks[at : at + CHUNK] if blocks is not anchor_blocks]
            passes: list[list[dict[str, Measurement] | None]] = [[], []]
            for number in (0, 1):
                for blocks in chunk:
                    export_blocks(blocks, path)
                    try:
                        pair = {}
                        for name, runtime in runtimes.items():
                            with runtime.open(path, 1) as run:
                                pair[name] = measure(run, protocol, anchors[name])
                        passes[number].append(pair)
                    except DisturbedError:
                        passes[number].append(None)
            for blocks, one, two in zip(chunk, *passes, strict=True):
                if one is not None and two is not None:
                    kept.append(blocks)
                    for name in RUNTIMES:
                        measured[name][0].append(one[name])
                        measured[name][1].append(two[name])
            if time.monotonic() - started > budget_s:
                break
    return kept, {name: _labels_s(measured[name]) for name in RUNTIMES}


def _labels_s(passes: Sequence[Sequence[Measurement]]) -> NDArray[np.float64]:
    """(2, n), ratios to the anchor times its median over everything, seconds."""
    anchor_s = float(np.median([pair for each in passes for measurement in each for pair in measurement.anchors_s]))
    return np.array([[measurement.latency_s(anchor_s) for measurement in each] for each in passes])


def _figures(
    features: NDArray[np.float64], first_s: NDArray[np.float64], second_s: NDArray[np.float64], count: int, picks: str, seeds: int
) -> dict[str, float]:
    """Mean over seeds of what `Evaluation.summary` says: trained on first labels of `count` networks, tested on second ones of the rest.

    D-optimal picks are those of `nas measure`, among nine tenths of the networks, drawn anew with each seed.
    """
    prior = roofline(detect_host().chip.core())
    n = len(first_s)
    expected_s = features @ np.array(prior.coefficients)
    summaries = []
    for seed in range(seeds):
        shuffled = np.random.default_rng(seed).permutation(n)
        pool = shuffled[: max(count, 9 * n // 10)]
        chosen = shuffled[:count] if picks == "random" else pool[choose(features[pool], count, expected_s[pool])]
        rest = np.setdiff1d(shuffled, chosen)
        if len(rest) < 2:
            raise TargetError(f"{n} networks could be measured: training on {count} leaves none to test on")
        predicted = predict_features(fit(features[chosen], first_s[chosen], prior, ()), features[rest])
        summaries.append(Evaluation(second_s[rest], *predicted).summary())
    return {name: float(np.mean(np.array([summary[name] for summary in summaries], dtype=np.float64))) for name in summaries[0]}


def _measure40_minutes() -> float:
    """Wall clock of the command as a new user runs it, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        command = [sys.executable, "-m", "nas", "measure", "--device", "host", "-n", "40", "--json"]
        started = time.monotonic()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise TargetError(f"nas measure failed: {done.stderr.strip()[-300:]}")
        if json.loads(done.stdout)["networks"] < 40:
            raise TargetError(f"nas measure measured fewer than 40 networks: {done.stderr.strip()[-300:]}")
        return (time.monotonic() - started) / 60.0
