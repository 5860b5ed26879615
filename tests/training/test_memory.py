"""Memory: kept while it is wanted, given back, and advice where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from nas.errors import TrainingError
from nas.training import memory
from nas.training.memory import kept_memory, telling_what_fits

FAULTS = """
import resource, torch
from nas.training.memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.empty(12_000_000).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
with kept_memory():
    faults()
    kept = faults()
print(first, kept, faults())
"""

THREADS = """
import resource, torch
from torch import nn
from nas.config import TrainRecipe
from nas.training.memory import kept_memory
from nas.training.replicas import Moment, Replicas

torch.set_num_threads(2)
layers = [layer for _ in range(6) for layer in (nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32), nn.ReLU6())]
model = nn.Sequential(*layers).train()
images = torch.randn(128, 32, 32, 32)

def step(model, images, labels, moment):
    loss = model(images).square().mean()
    loss.backward()
    return loss.item()

def faults(replicas):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        model.zero_grad()
        replicas.step(step, images, images, Moment(0, 0.0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with Replicas(model, TrainRecipe(), 128) as replicas:
    faults(replicas)
    with kept_memory():
        faults(replicas)
        kept = faults(replicas)
    print(kept, faults(replicas))
"""
GLIBC = pytest.mark.skipif(memory._glibc("mallopt") is None, reason="another C library than glibc")


@GLIBC
def test_large_tensors_are_not_mapped_anew_while_it_lasts() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    first, kept, after = map(int, done.stdout.split())
    assert kept < 0.5 * first
    assert after > kept


@GLIBC
def test_nor_are_those_of_threads() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    kept, after = map(int, done.stdout.split())
    assert kept < 0.2 * after


def test_it_does_nothing_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda name: None)
    with kept_memory():
        assert torch.ones(3).sum() == 3


def test_it_ends_after_an_error_too() -> None:
    with pytest.raises(KeyError), kept_memory():
        raise KeyError


@pytest.mark.parametrize("images", [128, 3])
def test_a_want_of_memory_names_the_batch_to_try(images: int) -> None:
    advice = "try micro_batch=64 .* or batch_size=64" if images == 128 else "close other programs"
    with pytest.raises(TrainingError, match=f"out of memory with {images} images at once: {advice}"), telling_what_fits(images):
        torch.empty(2**55)  # more than an address space: torch's own words for it
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(TrainingError, match="out of memory"), telling_what_fits(images):
            raise error


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), telling_what_fits(8):
        torch.ones(2).view(3)
