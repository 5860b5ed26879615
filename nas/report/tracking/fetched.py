"""A registered model as files in a folder, for `nas export models:/NAME@ALIAS`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from nas.files import whole_folder
from nas.report.tracking.registry import Fetched
from nas.search.card import OF_SMALL_FILE, CardFacts, Description, Figures, Shipment, card
from nas.search.shipped import refuse_other_model

__all__ = ["write_fetched"]

LABELS = "labels.txt"


def write_fetched(fetched: Fetched, out: Path) -> list[Path]:
    """Writes the model, its card, architecture and labels to `out`: all of them, or none.

    Returns:
        what was written.

    Raises:
        InputError: `out` cannot be written to, or has files of another model.
    """
    described = fetched.files["architecture"].read_bytes() if "architecture" in fetched.files else b"{}"
    with whole_folder(out) as temporary:
        refuse_other_model(out, described)
        if classes := json.loads(described).get("classes"):
            (temporary / LABELS).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        for kind, source in fetched.files.items():
            if kind != "facts":
                name = fetched.original if kind == "onnx" else source.name  # by the name that its checksum has
                shutil.copyfile(source, temporary / name)
        if told := _card(fetched, [fetched.original, *([LABELS] if classes else [])]):
            (temporary / fetched.files["card"].name).write_text(told, encoding="utf-8")
        written = sorted(path.name for path in temporary.iterdir())
    return [out / name for name in written]


def _card(fetched: Fetched, files: Collection[str]) -> str:
    """Of what goes out; empty where an earlier version registered it, without card.json: it keeps the card that it has."""
    paths, candidate = fetched.files, fetched.candidate.candidate
    facts = CardFacts.read(paths["facts"]) if {"card", "facts", "architecture"} <= paths.keys() else None
    if facts is None:
        return ""
    dropped = OF_SMALL_FILE | ({"accuracy_validation"} if candidate.target.precision == "int8" else frozenset())  # of it before rounding
    figures = Figures(f"Of {fetched.original} on {candidate.target.key}.", dropped)
    return card(candidate, facts, Description.read(paths["architecture"]), Shipment(files, figures))
