"""How well the shipped latency models of boards that nobody here has hold against public measurements.

Whole FBNet networks of HW-NAS-Bench (Li et al. 2021, arXiv:2103.10584), whose blocks the models were fitted on; and published end-to-end
latencies of known networks at 224 x 224. No coefficient was fitted to those, but they were in view when two rules of
`nas.hardware.additive` were settled: activations are a family of their own, and memory costs that nobody measured stay at chip facts at
most. Without them EfficientNet-B0 is 1.3 to 1.7 times ncnn's. And the Pi 4's speed-up of four threads, with its range, is that of this very
table (`nas.bench.blocks`): its rows for four threads test what those for one do, and their own band not at all.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from nas.bench.fbnet import read_fbnet
from nas.bench.outcome import Mark, Outcome
from nas.errors import DataError
from nas.hardware.profile import load_profile
from nas.space import reference_blocks

__all__ = ["run"]

COLUMNS = {"raspberrypi4": "raspi4", "pixel3": "pixel3"}
PUBLISHED = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "mnasnet_a1")
MISSED = "no coefficient was fitted to these rows: the form was chosen by leave-one-stage-out, physics and two rules (see the module)"


def run(data: Path, smoke: bool) -> Outcome:
    """Whole-network error and rank correlation, published networks.

    Args:
        smoke: only the first 500 networks.

    Raises:
        DataError: the tables are not in `data`.
    """
    rows: list[dict[str, float | str | bool]] = []
    marks: list[Mark] = []
    for device, column in COLUMNS.items():
        spearman, mape = _networks(data / "fbnet_latency.parquet", device, column, 500 if smoke else None)
        profile = load_profile(device)
        quality = dict(profile.predictor(profile.target()).quality)
        block_mape = quality["leave_one_stage_out_block_mape"]
        rows.append({"device": device, "what": "5,000 FBNet networks", "spearman": spearman, "mape": mape})
        marks.append(Mark(f"{device}-rho", "Spearman of whole FBNet networks", spearman, 0.96, "higher", MISSED))
        marks.append(Mark(f"{device}-blocks", "leave-one-stage-out block MAPE (of the fit)", block_mape, 0.15, "lower", MISSED))
    rows += _published(data / "published_latency.csv")
    for threads, most in ((1, 0.30), (4, 0.40)):
        worst = max(abs(float(row["error"])) for row in rows if row.get("model") in PUBLISHED[:3] and row["threads"] == threads)
        what = f"largest error against ncnn, {threads} thread(s): MobileNetV2, MobileNetV3-Large, EfficientNet-B0"
        what += "" if threads == 1 else "; the speed-up of the threads is this table's own median"
        marks.append(Mark(f"published-{threads}t", what, worst, most, "lower", MISSED))
    covered = np.mean([bool(row["covered"]) for row in rows if row.get("threads") == 1])
    what = "share of values published for 1 thread inside the 90 % band; the band of 4 threads is made of this table's speed-ups"
    marks.append(Mark("coverage", what, float(covered), 0.9, "higher", MISSED))
    return Outcome(rows, marks)


def _networks(path: Path, device: str, column: str, first: int | None) -> tuple[float, float]:
    """Spearman and MAPE of the first networks of the table, or all."""
    from scipy.stats import spearmanr

    table = read_fbnet(path)
    space = table.space
    profile = load_profile(device)
    folded = profile.predictor(profile.target()).fold(space.blocks)
    predicted_s = folded.rows(space.block_index(table.genes[:first]), 1)[0]
    measured_s = table.latency_s[column][:first]
    mape = float(np.abs(predicted_s / measured_s - 1).mean())
    return float(spearmanr(predicted_s, measured_s).statistic), mape


def _published(path: Path) -> list[dict[str, float | str | bool]]:
    if not path.is_file():
        raise DataError(f"{path} is absent: give the folder of the public tables with --data")
    with path.open(newline="", encoding="utf-8") as file:
        known = [
            row
            for row in csv.DictReader(file)
            if row["board"] == "raspberrypi4" and row["runtime"] == "ncnn" and row["precision"] == "fp32"
        ]
    profile = load_profile("raspberrypi4")
    predictor = profile.predictor(profile.target())
    rows: list[dict[str, float | str | bool]] = []
    for row in known:
        if row["model"] not in PUBLISHED:
            continue
        metric = predictor.predict(reference_blocks(row["model"]), int(row["threads"]))
        published_s = float(row["latency_ms"]) * 1e-3
        assert metric.low is not None
        assert metric.high is not None
        rows.append({
            "device": "raspberrypi4", "what": "ncnn's table, 224 x 224", "model": row["model"], "threads": int(row["threads"]),
            "published_ms": published_s * 1e3, "predicted_ms": metric.value * 1e3, "low_ms": metric.low * 1e3,
            "high_ms": metric.high * 1e3, "error": metric.value / published_s - 1, "covered": metric.low <= published_s <= metric.high,
        })  # fmt: skip
    return rows
