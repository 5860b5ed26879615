"""Images as arrays: any number of channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.errors import DataError
from nas.models.network import Network, recalibrate
from nas.training.data import load_data
from nas.training.evaluate import calibration_images
from tests.spaces import make_space

from .pictures import counts, keys, sets


def arrays(channels: int = 5, count: int = 60, size: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(channels)
    return {"images": rng.integers(0, 256, (count, size, size, channels), np.uint8), "labels": np.arange(count) % 2}


def save(path: Path, **changes: Any) -> str:
    np.savez(path, **{name: value for name, value in {**arrays(), **changes}.items() if value is not None})
    return str(path)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels_is_split_and_fits_a_network(tmp_path: Path, channels: int) -> None:
    data = load_data(save(tmp_path / "bands.npz", **arrays(channels)), 8, 0)
    assert (data.name, data.in_chs, data.classes) == ("bands", channels, ("0", "1"))
    assert [counts(part) for part in sets(data)] == [[21, 21], [5, 4], [4, 5]] or sum(map(len, sets(data))) == 60
    assert sum(len(keys(part)) for part in sets(data)) == 60
    space = make_space().with_data(data.in_chs, data.num_classes)
    recalibrate(Network(space.decode(space.smallest)), calibration_images(data))


@pytest.mark.parametrize("shape", [(60, 4, 4, 5), (60, 8, 8, 13), (60, 3, 9, 2), (60, 3, 9, 1)])
def test_small_pictures_of_many_bands_are_not_taken_for_channels_first(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert load_data(save(tmp_path / "a.npz", images=images), 4, 0).in_chs == shape[3]


def test_sets_and_classes_may_be_given(tmp_path: Path) -> None:
    given = np.array(["train"] * 40 + ["val"] * 10 + ["Test"] * 10)
    data = load_data(save(tmp_path / "a.npz", sets=given, classes=np.array(["cat", "dog"])), 8, 0)
    assert [counts(part) for part in sets(data)] == [[20, 20], [5, 5], [5, 5]]
    assert data.classes == ("cat", "dog")
    assert keys(data.test) == {image.tobytes() for image in arrays()["images"][50:]}


def test_sets_and_classes_may_be_bytes(tmp_path: Path) -> None:
    given = np.array([b"train"] * 40 + [b"val"] * 10 + [b"test"] * 10)
    data = load_data(save(tmp_path / "a.npz", sets=given, classes=np.array([b"cat", "kävi".encode()])), 8, 0)
    assert [counts(part) for part in sets(data)] == [[20, 20], [5, 5], [5, 5]]
    assert data.classes == ("cat", "kävi")


def test_grey_images_may_lack_the_channel_and_others_are_resized(tmp_path: Path) -> None:
    images = np.arange(60 * 10 * 14, dtype=np.uint8).reshape(60, 10, 14)
    data = load_data(save(tmp_path / "a.npz", images=images), 5, 0)
    assert (data.size, data.in_chs) == (5, 1)
    expected = {
        np.asarray(Image.fromarray(image).resize((5, 5), Image.Resampling.BILINEAR, box=(2, 0, 12, 10))).tobytes() for image in images
    }
    assert set().union(*map(keys, sets(data))) == expected


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    one, same = (load_data(save(tmp_path / name), 8, 0) for name in ("a.npz", "b.npz"))
    assert one.fingerprint == same.fingerprint
    images = arrays()["images"]
    images[3, 2, 1, 0] ^= 1
    assert load_data(save(tmp_path / "c.npz", images=images), 8, 0).content != one.content


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"labels": None}, "has no array 'labels'"),
    "floating point": ({"images": np.zeros((60, 8, 8, 3))}, r"images are float64 \(60, 8, 8, 3\)"),
    "channels first": (
        {"images": np.zeros((60, 3, 8, 8), np.uint8)},
        r"with channels \(3\) before .*: save images\.transpose\(0, 2, 3, 1\)",
    ),
    "grey channel first": ({"images": np.zeros((60, 1, 8, 12), np.uint8)}, r"with channels \(1\) before height and width"),
    "flat": ({"images": np.zeros((60, 64), np.uint8)}, r"images are uint8 \(60, 64\)"),
    "too few labels": ({"labels": np.zeros(59, np.int64)}, r"labels are int64 \(59,\) for 60 images"),
    "negative label": ({"labels": np.full(60, -1)}, "whole numbers from 0 on"),
    "one class": ({"labels": np.zeros(60, np.int64)}, "at least two"),
    "too few names": ({"classes": np.array(["cat"])}, "labels go up to 1, classes are cat"),
    "names that are no UTF-8": ({"classes": np.array([b"cat", b"caf\xe9"])}, r"are UTF-8, b'caf\\xe9' is not"),
    "strange set": ({"sets": np.array(["dev"] * 60)}, "sets has 'dev'"),
    "too few sets": ({"sets": np.array(["train"] * 9)}, "9 entries for 60 images"),
    "objects": ({"labels": np.array([None] * 60)}, "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    changes, reason = BAD[case]
    with pytest.raises(DataError, match=reason):
        load_data(save(tmp_path / "bad.npz", **changes), 8, 0)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    whole = Path(save(tmp_path / "a.npz"))
    for content in (b"", b"text", whole.read_bytes()[:500]):
        whole.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz cannot be read"):
            load_data(str(whole), 8, 0)


def test_a_damaged_or_renamed_file_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[30 + sum(int.from_bytes(content[at : at + 2], "little") for at in (26, 28))] = 0xFF  # the first byte that is compressed
    (tmp_path / "damaged.npz").write_bytes(content)
    np.save(tmp_path / "one.npy", arrays()["images"])
    (tmp_path / "one.npy").rename(tmp_path / "renamed.npz")
    for name, reason in (("damaged", "decompressing"), ("renamed", "it is one array, a .npy under another name")):
        with pytest.raises(DataError, match=rf"{name}\.npz cannot be read \(.*{reason}"):
            load_data(str(tmp_path / f"{name}.npz"), 8, 0)


def test_arrays_that_are_reduced_are_warned_of(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 10, 14), np.uint8)
    path = save(tmp_path / "a.npz", images=images)
    (warning,) = load_data(path, 5, 0).warnings()
    assert warning.startswith("images are reduced to 5 x 5 pixels, their shorter side has 10: ")
    assert load_data(path, 10, 0).warnings() == []
