"""The short form of `nas bench scale`: sleeping workers, pending evaluations, a study that was written by rows, a real pool."""

from __future__ import annotations

from pathlib import Path

import optuna

from nas.bench import large, scale
from nas.bench.simulated import PAIR, scorer_of_a_board, wrapped_sampler
from nas.search import storage


def test_the_short_form_runs_all_parts(shared_data: Path) -> None:
    outcome = scale.run(shared_data, smoke=True)
    assert {mark.id for mark in outcome.marks} == {"eff-2", "regret-16", "open-s", "open-mib", "pool"}
    rows = {key: row for row in outcome.rows for key in row}
    assert rows["workers"]["trials"] == 12
    assert 0 < float(rows["workers"]["efficiency"]) <= 1
    assert (rows["opened_trials"]["opened_trials"], rows["opened_trials"]["candidates"]) == (200, 201)
    assert [row["pending"] for row in outcome.rows if "pending" in row] == [1, 16]


def test_a_study_written_by_rows_is_as_if_it_had_been_told(tmp_path: Path) -> None:
    scorer, path = scorer_of_a_board(), tmp_path / "study.db"
    large.fill(path, 12)
    study = storage.open_study(
        storage.open_storage(f"sqlite:///{path}"), large.NAME, PAIR, wrapped_sampler(scorer, "random", 12), {"space": scorer.space.name}
    )
    by_rows = storage.evaluated(study)
    told = optuna.create_study(directions=["maximize", "minimize"])
    storage.add(told, study.trials[0].distributions, by_rows, PAIR)
    assert [each.candidate for each in storage.evaluated(told)] == [each.candidate for each in by_rows]
    assert [(t.params, t.distributions, t.values) for t in told.trials] == [(t.params, t.distributions, t.values) for t in study.trials]
