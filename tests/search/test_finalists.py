"""A member of the front becomes a model that ships: files that say and do what the study says of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from nas.architecture import Architecture, BlockSpec
from nas.compress.check import Check
from nas.config import TrainRecipe
from nas.errors import DataError, DisturbedError, InputError, StoppedError, TrainingError
from nas.files import locked
from nas.hardware.runtimes.onnxruntime import read_metadata
from nas.metrics import Candidate, Metric
from nas.models.network import Network, recalibrate
from nas.models.weights import load_weights
from nas.search.artifacts import FILES
from nas.search.card import CardFacts, Description, card
from nas.search.evaluators import EvaluatorContext
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.search.finalists import MAKING, Finalist, FinalistMaker
from nas.search.scoring import Scorer
from nas.training.data import ImageData
from nas.training.evaluate import calibration_images
from tests.search.conftest import save_supernet
from tests.spaces import make_space

RECIPE = TrainRecipe(batch_size=64, epochs=3, finetune_epochs=3, finetune_lr=0.2, finetune_distill_weight=0.2, flip=False, augment=False)
MEASURED = Metric(0.002, "s", "measured", low=0.0019, high=0.0022)
FACTS = CardFacts("8px", "digits", "0123456789ab", "as it is")
MODEL = Description(("0", "1"), 8, (0.3,), (0.4,), "none", (), make_space().smallest)


def candidate_of(scorer: Scorer, arch: Architecture) -> Candidate:
    metrics = {"accuracy_search": Metric(0.1, "1", "supernet", std=0.02), **scorer.metrics(arch)}
    return Candidate(arch, scorer.target, metrics, trial=3)


def make(maker: FinalistMaker, candidate: Candidate) -> Finalist:
    return maker.make(candidate, None, lambda progress: None, lambda: False)


def independent_accuracy(path: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """As somebody with the file, ONNX Runtime and NumPy would count it: pixels / 255, NCHW, one image after another."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    right = 0
    for image, label in zip(images, labels, strict=True):
        (logits,) = session.run(None, {"images": (image.transpose(2, 0, 1)[None] / 255).astype(np.float32)})
        right += int(logits[0].argmax() == label)
    return right / len(labels)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> EvaluatorContext:
    """An untrained supernet of networks that learn digits in a second."""
    stage = {"out_chs": 16, "depth": [1, 2], "kernel_size": 3, "expand_ratio": 2, "stride": 2}
    folder, space = tmp_path_factory.mktemp("supernet"), make_space(resolution=[8, 12], stages=[stage])
    save_supernet(space, folder / "weights.safetensors")
    return EvaluatorContext(space, "digits", 0, folder / "cache", folder / "weights.safetensors", threads=1)


@pytest.fixture(scope="module")
def study(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Candidate, Finalist]:
    """One finalist at 8 x 8, fine-tuned by the largest network at 12 x 12."""
    folder, space = tmp_path_factory.mktemp("study"), context.space
    arch = space.canonical({**dict(space.largest.genes), "resolution": 8})
    candidate = candidate_of(scorer_of(space), arch)
    return folder, candidate, make(FinalistMaker(context, RECIPE, folder, lambda path: MEASURED), candidate)


def test_all_files_are_there(study: tuple[Path, Candidate, Finalist]) -> None:
    folder, candidate, finalist = study
    assert set(finalist.artifacts) == set(FILES)
    assert {path.name for path in (folder / "models" / candidate.id).iterdir()} == {Path(path).name for path in finalist.artifacts.values()}
    assert all((folder / path).is_file() and path.startswith(f"models/{candidate.id}/") for path in finalist.artifacts.values())


def test_the_file_classifies_with_the_accuracy_that_is_told(study: tuple[Path, Candidate, Finalist], digits: ImageData) -> None:
    folder, _, finalist = study
    accuracy = finalist.candidate.metrics["accuracy_test"]
    assert independent_accuracy(folder / finalist.artifacts["onnx"], digits.test.images, digits.test.labels) == accuracy.value
    assert accuracy.source == "trained"
    assert accuracy.std is not None
    assert accuracy.value > 0.2  # chance is .1


