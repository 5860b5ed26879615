"""How well latency is predicted from few measurements: `nas bench predictor`, and with `--host` on this machine too.

FBNet few-shot tasks. The six tasks of the NASFLAT repository on the table of `nas.bench.fbnet`. Nothing of the test devices is known
beforehand: the prior is one roofline of generic chip facts for all of them (phones, GPUs and an FPGA alike), no shipped profile is
loaded (raspberrypi4's and pixel3's come from this very table), no device serves as a source. Features, families, ridges, robust
weights and the kernel of the correction were chosen on the 12 devices that are in no task's test set, `DEVELOPMENT` below (and on
copies of three of them with a phone's whole milliseconds and outliers), before a test device was looked at.

HELP's protocol: raspi4, eyeriss, fpga; 10 random measurements; only networks in the middle 80 % of the latency range (quantiles .1 to
.9), of which both the measured ones and those ranked are.

Raspberry Pi 4 blocks: each stage's blocks predicted by a fit to the others, and three networks at 224 pixels, larger than anything that
was fitted, against ncnn's published table. Here the chip facts of the profile are the prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.bench.blocks import DEVICES, STAGES, fit_device, read_blocks
from nas.bench.fbnet import FbnetTable, read_fbnet
from nas.bench.outcome import Mark, Outcome
from nas.hardware.choosing import choose
from nas.hardware.evaluation import predict_features
from nas.hardware.fitting import fit
from nas.hardware.roofline import CoreFacts, roofline
from nas.space import reference_blocks

__all__ = ["DEVELOPMENT", "TASKS", "run"]

TASKS: Mapping[str, tuple[str, ...]] = {
    "FD": ("fpga", "raspi4", "eyeriss"),
    "FA": ("gold_6226", "essential_ph_1", "samsung_s7", "pixel2"),
    "F1": ("eyeriss", "fpga", "raspi4", "samsung_a50", "samsung_s7"),
    "F2": ("1080ti_1", "1080ti_32", "2080ti_32", "titan_rtx_1", "titanxp_1"),
    "F3": ("1080ti_1", "1080ti_32", "2080ti_1", "titan_rtx_1", "titan_rtx_32"),
    "F4": ("1080ti_1", "pixel2", "essential_ph_1"),
}
"""Test devices of the few-shot tasks (Akhauri & Abdelfattah 2024, arXiv:2403.02446)."""
DEVELOPMENT = (
    "1080ti_64", "2080ti_64", "gold_6240", "pixel3", "silver_4114", "silver_4210r", "titan_rtx_64", "titanx_1", "titanx_32", "titanx_64",
    "titanxp_32", "titanxp_64",
)  # fmt: skip
"""Devices of the table that are in no task's test set: the only ones that choices were made on."""
PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "HELP (published, samples not stated)": (0.910, 0.370, 0.793, 0.543, 0.413, 0.799),
    "MultiPredict (published), 20": (0.960, 0.450, 0.756, 0.567, 0.434, 0.763),
    "NASFLAT (published), 20": (0.961, 0.577, 0.809, 0.871, 0.814, 0.734),
}
"""Spearman by task, in the order of TASKS."""
HELP = {"raspi4": 0.887, "eyeriss": 0.943, "fpga": 0.892}
"""Published for its own protocol, 10 measurements."""
NCNN_MS = {"mobilenet_v2": 93.5, "mobilenet_v3_large": 72.8, "efficientnet_b0": 129.7}
"""Published by ncnn for a Raspberry Pi 4, one thread, 224 x 224 (Tencent/ncnn, benchmark/README)."""
CHIP = CoreFacts(clock_hz=2e9, macs_per_cycle=8.0, memory_bytes_per_s=8e9)
"""Of no device in particular."""
POOL = 1000  # networks that a D-optimal choice is made among
COUNTS = (10, 20, 50)
SEEDS = 10
ONE_HOT_RIDGE = 1.0
Scores = dict[tuple[str, int, str, str], float]  # (device, measurements, picks, method) to mean Spearman


