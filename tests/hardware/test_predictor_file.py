from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nas.errors import ProfileError
from nas.hardware.correction import Correction
from nas.hardware.features import FEATURES
from nas.hardware.predictor import LatencyPredictor
from nas.hardware.predictor_file import load_predictor, predictor_from_dict, predictor_to_dict, save_predictor


def test_a_file_gives_the_same_predictor(predictor: LatencyPredictor, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "predictor.json"
    save_predictor(predictor, path)
    assert load_predictor(path) == predictor
    assert json.loads(path.read_text())["schema"] == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["predictor.json"]


def test_a_correction_is_kept(predictor: LatencyPredictor, tmp_path: Path) -> None:
    weights = tuple(float(number) * 1e-9 for number in range(len(FEATURES)))
    corrected = dataclasses.replace(predictor, correction=Correction(0.01, weights, 0.1))
    save_predictor(corrected, tmp_path / "p.json")
    assert load_predictor(tmp_path / "p.json") == corrected


def test_files_of_schema_1_are_read(predictor: LatencyPredictor) -> None:
    data = json.loads(json.dumps(predictor_to_dict(predictor)))
    del data["correction"]
    assert predictor_from_dict({**data, "schema": 1, "ranges": {}}, "here") == dataclasses.replace(predictor, ranges=())


def test_the_ranges_of_blocks_in_older_files_become_those_of_their_operators(predictor: LatencyPredictor) -> None:
    data = predictor_to_dict(predictor)
    ranges = {"conv.in_size": [4, 64], "mbconv.in_size": [8, 32], "mbconv.in_chs": [16, 40], "mbconv.mid_chs": [48, 240]}
    found = {name: (low, high) for name, low, high in predictor_from_dict({**data, "schema": 2, "ranges": ranges}, "here").ranges}
    assert found["stem.in_size"] == found["pointwise.in_size"] == (4, 64)
    assert found["depthwise.in_size"] == (8, 32)
    assert found["pointwise.in_chs"] == (16, 240)
    assert found["depthwise.out_chs"] == (48, 240)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"limit": 9.0}, "limit"), ({"weights": {}}, "correction.weights: macs_stem is missing"), ({"kind": "forest"}, "correction.kind")],
)
def test_a_bad_correction_is_named(predictor: LatencyPredictor, change: dict[str, object], words: str) -> None:
    data = predictor_to_dict(dataclasses.replace(predictor, correction=Correction(0.0, (0.0,) * len(FEATURES), 0.1)))
    correction = data["correction"]
    assert isinstance(correction, dict)
    with pytest.raises(ProfileError, match=f"^here: .*{words}"):
        predictor_from_dict({**data, "correction": {**correction, **change}}, "here")


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("schema",), 4, "newer"),
        (("schema",), "1", "schema"),
        (("halfwidth",), 1.0, "half_width"),
        (("half_width",), "wide", "half_width.*'wide'"),
        (("half_width",), -1.0, "half_width.*-1"),
        (("coefficients", "macs_pointwise", "seconds"), -1e-9, "macs_pointwise.seconds"),
        (("coefficients", "macs_pointwise", "secs"), 1.0, "seconds"),
        (("coefficients", "macs_pointless"), {"seconds": 1.0, "origin": "chip"}, "macs_pointless"),
        (("coefficients", "macs_stem", "origin"), "guess", "origin.*'guess'"),
        (("speedup", "high"), 9.0, "speed-up"),
    ],
)
def test_a_bad_value_is_named(predictor: LatencyPredictor, keys: tuple[str, ...], value: object, words: str) -> None:
    data = json.loads(json.dumps(predictor_to_dict(predictor)))
    owner = data
    for key in keys[:-1]:
        owner = owner[key]
    owner[keys[-1]] = value
    with pytest.raises(ProfileError, match=f"^here: .*{words}"):
        predictor_from_dict(data, "here")


def test_a_missing_coefficient_is_named(predictor: LatencyPredictor) -> None:
    data = json.loads(json.dumps(predictor_to_dict(predictor)))
    del data["coefficients"]["bytes_add"]
    with pytest.raises(ProfileError, match="bytes_add is missing"):
        predictor_from_dict(data, "here")


@pytest.mark.parametrize(("text", "words"), [("{", "not valid JSON"), ("[]", "mapping"), (None, "cannot be read")])
def test_files_that_are_no_predictors(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "predictor.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProfileError, match=words):
        load_predictor(path)
