"""A card goes out with rows of the files beside it, and of no others."""

from __future__ import annotations

from nas.search.shipped import FILES_TITLE, shipped_card

CARD = f"""# an id

- Input `images`: float32 [1, 3, 32, 32] (RGB; [batch, 3, 32, 32] in model.dynamic.onnx), the centre square

## Figures

| metric | value |
|---|---|
| macs | 5 |

{FILES_TITLE}

| file | precision |
|---|---|
| model.dynamic.onnx | fp32 |
| model.onnx | fp32 |
| model.xml | fp32 |
"""


def test_a_file_that_stays_behind_is_not_on_it() -> None:
    told = shipped_card(CARD, {"model.xml": "model.xml"}, ["| model.int8.xml | int8 |"])
    assert told.endswith("|---|---|\n| model.xml | fp32 |\n| model.int8.xml | int8 |\n")
    assert "float32 [1, 3, 32, 32] (RGB), the centre square" in told
    assert "| macs | 5 |" in told


def test_with_all_files_it_is_the_same() -> None:
    assert shipped_card("# notes\n", {}) == "# notes\n"
    assert shipped_card(CARD, {name: name for name in ("model.dynamic.onnx", "model.onnx", "model.xml")}) == CARD


def test_a_file_under_another_name_has_that_name() -> None:
    told = shipped_card(CARD, {"model.dynamic.onnx": "model.onnx"})
    assert told.count("| model.onnx | fp32 |") == 1
    assert "model.dynamic.onnx" not in told
    assert "[batch, 3, 32, 32] in model.onnx)" in told
