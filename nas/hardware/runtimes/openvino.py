"""OpenVINO: the CPU, and GPU or NPU by name where the machine has them ("openvino-gpu"). Reads ONNX files and its own IR (.xml).

The precision is pinned: left alone, OpenVINO takes bf16 on processors that have it (FINDINGS 5).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import InputError, ModelFileError, TargetError
from nas.hardware.runtimes.base import Inspection, check_threads, count_ops, input_shape

__all__ = ["OpenVino", "openvino_errors", "shared_core"]

_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
_HEAVY = {"Convolution", "FullyConnected", "MatMul", "Deconvolution", "GroupConvolution"}
_SILENT = {"Const", "Input", "Output", "Parameter", "Result", "Constant"}


class OpenVino:
    """Runs models with one device of OpenVINO, one stream.

    Args:
        part: "gpu" or "npu"; the CPU by default.
    """

    def __init__(self, part: str = "") -> None:
        self.name = f"openvino-{part}" if part else "openvino"
        self._device = part.upper() or "CPU"

    def version(self) -> str:
        from importlib import metadata

        import openvino

        try:
            return metadata.version("openvino")
        except metadata.PackageNotFoundError:
            return str(openvino.__version__).split("-", 1)[0]

    def precisions(self) -> tuple[str, ...]:
        return ("fp32", "int8")

    def inspect(self, model: Path, threads: int) -> Inspection:
        """See `Runtime.inspect`: the compiled graph names the kernel and the precision of each of its nodes."""
        loaded = self._read(model)
        compiled = self._compile(loaded, model, threads)
        nodes = []
        for node in compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            nodes.append(tuple(_word(info, key) for key in ("layerType", "runtimePrecision", "primitiveType")))
        ops = Counter(layer for layer, _, _ in nodes if layer not in _SILENT)
        heavy = Counter(_NAMES.get(precision, precision) for layer, precision, _ in nodes if layer in _HEAVY)
        used = heavy.most_common(1)[0][0] if heavy else "fp32"
        away = Counter(f"{layer} by a reference kernel" for layer, _, kernel in nodes if kernel.startswith("ref"))
        if used == "int8":
            away.update(f"{layer} in fp32" for layer, precision, _ in nodes if layer in _HEAVY and precision == "f32")
        return Inspection(used, count_ops(ops), tuple(f"{n} {what}" for what, n in count_ops(away)))

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        """See `Runtime.open`. The input is random with a fixed seed."""
        compiled = self._compile(self._read(model), model, threads)
        request = compiled.create_infer_request()
        rng = np.random.default_rng(0)
        for index, port in enumerate(compiled.inputs):
            values = rng.uniform(0.0, 1.0, list(port.shape)).astype(port.element_type.to_dtype())
            request.set_input_tensor(index, _tensor(values))

        def run() -> None:
            try:
                request.infer()
            except RuntimeError as exc:
                raise TargetError(f"{model}: OpenVINO failed while running it: {_first_line(exc)}") from exc

        yield run

    def _read(self, model: Path) -> Any:
        if not model.is_file():
            raise ModelFileError(f"{model}: there is no such file")
        core = shared_core()
        if self._device not in {name.split(".")[0] for name in core.available_devices}:
            raise InputError(f"OpenVINO finds {', '.join(core.available_devices)} on this machine, not {self._device}")
        try:
            loaded = core.read_model(str(model))
            shapes = {}
            for index, port in enumerate(loaded.inputs):
                sizes = [size.get_length() if size.is_static else "?" for size in port.partial_shape]
                shapes[index] = input_shape(model, port.any_name if port.names else str(index), sizes)
            loaded.reshape(shapes)
        except RuntimeError as exc:
            raise ModelFileError(f"{model}: OpenVINO cannot open it: {_first_line(exc)}") from exc
        return loaded

    def _compile(self, loaded: Any, model: Path, threads: int) -> Any:
        check_threads(threads)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self._device == "CPU":
            # Threads keep to the cores that the caller pinned them to.
            settings.update({"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False})
        try:
            return shared_core().compile_model(loaded, self._device, settings)
        except RuntimeError as exc:
            raise ModelFileError(f"{model}: OpenVINO cannot compile it: {_first_line(exc)}") from exc


@functools.cache
def shared_core() -> Any:
    """One for the process. OpenVINO's CPU plugin gives the calling thread a signal stack of its own and takes it back with its core.

    Where the lives of two cores overlap, what is left is an unmapped stack, and the next signal ends the process.
    """
    import openvino

    return openvino.Core()


@contextmanager
def openvino_errors(model: Path, failed: str) -> Iterator[None]:
    """What OpenVINO raises as an error that names the model.

    Args:
        failed: what it did not do, e.g. "cannot read it".

    Raises:
        TargetError: it failed.
    """
    try:
        yield
    except RuntimeError as exc:
        raise TargetError(f"{model}: OpenVINO {failed}: {_first_line(exc)}") from exc


def _tensor(values: Any) -> Any:
    import openvino

    return openvino.Tensor(values)


def _word(info: Any, key: str) -> str:
    """A value of a node's runtime information; empty where the device does not give it."""
    try:
        return str(info[key].astype(str))
    except (KeyError, RuntimeError):
        return ""


def _first_line(exc: Exception) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (told or lines or [type(exc).__name__])[0][:200]
