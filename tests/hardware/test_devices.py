"""Every device that ships, against what is published: adding one adds tests. A published figure lies inside the band that we print."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.hardware.predictor_file import load_predictor
from nas.hardware.profile import DeviceProfile, load_profile
from nas.resources import data_root
from nas.space import load_space, reference_blocks, reference_names
from nas.target import Target

DEVICES = sorted(path.parent.name for path in data_root("hw_profiles").glob("*/profile.yaml"))
NETWORKS = {name: reference_blocks(name) for name in reference_names()}
FITTED, WIDEST = ("raspberrypi4", "pixel3"), 3.2  # x/÷ 3 from chip facts, a little more with an assumed speed-up of threads
MOST_THREADS = 4  # that a row without a count ("multi") of a four-core board is of


def targets(profile: DeviceProfile) -> Iterator[Target]:
    """Every target that the profile answers for."""
    for runtime, entry in profile.runtimes.items():
        for precision in entry.precisions:
            for threads in range(1, profile.cores + 1):
                try:
                    yield profile.target(runtime, precision, threads)
                except InputError:
                    continue


@pytest.mark.parametrize("device", DEVICES)
def test_every_target_has_a_predictor_with_a_band(device: str) -> None:
    profile = load_profile(device)
    answered = list(targets(profile))
    assert profile.target() in answered
    for target in answered:
        predictor = profile.predictor(target)
        assert min(predictor.coefficients) > 0
        assert 0 < predictor.half_width <= math.log(WIDEST)
        assert predictor.source
        assert profile.power.at(target.threads) > profile.power.at(0)
        for blocks in NETWORKS.values():
            metric = predictor.predict(blocks, target.threads)
            assert metric.low is not None
            assert metric.high is not None
            assert metric.low < metric.value < metric.high


@pytest.mark.parametrize("device", DEVICES)
def test_every_predictor_file_is_named_and_says_how_it_was_made(device: str) -> None:
    profile = load_profile(device)
    assert {entry.file for entry in profile.predictors} == {path.name for path in profile.folder.glob("*.json")}
    for entry in profile.predictors:
        predictor = load_predictor(profile.folder / entry.file)
        assert set(entry.threads) <= set(predictor.thread_counts())
        assert entry.how.startswith(("scripts/", "nas bench")), "the command that makes it again"
        # What another device's fit decides is no measurement of this one.
        assert ("fitted" in predictor.origins) == (profile.like is None)


@pytest.mark.parametrize("device", DEVICES)
def test_every_figure_has_a_source_and_what_is_not_known_is_said(device: str) -> None:
    profile = load_profile(device)
    unknown = " ".join(profile.unknown)
    assert "int8" in unknown
    assert "thrott" in unknown or "clocks" in unknown
    if profile.power.assumed:
        assert "assumption" in profile.power.source
        assert "watts" in unknown
        assert profile.power.spread > 1
    if profile.default.threads not in profile.power.watts:
        assert profile.power.spread > 1, "watts between two counts of busy cores are not measured ones"
    if device not in FITTED:
        assert profile.like is None or "single layer" in unknown


def test_the_readme_says_how_wide_the_bands_of_transferred_boards_are() -> None:
    profiles = [load_profile(device) for device in DEVICES]
    widths = [profile.predictor(target).half_width for profile in profiles if profile.like for target in targets(profile)]
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"with bands of x/÷ {math.exp(min(widths)):.1f} to {math.exp(max(widths)):.1f}" in readme


@pytest.mark.parametrize("device", DEVICES)
def test_more_threads_are_never_slower_and_larger_networks_never_faster(device: str) -> None:
    profile, space = load_profile(device), load_space("mobilenet_cifar")
    ends = (space.decode(space.smallest), space.decode(space.largest))
    values = []
    for target in targets(profile):
        small_s, large_s = (profile.predictor(target).predict(blocks, target.threads).value for blocks in ends)
        assert small_s < large_s
        values.append(large_s)
    assert values == sorted(values, reverse=True)


def rows(data: Path) -> Iterator[tuple[DeviceProfile, str, int, float]]:
    """Published fp32 latencies of devices that ship, of networks that we know: profile, model, threads, seconds."""
    aliases = {alias: name for name in DEVICES for alias in (name, *load_profile(name).aliases)}
    with (data / "published_latency.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["board"] in aliases and row["precision"] == "fp32" and row["model"] in NETWORKS:
                threads = int(row["threads"]) if row["threads"].isdigit() else MOST_THREADS
                yield load_profile(aliases[row["board"]]), row["model"], threads, float(row["latency_ms"]) * 1e-3


def test_every_published_latency_is_inside_the_printed_band(shared_data: Path) -> None:
    seen = set()
    for profile, model, threads, seconds in rows(shared_data):
        metric = profile.predictor(profile.target(threads=threads)).predict(NETWORKS[model], threads)
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low <= seconds <= metric.high, (profile.name, model, threads)
        seen.add(profile.name)
    assert seen == {"raspberrypi4", "raspberrypi5", "jetson-nano", "jetson-orin-nano", "rk3588"}


def test_a_sibling_s_latencies_are_inside_the_band(shared_data: Path) -> None:
    profile = load_profile("intel-n100")
    assert profile.sibling is not None
    with (shared_data / "published_latency.csv").open(newline="", encoding="utf-8") as file:
        known = [row for row in csv.DictReader(file) if row["board"] == profile.sibling.name and row["model"] in NETWORKS]
    assert known
    for row in known:
        metric = profile.predictor(profile.target(threads=4)).predict(NETWORKS[row["model"]], 4)
        assert metric.low is not None
        assert metric.low <= float(row["latency_ms"]) * 1e-3 <= float(metric.high or 0)


@pytest.mark.parametrize("model", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_boards_are_ordered_as_published(model: str) -> None:
    def latency_s(device: str, threads: int) -> float:
        profile = load_profile(device)
        return profile.predictor(profile.target(threads=threads)).predict(NETWORKS[model], threads).value

    assert latency_s("raspberrypi5", 1) < latency_s("pixel3", 1) < latency_s("raspberrypi4", 1)
    four = [latency_s(device, 4) for device in ("rk3588", "raspberrypi5", "intel-n100", "raspberrypi4")]
    assert four == sorted(four)
    assert latency_s("raspberrypi5", 4) < latency_s("jetson-nano", 4) < latency_s("raspberrypi4", 4)
    assert latency_s("jetson-orin-nano", 6) < latency_s("raspberrypi5", 4)


@pytest.mark.parametrize(
    ("board", "device"),
    [
        ("jetson-nano-cpu", "jetson-nano"), ("jetson-orin-nano-cpu", "jetson-orin-nano"), ("rpi5", "raspberrypi5"), ("n100", "intel-n100"),
        ("RK3588S", "rk3588"), ("x86_64-vnni", "x86-64-vnni"),
    ],
)  # fmt: skip
def test_names_of_published_tables_are_aliases(board: str, device: str) -> None:
    assert load_profile(board).name == device


def test_aliases_are_of_one_device() -> None:
    names = [alias.lower() for device in DEVICES for alias in (device, *load_profile(device).aliases)]
    assert len(names) == len(set(names))