def run(data: Path, smoke: bool, host: bool = False) -> Outcome:
    """All parts.

    Args:
        data: folder of the public tables.
        smoke: one seed, two counts, few networks: in seconds.
        host: measures networks on this machine too (about 20 minutes; a quiet machine).

    Raises:
        DataError: the tables are not in `data`.
    """
    table = read_fbnet(data / "fbnet_latency.parquet")
    rows, marks = _tasks(table, smoke)
    help_rows, help_mark = _help(table, 1 if smoke else SEEDS)
    rows += [*help_rows, *_held_out_stages(data)]
    marks.append(help_mark)
    if host:
        from nas.bench.host import run_host

        outcome = run_host(smoke)
        rows += [dict(row) for row in outcome.rows]
        marks += outcome.marks
    return Outcome(rows, marks)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation; ties share their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _ours(features: NDArray[np.float64], latency_s: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predicted seconds of `others`, (n,), from measured networks."""
    return predict_features(fit(features, latency_s, roofline(CHIP), ()), others)[0]


def _one_hot_ridge(hot: NDArray[np.float64], latency_s: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = hot.mean(axis=0)
    gram = (hot - middle) @ (hot - middle).T + ONE_HOT_RIDGE * np.eye(len(hot))
    scored: NDArray[np.float64] = (others - middle) @ (hot - middle).T @ np.linalg.solve(gram, latency_s - latency_s.mean())
    return scored


def _macs_line(macs: NDArray[np.float64], latency_s: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    slope, intercept = np.polyfit(macs, latency_s, 1)
    line: NDArray[np.float64] = slope * others + intercept
    return line


def _scores(table: FbnetTable, devices: tuple[str, ...], counts: tuple[int, ...], seeds: int) -> Scores:
    """Mean Spearman over seeds of every method, on all networks that were not measured."""
    features, macs, hot = table.features(), table.macs(), table.one_hot()
    found: dict[tuple[str, int, str, str], list[float]] = {}
    for seed in range(seeds):
        shuffled = np.random.default_rng(seed).permutation(len(macs))
        pool = shuffled[:POOL]
        for count in counts:
            for picks, chosen in (("random", shuffled[:count]), ("D-optimal", pool[choose(features[pool], count)])):
                rest = np.setdiff1d(shuffled, chosen)
                for device in devices:
                    latency_s = table.latency_s[device]
                    train, test = latency_s[chosen], latency_s[rest]
                    for method, predicted in (
                        ("ours", _ours(features[chosen], train, features[rest])),
                        ("MACs line", _macs_line(macs[chosen], train, macs[rest])),
                        ("one-hot ridge", _one_hot_ridge(hot[chosen], train, hot[rest])),
                    ):
                        found.setdefault((device, count, picks, method), []).append(spearman(predicted, test))
    return {key: float(np.mean(values)) for key, values in found.items()}


def _tasks(table: FbnetTable, smoke: bool) -> tuple[list[dict[str, float | str | bool]], list[Mark]]:
    counts, seeds = ((10, 20), 1) if smoke else (COUNTS, SEEDS)
    scores = _scores(table, tuple(sorted({device for devices in TASKS.values() for device in devices})), counts, seeds)
    rows: list[dict[str, float | str | bool]] = []
    means: dict[tuple[int, str, str], float] = {}
    for name, values in PUBLISHED.items():
        rows.append({"method": name, **dict(zip(TASKS, values, strict=True)), "mean": float(np.mean(values))})
    for method in ("MACs line", "one-hot ridge", "ours"):
        for count in counts:
            for picks in ("random", "D-optimal"):
                tasks = {task: float(np.mean([scores[d, count, picks, method] for d in devices])) for task, devices in TASKS.items()}
                means[count, picks, method] = float(np.mean(list(tasks.values())))
                rows.append({"method": f"{method}, {count} {picks}", **tasks, "mean": means[count, picks, method]})
    why = "the model was chosen on the devices in no task's test set, not on these"
    return rows, [
        Mark(f"fbnet{count}", f"FBNet, mean Spearman of the six tasks, {count} D-optimal measurements", means[count, "D-optimal", "ours"],
             mark, "higher", why)
        for count, mark in ((20, 0.89), (10, 0.87))
    ]  # fmt: skip


def _help(table: FbnetTable, seeds: int) -> tuple[list[dict[str, float | str | bool]], Mark]:
    features = table.features()
    rows: list[dict[str, float | str | bool]] = []
    for device, published in HELP.items():
        latency_s = table.latency_s[device]
        low, high = np.quantile(latency_s, (0.1, 0.9))
        middle = np.flatnonzero((latency_s >= low) & (latency_s <= high))
        found = []
        for seed in range(seeds):
            shuffled = np.random.default_rng(seed).permutation(middle)
            chosen, rest = shuffled[:10], shuffled[10:]
            found.append(spearman(_ours(features[chosen], latency_s[chosen], features[rest]), latency_s[rest]))
        rows.append({
            "HELP's protocol": device, "HELP (published)": published, "ours": float(np.mean(found)),
            "standard deviation": float(np.std(found)),
        })  # fmt: skip
    mean = float(np.mean([float(row["ours"]) for row in rows]))
    what = "HELP's protocol: raspi4, eyeriss, fpga, 10 random measurements, middle 80 % of the latency range"
    return rows, Mark(
        "help10", what, mean, 0.935, "higher", "ten random networks of the middle of the range do not tell compute from memory"
    )


def _held_out_stages(data: Path) -> list[dict[str, float | str | bool]]:
    """Mean absolute relative error of the blocks of each stage when it is left out, and of the reference networks."""
    blocks = read_blocks(data / "fbnet_blocks_raspi4.csv")
    device = next(device for device in DEVICES if device.name == "raspberrypi4")
    predictor, errors = fit_device(device, blocks)
    stages = np.array([STAGES[block.layer] for block in blocks if block.op != "skip"])
    rows: list[dict[str, float | str | bool]] = [
        {"raspberrypi4, left out": f"stage {stage + 1}", "blocks": int((stages == stage).sum()),
         "mape": float(np.abs(errors[:-1][stages == stage]).mean()), "bias": float(errors[:-1][stages == stage].mean())}
        for stage in np.unique(stages)
    ]  # fmt: skip
    rows.append({
        "raspberrypi4, left out": "all stages in turn", "blocks": len(stages), "mape": float(np.abs(errors[:-1]).mean()),
        "bias": float(errors[:-1].mean()),
    })  # fmt: skip
    for name, published_ms in NCNN_MS.items():
        metric = predictor.predict(reference_blocks(name))
        rows.append({
            "at 224 pixels": name, "ncnn, ms": published_ms, "predicted, ms": metric.value * 1e3,
            "error": metric.value * 1e3 / published_ms - 1.0,
            "in the band": bool((metric.low or 0.0) <= published_ms * 1e-3 <= (metric.high or 0.0)),
        })  # fmt: skip
    return rows
