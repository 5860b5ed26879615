"""The sandwich step against its passes written plainly in PyTorch; each way in a process of its own, as somebody would run it.

`python -m nas.bench.steps WAY SPACE BATCH SECONDS` prints one line of JSON. All ways run the same four networks on the same images, with
the same losses, forward and backward, and no optimizer. Ours does what its training does: parts of 64 images side by side, a thread each,
so that batch norm averages over 64 and not over all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.cost import count
from nas.errors import TrainingError
from nas.models.network import Network
from nas.models.supernet import Supernet
from nas.space import SearchSpace, load_space
from nas.training.memory import kept_memory
from nas.training.oneshot import build_supernet, sandwich_step
from nas.training.replicas import Moment, Replicas

__all__ = ["OURS", "PLAIN", "PLAIN_CHANNELS_LAST", "PLAIN_KEPT", "Speed", "compare"]

OURS, PLAIN, PLAIN_CHANNELS_LAST, PLAIN_KEPT = "ours", "plain, NCHW", "plain, channels-last", "plain, channels-last, memory kept"
WAYS = (OURS, PLAIN, PLAIN_CHANNELS_LAST, PLAIN_KEPT)
WARM_UP = 2
MATRIX = 1536
FLOPS_PER_MAC = 6
"""Two for the forward pass, twice as many for the gradients of inputs and of weights."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one way.

    Attributes:
        images_per_s: of the median step.
        peak_memory_bytes: of the whole process.
        share_of_peak: of the matrix-multiply peak that the same process measured.
    """

    way: str
    images_per_s: float
    peak_memory_bytes: int
    share_of_peak: float


def compare(space: str, batch_size: int, seconds: float, rounds: int) -> list[Speed]:
    """All ways, one after the other, `rounds` times: the fastest round of each, so that what else the machine does hurts none of them.

    Args:
        seconds: of a way in a round, after its warm-up.

    Raises:
        TrainingError: a way failed.
    """
    found: dict[str, list[Speed]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "nas.bench.steps", way, space, str(batch_size), str(seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
            if done.returncode:
                raise TrainingError(f"the step {way} failed: {done.stderr.strip()[-300:]}")
            found[way].append(Speed(way, **json.loads(done.stdout)))
    return [max(speeds, key=lambda speed: speed.images_per_s) for speeds in found.values()]


def _measure(way: str, space: SearchSpace, batch_size: int, seconds: float) -> Speed:
    archs = [space.largest, space.smallest, space.sample(0), space.sample(1)]
    networks = [space.decode(arch) for arch in archs]
    recipe = TrainRecipe(first_resolution=1.0, micro_batch=0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, space.in_chs, networks[0][0].in_size, networks[0][0].in_size, generator=generator)
    labels = torch.randint(0, space.num_classes, (batch_size,), generator=generator)
    with ExitStack() as stack:
        if way in (OURS, PLAIN_KEPT):
            stack.enter_context(kept_memory())
        if way == OURS:
            supernet = build_supernet(space, 0).train()
            images = images.contiguous(memory_format=torch.channels_last)
            copies = stack.enter_context(Replicas(supernet, recipe, batch_size))

            def part(model: nn.Module, images: Tensor, labels: Tensor, moment: Moment) -> Tensor:
                return sandwich_step(cast("Supernet", model), networks, images, labels, recipe, moment)

            def step() -> None:
                supernet.zero_grad(set_to_none=True)
                copies.step(part, images, labels, Moment(0, 1.0))
        else:
            last = way != PLAIN
            images = images.contiguous(memory_format=torch.channels_last) if last else images
            step = _plain([Network(blocks) for blocks in networks], images, labels, recipe, last)
        step_s = _median_s(step, seconds)
    macs = sum(count(blocks).macs for blocks in networks)
    flops_per_s = FLOPS_PER_MAC * macs * batch_size / step_s
    return Speed(way, batch_size / step_s, _peak_memory_bytes(), flops_per_s / _matrix_peak())


def _plain(networks: Sequence[Network], images: Tensor, labels: Tensor, recipe: TrainRecipe, last: bool) -> Callable[[], None]:
    """The step as anybody would write it, with a network of its own for each pass."""
    for network in networks:
        network.train().to(memory_format=torch.channels_last if last else torch.contiguous_format)  # type: ignore[call-overload]

    def step() -> None:
        teacher = None
        for network in networks:
            network.zero_grad(set_to_none=True)
            logits = network(images)
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            if teacher is None:
                teacher = logits.detach().softmax(1)
            else:
                soft = F.cross_entropy(logits, teacher)
                loss = (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft
            loss.backward()  # type: ignore[no-untyped-call]

    return step


def _median_s(run: Callable[[], object], seconds: float) -> float:
    times: list[float] = []
    for _ in range(WARM_UP):
        run()
    while sum(times) < seconds or len(times) < 3:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def _matrix_peak() -> float:
    """FLOP/s of a product of two large float32 matrices, on the threads of the step."""
    one, two = torch.randn(2, MATRIX, MATRIX)
    return 2 * MATRIX**3 / _median_s(lambda: one @ two, 0.3)


def _peak_memory_bytes() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: Sequence[str]) -> None:
    """Measures one way."""
    way, space, batch_size, seconds = arguments
    speed = _measure(way, load_space(space), int(batch_size), float(seconds))
    figures = {name: getattr(speed, name) for name in ("images_per_s", "peak_memory_bytes", "share_of_peak")}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
