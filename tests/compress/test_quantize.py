from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nas.compress.quantize import quantize, quantize_openvino, random_images
from nas.errors import InputError, MissingExtraError, ModelFileError, TargetError
from nas.hardware.export import export_openvino
from nas.hardware.runtimes.openvino import OpenVino
from tests.hardware.models import onnx, write_model


def test_weights_are_quantised_per_channel(tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize(write_model(tmp_path / "fp32.onnx"), path, random_images((1, 3, 8, 8)))
    proto = onnx.load(path)
    weights = [init for init in proto.graph.initializer if init.data_type == onnx.TensorProto.INT8 and len(init.dims) == 4]
    assert [list(each.dims) for each in weights] == [[4, 3, 3, 3]]
    assert any(list(init.dims) == [4] and init.data_type == onnx.TensorProto.FLOAT for init in proto.graph.initializer)
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= {node.op_type for node in proto.graph.node}


def test_random_images_are_the_same_ones() -> None:
    first, again = random_images((2, 3, 4, 4)), random_images((2, 3, 4, 4))
    assert len(first) == 2
    np.testing.assert_array_equal(first[1], again[1])
    assert first[0].dtype == np.float32


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"x")
    with pytest.raises(ModelFileError, match="bad"):
        quantize(tmp_path / "bad.onnx", tmp_path / "int8.onnx", random_images((1, 3, 8, 8)))
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "there are none"),
        ([np.zeros((0, 3, 8, 8), np.float32)], "there are none"),
        ([np.zeros((1, 3, 9, 8), np.float32)], r"takes images \[batch, 3, 8, 8\], those to calibrate with are \[1, 3, 9, 8\]"),
        ([np.zeros((3, 8, 8), np.float32)], "resize them"),
    ],
)
def test_images_that_cannot_calibrate_are_refused(images: list[np.ndarray], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        quantize(write_model(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx", images)
    assert not (tmp_path / "int8.onnx").exists()


def test_nncf_quantises_for_openvino(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nncf")
    export_openvino(write_model(tmp_path / "fp32.onnx"), tmp_path / "model.xml")
    quantize_openvino(tmp_path / "model.xml", tmp_path / "int8.xml", random_images((2, 3, 8, 8)))
    assert capfd.readouterr() == ("", "")  # its progress is for a terminal
    assert OpenVino().inspect(tmp_path / "int8.xml", 1).precision == "int8"
    with pytest.raises(InputError, match="there are none"):
        quantize_openvino(tmp_path / "model.xml", tmp_path / "int8.xml", [])


def test_nncf_that_is_absent_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"hwnas\[nncf\]"):
        quantize_openvino(tmp_path / "model.xml", tmp_path / "int8.xml", random_images((2, 3, 8, 8)))


def test_nncf_that_does_not_load_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for error in ("AttributeError('module numpy has no attribute bool8')", "ImportError('cannot import name bool8')"):
        (tmp_path / "nncf.py").write_text(f"raise {error}")
        with pytest.raises(TargetError, match=r"NNCF does not load: .*bool8"):
            quantize_openvino(tmp_path / "model.xml", tmp_path / "int8.xml", random_images((2, 3, 8, 8)))


def test_a_file_that_openvino_cannot_read_is_named(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    (tmp_path / "bad.xml").write_text("no model")
    with pytest.raises(TargetError, match=r"bad\.xml: OpenVINO cannot read it: "):
        quantize_openvino(tmp_path / "bad.xml", tmp_path / "int8.xml", random_images((2, 3, 8, 8)))
    assert not (tmp_path / "int8.xml").exists()
