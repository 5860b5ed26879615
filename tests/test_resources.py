"""Spaces and profiles are found: the user's own first, then those that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nas.errors import SpaceError, UnknownNameError
from nas.resources import data_root, find, listing
from nas.space import load_space, space_names
from tests.spaces import space_data


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a space of their own and one that replaces a shipped one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    for name in ("mine", "mobilenet_tiny"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(space_data(name=name)), encoding="utf-8")
    return tmp_path


def test_shipped_files_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = space_names()
    monkeypatch.chdir(tmp_path)
    assert space_names() == before
    assert find("search_spaces", "*.yaml", "fbnet", "search space") == data_root("search_spaces") / "fbnet.yaml"
    assert set(listing("hw_profiles", "*/profile.yaml")) >= {"pixel3", "raspberrypi4"}


def test_the_users_own_come_first(project: Path) -> None:
    assert {"mine", "fbnet"} <= set(space_names())
    assert load_space("mine").size == 20
    assert load_space("mobilenet_tiny").size == 20


def test_a_path_is_a_name_too(project: Path) -> None:
    path = project / "elsewhere.yaml"
    path.write_text(yaml.safe_dump(space_data(name="elsewhere")), encoding="utf-8")
    assert load_space(str(path)).name == "elsewhere"
    profile = data_root("hw_profiles") / "pixel3"
    for given in (profile, profile / "profile.yaml"):
        assert find("hw_profiles", "*/profile.yaml", str(given), "device") == profile / "profile.yaml"


def test_a_file_that_is_found_by_name_has_that_name(project: Path) -> None:
    path = project / "search_spaces" / "copied.yaml"
    path.write_text(yaml.safe_dump(space_data(name="tiny")), encoding="utf-8")
    with pytest.raises(SpaceError, match=r"copied\.yaml: name: must be that of the file, 'copied', got 'tiny': rename one of them$"):
        load_space("copied")
    assert load_space(str(path)).name == "tiny"


def test_what_is_not_there_lists_the_nearest(project: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown search space 'mime': did you mean mine\? \(a path works too\)"):
        find("search_spaces", "*.yaml", "mime", "search space")
    with pytest.raises(UnknownNameError, match=r"unknown device 'raspberrypi': did you mean raspberrypi[45]"):
        find("hw_profiles", "*/profile.yaml", "raspberrypi", "device")
