"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import InputError, ModelFileError, TargetError

__all__ = ["OnnxRuntime", "open_session", "providers", "read_metadata"]

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


class OnnxRuntime:
    """Runs ONNX files with the CPU provider."""

    name = "onnxruntime"

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def precisions(self) -> tuple[str, ...]:
        return ("fp32", "int8")

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        """See `Runtime.open`. The input is random with a fixed seed; dimensions left open in the model are 1."""
        session = open_session(model, threads)
        rng = np.random.default_rng(0)
        feed = {}
        for entry in session.get_inputs():
            dtype = _DTYPES.get(entry.type)
            if dtype is None:
                raise ModelFileError(f"{model}: input {entry.name!r} is {entry.type}: known are {', '.join(_DTYPES)}")
            shape = [size if isinstance(size, int) else 1 for size in entry.shape]
            feed[entry.name] = rng.uniform(0.0, 1.0, shape).astype(dtype)

        def run() -> None:
            try:
                session.run(None, feed)
            except Exception as exc:
                raise TargetError(f"{model}: ONNX Runtime failed while running it: {_first_line(exc)}") from exc

        yield run


def open_session(path: Path, threads: int) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, threads pinned.

    Raises:
        ModelFileError: the file cannot be read, or holds operators that ONNX Runtime does not know.
    """
    import onnxruntime

    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin while a run lasts, as users have it, but not on into the window of another model.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # ONNX Runtime's errors have no common class below Exception
        raise ModelFileError(f"{path}: ONNX Runtime cannot open it: {_first_line(exc)}") from exc


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0][:200] if lines else type(exc).__name__


def read_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself: its metadata_props.

    Raises:
        ModelFileError: the file cannot be read.
    """
    return dict(open_session(path, 1).get_modelmeta().custom_metadata_map)


def providers() -> tuple[str, ...]:
    """Execution providers of the ONNX Runtime that is installed."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())
