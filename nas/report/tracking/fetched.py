"""A registered model as files in a folder, for `nas export models:/NAME@ALIAS`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from nas.files import whole_folder
from nas.report.tracking.registry import Fetched
from nas.search.card import OF_SMALL_FILE, CardFacts, Description, Figures, card
from nas.search.shipped import refuse_other_model, shipment

__all__ = ["write_fetched"]

LABELS = "labels.txt"


def write_fetched(fetched: Fetched, out: Path) -> list[Path]:
    """Writes the model, its card, architecture and labels to `out`: all of them, or none.

    A folder that has files of the same model keeps them, and the card is of them all; its figures are of what was written last.

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
        if told := _card(fetched, temporary, out):
            (temporary / fetched.files["card"].name).write_text(told, encoding="utf-8")
        written = sorted(path.name for path in temporary.iterdir())
    return [out / name for name in written]


def _card(fetched: Fetched, written: Path, out: Path) -> str:
    """Of what goes out, and of what is there already; empty where an earlier version registered it, without card.json: it keeps the card
    that it has."""
    paths, candidate = fetched.files, fetched.candidate.candidate
    facts = CardFacts.read(paths["facts"], candidate.id) if {"card", "facts", "architecture"} <= paths.keys() else None
    if facts is None:
        return ""
    dropped = OF_SMALL_FILE | ({"accuracy_validation"} if candidate.target.precision == "int8" else frozenset())  # of it before rounding
    figures = Figures(f"Of {fetched.original} on {candidate.target.key}.", dropped)
    model = Description.read(paths["architecture"])
    return card(facts.figures_of(candidate), facts, model, shipment(written, out, figures, model))
