"""A folder gets files of one model."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import InputError
from nas.search.shipped import refuse_other_model


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
