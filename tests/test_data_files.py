"""Every file in search_spaces/ and hw_profiles/ is tested by being there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nas.architecture import Architecture
from nas.cost import count
from nas.hardware.facts import Amount
from nas.hardware.predictor_file import load_predictor
from nas.hardware.profile import load_profile, profile_names
from nas.resources import data_root
from nas.space import load_reference, load_space, reference_blocks, reference_names, space_names
from nas.space_file import read_references, read_space

SPACES = sorted(path for path in data_root("search_spaces").glob("*.yaml") if path.stem != "references")
PROFILES = sorted(data_root("hw_profiles").glob("*/profile.yaml"))

# Multiply-adds of convolutions and linear layers, and trained parameters, as published or counted on the authors' own code.
PUBLISHED = {
    "mobilenet_v2": (300.8e6, 3.50e6),
    "mobilenet_v3_large": (216.6e6, 5.48e6),
    "mnasnet_a1": (311.6e6, 3.89e6),
    "efficientnet_b0": (385.8e6, 5.29e6),
    "efficientnet_lite0": (385.2e6, 4.65e6),
}


def test_the_folders_hold_what_is_listed() -> None:
    assert [path.stem for path in SPACES] == space_names() != []
    assert sorted([path.parent.name for path in PROFILES] + ["host"]) == profile_names()
    assert not [path for path in data_root("search_spaces").iterdir() if path.suffix != ".yaml"]


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_spaces(path: Path) -> None:
    file = read_space(path)
    space = load_space(file.name)
    assert file.name == path.stem == space.name
    assert "arXiv:" in space.source
    assert space.size > 1000
    small, large = count(space.decode(space.smallest)), count(space.decode(space.largest))
    assert 0 < small.macs < large.macs
    assert 0 < small.params < large.params
    assert small.peak_activation_bytes <= large.peak_activation_bytes


def test_two_cores_can_train_the_small_spaces() -> None:
    cifar, tiny = load_space("mobilenet_cifar"), load_space("mobilenet_tiny")
    assert count(cifar.decode(cifar.largest)).macs <= 20e6
    assert count(tiny.decode(tiny.largest)).macs <= 5e6
    assert (cifar.resolutions, tiny.in_chs) == ((32,), 1)
    # Inside the range of the Raspberry Pi's measurements.
    assert min(block.out_chs for block in tiny.blocks if block.kind != "linear") >= 16
    assert max(tiny.resolutions) <= 32


def test_the_published_spaces_have_their_published_choices() -> None:
    ofa, fbnet = load_space("mobilenetv3"), load_space("fbnet")
    layers = sum((3 * 3) ** depth for depth in (2, 3, 4))
    assert ofa.size == layers**5 * len(ofa.resolutions)
    assert (ofa.resolutions[0], ofa.resolutions[-1]) == (128, 224)
    assert fbnet.size == 9**22
    assert fbnet.resolutions == (32,)


def test_efficientnet_lite_holds_lite0_as_it_is() -> None:
    space = load_space("efficientnet_lite")
    genes = {gene.name: gene.choices for gene in space.genes}
    lite0: dict[str, int] = {
        "resolution": 224, "s2.width": 24, "s2.depth": 2, "s3.width": 40, "s3.depth": 2, "s4.width": 80, "s4.depth": 3, "s5.width": 112,
        "s5.depth": 3, "s6.width": 192, "s6.depth": 4, "s7.width": 320,
    }  # fmt: skip
    kernels = {2: 3, 3: 5, 4: 3, 5: 5, 6: 5}
    for name in genes:
        stage = int(name[1]) if name[0] == "s" else 0
        if name.endswith("kernel_size"):
            lite0[name] = kernels[stage]
        elif name.endswith("expand_ratio"):
            lite0[name] = 6
    assert space.decode(space.canonical(lite0)) == reference_blocks("efficientnet_lite0")


@pytest.mark.parametrize("name", reference_names())
def test_references(name: str) -> None:
    macs, params = PUBLISHED[name]
    cost = count(reference_blocks(name))
    assert cost.macs == pytest.approx(macs, rel=0.005)
    assert cost.params == pytest.approx(params, rel=0.005)
    space = load_reference(name)
    assert space.source
    assert space.largest == Architecture(name, ())


def test_every_reference_is_published_and_states_its_source() -> None:
    found = read_references(data_root("search_spaces") / "references.yaml")
    assert set(found) == set(PUBLISHED)
    assert all(any(word in file.source for word in ("arXiv:", "repository")) for file in found.values())


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_profiles(path: Path) -> None:
    folder = path.parent
    profile = load_profile(folder.name)
    assert profile.name == folder.name
    assert all(load_profile(alias) == profile for alias in profile.aliases)
    facts = yaml.safe_load(path.read_text(encoding="utf-8"))["chip"]
    assert all(fact["source"] for fact in facts.values())
    assert profile.power.source
    amounts = (fact for _, fact in profile.chip if isinstance(fact, Amount))
    assert all(amount.kind == "modelled" for amount in amounts if amount.source.startswith(("assumption", "as ")))
    assert profile.unknown
    for runtime, entry in profile.runtimes.items():
        for precision in entry.precisions:
            predictor = profile.predictor(profile.target(runtime, precision))
            assert predictor.source
            assert predictor.half_width > 0
    # A predictor file that no profile names is dead.
    named = {entry.file for entry in profile.predictors} | {"profile.yaml"}
    assert {file.name for file in folder.iterdir() if file.is_file()} == named
    assert all(load_predictor(folder / entry.file).licence for entry in profile.predictors)


@pytest.mark.parametrize("name", space_names())
@pytest.mark.parametrize("device", [path.parent.name for path in PROFILES])
def test_every_device_predicts_every_space(device: str, name: str) -> None:
    profile, space = load_profile(device), load_space(name)
    predictor = profile.predictor(profile.target())
    small, large = (predictor.predict(space.decode(arch)) for arch in (space.smallest, space.largest))
    assert 0 < small.value < large.value < 60
