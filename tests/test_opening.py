"""What a new study begins with: earlier studies, networks that are named, what other devices' searches found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from nas.architecture import Architecture
from nas.config import SearchConfig, check_config
from nas.errors import ClusterError, InputError, StudyError, UnknownNameError
from nas.events import Event
from nas.opening import begin_studies, clock, find_studies, open_round, own_storage, refuse_lost, reused_words
from nas.pipeline import run
from nas.preparation import Prepared, prepare
from nas.provenance import earlier
from nas.recording import save_config
from nas.report.record import EventLog
from nas.report.tracking import LOG
from nas.rounds import Searched, search_device
from nas.schedule import FURTHER
from nas.search import storage
from nas.search.executors import Evaluation
from tests.executors import Growing

TRIALS = 12


def config(**changes: Any) -> SearchConfig:
    values = {"study": "s", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": "digits", "trials": TRIALS}
    return check_config({**values, **changes})


def ready(runs: Path, **changes: Any) -> Prepared:
    return prepare(config(**changes), runs, lambda event: None, lambda: False)


def searched(prepared: Prepared, runs: Path, executor: Growing) -> list[Searched]:
    folder = runs / prepared.config.study
    save_config(folder, prepared.config, prepared)
    store = own_storage(folder)
    accuracies: dict[Architecture, Evaluation] = {}
    events: list[Event] = []
    return [
        search_device(prepared, device, study, store, executor, accuracies, events.append, lambda: False, None)
        for device, study in zip(prepared.devices, begin_studies(prepared, store, earlier(prepared, runs).accuracies), strict=True)
    ]


def test_a_further_device_is_told_all_that_is_known_and_adds_a_quarter(tmp_path: Path) -> None:
    prepared = ready(tmp_path, devices=("raspberrypi4", "pixel3"), joint="mean")
    executor = Growing(prepared.space)
    first, second, joint = searched(prepared, tmp_path, executor)
    more = math.ceil(FURTHER * TRIALS)
    assert [len(each.done) for each in (first, second, joint)] == [TRIALS, TRIALS + more, TRIALS + 2 * more]
    assert len(executor.asked) == len(set(executor.asked)) <= TRIALS + 2 * more
    told = {each.candidate.arch: each for each in second.done}
    for each in first.done:
        assert told[each.candidate.arch].seconds == each.seconds == 0.25
        assert told[each.candidate.arch].candidate.metrics["accuracy_search"] == each.candidate.metrics["accuracy_search"]
        assert told[each.candidate.arch].candidate.target.device == "pixel3"
    assert joint.device.target.device == "joint-mean"
    # Going on asks for nothing: what was told is told once.
    again = searched(prepared, tmp_path, Growing(prepared.space))
    assert [len(each.done) for each in again] == [len(each.done) for each in (first, second, joint)]


def test_a_longer_budget_tells_further_devices_what_is_new(tmp_path: Path) -> None:
    devices = ("raspberrypi4", "pixel3")
    short, long = ready(tmp_path, devices=devices), ready(tmp_path, devices=devices, trials=2 * TRIALS, evaluation_timeout_s=50.0)
    searched(short, tmp_path, Growing(short.space))
    first, second = searched(long, tmp_path, Growing(long.space))
    assert len(first.done) == 2 * TRIALS
    assert {each.candidate.arch for each in first.done} <= {each.candidate.arch for each in second.done}
    own = len(second.done) - second.study.user_attrs[storage.TOLD]
    assert own == math.ceil(FURTHER * 2 * TRIALS)
    for trial in first.study.trials[-3:]:
        assert trial.datetime_start is not None
        assert 49 < trial.user_attrs["lease"]["expiry"] - trial.datetime_start.timestamp() < 70


def test_what_a_crash_cut_off_while_it_was_told_is_told_once(tmp_path: Path) -> None:
    prepared = ready(tmp_path, devices=("raspberrypi4", "pixel3"))
    first, second = searched(prepared, tmp_path, Growing(prepared.space))
    cut = ready(tmp_path, study="cut", devices=("raspberrypi4", "pixel3"))
    (tmp_path / "cut").mkdir()
    store = own_storage(tmp_path / "cut")
    study = begin_studies(cut, store, {})[1]
    storage.add(study, second.study.trials[0].distributions, second.done[:5], cut.objectives)
    after = searched(cut, tmp_path, Growing(cut.space))[1]
    archs = [each.candidate.arch for each in after.done]
    assert len(archs) == len(set(archs)) == len(second.done)
    assert {each.candidate.arch for each in first.done} < set(archs)


def test_accuracies_of_an_earlier_study_count(tmp_path: Path) -> None:
    before = ready(tmp_path)
    (old,) = searched(before, tmp_path, Growing(before.space))
    warm = ready(tmp_path, study="warm", warm_start=("s",), trials=TRIALS + 3)
    executor = Growing(warm.space)
    (new,) = searched(warm, tmp_path, executor)
    assert len(new.done) == TRIALS + 3
    assert len(executor.asked) == 3
    assert {each.candidate.arch for each in old.done} < {each.candidate.arch for each in new.done}
    with pytest.raises(StudyError, match=r"--warm-start nothing: .* is absent"):
        searched(ready(tmp_path, study="other", warm_start=("nothing",)), tmp_path, executor)
    with pytest.raises(StudyError, match="its accuracies are of no use here"):
        searched(ready(tmp_path, study="other", warm_start=("s",), seed=1), tmp_path, executor)


def test_what_is_reused_is_told_and_whether_it_leaves_nothing_to_evaluate(tmp_path: Path) -> None:
    before = ready(tmp_path)
    searched(before, tmp_path, Growing(before.space))
    assert reused_words(before, begin_studies(before, own_storage(tmp_path / "s"), {})[0]) == ()
    for trials, kind, words in ((TRIALS + 3, "info", "from s"), (TRIALS, "warning", f"ask for more than {TRIALS}")):
        warm = ready(tmp_path, study=f"warm{trials}", warm_start=("s",), trials=trials)
        (tmp_path / warm.config.study).mkdir()
        (study,) = begin_studies(warm, own_storage(tmp_path / warm.config.study), earlier(warm, tmp_path).accuracies)
        (told,) = reused_words(warm, study)
        assert told.kind == kind
        assert told.text.startswith(f"{TRIALS} accuracies are reused from s")
        assert told.text.endswith(words)


def test_a_study_that_its_storage_has_lost_does_not_begin_anew(tmp_path: Path) -> None:
    prepared, folder = ready(tmp_path), tmp_path / "s"
    folder.mkdir()
    refuse_lost(prepared, own_storage(folder), folder)  # nothing was told yet
    EventLog(folder / LOG).append("trial", {"text": "1/12 candidates"})
    for _ in range(2):
        with pytest.raises(StudyError, match=r"study\.db has no study s/raspberrypi4, whose log has candidates: put the storage back"):
            refuse_lost(prepared, own_storage(folder), folder)
        open_round(prepared, prepared.devices[0], own_storage(folder), 1)  # and one that holds nothing is no better
    begin_studies(prepared, own_storage(folder), {})
    refuse_lost(prepared, own_storage(folder), folder)


def test_who_looks_for_studies_begins_none(tmp_path: Path) -> None:
    prepared, folder = ready(tmp_path, devices=("raspberrypi4", "pixel3")), tmp_path / "s"
    folder.mkdir()
    store = own_storage(folder)
    with pytest.raises(StudyError, match="the storage has no study s/raspberrypi4"):
        clock(prepared, store)
    assert find_studies(prepared, store) == {}
    begun = begin_studies(ready(tmp_path), store, {})[0]  # it was not begun for the second device
    assert clock(prepared, store).study_name == begun.study_name
    assert {name: each.study_name for name, each in find_studies(prepared, store).items()} == {"raspberrypi4": "s/raspberrypi4"}
    assert not storage.has(store, "s/pixel3")
    with pytest.raises(StudyError, match="study s/raspberrypi4 has data "):
        find_studies(ready(tmp_path, seed=1), store)


def test_networks_that_are_named_are_evaluated_first(tmp_path: Path) -> None:
    space = ready(tmp_path).space
    mine = space.sample(7)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"blocks": [block.to_dict() for block in space.decode(mine)]}), encoding="utf-8")
    prepared = ready(tmp_path, start_from=(str(path),))
    executor = Growing(space)
    searched(prepared, tmp_path, executor)
    assert space.decode(executor.asked[0]) == space.decode(mine)
    assert executor.asked[1:3] == [space.largest, space.smallest]


def test_networks_are_queued_once_wherever_queueing_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, folder = ready(tmp_path), tmp_path / "s"
    folder.mkdir()
    queue = storage.Study.enqueue_trial

    def cut_off(study: storage.Study, params: dict[str, Any]) -> None:
        queue(study, params)
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(storage.Study, "enqueue_trial", cut_off)
            with pytest.raises(KeyboardInterrupt):
                begin_studies(prepared, own_storage(folder), {})
    for _ in range(2):
        (study,) = begin_studies(prepared, own_storage(folder), {})
        queued = [prepared.space.canonical(values) for values in storage.queued(study)]
        assert queued == [prepared.space.largest, prepared.space.smallest]


def test_a_network_of_another_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--start-from mobilenet_v2: that is no network of space mobilenet_tiny for 10 classes"):
        ready(tmp_path, start_from=("mobilenet_v2",))
    with pytest.raises(UnknownNameError, match="did you mean mobilenet_v2"):
        ready(tmp_path, start_from=("mobilenetv2",))


def test_a_cluster_that_does_not_answer_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at '127\.0\.0\.1:1': .*refused"):
        run(config(ray="127.0.0.1:1"), tmp_path, lambda event: None, lambda: False)
