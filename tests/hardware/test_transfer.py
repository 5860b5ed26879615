"""The rules by which a device without measurements gets a predictor, on published latencies, and against measured ones where there are."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import BlockSpec
from nas.errors import InputError, ProfileError
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.predictor_file import load_predictor
from nas.hardware.profile import load_profile
from nas.hardware.roofline import CoreFacts
from nas.hardware.transfer import OTHER_USE, Published, transfer, transfer_by_facts
from nas.resources import data_root
from nas.space import load_space, reference_blocks, reference_names

BLOCKS = {name: reference_blocks(name) for name in reference_names()}
MODELS = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "mnasnet_a1")
FBNET_OPS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")


def prior(device: str) -> LatencyPredictor:
    return load_predictor(data_root("hw_profiles") / device / "prior-fp32.json")


def rows(source: LatencyPredictor, factor: float, threads: int, models: tuple[str, ...] = MODELS[:3]) -> list[Published]:
    """Published latencies of a device that is `factor` times as slow as the source."""
    return [Published(model, threads, factor * source.predict(BLOCKS[model], 1).value, "ncnn") for model in models]


@settings(deadline=None, max_examples=20)  # a reference network is read from its file each time
@given(factor=st.floats(0.01, 100), threads=st.integers(1, 8), used=st.integers(1, len(MODELS)))
def test_the_scale_is_found_and_the_band_is_never_narrower_than_its_parts(factor: float, threads: int, used: int) -> None:
    source = prior("pixel3")
    made = transfer(source, rows(source, factor, threads, MODELS[:used]), 8, "pixel3")
    exact = next(each.predictor for each in made if threads in each.threads)
    blocks = BLOCKS["mobilenet_v2"]
    assert exact.predict(blocks, threads).value == pytest.approx(factor * source.predict(blocks, 1).value)
    assert exact.half_width >= math.hypot(source.half_width, math.log(OTHER_USE))
    assert set(exact.origins) == {"chip"}
    assert exact.measurements == used
    counts = [count for each in made for count in each.threads]
    assert sorted(counts) == sorted(set(counts))
    assert set(range(1, threads + 1)) <= set(counts)
    for each in made:
        assert set(each.threads) <= set(each.predictor.thread_counts())
        assert min(each.predictor.coefficients) > 0


@settings(deadline=None, max_examples=8)
@given(threads=st.integers(2, 8))
def test_fewer_threads_than_published_are_slower_and_less_certain(threads: int) -> None:
    source = prior("pixel3")
    made = transfer(source, rows(source, 0.2, threads), 8, "pixel3")
    known = {count: each.predictor.predict(BLOCKS["mobilenet_v2"], count) for each in made for count in each.threads}
    values = [known[count].value for count in sorted(known)]
    assert values == sorted(values, reverse=True)
    widths = {count: float(metric.high or 0.0) / metric.value for count, metric in known.items()}
    assert min(widths, key=lambda count: widths[count]) == threads


def test_published_speed_up_is_used_where_there_is_one() -> None:
    source = prior("pixel3")
    made = transfer(source, [*rows(source, 1.0, 1), *rows(source, 0.5, 4)], 8, "pixel3")
    assert [each.threads for each in made] == [(1, 2, 3, 4)]
    assert made[0].predictor.speedup is not None
    assert made[0].predictor.speedup.median == pytest.approx(2.0)
    alone = transfer(source, rows(source, 1.0, 1), 8, "pixel3")[0]
    assert alone.threads == tuple(range(1, 9))


def test_few_rows_siblings_and_perhaps_half_precision_are_less_certain() -> None:
    source = prior("pixel3")
    half = [dataclasses.replace(row, may_be_half=True) for row in rows(source, 1.0, 1)]
    one, three = (transfer(source, rows(source, 1.0, 1, MODELS[:n]), 4, "pixel3")[0].predictor for n in (1, 3))
    sibling = transfer(source, rows(source, 1.0, 1), 4, "pixel3", "n5105", 1.25)[0].predictor
    assert three.half_width < one.half_width < sibling.half_width
    assert transfer(source, half, 4, "pixel3")[0].predictor.half_width > three.half_width
    assert sibling.coefficients[0] == pytest.approx(three.coefficients[0] / 1.25)
    assert "n5105" in sibling.source
    scattered = [
        dataclasses.replace(row, latency_s=row.latency_s * factor) for row, factor in zip(rows(source, 1, 1), (1, 1, 2), strict=True)
    ]
    wide = transfer(source, scattered, 4, "pixel3")[0].predictor
    # The odd one out is twice what the others say.
    assert dict(wide.quality)["leave_one_model_out_largest"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("given_rows", "words"),
    [
        ([], "at least one"),
        ([Published("mobilenet_v2", 8, 0.1, "ncnn")], "8 threads.*4 cores"),
        ([Published("mobilenet_v2", 1, 0.1, "ncnn")] * 2, "twice"),
    ],
)
def test_rows_that_cannot_serve_are_refused(given_rows: list[Published], words: str) -> None:
    with pytest.raises(InputError, match=words):
        transfer(prior("pixel3"), given_rows, 4, "pixel3")


@pytest.mark.parametrize(("latency_s", "threads"), [(0.0, 1), (math.nan, 1), (math.inf, 1), (0.1, 0)])
def test_published_latencies_check_themselves(latency_s: float, threads: int) -> None:
    with pytest.raises(ProfileError, match="mobilenet_v2"):
        Published("mobilenet_v2", threads, latency_s, "ncnn")


def test_a_transferred_predictor_is_no_source() -> None:
    source = prior("pixel3")
    made = transfer(source, rows(source, 1.0, 1), 4, "pixel3")[0].predictor
    with pytest.raises(ProfileError, match="not measured itself"):
        transfer(made, rows(source, 1.0, 1), 4, "mine")
    with pytest.raises(ProfileError, match="not measured itself"):
        transfer_by_facts(made, CoreFacts(1e9, 4, 1e9), CoreFacts(1e9, 4, 1e9), 1, "mine")


def test_facts_alone_scale_by_the_ratio_of_the_chips() -> None:
    source, core = prior("raspberrypi4"), CoreFacts(1.5e9, 4, 4.6e9)
    same = transfer_by_facts(source, core, core, 1, "raspberrypi4")
    twice = transfer_by_facts(source, core, CoreFacts(3e9, 4, 9.2e9), 1, "raspberrypi4")
    blocks = BLOCKS["mobilenet_v2"]
    assert same.coefficients == pytest.approx(source.coefficients)
    assert twice.predict(blocks).value == pytest.approx(same.predict(blocks).value / 2)
    assert twice.half_width == pytest.approx(math.log(3))


@pytest.mark.parametrize(("device", "source"), [("raspberrypi4", "pixel3"), ("raspberrypi4", "raspberrypi4")])
def test_a_measured_board_treated_as_unmeasured_is_inside_its_band(device: str, source: str, shared_data: Path) -> None:
    """The evidence for `OTHER_USE`: 5,000 networks measured at 32 x 32 on a board whose scale is from ncnn's at 224 x 224."""
    import pyarrow.parquet as pq

    predictor = transfer(prior(source), published(shared_data)[device], 4, source)[0].predictor
    table = pq.read_table(shared_data / "fbnet_latency.parquet").to_pydict()
    space = load_space("fbnet")
    columns = np.array([table[f"op{layer}"] for layer in range(len(space.genes))]).T
    choice = np.array([[gene.choices.index(op) for op in FBNET_OPS] for gene in space.genes])
    genes = choice[np.arange(len(space.genes)), columns].astype(np.int16)
    _, low, high = predictor.predict_rows(space.blocks, space.block_index(genes))
    measured_s = np.array(table["raspi4_ms"]) * 1e-3
    assert float(np.mean((low <= measured_s) & (measured_s <= high))) >= 0.9


