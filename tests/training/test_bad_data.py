"""Data sets that cannot be used, or not all of them: each gets a word that says why."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nas.config import TrainRecipe
from nas.errors import DataError, UnknownNameError
from nas.models.network import Network, recalibrate
from nas.training.data import load_data
from nas.training.evaluate import calibration_images
from nas.training.finetune import fit
from nas.training.images import ImageFile
from nas.training.pixels import MAX_FILE_BYTES, shorter_side
from tests.spaces import make_space

from .pictures import grow, png

BROKEN: dict[str, tuple[bytes, str]] = {
    "zero.jpg": (b"", "zero bytes"),
    "text.jpg": (b"this is no picture", "not an image"),
    "cut.png": (png(1, (64, 64))[:3000], "truncated"),
    "cut.jpg": (png(1, (64, 64), form="JPEG")[:700], "truncated"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_few_broken_images_are_skipped_and_listed(tmp_path: Path, name: str) -> None:
    root = grow(tmp_path, {"train/a": 60, "train/b": 60, "test/a": 1, "test/b": 1})
    content, reason = BROKEN[name]
    (root / "train" / "b" / name).write_bytes(content)
    data = load_data(str(root), 8, 0)
    assert len(data.skipped) == 1
    assert data.skipped[0].startswith(f"train/b/{name}: ")
    assert reason in data.skipped[0]
    assert len(data.train) + len(data.search_validation) == 120


def test_a_picture_with_too_many_pixels_is_skipped(tmp_path: Path) -> None:
    root = grow(tmp_path, {"a": 60, "b": 60})
    Image.new("1", (9000, 9000)).save(root / "a" / "bomb.png")
    assert load_data(str(root), 8, 0).skipped == ("a/bomb.png: 9000 x 9000 pixels are too many",)


def remove_all(root: Path) -> None:
    for file in root.rglob("*.png"):
        file.unlink()


def repeat_the_first(root: Path) -> None:
    for folder in (root / "a", root / "b"):
        for file in folder.iterdir():
            file.write_bytes((folder / "0000.png").read_bytes())


BAD: dict[str, tuple[dict[str, int], Callable[[Path], object], str]] = {
    "one class": ({"train/a": 12, "test/a": 2}, lambda _: None, "one class only"),
    "one class, no sets": ({"a": 12}, lambda _: None, "one class only"),
    "no images": ({"a": 1, "b": 1}, remove_all, "has no images"),
    "an empty class": ({"train/a": 12, "train/b": 12, "train/c": 0, "test/a": 1}, lambda _: None, "'train/c' has no images"),
    "strange class in test": (
        {"train/a": 12, "train/b": 12, "test/a": 1, "test/cow": 1},
        lambda _: None,
        "test/ has 'cow', which train/ lacks",
    ),
    "flat sets": ({"train": 12, "test": 12}, lambda _: None, "no class folders"),
    "no train": ({"val/a": 12, "val/b": 1, "test/a": 12, "test/b": 1}, lambda _: None, "no class folders to train on"),
    "train only": ({"train/a": 12, "train/b": 12}, lambda _: None, "has train/ only"),
    "one image per class": (
        {"a": 1, "b": 1},
        lambda _: None,
        "class 'a' has 1 readable images .* at least 10, or make train/, val/ and test/",
    ),
    "one image per class in train": ({"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1}, lambda _: None, "class 'a' has 1 readable"),
    "too few to split": ({"a": 40, "b": 9}, lambda _: None, "class 'b' has 9 readable images"),
    "copies of one file": (
        {"a": 20, "b": 20},
        repeat_the_first,
        "class 'a' has 1 different readable images to split .* at least 10, or make train/, val/ and test/",
    ),
    "two test sets": ({"train/a": 12, "train/b": 12, "val/a": 1, "valid/a": 1}, lambda _: None, "two folders for one set"),
    "many broken": ({"a": 12, "b": 12}, lambda root: (root / "a" / "x.jpg").write_bytes(b""), r"1 of 25 images .* a/x.jpg: zero bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_refused_with_a_reason(tmp_path: Path, case: str) -> None:
    folders, spoil, reason = BAD[case]
    spoil(grow(tmp_path, folders))
    with pytest.raises(DataError, match=reason) as error:
        load_data(str(tmp_path), 8, 0)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize("name", ["cifar10", "CIFAR-100", "imagenet", "fashion_mnist", "mnist", "svhn"])
def test_names_that_need_a_download_say_how_to_pass_a_folder(name: str) -> None:
    with pytest.raises(DataError, match=r"nothing is downloaded: pass a folder or a \.zip"):
        load_data(name, 32, 0)


def test_unknown_names_and_paths_list_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean digits"):
        load_data("digit", 8, 0)
    (tmp_path / "flowers").mkdir()
    with pytest.raises(UnknownNameError, match=r"did you mean .*flowers\?"):
        load_data(str(tmp_path / "flower"), 8, 0)
    with pytest.raises(UnknownNameError):
        load_data("", 8, 0)
    with pytest.raises(DataError, match="at least 1 pixel"):
        load_data("digits", 0, 0)
    (tmp_path / "images.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match=r"neither a folder nor a readable \.zip"):
        load_data(str(tmp_path / "images.tar"), 8, 0)


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", {"a": 12, "b": 12})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be kept"):
        load_data(str(root), 8, 0, tmp_path / "file" / "cache")


def test_a_folder_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    root = grow(tmp_path, {"a": 12, "b": 12})
    with pytest.raises(DataError, match=r"changed while it was read \(1 file added \(a/new\.png\)\)"):
        load_data(str(root), 8, 0, on_progress=lambda *_: (root / "a" / "new.png").write_bytes(png(77)))


def test_one_image_per_class_trains_where_the_sets_are_given(tmp_path: Path) -> None:
    """It learns nothing that counts, but nothing falls over: batch norm gets its two images."""
    root = grow(tmp_path, {f"{part}/{name}": 1 for part in ("train", "val", "test") for name in "ab"}, mode="L")
    data = load_data(str(root), 8, 0)
    space = make_space().with_data(1, 2)
    network = Network(space.decode(space.smallest))
    recalibrate(network, calibration_images(data))
    fitted = fit(network, None, data, TrainRecipe(flip=False), 0, epochs=2, lr=0.01)
    assert (fitted.images, fitted.epochs) == (2, 2)


def test_unbalanced_classes_duplicates_and_broken_images_are_warned_of(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 110, "train/b": 11, "val/a": 1, "val/b": 1, "test/a": 1, "test/b": 1})
    assert load_data(str(root), 8, 0).warnings() == [
        "classes are unbalanced (a has 110 training images, b 11): accuracy tells mostly of the large ones"
    ]
    (root / "train" / "b" / "zero.jpg").write_bytes(b"")
    (root / "test" / "a" / "0000.png").write_bytes((root / "train" / "a" / "0007.png").read_bytes())
    (root / "train" / "b" / "more.png").write_bytes(png(4711))
    assert load_data(str(root), 8, 0).warnings() == [
        "image left out: train/b/zero.jpg: zero bytes",
        "1 test or validation images occur in another set too: accuracies flatter",
    ]


def test_images_that_are_reduced_are_warned_of(tmp_path: Path) -> None:
    root = grow(tmp_path / "photos", {"a": 12, "b": 12})
    (root / "a" / "0000.png").write_bytes(png(1, (300, 200)))  # one that is larger does not stand for all
    text = "images are reduced to 4 x 4 pixels, their shorter side has 8: a space of a larger resolution sees more (--space NAME or FILE)"
    assert load_data(str(root), 4, 0, tmp_path / "cache").warnings() == [text]
    assert load_data(str(root), 4, 0, tmp_path / "cache").warnings() == [text]  # from the cache, too
    assert load_data(str(root), 8, 0).warnings() == []


def test_a_file_that_is_left_out_for_its_bytes_is_not_read_for_its_pixels_either() -> None:
    asked: list[str] = []

    def read(path: str) -> bytes:
        asked.append(path)
        return png(1, (30, 20))

    files = [ImageFile("bomb.png", MAX_FILE_BYTES + 1, 0), ImageFile("photo.png", 100, 0)]
    assert shorter_side(read, files) == 20
    assert asked == ["photo.png"]


def test_a_training_of_hardly_a_step_is_warned_of(tmp_path: Path) -> None:
    data = load_data(str(grow(tmp_path, {"a": 60, "b": 60})), 8, 0)
    assert len(data.train) == 84
    assert data.few_steps(20, 128) == (
        "84 training images in batches of 128 are 1 step(s) an epoch, 20 in all: accuracies will hardly be better than chance. "
        "Ask for --epochs 200, or for smaller batches and a lower rate, e.g. --recipe batch_size=8 --recipe lr=0.05"
    )
    assert data.few_steps(200, 128) == data.few_steps(20, 8) == data.few_steps(0, 128) == ""
    assert load_data("digits", 16, 0).few_steps(1, 64) == ""


def test_a_class_whose_name_cannot_be_written_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 12, "train/b": 12, "test/a": 1, "test/b": 1})
    for part in ("train", "test"):
        (root / part / "b").rename(root / part / os.fsdecode(b"caf\xe9"))
    with pytest.raises(DataError, match=r"names of class folders are UTF-8, 'caf\\udce9' is not: rename it"):
        load_data(str(root), 8, 0)
