"""Blocks recovered from the FBNet table and the priors of raspberrypi4 and pixel3 that are fitted to them (`nas bench priors --write`).

HW-NAS-Bench (Li et al. 2021, arXiv:2103.10584), MIT licence: 22 layers x 9 blocks, milliseconds over the layer's skip, and the network
of skips. Of what is published of known networks only the speed-up of four threads is used, on raspberrypi4.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.bench.fbnet import OPS, FbnetTable, read_fbnet
from nas.errors import DataError
from nas.hardware.features import block_features, network_features
from nas.hardware.fitting import fit, out_of_fold, shape_ranges
from nas.hardware.predictor import LatencyPredictor, SpeedUp
from nas.hardware.predictor_file import save_predictor
from nas.hardware.profile import load_profile
from nas.hardware.roofline import roofline

__all__ = ["DEVICES", "STAGES", "Block", "Device", "fit_device", "read_blocks", "write_priors"]

STAGES = np.repeat(np.arange(7), (1, 4, 4, 4, 4, 4, 1))  # of the 22 layers
ALL_SKIP_STAGE = 7  # stem, skips and head are a group of their own
SOURCE = "HW-NAS-Bench (Li et al. 2021, arXiv:2103.10584), FBNet on CIFAR-100: 22 x 9 block latencies and the all-skip network"
LICENCE = "MIT (GATECH-EIC/HW-NAS-Bench)"
# Median and range over the networks in ncnn's published Raspberry Pi 4 tables (Tencent/ncnn, benchmark/README).
RASPBERRYPI4_SPEEDUP = SpeedUp(4, 1.68, 1.51, 2.03, "ncnn's published tables, Raspberry Pi 4, 4 threads over 1, fp32 at 224 x 224")


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the table: its profile, its columns, its all-skip network in seconds."""

    name: str
    blocks_column: str
    networks_column: str
    all_skip_s: float
    speedup: SpeedUp | None


DEVICES = (
    Device("raspberrypi4", "raspi4_ms_over_skip", "raspi4", 7.798226e-3, RASPBERRYPI4_SPEEDUP),
    Device("pixel3", "pixel3_ms_over_skip", "pixel3", 2.838628e-3, None),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A row of the table; `spec` is None for an identity."""

    layer: int
    op: str
    spec: BlockSpec | None
    row: dict[str, str]


def read_blocks(path: Path) -> list[Block]:
    """The 22 x 9 blocks as `BlockSpec`s.

    Raises:
        DataError: the file is absent.
    """
    if not path.is_file():
        raise DataError(f"{path} is absent: give the folder of the public tables with --data")
    with path.open(newline="", encoding="utf-8") as file:
        return [Block(int(row["layer"]), row["op"], _spec(row), row) for row in csv.DictReader(file)]


def _spec(row: dict[str, str]) -> BlockSpec | None:
    name = f"l{row['layer']}"
    in_chs, out_chs, size, stride = (int(row[key]) for key in ("in_chs", "out_chs", "in_size", "stride"))
    if row["op"] == "skip":
        return BlockSpec(name, "conv", in_chs, out_chs, size, 1, stride, "relu") if row["skip_is_conv"] == "True" else None
    # The expansion is there at e1 too (FBNet's code), and a residual where shapes allow it.
    return BlockSpec(
        name, "mbconv", in_chs, out_chs, size, int(row["kernel"]), stride, "relu",
        mid_chs=in_chs * int(row["expand"]), expand=True, groups=int(row["groups"]), residual=stride == 1 and in_chs == out_chs,
    )  # fmt: skip


def all_skip(blocks: list[Block]) -> tuple[BlockSpec, ...]:
    """The network of skips: stem, convolutions where shapes change, head."""
    return (
        BlockSpec("stem", "conv", 3, 16, 32, 3, 1, "relu"),
        *(block.spec for block in blocks if block.op == "skip" and block.spec is not None),
        BlockSpec("head", "conv", 352, 1504, 4, 1, 1, "relu"),
        BlockSpec("pool", "pool", 1504, 1504, 4),
        BlockSpec("classifier", "linear", 1504, 100, 1),
    )


def design(blocks: list[Block]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Features (n, n_features) of each block over its layer's skip, then of the all-skip network; and their groups (n,)."""
    skips = {block.layer: block.spec for block in blocks if block.op == "skip"}
    rows, groups = [], []
    for block in blocks:
        if block.op == "skip" or block.spec is None:
            continue
        skip = skips[block.layer]
        rows.append(block_features(block.spec) - (0.0 if skip is None else block_features(skip)))
        groups.append(STAGES[block.layer])
    return np.array([*rows, network_features(all_skip(blocks))]), np.array([*groups, ALL_SKIP_STAGE])


def fit_device(device: Device, blocks: list[Block]) -> tuple[LatencyPredictor, NDArray[np.float64]]:
    """The prior, and its relative errors with the row's stage left out, (n,), the all-skip network last."""
    features, groups = design(blocks)
    milliseconds = [float(block.row[device.blocks_column]) for block in blocks if block.op != "skip"]
    latency_s = np.array([*(value * 1e-3 for value in milliseconds), device.all_skip_s])
    chip = dataclasses.replace(roofline(load_profile(device.name).chip.core()), speedup=device.speedup)
    networks = [[block.spec] for block in blocks if block.spec is not None]
    predictor = fit(features, latency_s, chip, shape_ranges([*networks, all_skip(blocks)]), groups, SOURCE, LICENCE)
    errors = np.expm1(out_of_fold(features, latency_s, chip, groups, dict(predictor.quality)["ridge"]))
    return predictor, errors


def _networks_s(predictor: LatencyPredictor, blocks: list[Block], table: FbnetTable) -> NDArray[np.float64]:
    """Seconds of the table's networks, (n,), from the very blocks that were fitted."""
    seconds = np.zeros((len(STAGES), len(OPS)))
    for block in blocks:
        if block.spec is not None:
            seconds[block.layer, OPS.index(block.op)] = predictor.predict_blocks([block.spec])[0]
    ends = [spec for spec in all_skip(blocks) if not spec.name.startswith("l")]
    total: NDArray[np.float64] = predictor.predict(ends).value + seconds[np.arange(len(STAGES)), table.operators].sum(axis=1)
    return total


def write_priors(data: Path, out: Path) -> list[Path]:
    """Fits both priors and writes them into the profiles' folders below `out`. Returns what was written.

    Raises:
        DataError: the tables are not in `data`.
    """
    from scipy.stats import spearmanr

    blocks, table = read_blocks(data / "fbnet_blocks_raspi4.csv"), read_fbnet(data / "fbnet_latency.parquet")
    written = []
    for device in DEVICES:
        predictor, errors = fit_device(device, blocks)
        measured_s = table.latency_s[device.networks_column]
        predicted_s = _networks_s(predictor, blocks, table)
        quality = {
            "leave_one_stage_out_block_mape": float(np.abs(errors[:-1]).mean()),
            "network_spearman": float(spearmanr(predicted_s, measured_s).statistic),
            "network_mape": float(np.abs(predicted_s / measured_s - 1.0).mean()),
            "network_bias": float(np.mean(predicted_s / measured_s - 1.0)),
        }
        written.append(out / device.name / "prior-fp32.json")
        save_predictor(dataclasses.replace(predictor, quality=(*predictor.quality, *quality.items())), written[-1])
    return written
