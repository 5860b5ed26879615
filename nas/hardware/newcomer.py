"""The profile of a device that nobody has described yet: chip facts that its runner told, the rest assumed by class and said so."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nas.errors import InputError
from nas.files import write_atomic
from nas.hardware.chip import is_arm
from nas.hardware.profile import NAME, DeviceProfile, parse_profile
from nas.resources import data_root

__all__ = ["assumed_power", "copy_shipped", "own_profile", "profile_of", "write_profile"]


def assumed_power(cores: int, arm: bool) -> dict[str, object]:
    """Watts by class of machine: wide, because nothing was measured."""
    idle, per_core = (3.0, 1.0) if arm else (10.0, 8.0)
    kind = "a single-board computer" if arm else "a desktop, laptop or server share"
    return {
        "scope": "board",
        "watts": {0: idle, cores: idle + per_core * cores},
        "spread": 2.5,
        "assumed": True,
        "source": f"assumption for {kind}: {idle:g} W and {per_core:g} W a busy core; nothing was measured",
    }


def profile_of(name: str, facts: Mapping[str, Any], hello: Mapping[str, Any]) -> dict[str, Any]:
    """What profile.yaml says.

    Args:
        facts: from `nas.hardware.chip.chip_facts` on the device.
        hello: from `nas.hardware.jobs.hello` there.
    """
    runtimes = {each: {"version": entry["version"], "precisions": entry["precisions"]} for each, entry in hello["runtimes"].items()}
    first = "onnxruntime" if "onnxruntime" in runtimes else next(iter(runtimes))
    return {
        "schema": 1,
        "name": name,
        "title": str(facts["title"]),
        "chip": dict(facts["chip"]),
        "runtimes": runtimes,
        "default": {"runtime": first, "precision": "fp32", "threads": 1},
        "power": assumed_power(int(facts["chip"]["cores"]["value"]), is_arm(str(facts["machine"]))),
        "unknown": [
            "watts: an assumption by class with a spread of x/÷ 2.5",
            "accelerators: GPU and NPU of the device were not looked for",
        ],
    }


def write_profile(name: str, facts: Mapping[str, Any], hello: Mapping[str, Any], root: Path | None = None) -> DeviceProfile:
    """Writes <root>/<name>/profile.yaml and reads it back.

    Args:
        root: ./hw_profiles by default.

    Raises:
        InputError: a name that is none, or a folder that cannot be written to.
        ProfileError: facts that do not hold together.
    """
    if not re.fullmatch(NAME, name):
        raise InputError(f"a device's name is lower-case letters, digits, '.', '_' and '-', a letter or digit first, got {name!r}")
    folder = (Path.cwd() / "hw_profiles" if root is None else root) / name
    data = profile_of(name, facts, hello)
    parse_profile(data, folder, f"what {name} says of itself")
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=140)
    write_atomic(folder / "profile.yaml", f"# Written by nas measure: what the device says of itself. Mend what you know better.\n{text}")
    return parse_profile(data, folder, str(folder / "profile.yaml"))


def own_profile(profile: DeviceProfile) -> DeviceProfile:
    """The profile tied to a folder that is the user's: ./hw_profiles/<name> for one that is shipped. Nothing is written."""
    shipped = data_root("hw_profiles").resolve()
    home = Path.cwd() / "hw_profiles"
    if not profile.folder.resolve().is_relative_to(shipped) or home.resolve() == shipped:
        return profile
    folder = home / profile.name
    return parse_profile(profile.model_dump(mode="json", by_alias=True, exclude_none=True), folder, str(folder))


def copy_shipped(profile: DeviceProfile, folder: Path) -> None:
    """Copies a profile's files to the folder of `own_profile`, once: from then on the copy is the profile. profile.yaml comes last: without
    it a copy that was cut off is none, and is made again.

    Raises:
        InputError: the folder cannot be written to.
    """
    if folder == profile.folder or (folder / "profile.yaml").exists():
        return
    try:
        shutil.copytree(profile.folder, folder, ignore=shutil.ignore_patterns("profile.yaml"), dirs_exist_ok=True)
        write_atomic(folder / "profile.yaml", (profile.folder / "profile.yaml").read_bytes())
    except (OSError, shutil.Error) as exc:
        raise InputError(f"cannot copy the profile of {profile.name} to {folder}: {exc}") from exc
