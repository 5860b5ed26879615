"""What each of two processes runs: `torchrun ... -m tests.training.two_processes FOLDER`. The first one writes its weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from nas.config import TrainRecipe
from nas.models.weights import save_weights
from nas.training.data import ImageSet, load_data
from nas.training.oneshot import build_supernet, train_supernet
from nas.training.parallel import team
from tests.spaces import make_space

SPACE = make_space()
RECIPE = TrainRecipe(epochs=2, batch_size=32, micro_batch=16, lr=0.1, flip=False, cutmix=1.0, ema_decay=0.9)
"""Parts of 16, so that one process shares batch-norm statistics among the images that each of two has."""


def main(folder: Path) -> None:
    data = load_data("digits", 8, seed=0)
    few = replace(data, train=ImageSet(data.train.images[:128], data.train.labels[:128]))
    with team() as members:
        supernet = build_supernet(SPACE, members.rank)  # what the first one has counts
        result = train_supernet(supernet, SPACE, few, RECIPE, 0, checkpoint=folder / "checkpoints", team=members)
        if members.leads:
            save_weights(folder / "weights.safetensors", supernet.state_dict(), {"steps": result.steps, "processes": members.processes})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
