"""Makes the predictors of boards that nobody measured: the nearest measured core's, and a scale from published latencies.

    python scripts/transfer_priors.py --data ../shared/data

DIR holds published_latency.csv. Used of it: fp32 on CPUs with a known number of threads, of networks among our references. The profile
says which device is `like` it, and which `sibling` was published instead of it. Run it again after `nas bench priors --write`: the
sources change.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nas.hardware.predictor_file import load_predictor, save_predictor
from nas.hardware.profile import DeviceProfile, load_profile, profile_names
from nas.hardware.transfer import Published, Transferred, transfer
from nas.space import reference_names

ROOT = Path(__file__).resolve().parent.parent


def read_published(path: Path) -> dict[str, list[Published]]:
    """Rows of the table that can serve, by board."""
    found: dict[str, list[Published]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["precision"] == "fp32" and row["model"] in reference_names() and row["threads"].isdigit():
                published = Published(row["model"], int(row["threads"]), float(row["latency_ms"]) * 1e-3, row["runtime"])
                found.setdefault(row["board"], []).append(published)
    return found


def rows_for(profile: DeviceProfile, published: dict[str, list[Published]]) -> list[Published]:
    """Of the sibling where there is one, else of the board under any of its names."""
    names = (profile.sibling.name,) if profile.sibling else (profile.name, *profile.aliases)
    # ncnn's benchmark switches fp16 arithmetic on (benchmark/benchncnn.cpp): its tables are of it where the core has it.
    has_half = "fp16 arithmetic" in str(profile.chip.simd.value) and "no fp16 arithmetic" not in str(profile.chip.simd.value)
    rows = [row for name in names for row in published.get(name, [])]
    return [replace(row, may_be_half=has_half and row.runtime == "ncnn") for row in rows]


def make(profile: DeviceProfile, rows: list[Published]) -> tuple[Transferred, ...]:
    """Predictors of a profile with `like`."""
    assert profile.like is not None
    like = load_profile(profile.like)
    source = load_predictor(like.folder / "prior-fp32.json")
    sibling, speed = (profile.sibling.name, profile.sibling.speed) if profile.sibling else ("", 1.0)
    return transfer(source, rows, profile.cores, like.name, sibling, speed)


def transferred(published: dict[str, list[Published]]) -> Iterator[tuple[DeviceProfile, str, Transferred]]:
    """Every shipped profile that is made this way, with the name of each of its files."""
    for name in profile_names():
        profile = load_profile(name)
        if profile.like is not None:
            made = make(profile, rows_for(profile, published))
            for each in made:
                yield profile, "prior-fp32.json" if len(made) == 1 else f"prior-fp32-{each.predictor.threads}t.json", each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with published_latency.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "hw_profiles", help="folder of the profiles")
    arguments = parser.parse_args()
    for profile, file, each in transferred(read_published(arguments.data / "published_latency.csv")):
        save_predictor(each.predictor, arguments.out / profile.name / file)
        quality = ", ".join(f"{name} {value:.3f}" for name, value in each.predictor.quality)
        threads = ", ".join(map(str, each.threads))
        print(f"{profile.name}: {file} for {threads} thread(s), band x/÷ {math.exp(each.predictor.half_width):.2f}; {quality}")


if __name__ == "__main__":
    main()
