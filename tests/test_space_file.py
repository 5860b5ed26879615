"""The YAML of a space: every typo gets a line with the file, the key and the value."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.errors import SpaceError
from nas.space import load_space
from nas.space_file import parse_space, read_references, read_space
from tests.spaces import ELASTIC, HEAD, OPS, space_data


def write(path: Path, data: object) -> Path:
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = read_space(write(tmp_path / "tiny.yaml", space_data(resolution=[12, 8])))
    assert file.resolution == (8, 12)
    assert (file.stem.out_chs, file.stem.stride) == (8, 1)
    stage = file.stages[0]
    assert (stage.out_chs, stage.depth, stage.kernel_size, stage.expand_ratio) == ((8,), (1, 2), (3, 5), (1, 2))
    assert all(isinstance(ratio, int) for ratio in stage.expand_ratio)
    assert [item.kind for item in file.head] == ["conv", "pool"]
    assert load_space(str(tmp_path / "tiny.yaml")).size == 40


TYPOS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"resolutions": 8}, r"resolutions: unknown key: did you mean resolution\?, got 8"),
    "unknown key of a stage": ({"stages": [{**ELASTIC, "dept": 3}]}, r"stages\.0\.dept: unknown key: did you mean depth\?, got 3"),
    "unknown key of an operator": ({"ops": {"a": {"kernel": 3}}}, r"ops\.a\.kernel: unknown key: did you mean kernel_size\?, got 3"),
    "unknown key, nothing near": ({"colour": "red"}, "colour: unknown key, got 'red'"),
    "another schema": ({"schema": 2}, "schema: .*got 2"),
    "no source": ({"source": ""}, "source: .*got ''"),
    "a name with blanks": ({"name": "my space"}, "name: .*got 'my space'"),
    "no choices": ({"stages": [{**ELASTIC, "depth": []}]}, r"stages\.0\.depth: needs at least one choice, got \[\]"),
    "no sizes": ({"resolution": []}, r"resolution: needs at least one choice, got \[\]"),
    "no operators": ({"stages": [{"out_chs": 8, "op": []}]}, r"stages\.0\.op: needs at least one choice"),
    "a choice twice": ({"stages": [{**ELASTIC, "out_chs": [8, 8]}]}, r"stages\.0\.out_chs: a choice stands twice in \[8, 8\]"),
    "one ratio written twice": ({"stages": [{**ELASTIC, "expand_ratio": [6, 6.0]}]}, "a choice stands twice"),
    "an even kernel": ({"stages": [{**ELASTIC, "kernel_size": [3, 4]}]}, r"stages\.0\.kernel_size\.1: a kernel size must be odd, got 4"),
    "an even kernel of the stem": ({"stem": {"out_chs": 8, "kernel_size": 2}}, r"stem\.kernel_size: a kernel size must be odd, got 2"),
    "no channels": ({"stages": [{**ELASTIC, "out_chs": 0}]}, r"stages\.0\.out_chs\.0: .*greater than or equal to 1, got 0"),
    "a word for a number": ({"stages": [{**ELASTIC, "out_chs": "wide"}]}, r"stages\.0\.out_chs\.0: .*got 'wide'"),
    "a huge ratio": ({"stages": [{**ELASTIC, "expand_ratio": 65}]}, r"stages\.0\.expand_ratio\.0: .*got 65"),
    "a tiny image": ({"resolution": 2}, r"resolution\.0: .*got 2"),
    "an unknown activation": ({"act": "gelu"}, "act: unknown activation 'gelu': known are none, relu"),
    "no stages": ({"stages": []}, r"stages: needs at least one stage$"),
    "a truth value for a number": ({"stages": [{**ELASTIC, "depth": True}]}, r"stages\.0\.depth\.0: .*integer, got True$"),
    "text for a number": ({"stages": [{**ELASTIC, "kernel_size": "3"}]}, r"stages\.0\.kernel_size\.0: .*integer, got '3'$"),
    "a word for a truth value": ({"stages": [{**ELASTIC, "se": "no"}]}, r"stages\.0\.se: .*boolean, got 'no'$"),
    "a date for a number": ({"resolution": datetime.date(2024, 1, 1)}, r"resolution\.0: .*got '2024-01-01'$"),
    "two vocabularies": ({"ops": OPS, "stages": [{**ELASTIC, "op": ["skip"]}]}, r"stages\.0: a stage has either op, or kernel_size"),
    "an unknown operator": (
        {"ops": OPS, "stages": [{"out_chs": 8, "op": ["k7"]}]},
        r"stages\.0\.op: 'k7' is not in ops: k3_e1, k3_e2_g2, k5_e2, skip$",
    ),
    "an operator, no list": ({"stages": [{"out_chs": 8, "op": ["k7"]}]}, "'k7' is not in ops: ops is empty"),
    "no pool": ({"head": [{"kind": "conv", "out_chs": 16}]}, r"tiny\.yaml: the head needs exactly one item of kind pool$"),
    "an empty head": ({"head": []}, r"tiny\.yaml: the head needs exactly one item of kind pool$"),
    "two pools": ({"head": [{"kind": "pool"}, {"kind": "pool"}]}, "exactly one item of kind pool"),
    "a head the wrong way round": ({"head": HEAD[::-1]}, "conv stands before pool and linear after it"),
    "a pool with channels": ({"head": [{"kind": "pool", "out_chs": 8}]}, r"head\.0: pool in the head takes no out_chs"),
    "a head without channels": ({"head": [{"kind": "conv"}, {"kind": "pool"}]}, r"head\.0: conv in the head needs out_chs"),
    "one class": ({"num_classes": 1}, "num_classes: .*got 1"),
    "groups that do not divide": (
        {"stem": {"out_chs": 9}, "ops": OPS, "stages": [{"out_chs": 9, "op": ["k3_e2_g2"]}]},
        r"'s1\.b1' .*channels 9/24/9 do not divide by groups 2",
    ),
}


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_is_named_by_file_key_and_value(tmp_path: Path, typo: str) -> None:
    changes, word = TYPOS[typo]
    path = write(tmp_path / "tiny.yaml", space_data(**changes))
    with pytest.raises(SpaceError, match=word) as refused:
        load_space(str(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value).splitlines()) == 1


def test_more_typos_than_one_are_counted() -> None:
    with pytest.raises(SpaceError, match=r"a test: .* \(and 1 more\)$"):
        parse_space(space_data(act="gelu", num_classes=0), "a test")


def test_a_key_that_is_missing_is_named() -> None:
    data = space_data()
    del data["stem"]
    with pytest.raises(SpaceError, match=r"^a test: stem: Field required$"):
        parse_space(data, "a test")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"stages: [", "not valid YAML: .*line 1"),
        (b"- 1\n- 2\n", "a search space is a mapping, got list"),
        (b"", "got NoneType"),
        (b"name: \xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=word) as refused:
        load_space(str(path))
    assert str(path) in str(refused.value)


def test_a_reference_with_a_choice_is_refused(tmp_path: Path) -> None:
    entry = {key: value for key, value in space_data().items() if key not in ("schema", "name")}
    path = write(tmp_path / "references.yaml", {"schema": 1, "references": {"mine": entry}})
    with pytest.raises(SpaceError, match="mine: a reference architecture leaves no choice, but one key has 2 values"):
        read_references(path)
    entry["stages"] = [{"out_chs": 8, "dept": 1}]
    with pytest.raises(SpaceError, match=r"references\.yaml: mine: stages\.0\.dept: unknown key"):
        read_references(write(path, {"schema": 1, "references": {"mine": entry}}))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.yaml", space_data())
    path.write_text(f"{path.read_text()}stem: {{out_chs: 8, stride: 1, out_chs: 16}}\n", encoding="utf-8")
    with pytest.raises(SpaceError, match=r"tiny\.yaml: not valid YAML: 'stem' stands twice, first in line \d+ .*line \d+"):
        read_space(path)
    path.write_text("a: {b: 1, c: 2, b: 3}\n", encoding="utf-8")
    with pytest.raises(SpaceError, match=r"'b' stands twice, first in line 1 "):
        read_space(path)
