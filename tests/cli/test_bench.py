"""nas bench: what it refuses before anything runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from nas.bench import blocks, predictor, priors
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


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that benchmarks were run with, which here find nothing."""
    folders: list[Path] = []

    def run(data: Path, smoke: bool, *more: object) -> Outcome:
        del smoke, more
        folders.append(data)
        return Outcome([], [])

    def write_priors(data: Path, out: Path) -> list[Path]:
        del data, out
        return []

    for module in (priors, predictor):
        monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(blocks, "write_priors", write_priors)
    return folders


@pytest.mark.parametrize(
    "command",
    [
        "nas bench priors",
        "nas bench priors --data X --smoke",
        "nas bench priors --data 'my tables' --write",
        "nas bench predictor --smoke --host",
    ],
)
def test_the_command_is_recorded_with_what_changes_its_result(command: str, nas: Nas, tmp_path: Path, ran: list[Path]) -> None:
    out = tmp_path / "new" / "found.json"
    assert nas(*shlex.split(command)[1:], "--out", out).code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["command"] == command
    assert len(ran) == 1


@pytest.mark.parametrize("out", ["file/found.json", "folder"])
def test_a_result_that_cannot_be_written_is_refused_before_it_is_made(out: str, nas: Nas, tmp_path: Path, ran: list[Path]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    refused = nas("bench", "priors", "--out", tmp_path / out)
    assert refused.code == 2
    assert f"cannot write {tmp_path / out}" in refused.err
    assert not ran


def test_a_table_that_is_absent_is_named(nas: Nas, tmp_path: Path, shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    refused = nas("bench", "priors", "--data", tmp_path)
    assert (refused.code, f"{tmp_path / 'fbnet_latency.parquet'} is absent" in refused.err) == (2, True)
    (tmp_path / "fbnet_latency.parquet").symlink_to(shared_data.resolve() / "fbnet_latency.parquet")
    refused = nas("bench", "priors", "--data", tmp_path, "--smoke")
    assert (refused.code, f"{tmp_path / 'published_latency.csv'} is absent" in refused.err) == (2, True)
