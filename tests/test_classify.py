"""An exported model at work with what the base install has, and Pillow."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from nas.classify import Classifier, find_images, find_model
from nas.errors import DataError, DisturbedError, InputError, ModelFileError, TargetError
from nas.hardware.export import Deployed, deployment_metadata, export_onnx, fix_batch
from nas.hardware.measurement import Measurement
from nas.hardware.stamp import STAMP
from nas.models.network import Network, recalibrate
from nas.training.images import ImageFile
from nas.training.pixels import decode, square
from tests.command import Nas, nas_command
from tests.spaces import make_space
from tests.training.pictures import odd


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for RGB images of 8 x 8 in three classes, batch 1."""
    space = make_space().with_data(3, 3)
    blocks = space.decode(space.largest)
    torch.manual_seed(0)
    network = Network(blocks)
    recalibrate(network, [torch.randn(16, 3, 8, 8)])
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.2, 0.2)
    folder = tmp_path_factory.mktemp("model")
    said = deployment_metadata(space.largest, ["ant", "bee", "cat"], mean, std, 8)
    export_onnx(Deployed(network, mean, std), blocks, folder / "any.onnx", said)
    fix_batch(folder / "any.onnx", folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (8, 8, 3)), ("sub/b.jpg", (40, 60, 3)), ("sub/c.png", (9, 7))):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str]) -> Nas:
    return nas_command(capsys)


def test_pixels_are_prepared_as_for_training(model: Path, pictures: Path) -> None:
    found = Classifier(model).pixels(pictures / "sub" / "b.jpg")
    with Image.open(pictures / "sub" / "b.jpg") as picture:
        picture.draft("RGB", (16, 16))
        wanted = np.asarray(square(picture.convert("RGB"), 8), np.float32) / 255
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), wanted, atol=1e-6)
    assert Classifier(model).pixels(pictures / "sub" / "c.png").shape == (1, 3, 8, 8)


