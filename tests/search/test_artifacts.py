"""The files of a model that ships: an independent script finds in them what the record says; what differs is refused by name."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import nas.bench.check_export as script
from nas.compress import parity
from nas.compress.check import Check
from nas.compress.int8 import TEST_BATCH_BYTES, calibration_pixels, labels_alone, pixels_of
from nas.config import TrainRecipe
from nas.errors import InputError, StoppedError, TargetError
from nas.files import whole_folder
from nas.hardware.export import export_openvino
from nas.hardware.runtimes.openvino import shared_core
from nas.metrics import Candidate, Metric
from nas.models.network import Network, recalibrate
from nas.search.artifacts import FILES, ArtifactMaker, Artifacts, copy_artifacts
from nas.search.card import CardFacts, Description, Figures, Origin, Shipment, card
from nas.search.shipped import write_check
from nas.target import Target
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import calibration_images
from nas.training.finetune import fit
from nas.training.images import SUFFIXES
from nas.training.pixels import read_picture
from tests.pictures import save_test_images
from tests.spaces import make_space

RECIPE = TrainRecipe(batch_size=64, epochs=2, finetune_epochs=2, finetune_lr=0.2, flip=False, augment=False)
ALLOWED = {"onnxruntime", "openvino", "numpy", "PIL"}
FACTS = CardFacts("8px", "digits", "0123456789ab", "a note")
METRICS = {"latency_s": Metric(0.002, "s", "predicted", low=0.001, high=0.003)}
CANDIDATE = Candidate(make_space().largest, Target("raspberrypi4", "onnxruntime", "1", "fp32", 1), METRICS)


@pytest.fixture(scope="module")
def network(digits: ImageData) -> Network:
    space = make_space()
    torch.manual_seed(0)
    made = Network(space.decode(space.largest))
    recalibrate(made, calibration_images(digits))
    fit(made, None, digits, RECIPE, 0, epochs=2, lr=0.2)
    return made


def write(folder: Path, network: Network, data: ImageData) -> Artifacts:
    arch = make_space().largest
    folder.mkdir(parents=True, exist_ok=True)
    return ArtifactMaker(data, RECIPE, 0).write(folder, network, arch, "a note", None, lambda progress: None, lambda: False)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, network: Network, digits: ImageData) -> Path:
    folder = tmp_path_factory.mktemp("models") / "one"
    write(folder, network, digits)
    (folder / "card.json").write_text(json.dumps(FACTS.to_dict()))
    (folder / "card.md").write_text(card(CANDIDATE, FACTS, Description.read(folder / "architecture.json")))
    return folder


def test_an_independent_script_finds_what_is_said(shipped: Path, digits: ImageData, tmp_path: Path) -> None:
    images = save_test_images(tmp_path / "images", digits)
    command = [sys.executable, "-I", script.__file__, str(shipped), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert set(found["accuracy"]) == {"model.onnx", "model.dynamic.onnx", "model.int8.onnx", "model.xml"}
    assert (found["images"], found["largest_difference"], found["problems"]) == (360, 0.0, [])
    shutil.copytree(shipped, tmp_path / "edited")
    proto = onnx.load(shipped / "model.onnx")
    proto.graph.node[0].doc_string = "edited"
    onnx.save(proto, tmp_path / "edited" / "model.onnx")
    assert "model.onnx: its checksum" in script.check(tmp_path / "edited", images)["problems"][0]


def test_what_the_script_cannot_use_it_names(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    images, loose = tmp_path / "images", tmp_path / "loose"
    for folder in (images / "test" / "0", loose):
        folder.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "0.png")
    checked = {"file": "model.int8.xml", "runtime": "openvino", "precision": "int8", "images": 360, "accuracy": 0.5, "files": 1}
    for name, text in (("list", "[1]"), ("cut", '{"file": '), ("bare", "{}"), ("numbers", json.dumps(checked))):
        shutil.copytree(shipped, tmp_path / name)
        (tmp_path / name / "check.json").write_text(text)
    told = json.loads((shipped / "architecture.json").read_text())
    for name, size in ("huge", 1_000_000), ("true", True):
        shutil.copytree(shipped, tmp_path / name, dirs_exist_ok=True)
        edited = {**told, "preprocessing": {**told["preprocessing"], "size": size}}
        (tmp_path / name / "architecture.json").write_text(json.dumps(edited))
    shutil.copytree(shipped, tmp_path / "modelless", ignore=shutil.ignore_patterns("*.onnx", "*.xml"))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04garbage")
    for arguments, words in (
        ((tmp_path / "huge", images), "1 to 4096 pixels a side and 1 or 3 channels, got 1000000 and 1"),
        ((tmp_path / "true", images), "'size' should be of type int, got True"),
        ((tmp_path / "modelless", images), "holds no .onnx and no .xml"),
        ((shipped, tmp_path / "broken.zip"), "broken.zip: is no .zip that can be read"),
        ((shipped, tmp_path / "absent"), "absent: there is no such folder or .zip"),
        ((tmp_path / "list", images), "check.json: holds [1] where a JSON object should be"),
        ((tmp_path / "cut", images), "check.json: is no JSON: "),
        ((tmp_path / "bare", images), "check.json: 'file' should be of type str, got None"),
        ((tmp_path / "numbers", images), "check.json: 'files' should be of type dict, got 1"),
        ((shipped, loose), "a folder for each class of labels.txt (0, 1, 2"),
        ((shipped, tmp_path / "empty"), "holds no images"),
        ((tmp_path, tmp_path), "architecture.json"),
        ((shipped,), "usage:"),
    ):
        done = subprocess.run([sys.executable, "-I", script.__file__, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert words in done.stderr


def test_the_script_reads_pictures_as_training_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(2):
        pixels = rng.integers(0, 256, (480, 640, 3), np.uint8)
        for place in (tmp_path / "photos" / "test" / "cat", tmp_path / "grey" / "train" / "cat", tmp_path / "grey" / "val" / "cat"):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels if place.parts[-3] == "photos" else pixels[..., 0]).save(place / f"{number}.jpg")
    (tmp_path / "photos" / "test" / "cat" / ".hidden.jpg").touch()
    Image.fromarray(pixels).save(tmp_path / "photos" / "test" / "cat" / "last.WEBP", lossless=True)
    for name, channels, paths in (("photos", 3, "test/cat/[!.]*"), ("grey", 1, "val/cat/*")):
        found, labels, unreadable = script.load(tmp_path / name, ["cat"], 32, channels)
        files = sorted((tmp_path / name).glob(paths))
        wanted = [read_picture(file, 32)[0][..., :channels].transpose(2, 0, 1) / np.float32(255) for file in files]
        np.testing.assert_array_equal(found, np.stack(wanted))
        assert len(labels) == len(files)
        assert unreadable == []
    assert sorted(script.PICTURES) == sorted(SUFFIXES)


def test_the_script_takes_sets_where_training_does(tmp_path: Path) -> None:
    paths = ["x/train/cat/1.png", "x/Val/cat/deep/2.png", "x/Val/dog/3.gif", "__MACOSX/x/Val/cat/._2.png", "x/Val/notes.txt"]
    assert script.tests(paths) == [("cat", "x/Val/cat/deep/2.png"), ("dog", "x/Val/dog/3.gif")]
    assert script.tests([*paths, "x/test/dog/4.tiff"]) == [("dog", "x/test/dog/4.tiff")]
    assert script.tests(["dog/1.png", "cat/2.png"]) == [("cat", "cat/2.png"), ("dog", "dog/1.png")]


def test_where_nothing_can_be_compared_the_script_says_so(shipped: Path, digits: ImageData, tmp_path: Path) -> None:
    images = save_test_images(tmp_path / "images", digits)
    for path in sorted(images.rglob("*.png"))[::2]:
        path.unlink()
    done = subprocess.run([sys.executable, "-I", script.__file__, str(shipped), str(images)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    problems = json.loads(done.stdout)["problems"]
    assert {
        "model.xml: no check was on 180 images: it was not compared",
        "model.onnx: no check was on 180 images: it was not compared",
    } < set(problems)


def test_the_script_compares_the_file_of_one_image_and_the_figures(shipped: Path, digits: ImageData, tmp_path: Path) -> None:
    images, edited = save_test_images(tmp_path / "images", digits), tmp_path / "edited"
    shutil.copytree(shipped, edited)
    told = json.loads((edited / "architecture.json").read_text())
    for check in told["checks"]:
        check["correct"] -= check["images"] // 10
        check["accuracy"] = check["correct"] / check["images"]
    (edited / "architecture.json").write_text(json.dumps(told))
    found = script.check(edited, images)
    assert found["largest_difference"] == pytest.approx(0.1)
    told_of = [each.split(":")[0] for each in found["problems"] if "in its check" in each]
    assert told_of == ["model.dynamic.onnx", "model.int8.onnx", "model.onnx", "model.xml"]
    (edited / "model.dynamic.onnx").unlink()  # what is left of fp32 in ONNX Runtime has a check of its own on 256 images alone
    (edited / "model.xml").unlink()
    (edited / "model.int8.onnx").unlink()
    assert script.check(edited, images)["largest_difference"] == pytest.approx(0.1)
    head = "|---|---|---|---|---|\n"
    card = (edited / "card.md").read_text().replace(head, f"{head}| accuracy_test | 0.123 | ± 0.01 | 1 | trained |\n", 1)
    (edited / "card.md").write_text(card)
    assert "card.md: accuracy_test 0.123 is that of no file on 360 images" in script.check(edited, images)["problems"]


def test_the_script_wants_a_checksum_of_each_file_and_an_accuracy_that_is_a_number(
    shipped: Path, digits: ImageData, tmp_path: Path
) -> None:
    images, edited = save_test_images(tmp_path / "images", digits), tmp_path / "edited"
    shutil.copytree(shipped, edited)
    told = json.loads((edited / "architecture.json").read_text())
    del told["files"]["model.onnx"], told["files"]["model.bin"]
    told["checks"] = [{**check, "accuracy": float("nan")} for check in told["checks"]]
    (edited / "architecture.json").write_text(json.dumps(told))
    problems = script.check(edited, images)["problems"]
    assert [each.split(":")[0] for each in problems if "has a checksum of it" in each] == ["model.bin", "model.onnx"]
    assert sum("nan in its check" in each for each in problems) == 4


def test_the_script_takes_no_figure_of_what_a_network_was_pruned_from(shipped: Path, digits: ImageData, tmp_path: Path) -> None:
    images, pruned = save_test_images(tmp_path / "images", digits), tmp_path / "pruned"
    shutil.copytree(shipped, pruned)
    made = Artifacts.read(shipped, make_space().largest)
    assert made is not None
    own = made.of("fp32", "onnxruntime").accuracy
    tested = dataclasses.replace(CANDIDATE, metrics={**METRICS, "accuracy_test": Metric(own, "1", "trained")})
    facts = dataclasses.replace(FACTS, origin=Origin("another", {"accuracy_test": (0.123, own)}))
    told = card(tested, facts, Description.read(pruned / "architecture.json"))
    assert "\n| accuracy_test | 0.123 |" in told
    (pruned / "card.md").write_text(told)
    assert script.check(pruned, images)["problems"] == []


def test_the_script_passes_over_pictures_that_training_passes_over(shipped: Path, digits: ImageData, tmp_path: Path) -> None:
    images = save_test_images(tmp_path / "images", digits)
    (images / "test" / "0" / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(images / "test" / "1" / "float.tiff")
    found = script.check(shipped, images)
    assert (found["images"], found["unreadable"], found["problems"]) == (360, ["test/0/broken.png", "test/1/float.tiff"], [])
    shutil.copytree(shipped, tmp_path / "edited")
    (tmp_path / "edited" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(script.UnusableError, match=r"model\.onnx: cannot be run"):
        script.check(tmp_path / "edited", images)


def test_the_script_knows_what_was_made_for_an_export(shipped: Path, digits: ImageData, tmp_path: Path) -> None:
    images = save_test_images(tmp_path / "images", digits)
    (tmp_path / "out").mkdir()
    for name in ("architecture.json", "labels.txt"):
        shutil.copy2(shipped / name, tmp_path / "out")
    export_openvino(shipped / "model.int8.onnx", tmp_path / "out" / "model.int8.xml")
    made = Artifacts.read(shipped, make_space().largest)
    assert made is not None
    told = dataclasses.replace(made.of("int8", "openvino"), file="model.int8.xml")
    for lost, problems in ((0, 0), (36, 2)):  # the check's, and the card's
        check = dataclasses.replace(told, correct=told.correct - lost)
        write_check(tmp_path / "out", check, "a word")
        shipment = Shipment(["labels.txt"], Figures("Of model.int8.xml."), (check,), "a word")
        (tmp_path / "out" / "card.md").write_text(card(CANDIDATE, FACTS, Description.read(shipped / "architecture.json"), shipment))
        found = script.check(tmp_path / "out", images)
        assert len(found["problems"]) == problems, found
        assert found["largest_difference"] == pytest.approx(lost / 360)
    with (tmp_path / "out" / "model.int8.bin").open("ab") as file:
        file.write(b"more")
    assert "model.int8.bin: its checksum is not that of check.json" in script.check(tmp_path / "out", images)["problems"]


def test_the_script_uses_nothing_of_ours() -> None:
    tree = ast.parse(Path(script.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == ALLOWED


def test_every_file_was_run(shipped: Path) -> None:
    made = Artifacts.read(shipped, make_space().largest)
    assert made is not None
    assert {path.name for path in shipped.iterdir()} == set(FILES.values())
    every = {(check.file, check.precision, check.runtime.split()[0], check.images) for check in made.checks}
    assert every == {
        ("model.dynamic.onnx", "fp32", "onnxruntime", 360), ("model.onnx", "fp32", "onnxruntime", 256),
        ("model.xml", "fp32", "openvino", 360),
        ("model.int8.onnx", "int8", "onnxruntime", 360), ("model.int8.onnx", "int8", "onnxruntime", 256),
        ("model.int8.onnx", "int8", "openvino", 360),
    }  # fmt: skip
    assert all(check.agreement == 1 and check.max_error < 1e-4 for check in made.checks if check.precision == "fp32")
    assert made.of("int8", "onnxruntime").accuracy > 0.9 * made.of("fp32", "onnxruntime").accuracy
    assert (shipped / "labels.txt").read_text().splitlines() == [str(digit) for digit in range(10)]
    for name in ("model.onnx", "model.int8.onnx"):
        proto = onnx.load(shipped / name)
        assert [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 8, 8]
        assert not {node.op_type for node in proto.graph.node} & {"BatchNormalization", "Dropout"}


def test_files_of_the_same_network_are_taken_as_they_are(shipped: Path, tmp_path: Path) -> None:
    made = copy_artifacts(shipped, tmp_path, make_space().largest)
    assert made == Artifacts.read(shipped, make_space().largest)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES.values()) - {"card.md", "card.json"}
    assert copy_artifacts(shipped, tmp_path / "other", make_space().smallest) is None
    assert not (tmp_path / "other").exists()
    (tmp_path / "labels.txt").write_text("edited")
    assert Artifacts.read(tmp_path, make_space().largest) is None
    assert Artifacts.read(tmp_path / "absent", make_space().largest) is None


def test_a_file_that_differs_from_torch_is_refused_by_name(
    network: Network, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = parity.check_openvino

    def off(path: Path, reference: parity.Reference, *args: object) -> Check:
        moved = dataclasses.replace(reference, logits=tuple(each + 0.01 for each in reference.logits))
        return real(path, moved)

    monkeypatch.setattr("nas.search.artifacts.check_openvino", off)
    with pytest.raises(TargetError, match=r"model\.xml: the exported file differs from torch by 0\.01"):
        write(tmp_path / "x", network, digits)


class Uncompilable:
    """OpenVINO that reads everything and compiles all but one file."""

    def __init__(self, name: str) -> None:
        self._name, self._core, self._read = name, shared_core(), ""

    def read_model(self, path: Path) -> Any:
        self._read = path.name
        return self._core.read_model(path)

    def compile_model(self, *given: object) -> Any:
        if self._read == self._name:
            raise RuntimeError("Exception from src/core.cpp:1:\nno kernel for Convolution")
        return self._core.compile_model(*given)


def test_a_file_that_openvino_refuses_is_named_and_takes_no_other_with_it(
    network: Network, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "OpenVINO cannot open it: no kernel for Convolution"
    monkeypatch.setattr("nas.compress.parity.shared_core", lambda: Uncompilable("model.int8.onnx"))
    made = write(tmp_path / "int8", network, digits)
    assert made.int8 == f"left out: model.int8.onnx: {words}"
    assert (tmp_path / "int8" / "model.xml").is_file()
    monkeypatch.setattr("nas.compress.parity.shared_core", lambda: Uncompilable("model.xml"))
    with pytest.raises(TargetError, match=rf"model\.xml: {words}"):
        write(tmp_path / "fp32", network, digits)


def test_an_int8_file_that_is_broken_is_left_out(
    network: Network, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.search.artifacts.MOST_INT8_DROP", -1.0)
    made = write(tmp_path / "x", network, digits)
    assert not (tmp_path / "x" / "model.int8.onnx").exists()
    assert made.int8.startswith("left out: model.int8.onnx: the int8 file loses")
    assert made.doubt == f"there is no int8 file: {made.int8}"
    assert "points on search-validation" in made.int8
    with pytest.raises(TargetError, match="no int8 file: left out"):
        made.of("int8", "onnxruntime")
    assert Artifacts.read(tmp_path / "x", make_space().largest) == made


def test_an_int8_file_that_loses_much_is_a_doubt(
    network: Network, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write(tmp_path / "x", network, digits)
    lost = made.int8_lost
    assert lost is not None
    assert f"{100 * lost:.2f} points lost on search-validation" in made.int8
    monkeypatch.setattr("nas.search.artifacts.MOST_DROP", lost)
    assert not made.doubt
    told = json.loads((tmp_path / "x" / "architecture.json").read_text())
    assert told["int8_lost"] == lost
    monkeypatch.setattr("nas.search.artifacts.MOST_DROP", lost - 0.001)
    assert made.doubt == f"the int8 file loses {100 * lost:.2f} points: {made.int8}"
    del told["int8_lost"]  # as earlier versions wrote it
    (tmp_path / "x" / "architecture.json").write_text(json.dumps(told))
    known = Artifacts.read(tmp_path / "x", make_space().largest)
    assert known is not None
    assert (known.int8_lost, known.doubt) == (None, "")


def test_it_is_asked_before_each_file_whether_to_go_on(network: Network, digits: ImageData, tmp_path: Path) -> None:
    asked = 0

    def stop_at(number: int) -> Callable[[], bool]:
        def stop() -> bool:
            nonlocal asked
            asked += 1
            return asked == number

        return stop

    arch, maker = make_space().largest, ArtifactMaker(digits, RECIPE, 0)
    (tmp_path / "x").mkdir()
    maker.write(tmp_path / "x", network, arch, "a note", None, lambda progress: None, stop_at(0))
    assert asked >= 10  # three files, their checks, int8 and its checks
    for number in (1, 6, 7, asked):
        asked = 0
        (tmp_path / str(number)).mkdir()
        with pytest.raises(StoppedError, match="what was trained is"):
            maker.write(tmp_path / str(number), network, arch, "a note", None, lambda progress: None, stop_at(number))
        assert not (tmp_path / str(number) / "architecture.json").exists()


def test_no_file_is_left_out_for_what_it_does_on_test_images(
    network: Network, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_wrong(path: Path, reference: parity.Reference, precision: str = "fp32", *more: float, **named: int) -> Check:
        found = parity.check_onnx(path, reference, precision, *more, **named)
        return dataclasses.replace(found, correct=0) if precision == "int8" else found

    monkeypatch.setattr("nas.search.artifacts.check_onnx", all_wrong)
    made = write(tmp_path / "x", network, digits)
    assert (tmp_path / "x" / "model.int8.onnx").is_file()
    assert made.of("int8", "onnxruntime").correct == 0


def test_each_runtime_has_its_own_accuracy() -> None:
    runtimes = (("onnxruntime 1", 300, 360), ("onnxruntime 1", 200, 256), ("openvino 2", 250, 360))
    checks = [Check("model.int8.onnx", name, "int8", 0.1, 0.9, correct, images) for name, correct, images in runtimes]
    made = Artifacts(tuple(checks), "a word")
    assert [made.of("int8", name).correct for name in ("onnxruntime", "openvino", "somebodys")] == [300, 250, 300]


def test_calibration_images_are_training_images(digits: ImageData) -> None:
    train = {image.tobytes() for image in digits.train.images}
    for batch in calibration_pixels(digits):
        for image in (batch.transpose(0, 2, 3, 1) * 255).round().astype("uint8"):
            assert image.tobytes() in train


def test_pixels_are_test_images_from_0_to_1(digits: ImageData) -> None:
    images, labels = (torch.cat(parts) for parts in zip(*pixels_of(digits.test), strict=True))
    assert torch.equal(labels, torch.from_numpy(digits.test.labels.copy()))
    torch.testing.assert_close(images, torch.from_numpy(digits.test.images.transpose(0, 3, 1, 2) / 255).float())


def test_large_images_come_in_smaller_batches_and_anew_each_time() -> None:
    images = ImageSet(np.zeros((60, 224, 224, 3), np.uint8), np.arange(60) % 3)
    reference = labels_alone(images, 3)
    for _ in range(2):
        batches = list(reference.batches())
        assert [len(labels) for _, labels in batches] == [len(logits) for logits in reference.logits]
        assert sum(len(labels) for _, labels in batches) == 60
        assert all(pixels.nbytes <= TEST_BATCH_BYTES for pixels, _ in batches)


def stop_within(folder: Path) -> None:
    (folder / "model.onnx").write_text("half")
    raise StoppedError("half of it was written")


@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_folder_holds_nothing_new(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "deep" / "out"
    if there:
        place.mkdir(parents=True)
        (place / "mine.txt").write_text("kept")
    with pytest.raises(StoppedError, match="half"), whole_folder(place) as temporary:
        stop_within(temporary)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left] == (["mine.txt"] if there else [])
    with whole_folder(place) as temporary:
        (temporary / "model.onnx").write_text("whole")
    assert {path.name for path in place.iterdir()} == {"model.onnx", *(["mine.txt"] if there else [])}
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another folder"), whole_folder(tmp_path / "file" / "out"):
        pass
