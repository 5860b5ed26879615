from __future__ import annotations

import builtins

import pytest

from nas.errors import InputError, UnknownNameError
from nas.hardware.runtimes.base import input_shape
from nas.hardware.runtimes.loading import load_runtime, runtime_names


def test_runtimes_are_found_by_name() -> None:
    assert {"onnxruntime", "openvino"} <= set(runtime_names())
    assert load_runtime("onnxruntime").name == "onnxruntime"
    with pytest.raises(UnknownNameError, match="tflite"):
        load_runtime("tflite-gpu")


def test_a_runtime_whose_library_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "openvino":
            raise ImportError("no module", name=name)
        return original(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install openvino"):
        load_runtime("openvino")


def test_only_the_batch_may_be_open() -> None:
    from pathlib import Path

    assert input_shape(Path("m"), "x", ["batch", 3, 8, 8]) == [1, 3, 8, 8]
    assert input_shape(Path("m"), "x", [None, 10]) == [1, 10]
    with pytest.raises(ValueError, match=r"m: input 'x' is \[batch, 3, h, 8\]"):
        input_shape(Path("m"), "x", ["batch", 3, "h", 8])
