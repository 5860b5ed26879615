"""What a training changes: the parameters of a model, the optimizer's momenta and the running average of the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.config import TrainRecipe
from nas.errors import ModelFileError
from nas.training.checkpoints import Checkpoints
from nas.training.parallel import Team

__all__ = ["TrainedWeights"]


class TrainedWeights:
    """A model with SGD, and where the recipe says so the average of its parameters. Biases and batch norm do not decay."""

    def __init__(self, model: nn.Module, recipe: TrainRecipe, lr: float) -> None:
        self.model = model
        self._recipe, self.lr = recipe, lr
        self._named = dict(model.named_parameters())
        parameters = list(self._named.values())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, foreach=True)
        self._average = [parameter.detach().clone() for parameter in parameters] if recipe.ema_decay else []
        self._updates = 0

    def set_rate(self, share: float) -> None:
        """The learning rate at that share of the schedule."""
        recipe = self._recipe
        rate = self.lr * (_one_cycle(share, recipe.warmup) if recipe.schedule == "one-cycle" else 0.5 * (1 + math.cos(math.pi * share)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def update(self) -> None:
        """One step of the optimizer, then of the average: a mean over what there is while that is less than its horizon."""
        self.optimizer.step()
        self._updates += 1
        if self._average:
            decay = min(self._recipe.ema_decay, self._updates / (self._updates + 1))
            torch._foreach_lerp_(self._average, list(self._named.values()), 1 - decay)

    @torch.no_grad()
    def average(self) -> None:
        """Puts the averaged weights into the model."""
        for parameter, mean in zip(self._named.values(), self._average, strict=bool(self._average)):
            parameter.copy_(mean)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model holds the averaged weights while the context lasts."""
        own = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        try:
            self.average()
            yield
        finally:
            self.model.load_state_dict(own)

    def join(self, team: Team, done: int, seconds: float, over: bool) -> tuple[int, float, bool]:
        """All processes of a team go on from where the first one is: its tensors, and what `resume` told it."""
        found = team.agree([done, seconds, float(over)])
        if found[0]:
            for parameter in self._named.values():  # those that this process did not read
                self.optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        team.share(self.tensors().values())
        self._updates = int(found[0])
        return self._updates, found[1], bool(found[2])

    def tensors(self) -> Mapping[str, Tensor]:
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        found |= {f"ema.{name}": mean for name, mean in zip(self._named, self._average, strict=bool(self._average))}
        found |= {f"momentum.{n}": self.optimizer.state[p]["momentum_buffer"] for n, p in self._named.items() if p in self.optimizer.state}
        return found

    def resume(self, kept: Checkpoints) -> tuple[int, float, bool]:
        """Puts everything where the newest checkpoint left it: steps done, seconds spent, and whether the training ended there before its
        last epoch; (0, 0.0, False) without one."""
        newest = kept.newest()
        if newest is None:
            return 0, 0.0, False
        tensors, state, path = newest
        try:
            self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
            for mean, name in zip(self._average, self._named, strict=bool(self._average)):
                mean.copy_(tensors[f"ema.{name}"])
        except (RuntimeError, KeyError) as exc:
            raise ModelFileError(f"{path}: is of another network: delete it to train anew") from exc
        for name, parameter in self._named.items():
            if f"momentum.{name}" in tensors:
                buffer = torch.empty_like(parameter, requires_grad=False)
                self.optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(tensors[f"momentum.{name}"])
        self._updates = int(state["step"])
        return int(state["step"]), float(state["seconds"]), bool(state.get("over"))


def _one_cycle(share: float, warmup: float) -> float:
    """Learning rate over its peak: linear rise from a tenth, then half a cosine (Smith & Topin 2018, arXiv:1708.07120)."""
    if share < warmup:
        return 0.1 + 0.9 * share / warmup
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))
