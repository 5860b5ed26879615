"""A folder gets files of one model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.compress.check import Check
from nas.errors import InputError
from nas.files import digest_of
from nas.search.card import Description, Figures, Shipment
from nas.search.shipped import refuse_other_model, shipment, write_check
from tests.cards import MODEL

CHECK = Check("model.int8.xml", "openvino 2", "int8", 0.1, 0.9, 200, 360)


def filled(folder: Path, *names: str) -> Path:
    """A folder with files that say their names."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def told_of(written: Path, out: Path, model: Description = MODEL) -> Shipment:
    return shipment(written, out, Figures("Of it."), model)


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


def test_a_file_that_is_there_is_vouched_for_by_its_checksum(tmp_path: Path) -> None:
    out, written = filled(tmp_path / "out", "model.onnx", "model.xml", "model.bin"), filled(tmp_path / "new", "labels.txt")
    model = replace(MODEL, files={name: digest_of(name) for name in ("model.onnx", "model.xml", "model.bin", "labels.txt")})
    assert told_of(written, out, model).files == ["model.onnx", "model.xml", "labels.txt"]
    for name in ("model.onnx", "model.bin", "model.int8.onnx"):  # the last one is no file of this model
        (out / name).write_text("another")
        with pytest.raises(InputError, match=rf"out/{name}: was changed since it was exported: remove it, or choose another --out"):
            told_of(written, out, model)
        filled(written, name).joinpath(name).write_text(name)  # what is written now takes its place
        told_of(written, out, model)
    assert told_of(tmp_path / "none", out).files == ["model.onnx", "model.int8.onnx", "model.xml"]  # checksums of an earlier version


def test_an_int8_file_for_openvino_is_vouched_for_by_the_checksums_of_its_check(tmp_path: Path) -> None:
    names, written = ("model.int8.xml", "model.int8.bin", "architecture.json"), filled(tmp_path / "new")
    out = filled(tmp_path / "out", *names)
    assert told_of(written, out).checks == ()
    write_check(out, CHECK, "by NNCF")
    found = told_of(written, out)
    assert (found.checks, found.openvino_int8) == ((CHECK,), "by NNCF")
    for name in names:
        (out / name).write_text("another")
        with pytest.raises(InputError, match=rf"check\.json: is not of the {name} beside it: remove check\.json, model\.int8\.xml, model"):
            told_of(written, out)
        filled(out, name)
    (out / "model.int8.bin").unlink()
    with pytest.raises(InputError, match=r"is not of the model\.int8\.bin beside it"):
        told_of(written, out)
    (out / "check.json").write_text(json.dumps({"schema": 1, "how": "by NNCF", **CHECK.to_dict()}))  # as an earlier version wrote it
    assert told_of(written, out).checks == (CHECK,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"), ("null", "it must be an object, got NoneType"), ("[1]", "it must be an object, got list"),
        ("{}", "'schema' is missing"), ('{"schema": 2}', "schema 2, this version reads 1: upgrade hwnas"),
        (json.dumps({"schema": 1, **CHECK.to_dict()}), "'how' is missing"),
        (json.dumps({"schema": 1, "how": "a word", **CHECK.to_dict(), "images": 0}), "some of them right, got 200 of 0"),
        (json.dumps({"schema": 1, "how": "a word", **CHECK.to_dict(), "files": 1}), "int"),
    ],
)  # fmt: skip
def test_a_check_that_is_damaged_is_named(text: str, why: str, tmp_path: Path) -> None:
    out = filled(tmp_path / "out", "model.int8.xml", "model.int8.bin")
    (out / "check.json").write_text(text)
    words = rf"out/check\.json: was changed since it was exported \(.*{why}.*\): remove check\.json, model\.int8\.xml, model\.int8\.bin, or"
    with pytest.raises(InputError, match=words):
        told_of(filled(tmp_path / "new"), out)
    assert told_of(filled(tmp_path / "new"), filled(tmp_path / "other")).checks == ()
