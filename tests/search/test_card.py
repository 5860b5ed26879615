"""One text for the study's card and for those of what goes out: of the files beside it, and of no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.compress.check import Check
from nas.errors import InputError
from nas.metrics import Metric
from nas.search.card import OF_SMALL_FILE, CardFacts, Description, Figures, Origin, Shipment, card
from tests.cards import CANDIDATE, FACTS, FILES, MODEL, ORIGIN, described

PRUNED = replace(FACTS, origin=ORIGIN)
WHOLE = f"""# {CANDIDATE.id}

Image classifier for 2 classes of `insects`, found by hwnas for raspberrypi4/onnxruntime/fp32/1.

- Architecture (mobilenet_tiny): 32px  24: 3e4
- Channels after pruning, by group: s1.b1.mid 8
- Input `images`: float32 [1, 3, 32, 32] (RGB; [batch, 3, 32, 32] in model.dynamic.onnx), the centre square of a picture, resized \
bilinearly, pixels / 255. Normalisation is inside the files: mean 0.5, 0.4, 0.3, deviation 0.2, 0.2, 0.2
- Output `logits`: [batch, 2], in the order of labels.txt: ant, bee
- Data fingerprint: 0123456789abcdef
- Training: fine-tuned for 3 epochs
- int8: static QDQ
- Licence: not stated; that of the training images applies

## Figures

| metric | value | 90 % band or standard error | unit | source |
|---|---|---|---|---|
| macs | 5 |  | MAC | counted |
| latency_measured_s | 0.2 |  | s | measured |
| latency_s | 0.1 | 0.05 to 0.15 | s | predicted |
| accuracy_test | 0.7 | ± 0.02 | 1 | trained |
| accuracy_test_int8 | 0.5 | ± 0.1 | 1 | trained |

The measured latency is outside the 90 % band of the predicted one: count on the measured.

Latency of model.onnx not measured: it throttled.

## Pruned from another

| metric | before | after | change |
|---|---|---|---|
| macs | 6 | 5 | -16.7% |
| latency_s | 0.2 | 0.1 | -50.0% |
| accuracy_test_int8 | 0.4 | 0.5 | +10.00 points |

## Files, run on the test images

Accuracy of each file as its runtime classifies them; agreement and the largest difference of a logit are against torch in fp32.

