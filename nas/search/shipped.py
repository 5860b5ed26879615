"""The card of a model as it goes out: of the files that go with it, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["FILES_TITLE", "shipped_card"]

FILES_TITLE = "## Files, run on the test images"
"""Of the part of a card that has a row for each file and runtime, its name in the first cell."""
_OPEN_BATCH = "; ["


def shipped_card(text: str, files: Mapping[str, str], rows: Sequence[str] = ()) -> str:
    """A card (`nas.search.card.card`) without the rows of files that stay behind.

    Args:
        files: name on the card to name beside it, of the files that go out.
        rows: of files that were made for this, at the end.
    """
    head, title, table = text.partition(FILES_TITLE)
    if not title:  # somebody else's
        return text
    lines = []
    for line in table.splitlines():
        name = line.split("|")[1].strip() if line.startswith("| ") else ""
        if name not in ("", "file"):
            if name not in files:
                continue
            line = line.replace(f"| {name} |", f"| {files[name]} |", 1)
        lines.append(line)
    if "model.dynamic.onnx" not in files:
        head = "\n".join(_alone(line) for line in head.split("\n"))
    else:
        head = head.replace("in model.dynamic.onnx", f"in {files['model.dynamic.onnx']}")
    return f"{head}{title}" + "\n".join([*lines, *rows]) + "\n"


def _alone(line: str) -> str:
    """The line on the input, without what it says of the file with an open batch."""
    begin, end = line.find(_OPEN_BATCH), line.find(" in model.dynamic.onnx)")
    return line[:begin] + line[end + len(" in model.dynamic.onnx") :] if 0 <= begin < end else line
