"""A checksum inside an ONNX file, so that the file alone tells whether it was edited after its export. Needs no `onnx`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

__all__ = ["STAMP", "UNSTAMPED", "is_as_exported", "stamped"]

STAMP = "sha256"
"""Key of the file's metadata."""
UNSTAMPED = "0" * 64
# A metadata entry as ONNX's protocol buffers write it: field 1, the key; field 2, a value of 64 characters.
_ENTRY = re.compile(rb"\n\x06sha256\x12@([0-9a-f]{64})")


def stamped(content: bytes) -> bytes:
    """A serialised model whose metadata holds `STAMP: UNSTAMPED`, with the SHA-256 of that content in its place.

    Raises:
        ValueError: the entry is not there once.
    """
    places = list(_ENTRY.finditer(content))
    if len(places) != 1:
        raise ValueError(f"a model has one {STAMP} entry to stamp, this one has {len(places)}")
    start, end = places[0].span(1)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[end:]


def is_as_exported(path: Path) -> bool | None:
    """Whether a file is what it was when it was stamped; None where it carries no stamp."""
    content = path.read_bytes()
    places = list(_ENTRY.finditer(content))
    if len(places) != 1:
        return None
    start, end = places[0].span(1)
    return hashlib.sha256(content[:start] + UNSTAMPED.encode() + content[end:]).hexdigest().encode() == places[0].group(1)
