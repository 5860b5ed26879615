"""int8 beside fp32: offered only where it is faster, twins with figures of their own, drops from networks that were really quantised."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import nas.bench.check_export as script
from nas.compress.int8 import Int8, Int8Maker
from nas.config import SearchConfig, TrainRecipe
from nas.errors import InfeasibleError, InputError, ProfileError, TargetError
from nas.events import Event
from nas.exporting import export
from nas.hardware.native import foreign_operators
from nas.hardware.predictor_file import save_predictor
from nas.hardware.profile import load_profile, parse_profile
from nas.metrics import Constraint
from nas.models.network import Network, recalibrate
from nas.pipeline import Result, rebuild, run
from nas.precision import DropModel
from nas.preparation import prepare
from nas.report.front import CandidateRecord
from nas.resources import data_root
from nas.search import storage
from nas.space import load_space
from nas.training.data import ImageData, load_data
from nas.training.evaluate import calibration_images
from tests.pictures import save_test_images
from tests.search.conftest import save_supernet
from tests.spaces import make_space, rich_space, space_data

RECIPE = TrainRecipe(epochs=0, finetune_epochs=0, batch_size=64, flip=False, augment=False)


def device(folder: Path, factor: float | None, name: str = "raspberrypi4") -> Path:
    """A device with int8 latencies that are `factor` times those of fp32; None for none."""
    home = folder / name
    shutil.copytree(data_root("hw_profiles") / name, home)
    profile = load_profile(str(home))
    if factor is not None:
        known = profile.predictor(profile.target())
        quick = replace(known, coefficients=tuple(factor * each for each in known.coefficients), speedup=None, measurements=30)
        save_predictor(quick, profile.predictor_path(replace(profile.target(), precision="int8")))
    return home


def space_file(folder: Path, resolution: object = 8) -> Path:
    path = folder / "tiny.yaml"
    stage = {"out_chs": 16, "depth": [1, 2], "kernel_size": [3, 5], "expand_ratio": 2, "stride": 2}
    path.write_text(yaml.safe_dump(space_data(resolution=resolution, stages=[stage])))
    return path


def config(folder: Path, factor: float | None, **changes: object) -> SearchConfig:
    path = space_file(folder, changes.pop("resolution", 8))
    weights = folder / "weights.safetensors"
    save_supernet(load_space(str(path)).with_data(1, 10), weights)
    values = {
        "study": "both", "devices": (str(device(folder, factor)),), "space": str(path), "data": "digits", "trials": 5, "finalists": 2,
        "recipe": RECIPE, "weights": str(weights), "precision": "both", **changes,
    }  # fmt: skip
    return SearchConfig.model_validate(values)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[Event], SearchConfig, Path]:
    folder = tmp_path_factory.mktemp("both")
    events: list[Event] = []
    wanted = config(folder, 0.5)
    return run(wanted, folder / "runs", events.append, lambda: False), events, wanted, folder / "runs"


def test_every_network_is_there_in_both_precisions(searched: tuple[Result, list[Event], SearchConfig, Path]) -> None:
    result, events, _, _ = searched
    front = result.fronts[0]
    by_arch: dict[str, dict[str, float]] = {}
    for each in front.candidates:
        by_arch.setdefault(each.candidate.arch.arch_id, {})[each.candidate.target.precision] = each.value("latency_s") or 0.0
    assert len(by_arch) == 5
    for latencies in by_arch.values():
        assert latencies["int8"] == pytest.approx(0.5 * latencies["fp32"])
    assert {each.candidate.target.precision for each in front.front} == {"int8"}  # untrained networks lose nothing that can be seen
    assert len({each.id for each in front.candidates}) == 10
    texts = [event.text for event in events]
    assert any(text.startswith("int8 is 2x as fast on raspberrypi4") for text in texts)
    assert any("5 networks quantised" in text for text in texts)
    for each in front.candidates:
        accuracy = each.candidate.metrics["accuracy_search"]
        assert accuracy.scope == ("int8, really quantised" if each.candidate.target.precision == "int8" else None)
        assert accuracy.source == "supernet"


def test_finalists_in_int8_are_tested_in_int8(searched: tuple[Result, list[Event], SearchConfig, Path]) -> None:
    result, _, _, _ = searched
    for each in result.fronts[0].finalists:
        assert each.candidate.target.precision == "int8"
        text = (result.folder / each.artifacts["card"]).read_text()
        assert "| model.int8.onnx | int8 | onnxruntime" in text
        assert f"| 360 | {each.value('accuracy_test'):.6g} ±" in text.split("model.int8.onnx", 1)[1]
        assert each.artifacts["onnx_int8"].endswith("model.int8.onnx")


def test_what_a_search_in_both_precisions_leaves_passes_the_independent_script(
    searched: tuple[Result, list[Event], SearchConfig, Path], tmp_path: Path
) -> None:
    result, _, wanted, runs = searched
    images = save_test_images(tmp_path / "images", load_data(wanted.data, 8, wanted.seed, runs / ".cache"))
    for each in result.fronts[0].finalists:
        export(result.folder, each, "onnx", "int8", tmp_path / each.id, lambda event: None, lambda: False)
        for folder, files in ((result.folder / each.artifacts["card"]).parent, 4), (tmp_path / each.id, 1):
            found = script.check(folder, images)
            assert (found["problems"], found["unreadable"], found["largest_difference"]) == ([], [], 0.0)
            assert len(found["accuracy"]) == files
            assert found["accuracy"]["model.int8.onnx"] == each.value("accuracy_test")


def test_networks_are_quantised_as_they_would_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norm is that of the images at the network's own size, which its file gets: the search resizes larger ones."""
    made: list[tuple[Network, ImageData]] = []

    class Noting(Int8Maker):
        def make(self, network: Network, source: Path, path: Path, said: Mapping[str, str], *rest: object) -> Int8:
            made.append((network, self.data))
            return super().make(network, source, path, said)

    monkeypatch.setattr("nas.precision.Int8Maker", Noting)
    run(config(tmp_path, 0.5, resolution=[8, 12], finalists=1), tmp_path / "runs", lambda event: None, lambda: False)
    assert {data.size for _, data in made} == {8, 12}
    for network, data in made:
        again = copy.deepcopy(network)
        recalibrate(again, calibration_images(data))
        assert network.blocks[0].in_size == data.size
        torch.testing.assert_close(again.state_dict(), network.state_dict())


