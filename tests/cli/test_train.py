"""nas train-supernet as a user meets it: trained, found, stopped by Ctrl-C, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from nas.cli.train import make_recipe
from nas.config import default_recipe
from nas.errors import InputError, StoppedError
from nas.models.weights import load_weights
from nas.report.tracking import local_store
from nas.supernet import Request, train
from tests.command import Nas
from tests.spaces import space_data


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(space_data()))
    return path


def test_trained_once_and_told_to_mlflow(nas: Nas, space: Path, tmp_path: Path) -> None:
    command = ("train-supernet", "--space", space, "--epochs", 2, "--recipe", "lr=0.1", "--runs", tmp_path / "r", "--json")
    done = nas(*command)
    assert done.code == 0, done.err
    assert "epoch 2/2: loss" in done.err
    found = done.json
    assert found["epochs"] == 2
    assert found["trained_seconds"] > 0
    assert 0 < found["accuracy_search"]["smallest"] < 1
    assert load_weights(Path(found["weights"]))[1]["space"] == "tiny"
    again = nas(*command)
    assert again.json == {**found, "trained_seconds": 0.0}
    assert "not trained again" in again.err
    client = MlflowClient(local_store(tmp_path / "r"))
    experiment = client.get_experiment_by_name("tiny on digits")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["kind"] == "supernet"
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.lr"] == "0.1"
    history = client.get_metric_history(run.info.run_id, "supernet/largest")
    assert [point.step for point in history] == [1, 2]
    assert {f"supernet/{name}" for name in ("largest", "smallest", "loss", "images_per_s", "waiting", "seconds")} <= run.data.metrics.keys()


def test_weights_that_are_given_are_used_as_they_are(nas: Nas, space: Path, tmp_path: Path) -> None:
    first = nas("train-supernet", "--space", space, "--epochs", 1, "--runs", tmp_path / "r", "--json").json
    command = ("train-supernet", "--space", space, "--epochs", 0, "--runs", tmp_path / "r")
    second = nas(*command, "--weights", first["weights"])
    assert second.code == 0
    assert "trained   0 epochs, 0 steps" in second.out
    assert f"accuracy  largest {first['accuracy_search']['largest']:.2%}" in second.out
    refused = nas(*command, "--weights", tmp_path / "absent.safetensors")
    assert refused.code == 2
    assert "absent.safetensors: cannot be read" in refused.err


def test_ctrl_c_saves_and_the_same_command_goes_on(space: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas", "train-supernet", "--space", str(space), "--epochs", "400", "--runs", str(tmp_path / "r")]
    command += ["--tracking-uri", "sqlite:////proc/no/such.db"]  # MLflow that fails costs a training nothing
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "r").rglob("step-*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the training is saved\nthe same command goes on" in err
    assert "MLflow does not have all of this training" in err
    assert 1 <= len(list((tmp_path / "r").rglob("step-*.safetensors"))) <= 2


def test_mlflow_tells_a_training_that_failed_from_one_that_was_stopped(nas: Nas, space: Path, tmp_path: Path) -> None:
    runs, recipe = tmp_path / "r", default_recipe("digits")
    diverged = nas("train-supernet", "--space", space, "--runs", runs, "--recipe", "lr=1e30", "--recipe", "grad_clip=1e30")
    assert diverged.code == 5
    assert "at learning rate 1e+30: try a smaller one" in diverged.err
    with pytest.raises(StoppedError):
        train(Request(str(space), "digits", recipe, 0, runs), lambda event: None, lambda: True)
    client = MlflowClient(local_store(runs))
    experiment = client.get_experiment_by_name("tiny on digits")
    assert experiment is not None
    ended = {run.data.params["recipe.lr"]: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert ended == {"1e+30": "FAILED", str(recipe.lr): "KILLED"}


def test_a_recipe_takes_what_is_given() -> None:
    assert make_recipe("digits", None, ()) == default_recipe("digits")
    made = make_recipe("photos.zip", 3, ("lr=0.05", "flip=false", "schedule=cosine", "epochs=4"))
    assert (made.epochs, made.lr, made.flip, made.schedule) == (4, 0.05, False, "cosine")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("lr", "--recipe takes KEY=VALUE, e.g. lr=0.1, got 'lr'"),
        ("lr=fast", "recipe.lr: .* got 'fast'"),
        ("mixupp=1", "did you mean mixup"),
        ("micro_batch=1", "0 for the whole batch, or 2 and more, got 1"),
        ("schedule=linear", "recipe.schedule: .* got 'linear'"),
    ],
)
def test_a_recipe_refuses_the_rest(given: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_recipe("digits", None, [given])
