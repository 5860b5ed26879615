"""Which images there are: a folder or a .zip in ImageFolder layout, listed without decoding anything.

Understood, after a single enclosing folder such as `cifar10/` has been looked through:
    train/<class>/** and test/<class>/** and val/<class>/**, the last two optional
    <class>/**
A .zip is read in place and never extracted, so that no path inside it can reach the disk. Hidden files, `__MACOSX` and files without an
image's suffix are passed over; so are images outside class folders, and folders beside `train/` that are no set (`annotations/`).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from nas.errors import DataError

__all__ = ["ImageFile", "Listing", "Part", "Source", "list_images", "open_source"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class Part(IntEnum):
    """The set that a folder names. WHOLE is a layout without sets, still to be split."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2
    WHOLE = 3


PART_NAMES = {
    "train": Part.TRAIN,
    "training": Part.TRAIN,
    "val": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "validation": Part.VALIDATION,
    "test": Part.TEST,
    "testing": Part.TEST,
}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file with an image's suffix.

    Attributes:
        path: inside the source, with "/".
        stamp: changes when the content does, without reading it: CRC-32 in a .zip, modification time (ns) in a folder.
    """

    path: str
    size_bytes: int
    stamp: int


@dataclass(frozen=True, slots=True)
class Source:
    """An opened folder or .zip.

    Attributes:
        files: sorted by path.
        folders: paths of all folders, empty ones too.
        read: bytes of a path; what it raises is the file's own trouble.
    """

    name: str
    files: tuple[ImageFile, ...]
    folders: frozenset[str]
    read: Callable[[str], bytes]

    @property
    def stamp(self) -> str:
        """SHA-256 of paths, sizes and stamps: cheap, and enough to notice that a decoded cache is out of date."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.path}\0{file.size_bytes}\0{file.stamp}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Listing:
    """Every image with its set and class, ordered by (part, label, path).

    Attributes:
        labels, parts: as long as `files`; a label is an index into `classes`, which is sorted.
    """

    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    labels: tuple[int, ...]
    parts: tuple[Part, ...]


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Opens a folder or .zip for as long as the context lasts.

    Raises:
        DataError: for any other file, a damaged .zip, or a folder that cannot be listed.
    """
    if path.is_dir():
        yield _folder(path)
        return
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is neither a folder nor a readable .zip: unpack it, or make a .zip of train/<class>/ and test/<class>/")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be opened ({error}): copy or download it again") from error
    with archive:
        yield _zip(path, archive)


def _folder(root: Path) -> Source:
    def cannot_list(error: OSError) -> NoReturn:
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions") from error

    files: list[ImageFile] = []
    folders: set[str] = set()
    seen: set[str] = set()  # symbolic links to folders are followed; a loop of them must end
    for folder, subfolders, names in os.walk(root, onerror=cannot_list, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else [name for name in subfolders if not _passed_over(name)]
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        folders.update(f"{prefix}{name}" for name in subfolders)
        if real not in seen:
            files.extend(_stat(Path(folder, name), f"{prefix}{name}") for name in names if _is_image(name))
        seen.add(real)
    name = root.resolve().name or "images"
    return Source(name, tuple(sorted(files, key=lambda file: file.path)), frozenset(folders), lambda path: (root / path).read_bytes())


def _stat(file: Path, path: str) -> ImageFile:
    try:
        info = file.stat()
    except OSError:  # a dangling link: reading it will say so
        return ImageFile(path, 0, 0)
    return ImageFile(path, info.st_size, info.st_mtime_ns)


def _zip(path: Path, archive: zipfile.ZipFile) -> Source:
    files: dict[str, ImageFile] = {}  # of two members of one name the later counts, as for any unzip
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for info in archive.infolist():
        inside = info.filename
        while inside.startswith("./"):  # some tools begin every name so
            inside = inside[2:]
        folder, _, name = inside.rpartition("/")
        if folder not in folders:
            pieces = folder.split("/")
            if any(map(_passed_over, pieces)):
                continue
            folders.update("/".join(pieces[:depth]) for depth in range(1, len(pieces) + 1))
        if _is_image(name):
            files[inside], members[inside] = ImageFile(inside, info.file_size, info.CRC), info
    folders.discard("")
    ordered = tuple(sorted(files.values(), key=lambda file: file.path))
    return Source(path.stem, ordered, frozenset(folders), lambda path: archive.read(members[path]))


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES and not _passed_over(name)


def list_images(source: Source) -> Listing:
    """Sets, classes and labels from the folders' names.

    Raises:
        DataError: no images, no class folders, one class only, a class without images, a class in val/ or test/ that train/ lacks, a
            class whose name is not UTF-8.
    """
    if not source.files:
        raise DataError(f"{source.name} has no images: expected train/<class>/*.jpg and test/<class>/*.jpg, or <class>/*.jpg")
    prefix = ""
    while True:
        top = _children(source.folders, prefix)
        sets = {name: PART_NAMES[name.lower()] for name in top if name.lower() in PART_NAMES}
        if len(top) != 1 or sets or not _children(source.folders, f"{prefix}{top[0]}/"):
            break
        prefix += f"{top[0]}/"
    with_classes = {f"{prefix}{name}/": part for name, part in sets.items() if _children(source.folders, f"{prefix}{name}/")}
    if Part.TRAIN in with_classes.values():
        return _listing(source, with_classes)
    if not top or len(sets) == len(top):
        found = ", ".join(f"{prefix}{name}/" for name in top) or "files only"
        raise DataError(f"{source.name} has no class folders to train on (found {found}): expected train/<class>/*.jpg, or <class>/*.jpg")
    return _listing(source, {prefix: Part.WHOLE})


def _children(folders: frozenset[str], prefix: str) -> list[str]:
    """Names of the folders directly under `prefix`, which is "" or ends with "/"."""
    return sorted(folder[len(prefix) :] for folder in folders if folder.startswith(prefix) and "/" not in folder[len(prefix) :])


def _listing(source: Source, roots: dict[str, Part]) -> Listing:
    if len(set(roots.values())) != len(roots):
        raise DataError(f"{source.name} has two folders for one set ({', '.join(sorted(roots))}): keep one of them")
    classes_of = {root: _children(source.folders, root) for root in roots}
    first = next(root for root, part in roots.items() if part in (Part.TRAIN, Part.WHOLE))
    classes = tuple(classes_of[first])
    if len(classes) < 2:
        raise DataError(f"{source.name} has one class only ({', '.join(classes)}): a classifier needs at least two class folders")
    if unreadable := [name for name in classes if name.encode(errors="replace").decode() != name]:  # bytes that are no UTF-8
        raise DataError(f"{source.name}: the names of class folders are UTF-8, {_some(unreadable)} is not: rename it")
    for root, names in classes_of.items():
        if strange := sorted(set(names) - set(classes)):
            raise DataError(f"{root} has {_some(strange)}, which {first} lacks: add images to {first} or remove {root}{strange[0]}/")
    places = {f"{root}{name}": (part, classes.index(name)) for root, part in roots.items() for name in classes_of[root]}
    depth = first.count("/") + 1  # of a class folder; the same in every set
    members: list[tuple[Part, int, ImageFile]] = []
    for file in source.files:
        place = places.get("/".join(file.path.split("/", depth)[:depth]))
        if place is not None:
            members.append((*place, file))
    filled = {(part, label) for part, label, _ in members}
    if empty := [folder for folder, place in places.items() if place not in filled]:
        raise DataError(f"{_some(sorted(empty))} has no images ({', '.join(sorted(SUFFIXES))}): add some or remove the folder")
    members.sort(key=lambda member: (member[0], member[1], member[2].path))
    return Listing(classes, tuple(file for _, _, file in members), tuple(m[1] for m in members), tuple(m[0] for m in members))


def _some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, quoted."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
