"""The search benchmark: the table, the problems as FINDINGS 7 states them, and results that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.bench import overhead, search
from nas.bench.nasbench import PROBLEMS, Table, TableDomain, describe, load_table, number, operators
from nas.bench.searchers import OURS, PEERS, searched
from nas.errors import DataError
from nas.search import pareto


@pytest.fixture(scope="module")
def table(shared_data: Path) -> Table:
    return load_table(shared_data)


def test_the_problems_are_those_of_the_findings(table: Table) -> None:
    connected = np.flatnonzero(table.connected)
    assert len(connected) == 15_284
    for problem, members in zip(PROBLEMS, (25, 41, 40), strict=True):
        assert table.regret(problem, connected) == pytest.approx(0, abs=1e-3)
        losses = np.column_stack([-table.accuracy[connected], *(table.costs[name][connected] for name, _, _ in problem.costs)])
        assert (pareto.front(losses) & (losses[:, 0] < -50)).sum() == members
        assert table.regret(problem, connected[:1]) > 5


def test_descriptors_are_facts_of_the_graph() -> None:
    rows = np.array([[2, 0, 1, 0, 3, 3], [0, 0, 3, 4, 0, 3], [1, 1, 1, 1, 1, 1]], dtype=np.int16)
    # skips, 1x1, 3x3, pools on live edges; live edges; most convolutions on a path; paths with 0, 1, 2 of them
    assert describe(rows).tolist() == [[1, 1, 2, 0, 4, 2, 0, 0, 2], [0, 0, 0, 1, 1, 0, 1, 0, 0], [6, 0, 0, 0, 6, 0, 4, 0, 0]]
    assert operators(rows)[1].tolist() == [0, 0, 2, 1]
    assert number(rows)[2] == sum(5**i for i in range(6))


@pytest.mark.parametrize("name", [*OURS, *(name for name in PEERS if name != "GP")])
def test_every_sampler_searches_connected_networks(table: Table, name: str) -> None:
    found = searched(name, table, PROBLEMS[0], 0, 15)
    assert len(found.numbers) == 15
    assert table.connected[found.numbers].all()
    if name in OURS:
        assert len(set(found.numbers)) == 15


def test_results_are_kept_and_read_again(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = search.Plan("random", PROBLEMS[0], 2, 10)
    first = search.curves(table, plan, tmp_path)
    assert len(list(tmp_path.glob("P1-random-10-*.json"))) == 2
    monkeypatch.setattr(search, "searched", lambda *args: pytest.fail("searched again"))
    again = search.curves(table, plan, tmp_path)
    assert [run.regrets for run in again] == [pytest.approx(run.regrets, abs=1e-4) for run in first]


def test_the_first_evaluation_at_a_level_is_found() -> None:
    run = search.Run((9.0, 4.0, 4.0, 0.5), 0.1)
    assert [run.evaluations_to(level) for level in (5.0, 1.0, 0.1)] == [2.0, 4.0, search.NEVER]


def test_a_smoke_run_gives_rows_and_a_mark(shared_data: Path) -> None:
    outcome = search.run(shared_data, smoke=True)
    assert {(row.get("problem"), row.get("sampler")) for row in outcome.rows} >= {("P1", "front"), ("P3", "random")}
    assert [mark.id for mark in outcome.marks] == ["p1-smoke"]
    assert outcome.marks[0].met


def test_a_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table of NAS-Bench-201"):
        load_table(tmp_path)


def test_the_domain_reads_what_it_asks_for(table: Table) -> None:
    domain = TableDomain(table, None)
    rows = np.random.default_rng(0).integers(5, size=(20, 6)).astype(np.int16)
    assert all((domain.row(domain.params(row)) == row).all() for row in rows)


def test_overhead_is_timed_on_both_storages(tmp_path: Path) -> None:
    outcome = overhead.run(tmp_path, smoke=True)
    assert {(row["storage"], row["sampler"]) for row in outcome.rows} == {(s, n) for s in ("sqlite", "journal") for n in ("front", "nsga2")}
    assert [mark.id for mark in outcome.marks] == ["sampler-ms", "engine-ms"]
