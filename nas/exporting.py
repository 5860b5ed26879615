"""Deployable files of a candidate, for `nas export`: those of a finalist are copied, any other candidate is made first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from nas.errors import InputError
from nas.events import Listener
from nas.hardware.export import Deployed, check_openvino, export_openvino
from nas.models.network import Network
from nas.models.weights import load_weights
from nas.pipeline import make_finalist
from nas.report.front import CandidateRecord
from nas.report.study import load_config
from nas.search.finalists import pixels
from nas.space import load_space
from nas.training.data import load_data

__all__ = ["export"]

NEEDED = ("onnx", "weights", "architecture", "card")
"""Kinds of files that every finalist has."""


def export(
    folder: Path, record: CandidateRecord, form: Literal["onnx", "openvino"], out: Path, on_event: Listener, stop: Callable[[], bool]
) -> list[Path]:
    """Writes the files of a candidate to `out`: the model, its card and architecture; parity is checked on the study's test images.

    Args:
        folder: of the study.
        record: of the candidate. One that is no finalist is fine-tuned, tested and exported first.

    Returns:
        what was written.

    Raises:
        InputError: `out` cannot be written to.
        TargetError: the exported file differs from torch.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _unwritable(out, exc) from exc
    artifacts = dict(record.artifacts)
    if not all(kind in artifacts and (folder / artifacts[kind]).is_file() for kind in NEEDED):
        artifacts = dict(make_finalist(folder, record.candidate, on_event, stop).artifacts)
    try:
        kinds = ("onnx", "card", "architecture") if form == "onnx" else ("card", "architecture")
        written = [Path(shutil.copy2(folder / artifacts[kind], out)) for kind in kinds]
    except OSError as exc:
        raise _unwritable(out, exc) from exc
    if form == "openvino":
        model = out / "model.xml"
        export_openvino(folder / artifacts["onnx"], model)
        config, _ = load_config(folder)
        blocks = load_space(config.space).decode(record.candidate.arch)
        data = load_data(config.data, blocks[0].in_size, config.seed, folder.parent / ".cache")
        network = Network(load_space(config.space).with_data(data.in_chs, data.num_classes).decode(record.candidate.arch))
        network.load_state_dict(load_weights(folder / artifacts["weights"])[0])
        parity = check_openvino(model, Deployed(network, data.mean, data.std), pixels(data))
        facts = {
            "runtime": "openvino",
            "max_error": parity.max_error,
            "agreement": parity.agreement,
            "accuracy": parity.correct / parity.images,
        }
        (out / "check.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        written += [model, model.with_suffix(".bin"), out / "check.json"]
    return written


def _unwritable(out: Path, exc: OSError) -> InputError:
    return InputError(f"cannot write to {out}: {exc.strerror or exc}: choose another --out")
