"""What goes out with a finalist: its card is of the files beside it, in their precision and for their runtime."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
import yaml

from nas.compress.check import Check
from nas.config import TrainRecipe, check_config
from nas.cost import count
from nas.errors import InputError, StoppedError, StudyError, TargetError
from nas.events import Event
from nas.exporting import export
from nas.finishing import make_finalist
from nas.hardware.export import export_openvino
from nas.metrics import Candidate, Metric
from nas.models.network import Network, recalibrate
from nas.prediction import NamedNetwork, predict_network
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.record import write_front
from nas.resources import data_root
from nas.search.artifacts import FILES, ArtifactMaker, Artifacts
from nas.search.card import CardFacts, Description, card
from nas.search.finalists import Finalist
from nas.target import Target
from nas.training.data import load_data
from nas.training.evaluate import accuracy_metric, calibration_images
from nas.training.finetune import fit
from tests.spaces import make_space, space_data

RECIPE = TrainRecipe(batch_size=64, epochs=2, finetune_epochs=2, finetune_lr=0.2, flip=False, augment=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "digits"


def begin(study: Path, fingerprint: str | None = None, devices: Sequence[str] = ("raspberrypi4",)) -> None:
    """The study's config.json, with the images that it began with."""
    (study.parent / "tiny.yaml").write_text(yaml.safe_dump(space_data()), encoding="utf-8")
    told = {"study": study.name, "devices": list(devices), "space": str(study.parent / "tiny.yaml"), "data": "digits"}
    data = load_data("digits", 8, 0)
    images = {**data.to_dict(), "fingerprint": fingerprint or data.fingerprint}
    facts = {"schema": 1, "config": json.loads(check_config(told).model_dump_json()), "data": images}
    (study / "config.json").write_text(json.dumps(facts), encoding="utf-8")


@pytest.fixture(scope="module")
def record(study: Path) -> CandidateRecord:
    """An fp32 finalist for ONNX Runtime."""
    data, arch, blocks = load_data("digits", 8, 0), make_space().largest, make_space().decode(make_space().largest)
    torch.manual_seed(0)
    network = Network(blocks)
    recalibrate(network, calibration_images(data))
    fit(network, None, data, RECIPE, 0, epochs=2, lr=0.2)
    target = Target("raspberrypi4", "onnxruntime", "1", "fp32", 1)
    home = study / "models" / target.candidate_id(arch.arch_id)
    home.mkdir(parents=True)
    begin(study)
    made = ArtifactMaker(data, RECIPE, 0).write(home, network, arch, "a note", None, lambda progress: None, lambda: False)
    latency = Metric(0.002, "s", "predicted", low=0.001, high=0.003)
    accuracies = {name: accuracy_metric(each.correct, each.images, "trained") for name, each in (
        ("accuracy_test", made.of("fp32", "onnxruntime")), ("accuracy_test_int8", made.of("int8", "onnxruntime")),
    )}  # fmt: skip
    metrics = {"accuracy_search": Metric(0.7, "1", "supernet"), "latency_s": latency, **count(blocks).metrics(), **accuracies}
    candidate = Candidate(arch, target, metrics)
    facts = CardFacts("8px", data.name, data.fingerprint, "a note", metrics=metrics, id=candidate.id)
    (home / FILES["facts"]).write_text(json.dumps(facts.to_dict()), encoding="utf-8")
    (home / FILES["card"]).write_text(card(candidate, facts, Description.read(home / FILES["architecture"])), encoding="utf-8")
    return CandidateRecord(candidate, True, True, artifacts={kind: f"models/{home.name}/{name}" for kind, name in FILES.items()})


def shipped(
    study: Path, record: CandidateRecord, form: Literal["onnx", "openvino"], precision: Literal["fp32", "int8"], out: Path
) -> tuple[str, dict[str, str]]:
    """The card, and its figures: metric to value."""
    export(study, record, form, precision, out, lambda event: None, lambda: False)
    told = (out / "card.md").read_text(encoding="utf-8")
    return told, dict(re.findall(r"^\| (\w+) \| (\S+) \|", told, re.M))


