"""Energy: a Pi 5's from the architecture alone, recorded meters, energy as an axis, what metering costs, and the search's own footprint.

Pi 5: NAS-Bench-201's measured joules (ONNX Runtime, core rail net of idle), 100 classes to fit, all others held out, one network a class.
The fit is the product's (`nas.hardware.fitting`), the prior the profile's chip facts times its measured watts; nothing was tuned on it.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.bench.cells import cell_features, cell_macs
from nas.bench.meter_cases import CASES, failures, write_tree
from nas.bench.nasbench import EDGES, OPS, load_table
from nas.bench.outcome import Mark, Outcome
from nas.bench.predictor import spearman
from nas.events import Event
from nas.hardware.device_state import pinned
from nas.hardware.evaluation import predict_features
from nas.hardware.fitting import fit
from nas.hardware.measure import Machine
from nas.hardware.meters.hwmon import Hwmon
from nas.hardware.profile import load_profile
from nas.hardware.roofline import roofline
from nas.hardware.runtimes.loading import load_runtime

__all__ = ["run"]

Array = NDArray[np.float64]
Row = Mapping[str, float | str | bool]
ENERGY, LATENCY = "pi5_onnx_energy_mj", "pi5_onnx_lat_ms"
TRAINING_CLASSES = 100
SEEDS = 10
PAIRS = 12
"""Windows with the meter and without, in turn."""
WINDOW_S = 0.5


def run(data: Path, smoke: bool) -> Outcome:
    """All parts; the search takes minutes, and two cores.

    Raises:
        DataError: the table is not in `data`.
    """
    rows, marks = _pi5(data, 1 if smoke else SEEDS)
    for part in (_meters(), _sampler_cost(2 if smoke else PAIRS), _search(smoke)):
        rows += part.rows
        marks += part.marks
    return Outcome(rows, marks)


def _errors(predicted: Array, measured: Array) -> tuple[float, float]:
    """Mean absolute relative error, and Spearman's rho."""
    return float(np.mean(np.abs(predicted / measured - 1.0))), spearman(predicted, measured)


