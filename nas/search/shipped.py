"""The folder that a model's files go out to: it has one model, and its card is of all files that are there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from nas.compress.check import Check
from nas.errors import InputError
from nas.search.card import Figures, Shipment

__all__ = ["CHECK", "INT8_IR", "refuse_other_model", "shipment"]

MODELS = ("model.onnx", "model.dynamic.onnx", "model.int8.onnx", "model.xml")
"""Files that a finalist's card has checks of."""
INT8_IR = ("model.int8.xml", "model.int8.bin")
CHECK = "check.json"
"""How OpenVINO's int8 file was made, and how it does."""
PAPERS = frozenset({"architecture.json", "card.md", CHECK, "labels.txt", "weights.safetensors"})


def refuse_other_model(out: Path, architecture: bytes) -> None:
    """A folder gets files of one model.

    Args:
        architecture: content of the model's architecture.json, which has the checksums of its files.

    Raises:
        InputError: `out` holds files of another model, or of this one as it was trained another time; names them.
    """
    names = sorted(path.name for path in out.iterdir() if _is_ours(path)) if out.is_dir() else []
    there = out / "architecture.json"
    if not names or (there.is_file() and there.read_bytes() == architecture):
        return
    card = out / "card.md"
    first = card.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if card.is_file() else ""
    whose = f" ({first[2:]})" if first.startswith("# ") else ""
    raise InputError(f"{out} holds files of another model{whose}: {', '.join(names)}: choose another --out, or remove them")


def shipment(written: Path, out: Path, figures: Figures) -> Shipment:
    """What a folder has of a model: the files that were written for it, and those of the model that it has already.

    Args:
        written: folder of the new files, which go to `out`.
        figures: of what was written.
    """

    def there(name: str) -> Path | None:
        return next((folder / name for folder in (written, out) if (folder / name).is_file()), None)

    found = Shipment([name for name in (*MODELS, "labels.txt") if there(name)], figures)
    path = there(CHECK)
    if path is None or not there(INT8_IR[0]):
        return found
    told = json.loads(path.read_text(encoding="utf-8"))
    return replace(found, checks=(Check.from_dict(told),), openvino_int8=str(told["how"]))


def _is_ours(path: Path) -> bool:
    return path.name in PAPERS or (path.name.startswith("model.") and path.suffix in (".onnx", ".xml", ".bin"))
