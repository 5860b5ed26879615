"""nas bench: what it refuses before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.bench.outcome import Mark, Outcome, save
from nas.cli import main
from tests.command import Nas


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scoring", "--host"), "--host is for predictor"),
        (("scoring", "--write"), "--write is for priors"),
        (("scoring", "--pieces", "1"), "--pieces is for cifar10, fidelity"),
        (("scorings",), "did you mean scoring"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(("bench", *arguments))
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


def test_a_page_is_not_written_over_where_there_are_no_results(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("BENCHMARKS.md").write_text("mine")
    refused = nas("bench", "report")
    assert (refused.code, "docs/benchmarks has no result of a benchmark" in refused.err) == (2, True)
    assert Path("BENCHMARKS.md").read_text() == "mine"
    save(Path("docs/benchmarks/x.json"), "x", "nas bench x", Outcome([], [Mark("a", "what", 1.0, 2.0, "lower")]))
    told = nas("bench", "report", "--json").json
    assert told == {"schema": 1, "bench": "report", "wrote": "BENCHMARKS.md", "results": ["x"]}
    assert "## x" in Path("BENCHMARKS.md").read_text()