def nasbench201(arch: str) -> tuple[BlockSpec, ...]:
    """A NAS-Bench-201 network (Dong & Yang 2020, arXiv:2001.00326) of 1x1 convolutions and skips alone."""
    convs = arch.count("nor_conv_1x1")
    blocks = [BlockSpec("stem", "conv", 3, 16, 32, 3, 1, "none")]
    for chs, size in ((16, 32), (32, 16), (64, 8)):
        if chs > 16:
            blocks += [
                BlockSpec("down", "conv", chs // 2, chs, 2 * size, 3, 2, "relu"),
                BlockSpec("down", "conv", chs, chs, size, 3, 1, "relu"),
            ]
            blocks += [BlockSpec("down", "conv", chs // 2, chs, size, 1, 1, "none")]
        blocks += [BlockSpec("edge", "conv", chs, chs, size, 1, 1, "relu")] * (5 * convs)
    return (*blocks, BlockSpec("pool", "pool", 64, 64, 8), BlockSpec("classifier", "linear", 64, 100, 1))


def test_networks_measured_on_a_raspberry_pi_5_in_another_runtime_are_inside_its_band(shared_data: Path) -> None:
    """Real fp32 measurements of ONNX Runtime on one core, to which nothing was fitted (HW-NAS-Bench-360)."""
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / "nasbench201_pi.parquet").to_pydict()
    simple = [
        row
        for row, arch in enumerate(table["arch"])
        if table["connected"][row]
        and table["arch_idx"][row] == table["rep_arch_idx"][row]
        and not {"nor_conv_3x3", "avg_pool_3x3"} & set(re.findall(r"[a-z_0-9]+(?=~)", arch))
        and "nor_conv_1x1" in arch
    ]
    assert len(simple) > 50
    predictor = load_profile("raspberrypi5").predictor(load_profile("raspberrypi5").target())
    ratios = [table["pi5_onnx_lat_ms"][row] * 1e-3 / predictor.predict(nasbench201(table["arch"][row])).value for row in simple]
    # The sums of the graph's nodes are not counted here, so the truth is a little more.
    assert 0.75 < float(np.median(ratios)) < 1.4
    assert float(np.mean(np.abs(np.log(ratios)) <= predictor.half_width)) >= 0.9


def published(data: Path) -> dict[str, list[Published]]:
    import transfer_priors

    found: dict[str, list[Published]] = transfer_priors.read_published(data / "published_latency.csv")
    return found


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))


