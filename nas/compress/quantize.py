"""Static int8 after training: an ONNX file with QDQ nodes, weights per channel (per-tensor weights cost accuracy: FINDINGS 5).

OpenVINO gets its own, by NNCF where that is installed, else from the same QDQ file.
"""

from __future__ import annotations

import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import InputError, MissingExtraError, TargetError
from nas.files import write_atomic
from nas.hardware.runtimes.onnxruntime import open_session, read_metadata
from nas.hardware.stamp import STAMP

__all__ = ["quantize", "quantize_openvino", "random_images"]

Images = NDArray[np.float32]


def random_images(shape: tuple[int, ...], batches: int = 2) -> list[Images]:
    """Images to calibrate with where only latency counts: it hardly depends on the ranges. Each of `shape`, values 0..1."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.0, 1.0, shape).astype(np.float32) for _ in range(batches)]


def quantize(source: Path, path: Path, images: Iterable[Images]) -> None:
    """Writes `path`, the int8 form of an ONNX file of one input, with the same metadata. Atomic.

    Activations are unsigned and per tensor, weights signed and per channel, ranges are the extremes seen. The arithmetic before the first
    convolution (normalisation) stays in fp32.

    Args:
        images: (batch, in_chs, height, width) each, values 0..1: what activations are calibrated with.

    Raises:
        InputError: no images, or of another shape than the file takes.
        MissingExtraError: `onnx` is not installed.
        TargetError: ONNX Runtime cannot quantise it.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as exc:
        raise MissingExtraError(exc.name or "onnx", "search") from exc

    (entry,) = open_session(source, 1).get_inputs()
    batches = _checked(images, entry.shape, source)
    metadata = read_metadata(source)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(batches)

        def get_next(self) -> Mapping[str, Any] | None:
            batch = next(self._images, None)
            return None if batch is None else {entry.name: batch}

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
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=_before_convolutions(onnx.load(prepared)),
            )  # fmt: skip
        except Exception as exc:  # its errors have no common class
            raise TargetError(f"{source}: cannot be quantised: {exc}") from exc
        finally:
            logger.setLevel(level)
        if STAMP not in metadata:  # not ours
            write_atomic(path, made.read_bytes())
            return
        from nas.hardware.export import save_onnx, slim

        proto = onnx.load(made)
        slim(proto.graph)
        save_onnx(proto, path, {key: value for key, value in metadata.items() if key != STAMP})


def _checked(images: Iterable[Images], shape: Sequence[object], source: Path) -> list[Images]:
    """The calibration images, refused where they cannot calibrate this file."""
    batches = list(images)
    if not sum(len(batch) for batch in batches):
        raise InputError(f"{source}: int8 needs images to calibrate with, and there are none: give some of the training set")
    for batch in batches:
        fits = batch.ndim == len(shape) and all(not isinstance(n, int) or n == have for n, have in zip(shape, batch.shape, strict=False))
        if not fits:
            wanted = ", ".join(str(size) for size in shape)
            raise InputError(f"{source}: takes images [{wanted}], those to calibrate with are {list(batch.shape)}: resize them first")
    return batches


def _before_convolutions(proto: Any) -> list[str]:
    """Names of the nodes that pixels pass on their way to the first convolution: the normalisation."""
    found, tensors = [], {value.name for value in proto.graph.input}
    for node in proto.graph.node:
        if node.op_type in ("Sub", "Mul", "Add", "Div") and tensors & set(node.input):
            found.append(node.name)
            tensors |= set(node.output)
    return found


def quantize_openvino(source: Path, path: Path, images: Sequence[Images]) -> None:
    """Writes `path` (.xml) and its .bin, the int8 form of an OpenVINO file, by NNCF's post-training quantisation.

    Args:
        images: (batch, in_chs, height, width) each, values 0..1; used one by one where the file takes one.

    Raises:
        InputError: no images, or of another shape than the file takes.
        MissingExtraError: `nncf` is not installed.
        TargetError: OpenVINO cannot read it, or NNCF does not load or cannot quantise it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            import nncf
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "nncf", "nncf") from exc
    except Exception as exc:  # whatever its dependencies make of each other's versions
        raise TargetError(f"NNCF does not load: {' '.join(str(exc).split())[:200]}") from exc
    import openvino

    from nas.hardware.runtimes.openvino import openvino_errors, shared_core

    with openvino_errors(source, "cannot read it"):
        model = shared_core().read_model(source)
    shape = [size.get_length() if size.is_static else "batch" for size in model.inputs[0].partial_shape]
    one = isinstance(shape[0], int)
    split = [image[None] for batch in images for image in batch] if one else list(images)
    batches = _checked(split, shape, source)
    nncf.set_log_level(logging.ERROR)
    progress = sys.stderr if sys.stderr.isatty() else io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(progress):  # it draws it where a command's answer goes
            warnings.simplefilter("ignore")
            made = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(made, path, compress_to_fp16=False)
    except Exception as exc:  # its errors have no common class
        raise TargetError(f"{source}: NNCF cannot quantise it: {' '.join(str(exc).split())[:200]}") from exc
