"""What a search that goes on has still to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.opening import begin_studies, own_storage
from nas.recording import select_all
from nas.remaining import Left
from nas.search.finalists import Finalist
from nas.search.kept import keep_finalist
from tests.executors import Growing
from tests.test_opening import TRIALS, ready, searched


def test_a_search_that_goes_on_has_less_to_do(tmp_path: Path) -> None:
    devices = ("raspberrypi4", "pixel3")
    prepared, longer = ready(tmp_path, devices=devices), ready(tmp_path, devices=devices, trials=2 * TRIALS)
    done = searched(prepared, tmp_path, Growing(prepared.space))
    studies, folder = [each.study for each in done], tmp_path / "s"
    assert Left.of(prepared, studies, folder) == Left(0, 10)
    first, second = select_all(prepared, [each.done for each in done])
    file = folder / "models" / "model.onnx"
    keep_finalist(studies[0], Finalist(first.finalists[0], {"onnx": "models/model.onnx"}, ""))
    assert Left.of(prepared, studies, folder) == Left(0, 10)  # its file was deleted
    file.parent.mkdir(parents=True)
    file.touch()
    assert Left.of(prepared, studies, folder) == Left(0, 9)
    # One that is no member of the front any more is nobody's finalist.
    (beaten,) = [each.candidate for each in done[0].done if each.candidate not in first.front][:1]
    keep_finalist(studies[0], Finalist(beaten, {}, ""))
    assert Left.of(prepared, studies, folder) == Left(0, 9)
    # With twice the evaluations, and for the second device a quarter of them, other finalists may be better.
    assert Left.of(longer, studies, folder) == Left(TRIALS + TRIALS // 4, 10)
    for candidate in (*first.finalists, *second.finalists):
        for study in studies:
            keep_finalist(study, Finalist(candidate, {}, ""))
    assert Left.of(prepared, studies, folder) == Left(0, 0)


def test_how_often_networks_near_the_front_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.schedule.EVERY", TRIALS)
    for trials, count in ((4, 0), (TRIALS, 1), (2 * TRIALS + 1, 2)):
        prepared = ready(tmp_path, study=str(trials), trials=trials, verify=True, via="ssh://nobody@nowhere.invalid")
        (tmp_path / str(trials)).mkdir()
        studies = begin_studies(prepared, own_storage(tmp_path / str(trials)), {})
        assert Left.of(prepared, studies, tmp_path).measurings == count
    plain = ready(tmp_path, study=str(trials), trials=trials)
    assert Left.of(plain, studies, tmp_path).measurings == 0


@pytest.mark.parametrize(("finalists", "prune"), [(50, None), (50, 0.7)])
def test_no_more_finalists_are_to_be_made_than_a_front_has(tmp_path: Path, finalists: int, prune: float | None) -> None:
    prepared = ready(tmp_path, finalists=finalists, prune=prune)
    done = searched(prepared, tmp_path, Growing(prepared.space))
    (selection,) = select_all(prepared, [each.done for each in done])
    members = len(selection.front)
    assert 0 < members < finalists
    expected = members * (1 if prune is None else 2)
    assert Left.of(prepared, [each.study for each in done], tmp_path / "s") == Left(0, expected)
