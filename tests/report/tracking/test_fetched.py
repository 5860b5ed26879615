"""A registered model goes out as one that an independent script finds nothing wrong with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.metrics import Metric
from nas.report.tracking import Fetched, write_fetched
from nas.search.shipped import FILES_TITLE
from tests.report.strategies import example_front

CARD = f"""# an id

- Output `logits`: [batch, 2], in the order of labels.txt: ant, bee

## Figures

| metric | value | 90 % band or standard error | unit | source |
|---|---|---|---|---|
| macs | 5 |  | MAC | counted |
| accuracy_test_int8 | 0.5 | ± 0.1 | 1 | trained |

{FILES_TITLE}

| file | precision |
|---|---|
| model.dynamic.onnx | fp32 |
| model.onnx | fp32 |
| model.int8.onnx | int8 |
"""


def fetched(home: Path, architecture: dict[str, object]) -> Fetched:
    """Downloaded files of a finalist whose file with an open batch was registered."""
    home.mkdir()
    contents = {
        "onnx": ("model.onnx", "the model"),
        "card": ("card.md", CARD),
        "architecture": ("architecture.json", json.dumps(architecture)),
    }
    for name, text in contents.values():
        (home / name).write_text(text, encoding="utf-8")
    each = example_front(4, 0).finalists[0]
    metrics = {**each.candidate.metrics, "accuracy_test_int8": Metric(0.5, "1", "trained")}
    candidate = replace(each, candidate=replace(each.candidate, metrics=metrics))
    files = {kind: home / name for kind, (name, _) in contents.items()}
    return Fetched("digits-1", "raspberrypi4", candidate, files, "model.dynamic.onnx")


def test_it_is_all_there_under_the_names_that_its_papers_have(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"the model").hexdigest()
    model = fetched(tmp_path / "home", {"classes": ["ant", "bee"], "files": {"model.dynamic.onnx": digest, "model.onnx": "another"}})
    written = write_fetched(model, tmp_path / "out")
    assert [path.name for path in written] == ["architecture.json", "card.md", "labels.txt", "model.dynamic.onnx"]
    assert all(path.is_file() for path in written)
    assert (tmp_path / "out" / "labels.txt").read_text() == "ant\nbee\n"
    told = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "in the order of labels.txt: ant, bee" in told
    assert f"Of model.dynamic.onnx on {model.candidate.candidate.target.key}." in told
    assert "_int8" not in told
    assert [line for line in told.splitlines() if line.startswith("| model")] == ["| model.dynamic.onnx | fp32 |"]
    write_fetched(model, tmp_path / "out")
    with pytest.raises(InputError, match=r"another model \(an id\)"):
        write_fetched(fetched(tmp_path / "other", {"classes": ["ant", "cat"]}), tmp_path / "out")


def test_labels_that_are_not_known_are_not_named(tmp_path: Path) -> None:
    write_fetched(fetched(tmp_path / "home", {}), tmp_path / "out")
    assert not (tmp_path / "out" / "labels.txt").exists()
    assert "[batch, 2], in this order: ant, bee" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
