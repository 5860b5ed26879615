"""Active refinement on this machine: real measurements of tiny networks, made-up accuracies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from nas.config import MeasureProtocol, check_config
from nas.errors import InputError, TargetError
from nas.events import Event
from nas.hardware.profile import load_profile
from nas.metrics import Candidate
from nas.opening import begin_studies, find_studies, open_round
from nas.preparation import Prepared, prepare
from nas.rounds import Searched, _warn_of_few, scored_anew, search_device
from nas.schedule import NETWORKS, fewest_trials
from nas.search import storage
from nas.search.engine import LEAST
from nas.search.scoring import Scorer
from tests.executors import Growing

QUICK = MeasureProtocol(windows=2, window_s=0.002, min_runs=2, warmup_runs=1, max_warmup_s=0.002, max_drift=1e3, max_repeats=50)
EVERY = 6
TRIALS = 2 * EVERY + 2


def config(**changes: Any) -> Any:
    values = {"study": "s", "devices": ("host",), "space": "mobilenet_tiny", "data": "digits", "trials": TRIALS, "verify": True}
    return check_config({**values, "measure": QUICK, **changes})


def search(prepared: Prepared, url: str, executor: Growing, events: list[Event], deadline_s: float | None = None) -> Searched:
    store = storage.open_storage(url)
    (study,) = begin_studies(prepared, store, {})
    return search_device(prepared, prepared.devices[0], study, store, executor, {}, events.append, lambda: False, deadline_s)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Exporting tiny networks on more threads than a busy machine has free is slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verify")


@pytest.fixture
def prepared(home: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """This machine, with six networks measured once for all tests here."""
    monkeypatch.chdir(home)
    monkeypatch.setattr("nas.preparation.HOST_NETWORKS", 6)
    monkeypatch.setattr("nas.schedule.EVERY", EVERY)
    return prepare(config(), home / "runs", lambda event: None, lambda: False)


def test_networks_near_the_front_are_measured_and_nothing_is_evaluated_twice(prepared: Prepared, tmp_path: Path) -> None:
    url, events, executor = f"sqlite:///{tmp_path / 'study.db'}", [], Growing(prepared.space)
    before = prepared.devices[0].scorer.predictor
    found = search(prepared, url, executor, events)

    assert len(found.done) == TRIALS
    assert len(executor.asked) == len(set(executor.asked)) == TRIALS
    told = [event for event in events if "before" in event.fields]
    sizes = [before.measurements, *(int(str(event.fields["measurements"])) for event in told)]
    assert len(sizes) == 3
    # One or two near the front may be among those measured before the search.
    assert all(0 < after - earlier <= NETWORKS for earlier, after in pairwise(sizes))
    assert all("held-out error" in str(event.fields[when]) for event in told for when in ("before", "after"))
    # One predictor scored them all: the one that this machine's profile has now.
    assert found.device.scorer.predictor == load_profile("host").predictor(found.device.target)
    for each in found.done:
        assert each.candidate.metrics["latency_s"] == found.device.scorer.metrics(each.candidate.arch)["latency_s"]
        assert each.candidate.metrics["accuracy_search"].source == "supernet"
    assert sorted(each.candidate.trial or 0 for each in found.done) == list(range(TRIALS))
    assert found.study.study_name == "s/host/round-3"
    measured = found.study.user_attrs["verified"]
    assert len(measured) == len(set(measured)) == 2 * NETWORKS
    assert not [event.text for event in events if "time for the search" in event.text]  # a pause is no end

    # A resume finds all of it and does nothing; one with more trials goes on in the last round.
    again = Growing(prepared.space)
    assert len(search(replace(prepared, devices=(found.device,)), url, again, []).done) == TRIALS
    more = replace(prepared, config=config(trials=TRIALS + 2), devices=(found.device,))
    assert len(search(more, url, again, []).done) == TRIALS + 2
    assert len(again.asked) == 2


def test_a_short_search_measures_once_and_one_that_is_too_short_says_so(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # as it is for users: a pause every 20 candidates
    monkeypatch.chdir(tmp_path)
    for trials, count in ((fewest_trials(0), 1), (fewest_trials(0) - 1, 0)):
        events: list[Event] = []
        short = replace(prepared, config=config(trials=trials))
        found = search(short, f"sqlite:///{tmp_path / f'{trials}.db'}", Growing(prepared.space), events)
        assert len(found.done) == trials
        assert len([event for event in events if event.fields.get("phase") == "verify"]) == count
        assert len(found.study.user_attrs.get("verified", [])) == (trials - 1 if count else 0)
        key = found.device.target.key
        assert [event.text for event in events if event.kind == "warning" and "--verify" in event.text] == [
            f"--verify measures nothing on {key}: 4 of 4 candidates are left to be evaluated, too few to pause among them; --trials 5 does"
        ][count:]
    further: list[Event] = []  # of 4 more trials such a device has one
    _warn_of_few(8, 9, 4, 0.25, found.device, further.append)
    assert further[0].text.endswith("1 of 9 candidates are left to be evaluated, too few to pause among them; --trials 8 does")
    # A resume of a search that is over has nothing to warn of.
    again: list[Event] = []
    search(short, f"sqlite:///{tmp_path / '4.db'}", Growing(prepared.space), again)
    assert not [event for event in again if event.kind == "warning"]


def test_a_search_with_int8_measures_it_here_once(prepared: Prepared, home: Path) -> None:
    target = replace(prepared.devices[0].target, precision="int8")
    for phases in (1, 0):
        events: list[Event] = []
        both = prepare(config(precision="both", verify=False), home / "runs", events.append, lambda: False)
        assert (
            len(
                [
                    event
                    for event in events
                    if event.text
                    == f"Measuring 6 networks on this machine, {target.key}: about 6 s; what all else takes is told after that"
                ]
            )
            == phases
        )
        (word,) = (event.text for event in both.words if event.text.startswith("int8 "))
        assert target.key in word
        assert word.endswith("(measured)")
    again = prepare(config(precision="both", verify=False), home / "runs", events.append, lambda: False, measure=False)
    assert [word.text for word in again.words] == [word.text for word in both.words]


def test_int8_that_this_machine_does_not_run_is_left_out(
    prepared: Prepared, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> NoReturn:
        raise TargetError("openvino runs it in fp32, not in int8: measure --precision fp32")

    shutil.copytree(home / "hw_profiles", tmp_path / "hw_profiles", ignore=shutil.ignore_patterns("*-int8-*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.preparation.measure_networks", refused)
    both = prepare(config(precision="both", verify=False), tmp_path / "runs", lambda event: None, lambda: False)
    assert [scorer.target.precision for scorer in both.devices[0].scorer.all] == ["fp32"]
    (word,) = (event for event in both.words if event.text.startswith("int8 "))
    assert word.kind == "warning"
    assert word.text.startswith("int8 is left out on host/")
    assert word.text.endswith(": openvino runs it in fp32, not in int8: measure --precision fp32")


def test_what_is_derived_again_takes_what_could_be_measured(prepared: Prepared, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small space has few networks, and one that the runtime refuses is missing for good."""
    known = load_profile("host").predictor(prepared.devices[0].target)
    monkeypatch.setattr("nas.preparation.HOST_NETWORKS", known.measurements + 1)
    again = prepare(config(verify=False), home / "runs", lambda event: None, lambda: False, measure=False)
    assert again.devices[0].scorer.predictor == known