@pytest.mark.parametrize("kind", ["16 bit", "cmyk", "palette", "alpha", "grey", "one bit"])
def test_unusual_pictures_are_read_as_in_training(kind: str, model: Path, tmp_path: Path) -> None:
    content = odd(kind)
    (tmp_path / "picture.png").write_bytes(content)
    (trained,) = decode(lambda path: content, [ImageFile("picture.png", len(content), 0)], 8).images
    found = Classifier(model).pixels(tmp_path / "picture.png")[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(found, np.broadcast_to(trained, (8, 8, 3)).astype(np.float32) / np.float32(255))
    if kind == "16 bit":
        assert found.max() == np.float32(100) / np.float32(255)


def test_pictures_that_training_leaves_out_are_left_out(model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(DataError, match=r"depth\.tif: cannot be read: floating-point pixels have no known range"):
        Classifier(model).pixels(tmp_path / "depth.tif")
    for name in ("a.pgm", "b.pbm"):
        Image.new("L" if name == "a.pgm" else "1", (8, 8)).save(tmp_path / name)
    assert [path.name for path in find_images(tmp_path)] == ["a.pgm", "b.pbm", "depth.tif"]


@pytest.mark.parametrize(
    ("shape", "kind", "orientation"), [((160, 480, 3), "JPEG", 1), ((160, 480, 3), "JPEG", 6), ((31, 12, 3), "PNG", 3), ((8, 8), "PNG", 1)]
)
def test_the_readme_prepares_pictures_in_the_same_way(
    shape: tuple[int, ...], kind: str, orientation: int, model: Path, tmp_path: Path
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (snippet,) = [block.partition("```")[0] for block in readme.split("```python\n")[1:] if "InferenceSession" in block]
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    pixels, exif = np.random.default_rng(0).integers(0, 256, shape, np.uint8), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "picture.jpg", kind, exif=exif)
    (tmp_path / "snippet.py").write_text(f"{snippet}\nnp.save('pixels.npy', pixels)\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    classifier = Classifier(model)
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), classifier.pixels(tmp_path / "picture.jpg"))
    assert done.stdout.strip() == classifier.answer(tmp_path / "picture.jpg").classes[0][0]


def test_what_is_said_of_a_folder(nas: Nas, model: Path, pictures: Path) -> None:
    ended = nas("run", model, pictures, "--json")
    assert ended.code == 0
    assert all(line.startswith("warning: latency of model.onnx") for line in ended.err.splitlines())  # of a machine that is busy
    assert [Path(each["image"]).name for each in ended.json["images"]] == ["a.png", "b.jpg", "c.png"]
    for each in ended.json["images"]:
        shares = [one["probability"] for one in each["top"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
        assert {one["class"] for one in each["top"]} == {"ant", "bee", "cat"}
    latency = ended.json["latency_s"]
    assert latency["source"] == "measured"
    assert 0 < latency["low"] <= latency["value"] <= latency["high"]
    assert ended.json["not_measured"] is None
    assert ended.json["as_exported"] is True
    assert "latency" in nas("run", model, pictures / "a.png", "--top", "1").out


def test_answers_are_given_where_the_machine_cannot_be_measured(
    nas: Nas, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(*given: object) -> None:
        raise DisturbedError("11 windows were disturbed and 0 were not: the chip throttled")

    monkeypatch.setattr("nas.hardware.file_latency.measure", throttled)
    ended = nas("run", model, pictures)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("%") == 9
    assert ended.out.splitlines()[-1].startswith("latency  not measured: 11 windows were disturbed")
    told = nas("run", model, pictures, "--json").json
    assert (told["latency_s"], len(told["images"])) == (None, 3)
    assert told["not_measured"].startswith("11 windows were disturbed")


def test_a_machine_that_was_busy_is_told(nas: Nas, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.hardware.file_latency.measure", lambda run, protocol: Measurement(((0.01, 0.01, 0.02, 0.02),) * 2))
    ended = nas("run", model, pictures / "a.png")
    assert ended.code == 0
    assert ended.err == "warning: latency of model.onnx with onnxruntime, 1 thread: IQR is 67% of the median: the machine was busy\n"


def test_a_model_that_was_edited_is_told(nas: Nas, model: Path, pictures: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.graph.node[0].doc_string = "edited"
    onnx.save(proto, tmp_path / "edited.onnx")
    ended = nas("run", tmp_path / "edited.onnx", pictures / "a.png", "--json")
    assert ended.code == 0
    assert "edited after its export" in ended.err
    assert ended.json["as_exported"] is False


def test_a_model_whose_checksum_was_taken_out_is_told(nas: Nas, model: Path, pictures: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.metadata_props.remove(next(each for each in proto.metadata_props if each.key == STAMP))
    onnx.save(proto, tmp_path / "bare.onnx")
    ended = nas("run", tmp_path / "bare.onnx", pictures / "a.png", "--json")
    # A busy machine adds a line of its own, about the latency.
    told = f"warning: {tmp_path / 'bare.onnx'} carries no checksum: cannot tell whether it was edited after its export"
    assert told in ended.err.splitlines()
    assert (ended.code, ended.json["as_exported"]) == (0, None)


def test_bad_input(nas: Nas, model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        Classifier(model).answer(tmp_path / "bad.jpg")
    with pytest.raises(DataError, match="no such file or folder"):
        find_images(tmp_path / "absent")
    with pytest.raises(ModelFileError, match="no such file"):
        Classifier(tmp_path / "absent.onnx")
    proto = onnx.load(model)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(ModelFileError, match="files of nas export"):
        Classifier(tmp_path / "bare.onnx")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match="pip install pillow"):
        Classifier(model).answer(pictures / "a.png")


@pytest.mark.parametrize("classes", [["ant"], ["ant", "bee", "cat", "dog"], []])
def test_classes_that_are_not_the_logits_are_refused_when_it_is_opened(classes: list[str], model: Path, nas: Nas, tmp_path: Path) -> None:
    proto = onnx.load(model)
    (entry,) = [each for each in proto.metadata_props if each.key == "classes"]
    entry.value = json.dumps(classes)
    onnx.save(proto, tmp_path / "edited.onnx")
    ended = nas("run", tmp_path / "edited.onnx", tmp_path)
    assert ended.code == 2
    assert f"gives 3 logits and names {len(classes)} of them" in ended.err


def test_a_file_that_was_converted_to_fp16_is_refused_when_it_is_opened(model: Path, pictures: Path, nas: Nas, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for node in proto.graph.node:
        node.input[:] = ["whole" if name == "images" else name for name in node.input]
    proto.graph.node.insert(0, onnx.helper.make_node("Cast", ["images"], ["whole"], to=onnx.TensorProto.FLOAT))
    onnx.save(proto, tmp_path / "half.onnx")
    ended = nas("run", tmp_path / "half.onnx", pictures / "a.png")
    assert ended.code == 2
    assert "half.onnx: takes tensor(float16), and nas run gives it float32 pixels: export it again" in ended.err
    assert ended.err.count("\n") == 1


def test_a_run_that_fails_names_the_model(model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def run(self, *given: object) -> None:
            raise RuntimeError("out of memory\nat node 3")

    classifier = Classifier(model)
    monkeypatch.setattr(classifier, "_session", Failing())
    with pytest.raises(TargetError, match=r"model\.onnx: ONNX Runtime failed while running it: out of memory$"):
        classifier.answer(pictures / "a.png")


def test_pictures_of_a_folder_that_cannot_be_read_are_listed(nas: Nas, model: Path, pictures: Path, tmp_path: Path) -> None:
    texture = b"DDS " + struct.pack("<I", 124) + bytes(120)  # Pillow says NotImplementedError, which is no OSError
    for name, content in (("bad.jpg", b"no picture"), ("empty.png", b""), ("huge.ppm", b"P6 90000 90000 255 "), ("texture.png", texture)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.png").symlink_to("nowhere.png")
    none = nas("run", model, tmp_path)
    assert none.code == 2
    assert "bad.jpg" in none.err
    assert "nor any of the 4 others" in none.err
    assert nas("run", model, tmp_path / "bad.jpg").code == 2
    (tmp_path / "good.png").write_bytes((pictures / "a.png").read_bytes())
    ended = nas("run", model, tmp_path, "--json")
    assert ended.code == 0
    assert [Path(each["image"]).name for each in ended.json["images"]] == ["good.png"]
    assert [Path(each["image"]).name for each in ended.json["skipped"]] == ["bad.jpg", "empty.png", "huge.ppm", "link.png", "texture.png"]
    assert "5 of 6 pictures cannot be read" in ended.err
    assert "bad.jpg" in ended.err
    assert "empty.png" in ended.err


def test_a_folder_stands_for_its_model(nas: Nas, model: Path, pictures: Path, tmp_path: Path) -> None:
    assert nas("run", model.parent, pictures / "a.png", "--json").json["model"] == str(model)
    (tmp_path / "model.xml").touch()
    with pytest.raises(ModelFileError, match="without an ONNX file"):
        find_model(tmp_path)
    (tmp_path / "model.int8.onnx").touch()
    assert find_model(tmp_path) == tmp_path / "model.int8.onnx"
    (tmp_path / "model.dynamic.onnx").touch()
    with pytest.raises(ModelFileError, match=r"name one of model\.dynamic\.onnx, model\.int8\.onnx"):
        find_model(tmp_path)


def test_more_threads_than_cores_are_refused(nas: Nas, model: Path, pictures: Path) -> None:
    ended = nas("run", model, pictures, "--threads", "999999")
    assert ended.code == 2
    assert "threads must be 1 to" in ended.err


def test_no_heavy_library_is_loaded(model: Path, pictures: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path; from nas.classify import Classifier; import nas.cli.run;"
        f"Classifier(Path({str(model)!r})).answer(Path({str(pictures / 'a.png')!r}));"
        "print(json.dumps(sorted({'torch', 'onnx', 'optuna', 'mlflow', 'scipy', 'pandas', 'openvino'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
