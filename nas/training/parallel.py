"""Several processes that train one network, each on its part of every batch: `torchrun --nproc-per-node N -m nas train-supernet ...`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from nas.errors import InputError
from nas.training.batches import part_of

__all__ = ["ALONE", "Team", "alone_here", "team"]


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a training, and this one's place among them.

    Attributes:
        rank: of this process; the first one keeps checkpoints and tells of progress.
        device: that this process trains on.
    """

    rank: int = 0
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def agree(self, values: Sequence[float]) -> list[float]:
        """The first process's numbers."""
        if self.processes == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return shared.tolist()

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors of all processes with those of the first."""
        if self.processes > 1:
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                dist.broadcast(whole, 0)
                tensor.data.copy_(whole)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over all processes, in one message. All processes bring the same shapes."""
        if self.processes == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def most_of(self, images: int) -> int:
        """The most that a process has of a batch of `images`."""
        start: int = part_of(images, self.processes - 1, self.processes).start
        return images - start

    def wait(self) -> None:
        """Until all processes are here."""
        if self.processes > 1:
            dist.barrier()


ALONE = Team()
"""One process on the CPU."""


def alone_here() -> Team:
    """This process alone, whatever torchrun says: on the first GPU where torch sees some, else on the CPU."""
    return Team(device=_device(0))


@contextmanager
def team() -> Iterator[Team]:
    """The team that torchrun started, or this process alone; on GPUs where torch sees some, else on CPUs.

    Raises:
        InputError: there are more processes on this machine than GPUs.
    """
    rank, local = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(local)
    if processes == 1:
        yield Team(device=device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(rank, processes, device)
    finally:
        dist.destroy_process_group()


def _device(local: int) -> torch.device:
    """Of this machine's process of that number."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0  # those that the driver is too old for are counted, too
    if not gpus:
        return torch.device("cpu")
    if local >= gpus:
        raise InputError(f"torchrun started more processes than there are GPUs here: use --nproc-per-node {gpus}")
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device
