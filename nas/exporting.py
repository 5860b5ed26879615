"""Deployable files of a candidate, for `nas export`: those of a finalist are copied, any other candidate is made first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from nas.compress.int8 import calibration_pixels, pixels_of
from nas.compress.parity import Check, Reference, check_openvino
from nas.compress.quantize import quantize_openvino
from nas.errors import InputError, MissingExtraError
from nas.events import Event, Listener
from nas.files import whole_folder, write_atomic
from nas.hardware.export import Deployed, export_openvino
from nas.models.network import Network
from nas.models.weights import load_weights
from nas.pipeline import make_finalist
from nas.report.front import CandidateRecord
from nas.report.study import load_config
from nas.search.artifacts import FILES
from nas.search.card import check_row
from nas.search.shipped import shipped_card
from nas.space import load_space
from nas.training.data import ImageData, load_data

__all__ = ["export"]

ALWAYS = ("card", "architecture", "labels")
NEEDED = ("onnx", "weights", *ALWAYS)
"""Kinds of files that every finalist has."""
ONNX_KINDS = {"fp32": ("onnx", "onnx_dynamic"), "int8": ("onnx_int8",)}
INT8_IR = ("model.int8.xml", "model.int8.bin")


def export(
    folder: Path, record: CandidateRecord, form: Literal["onnx", "openvino"], precision: Literal["fp32", "int8"], out: Path,
    on_event: Listener, stop: Callable[[], bool],
) -> list[Path]:  # fmt: skip
    """Writes the files of a candidate to `out`: the model, its labels, card and architecture. All of them, or none.

    Args:
        folder: of the study.
        record: of the candidate. One that is no finalist is fine-tuned, tested and exported first.

    Returns:
        what was written.

    Raises:
        InputError: `out` cannot be written to, or the candidate has no int8 file: says why.
        TargetError: a file differs from torch.
    """
    with whole_folder(out) as temporary:  # refuses before anything is made
        artifacts = dict(record.artifacts)
        if not all(kind in artifacts and (folder / artifacts[kind]).is_file() for kind in NEEDED):
            artifacts = dict(make_finalist(folder, record.candidate, on_event, stop).artifacts)
        source = (folder / artifacts["onnx"]).parent
        if precision == "int8" and not (source / FILES["onnx_int8"]).is_file():
            why = json.loads((source / FILES["architecture"]).read_text(encoding="utf-8")).get("int8", "made by an earlier version")
            raise InputError(f"{record.id} has no int8 file: {why}")
        kinds = ONNX_KINDS[precision] if form == "onnx" else ("openvino", "openvino_weights") if precision == "fp32" else ()
        for kind in (*kinds, *ALWAYS):
            shutil.copy2(source / FILES[kind], temporary)
        rows = []
        if form == "openvino" and precision == "int8":
            check, how = _int8_openvino(folder, record, source, temporary, on_event)
            text = json.dumps({"schema": 1, "how": how, **check.to_dict()}, indent=1)
            write_atomic(temporary / "check.json", text + "\n")
            rows.append(check_row(check))
        card = temporary / FILES["card"]
        write_atomic(card, shipped_card(card.read_text(encoding="utf-8"), {FILES[kind]: FILES[kind] for kind in kinds}, rows))
        names = sorted(path.name for path in temporary.iterdir())
    return [out / name for name in names]


def _int8_openvino(folder: Path, record: CandidateRecord, source: Path, out: Path, on_event: Listener) -> tuple[Check, str]:
    """OpenVINO's int8 file and how it does on the test images: by NNCF where it is installed, else what the int8 ONNX file says."""
    data, network = _network(folder, record, source)
    path = out / INT8_IR[0]
    try:
        quantize_openvino(source / FILES["openvino"], path, calibration_pixels(data))
        how = "NNCF post-training quantisation"
    except MissingExtraError:
        export_openvino(source / FILES["onnx_int8"], path)
        how = "converted from the int8 ONNX file (NNCF is not installed)"
    on_event(Event("info", f"int8 for OpenVINO: {how}"))
    reference = Reference.of(Deployed(network, data.mean, data.std), lambda: pixels_of(data.test))
    return check_openvino(path, reference, "int8", float("inf")), how


def _network(folder: Path, record: CandidateRecord, source: Path) -> tuple[ImageData, Network]:
    """The images of the study at the candidate's size, and its trained network."""
    config, _ = load_config(folder)
    size = load_space(config.space).decode(record.candidate.arch)[0].in_size
    data = load_data(config.data, size, config.seed, folder.parent / ".cache")
    network = Network(load_space(config.space).with_data(data.in_chs, data.num_classes).decode(record.candidate.arch))
    network.load_state_dict(load_weights(source / FILES["weights"])[0])
    return data, network
