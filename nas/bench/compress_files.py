"""What files cost and save, in `nas bench compress`: int8, size, agreement, the card, the time of an export."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import nas.bench.check_export as script
from nas.bench.outcome import Mark
from nas.bench.pieces import Row
from nas.bench.workbench import Compressed, Workbench, mean, untold
from nas.compress.int8 import Int8Maker, calibration_pixels, labels_alone
from nas.compress.parity import check_onnx
from nas.compress.qdq import export_fake_quant
from nas.compress.quantize import quantize
from nas.cost import count
from nas.errors import TargetError
from nas.hardware.export import export_blocks
from nas.search.artifacts import FILES, ArtifactMaker
from nas.training.data import ImageData

__all__ = ["agree", "card", "export", "int8", "size"]

SMALLEST_PARAMS = 200_000
"""Of networks whose size is marked: in smaller ones names and scales weigh as much as weights."""


def int8(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """Both ways for every finalist, whether the first was enough or not."""
    found = [bench.pieces.once(f"int8-{each.record.id}", partial(_int8_of, bench, each)) for each in bench.finalists]
    rows += found
    drops = {way: [100 * (float(row["fp32"]) - float(row[way])) for row in found] for way in ("after training", "with rounding")}
    few = "few images or little training"
    return [
        Mark("ptq-drop", "points of test accuracy lost by int8 after training, mean", mean(drops["after training"]), 1.0, "lower", few),
        Mark("qat-drop", "the same trained with rounding, two short epochs", mean(drops["with rounding"]), 0.4, "lower", few),
    ]


def _int8_of(bench: Workbench, each: Compressed) -> Row:
    after, aware = bench.folder / "after.onnx", bench.folder / "aware.onnx"
    quantize(each.home / FILES["onnx_dynamic"], after, calibration_pixels(bench.data))
    fake = Int8Maker(bench.data, bench.recipe, 0).train(each.network, 1.0 if bench.smoke else None)
    export_fake_quant(fake, bench.data.mean, bench.data.std, aware, {})
    return {
        "finalist": each.record.id, "params": float(count(each.network.blocks).params), "fp32": each.test,
        "after training": _test_accuracy(after, bench.data), "with rounding": _test_accuracy(aware, bench.data),
    }  # fmt: skip


def _test_accuracy(path: Path, data: ImageData) -> float:
    """Of a file with an open batch, on the test images."""
    return check_onnx(path, labels_alone(data.test, data.num_classes), tolerance=float("inf")).accuracy


def size(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """Of the finalists, and of the largest network, whose weights are many enough."""
    space, ratios = bench.context.space, []
    largest = space.decode(space.largest)
    export_blocks(largest, bench.folder / "largest.onnx")
    quantize(bench.folder / "largest.onnx", bench.folder / "largest.int8.onnx", calibration_pixels(bench.data)[:1])
    pairs = [(each.record.id, each.network.blocks, each.home / FILES["onnx"], each.home / FILES["onnx_int8"]) for each in bench.finalists]
    for name, blocks, whole, small in [*pairs, ("largest", largest, bench.folder / "largest.onnx", bench.folder / "largest.int8.onnx")]:
        if not small.is_file():
            continue
        params, ratio = count(blocks).params, small.stat().st_size / whole.stat().st_size
        rows.append({"size of": name, "params": float(params), "fp32_bytes": float(whole.stat().st_size), "int8 over fp32": ratio})
        if params >= SMALLEST_PARAMS or bench.smoke:
            ratios.append(ratio)
    what = "model.int8.onnx over model.onnx, bytes, worst of the networks with 200 k weights or more"
    return [Mark("int8-size", what, max(ratios), 0.33, "lower", "names, scales and the description of the network weigh too")]


def agree(bench: Workbench, rows: list[Row]) -> list[Mark]:
    shares = []
    for each in bench.finalists:
        told = json.loads((each.home / FILES["architecture"]).read_text(encoding="utf-8"))["checks"]
        shares += [100 * check["agreement"] for check in told if check["precision"] == "fp32"]
        shown = ("file", "runtime", "precision", "images", "agreement", "max_error")
        rows += [{"file of": each.record.id, **{key: check[key] for key in shown}} for check in told]
    what = f"per cent of {len(bench.data.test)} test images with the same class in torch and in ONNX Runtime and OpenVINO fp32, worst"
    return [Mark("agree", what, min(shares), 99.9, "higher", "a bug")]


def card(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """Card and record against MLflow's store and against a script that knows nothing of hwnas."""
    found = [bench.pieces.once(f"card-{each.record.id}", partial(_card_of, bench, each)) for each in bench.finalists]
    rows += found
    worst = max(float(row["largest difference"]) for row in found)
    return [Mark("card", "largest difference of test accuracy: card, MLflow, independent script", worst, 0.0, "lower", "see the rows")]


def _card_of(bench: Workbench, each: Compressed) -> Row:
    with closing(sqlite3.connect(bench.runs / "mlflow" / "mlflow.db")) as store:
        tracked = store.execute(
            "SELECT m.value FROM latest_metrics m JOIN tags t ON m.run_uuid = t.run_uuid "
            "WHERE m.key = 'accuracy_test' AND t.key = 'candidate_id' AND t.value = ?", (each.record.id,)
        ).fetchone()  # fmt: skip
    if tracked is None:
        raise TargetError(f"{each.record.id}: MLflow's store has no accuracy_test of it")
    row: Row = {"card of": each.record.id, "record": each.test, "MLflow": tracked[0]}
    off, images = abs(tracked[0] - each.test), Path(bench.context.data)
    if images.exists():
        command = [sys.executable, script.__file__, str(each.home), str(images)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:  # the card is compared by the script alone
            raise TargetError(f"{each.record.id}: {script.__file__} says: {done.stdout or done.stderr}")
        told = json.loads(done.stdout)
        off = max(off, told["largest_difference"], abs(told["accuracy"]["model.onnx"] - each.test))
        row |= {f"script on {file}": value for file, value in told["accuracy"].items()}
    return {**row, "largest difference": off}


def export(bench: Workbench, rows: list[Row]) -> list[Mark]:
    """Files and checks of each finalist again, without any training."""
    found = [bench.pieces.once(f"export-{each.record.id}", partial(_exported, bench, each)) for each in bench.finalists]
    rows += found
    what = "seconds to export a finalist with all checks: fp32, int8, IR; slowest"
    return [Mark("export-s", what, max(float(row["seconds"]) for row in found), 20.0, "lower", "busy machine")]


def _exported(bench: Workbench, each: Compressed) -> Row:
    maker = ArtifactMaker(bench.data, bench.recipe.model_copy(update={"finetune_epochs": 0}), 0)
    place = bench.folder / f"export-{each.record.id}"
    place.mkdir()
    started = time.perf_counter()
    maker.write(place, each.network, each.record.candidate.arch, "", None, untold, lambda: False)
    return {"export of": each.record.id, "seconds": time.perf_counter() - started}