def test_it_can_be_derived_again(searched: tuple[Result, list[Event], SearchConfig, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, wanted, runs = searched
    again = rebuild(wanted, runs, lambda event: None)
    assert [each.to_dict() for each in again.fronts[0].candidates] == [each.to_dict() for each in result.fronts[0].candidates]


def test_a_search_that_came_to_no_quantised_network_is_derived_in_fp32(
    searched: tuple[Result, list[Event], SearchConfig, Path], tmp_path: Path
) -> None:
    result, _, wanted, runs = searched
    shutil.copytree(runs, tmp_path / "runs")
    store = storage.open_storage(f"sqlite:///{tmp_path / 'runs' / 'both' / 'study.db'}")
    (study,) = storage.studies_of(store, "both")
    study.set_user_attr(storage.INT8_DROPS, {})
    events: list[Event] = []
    again = rebuild(wanted, tmp_path / "runs", events.append)
    assert any(event.text.startswith("int8 is left out on raspberrypi4: ") for event in events)
    assert {each.candidate.target.precision for each in again.fronts[0].candidates} == {"fp32"}
    assert len(again.fronts[0].candidates) == len(result.fronts[0].candidates) / 2


def test_no_network_is_quantised_for_two_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    class Counting(Int8Maker):
        """Cannot quantise the first network; says of each other one that it loses more than the one before."""

        def make(self, network: Network, source: Path, path: Path, said: Mapping[str, str], *rest: object) -> Int8:
            made.append(network.blocks)
            if len(made) == 1:
                raise TargetError("an operator without a kernel")
            found = super().make(network, source, path, said)
            return replace(found, after_training=found.fp32 - 0.001 * len(made))

    monkeypatch.setattr("nas.precision.Int8Maker", Counting)
    wanted = config(tmp_path, 0.5, finalists=1)
    wanted = wanted.model_copy(update={"devices": (*wanted.devices, str(device(tmp_path, 0.6, "pixel3")))})
    events: list[Event] = []
    result = run(wanted, tmp_path / "runs", events.append, lambda: False)
    assert len(made) == len(set(made)) >= 5
    assert sum("cannot be quantised: an operator without a kernel" in event.text for event in events) == 1
    (told,) = (event for event in events if event.text.startswith("int8 costs "))
    assert told.kind == "warning"
    assert told.text.endswith(f"({len(made) - 1} networks quantised, of {len(made)} that it should be)")
    for fronts in (result.fronts, rebuild(wanted, tmp_path / "runs", lambda event: None).fronts):
        found = [
            {each.candidate.arch: each.candidate.metrics["accuracy_search"] for each in front.candidates if is_int8(each)}
            for front in fronts
        ]
        both = set(found[0]) & set(found[1])
        assert len(both) >= 5
        assert all(found[0][arch] == found[1][arch] for arch in both)
    assert [front.to_dict()["candidates"] for front in fronts] == [front.to_dict()["candidates"] for front in result.fronts]


def is_int8(each: CandidateRecord) -> bool:
    return each.candidate.target.precision == "int8"


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.3, "int8 is left out on raspberrypi4/onnxruntime/int8/1: it takes 1.3x the time of fp32 (measured)"),
        (None, "int8 is left out on raspberrypi4/onnxruntime/int8/1: "),
    ],
)
def test_where_it_is_not_faster_it_is_left_out(factor: float | None, words: str, tmp_path: Path) -> None:
    prepared = prepare(config(tmp_path, factor), tmp_path / "runs", lambda event: None, lambda: False)
    assert not prepared.devices[0].scorer.others
    assert [event.text for event in prepared.words if event.text.startswith(words)]


