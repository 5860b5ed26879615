"""Target: where a network runs. Predictors, measurements and candidates are keyed by it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from nas.errors import InputError

__all__ = ["PRECISIONS", "Target"]

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Device, runtime, its version, precision and threads: what latency depends on besides the network.

    `runtime_version` is "unknown" where a published source does not state it.
    """

    device: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int

    def __post_init__(self) -> None:
        if not self.device or not self.runtime:
            raise InputError(f"a target needs a device and a runtime, got {self.device!r} and {self.runtime!r}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.threads < 1:
            raise InputError(f"threads must be at least 1, got {self.threads}")

    @property
    def key(self) -> str:
        """Readable identity without the runtime's version, e.g. "raspberrypi4/onnxruntime/fp32/1"."""
        return f"{self.device}/{self.runtime}/{self.precision}/{self.threads}"

    def candidate_id(self, arch_id: str) -> str:
        """Identity of an architecture on this target: `arch_id` and four hex digits of the key's hash."""
        return f"{arch_id}-{hashlib.sha256(self.key.encode()).hexdigest()[:4]}"

    def to_dict(self) -> dict[str, str | int]:
        return {
            "device": self.device,
            "runtime": self.runtime,
            "runtime_version": self.runtime_version,
            "precision": self.precision,
            "threads": self.threads,
        }