def keep_facts(home: Path, candidate: Candidate) -> None:
    """The card.json of a candidate whose files are in a folder."""
    facts = CardFacts("8px", "digits", "0123456789ab", "a note", metrics=candidate.metrics, id=candidate.id)
    (home / FILES["facts"]).write_text(json.dumps(facts.to_dict()), encoding="utf-8")


def check_of(study: Path, record: CandidateRecord, file: str) -> Check:
    made = Artifacts.read(study / "models" / record.id, record.candidate.arch)
    assert made is not None
    return next(each for each in made.checks if each.file == file)


def test_figures_are_of_the_precision_that_goes_out(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    told, figures = shipped(study, record, "onnx", "int8", tmp_path / "int8")
    assert "Of model.int8.onnx on raspberrypi4/onnxruntime/int8/1. Latency and energy are not predicted" in told
    assert float(figures["size_bytes"]) == pytest.approx(count(make_space().decode(record.candidate.arch), "int8").weight_bytes)
    assert float(figures["accuracy_test"]) == pytest.approx(check_of(study, record, "model.int8.onnx").accuracy, abs=1e-6)
    assert not {"accuracy_search", "accuracy_test_int8", "latency_s"} & set(figures)
    told, figures = shipped(study, record, "onnx", "fp32", tmp_path / "fp32")
    assert "Of model.onnx on raspberrypi4/onnxruntime/fp32/1.\n" in told
    assert (figures["latency_s"], figures["accuracy_search"]) == ("0.002", "0.7")
    assert "int8" not in told


def test_what_the_studys_card_says_is_what_goes_out_and_its_text_is_nobodys_source(
    study: Path, record: CandidateRecord, tmp_path: Path
) -> None:
    path = study / "models" / record.id / FILES["card"]
    content = path.read_text(encoding="utf-8")
    told, _ = shipped(study, record, "onnx", "fp32", tmp_path / "before")
    strange = [line for line in told.splitlines() if line not in content.splitlines()]
    assert strange == [f"Of model.onnx on {record.candidate.target.key}."]
    try:
        path.write_text(content.replace("| latency_s | 0.002", "| latency_s | 0.001").replace("- Output ", "- Gives "), encoding="utf-8")
        assert shipped(study, record, "onnx", "fp32", tmp_path / "edited")[0] == told
        path.unlink()
        assert shipped(study, record, "onnx", "fp32", tmp_path / "absent")[0] == told
    finally:
        path.write_text(content, encoding="utf-8")


def test_a_finalist_of_an_earlier_version_goes_out_with_what_its_front_says(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    begin(study)
    path = study / "models" / record.id / FILES["facts"]
    told, _ = shipped(study, record, "onnx", "fp32", tmp_path / "kept")
    content = path.read_text(encoding="utf-8")
    path.unlink()
    try:
        shown = replace(record, title="8px", note="a note")
        derived, _ = shipped(study, shown, "onnx", "fp32", tmp_path / "derived")
        assert re.sub(r"(- Data fingerprint: [0-9a-f]{32}), at 8 pixels\n", r"\1\n", derived) == told != derived
        path.write_text("{}", encoding="utf-8")
        with pytest.raises(InputError, match=r"card\.json: cannot be read \('schema' is missing\); without this file"):
            shipped(study, shown, "onnx", "fp32", tmp_path / "damaged")
    finally:
        path.write_text(content, encoding="utf-8")
    assert not (tmp_path / "damaged").exists()


def test_latencies_on_the_studys_other_targets_are_told(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    own, small = record.candidate.target, make_space().smallest
    others = [(own.device, 4, "fp32"), (own.device, 1, "int8"), ("pixel3", 1, "fp32")]
    targets = [own, *(replace(own, device=device, threads=threads, precision=precision) for device, threads, precision in others)]
    latencies = {target: Metric(0.003 + number, "s", "predicted") for number, target in enumerate(targets)}
    found = [
        replace(record, candidate=Candidate(arch, target, {**record.candidate.metrics, "latency_s": latencies[target]}), artifacts={})
        for target in targets
        for arch in (record.candidate.arch, small)
    ]
    try:
        for device in (own.device, "pixel3"):
            members = tuple(each for each in found if each.candidate.target.device == device)
            front = FrontRecord("digits", device, "tiny", "digits", "0", ("accuracy_search", "latency_s"), 0.0, (0.0, 9.0), members)
            write_front(study, front, first=device == own.device)
        told, _ = shipped(study, record, "onnx", "fp32", tmp_path / "fp32")
        rows = told.partition("## Latency on other targets of the study")[2].partition("## Files")[0]
        assert re.findall(r"^\| (\S+/\S+) \| (\w+) \| (\S+) \|", rows, re.M) == [
            ("pixel3/onnxruntime/fp32/1", "latency_s", "3.003"), ("raspberrypi4/onnxruntime/fp32/4", "latency_s", "1.003"),
        ]  # fmt: skip
        told, _ = shipped(study, record, "openvino", "fp32", tmp_path / "openvino")
        assert "other targets" not in told
    finally:
        shutil.rmtree(study / "fronts")
        for path in study.glob("front*.*"):
            path.unlink()


def test_figures_of_an_int8_candidate_do_not_go_out_with_its_fp32_file(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    each = record.candidate
    target = replace(each.target, precision="int8")
    blocks = make_space().decode(each.arch)
    metrics = {**each.metrics, **count(blocks, "int8").metrics(), "latency_measured_s": Metric(0.001, "s", "measured")}
    metrics["accuracy_test"] = metrics.pop("accuracy_test_int8")
    small = Candidate(each.arch, target, metrics)
    home = study / "models" / target.candidate_id(each.arch.arch_id)
    shutil.copytree(study / "models" / record.id, home)
    keep_facts(home, small)
    shown = replace(record, candidate=small, artifacts={kind: f"models/{home.name}/{name}" for kind, name in FILES.items()})
    told, figures = shipped(study, shown, "onnx", "fp32", tmp_path / "out")
    assert "Of model.onnx on raspberrypi4/onnxruntime/fp32/1." in told
    assert float(figures["size_bytes"]) == pytest.approx(count(blocks).weight_bytes)
    predicted = predict_network(NamedNetwork.of_blocks("it", blocks), "raspberrypi4", "onnxruntime", "fp32", 1).metrics
    assert float(figures["latency_s"]) == pytest.approx(predicted["latency_s"].value, rel=1e-5)
    assert re.search(r"^\| latency_s \|.*\| predicted \|$", told, re.M)
    assert float(figures["accuracy_test"]) == pytest.approx(check_of(study, record, "model.dynamic.onnx").accuracy, abs=1e-6)
    assert not {"accuracy_search", "latency_measured_s"} & set(figures)


def test_a_folder_has_one_model_and_its_card_all_of_its_files(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    shipped(study, record, "openvino", "fp32", tmp_path / "out")
    told, _ = shipped(study, record, "onnx", "int8", tmp_path / "out")
    rows = set(re.findall(r"^\| (model\.\S+) ", told, re.M))
    assert rows == {"model.xml", "model.int8.onnx"} == {path.name for path in (tmp_path / "out").glob("model.*[lx]")}
    told, figures = shipped(study, record, "openvino", "fp32", tmp_path / "out")
    assert "raspberrypi4/openvino/fp32/1" in told
    assert float(figures["accuracy_test"]) == pytest.approx(check_of(study, record, "model.xml").accuracy, abs=1e-6)
    described = tmp_path / "out" / "architecture.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "int8": "another"}))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match=rf"another model \({record.id}\): .*model\.xml: choose another --out"):
        shipped(study, record, "onnx", "fp32", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_nothing_is_made_with_images_that_the_study_does_not_know(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    begin(study, fingerprint="0123456789ab")
    words = "the images of digits are not those that study digits began with: as many images of each class as before, but other ones"
    with pytest.raises(StudyError, match=words):
        shipped(study, record, "openvino", "int8", tmp_path / "out")
    with pytest.raises(StudyError, match=words):
        make_finalist(study, record.candidate, lambda event: None, lambda: False)
    shipped(study, record, "onnx", "fp32", tmp_path / "out")  # made and tested before the images changed


def test_what_was_measured_of_another_file_does_not_go_out(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    """OpenVINO's int8 file is made for the export; the study measured the ONNX one."""
    begin(study)
    each = record.candidate
    target = replace(each.target, runtime="openvino", precision="int8")
    home = study / "models" / target.candidate_id(each.arch.arch_id)
    shutil.copytree(study / "models" / record.id, home)
    made = Artifacts.read(home, each.arch)
    assert made is not None
    tested = made.of("int8", "openvino")
    accuracy = accuracy_metric(tested.correct, tested.images, "trained")
    small = Candidate(each.arch, target, {"accuracy_test": accuracy, "latency_measured_s": Metric(0.001, "s", "measured")})
    keep_facts(home, small)
    shown = replace(record, candidate=small, artifacts={kind: f"models/{home.name}/{name}" for kind, name in FILES.items()})
    _, figures = shipped(study, shown, "onnx", "int8", tmp_path / "onnx")
    assert (figures["accuracy_test"], figures["latency_measured_s"]) == (f"{tested.accuracy:.6g}", "0.001")
    _, figures = shipped(study, shown, "openvino", "int8", tmp_path / "openvino")
    checked = json.loads((tmp_path / "openvino" / "check.json").read_text(encoding="utf-8"))
    assert figures["accuracy_test"] == f"{checked['accuracy']:.6g}"
    assert "latency_measured_s" not in figures


def test_what_is_gone_is_made_again_and_no_fault_of_the_folder(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = study / "models" / record.id
    made: list[str] = []
    whole = {name: (home / name).read_bytes() for name in ("model.xml", "model.int8.onnx")}

    def again(folder: Path, candidate: Candidate, on_event: object, stop: object) -> Finalist:
        made.append(candidate.id)
        for name, content in whole.items():
            (home / name).write_bytes(content)
        return Finalist(candidate, record.artifacts, "a note")

    monkeypatch.setattr("nas.exporting.make_finalist", again)
    (home / "model.xml").unlink()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .*file: Not a directory"):
        shipped(study, record, "openvino", "fp32", tmp_path / "file")
    assert not made  # it is refused before anything is trained
    shipped(study, record, "openvino", "fp32", tmp_path / "openvino")
    (home / "model.int8.onnx").unlink()
    shipped(study, record, "onnx", "int8", tmp_path / "int8")
    assert made == [record.id] * 2
    assert (tmp_path / "openvino" / "model.xml").read_bytes() == whole["model.xml"]
    assert (tmp_path / "int8" / "model.int8.onnx").read_bytes() == whole["model.int8.onnx"]


@pytest.mark.parametrize(
    ("form", "precision", "name"),
    [
        ("onnx", "fp32", "model.onnx"), ("onnx", "fp32", "labels.txt"), ("onnx", "int8", "model.int8.onnx"),
        ("openvino", "fp32", "model.bin"), ("openvino", "int8", "model.int8.onnx"), ("openvino", "int8", "weights.safetensors"),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_since_it_was_tested_does_not_go_out(
    form: Literal["onnx", "openvino"], precision: Literal["fp32", "int8"], name: str, study: Path, record: CandidateRecord, tmp_path: Path
) -> None:
    path = study / "models" / record.id / name
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    try:
        with pytest.raises(InputError, match=rf"{name}: was changed since it was tested: delete it, and nas export makes it again"):
            shipped(study, record, form, precision, tmp_path / "out")
        if name not in ("model.onnx", "labels.txt"):  # what is not read may be as it likes
            shipped(study, record, "onnx", "fp32", tmp_path / "other")
    finally:
        path.write_bytes(content)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def neighbour(study: Path, record: CandidateRecord) -> Path:
    """The folder of another network of the study, not trained."""
    data, arch = load_data("digits", 8, 0), make_space().smallest
    network = Network(make_space().decode(arch))
    recalibrate(network, calibration_images(data))
    home = study / "models" / record.candidate.target.candidate_id(arch.arch_id)
    home.mkdir()
    ArtifactMaker(data, RECIPE, 0).write(home, network, arch, "untrained", None, lambda progress: None, lambda: False)
    keep_facts(home, Candidate(arch, record.candidate.target, record.candidate.metrics))
    return home


@pytest.mark.parametrize(("form", "precision"), [("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8")])
def test_files_of_another_network_do_not_go_out(
    form: Literal["onnx", "openvino"], precision: Literal["fp32", "int8"], study: Path, record: CandidateRecord, neighbour: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    other = tmp_path / "runs" / study.name
    shutil.copytree(study, other)
    home = other / "models" / record.id
    shutil.rmtree(home)
    shutil.copytree(neighbour, home)
    found, wanted = neighbour.name.partition("-")[0], record.candidate.arch.arch_id
    with pytest.raises(InputError, match=rf"architecture\.json is of network {found}, not {wanted}: delete the folder, and nas export"):
        shipped(other, record, form, precision, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_narrower_network_of_the_same_genes_is_another(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    pruned = replace(record.candidate, arch=replace(record.candidate.arch, widths=(("s1.b1.mid", 8),)))
    home = study / "models" / pruned.id
    shutil.copytree(study / "models" / record.id, home)
    with pytest.raises(InputError, match=rf"is of network {record.candidate.arch.arch_id}, not {pruned.arch.arch_id}: delete"):
        shipped(study, replace(record, candidate=pruned), "onnx", "fp32", tmp_path / "out")
    shutil.rmtree(home)


def test_a_card_has_no_figures_of_another_candidate(study: Path, record: CandidateRecord, neighbour: Path, tmp_path: Path) -> None:
    path = study / "models" / record.id / FILES["facts"]
    content = path.read_text(encoding="utf-8")
    told = json.loads(content)
    metrics = {**told["metrics"], "accuracy_test": Metric(0.123, "1", "trained").to_dict()}
    older = {key: value for key, value in told.items() if key != "id"}
    cases = {
        (neighbour / FILES["facts"]).read_text(encoding="utf-8"): rf"is of {neighbour.name}, not {record.id}",
        json.dumps({**told, "metrics": metrics}): r"says accuracy_test 0\.123, which no fp32 file beside it had",
        json.dumps({**older, "metrics": metrics}): r"says accuracy_test 0\.123, which no fp32 file beside it had",
        json.dumps({**older, "title": "16px"}): "is of the network '16px', not '8px'",
    }
    try:
        for text, why in cases.items():
            path.write_text(text, encoding="utf-8")
            with pytest.raises(InputError, match=rf"card\.json {why}: delete it, and the card says what the study's front does"):
                shipped(study, replace(record, title="8px"), "onnx", "fp32", tmp_path / "out")
        path.write_text(json.dumps(older), encoding="utf-8")
        shipped(study, replace(record, title="8px"), "onnx", "fp32", tmp_path / "out")
    finally:
        path.write_text(content, encoding="utf-8")


def test_no_card_vouches_for_a_file_that_was_changed_after_its_export(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    begin(study)
    out = tmp_path / "out"
    shipped(study, record, "openvino", "int8", out)
    told, _ = shipped(study, record, "onnx", "int8", out)
    assert set(re.findall(r"^\| (model\.\S+) ", told, re.M)) == {"model.int8.xml", "model.int8.onnx"}
    for name, words in (("model.int8.onnx", "was changed since it was exported"), ("model.int8.bin", r"is not of the model\.int8\.bin")):
        content = (out / name).read_bytes()
        (out / name).write_bytes(b"something else")
        with pytest.raises(InputError, match=words):
            shipped(study, record, "onnx", "fp32", out)
        (out / name).write_bytes(content)
    assert (out / "card.md").read_text(encoding="utf-8") == told


def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_made(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.exporting.make_finalist", lambda *given: pytest.fail("it is trained"))
    begin(study)
    other = tmp_path / "runs" / study.name
    shutil.copytree(study, other)
    home, out = other / "models" / record.id, tmp_path / "out"
    (out / "model.onnx").mkdir(parents=True)
    with pytest.raises(InputError, match=r"out/model\.onnx is a folder, where a file of a model goes: remove it"):
        shipped(other, record, "onnx", "fp32", out)
    (home / "model.onnx").unlink()
    (home / "model.onnx").mkdir()
    with pytest.raises(InputError, match=rf"{record.id}/model\.onnx is a folder, where a file of a model goes: remove it"):
        shipped(other, record, "onnx", "fp32", tmp_path / "another")
    (home / "model.onnx").rmdir()
    (other / "fronts" / "raspberrypi4.json").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"raspberrypi4\.json is a folder: remove it, and nas studies rebuild digits"):
        shipped(other, record, "onnx", "fp32", tmp_path / "another")


def test_a_description_that_is_broken_is_named(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    path = study / "models" / record.id / "architecture.json"
    content = path.read_text(encoding="utf-8")
    path.write_text(content[:-9], encoding="utf-8")
    try:
        with pytest.raises(InputError, match=r"architecture\.json: was changed since it was written .*: delete it"):
            shipped(study, record, "onnx", "fp32", tmp_path / "out")
        told = json.loads(content)
        path.write_text(json.dumps({key: value for key, value in told.items() if key != "files"}), encoding="utf-8")  # without sums
        shipped(study, record, "onnx", "fp32", tmp_path / "out")
        for damaged in ({"int8": told["int8"]}, None, {**told, "files": None}):
            path.write_text(json.dumps(damaged), encoding="utf-8")
            with pytest.raises(InputError, match=rf"^{path}: was changed since it was written \(.*\): delete it"):
                shipped(study, record, "onnx", "fp32", tmp_path / "other")
    finally:
        path.write_text(content, encoding="utf-8")
    assert (tmp_path / "out" / "model.onnx").is_file()


def broken(source: Path, path: Path, *given: object) -> None:
    """OpenVINO's form of the network with its classes in another order."""
    proto = onnx.load(source.with_name("model.onnx"))
    last = next(init for node in reversed(proto.graph.node) for init in proto.graph.initializer if init.name in node.input[1:])
    values = onnx.numpy_helper.to_array(last)
    axis = values.shape.index(10)
    last.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 1, axis), last.name))
    onnx.save(proto, path.with_suffix(".onnx"))
    export_openvino(path.with_suffix(".onnx"), path)
    path.with_suffix(".onnx").unlink()


def test_an_int8_file_for_openvino_is_the_one_that_loses_less(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study)
    monkeypatch.setattr("nas.exporting.quantize_openvino", broken)
    told, _ = shipped(study, record, "openvino", "int8", tmp_path / "converted")
    made = Artifacts.read(study / "models" / record.id, record.candidate.arch)
    assert made is not None
    checked = json.loads((tmp_path / "converted" / "check.json").read_text(encoding="utf-8"))
    assert checked["correct"] == made.of("int8", "openvino").correct
    assert re.fullmatch(
        r"converted from the int8 ONNX file, -?\d\.\d\d points of search-validation lost; \d\d\.\d\d points of .* by NNCF", checked["how"]
    )
    assert f"- int8 for OpenVINO: {checked['how']}\n" in told
    assert sorted(path.name for path in (tmp_path / "converted").glob("model*")) == ["model.int8.bin", "model.int8.xml"]
    monkeypatch.setattr("nas.exporting.export_openvino", broken)
    with pytest.raises(TargetError, match=r"^model\.int8\.xml: the int8 file loses \d\d\.\d\d points .*, more than 20: use fp32"):
        shipped(study, record, "openvino", "int8", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr(
        "nas.exporting.quantize_openvino", lambda source, path, images: export_openvino(source.with_name("model.onnx"), path)
    )
    shipped(study, record, "openvino", "int8", tmp_path / "nncf")  # nothing else is made where NNCF loses little
    how = json.loads((tmp_path / "nncf" / "check.json").read_text(encoding="utf-8"))["how"]
    assert how == "NNCF post-training quantisation, 0.00 points of search-validation lost"


def test_figures_are_of_the_profile_that_the_study_was_given(study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    """A board with a profile of its own is known by its path alone."""
    board = tmp_path / "boards" / "myboard"
    shutil.copytree(data_root("hw_profiles") / "raspberrypi4", board)
    told = yaml.safe_load((board / "profile.yaml").read_text(encoding="utf-8"))
    (board / "profile.yaml").write_text(yaml.safe_dump({**told, "name": "myboard", "aliases": []}), encoding="utf-8")
    begin(study, devices=["pixel3", str(board)])
    target = replace(record.candidate.target, device="myboard", precision="int8")
    home = study / "models" / target.candidate_id(record.candidate.arch.arch_id)
    shutil.copytree(study / "models" / record.id, home)
    shown = replace(record, candidate=replace(record.candidate, target=target))
    (home / FILES["facts"]).unlink()
    _, figures = shipped(study, shown, "onnx", "fp32", tmp_path / "out")
    blocks = make_space().decode(record.candidate.arch)
    predicted = predict_network(NamedNetwork.of_blocks("it", blocks), str(board), "onnxruntime", "fp32", 1).metrics
    assert float(figures["latency_s"]) == pytest.approx(predicted["latency_s"].value, rel=1e-5)


def test_the_folder_that_it_is_made_from_is_no_place_for_it(study: Path, record: CandidateRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    home = study / "models" / record.id
    before = (home / "card.md").read_bytes()
    monkeypatch.chdir(study)
    (study.parent / "neighbour").mkdir()
    (study.parent / "neighbour" / "config.json").touch()
    for out in (home, Path("models") / record.id, Path("..") / study.name / "models" / "other", study.parent / "neighbour" / "models"):
        with pytest.raises(InputError, match=r"is in .*/(digits|neighbour), which is the folder of a study: choose another folder"):
            shipped(study, record, "onnx", "fp32", out)
    assert (home / "card.md").read_bytes() == before


def test_figures_of_files_are_their_own_and_predictions_are_those_of_the_front(
    study: Path, record: CandidateRecord, tmp_path: Path
) -> None:
    """A front may be of files that were deleted and made again by an export; what it predicts may be newer than they are."""
    known = record.candidate.metrics
    told = {**known, "latency_s": Metric(0.004, "s", "predicted"), "accuracy_test": Metric(0.123, "1", "trained")}
    shown = replace(record, candidate=replace(record.candidate, metrics=told))
    for number, each in enumerate((shown, replace(shown, finalist=False, artifacts={}))):
        _, figures = shipped(study, each, "onnx", "fp32", tmp_path / str(number))
        assert figures["latency_s"] == "0.004"
        assert float(figures["accuracy_test"]) == pytest.approx(known["accuracy_test"].value, abs=1e-6)


@pytest.mark.parametrize("asks", [0, 3, 4])
def test_an_export_that_is_stopped_leaves_nothing(asks: int, study: Path, record: CandidateRecord, tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > asks

    with pytest.raises(StoppedError):
        export(study, record, "onnx", "fp32", tmp_path / "out", lambda event: None, stop)
    assert not list(tmp_path.iterdir())


def test_an_int8_file_that_loses_much_is_warned_of(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, told = Artifacts.read(study / "models" / record.id, record.candidate.arch), list[Event]()
    assert made is not None
    for most in (1.0, -1.0):
        monkeypatch.setattr("nas.search.artifacts.MOST_DROP", most)
        for precision in ("fp32", "int8"):
            export(study, record, "onnx", precision, tmp_path / "out", told.append, lambda: False)
    assert [(event.kind, event.text) for event in told] == [("warning", f"{record.id}: {made.doubt}")]
    assert made.doubt.startswith("the int8 file loses ")


def test_what_an_earlier_export_made_is_not_made_again(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front has neither files nor test figures of one that is no finalist; card.json has, where no earlier version made it."""
    known = {name: record.candidate.metrics[name] for name in ("accuracy_search", "latency_s")}
    other = replace(record, finalist=False, artifacts={}, candidate=replace(record.candidate, metrics=known))

    def again(*given: object) -> None:
        raise AssertionError("it is made again")

    monkeypatch.setattr("nas.exporting.make_finalist", again)
    _, figures = shipped(study, other, "onnx", "fp32", tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").is_file()
    assert float(figures["accuracy_test"]) == pytest.approx(record.candidate.metrics["accuracy_test"].value, abs=1e-6)
    facts = study / "models" / record.id / FILES["facts"]
    kept = facts.read_bytes()
    try:
        facts.unlink()
        with pytest.raises(AssertionError, match="it is made again"):
            shipped(study, other, "onnx", "fp32", tmp_path / "earlier")
    finally:
        facts.write_bytes(kept)


def test_where_nncf_does_not_work_the_int8_onnx_file_is_converted(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study)
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "nncf.py").write_text("raise AttributeError('numpy has no bool8')")
    told, _ = shipped(study, record, "openvino", "int8", tmp_path / "import")
    assert "- int8 for OpenVINO: converted from the int8 ONNX file (NNCF does not load: numpy has no bool8), " in told

    def failing(source: Path, path: Path, images: object) -> None:
        raise TargetError(f"{source}: NNCF cannot quantise it: no such pattern")

    monkeypatch.setattr("nas.exporting.quantize_openvino", failing)
    told, _ = shipped(study, record, "openvino", "int8", tmp_path / "failing")
    assert "converted from the int8 ONNX file (model.xml: NNCF cannot quantise it: no such pattern), " in told
    monkeypatch.setattr("nas.exporting.quantize_openvino", lambda source, path, images: path.write_text("no model"))
    told, _ = shipped(study, record, "openvino", "int8", tmp_path / "unreadable")
    assert "converted from the int8 ONNX file (model.int8.xml: OpenVINO cannot open it: " in told


def test_an_int8_file_for_openvino_needs_none_for_onnx_runtime(
    study: Path, record: CandidateRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study)
    other = tmp_path / "runs" / study.name
    shutil.copytree(study, other)
    home = other / "models" / record.id
    told = json.loads((home / "architecture.json").read_text(encoding="utf-8"))
    del told["files"]["model.int8.onnx"]
    told |= {"int8": "left out: it loses 30 points", "checks": [each for each in told["checks"] if each["precision"] == "fp32"]}
    (home / "architecture.json").write_text(json.dumps(told), encoding="utf-8")
    (home / "model.int8.onnx").unlink()
    with pytest.raises(InputError, match="has no int8 file: left out: it loses 30 points"):
        shipped(other, record, "onnx", "int8", tmp_path / "onnx")
    monkeypatch.setitem(sys.modules, "nncf", None)
    words = r"has no int8 file to convert \(left out: it loses 30 points\), and none is made: nncf is not installed: pip install"
    with pytest.raises(InputError, match=words):
        shipped(other, record, "openvino", "int8", tmp_path / "none")
    monkeypatch.setattr(
        "nas.exporting.quantize_openvino", lambda source, path, images: export_openvino(source.with_name("model.onnx"), path)
    )
    card_text, _ = shipped(other, record, "openvino", "int8", tmp_path / "nncf")
    assert "- int8 for OpenVINO: NNCF post-training quantisation, 0.00 points of search-validation lost\n" in card_text
    assert sorted(path.name for path in (tmp_path / "nncf").glob("model*")) == ["model.int8.bin", "model.int8.xml"]
