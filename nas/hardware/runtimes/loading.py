"""Finds a runtime by the name that targets use: an entry point of `nas.runtimes`, and after a hyphen the part of the hardware."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any, cast

from nas.errors import InputError, UnknownNameError
from nas.hardware.runtimes.base import Runtime

__all__ = ["load_runtime", "runtime_names"]

# On a device nothing is installed, so there are no entry points: what the bundle holds.
_BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "onnxruntime": "nas.hardware.runtimes.onnxruntime:OnnxRuntime",
        "openvino": "nas.hardware.runtimes.openvino:OpenVino",
    }
)


def _known() -> dict[str, str]:
    points: Any = metadata.entry_points()
    # Python 3.9 gives a mapping.
    found = points.select(group="nas.runtimes") if hasattr(points, "select") else points.get("nas.runtimes", ())
    return {**_BUNDLED, **{point.name: point.value for point in found}}


def runtime_names() -> list[str]:
    """Names that `load_runtime` takes, without parts of the hardware, sorted."""
    return sorted(_known())


def load_runtime(name: str) -> Runtime:
    """A runtime by name, e.g. "onnxruntime", "openvino-gpu".

    Raises:
        UnknownNameError: no such runtime.
        InputError: its library is not installed here, or has no such part.
    """
    known = _known()
    base, part = (name, "") if name in known else name.partition("-")[::2]
    if base not in known:
        raise UnknownNameError("runtime", name, known)
    module, _, attribute = known[base].partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
        runtime = cast("Runtime", made(part) if part else made())
        runtime.version()
    except ImportError as exc:
        raise InputError(f"{base} is not installed here: python3 -m pip install {exc.name or base}") from exc
    return runtime