def test_metrics_of_the_search_are_kept(study: tuple[Path, Candidate, Finalist]) -> None:
    _, candidate, finalist = study
    assert (finalist.candidate.id, finalist.candidate.trial) == (candidate.id, 3)
    assert {**candidate.metrics, "latency_measured_s": MEASURED}.items() <= finalist.candidate.metrics.items()
    new = {"accuracy_test", "accuracy_test_int8", "accuracy_validation", "latency_measured_s", "latency_int8_s"}
    assert set(finalist.candidate.metrics) - set(candidate.metrics) == new
    assert finalist.note.startswith("fine-tuned with the largest network as teacher for 3 epochs")
    assert "on search-validation" in finalist.note or "search-validation 0." in finalist.note  # what it gained


def test_the_int8_file_has_the_accuracy_that_is_told(study: tuple[Path, Candidate, Finalist], digits: ImageData) -> None:
    folder, _, finalist = study
    told = finalist.candidate.metrics["accuracy_test_int8"]
    assert independent_accuracy(folder / finalist.artifacts["onnx_int8"], digits.test.images, digits.test.labels) == told.value
    assert told.source == "trained"


def test_a_machine_that_cannot_be_measured_costs_the_latency_alone(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    def throttled(path: Path) -> Metric:
        if path.name == "model.onnx":
            raise DisturbedError("11 windows were disturbed and 0 were not: the chip throttled")
        return MEASURED

    _, candidate, _ = study
    maker = FinalistMaker(context, RECIPE.model_copy(update={"finetune_epochs": 0}), tmp_path, throttled)
    earlier = dataclasses.replace(candidate, metrics={**candidate.metrics, "latency_measured_s": MEASURED})  # of files that are gone
    made = make(maker, earlier)
    assert "latency_measured_s" not in made.candidate.metrics
    assert made.candidate.metrics["latency_int8_s"] == MEASURED
    assert made.note.endswith("; latency of model.onnx not measured: 11 windows were disturbed and 0 were not: the chip throttled")
    assert "\nLatency of model.onnx not measured: 11 windows" in (tmp_path / made.artifacts["card"]).read_text()
    assert "not measured" not in load_weights(tmp_path / made.artifacts["weights"])[1]["note"]  # it is how the network was trained


def test_int8_latency_is_predicted_where_the_target_is_not_here(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    _, candidate, _ = study
    known = Metric(0.001, "s", "predicted", low=0.0005, high=0.002)
    maker = FinalistMaker(context, RECIPE.model_copy(update={"finetune_epochs": 0}), tmp_path, None, int8_latency=lambda blocks: known)
    assert make(maker, candidate).candidate.metrics["latency_int8_s"] == known


def test_weights_and_architecture_make_the_same_network(study: tuple[Path, Candidate, Finalist], digits: ImageData) -> None:
    folder, candidate, finalist = study
    described = json.loads((folder / finalist.artifacts["architecture"]).read_text())
    assert Architecture.from_dict(described["architecture"]) == candidate.arch
    network = Network([BlockSpec.from_dict(block) for block in described["blocks"]])
    tensors, state = load_weights(folder / finalist.artifacts["weights"])
    network.load_state_dict(tensors)
    assert state == {"schema": 1, "architecture": candidate.arch.to_dict(), "note": finalist.note}
    images = (torch.from_numpy(digits.test.images[:50].astype(np.float32) / 255).permute(0, 3, 1, 2) - digits.mean[0]) / digits.std[0]
    with torch.no_grad():
        expected = network.eval()(images).numpy()
    session = onnxruntime.InferenceSession(str(folder / finalist.artifacts["onnx_dynamic"]), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": (digits.test.images[:50].transpose(0, 3, 1, 2) / 255).astype(np.float32)})[0]
    assert np.abs(found - expected).max() < 1e-4


def test_the_file_says_what_it_is(study: tuple[Path, Candidate, Finalist], digits: ImageData) -> None:
    folder, candidate, finalist = study
    said = read_metadata(folder / finalist.artifacts["onnx"])
    assert said["architecture"] == candidate.arch.to_json()
    assert json.loads(said["classes"]) == [str(digit) for digit in range(10)]
    assert json.loads(said["preprocessing"])["folded_mean"] == list(digits.mean)
    text = (folder / finalist.artifacts["card"]).read_text()
    assert text.startswith(f"# {candidate.id}\n")
    for name, metric in finalist.candidate.metrics.items():
        assert f"| {name} | {metric.value:.6g} |" in text
        assert metric.source in text
    assert "[batch, 1, 8, 8]" in text
    assert digits.fingerprint in text
    assert "raspberrypi4/onnxruntime/fp32/1" in text


def test_the_network_of_another_device_is_not_trained_again(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist]
) -> None:
    folder, candidate, finalist = study
    other = candidate_of(scorer_of(context.space, "pixel3"), candidate.arch)
    unfit = RECIPE.model_copy(update={"finetune_lr": 1e30, "grad_clip": 1e30})  # training anew would fail
    again = make(FinalistMaker(context, unfit, folder, None), other)
    assert again.note == finalist.note
    assert again.candidate.metrics["accuracy_test"] == finalist.candidate.metrics["accuracy_test"]
    assert "latency_measured_s" not in again.candidate.metrics
    assert again.candidate.id != candidate.id
    tensors = [load_weights(folder / each.artifacts["weights"])[0] for each in (finalist, again)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_accuracy_is_that_of_the_targets_runtime(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    folder, candidate, _ = study
    home = tmp_path / "models" / candidate.id
    shutil.copytree(folder / "models" / candidate.id, home)
    described = json.loads((home / "architecture.json").read_text())
    for number, check in enumerate(check for check in described["checks"] if check["runtime"].startswith("openvino")):
        check["correct"] = 100 + number  # as if OpenVINO rounded otherwise
    (home / "architecture.json").write_text(json.dumps(described))
    other = dataclasses.replace(candidate, target=dataclasses.replace(candidate.target, runtime="openvino"))
    for precision, name, correct in (("fp32", "accuracy_test", 100), ("fp32", "accuracy_test_int8", 101), ("int8", "accuracy_test", 101)):
        shown = dataclasses.replace(other, target=dataclasses.replace(other.target, precision=precision))
        assert make(FinalistMaker(context, RECIPE, tmp_path, None), shown).candidate.metrics[name].value == correct / 360


def test_what_cannot_be_trained_leaves_nothing(context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path) -> None:
    candidate = candidate_of(scorer_of(context.space), context.space.smallest)
    maker = FinalistMaker(context, RECIPE.model_copy(update={"finetune_lr": 1e30, "grad_clip": 1e30}), tmp_path, None)
    with pytest.raises(TrainingError, match="try a smaller one"):
        make(maker, candidate)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_stopped_finalist_goes_on_where_it_was(context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path) -> None:
    candidate = candidate_of(scorer_of(context.space), context.space.smallest)
    whole = make(FinalistMaker(context, RECIPE, tmp_path / "whole", None), candidate)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 20

    cut = FinalistMaker(context, RECIPE, tmp_path / "cut", None)
    with pytest.raises(StoppedError):
        cut.make(candidate, None, lambda progress: None, stop)
    assert list((tmp_path / "cut").rglob("step-*.safetensors"))
    begun: list[float] = []
    again = FinalistMaker(context, RECIPE, tmp_path / "cut", None).make(
        candidate, None, lambda progress: begun.append(progress.share), lambda: False
    )
    assert begun[0] > 20 / 51  # 17 steps an epoch
    weights = [load_weights(tmp_path / folder / made.artifacts["weights"])[0] for folder, made in (("whole", whole), ("cut", again))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not list(tmp_path.rglob("training"))


def test_without_a_supernet_it_is_trained_from_scratch(context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path) -> None:
    alone = dataclasses.replace(context, weights=None)
    finalist = make(FinalistMaker(alone, RECIPE, tmp_path, None), candidate_of(scorer_of(context.space), context.space.largest))
    assert finalist.note.startswith("trained from scratch for 3 epochs")
    assert finalist.candidate.metrics["accuracy_test"].value > 0.3  # chance is .1


def test_the_largest_network_teaches_only_where_the_recipe_says_so(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    folder, candidate, finalist = study
    recipe = RECIPE.model_copy(update={"finetune_distill_weight": None})
    assert make(FinalistMaker(context, recipe, tmp_path / "a", None), candidate).note.startswith("fine-tuned for 3 epochs")
    teacher = folder / finalist.artifacts["onnx"]
    taught = make(FinalistMaker(context, recipe, tmp_path / "b", None, teacher), candidate)
    assert taught.note.startswith("fine-tuned with model.onnx as teacher (")


def test_a_users_own_model_teaches(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    folder, candidate, finalist = study
    teacher = folder / finalist.artifacts["onnx"]
    made = make(FinalistMaker(context, RECIPE, tmp_path, None, teacher), candidate)
    assert made.note.startswith("fine-tuned with model.onnx as teacher (")
    assert "of training images right, pixels 0..1) for 3 epochs" in made.note
    assert made.note in (tmp_path / made.artifacts["card"]).read_text()


def test_images_that_changed_meanwhile_are_refused(context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path) -> None:
    alone = dataclasses.replace(context, weights=None, content="another")
    with pytest.raises(DataError, match="changed while the search went on"):
        make(FinalistMaker(alone, RECIPE, tmp_path, None), candidate_of(scorer_of(context.space), context.space.largest))


def test_batch_norm_is_that_of_the_images_that_the_file_gets(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path
) -> None:
    """Images as they are decoded at 8 x 8, not those of 12 x 12 made smaller."""
    space = context.space
    arch = space.canonical({**dict(space.largest.genes), "resolution": 8})
    maker = FinalistMaker(context, RECIPE.model_copy(update={"finetune_epochs": 0}), tmp_path, None)
    weights, _ = load_weights(tmp_path / make(maker, candidate_of(scorer_of(space), arch)).artifacts["weights"])
    network = Network(space.decode(arch))
    network.load_state_dict(weights)
    recalibrate(network, calibration_images(context.images(8)))
    torch.testing.assert_close(network.state_dict(), weights)


def test_the_largest_network_has_no_teacher_and_no_epochs_mean_inherited_weights(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path
) -> None:
    maker = FinalistMaker(context, RECIPE.model_copy(update={"finetune_epochs": 0}), tmp_path, None)
    finalist = make(maker, candidate_of(scorer_of(context.space), context.space.largest))
    assert finalist.note.startswith("weights as inherited: 0.")
    inherited, _ = load_weights(context.weights)
    kept, _ = load_weights(tmp_path / finalist.artifacts["weights"])
    assert torch.equal(kept["body.stem.conv.weight"], inherited["model.shared.stem-conv.conv.weight"])


def test_the_card_marks_what_has_no_band(study: tuple[Path, Candidate, Finalist]) -> None:
    _, candidate, _ = study
    plain = dataclasses.replace(candidate, metrics={"macs": Metric(1e6, "MAC", "counted"), "latency_s": MEASURED})
    check = Check("model.onnx", "onnxruntime 1", "fp32", 1.5e-6, 0.9975, 350, 360)
    text = card(plain, FACTS, dataclasses.replace(MODEL, checks=(check,)))
    assert "| macs | 1e+06 |  | MAC | counted |" in text
    assert f"- Architecture ({plain.arch.space}): 8px\n- Input" in text
    narrow = dataclasses.replace(plain, arch=dataclasses.replace(plain.arch, widths=(("stem.out", 8), ("head.out", 48))))
    pruned = card(narrow, dataclasses.replace(FACTS, title="8px  (pruned)"), MODEL)
    assert f"- Architecture ({plain.arch.space}): 8px  (pruned)\n- Channels after pruning, by group: head.out 48, stem.out 8\n" in pruned
    assert "| latency_s | 0.002 | 0.0019 to 0.0022 | s | measured |" in text
    assert "| model.onnx | fp32 | onnxruntime 1 | 360 | 0.972222 ± 0.009 | 99.75% | 1.5e-06 |" in text


def test_the_card_says_that_a_measurement_contradicts_the_prediction(study: tuple[Path, Candidate, Finalist]) -> None:
    _, candidate, _ = study
    for predicted_s, is_told in ((0.001, True), (0.002, False)):
        predicted = Metric(predicted_s, "s", "predicted", low=0.9 * predicted_s, high=1.1 * predicted_s)
        tried = dataclasses.replace(candidate, metrics={"latency_s": predicted, "latency_measured_s": MEASURED})
        text = card(tried, FACTS, MODEL)
        assert ("The measured latency is outside the 90 % band of the predicted one" in text) == is_told
        assert text.index("| latency_measured_s |") < text.index("| latency_s |")


def test_the_card_is_that_of_what_is_kept_beside_it(study: tuple[Path, Candidate, Finalist], digits: ImageData) -> None:
    folder, _, finalist = study
    facts = CardFacts.read(folder / finalist.artifacts["facts"], finalist.candidate.id)
    assert facts is not None
    assert (facts.data, facts.fingerprint, facts.note, facts.origin) == ("digits", digits.fingerprint, finalist.note, None)
    model = Description.read(folder / finalist.artifacts["architecture"])
    assert (model.classes, model.size, model.mean, model.std) == (digits.classes, 8, digits.mean, digits.std)
    assert (folder / finalist.artifacts["card"]).read_text() == card(finalist.candidate, facts, model)


def test_two_do_not_make_one_finalist(context: EvaluatorContext, study: tuple[Path, Candidate, Finalist], tmp_path: Path) -> None:
    _, candidate, _ = study
    maker = FinalistMaker(context, RECIPE, tmp_path, None)
    other = tmp_path / "models" / f".{candidate.id}.1.tmp"
    other.mkdir(parents=True)
    with (
        locked(tmp_path / MAKING / f"{candidate.id}.lock", "first"),
        pytest.raises(InputError, match=f"{candidate.id} is being made by another process: wait until it ends"),
    ):
        make(maker, candidate)
    assert other.is_dir()


def test_what_only_ships_opens_no_supernet_and_makers_share_one(
    context: EvaluatorContext, study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    folder, candidate, finalist = study
    network = Network(context.space.decode(candidate.arch))
    network.load_state_dict(load_weights(folder / finalist.artifacts["weights"])[0])
    lost = dataclasses.replace(context, weights=tmp_path / "absent.safetensors")
    maker = FinalistMaker(lost, RECIPE, tmp_path, None)
    shipped = maker.ship(candidate, network.eval(), "a note", None, lambda progress: None, lambda: False)
    assert set(shipped.artifacts) == set(FILES)
    supernet = cache(partial(SupernetEvaluator, context))
    plain = RECIPE.model_copy(update={"finetune_epochs": 0})
    for name in ("a", "b"):
        make(FinalistMaker(context, plain, tmp_path / name, None, supernet=supernet), candidate)
    assert supernet.cache_info().misses == 1


def test_a_finalist_is_not_measured_once_it_is_stopped(
    context: EvaluatorContext, study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    folder, candidate, _ = study
    told: list[str] = []
    shutil.copytree(folder / "models" / candidate.id, tmp_path / "models" / f"{candidate.arch.arch_id}-0000")  # of another device

    def measured(path: Path) -> Metric:
        told.append(path.name)
        return MEASURED

    with pytest.raises(StoppedError):
        FinalistMaker(context, RECIPE, tmp_path, measured).make(candidate, None, lambda progress: None, lambda: bool(told))
    assert told == ["model.onnx"]
    assert not (tmp_path / "models" / candidate.id / "card.md").exists()


def test_files_of_another_network_are_nobodys(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], study: tuple[Path, Candidate, Finalist], tmp_path: Path
) -> None:
    """Somebody copied them into the folder of a candidate: its network is trained, and theirs is not told as its own."""
    folder, candidate, _ = study
    archs = (context.space.largest, context.space.smallest)
    other = candidate_of(scorer_of(context.space), next(arch for arch in archs if arch != candidate.arch))
    home = tmp_path / "models" / other.id
    shutil.copytree(folder / "models" / candidate.id, home)
    told = Finalist(other, {"onnx": f"models/{other.id}/model.onnx", "architecture": f"models/{other.id}/architecture.json"}, "a note")
    assert told.present(tmp_path).artifacts == {}
    made = make(FinalistMaker(context, RECIPE.model_copy(update={"finetune_epochs": 0}), tmp_path, None), other)
    network = Network(context.space.decode(other.arch))
    network.load_state_dict(load_weights(home / "weights.safetensors")[0])
    assert made.present(tmp_path) == made
    assert set(made.artifacts) == set(FILES)


def test_a_folder_in_the_place_of_a_file_is_told_before_training(
    context: EvaluatorContext, scorer_of: Callable[..., Scorer], tmp_path: Path
) -> None:
    candidate = candidate_of(scorer_of(context.space), context.space.smallest)
    (tmp_path / "models" / candidate.id / "card.md").mkdir(parents=True)
    unfit = RECIPE.model_copy(update={"finetune_lr": 1e30, "grad_clip": 1e30})  # training would fail
    with pytest.raises(InputError, match=r"card\.md is a folder, where a file of a model goes: remove it"):
        make(FinalistMaker(context, unfit, tmp_path, None), candidate)
