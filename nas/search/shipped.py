"""The folder that a model's files go out to."""

from __future__ import annotations

from pathlib import Path

from nas.errors import InputError

__all__ = ["refuse_other_model"]

PAPERS = frozenset({"architecture.json", "card.md", "check.json", "labels.txt", "weights.safetensors"})


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


def _is_ours(path: Path) -> bool:
    return path.name in PAPERS or (path.name.startswith("model.") and path.suffix in (".onnx", ".xml", ".bin"))
