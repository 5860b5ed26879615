"""Two processes on gloo against one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.models.weights import load_weights
from nas.training.batches import part_of
from nas.training.parallel import ALONE, Team, alone_here, team
from tests.training.two_processes import main

TOLERANCE = 1e-4
"""Largest difference of a weight after eight steps: sums of gradients are rounded in another order."""
ROOT = Path(__file__).parents[2]


def test_one_process_is_a_team_of_its_own() -> None:
    with team() as alone:
        assert (alone.rank, alone.processes, alone.leads) == (0, 1, True)
    tensor = torch.ones(3)
    ALONE.add_up([tensor])
    ALONE.share([tensor])
    ALONE.wait()
    assert tensor.tolist() == [1, 1, 1]
    assert ALONE.agree([0.1, 2.0]) == [0.1, 2.0]


def test_a_process_by_itself_asks_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert alone_here() == ALONE
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert alone_here() == Team(device=torch.device("cuda", 0))
    assert chosen == [torch.device("cuda", 0)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # two, and a driver that is too old for this torch
    assert alone_here() == ALONE


@pytest.mark.parametrize("processes", range(1, 8))
def test_no_process_has_more_of_a_batch_than_it_is_said_to(processes: int) -> None:
    parts = [len(range(128)[part_of(128, rank, processes)]) for rank in range(processes)]
    assert sum(parts) == 128
    assert Team(0, processes).most_of(128) == max(parts)


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.training.two_processes"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, str(tmp_path / "two")], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    main(tmp_path / "one")
    one, one_state = load_weights(tmp_path / "one" / "weights.safetensors")
    two, two_state = load_weights(tmp_path / "two" / "weights.safetensors")
    assert (one_state, two_state) == ({"steps": 8, "processes": 1}, {"steps": 8, "processes": 2})
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < TOLERANCE
    # A training of two processes is resumed by one: it is done, and nothing is trained again.
    main(tmp_path / "two")
    again, _ = load_weights(tmp_path / "two" / "weights.safetensors")
    assert all(torch.equal(again[name], two[name]) for name in two)


@pytest.mark.parametrize("gpus", [1])
def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="use --nproc-per-node 1"), team():
        pass
