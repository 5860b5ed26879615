"""ONNX Runtime: the CPU provider, and others by name where the installed build has them ("onnxruntime-xnnpack")."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import InputError, ModelFileError, TargetError
from nas.hardware.runtimes.base import Inspection, check_threads, count_ops, input_shape

__all__ = ["OnnxRuntime", "open_session", "providers", "read_metadata", "run_session"]

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
_CPU = "CPUExecutionProvider"
# Where the work is: these decide the precision that a model really runs in. A name with Q or Integer in it runs on 8-bit numbers.
_HEAVY = {"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "NhwcFusedConv", "NhwcConv"}
_HEAVY_INT8 = {"QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
_INT8 = _HEAVY_INT8 | {"QuantizeLinear", "DequantizeLinear"}
# Operators that only move data: fp32 around them says nothing of a quantised model.
_MOVES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "ReorderInput", "ReorderOutput", "Identity", "Concat", "Slice"}


class OnnxRuntime:
    """Runs ONNX files.

    Args:
        part: provider by its name without "ExecutionProvider", in lower case, e.g. "xnnpack" or "cuda"; the CPU's by default.
    """

    def __init__(self, part: str = "") -> None:
        self.name = f"onnxruntime-{part}" if part else "onnxruntime"
        self._part = part

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def precisions(self) -> tuple[str, ...]:
        return ("fp32",) if self._part else ("fp32", "int8")

    def inspect(self, model: Path, threads: int) -> Inspection:
        """See `Runtime.inspect`: a profile of one run says which kernel ran each node, and where."""
        import onnxruntime

        with tempfile.TemporaryDirectory(prefix="nas-profile-") as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(model, threads, options)
            run_session(session, model, _feed(session, model))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes = [each["args"] for each in events if each.get("cat") == "Node" and "op_name" in each.get("args", {})]
        ops = Counter(str(node["op_name"]) for node in nodes)
        provider = self._provider()
        away = Counter(f"{node['op_name']} on {node['provider']}" for node in nodes if node.get("provider", provider) != provider)
        int8 = sum(ops[op] for op in _HEAVY_INT8)
        heavy = sum(ops[op] for op in _HEAVY)
        if int8:
            quantised = {op: n for op, n in ops.items() if op not in _INT8 and op not in _MOVES and not op.startswith("QLinear")}
            away.update({f"{op} in fp32": n for op, n in quantised.items()})
        return Inspection("int8" if int8 > heavy else "fp32", count_ops(ops), tuple(f"{n} {what}" for what, n in count_ops(away)))

    @contextmanager
    def open(self, model: Path, threads: int) -> Iterator[Callable[[], None]]:
        """See `Runtime.open`. The input is random with a fixed seed."""
        session = self._session(model, threads)
        feed = _feed(session, model)
        yield lambda: run_session(session, model, feed)

    def _provider(self) -> str:
        if not self._part:
            return _CPU
        known = {name.replace("ExecutionProvider", "").lower(): name for name in providers()}
        if self._part not in known:
            raise InputError(f"this build of ONNX Runtime has {', '.join(sorted(known))}, not {self._part!r}")
        return known[self._part]

    def _session(self, model: Path, threads: int, options: Any = None) -> Any:
        provider = self._provider()
        return open_session(model, threads, options, (provider,) if provider == _CPU else (provider, _CPU))


def _feed(session: Any, model: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    feed = {}
    for entry in session.get_inputs():
        dtype = _DTYPES.get(entry.type)
        if dtype is None:
            raise ModelFileError(f"{model}: input {entry.name!r} is {entry.type}: known are {', '.join(_DTYPES)}")
        feed[entry.name] = rng.uniform(0.0, 1.0, input_shape(model, entry.name, entry.shape)).astype(dtype)
    return feed


def run_session(session: Any, model: Path, feed: Mapping[str, Any]) -> Any:
    """The outputs of a run, in their order.

    Raises:
        TargetError: it failed.
    """
    try:
        return session.run(None, feed)
    except Exception as exc:
        raise TargetError(f"{model}: ONNX Runtime failed while running it: {_first_line(exc)}") from exc


def open_session(path: Path, threads: int, options: Any = None, order: tuple[str, ...] = (_CPU,)) -> Any:
    """An `onnxruntime.InferenceSession`, threads pinned.

    Args:
        options: `onnxruntime.SessionOptions` to begin with.
        order: execution providers, the preferred one first.

    Raises:
        ModelFileError: the file cannot be read, or holds operators that ONNX Runtime does not know.
    """
    import onnxruntime

    check_threads(threads)
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin while a run lasts, as users have it, but not on into the window of another model.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(order))
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
