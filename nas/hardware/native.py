"""Which operators of a network a runtime does not run natively in a precision: each is a fallback that no latency model has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import get_args

from nas.architecture import ACTIVATIONS, BlockSpec
from nas.ops import OpKind, lower

__all__ = ["OPERATORS", "foreign_operators"]

OPERATORS = frozenset({*get_args(OpKind), *ACTIVATIONS, "depthwise"}) - {"none"}
"""What a profile may name."""
KNOWN: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType({("onnxruntime", "int8"): ("hardsigmoid", "hardswish")})
"""By runtime and precision, on every device: what `Runtime.inspect` said of ONNX Runtime 1.31, CPU provider: both become a HardSigmoid in
fp32 between two conversions."""


def foreign_operators(blocks: Iterable[BlockSpec], runtime: str, precision: str, named: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Operators of these blocks that do not run natively, sorted.

    Args:
        named: by precision, what the device's profile says of the runtime.
    """
    away = {*KNOWN.get((runtime, precision), ()), *named.get(precision, ())}
    used = set()
    for op in lower(blocks):
        used |= {"depthwise" if op.is_depthwise else op.kind, op.act}
    return tuple(sorted(away & used))
