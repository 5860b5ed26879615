"""The study's storage: what was told is read back, by another process too, and a study stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import StoppedError, StudyError
from nas.metrics import OBJECTIVES, Candidate, Metric
from nas.search import storage
from nas.search.front import CUT_OFF
from nas.search.sampler import distributions
from nas.target import Target
from tests.spaces import rich_space

SPACE = rich_space()
OBJECTIVE_PAIR = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
TARGET = Target("raspberrypi4", "onnxruntime", "unknown", "fp32", 1)
FACTS = {"space": "tiny", "data": "0123", "space_size": str(10**30)}


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def open_it(folder: Path, objectives: Any = OBJECTIVE_PAIR, **facts: Any) -> storage.Study:
    """Opened anew each time, as a resume does."""
    sampler = optuna.samplers.RandomSampler(seed=0)
    return storage.open_study(storage.open_storage(url(folder)), "digits/raspberrypi4", objectives, sampler, {**FACTS, **facts})


def tell(study: storage.Study, accuracy: float) -> Candidate:
    trial = study.ask(distributions(SPACE))
    metrics = {
        "accuracy_search": Metric(accuracy, "1", "supernet", std=0.01),
        "latency_s": Metric(0.1 / 3, "s", "predicted", low=0.03, high=0.04),
        "energy_j": Metric(0.1, "J", "modelled", scope="board"),
    }
    candidate = Candidate(SPACE.canonical(trial.params), TARGET, metrics, trial.number)
    storage.record(study, trial, candidate, OBJECTIVE_PAIR, 1.5)
    return candidate


def test_what_a_search_cost_is_kept_with_it(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    assert storage.cost(study) == {}
    storage.keep_spent(study, 12.5, {"cost_kwh": 0.5, "cost_scope": "this machine"})
    assert storage.spent(open_it(tmp_path)) == 12.5
    assert storage.cost(open_it(tmp_path)) == {"cost_kwh": 0.5, "cost_scope": "this machine"}


def test_what_was_told_is_read_back(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    told = [tell(study, 0.9), tell(study, 0.8)]
    found = storage.evaluated(open_it(tmp_path))
    assert [each.candidate for each in found] == told
    assert [each.candidate.id for each in found] == [each.id for each in told]
    assert [each.seconds for each in found] == [1.5, 1.5]
    trials = open_it(tmp_path).get_trials()
    assert [trial.values for trial in trials] == [[0.9, 0.1 / 3], [0.8, 0.1 / 3]]
    assert [SPACE.canonical(trial.params) for trial in trials] == [each.arch for each in told]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_failures_keep_their_reason(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    storage.fail(study, study.ask(distributions(SPACE)), "the loss is nan")
    (trial,) = open_it(tmp_path).get_trials()
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "the loss is nan")
    assert storage.evaluated(study) == []


def test_what_was_cut_off_is_reaped(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    tell(study, 0.9)
    study.enqueue_trial({})
    running = [study.ask(distributions(SPACE)) for _ in range(3)]
    study.enqueue_trial({})
    again = open_it(tmp_path)
    assert storage.reap(again, keep=[running[1].number]) == 2
    states = [trial.state for trial in again.get_trials(deepcopy=False)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    assert storage.reap(again) == 1
    assert storage.reap(again) == 0
    assert not any("reason" in trial.user_attrs for trial in again.get_trials())


def test_what_was_evaluated_when_the_process_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_it(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(type(study), "tell", lambda *_, **__: None)  # the process ends between the two writes of `record`
        candidate = tell(study, 0.9)
    again = open_it(tmp_path)
    assert storage.reap(again) == 0
    assert [each.candidate for each in storage.evaluated(open_it(tmp_path))] == [candidate]
    assert [trial.values for trial in again.get_trials()] == [[0.9, 0.1 / 3]]


def test_what_was_queued_and_cut_off_is_queued_again(tmp_path: Path) -> None:
    study, space = open_it(tmp_path), distributions(SPACE)
    queued = storage.values_of(SPACE.largest, space)
    study.enqueue_trial(queued)
    for attempt in range(1, 4):
        trial = storage.ask(open_it(tmp_path), space, 60.0)
        assert SPACE.canonical(trial.params) == SPACE.largest, attempt
        storage.reap(open_it(tmp_path))
    assert SPACE.canonical(storage.ask(open_it(tmp_path), space, 60.0).params) != SPACE.largest  # it may be what ends the process


def test_what_was_queued_is_queued_once_wherever_reaping_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, space = open_it(tmp_path), distributions(SPACE)
    study.enqueue_trial(storage.values_of(SPACE.largest, space))
    storage.ask(study, space, 60.0)

    def killed(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(study), "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            storage.reap(open_it(tmp_path))
    assert storage.reap(open_it(tmp_path)) == 1
    assert [SPACE.canonical(values) for values in storage.queued(open_it(tmp_path))] == [SPACE.largest]


def test_a_driver_whose_trials_another_one_ended_stops_with_a_word(tmp_path: Path) -> None:
    study, space = open_it(tmp_path), distributions(SPACE)
    trial = storage.ask(study, space, 60.0)
    assert storage.reap(open_it(tmp_path)) == 1  # the one that took the study over
    arch = SPACE.canonical(trial.params)
    metrics = {"accuracy_search": Metric(0.9, "1", "supernet"), "latency_s": Metric(0.1, "s", "predicted")}
    writes: tuple[Callable[[], None], ...] = (
        lambda: storage.record(study, trial, Candidate(arch, TARGET, metrics, trial.number), OBJECTIVE_PAIR, 1.5),
        lambda: storage.fail(study, trial, "out of memory"),
        lambda: storage.keep_lease(study, trial, 2, 60.0),
    )
    for write in writes:
        with pytest.raises(StoppedError, match="another process has taken over study digits/raspberrypi4: this one ends"):
            write()


def test_a_round_takes_over_what_its_predecessor_was_cut_off_in(tmp_path: Path) -> None:
    old = open_it(tmp_path)
    told, cut = tell(old, 0.9), storage.ask(old, distributions(SPACE), 60.0)
    new = storage.open_study(storage.open_storage(url(tmp_path)), "second", OBJECTIVE_PAIR, optuna.samplers.RandomSampler(seed=0), FACTS)
    storage.carry_over(old, new, lambda candidate: candidate, OBJECTIVE_PAIR)
    assert [each.candidate for each in storage.evaluated(new)] == [told]
    carried = new.get_trials()[cut.number]
    assert carried.state == TrialState.FAIL
    assert CUT_OFF in carried.user_attrs


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    open_it(tmp_path)
    store = storage.open_storage(url(tmp_path))
    accuracy, latency = OBJECTIVE_PAIR

    def reopen(objectives: Any = OBJECTIVE_PAIR, **facts: str) -> storage.Study:
        return storage.open_study(store, "digits/raspberrypi4", objectives, optuna.samplers.RandomSampler(), {**FACTS, **facts})

    with pytest.raises(StudyError, match="study digits/raspberrypi4 has space 'tiny', not 'mobilenet_tiny': choose another name"):
        reopen(space="mobilenet_tiny")
    with pytest.raises(StudyError, match="has data '0123', not '4567'"):
        reopen(data="4567")
    with pytest.raises(StudyError, match="has space_size '1000"):
        reopen(space_size="5")
    for others in ((accuracy, OBJECTIVES["macs"]), (*OBJECTIVE_PAIR, OBJECTIVES["macs"]), (latency, accuracy)):
        with pytest.raises(StudyError, match=r"has objectives \['accuracy_search', 'latency_s'\], not \['"):
            reopen(others)
    assert reopen().user_attrs == {"schema": 1, **FACTS, "objectives": ["accuracy_search", "latency_s"]}


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////nowhere/at/all/study.db",
        "nonsense",
        "postgresql://me:secret@localhost:1/none",
        "postgresql://localhost:1/none?password=secret",
    ],
)
def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(StudyError, match="cannot be opened: ") as refused:
        storage.open_storage(address)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_trial_that_is_asked_for_at_once_is_as_one_of_optunas(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    trial = storage.ask(study, distributions(SPACE), 60)
    theirs = study.ask(distributions(SPACE))
    (one, other) = open_it(tmp_path).get_trials()
    assert one.params == trial.params
    assert one.distributions == other.distributions == distributions(SPACE)
    assert one.state == other.state == TrialState.RUNNING
    study.tell(trial, [0.5, 0.1])
    study.tell(theirs, [0.5, 0.1])
    assert open_it(tmp_path).get_trials()[0].values == [0.5, 0.1]


def test_what_another_study_found_is_added_and_read(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    known = [tell(study, 0.9), tell(study, 0.8)]
    (before,) = storage.studies_of(storage.open_storage(url(tmp_path)), "digits")
    assert storage.candidates_of(before, {**FACTS, "unheard_of": "then"}) == known
    with pytest.raises(StudyError, match="study digits/raspberrypi4 has data '0123', not 'other'"):
        storage.candidates_of(before, {**FACTS, "data": "other"})
    assert storage.studies_of(storage.open_storage(url(tmp_path)), "digit") == []
    new = storage.new_study(["maximize", "minimize"], optuna.samplers.RandomSampler())
    storage.add(new, distributions(SPACE), [storage.Evaluated(known[0], 1.5)], OBJECTIVE_PAIR)
    (read,) = storage.evaluated(new)
    assert read.seconds == 1.5
    assert read.candidate.arch == known[0].arch
    assert read.candidate.metrics == known[0].metrics


def test_a_study_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_it(tmp_path).set_user_attr("schema", storage.SCHEMA + 1)
    with pytest.raises(StudyError, match="written by a newer version"):
        open_it(tmp_path)


def test_sqlite_writes_ahead_and_a_journal_keeps_as_well(tmp_path: Path) -> None:
    store = storage.open_storage(url(tmp_path))
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    journal = f"journal://{tmp_path / 'study.journal'}"
    for expected in (1, 2):
        study = storage.open_study(storage.open_storage(journal), "s", OBJECTIVE_PAIR, optuna.samplers.RandomSampler(seed=expected), FACTS)
        storage.ask(study, distributions(SPACE), 60)
        tell(study, 0.5)
        assert len(storage.evaluated(study)) == expected
    with pytest.raises(StudyError, match="cannot be opened"):
        storage.open_storage("journal:///nowhere/at/all/study.journal")
