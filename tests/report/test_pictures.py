from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import InputError
from nas.report.facts import PredictorFacts, StudyFacts
from nas.report.pictures import DRAWING, write_pictures

from .examples import example_facts, with_drawings
from .strategies import example_front


def test_all_pictures_of_a_study(tmp_path: Path) -> None:
    front = with_drawings(example_front(5, 3))
    written = write_pictures(tmp_path, example_facts(front, example_front(3, 0, device="pixel3")))
    drawings = {each.artifacts[DRAWING] for each in front.finalists}
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    pictures = {"front.html", "front.png", "hypervolume.png", "predictor_raspberrypi4.png", "report.html"}
    assert names == pictures | drawings
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == names
    before = {path: path.read_bytes() for path in written}
    write_pictures(tmp_path, example_facts(front, example_front(3, 0, device="pixel3")))
    assert {path: path.read_bytes() for path in written} == before


def test_a_study_of_which_little_is_known(tmp_path: Path) -> None:
    front = example_front(1, 0)
    written = write_pictures(tmp_path, StudyFacts(example_facts(front).config, (front,)))
    assert {path.name for path in written} == {"front.html", "front.png", "report.html"}


def test_facts_check_themselves() -> None:
    with pytest.raises(InputError, match="at least one front"):
        StudyFacts(example_facts(example_front()).config, ())
    with pytest.raises(InputError, match="band of 1 or more"):
        PredictorFacts(3, None, 0.5, "")
