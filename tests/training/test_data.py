"""Data sets as users have them: folders and .zips, whole, odd and broken."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from nas.training.data import ImageSet, load_data
from nas.training.images import ImageFile, Part, Source, list_images, open_source
from nas.training.pixels import decode, read_picture

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
    dotted = [load_data(str(pack(root, tmp_path / "dotted.zip", prefix)), 8, 0) for prefix in ("./", "././")]
    assert {plain.fingerprint} == {zipped.fingerprint, *(each.fingerprint for each in dotted)}
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


def held(orientation: int, form: str, pixels: np.ndarray) -> bytes:
    """A picture whose EXIF says how it was held."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, form, exif=exif)
    return buffer.getvalue()


def test_a_photo_that_lies_is_turned_upright() -> None:
    """Upright, its left half is above: red over blue."""
    lying = np.zeros((96, 160, 3), np.uint8)
    lying[:, :80, 0] = lying[:, 80:, 2] = 255
    content, plain = held(6, "JPEG", lying), held(1, "JPEG", lying)
    pixels, is_grey = read_picture(io.BytesIO(content), 8)
    assert not is_grey
    assert pixels[:3, :, 0].min() > 200 > 50 > pixels[:3, :, 2].max()
    assert pixels[5:, :, 2].min() > 200 > 50 > pixels[5:, :, 0].max()
    files = [ImageFile("turned", len(content), 0), ImageFile("plain", len(plain), 0)]
    turned, as_it_is = decode({"turned": content, "plain": plain}.__getitem__, files, 8).digests
    assert as_it_is.tobytes() == hashlib.sha256(plain).digest()
    assert turned.tobytes() != hashlib.sha256(content).digest()  # versions that did not turn it had other pixels


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_that_of_pillow(orientation: int, form: str) -> None:
    content, wanted = held(orientation, form, np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)), io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        ImageOps.exif_transpose(picture).save(wanted, "PNG")
    assert np.array_equal(read_picture(io.BytesIO(content), 8)[0], read_picture(wanted, 8)[0])


def test_a_picture_whose_exif_is_broken_is_read_as_it_is() -> None:
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer, exif in zip(buffers, (b"", b"Exif\0\0nonsense"), strict=True):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)).save(buffer, "JPEG", exif=exif, dpi=(72, 72))
    assert np.array_equal(*(read_picture(buffer, 8)[0] for buffer in buffers))


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


def test_the_same_file_in_both_sets_that_are_held_out_is_counted(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 11, "train/b": 11, "val/a": 3, "val/b": 3, "test/a": 3, "test/b": 3})
    for path in sorted((root / "test").rglob("*.png")):
        shutil.copy(path, root / "val" / path.parent.name / path.name)
    data = load_data(str(root), 8, 0)
    assert data.duplicates == len(data.test) == 6
    assert data.warnings() == ["6 test or validation images occur in another set too: accuracies flatter"]


def test_a_file_of_train_and_test_is_counted_wherever_it_is_drawn(tmp_path: Path) -> None:
    root = grow(tmp_path, {"train/a": 30, "train/b": 30, "test/a": 2, "test/b": 2})
    for path in sorted((root / "train" / "a").iterdir()):
        shutil.copy(path, root / "test" / "a" / f"copy{path.name}")
    assert [load_data(str(root), 8, seed).duplicates for seed in range(3)] == [30] * 3


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


def test_an_image_that_could_not_be_read_for_a_while_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache, locked = grow(tmp_path / "set", {"a": 60, "b": 60}), tmp_path / "cache", {"a/0007.png"}

    def read(path: str) -> bytes:
        if path in locked:
            raise PermissionError(13, "Permission denied")
        return (root / path).read_bytes()

    @contextmanager
    def opened(path: Path) -> Iterator[Source]:
        with open_source(path) as source:
            yield dataclasses.replace(source, read=read)

    monkeypatch.setattr("nas.training.data.open_source", opened)
    first = load_data(str(root), 8, 0, cache)
    assert first.skipped == ("a/0007.png: Permission denied",)
    (entry,) = cache.iterdir()
    made = entry.stat().st_ino
    assert load_data(str(root), 8, 0, cache).skipped == first.skipped
    assert entry.stat().st_ino == made
    locked.clear()
    assert load_data(str(root), 8, 0, cache, in_use=first.content).fingerprint == first.fingerprint  # a search keeps its images
    again = load_data(str(root), 8, 0, cache)
    assert again.skipped == ()
    assert sum(map(len, sets(again))) == sum(map(len, sets(first))) + 1 == 120
    assert list(cache.iterdir()) == [entry]
    assert load_data(str(root), 8, 0, cache).to_dict() == again.to_dict()


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
