"""Data sets as users have them: folders and .zips, whole, odd and broken."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.training.data import ImageSet, load_data
from nas.training.images import Part, list_images, open_source

from .pictures import counts, grow, keys, odd, pack, png, sets


def test_digits_are_split_into_three_disjoint_stratified_sets() -> None:
    data = load_data("digits", 16, seed=0)
    assert [len(part) for part in sets(data)] == [1077, 360, 360]
    assert (data.size, data.in_chs, data.num_classes) == (16, 1, 10)
    assert keys(data.train).isdisjoint(keys(data.test) | keys(data.search_validation))
    assert keys(data.search_validation).isdisjoint(keys(data.test))
    assert max(counts(data.test)) - min(counts(data.test)) <= 3
    assert data.train.images.max() == 255
    assert data.duplicates == 0
    assert not data.train.images.flags.writeable


def test_digits_at_their_own_size_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", 8, seed=3)
    ours = sorted(
        (*np.rint(image[..., 0].astype(float) * 16 / 255).ravel(), label)
        for part in sets(data)
        for image, label in zip(part.images, part.labels, strict=True)
    )
    pixels, labels = load_digits(return_X_y=True)
    assert ours == sorted((*row, label) for row, label in zip(pixels, labels, strict=True))


def test_the_seed_and_only_the_seed_decides_the_split() -> None:
    one, same, other = (load_data("digits", 8, seed) for seed in (0, 0, 1))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert np.array_equal(one.test.images, same.test.images)
    assert keys(one.test) != keys(other.test)
    larger = load_data("digits", 12, 0)
    assert np.array_equal(larger.test.labels, one.test.labels)
    assert larger.fingerprint != one.fingerprint


def test_mean_and_deviation_are_those_of_train(tmp_path: Path) -> None:
    data = load_data(str(grow(tmp_path / "set", {"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5})), 8, 0)
    scaled = data.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(data.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std(axis=(0, 1, 2)), rtol=1e-9)


def test_class_folders_alone_are_split(tmp_path: Path) -> None:
    root = grow(tmp_path / "pets", {"cat": 40, "dog": 20, "eel": 10})
    data = load_data(str(root), 8, 0)
    assert data.name == "pets"
    assert data.classes == ("cat", "dog", "eel")
    assert [len(part) for part in sets(data)] == [50, 10, 10]
    assert all(min(counts(part)) >= 1 and len(counts(part)) == 3 for part in sets(data))
    assert sum(len(keys(part)) for part in sets(data)) == len(set.union(*map(keys, sets(data)))) == 70


@pytest.mark.parametrize("held_out", ["test", "val", "validation", "Test"])
def test_the_only_held_out_folder_is_the_test_set(tmp_path: Path, held_out: str) -> None:
    data = load_data(str(grow(tmp_path, {"train/a": 50, "train/b": 30, f"{held_out}/a": 4, f"{held_out}/b": 4})), 8, 0)
    assert [counts(part) for part in sets(data)] == [[45, 27], [5, 3], [4, 4]]


def test_three_folders_are_used_as_they_are(tmp_path: Path) -> None:
    folders = {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 1, "test/a": 1, "test/b": 2, "annotations": 2}
    data = load_data(str(grow(tmp_path, folders)), 8, 0)
    assert [counts(part) for part in sets(data)] == [[3, 3], [2, 1], [1, 2]]


def test_a_folder_its_zip_and_an_enclosing_folder_are_the_same_data(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", {"train/a": 12, "train/b": 11, "test/a": 2, "test/b": 2})
    (root / "train" / "a" / ".hidden.png").write_bytes(b"")
    (root / "train" / "a" / "readme.txt").write_text("not an image")
    (root / "__MACOSX" / "x").mkdir(parents=True)
    (root / "__MACOSX" / "x" / "y.png").write_bytes(b"")
    plain = load_data(str(root), 8, 0)
    zipped = load_data(str(pack(root, tmp_path / "set.zip")), 8, 0)
    enclosed = load_data(str(pack(root, tmp_path / "deep.zip", prefix="one/two/")), 8, 0)
    assert plain.fingerprint == zipped.fingerprint
    for part, same, deep in zip(sets(plain), sets(zipped), sets(enclosed), strict=True):
        assert np.array_equal(part.images, same.images)
        assert np.array_equal(part.images, deep.images)
        assert np.array_equal(part.labels, deep.labels)


def test_images_are_resized_by_the_shorter_side_and_cut_in_the_centre(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 11, "train/b": 11, "test/a": 1, "test/b": 1})
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10, 0] = stripes[:, 10:20, 1] = stripes[:, 20:, 2] = 255
    Image.fromarray(stripes).save(root / "test" / "a" / "0000.png")
    data = load_data(str(root), 5, 0)
    first = data.test.images[0]
    assert np.array_equal(first[1:4, 1:4], np.tile(np.array([0, 255, 0], np.uint8), (3, 3, 1)))


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        ("cmyk", (255, 0, 0)),
        ("16 bit", (100,) * 3),
        ("palette", (255, 0, 0)),
        ("alpha", (255, 0, 0)),
        ("grey", (100,) * 3),
        ("one bit", (255,) * 3),
    ],
)
def test_odd_images_become_rgb_among_rgb(tmp_path: Path, kind: str, colour: tuple[int, ...]) -> None:
    root = grow(tmp_path, {"train/a": 11, "train/b": 11, "test/a": 1, "test/b": 1})
    (root / "test" / "a" / "0000.png").write_bytes(odd(kind))
    data = load_data(str(root), 8, 0)
    assert data.in_chs == 3
    assert np.abs(data.test.images[0].astype(int) - colour).max() <= 2
    assert data.skipped == ()


def test_all_grey_stays_one_channel(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 11, "train/b": 11, "test/a": 1, "test/b": 1}, mode="L")
    (root / "test" / "a" / "0000.png").write_bytes(odd("16 bit"))
    data = load_data(str(root), 8, 0)
    assert data.in_chs == len(data.mean) == len(data.std) == 1
    assert np.unique(data.test.images[0]).tolist() == [100]


def test_large_files_are_decoded_by_threads_to_the_same_pixels(tmp_path: Path) -> None:
    root = grow(tmp_path / "set", {"a": 11, "b": 11})
    for index, file in enumerate(sorted(root.rglob("*.png"))):
        file.write_bytes(png(index, (150, 100)))  # noise: 45 kB
    seen: list[tuple[int, int]] = []
    data = load_data(str(root), 8, 0, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(22, 22)]
    label, image = data.test.labels[0], data.test.images[0]
    expected = [
        np.asarray(Image.open(f).resize((8, 8), Image.Resampling.BILINEAR, box=(25, 0, 125, 100))) for f in sorted(root.rglob("*.png"))
    ]
    assert any(np.array_equal(image, other) for other in expected[11 * label : 11 * label + 11])


def test_the_same_file_in_train_and_test_is_counted(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 11, "train/b": 11, "val/a": 2, "val/b": 2, "test/a": 3, "test/b": 3})
    shutil.copy(root / "train" / "a" / "0003.png", root / "test" / "a" / "0001.png")
    shutil.copy(root / "train" / "a" / "0003.png", root / "val" / "b" / "0001.png")
    assert load_data(str(root), 8, 0).duplicates == 2


def test_copies_of_a_file_are_drawn_into_one_set(tmp_path: Path) -> None:
    """Each image is there twice, once under another class even: no set has one that another set has."""
    root = grow(tmp_path, {"a": 60, "b": 60})
    for index in range(20):
        shutil.copy(root / "a" / f"{index:04}.png", root / "a" / f"copy{index}.png")
        shutil.copy(root / "b" / f"{index:04}.png", root / "a" / f"other{index}.png")
    for seed in range(3):
        data = load_data(str(root), 8, seed)
        assert data.duplicates == 0
        train, validation, test = map(keys, sets(data))
        assert train.isdisjoint(validation | test)
        assert validation.isdisjoint(test)


def test_the_record_names_the_sets(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 20, "train/b": 30, "test/a": 5, "test/b": 5})
    record = load_data(str(root), 8, 3).to_dict()
    found: Any = record["sets"]
    assert {name: each["origin"] for name, each in found.items()} == {
        "train": "the rest of train/, seed 3",
        "search_validation": "drawn from train/ by seed 3",
        "test": "test/",
    }
    assert {name: (each["images"], each["per_class"]) for name, each in found.items()} == {
        "train": (45, [18, 27]),
        "search_validation": (5, [2, 3]),
        "test": (10, [5, 5]),
    }
    other: Any = load_data(str(root), 8, 4).to_dict()["sets"]
    assert other["test"]["fingerprint"] == found["test"]["fingerprint"]
    assert len({each["fingerprint"] for each in (*found.values(), other["train"], other["search_validation"])}) == 5


def test_a_member_of_a_zip_that_leads_outside_is_passed_over(tmp_path: Path) -> None:
    file = pack(grow(tmp_path / "set", {"a": 12, "b": 12}), tmp_path / "set.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../evil/x.png", png(1))
        archive.writestr("/root/x.png", png(1))
    with open_source(file) as source:
        listing = list_images(source)
    assert listing.classes == ("a", "b")
    assert len(listing.files) == 24
    assert not (tmp_path / "evil").exists()


def test_the_cache_is_used_again_and_noticed_when_it_is_old_or_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = grow(tmp_path / "set", {"train/a": 12, "train/b": 12, "test/a": 2, "test/b": 2}), tmp_path / "cache"
    (root / "train" / "a" / "0000.png").write_bytes(png(999))
    first = load_data(str(root), 8, 0, cache)
    calls: list[str] = []

    def counted(*args: object) -> object:
        calls.append("decode")
        return decode(*args)  # type: ignore[arg-type]

    from nas.training.pixels import decode

    monkeypatch.setattr("nas.training.data.decode", counted)
    second = load_data(str(root), 8, 0, cache)
    assert not calls
    assert isinstance(second.test.images.base, np.ndarray)
    assert second.to_dict() == first.to_dict()
    assert all(np.array_equal(a.images, b.images) for a, b in zip(sets(first), sets(second), strict=True))
    other_seed = load_data(str(root), 8, 1, cache)
    assert not calls
    assert keys(other_seed.train) != keys(first.train)

    (entry,) = cache.iterdir()
    os.truncate(entry / "images.npy", 300)
    del first, second, other_seed
    assert load_data(str(root), 8, 0, cache).num_classes == 2
    assert calls == ["decode"]
    (root / "train" / "b" / "0001.png").write_bytes(png(1000))
    load_data(str(root), 8, 0, cache)
    load_data(str(root), 9, 0, cache)
    assert calls == ["decode"] * 3
    assert len(list(cache.iterdir())) == 3


def test_sets_refuse_arrays_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(np.zeros((2, 8, 8), np.uint8), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="int64"):
        ImageSet(np.zeros((2, 8, 8, 1), np.uint8), np.zeros(3, np.int64))


def test_the_cifar_zip_is_listed(shared_data: Path) -> None:
    with open_source(shared_data / "cifar10-jpeg.zip") as source:
        listing = list_images(source)
    assert listing.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert listing.parts.count(Part.TRAIN) == 50_000
    assert listing.parts.count(Part.TEST) == 10_000
    assert np.bincount(listing.labels).tolist() == [6000] * 10
