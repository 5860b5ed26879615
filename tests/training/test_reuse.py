"""Trained once: found again, gone on with after any end, started from a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.config import TrainRecipe
from nas.errors import InputError, ModelFileError, StoppedError
from nas.events import Event
from nas.files import locked
from nas.models.weights import load_weights
from nas.training.data import ImageData
from nas.training.reuse import EPOCHS, SupernetFile, SupernetJob
from tests.spaces import make_space

SPACE = make_space()
RECIPE = TrainRecipe(epochs=2, batch_size=32, lr=0.1, flip=False)


def run(job: SupernetJob, events: list[Event] | None = None) -> SupernetFile:
    return job.run((events if events is not None else []).append, lambda: False)


@pytest.fixture
def job(few_digits: ImageData, tmp_path: Path) -> SupernetJob:
    return SupernetJob(SPACE, few_digits, RECIPE, 0, tmp_path)


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_weights(one)[0], load_weights(other)[0]
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_second_time_nothing_is_trained(job: SupernetJob) -> None:
    events: list[Event] = []
    made = run(job, events)
    assert (made.steps, made.epochs) == (8, 2)
    assert made.trained_s > 0
    assert 0 < made.smallest <= 1
    assert [event.fields["epoch"] for event in events if event.kind == "epoch"] == [1, 2]
    lines = [json.loads(line) for line in (made.path.parent / EPOCHS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(0 <= line["largest"] <= 1 and line["images"] == 360 and line["seconds"] > 0 for line in lines)
    assert sorted(path.name for path in made.path.parent.iterdir()) == [".lock", EPOCHS, "weights.safetensors"]
    again = run(job, events)
    assert again == replace(made, trained_s=0.0)
    assert "found trained (8 steps" in events[-1].text
    # Whatever time it may take: it is done. And what finalists do with the weights does not matter.
    assert run(replace(job, budget_s=1e-3)).path == made.path
    assert run(replace(job, recipe=RECIPE.model_copy(update={"finetune_epochs": 9}))).path == made.path


def test_a_training_that_was_cut_short_serves_its_budget_and_smaller_ones(job: SupernetJob) -> None:
    hurried = run(replace(job, budget_s=1e-6))
    assert hurried.steps < 8
    for budget_s in (1e-6, 1e-7):
        found = run(replace(job, budget_s=budget_s))
        assert (found.path, found.trained_s) == (hurried.path, 0)
    events: list[Event] = []
    longer = run(replace(job, budget_s=2e-6), events)
    assert longer.trained_s > 0
    assert "a supernet of 1e-06 s is there and this one takes 2e-06 s: trained anew" in events[0].text
    assert f"--weights {hurried.path} --epochs 0" in events[0].text
    assert run(replace(job, budget_s=1e-6)).path == longer.path
    (hurried.path.parent.parent / f"{job.key}-of somebody else").mkdir()
    assert run(job).steps == 8


def test_it_starts_from_a_file(job: SupernetJob, tmp_path: Path) -> None:
    first = run(job)
    as_it_is = run(replace(job, first=first.path, recipe=RECIPE.model_copy(update={"epochs": 0})))
    assert as_it_is.steps == 0
    assert same_weights(as_it_is.path, first.path)
    assert (as_it_is.largest, as_it_is.smallest) == (first.largest, first.smallest)
    further = run(replace(job, first=first.path))
    assert further.path != first.path
    assert not same_weights(further.path, first.path)
    other = make_space(stages=[{"out_chs": 16, "depth": [1, 2], "stride": 2}])
    with pytest.raises(ModelFileError, match="holds the weights of another space than tiny"):
        run(replace(job, space=other, first=first.path))
    with pytest.raises(ModelFileError, match=r"absent\.safetensors: cannot be read"):
        run(replace(job, first=tmp_path / "absent.safetensors"))


def test_a_damaged_file_is_said_to_be_deleted(job: SupernetJob) -> None:
    made = run(replace(job, recipe=RECIPE.model_copy(update={"epochs": 0})))
    made.path.write_bytes(made.path.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="delete it and the supernet is trained again"):
        run(replace(job, recipe=RECIPE.model_copy(update={"epochs": 0})))


def test_two_do_not_train_one_supernet(job: SupernetJob) -> None:
    with locked(job.home() / ".lock", "first"), pytest.raises(InputError, match="another process trains the supernet in"):
        run(job)


def test_searches_that_find_it_trained_do_not_wait_for_each_other(job: SupernetJob) -> None:
    made = run(job)
    with locked(job.home() / ".lock", "first"):
        assert run(job) == replace(made, trained_s=0.0)


def test_a_record_that_cannot_be_written_is_no_internal_error(job: SupernetJob) -> None:
    (job.home() / EPOCHS).mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot write .*epochs\.jsonl: .*: free some space"):
        run(job)


def test_stopped_it_goes_on_where_it_was(job: SupernetJob) -> None:
    stops = iter([False, False, True])
    with pytest.raises(StoppedError, match="in epoch 1 of 2: the training is saved"):
        job.run(lambda event: None, lambda: next(stops))
    stopped = run(job)
    assert stopped.steps == 8
    elsewhere = run(replace(job, cache=job.cache / "elsewhere"))
    assert same_weights(stopped.path, elsewhere.path)


TRAIN = """
import sys
from pathlib import Path
from tests.training.test_reuse import RECIPE, SPACE, SupernetJob, run
from nas.training.data import load_data
run(SupernetJob(SPACE, load_data("digits", 8, seed=0), RECIPE.model_copy(update={"batch_size": 16}), 0, Path(sys.argv[1])))
"""


def test_killed_it_goes_on_from_its_checkpoint(job: SupernetJob, digits: ImageData, tmp_path: Path) -> None:
    """kill -9 after the first epoch: the second process ends where an undisturbed one does."""
    job = replace(job, data=digits, recipe=RECIPE.model_copy(update={"batch_size": 16}))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(tmp_path)], cwd=Path(__file__).parents[2], env=environment)
    deadline = time.monotonic() + 120
    kept = job.home() / "checkpoints"
    while not list(kept.glob("step-*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(kept.glob("step-*.safetensors"))
    assert (job.home() / EPOCHS).is_file()  # told before it was saved
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        resumed = run(job)
        undisturbed = run(replace(job, cache=tmp_path / "elsewhere"))
    finally:
        torch.set_num_threads(threads)
    assert resumed.steps == undisturbed.steps
    assert same_weights(resumed.path, undisturbed.path)