def test_a_model_of_drops() -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(30, 2))
    drops = 0.01 + 0.004 * descriptors[:, 0] + rng.normal(scale=1e-4, size=30)
    model = DropModel.fit(descriptors, drops)
    assert model.drop(np.array([1.0, 0.0])) == pytest.approx(0.014, abs=1e-3)
    assert model.networks == 30
    assert model.std < 1e-3
    same = DropModel.fit(np.ones((4, 2)), np.full(4, 0.02))
    assert (same.drop(np.ones(2)), same.std) == (pytest.approx(0.02), pytest.approx(0.0))
    with pytest.raises(InputError, match="4 quantised networks or more, got 3"):
        DropModel.fit(descriptors[:3], drops[:3])


def test_operators_without_a_kernel_are_told() -> None:
    blocks = rich_space().blocks
    assert foreign_operators(blocks, "onnxruntime", "int8", {}) == ("hardsigmoid", "hardswish")
    assert foreign_operators(blocks, "onnxruntime", "fp32", {}) == ()
    assert foreign_operators(blocks, "onnxruntime", "fp32", {"fp32": ("shuffle", "silu")}) == ("shuffle",)
    assert foreign_operators(make_space().blocks, "onnxruntime", "int8", {"int8": ("depthwise",)}) == ("depthwise",)


def test_a_profile_names_operators_that_there_are(tmp_path: Path) -> None:
    data = yaml.safe_load((data_root("hw_profiles") / "raspberrypi4" / "profile.yaml").read_text())
    data["runtimes"]["onnxruntime"]["foreign"] = {"fp32": ["hardswish"]}
    assert parse_profile(data, tmp_path, "here").runtimes["onnxruntime"].foreign == {"fp32": ("hardswish",)}
    data["runtimes"]["onnxruntime"]["foreign"] = {"fp32": ["gelu"]}
    with pytest.raises(ProfileError, match="unknown operator 'gelu'"):
        parse_profile(data, tmp_path, "here")


def test_int8_needs_a_supernet_and_fp32_beside_it(tmp_path: Path) -> None:
    for changes, words in (({"precision": "int8"}, "int8 alone"), ({"evaluator": "train", "weights": None}, "does not have")):
        recipe = RECIPE.model_copy(update={"epochs": 1})
        folder = tmp_path / words.replace(" ", "-")
        folder.mkdir()
        with pytest.raises(InputError, match=words):
            prepare(config(folder, 0.5, recipe=recipe, **changes), folder / "runs", lambda event: None, lambda: False)


