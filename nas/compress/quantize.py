"""Static int8: an ONNX file with QDQ nodes, weights per channel (per-tensor weights cost accuracy: FINDINGS 5)."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import MissingExtraError, TargetError
from nas.files import write_atomic

__all__ = ["quantize", "random_images"]


def random_images(shape: tuple[int, ...], batches: int = 2) -> list[NDArray[np.float32]]:
    """Images to calibrate with where only latency counts: it hardly depends on the ranges. Each of `shape`, values 0..1."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.0, 1.0, shape).astype(np.float32) for _ in range(batches)]


def quantize(source: Path, path: Path, images: Iterable[NDArray[np.float32]]) -> None:
    """Writes `path`, the int8 form of an ONNX file of one input. Atomic.

    Activations are unsigned and per tensor, weights signed and per channel, ranges are the extremes seen.

    Args:
        images: (batch, in_chs, height, width) each, values 0..1: what activations are calibrated with.

    Raises:
        MissingExtraError: `onnx` is not installed.
        TargetError: ONNX Runtime cannot quantise it.
    """
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as exc:
        raise MissingExtraError(exc.name or "onnx", "search") from exc
    from nas.hardware.runtimes.onnxruntime import open_session

    name = open_session(source, 1).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> Mapping[str, Any] | None:
            batch = next(self._images, None)
            return None if batch is None else {name: batch}

    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory(prefix="nas-int8-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # It advises, through the root logger, against what is meant here.
        logger.setLevel(logging.ERROR)
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(made), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        except Exception as exc:  # its errors have no common class
            raise TargetError(f"{source}: cannot be quantised: {exc}") from exc
        finally:
            logger.setLevel(level)
        write_atomic(path, made.read_bytes())
