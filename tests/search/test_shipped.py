"""A card goes out with rows of the files beside it, and of no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import InputError
from nas.metrics import Metric
from nas.search.shipped import FILES_TITLE, Figures, refuse_other_model, shipped_card

CARD = f"""# an id

- Input `images`: float32 [1, 3, 32, 32] (RGB; [batch, 3, 32, 32] in model.dynamic.onnx), the centre square
- Output `logits`: [batch, 2], in the order of labels.txt: ant, bee
- int8: static QDQ

## Figures

| metric | value | 90 % band or standard error | unit | source |
|---|---|---|---|---|
| macs | 5 |  | MAC | counted |
| latency_s | 0.1 |  | s | predicted |
| accuracy_test_int8 | 0.5 | ± 0.1 | 1 | trained |

## Pruned from another

| metric | before | after | change |
|---|---|---|---|
| macs | 6 | 5 | -16.7% |
| latency_s | 0.2 | 0.1 | -50.0% |
| accuracy_test_int8 | 0.4 | 0.5 | +10.00 points |

{FILES_TITLE}

| file | precision |
|---|---|
| model.dynamic.onnx | fp32 |
| model.onnx | fp32 |
| model.xml | fp32 |
| model.int8.onnx | int8 |
"""
ALL = ("model.dynamic.onnx", "model.onnx", "model.xml", "model.int8.onnx", "labels.txt")


def test_a_file_that_stays_behind_is_not_on_it() -> None:
    told = shipped_card(CARD, ["model.xml"], Figures("Of model.xml."), ["| model.int8.xml | int8 |"], "by NNCF")
    assert told.endswith("|---|---|\n| model.xml | fp32 |\n| model.int8.xml | int8 |\n")
    assert "float32 [1, 3, 32, 32] (RGB), the centre square" in told
    assert "[batch, 2], in this order: ant, bee" in told
    assert "static QDQ" not in told
    assert "- int8 for OpenVINO: by NNCF\n" in told
    assert "_int8" not in told
    assert "\n## Figures\n\nOf model.xml.\n\n| metric | value" in told
    assert "| macs | 5 |  | MAC | counted |" in told
    assert "| latency_s | 0.2 | 0.1 | -50.0% |" in told


def test_figures_of_another_target_take_the_place_of_the_cards() -> None:
    figures = Figures("Of it on another.", frozenset({"latency_s"}), {"latency_s": Metric(0.3, "s", "predicted", low=0.2, high=0.4)})
    told = shipped_card(CARD, ALL, figures)
    rows = [line for line in told.splitlines() if line.startswith("| latency_s |")]
    assert rows == ["| latency_s | 0.3 | 0.2 to 0.4 | s | predicted |"]  # nor is it compared with what it was pruned from
    table = told.partition("## Figures")[2].partition("## Pruned")[0]
    assert table.rstrip().endswith(rows[0])


def test_with_all_files_it_is_the_same_but_for_whose_figures_they_are() -> None:
    assert shipped_card("# notes\n", (), Figures("")) == "# notes\n"
    assert shipped_card(CARD, ALL, Figures("Of all.", frozenset())) == CARD.replace("| metric | value", "Of all.\n\n| metric | value")


def test_a_folder_gets_files_of_one_model(tmp_path: Path) -> None:
    refuse_other_model(tmp_path / "absent", b"{}")
    (tmp_path / "notes.txt").touch()
    refuse_other_model(tmp_path, b"{}")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(InputError, match=r"holds files of another model: model\.onnx: choose another --out"):
        refuse_other_model(tmp_path, b"{}")
    (tmp_path / "architecture.json").write_bytes(b"{}")
    (tmp_path / "card.md").write_text("# the id\n")
    refuse_other_model(tmp_path, b"{}")
    with pytest.raises(InputError, match=r"another model \(the id\): architecture\.json, card\.md, model\.onnx"):
        refuse_other_model(tmp_path, b"{ }")
