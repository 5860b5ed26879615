"""The folder that a model's files go out to: it has one model, and its card is of all files that are there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from nas.compress.check import Check
from nas.errors import InputError
from nas.files import digest_of, write_atomic
from nas.search.card import Description, Figures, Shipment

__all__ = ["CHECK", "INT8_IR", "refuse_other_model", "refuse_study", "shipment", "write_check"]

MODELS = ("model.onnx", "model.dynamic.onnx", "model.int8.onnx", "model.xml")
"""Files that a finalist's card has checks of."""
INT8_IR = ("model.int8.xml", "model.int8.bin")
CHECK = "check.json"
"""How OpenVINO's int8 file was made, how it does, and which file that is."""
SCHEMA = 1
"""Version of check.json."""
DESCRIBED = "architecture.json"
PAPERS = frozenset({DESCRIBED, "card.md", CHECK, "labels.txt", "weights.safetensors"})


def refuse_study(out: Path, runs: Path) -> None:
    """A study's folder is no place for what goes out: what it keeps there would be overwritten, or be taken for its own.

    Args:
        runs: folder of all studies. One of them is a folder with a config.json.

    Raises:
        InputError: `out` is such a folder, or in one.
    """
    place, studies = out.resolve(), runs.resolve()
    for folder in (place, *place.parents):
        if folder.parent == studies and (folder / "config.json").is_file():
            raise InputError(f"--out {out} is in {folder}, which is the folder of a study: choose another folder")


def refuse_other_model(out: Path, architecture: bytes) -> None:
    """A folder gets files of one model.

    Args:
        architecture: content of the model's architecture.json, which has the checksums of its files.

    Raises:
        InputError: `out` holds files of another model, or of this one as it was trained another time; names them.
    """
    names = sorted(path.name for path in out.iterdir() if _is_ours(path)) if out.is_dir() else []
    there = out / DESCRIBED
    if not names or (there.is_file() and there.read_bytes() == architecture):
        return
    card = out / "card.md"
    first = card.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if card.is_file() else ""
    whose = f" ({first[2:]})" if first.startswith("# ") else ""
    raise InputError(f"{out} holds files of another model{whose}: {', '.join(names)}: choose another --out, or remove them")


def shipment(written: Path, out: Path, figures: Figures, model: Description) -> Shipment:
    """What a folder has of a model: the files that were written for it, and those of the model that it has already.

    Args:
        written: folder of the new files, which go to `out`.
        figures: of what was written.

    Raises:
        InputError: a file that `out` has already is not the one that was exported: the card would vouch for it. Names it.
    """

    def there(name: str) -> Path:
        return next((folder / name for folder in (written, out) if (folder / name).is_file()), out / name)

    for name in sorted({*MODELS, *model.files}):
        if model.files and there(name).parent == out and there(name).is_file() and digest_of(out / name) != model.files.get(name):
            raise InputError(f"{out / name}: was changed since it was exported: remove it, or choose another --out")
    found = Shipment([name for name in (*MODELS, "labels.txt") if there(name).is_file()], figures)
    path = there(CHECK)
    if not path.is_file() or not there(INT8_IR[0]).is_file():
        return found
    check, how, files = _read_check(path)
    for name, digest in files.items():
        if not there(name).is_file() or digest_of(there(name)) != digest:
            raise InputError(f"{path}: is not of the {name} beside it: {_anew(path)}")
    return replace(found, checks=(check,), openvino_int8=how)


def write_check(folder: Path, check: Check, how: str) -> None:
    """Writes check.json beside OpenVINO's int8 file and the architecture.json of its network, with their checksums.

    Args:
        how: the file was made.
    """
    files = {name: digest_of(folder / name) for name in (*INT8_IR, DESCRIBED)}
    told = {"schema": SCHEMA, "how": how, **check.to_dict(), "files": files}
    write_atomic(folder / CHECK, json.dumps(told, indent=1) + "\n")


def _read_check(path: Path) -> tuple[Check, str, dict[str, str]]:
    """A check, how its file was made, and name to checksum of what it is of: of nothing where an earlier version wrote it."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise InputError(f"it must be an object, got {type(told).__name__}")
        if told["schema"] != SCHEMA:
            raise InputError(f"schema {told['schema']!r}, this version reads {SCHEMA}: upgrade hwnas")
        return Check.from_dict(told), str(told["how"]), {**told.get("files", {})}
    except (KeyError, TypeError, ValueError) as exc:  # InputError is a ValueError
        why = f"{exc} is missing" if isinstance(exc, KeyError) else exc
        raise InputError(f"{path}: was changed since it was exported ({why}): {_anew(path)}") from exc


def _anew(path: Path) -> str:
    """What to do about a check.json that says nothing of the file beside it."""
    return f"remove {', '.join((path.name, *INT8_IR))}, or choose another --out"


def _is_ours(path: Path) -> bool:
    return path.name in PAPERS or (path.name.startswith("model.") and path.suffix in (".onnx", ".xml", ".bin"))