@pytest.mark.parametrize("verify", [True, False])
def test_a_search_never_goes_on_with_another_predictor_in_one_study(prepared: Prepared, tmp_path: Path, verify: bool) -> None:
    url, executor, device = f"sqlite:///{tmp_path / 'study.db'}", Growing(prepared.space), prepared.devices[0]
    few = replace(prepared, config=config(trials=4, verify=verify))
    search(few, url, executor, [])
    better = replace(device.scorer.predictor, coefficients=tuple(2 * value for value in device.scorer.predictor.coefficients))
    scorer = Scorer(prepared.space, device.target, better, device.scorer.energy)
    found = search(replace(few, devices=(replace(device, scorer=scorer),)), url, executor, [])
    assert found.study.study_name == "s/host/round-2"
    assert len(executor.asked) == len(found.done) == 4
    for each in found.done:
        assert each.candidate.metrics["latency_s"].value == pytest.approx(2 * device.scorer.metrics(each.candidate.arch)["latency_s"].value)


def test_what_is_derived_again_has_the_costs_of_todays_predictor(prepared: Prepared, tmp_path: Path) -> None:
    few, device = replace(prepared, config=config(trials=4)), prepared.devices[0]
    found = search(few, f"sqlite:///{tmp_path / 'study.db'}", Growing(prepared.space), [])
    newer = replace(device.target, runtime_version="99.0")
    same = replace(device, scorer=Scorer(prepared.space, newer, device.scorer.predictor, device.scorer.energy))
    for each, before in zip(scored_anew(few, same, found.study, found.done), found.done, strict=True):
        assert each.candidate == replace(before.candidate, target=newer)
    better = replace(device.scorer.predictor, coefficients=tuple(2 * value for value in device.scorer.predictor.coefficients))
    other = replace(device, scorer=Scorer(prepared.space, newer, better, device.scorer.energy))
    for each, before in zip(scored_anew(few, other, found.study, found.done), found.done, strict=True):
        assert each.candidate.target == newer
        assert each.candidate.metrics["latency_s"].value == pytest.approx(2 * before.candidate.metrics["latency_s"].value)
        assert each.candidate.metrics["accuracy_search"] == before.candidate.metrics["accuracy_search"]