def _pi5(data: Path, seeds: int) -> tuple[list[Row], list[Mark]]:
    table = load_table(data)
    numbers = np.flatnonzero(table.connected)
    _, first = np.unique(table.classes[numbers], return_index=True)
    networks = numbers[first]  # one of each class: members share a measurement
    genes = np.stack([networks // len(OPS) ** edge % len(OPS) for edge in range(len(EDGES))], axis=1).astype(np.int16)
    energy_j, latency_s = table.costs[ENERGY][networks] * 1e-3, table.costs[LATENCY][networks] * 1e-3
    features, macs = cell_features(genes), cell_macs(genes)
    profile = load_profile("raspberrypi5")
    assert profile.measured_power is not None
    watts = profile.measured_power.at(1)
    chip = roofline(profile.chip.core())
    prior = dataclasses.replace(chip, coefficients=tuple(watts * seconds for seconds in chip.coefficients))
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "MACs-linear": [], f"{watts:g} W x measured latency": []}
    for seed in range(seeds):
        shuffled = np.random.default_rng(seed).permutation(len(networks))
        train, test = shuffled[:TRAINING_CLASSES], shuffled[TRAINING_CLASSES:]
        fitted = fit(features[train], energy_j[train], prior, ())
        line = np.polyfit(macs[train], energy_j[train], 1)
        found["ours"].append(_errors(predict_features(fitted, features[test])[0], energy_j[test]))
        found["MACs-linear"].append(_errors(np.asarray(np.polyval(line, macs[test]), dtype=np.float64), energy_j[test]))
        found[f"{watts:g} W x measured latency"].append(_errors(watts * latency_s[test], energy_j[test]))
    rows: list[Row] = [
        {
            "Pi 5 energy, core rail net of idle": method, "mape": float(np.mean([each[0] for each in scores])),
            "worst mape": max(each[0] for each in scores), "spearman": float(np.mean([each[1] for each in scores])),
            "worst spearman": min(each[1] for each in scores),
        }
        for method, scores in found.items()
    ]  # fmt: skip
    what = f"Pi 5 energy from the architecture alone, {TRAINING_CLASSES} classes, {len(networks) - TRAINING_CLASSES} held out"
    mape, rho = float(rows[0]["mape"]), float(rows[0]["spearman"])
    line_mape, line_rho = float(rows[1]["mape"]), float(rows[1]["spearman"])
    return rows, [
        Mark("pi5-mape", f"{what}: MAPE (MACs-linear {line_mape:.3f})", mape, 0.10, "lower", "additive features do not hold it"),
        Mark("pi5-rho", f"{what}: Spearman (MACs-linear {line_rho:.3f})", rho, 0.95, "higher", "additive features do not hold it"),
    ]


def _meters() -> Outcome:
    failed = failures()
    rows: list[Row] = [{"recorded meters": "cases", "all": len(CASES), "passed": len(CASES) - len(failed)}]
    share = 1.0 - len(failed) / len(CASES)
    return Outcome(
        rows, [Mark("meters", f"recorded cases with exact joules or a refusal, {len(CASES)}", share, 1.0, "higher", "; ".join(failed))]
    )


def _sampler_cost(pairs: int) -> Outcome:
    """A sensor that is read 100 times a second from another core, beside a network on one core: pairs of windows, with and without."""
    from nas.hardware.export import export_blocks
    from nas.space import load_space

    space, machine = load_space("mobilenet_cifar"), Machine()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        root, model = Path(folder), Path(folder) / "model.onnx"
        chip = "sys/class/hwmon/hwmon0"
        write_tree(root, {f"{chip}/name": "ina226", f"{chip}/power1_input": 4_250_000})
        export_blocks(space.decode(space.sample(0)), model)
        with pinned(1), load_runtime("onnxruntime").open(model, 1) as infer:
            for number in range(pairs + 1):
                medians = {}
                for is_metered in (False, True) if number % 2 else (True, False):
                    meter = Hwmon(root=root)
                    if is_metered:
                        meter.begin()
                    medians[is_metered] = _median_s(infer, machine)
                    meter.close()
                if number:  # the first warms up
                    ratios.append(medians[True] / medians[False])
    ratio = statistics.median(ratios)
    rows: list[Row] = [{"100 Hz sampled meter": "latency with over without", "median": ratio, "best": min(ratios), "worst": max(ratios)}]
    why = "the machine was busy: the sampling thread had no core of its own"
    return Outcome(
        rows, [Mark("sampler-cost", f"median latency with a 100 Hz meter over without, {pairs} pairs", ratio, 1.03, "lower", why)]
    )


def _median_s(infer: object, machine: Machine) -> float:
    assert callable(infer)
    samples, end_ns = [], machine.now_ns() + round(WINDOW_S * 1e9)
    for _ in range(1_000_000):
        start_ns = machine.now_ns()
        infer()
        stop_ns = machine.now_ns()
        samples.append((stop_ns - start_ns) * 1e-9)
        if stop_ns >= end_ns:
            break
    return statistics.median(samples)


def _search(smoke: bool) -> Outcome:
    """One digits search on a Raspberry Pi 4 with 1, 2 and 4 threads, CodeCarbon alone around it: the axis, and the footprint."""
    from nas.config import check_config, default_recipe
    from nas.pipeline import run as search
    from nas.report.footprint import codecarbon_tracker
    from nas.report.grid import load_grid

    size = {"trials": 9, "recipe": {"epochs": 1, "finetune_epochs": 0, "flip": False}, "finalists": 1} if smoke else {}
    config = check_config({
        "study": "bench", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": "digits", "threads": (1, 2, 4),
        "recipe": default_recipe("digits").model_dump(), **size,
    })  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        tracker = codecarbon_tracker(load_grid("WORLD"))
        tracker.start_task("alone")
        heard: list[Event] = []
        found = search(config, Path(folder), heard.append, lambda: False)
        alone_kwh = float(tracker.stop_task("alone").energy_consumed)
        tracker.stop()
    record = found.fronts[0]
    metrics = [each.candidate.metrics for each in record.candidates]
    latency_s, energy_j = (np.array([each[name].value for each in metrics]) for name in ("latency_s", "energy_j"))
    rho = spearman(latency_s, energy_j)
    pool = next((float(str(event.fields["rho"])) for event in heard if "rho" in event.fields), float("nan"))
    ours_kwh = float(record.search.get("cost_kwh", 0.0))
    share = abs(ours_kwh / alone_kwh - 1.0)
    on_front: dict[str, set[int]] = {}
    for each in record.front:
        on_front.setdefault(each.candidate.arch.arch_id, set()).add(each.candidate.target.threads)
    rows: list[Row] = [
        {"digits search, raspberrypi4, 1, 2 and 4 threads": "candidates", "count": len(metrics), "on the front": len(record.front),
         "spearman": rho, "spearman of the scored pool": pool,
         "with several thread counts": sum(len(threads) > 1 for threads in on_front.values())},
        {"the search's own energy, kWh": "modelled: this machine", "in the record": ours_kwh, "CodeCarbon alone": alone_kwh,
         "method": str(record.search.get("cost_method", record.search.get("cost_source", "")))},
    ]  # fmt: skip
    return Outcome(rows, _search_marks(rho, latency_s, pool, share))


def _search_marks(rho: float, latency_s: Array, pool: float, share: float) -> Sequence[Mark]:
    span = float(latency_s.max() / latency_s.min())
    why = (
        f"the search's candidates span x{span:.0f} in latency, and threads move it by less than x2; over the scored pool of random "
        f"architectures, which decides whether energy is an axis, it is {pool:.2f}"
    )
    return [
        Mark("axis", f"Spearman of latency and energy over {len(latency_s)} candidates, threads 1, 2, 4", rho, 0.9, "lower", why),
        Mark("footprint", "kWh in the record over CodeCarbon alone on the same run, relative difference", share, 0.05, "lower",
             "opening the studies and the last files are outside of what the record counts"),
    ]  # fmt: skip