def test_every_held_out_network_is_inside_the_band_of_the_others(shared_data: Path) -> None:
    """Leave one model out, on every board that ships and on the Raspberry Pi 4 as if nothing were measured there."""
    import transfer_priors

    boards = published(shared_data)
    profiles = [load_profile(name) for name in ("raspberrypi5", "jetson-nano", "jetson-orin-nano", "rk3588", "intel-n100")]
    cases = [(load_profile(str(profile.like)), transfer_priors.rows_for(profile, boards)) for profile in profiles]
    cases.append((load_profile("pixel3"), [row for row in boards["raspberrypi4"] if row.runtime == "ncnn"]))
    for like, known in cases:
        for held in known:
            rest = [row for row in known if row.model != held.model]
            made = transfer(load_predictor(like.folder / "prior-fp32.json"), rest, 6, like.name)
            predictor = next(each.predictor for each in made if held.threads in each.threads)
            metric = predictor.predict(BLOCKS[held.model], held.threads)
            assert float(metric.low or 0) <= held.latency_s <= float(metric.high or 0)


def test_the_script_makes_the_shipped_predictors_again(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transfer_priors

    monkeypatch.setattr(sys, "argv", ["transfer_priors", "--data", str(shared_data), "--out", str(tmp_path)])
    transfer_priors.main()
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/*.json"))
    shipped = {entry.file for name in {path.parent.name for path in made} for entry in load_profile(name).predictors}
    assert {path.name for path in made} == shipped
    for path in made:
        again, kept = load_predictor(tmp_path / path), load_predictor(data_root("hw_profiles") / path)
        np.testing.assert_allclose(again.coefficients, kept.coefficients, rtol=1e-3)
        assert again.half_width == pytest.approx(kept.half_width, rel=1e-3)
        assert (again.ranges, again.unseen, again.source) == (kept.ranges, kept.unseen, kept.source)


PUBLISHED_ROW = {"model": "mobilenet_v2", "latency_s": 0.034, "threads": 4, "runtime": "ncnn", "source": "made up"}


@pytest.fixture
def mine() -> dict[str, Any]:
    """A user's own profile, with chip facts alone."""
    path = data_root("hw_profiles") / "rk3588" / "profile.yaml"
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {**data, "name": "mychip", "aliases": [], "predictors": [], "like": None}


def write(folder: Path, data: dict[str, Any]) -> Path:
    home = folder / "mychip"
    home.mkdir(parents=True)
    (home / "profile.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return home


def test_the_more_a_profile_says_the_narrower_its_band(tmp_path: Path, mine: dict[str, Any]) -> None:
    blocks = BLOCKS["mobilenet_v2"]
    widths = []
    said: tuple[dict[str, Any], ...] = ({}, {"like": "pixel3"}, {"like": "pixel3", "published": [PUBLISHED_ROW]})
    for number, keys in enumerate(said):
        profile = load_profile(str(write(tmp_path / str(number), {**mine, **keys})))
        for threads in (1, 4):
            predictor = profile.predictor(profile.target(threads=threads))
            metric = predictor.predict(blocks, threads)
            assert float(metric.low or 0) < metric.value
        widths.append(predictor.half_width)
    assert metric.value == pytest.approx(0.034)
    assert math.log(3) < widths[0] == widths[1] < math.log(3.2)
    assert widths[2] < widths[1]


def test_a_transferred_device_ranks_networks(tmp_path: Path, mine: dict[str, Any]) -> None:
    space = load_space("mobilenet_cifar")
    profile = load_profile(str(write(tmp_path, {**mine, "like": "raspberrypi4"})))
    predictor = profile.predictor(profile.target())
    low, high = (predictor.predict(space.decode(arch)).value for arch in (space.smallest, space.largest))
    assert 0 < low < high


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"like": "rasberrypi4"}, "like: .*rasberrypi4.*did you mean raspberrypi4"),
        ({"like": "raspberrypi5"}, "like: raspberrypi5 was not measured itself"),
        ({"like": "x86-64-vnni"}, "like: x86-64-vnni has no predictor"),
        ({"like": "mychip"}, "like .*mychip"),
        ({"published": [PUBLISHED_ROW]}, "need like"),
        ({"like": "pixel3", "published": [PUBLISHED_ROW, PUBLISHED_ROW]}, "published: .*twice"),
        ({"like": "pixel3", "published": [{**PUBLISHED_ROW, "threads": 8}]}, "8 threads, more than the chip's 4 cores"),
        (
            {"like": "pixel3", "published": [{**PUBLISHED_ROW, "model": "resnet50"}]},
            r"published.0.model: .*known are .*mobilenet_v2.*'resnet50'",
        ),
        ({"like": "pixel3", "published": [{**PUBLISHED_ROW, "latency_ms": 3}]}, "latency_ms: unknown key: did you mean latency_s"),
        ({"like": "pixel3", "published": [{**PUBLISHED_ROW, "latency_s": -1}]}, "published.0.latency_s: .*-1"),
        (
            {"like": "pixel3", "published": [{**PUBLISHED_ROW, "latency_s": 25}]},
            "published.0.latency_s: 25 s cannot be, .*: if that is in ms, write 0.025, got 25",
        ),
        ({"like": "pixel3", "sibling": {"name": "n5105", "speed": 0, "source": "x"}}, "sibling.speed: .*0"),
        ({"lik": "pixel3"}, "lik: unknown key: did you mean like"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_value(tmp_path: Path, mine: dict[str, Any], keys: dict[str, Any], words: str) -> None:
    home = write(tmp_path, {**mine, **keys})
    with pytest.raises(ProfileError, match=rf"profile.yaml: .*{words}"):
        load_profile(str(home)).target()
