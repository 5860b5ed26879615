"""Who is trained on, and what is remembered of who was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.config import HalvingRecipe
from nas.errors import ModelFileError
from nas.search.evaluators.halving import Ladder, Progress, Step, goes_on

IMAGES = 1000


def at(correct: int, macs: int, *later: int) -> Progress:
    """A network after one rung, or more."""
    return Progress(macs, tuple(Step(3**n, each, IMAGES, 1.0) for n, each in enumerate((correct, *later))))


def test_the_first_goes_on() -> None:
    assert goes_on(at(100, 10), [], 3)


def test_one_that_is_worse_than_most_is_halted() -> None:
    others = [at(800, 10), at(850, 20), at(700, 5)]
    assert not goes_on(at(600, 20), others, 3)


def test_one_that_nobody_dominates_goes_on_however_low_its_accuracy() -> None:
    """The smallest network of all is on the front of accuracy and cost, and Optuna's one-objective pruners would stop it first."""
    others = [at(500 + n, 100 + n) for n in range(50)]
    assert goes_on(at(300, 99), others, 3)
    assert not goes_on(at(300, 100), others, 3)


def test_the_best_third_goes_on_even_when_dominated() -> None:
    others = [at(900, 10), *(at(500 - n, 20 + n) for n in range(8))]
    assert goes_on(at(800, 15), others, 3)  # dominated by one of nine


def test_one_standard_error_is_forgiven() -> None:
    """Half of 1,000 images have a standard error of 1.6 points."""
    others = [at(500, 10) for _ in range(9)]
    assert goes_on(at(490, 10), others, 3)
    assert not goes_on(at(480, 10), others, 3)


def test_only_those_at_the_same_rung_are_compared() -> None:
    short = [at(900, 1) for _ in range(9)]
    assert goes_on(at(400, 10, 700), short, 3)
    assert not goes_on(at(400, 10, 700), [at(400, 10, 800) for _ in range(3)], 3)


steps = st.builds(lambda correct, macs: at(correct, macs), st.integers(0, IMAGES), st.integers(1, 5))


@given(steps, st.lists(steps, max_size=20), st.integers(2, 5))
def test_a_halted_network_is_dominated_and_most_are_halted_at_last(own: Progress, others: list[Progress], factor: int) -> None:
    if goes_on(own, others, factor):
        return
    last = own.steps[-1]
    better = [o for o in others if o.macs <= own.macs and o.steps[0].correct > last.correct]
    assert better
    assert goes_on(own, [o for o in others if o not in better], factor) or len(others) > 2


def test_rungs_grow_by_the_factor() -> None:
    assert HalvingRecipe().rungs == (1, 3, 9)
    assert HalvingRecipe(epochs=1).rungs == (1,)
    assert HalvingRecipe(epochs=20, factor=2, first_epochs=3).rungs == (5, 10, 20)
    assert HalvingRecipe().mean_epochs == pytest.approx(1 + 2 / 3 + 6 / 9)


def test_progress_is_kept_and_read_by_others(tmp_path: Path) -> None:
    one, other = Ladder(tmp_path / "here"), Ladder(tmp_path / "here")
    assert one.read("a") is None
    assert one.others("a") == []
    one.write("a", at(10, 5))
    other.write("b", at(20, 6, 30))
    assert other.read("a") == at(10, 5)
    assert one.others("a") == [at(20, 6, 30)]
    assert one.read("b").seconds == 2.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": 2, "macs": 1, "steps": [], "done": true}', '{"schema": 1, "macs": 1, "steps": [{}]}']
)
def test_a_damaged_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"a\.json: .* delete it and the network is trained again"):
        Ladder(tmp_path).read("a")


@pytest.mark.parametrize("step", [(0, 1, 2, 1.0), (1, 3, 2, 1.0), (1, -1, 2, 1.0), (1, 0, 0, 1.0), (1, 1, 2, -1.0)])
def test_steps_that_cannot_be_are_refused(step: tuple[int, int, int, float]) -> None:
    with pytest.raises(ValueError, match="a step has"):
        Step(*step)
