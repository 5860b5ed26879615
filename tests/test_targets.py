"""What a search chooses among: runtimes, threads, and int8 where it is faster."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nas.config import check_config
from nas.errors import InputError, UnknownNameError
from nas.hardware.predictor_file import save_predictor
from nas.hardware.profile import DeviceProfile, load_profile
from nas.resources import data_root
from nas.search.energy_axis import energy_axis, verdict
from nas.space import load_space
from nas.targets import alike_words, fp32_targets, scorer_of, unmeasured_words, with_faster_int8

SPACE = load_space("mobilenet_tiny")
BASE = {"study": "s", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": "digits"}


@pytest.fixture
def profile(tmp_path: Path) -> DeviceProfile:
    """A Raspberry Pi 4 with two runtimes and int8 of one of them: by one thread it takes .6 of the time."""
    home = tmp_path / "raspberrypi4"
    shutil.copytree(data_root("hw_profiles") / "raspberrypi4", home)
    data = yaml.safe_load((home / "profile.yaml").read_text())
    data["runtimes"]["openvino"] = {"version": "2026.1", "precisions": ["fp32"]}
    (home / "profile.yaml").write_text(yaml.safe_dump(data))
    found = load_profile(str(home))
    target = found.target()
    known = found.predictor(target)
    faster = replace(known, coefficients=tuple(0.6 * each for each in known.coefficients), speedup=None, measurements=30)
    save_predictor(faster, found.predictor_path(replace(target, precision="int8")))
    return found


def test_targets_are_runtimes_times_threads(profile: DeviceProfile) -> None:
    assert [each.key for each in fp32_targets(profile, check_config(BASE))] == ["raspberrypi4/onnxruntime/fp32/1"]
    config = check_config({**BASE, "runtime": ("openvino", "onnxruntime"), "threads": (1, 4)})
    assert [(each.runtime, each.threads) for each in fp32_targets(profile, config)] == [
        ("openvino", 4), ("onnxruntime", 4), ("openvino", 1), ("onnxruntime", 1),
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="unknown runtime of raspberrypi4 'tflite'"):
        fp32_targets(profile, check_config({**BASE, "runtime": "tflite"}))


def test_runtimes_that_one_predictor_answers_for_are_told(profile: DeviceProfile) -> None:
    targets = fp32_targets(profile, check_config({**BASE, "runtime": ("onnxruntime", "openvino"), "threads": (1, 4)}))
    predictors = {target: profile.predictor(target) for target in targets}
    (word,) = alike_words(profile, predictors)
    assert (word.kind, word.text) == (
        "warning", "raspberrypi4 has one predictor for onnxruntime and openvino: nothing tells them apart",
    )  # fmt: skip
    slower = replace(predictors[targets[0]], coefficients=tuple(2 * each for each in predictors[targets[0]].coefficients))
    apart = {target: slower if target.runtime == "openvino" else known for target, known in predictors.items()}
    assert alike_words(profile, apart) == ()


def test_a_target_that_was_not_measured_is_told_where_others_were(profile: DeviceProfile) -> None:
    one, four = sorted(fp32_targets(profile, check_config({**BASE, "threads": (1, 4)})), key=lambda target: target.threads)
    assert unmeasured_words(profile, [one, four]) == ()  # in int8 one was, which a search does not choose by itself
    save_predictor(profile.predictor(four), profile.predictor_path(four))
    (word,) = unmeasured_words(profile, [one, four])
    assert (word.kind, word.text) == (
        "warning",
        "latency on raspberrypi4/onnxruntime/fp32/1 was not measured, with --runtime onnxruntime --threads 4 it was: ask for that, or "
        "nas measure --device raspberrypi4 --runtime onnxruntime --threads 1",
    )


def test_int8_joins_where_it_is_faster_and_energy_sees_all_targets(profile: DeviceProfile) -> None:
    targets = fp32_targets(profile, check_config({**BASE, "threads": (1, 4)}))
    found, words = with_faster_int8(SPACE, {target: profile.predictor(target) for target in targets}, profile.predictor, 0)
    assert [target.key for target in found] == [f"raspberrypi4/onnxruntime/{rest}" for rest in ("fp32/4", "fp32/1", "int8/1")]
    assert words[0].text.startswith("int8 is left out on raspberrypi4/onnxruntime/int8/4: ")
    assert words[0].text.endswith("nas measure --device raspberrypi4 --runtime onnxruntime --precision int8 --threads 4")
    assert words[0].kind == "warning"  # so that the report has it
    assert words[1].text == "int8 is 1.7x as fast on raspberrypi4/onnxruntime/int8/1 (measured)"
    scorer = scorer_of(SPACE, profile, found)
    assert [each.target for each in scorer.all] == list(found)
    rows = SPACE.sample_rows(500, 0)
    axis = energy_axis(scorer, rows)
    assert axis is not None
    assert (axis.targets, axis.scored) == (3, 1500)
    assert verdict([axis]) == "targets"
    # Watts that are the same in both precisions: by one number of threads energy is latency over again, and that is said.
    alone = {target: known for target, known in found.items() if target.threads == 1}
    axis = energy_axis(scorer_of(SPACE, profile, alone), rows)
    assert axis is not None
    assert (axis.targets, verdict([axis])) == (2, "shown")
    assert axis.across == pytest.approx(1.0)


def test_what_is_asked_for_is_asked_once() -> None:
    with pytest.raises(InputError, match="runtime: one is named twice: onnxruntime, onnxruntime"):
        check_config({**BASE, "runtime": ("onnxruntime", "onnxruntime")})
    with pytest.raises(InputError, match="verify measures with one runtime, got onnxruntime, openvino"):
        check_config({**BASE, "verify": True, "runtime": ("onnxruntime", "openvino")})
    assert check_config({**BASE, "runtime": "onnxruntime"}).runtime == ("onnxruntime",)  # a study of an earlier version
    assert check_config({**BASE, "runtime": None, "threads": None}).runtime == ()