def test_when_it_is_late_nothing_is_measured(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    monkeypatch.setattr("nas.schedule.EVERY", LEAST)  # so many are evaluated however late it is
    more = replace(prepared, config=config(trials=3 * LEAST))
    found = search(more, f"sqlite:///{tmp_path / 's.db'}", Growing(prepared.space), events, deadline_s=0.0)
    assert len(found.done) == LEAST
    assert "verified" not in found.study.user_attrs
    assert [event.text for event in events if "time for the search" in event.text] == [
        f"the time for the search is over: stopped at {LEAST} of {3 * LEAST} candidates"
    ]


def test_without_verify_there_is_one_round_and_nothing_is_measured(prepared: Prepared, tmp_path: Path) -> None:
    events: list[Event] = []
    plain = replace(prepared, config=config(verify=False, trials=EVERY + 2))
    found = search(plain, f"sqlite:///{tmp_path / 'study.db'}", Growing(prepared.space), events)
    assert found.study.study_name == "s/host"
    assert not [event for event in events if event.kind == "phase"]


def test_a_round_that_a_crash_cut_off_is_made_again(prepared: Prepared, tmp_path: Path) -> None:
    url, executor, device = f"sqlite:///{tmp_path / 'study.db'}", Growing(prepared.space), prepared.devices[0]
    few = replace(prepared, config=config(trials=4, verify=False))
    first = search(few, url, executor, [])
    store = storage.open_storage(url)
    cut = open_round(few, device, store, 2)
    storage.add(cut, first.study.trials[0].distributions, first.done[:2], few.objectives)
    for _ in range(2):  # who looks deletes nothing: a live driver may be at it
        assert storage.latest_round(store, "s/host") == (1, "s/host")
        assert find_studies(few, store)["host"].study_name == "s/host"
    assert storage.has(store, "s/host/round-2")
    better = replace(device.scorer.predictor, coefficients=tuple(2 * value for value in device.scorer.predictor.coefficients))
    scorer = Scorer(prepared.space, device.target, better, device.scorer.energy)
    found = search(replace(few, devices=(replace(device, scorer=scorer),)), url, executor, [])
    assert (found.study.study_name, len(found.study.trials)) == ("s/host/round-2", len(first.study.trials))
    assert [each.candidate.arch for each in found.done] == [each.candidate.arch for each in first.done]
    assert storage.latest_round(store, "s/host") == (2, "s/host/round-2")


def test_a_candidate_beyond_the_bound_leaves_the_front_and_comes_back(prepared: Prepared, tmp_path: Path) -> None:
    few, url = replace(prepared, config=config(trials=4)), f"sqlite:///{tmp_path / 'study.db'}"
    first = search(few, url, Growing(prepared.space), [])
    slowest = max(first.done, key=lambda each: each.candidate.metrics["latency_s"].value).candidate.arch

    def bounded(candidate: Candidate) -> Candidate | None:
        return None if candidate.arch == slowest else candidate

    store, device = storage.open_storage(url), prepared.devices[0]
    second, third = (open_round(few, device, store, number) for number in (2, 3))
    storage.carry_over(first.study, second, bounded, few.objectives)
    assert slowest not in {each.candidate.arch for each in storage.evaluated(second)}
    assert any("constraints" in trial.user_attrs.get("reason", "") for trial in second.get_trials(deepcopy=False))
    storage.carry_over(second, third, lambda candidate: candidate, few.objectives)
    assert storage.evaluated(third) == first.done


def test_a_device_that_cannot_be_measured_from_here_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match=r"--verify.*raspberrypi4"):
        prepare(config(devices=("host", "raspberrypi4")), home / "runs", lambda event: None, lambda: False)
    with pytest.raises(InputError, match=r"host is this machine: give the device at ssh://pi a name of its own"):
        prepare(config(via="ssh://pi"), home / "runs", lambda event: None, lambda: False)