| file | precision | runtime | images | accuracy | same class as torch | largest difference |
|---|---|---|---|---|---|---|
| model.dynamic.onnx | fp32 | onnxruntime 1 | 360 | 0.694444 ± 0.024 | 99.75% | 1.5e-06 |
| model.onnx | fp32 | onnxruntime 1 | 256 | 0.976562 ± 0.01 | 99.75% | 1.5e-06 |
| model.xml | fp32 | openvino 2 | 360 | 0.694444 ± 0.024 | 99.75% | 1.5e-06 |
| model.int8.onnx | int8 | onnxruntime 1 | 360 | 0.694444 ± 0.024 | 99.75% | 1.5e-06 |
| model.int8.onnx | int8 | openvino 2 | 360 | 0.694444 ± 0.024 | 99.75% | 1.5e-06 |
"""


def shipped(files: list[str], figures: Figures, checks: tuple[Check, ...] = (), how: str = "") -> str:
    return card(CANDIDATE, PRUNED, MODEL, Shipment(files, figures, checks, how))


def test_the_card_of_a_study() -> None:
    assert card(CANDIDATE, PRUNED, MODEL) == WHOLE


def test_a_file_that_stays_behind_is_not_on_it() -> None:
    made = Check("model.int8.xml", "openvino 2", "int8", 0.1, 0.9, 200, 360)
    told = shipped(["model.xml"], Figures("Of model.xml."), (made,), "by NNCF")
    rows = [line.split(" | ")[0] for line in told.splitlines() if line.startswith("| model")]
    assert rows == ["| model.xml", "| model.int8.xml"]
    assert "float32 [1, 3, 32, 32] (RGB), the centre square" in told
    assert "[batch, 2], in this order: ant, bee" in told
    assert "static QDQ" not in told
    assert "- int8 for OpenVINO: by NNCF\n" in told
    assert "_int8" not in told
    assert "\n## Figures\n\nOf model.xml.\n\n| metric | value" in told
    assert "| macs | 5 |  | MAC | counted |" in told
    assert "| latency_s | 0.2 | 0.1 | -50.0% |" in told


def test_figures_of_another_target_take_the_place_of_the_candidates() -> None:
    latency = Metric(0.3, "s", "predicted", low=0.2, high=0.4)
    told = shipped([*FILES], Figures("Of it on another.", frozenset({"latency_s", "latency_measured_s"}), {"latency_s": latency}))
    rows = [line for line in told.splitlines() if line.startswith("| latency")]
    assert rows == ["| latency_s | 0.3 | 0.2 to 0.4 | s | predicted |"]  # nor is it compared with what it was pruned from
    table = told.partition("## Figures")[2].partition("\n\nLatency of")[0]
    assert table.endswith(rows[0])
    assert "The measured latency is outside" not in told  # that was another file, or another target


def test_latencies_on_other_targets_are_told_apart() -> None:
    found = {"latency_s": Metric(0.3, "s", "predicted"), "latency_measured_s": Metric(0.2, "s", "measured")}
    card_of = shipped([*FILES], Figures("Of it.", elsewhere={"pixel3/onnxruntime/fp32/1": found}))
    told = card_of.partition("\n## Latency on other targets of the study\n\n")[2]
    assert told.splitlines()[2:5] == [
        "| pixel3/onnxruntime/fp32/1 | latency_measured_s | 0.2 |  | s | measured |",
        "| pixel3/onnxruntime/fp32/1 | latency_s | 0.3 |  | s | predicted |",
        "",
    ]
    assert "other targets" not in card(CANDIDATE, FACTS, MODEL)


def test_with_all_files_it_is_the_same_but_for_whose_figures_they_are() -> None:
    assert shipped([*FILES], Figures("Of all.", frozenset())) == WHOLE.replace("| metric | value", "Of all.\n\n| metric | value")


@given(st.sets(st.sampled_from(FILES)), st.booleans())
def test_a_card_of_some_files_says_nothing_that_the_studys_does_not(files: set[str], has_origin: bool) -> None:
    facts = PRUNED if has_origin else FACTS
    whole, told = (
        [line for line in card(CANDIDATE, facts, MODEL, shipment).splitlines() if line]
        for shipment in (None, Shipment(files, Figures("Of it.")))
    )
    new = [line for line in told if line not in whole and line != "Of it."]
    assert all(line.startswith(("- Input", "- Output")) for line in new)
    assert new == [] or not {"model.dynamic.onnx", "labels.txt"} <= files
    assert [line for line in whole if line in told] == [line for line in told if line in whole]  # in the same order
    gone = [line for line in whole if line not in told and not line.startswith(("- Input", "- Output"))]
    rows = [line for line in whole if line.startswith("| model.") and line.split(" ")[1] not in files]
    small = [line for line in whole if any(name in line for name in OF_SMALL_FILE)]
    assert set(gone) == {*rows, *small, *(["- int8: static QDQ"] if "model.int8.onnx" not in files else [])}


def test_what_is_kept_for_it_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(json.dumps(described(MODEL)))
    assert Description.read(tmp_path / "architecture.json") == MODEL
    for facts in (FACTS, PRUNED, replace(FACTS, id=CANDIDATE.id)):
        (tmp_path / "card.json").write_text(json.dumps(facts.to_dict()))
        assert CardFacts.read(tmp_path / "card.json", CANDIDATE.id) == facts
    assert CardFacts.read(tmp_path / "absent.json", CANDIDATE.id) is None


def test_what_was_found_of_files_is_their_own_and_what_is_predicted_is_told_anew() -> None:
    told = {
        "macs": Metric(5, "MAC", "counted"), "latency_s": Metric(0.3, "s", "predicted"),
        "accuracy_test": Metric(0.1, "1", "trained"), "accuracy_validation": Metric(0.2, "1", "trained"),
    }  # fmt: skip
    known, own = dict(FACTS.figures_of(replace(CANDIDATE, metrics=told)).metrics), CANDIDATE.metrics
    assert list(known)[:3] == ["macs", "latency_s", "accuracy_test"]
    assert known == {
        "macs": told["macs"], "latency_s": told["latency_s"],
        **{name: own[name] for name in ("accuracy_test", "accuracy_test_int8", "latency_measured_s")},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2, this version reads 1: upgrade hwnas"), ({"note": None}, "note must be words, got None"),
        ({"data": {"name": "x"}}, "'fingerprint' is missing"), ({"origin": {"id": "x", "changes": {"macs": [1]}}}, "cannot be read"),
    ],
)  # fmt: skip
def test_facts_that_do_not_hold_are_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**FACTS.to_dict(), **change}))
    with pytest.raises(InputError, match=words) as found:
        CardFacts.read(path, CANDIDATE.id)
    assert str(found.value).startswith(f"{path}: cannot be read (")


def test_facts_are_of_one_candidate(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(replace(FACTS, id="another").to_dict()))
    with pytest.raises(InputError, match=rf"card\.json is of another, not {CANDIDATE.id}: delete it, and the card says"):
        CardFacts.read(path, CANDIDATE.id)
    path.write_text(json.dumps({name: each for name, each in FACTS.to_dict().items() if name != "id"}))  # as earlier versions wrote it
    assert CardFacts.read(path, CANDIDATE.id) == FACTS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": []}, "has classes and pixels, got 0 and 32"), ({"checks": [{}]}, "a check has file, runtime"),
        ({"files": None}, "NoneType"), ({"files": []}, "list"),
        ({"files": {"model.onnx": 1}}, "each file has a checksum, got {'model.onnx': 1}"),
        ({"architecture": None}, "an architecture is .*, got None"), ({"checks": [None]}, "NoneType"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_hold_is_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps({**described(MODEL), **change}))
    with pytest.raises(InputError, match=rf"architecture\.json: was changed since it was written \(.*{words}.*delete it, and nas export"):
        Description.read(path)


@pytest.mark.parametrize("text", ["", "null", "[]", '"a"', "1", "{}"])
def test_what_is_no_description_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"architecture\.json: was changed since it was written \(.+\): delete it, and nas export"):
        Description.read(path)


def test_what_it_was_pruned_from_is_compared_where_both_are_known() -> None:
    metrics = {"macs": Metric(9, "MAC", "counted"), "params": Metric(2, "1", "counted")}
    whole = replace(CANDIDATE, arch=CANDIDATE.arch.unpruned, metrics=metrics)
    assert Origin.of(whole, CANDIDATE) == Origin(whole.id, {"macs": (9, 5)})
