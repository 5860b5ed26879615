"""A registered model goes out as one that an independent script finds nothing wrong with."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.files import digest_of
from nas.metrics import Metric
from nas.report.tracking import Fetched, write_fetched
from nas.search.card import card
from tests.cards import FACTS, MODEL, described
from tests.report.strategies import example_front


def fetched(home: Path, architecture: dict[str, object]) -> Fetched:
    """Downloaded files of a finalist whose file with an open batch was registered."""
    home.mkdir()
    each = example_front(4, 0).finalists[0]
    metrics = {**each.candidate.metrics, "accuracy_test_int8": Metric(0.5, "1", "trained")}
    candidate = replace(each, candidate=replace(each.candidate, metrics=metrics))
    contents = {
        "onnx": ("model.onnx", "the model"),
        "card": ("card.md", card(candidate.candidate, FACTS, MODEL)),
        "facts": ("card.json", json.dumps(FACTS.to_dict())),
        "architecture": ("architecture.json", json.dumps(architecture)),
    }
    for name, text in contents.values():
        (home / name).write_text(text, encoding="utf-8")
    files = {kind: home / name for kind, (name, _) in contents.items()}
    return Fetched("digits-1", "raspberrypi4", candidate, files, "model.dynamic.onnx")


def test_it_is_all_there_under_the_names_that_its_papers_have(tmp_path: Path) -> None:
    sums = {"model.dynamic.onnx": digest_of("the model"), "model.onnx": "another", "model.xml": digest_of("the xml")}
    model = fetched(tmp_path / "home", {**described(MODEL), "files": sums})
    written = write_fetched(model, tmp_path / "out")
    assert [path.name for path in written] == ["architecture.json", "card.md", "labels.txt", "model.dynamic.onnx"]
    assert all(path.is_file() for path in written)
    assert (tmp_path / "out" / "labels.txt").read_text() == "ant\nbee\n"
    told = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "in the order of labels.txt: ant, bee" in told
    assert f"Of model.dynamic.onnx on {model.candidate.candidate.target.key}." in told
    assert "_int8" not in told
    assert [line.split(" | ")[0] for line in told.splitlines() if line.startswith("| model")] == ["| model.dynamic.onnx"]
    (tmp_path / "out" / "model.xml").write_text("the xml")  # as an export of the same model to OpenVINO leaves it
    write_fetched(model, tmp_path / "out")
    told = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (model\S+) ", told, re.M) == ["model.dynamic.onnx", "model.xml"]
    (tmp_path / "out" / "model.xml").write_text("another")
    with pytest.raises(InputError, match=r"out/model\.xml: was changed since it was exported: remove it"):
        write_fetched(model, tmp_path / "out")
    other = replace(MODEL, classes=("ant", "cat"))
    with pytest.raises(InputError, match=rf"another model \({model.candidate.id}\)"):
        write_fetched(fetched(tmp_path / "other", described(other)), tmp_path / "out")


def test_what_an_earlier_version_registered_keeps_its_card(tmp_path: Path) -> None:
    model = fetched(tmp_path / "home", {})
    known = replace(model, files={kind: path for kind, path in model.files.items() if kind != "facts"})
    write_fetched(known, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"architecture.json", "card.md", "model.dynamic.onnx"}
    assert (tmp_path / "out" / "card.md").read_bytes() == model.files["card"].read_bytes()
