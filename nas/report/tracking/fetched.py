"""A registered model as files in a folder, for `nas export models:/NAME@ALIAS`."""

from __future__ import annotations

import json
from pathlib import Path

from nas.files import whole_folder
from nas.report.tracking.registry import Fetched
from nas.search.shipped import OF_SMALL_FILE, Figures, refuse_other_model, shipped_card

__all__ = ["write_fetched"]

LABELS = "labels.txt"


def write_fetched(fetched: Fetched, out: Path) -> list[Path]:
    """Writes the model, its card, architecture and labels to `out`: all of them, or none.

    Returns:
        what was written.

    Raises:
        InputError: `out` cannot be written to, or has files of another model.
    """
    target = fetched.candidate.candidate.target
    dropped = OF_SMALL_FILE | ({"accuracy_validation"} if target.precision == "int8" else frozenset())  # of the network before rounding
    figures = Figures(f"Of {fetched.original} on {target.key}.", dropped)
    described = fetched.files["architecture"].read_bytes() if "architecture" in fetched.files else b"{}"
    with whole_folder(out) as temporary:
        refuse_other_model(out, described)
        if classes := json.loads(described).get("classes"):
            (temporary / LABELS).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        names = [fetched.original, *([LABELS] if classes else [])]
        for kind, source in fetched.files.items():
            content = source.read_bytes()
            told = shipped_card(content.decode(), names, figures).encode() if kind == "card" else content
            (temporary / (fetched.original if kind == "onnx" else source.name)).write_bytes(told)  # by the name that its checksum has
        written = sorted(path.name for path in temporary.iterdir())
    return [out / name for name in written]
