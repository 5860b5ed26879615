from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.bench.outcome import Mark, Outcome, page, save
from nas.errors import InputError

ROOT = Path(__file__).parents[2]


def test_the_page_in_the_repository_is_made_from_its_results() -> None:
    assert (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8") == page(ROOT / "docs" / "benchmarks"), "run make bench-report"


def test_a_reason_is_given_where_a_mark_is_missed_and_only_there(tmp_path: Path) -> None:
    marks = [Mark("a", "speed", 2.0, 1.0, "higher", "slow"), Mark("b", "error", 2.0, 1.0, "lower", "noise")]
    save(tmp_path / "x.json", "x", "nas bench x", Outcome([{"method": "ours", "value": 0.5}], marks))
    saved = {mark["id"]: mark for mark in json.loads((tmp_path / "x.json").read_text())["marks"]}
    assert (saved["a"]["met"], saved["a"]["why"]) == (True, "")
    assert (saved["b"]["met"], saved["b"]["why"]) == (False, "noise")
    text = page(tmp_path)
    assert "| a | speed | 2 | ≥ 1 | yes |" in text
    assert "| b | error | 2 | ≤ 1 | no: noise |" in text
    assert "| ours | 0.5 |" in text


def test_the_page_begins_with_what_is_met_and_what_is_missed(tmp_path: Path) -> None:
    marks = [Mark("a", "speed", 2.0, 1.0, "higher"), Mark("b", "error", 2.0, 1.0, "lower", "noise")]
    save(tmp_path / "x.json", "x", "nas bench x", Outcome([{"value": 0.5}], marks))
    save(tmp_path / "y.json", "y", "nas bench y", Outcome([{"value": 0.5}], marks[:1]))
    text = page(tmp_path)
    assert text.index("| [x](#x) | 1 of 2 | b |") < text.index("| [y](#y) | 1 of 1 | – |") < text.index("## x")


def test_counts_are_shown_in_full_and_other_numbers_with_four_digits(tmp_path: Path) -> None:
    row = {"params": 46221.0, "macs": 2827311.0, "loss": 0.123456, "error": 5.551e-16, "is best": True, "images": 256}
    save(tmp_path / "x.json", "x", "nas bench x", Outcome([row], [Mark("fast", "scores a second", 6896123.4, 1e6, "higher")]))
    text = page(tmp_path)
    assert "| 46,221 | 2,827,311 | 0.1235 | 5.551e-16 | True | 256 |" in text
    assert "| fast | scores a second | 6,896,123 | ≥ 1,000,000 | yes |" in text


def test_a_picture_is_beside_its_result_and_on_the_page(tmp_path: Path) -> None:
    save(tmp_path / "x.json", "x", "nas bench x", Outcome([{"value": 0.5}], [], b"png"))
    assert (tmp_path / "x.png").read_bytes() == b"png"
    assert "![x](docs/benchmarks/x.png)" in page(tmp_path)
    save(tmp_path / "y.json", "y", "nas bench y", Outcome([{"value": 0.5}], []))
    assert "y.png" not in page(tmp_path)


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(InputError, match=r"odd\.json"):
        page(tmp_path)
