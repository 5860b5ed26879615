"""Searches whose accuracy does not come from a supernet, and images that are no longer those that a study began with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from nas.report.record import read_front
from tests.command import Nas, nas_command
from tests.spaces import space_data
from tests.training.pictures import grow, png

STAGE = {"out_chs": 16, "depth": [1, 2], "kernel_size": [3, 5], "expand_ratio": 2, "stride": 2}


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str]) -> Nas:
    return nas_command(capsys)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """Six networks of 8 x 8 images."""
    file = tmp_path / "six.yaml"
    file.write_text(yaml.safe_dump(space_data(name="six", stages=[STAGE])))
    return file


def test_networks_that_train_by_themselves_and_their_table(nas: Nas, space: Path, tmp_path: Path) -> None:
    """A search with trainings from scratch; then one that only looks their results up."""
    common = ("search", "-d", "raspberrypi4", "--space", space, "--runs", tmp_path / "runs", "--trials", 6, "--finalists", 1, "--epochs", 1)
    ended = nas(*common, "--evaluator", "train", "--study", "trained")
    assert ended.code == 0, ended.err
    assert "supernet" not in ended.err.split("(")[0]
    trained = tmp_path / "runs" / "trained" / "candidates.parquet"
    table = pd.read_parquet(trained)
    assert len(table) == 6
    assert set(table.accuracy_search_source) == {"trained"}
    assert set(table.train_epochs) == {1.0}
    assert (table.seconds > 0).all()
    (finalist,) = read_front(tmp_path / "runs" / "trained").finalists
    assert finalist.note.startswith("trained from scratch for 1 epoch")
    assert finalist.candidate.metrics["accuracy_test"].source == "trained"

    ended = nas(*common, "--evaluator", "tabular", "--table", trained, "--study", "looked-up")
    assert ended.code == 0, ended.err
    again = pd.read_parquet(tmp_path / "runs" / "looked-up" / "candidates.parquet")
    assert set(again.accuracy_search_source) == {"published"}
    columns = ["accuracy_search", "accuracy_search_std", "seconds"]
    pd.testing.assert_frame_equal(again.set_index("arch_id")[columns].sort_index(), table.set_index("arch_id")[columns].sort_index())
    assert not list((tmp_path / "runs" / ".cache").glob("supernets/*"))


def test_a_resume_on_other_images_says_what_changed(nas: Nas, space: Path, tmp_path: Path) -> None:
    images = grow(
        tmp_path / "photos", {f"{part}/{name}": count for part, count in (("train", 12), ("val", 2), ("test", 2)) for name in "ab"}
    )
    options = ("--runs", tmp_path / "runs")
    ended = nas(
        "search", "-d", "raspberrypi4", "--space", space, "--data", images, "--study", "cut", "--trials", 2, "--finalists", 1,
        "--epochs", 1, *options,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (images / "train" / "a" / "new.png").write_bytes(png(99))
    (images / "test" / "b" / "0001.png").unlink()
    ended = nas("search", "--resume", "cut", "--trials", 3, *options)
    assert ended.code == 2
    assert "1 file added (train/a/new.png), 1 removed (test/b/0001.png); start a new study" in ended.err
