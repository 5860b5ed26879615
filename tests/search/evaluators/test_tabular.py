"""Known results: read as they are, or refused with row and reason."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from nas.architecture import Architecture
from nas.errors import InputError, NasError
from nas.metrics import Candidate, Metric
from nas.report.record import EvaluatedRecord, write_candidates
from nas.search.evaluators import Evaluator, EvaluatorContext, open_evaluator
from nas.search.evaluators.tabular import read_table
from nas.search.scoring import Scorer
from nas.testing import EvaluatorContract
from tests.spaces import everything, make_space

SPACE = make_space()
ARCHS = everything(SPACE)


def accuracy(arch: Architecture) -> float:
    return int(arch.arch_id[:4], 16) / 2**16


def rows() -> list[dict[str, Any]]:
    return [{**dict(arch.genes), "accuracy": accuracy(arch), "images": 500, "seconds": 60.0, "remark": "x"} for arch in ARCHS]


def save(path: Path, table: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(table))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in table for name in row)))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.fixture(params=[".csv", ".json"])
def known(request: pytest.FixtureRequest, tmp_path: Path) -> EvaluatorContext:
    return EvaluatorContext(SPACE, "digits", 0, tmp_path, None, table=save(tmp_path / f"known{request.param}", rows()))


class TestTabularEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, known: EvaluatorContext) -> Evaluator:
        return open_evaluator("tabular", known)

    @pytest.fixture
    def archs(self) -> list[Architecture]:
        return ARCHS[:4]


def test_every_row_is_found_with_its_error_and_cost(known: EvaluatorContext) -> None:
    for arch, found in zip(ARCHS, open_evaluator("tabular", known).evaluate(ARCHS), strict=True):
        metric = found.metrics["accuracy_search"]
        assert metric.value == accuracy(arch)
        assert metric.source == "published"
        assert metric.std == pytest.approx(math.sqrt(max(metric.value * (1 - metric.value), 0.001) / 500), rel=0.1)
        assert found.seconds == 60.0


def test_the_candidates_of_a_study_are_such_a_table(scorer_of: Callable[..., Scorer], tmp_path: Path) -> None:
    scorer = scorer_of(SPACE)
    candidates = [
        Candidate(arch, scorer.target, {"accuracy_search": Metric(accuracy(arch), "1", "supernet", std=0.01), **scorer.metrics(arch)})
        for arch in ARCHS
    ]
    path = write_candidates(tmp_path, [EvaluatedRecord(candidate, 2.5) for candidate in candidates])
    table = read_table(path, SPACE)
    assert {arch: (metric.value, metric.std, seconds) for arch, (metric, seconds) in table.items()} == {
        arch: (accuracy(arch), 0.01, 2.5) for arch in ARCHS
    }
    newer = pandas.read_parquet(path)
    newer.attrs["schema"] = 2
    newer.to_parquet(path)
    with pytest.raises(InputError, match="has schema 2, this version reads 1: upgrade hwnas"):
        read_table(path, SPACE)


def test_pruned_networks_and_int8_twins_of_a_study_are_passed_over(scorer_of: Callable[..., Scorer], tmp_path: Path) -> None:
    scorer = scorer_of(SPACE)
    small = dataclasses.replace(scorer.target, precision="int8")
    whole, *others = [
        Candidate(arch, scorer.target, {"accuracy_search": Metric(accuracy(arch), "1", "supernet", std=0.01), **scorer.metrics(arch)})
        for arch in ARCHS[:3]
    ]
    twin = Candidate(whole.arch, small, {"accuracy_search": Metric(0.125, "1", "supernet", std=0.02)})
    alone = Candidate(ARCHS[3], small, {"accuracy_search": Metric(0.25, "1", "supernet", std=0.02)})
    narrow = dataclasses.replace(whole.arch, widths=(("stem.out", 4),))
    pruned = Candidate(narrow, scorer.target, {"accuracy_validation": Metric(0.5, "1", "trained")})
    path = write_candidates(tmp_path, [EvaluatedRecord(each, 2.5) for each in (twin, whole, *others, alone, pruned)])
    found = {arch: metric.value for arch, (metric, _) in read_table(path, SPACE).items()}
    assert found == {**{arch: accuracy(arch) for arch in ARCHS[:3]}, ARCHS[3]: 0.25}
    table = [{"architecture": arch.to_dict(), "accuracy": 0.5, "accuracy_std": 0.1} for arch in (narrow, ARCHS[1])]
    assert set(read_table(save(tmp_path / "pruned.json", table), SPACE)) == {ARCHS[1]}


def test_architectures_may_be_json(tmp_path: Path) -> None:
    table = [{"architecture": arch.to_dict(), "accuracy": 0.5, "accuracy_std": 0.1} for arch in ARCHS]
    texts = [{"architecture": arch.to_json(), "accuracy": 0.5, "accuracy_std": 0.1} for arch in ARCHS]
    found = [read_table(save(tmp_path / name, each), SPACE) for name, each in (("a.json", table), ("b.csv", texts))]
    assert found[0] == found[1]
    assert set(found[0]) == set(ARCHS)
    assert found[0][ARCHS[0]][1] is None


def test_a_table_that_excel_saved_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "known.csv", rows())
    plain = read_table(path, SPACE)
    path.write_text(f"\ufeff{path.read_text(encoding='utf-8')}", encoding="utf-8")
    assert read_table(path, SPACE) == plain


def test_an_architecture_that_is_not_there_fails_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "some.csv", rows()[:3])
    evaluator = open_evaluator("tabular", EvaluatorContext(SPACE, "digits", 0, tmp_path, None, table=path))
    with pytest.raises(NasError, match=r"some\.csv has no result of"):
        evaluator.evaluate([ARCHS[5]])
    assert len(evaluator.evaluate(ARCHS[:3])) == 3


GENE = SPACE.genes[0].name
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "per cent": ({"accuracy": 93.1}, "row 2: accuracy must be 0 to 1, got 93.1"),
    "not a number": ({"accuracy": "good"}, "row 2: .*'good'"),
    "no accuracy": ({"accuracy": ""}, "row 2: has no accuracy"),
    "no error": ({"images": ""}, "row 2: has no standard error"),
    "unknown choice": ({GENE: 77}, f"row 2: {GENE} must be one of"),
    "missing gene": ({GENE: ""}, f"row 2: .*needs the gene '{GENE}'"),
    "another space": ({"space": "other"}, "row 2: is of space 'other'"),
    "bad architecture": ({"architecture": "{"}, "row 2: "),
    "a number for an architecture": ({"architecture": "5"}, r'row 2: an architecture is \{"space": .*, got 5$'),
    "a list for an architecture": ({"architecture": "[1]"}, r"row 2: an architecture is .*, got \[1\]$"),
    "negative time": ({"seconds": -1}, "row 2: seconds must be finite and not negative, got -1"),
    "not finite": ({"accuracy": "nan"}, "row 2: accuracy must be 0 to 1, got nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, case: str) -> None:
    changes, reason = BAD[case]
    table = rows()[:3]
    table[1] |= changes
    with pytest.raises(InputError, match=reason) as error:
        read_table(save(tmp_path / "bad.csv", table), SPACE)
    assert len(str(error.value).splitlines()) == 1


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, known: EvaluatorContext) -> None:
    twice = [*rows(), rows()[0] | {"accuracy": 0.001}]
    with pytest.raises(InputError, match="row 21: another accuracy of an architecture"):
        read_table(save(tmp_path / "twice.csv", twice), SPACE)
    (tmp_path / "empty.csv").write_text("accuracy\n")
    (tmp_path / "broken.json").write_text("[{")
    (tmp_path / "object.json").write_text("{}")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "table.xlsx").write_bytes(b"")
    for name, reason in {
        "empty.csv": "has no rows",
        "broken.json": "cannot be read",
        "object.json": "must be a list of objects",
        "broken.parquet": "cannot be read",
        "table.xlsx": r"is \.csv, \.json, \.parquet",
        "absent.csv": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_table(tmp_path / name, SPACE)
    with pytest.raises(InputError, match="--table FILE"):
        open_evaluator("tabular", dataclasses.replace(known, table=None))