def test_a_network_stands_on_targets_of_every_precision_and_number_of_threads(tmp_path: Path) -> None:
    """int8 by two threads is slower here, by one and four faster; and it draws more, so that energy tells the targets apart."""
    wanted = config(tmp_path, None, threads=(1, 2, 4), finalists=3)
    home = Path(wanted.devices[0])
    profile = load_profile(str(home))
    for threads, factor in ((1, 0.5), (2, 1.1), (4, 0.6)):
        target = profile.target(threads=threads)
        known = profile.predictor(target)
        faster = replace(known, coefficients=tuple(factor * each for each in known.coefficients), measurements=30)
        save_predictor(faster, profile.predictor_path(replace(target, precision="int8")))
    data = yaml.safe_load((home / "profile.yaml").read_text())
    data["power"]["by_precision"] = {"int8": {1: 5.0, 4: 9.0}}
    (home / "profile.yaml").write_text(yaml.safe_dump(data))
    events: list[Event] = []
    front = run(wanted, tmp_path / "runs", events.append, lambda: False).fronts[0]
    texts = [event.text for event in events]
    assert any("ρ = " in text and "on 5 targets of raspberrypi4" in text and "third axis" in text for text in texts)
    assert any(text.startswith("int8 is left out on raspberrypi4/onnxruntime/int8/2: it takes ") for text in texts)
    assert front.objectives == ("accuracy_search", "latency_s", "energy_j")
    by_arch: dict[str, dict[tuple[str, int], CandidateRecord]] = {}
    for each in front.candidates:
        where = each.candidate.target
        by_arch.setdefault(each.candidate.arch.arch_id, {})[where.precision, where.threads] = each
    assert len(by_arch) == 5
    for found in by_arch.values():
        assert set(found) == {("fp32", 1), ("fp32", 2), ("fp32", 4), ("int8", 1), ("int8", 4)}
        for (precision, threads), watts in ((("int8", 1), 5.0), (("int8", 4), 9.0), (("fp32", 4), 6.4)):
            energy, latency_s = found[precision, threads].candidate.metrics["energy_j"], found[precision, threads].value("latency_s")
            assert latency_s is not None
            assert energy.value == pytest.approx(watts * latency_s)
            assert (energy.scope, energy.source) == ("board", "modelled")
        accuracies = {key: each.value("accuracy_search") for key, each in found.items()}
        assert accuracies["int8", 1] == accuracies["int8", 4]
        assert accuracies["fp32", 1] == accuracies["fp32", 4]
    standing = {arch: {each.candidate.target for each in front.front if each.candidate.arch.arch_id == arch} for arch in by_arch}
    assert max(map(len, standing.values())) > 1  # one architecture, several targets: each of them is best at something
    # Files are those of a precision: no network is made twice in one.
    made = [(each.candidate.arch, each.candidate.target.precision) for each in front.finalists]
    assert sorted(made, key=repr) == sorted({(each.candidate.arch, each.candidate.target.precision) for each in front.front}, key=repr)


def test_a_bound_that_int8_alone_meets(tmp_path: Path) -> None:
    quick = config(tmp_path, 0.5)
    prepared = prepare(quick, tmp_path / "runs", lambda event: None, lambda: False)
    rows = prepared.devices[0].feasible.rows
    fp32, int8 = (scorer.values(rows)["latency_s"] for scorer in prepared.devices[0].scorer.all)
    assert int8 == pytest.approx(0.5 * fp32)
    bounded = quick.model_copy(update={"constraints": (Constraint("latency_s", 0.9 * float(fp32.min())),)})
    device = prepare(bounded, tmp_path / "runs", lambda event: None, lambda: False).devices[0]
    assert len(device.feasible.rows)
    assert device.scorer.others[0].values(device.feasible.rows)["latency_s"].max() <= 0.9 * fp32.min()
    with pytest.raises(InfeasibleError, match="nothing meets latency"):
        prepare(bounded.model_copy(update={"precision": "fp32"}), tmp_path / "runs", lambda event: None, lambda: False)
