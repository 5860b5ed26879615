"""Exported files against torch, on the same images, in the runtimes that will run them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.compress.check import Check
from nas.errors import TargetError
from nas.hardware.runtimes.onnxruntime import open_session, run_session
from nas.hardware.runtimes.openvino import openvino_errors, shared_core

__all__ = ["TOLERANCE", "Reference", "check_onnx", "check_openvino"]

TOLERANCE = 1e-4
"""Largest absolute difference of logits between torch and a runtime in fp32."""

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True, slots=True)
class Reference:
    """What torch says of some images.

    Attributes:
        batches: gives (pixels 0..1 (batch, chs, size, size), labels) anew each time, so that no set must lie in memory.
        logits: (batch, classes) of each batch.
    """

    batches: Batches
    logits: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, model: nn.Module, batches: Batches) -> Reference:
        with torch.no_grad():
            return cls(batches, tuple(model(pixels).numpy() for pixels, _ in batches()))

    def spread(self, count: int) -> Reference:
        """Some images, one in a batch, for files that take one: evenly from all, for sets are ordered by class."""
        total = sum(map(len, self.logits))
        wanted = set(np.unique(np.linspace(0, total - 1, min(count, total)).astype(int)).tolist())
        singles, logits, begin = [], [], 0
        for (pixels, labels), expected in zip(self.batches(), self.logits, strict=True):
            for i in range(len(labels)):
                if begin + i in wanted:
                    singles.append((pixels[i : i + 1], labels[i : i + 1]))
                    logits.append(expected[i : i + 1])
            begin += len(labels)
        return Reference(lambda: singles, tuple(logits))


def check_onnx(path: Path, reference: Reference, precision: str = "fp32", tolerance: float = TOLERANCE, threads: int = 1) -> Check:
    """Compares ONNX Runtime with torch.

    Args:
        tolerance: of a logit; infinite where files are compared that may differ, as an int8 file may from fp32.

    Raises:
        ModelFileError: it cannot be opened.
        TargetError: a run failed; a logit differs by more, or is not finite.
    """
    import onnxruntime

    session = open_session(path, threads)
    runtime = f"onnxruntime {onnxruntime.__version__}"
    return _compare(path, runtime, precision, reference, tolerance, lambda pixels: run_session(session, path, {"images": pixels})[0])


def check_openvino(path: Path, reference: Reference, precision: str = "fp32", tolerance: float = TOLERANCE) -> Check:
    """Compares OpenVINO on the CPU, floating-point arithmetic pinned to f32, with torch. A fixed batch of the file is opened for it.

    Raises:
        TargetError: OpenVINO cannot open it, or as `check_onnx`.
    """
    import openvino

    core = shared_core()
    with openvino_errors(path, "cannot open it"):
        model = core.read_model(path)
        shape = model.inputs[0].partial_shape
        shape[0] = -1
        model.reshape(shape)
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    runtime = f"openvino {openvino.__version__.split('-')[0]}"

    def infer(pixels: NDArray[np.float32]) -> Any:
        with openvino_errors(path, "failed while running it"):
            return compiled(pixels)[0]

    return _compare(path, runtime, precision, reference, tolerance, infer)


def _compare(
    path: Path, runtime: str, precision: str, reference: Reference, tolerance: float, infer: Callable[[NDArray[np.float32]], Any]
) -> Check:
    worst, agree, correct, total = 0.0, 0, 0, 0
    for pixels, labels, expected in _rows(reference):
        found: NDArray[np.float32] = infer(pixels)
        worst = float(np.maximum(worst, np.abs(found - expected).max()))  # NaN stays NaN
        agree += int((found.argmax(1) == expected.argmax(1)).sum())
        correct += int((found.argmax(1) == labels).sum())
        total += len(labels)
    if not (worst <= tolerance and math.isfinite(worst)):
        raise TargetError(f"{path}: the exported file differs from torch by {worst:.2g}, more than {tolerance:g}")
    return Check(path.name, runtime, precision, worst, agree / total, correct, total)


def _rows(reference: Reference) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]]:
    for (pixels, labels), expected in zip(reference.batches(), reference.logits, strict=True):
        yield np.ascontiguousarray(pixels.numpy()), labels.numpy(), expected
