"""A user's own model as a teacher: understood whatever it wants, refused where it cannot teach."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from nas.errors import ModelFileError
from nas.hardware.export import Deployed, deployment_metadata, export_onnx
from nas.models.network import Network, recalibrate
from nas.training.batches import tensors
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import calibration_images
from nas.training.teacher import NetworkTeacher, open_teacher
from tests.spaces import make_space


def centroids(data: ImageData) -> np.ndarray:
    """A linear classifier of digits that is right on most of them: (pixels, classes) and, below, a bias for each class."""
    pixels = data.train.images.reshape(len(data.train), -1) / 255
    means = np.stack([pixels[data.train.labels == label].mean(axis=0) for label in range(data.num_classes)])
    return np.concatenate([means.T * 2, -(means**2).sum(axis=1)[None]]).astype(np.float32)


def save(
    path: Path, weights: np.ndarray, shape: Sequence[int | str], scale: float = 1.0, shift: float = 0.0, softmax: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Pixels, of which `scale` * pixels + `shift` are 0..1, through the linear classifier."""
    numbers = {"scale": scale, "shift": shift}
    initialisers = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in numbers.items()]
    initialisers += [numpy_helper.from_array(weights[:-1], "weights"), numpy_helper.from_array(weights[-1], "bias")]
    nodes = [
        helper.make_node("Mul", ["images", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["pixels"]),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        helper.make_node("Softmax" if softmax else "Identity", ["scores"], ["out"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, list(shape))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes, "teacher", [images], [out], initialisers), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path


def knowledge(teacher: object, data: ImageData) -> float:
    images, labels = next(tensors(data.search_validation, data.mean, data.std, 360))
    return float((teacher(images).argmax(1) == labels).float().mean())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("scale", "shift", "words"),
    [(1.0, 0.0, "pixels 0..1"), (1 / 255, 0.0, "pixels 0..255"), (0.5, 0.5, "pixels -1..1"), (None, None, "of the training images")],
)
@pytest.mark.parametrize("shape", [("batch", 1, 8, 8), (7, 1, 8, 8), (1, 8, 8, 1)])
def test_what_it_wants_is_found_out(
    digits: ImageData, tmp_path: Path, scale: float | None, shift: float | None, words: str, shape: tuple[int | str, ...]
) -> None:
    """Pixels in any scale, channels first or last, any batch."""
    scale, shift = (digits.std[0], digits.mean[0]) if scale is None or shift is None else (scale, shift)
    teacher = open_teacher(save(tmp_path / "t.onnx", centroids(digits), shape, scale, shift), digits, 1)
    assert words in teacher.scaling
    assert teacher.accuracy > 0.8
    assert knowledge(teacher, digits) > 0.8


def test_it_gives_probabilities_of_logits_and_of_probabilities(digits: ImageData, tmp_path: Path) -> None:
    teachers = [
        open_teacher(save(tmp_path / f"{softmax}.onnx", centroids(digits), ("n", 1, 8, 8), softmax=softmax), digits, 1)
        for softmax in (True, False)
    ]
    images, _ = next(tensors(digits.search_validation, digits.mean, digits.std, 20))
    found = [teacher(images) for teacher in teachers]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0].sum(dim=1), torch.ones(20))


def test_a_file_of_ours_is_taken_as_it_was_written(digits: ImageData, tmp_path: Path) -> None:
    """Pixels 0..1, nothing else is tried. An untrained network knows nothing, so it may not teach."""
    space = make_space()
    torch.manual_seed(0)
    network = Network(space.decode(space.largest))
    recalibrate(network, calibration_images(digits))
    path, facts = tmp_path / "ours.onnx", deployment_metadata(space.largest, digits.classes, digits.mean, digits.std, digits.size)
    export_onnx(Deployed(network, digits.mean, digits.std), network.blocks, path, facts)
    with pytest.raises(ModelFileError, match=r"ours\.onnx: classifies \d+% of \d+ training images right \(tried pixels 0\.\.1\)"):
        open_teacher(path, digits, 1)


def test_classes_in_another_order_are_put_right(digits: ImageData, tmp_path: Path) -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    path, weights = tmp_path / "t.onnx", centroids(digits)[:, order]
    named = {"classes": json.dumps([str(label) for label in order])}
    assert knowledge(open_teacher(save(path, weights, ("n", 1, 8, 8), metadata=named), digits, 1), digits) > 0.8
    with pytest.raises(ModelFileError, match=r"are its classes 0, 1, 2, 3, \.\.\. in this order"):
        open_teacher(save(path, weights, ("n", 1, 8, 8)), digits, 1)
    with pytest.raises(ModelFileError, match=r"is a classifier for cat, dog, .* not for 0, 1, 2, 3"):
        open_teacher(save(path, weights, ("n", 1, 8, 8), metadata={"classes": json.dumps(["cat", "dog", *"abcdefgh"])}), digits, 1)


@pytest.mark.parametrize("said", ["10", '{"0": "zero"}', "null", '["zero", 1]', "ten"])
def test_what_others_call_classes_is_not_taken_for_names(digits: ImageData, tmp_path: Path, said: str) -> None:
    path = save(tmp_path / "t.onnx", centroids(digits), ("n", 1, 8, 8), metadata={"classes": said})
    assert knowledge(open_teacher(path, digits, 1), digits) > 0.8


def test_another_number_of_classes_is_refused(digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"few\.onnx: tells 7 classes apart, the images of digits have 10"):
        open_teacher(save(tmp_path / "few.onnx", centroids(digits)[:, :7], ("n", 1, 8, 8)), digits, 1)


def test_other_inputs_are_refused(digits: ImageData, tmp_path: Path) -> None:
    coloured = save(tmp_path / "coloured.onnx", np.ones((3 * 64 + 1, 10), np.float32), ("n", 3, 8, 8))
    with pytest.raises(ModelFileError, match=r"one input tensor\(float\) \[batch, 1, height, width\], this one has .*3, 8, 8"):
        open_teacher(coloured, digits, 1)
    (tmp_path / "text.onnx").write_text("no model")
    for name in ("text.onnx", "absent.onnx"):
        with pytest.raises(ModelFileError, match=name):
            open_teacher(tmp_path / name, digits, 1)


def test_a_network_teaches_at_its_own_resolution(digits: ImageData) -> None:
    space = make_space(resolution=12)
    torch.manual_seed(0)
    network = Network(space.decode(space.largest))
    recalibrate(network, [torch.randn(8, 1, 12, 12)])
    images, _ = next(tensors(digits.search_validation, digits.mean, digits.std, 5))
    found = NetworkTeacher(network)(images)
    assert found.shape == (5, 10)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5))


def test_few_images_are_enough_to_try_it(digits: ImageData, tmp_path: Path) -> None:
    one_each = [int(np.flatnonzero(digits.train.labels == label)[0]) for label in range(10)]
    few = dataclasses.replace(digits, train=ImageSet(digits.train.images[one_each], digits.train.labels[one_each]))
    assert open_teacher(save(tmp_path / "t.onnx", centroids(digits), ("n", 1, 8, 8)), few, 1).accuracy >= 0.8
