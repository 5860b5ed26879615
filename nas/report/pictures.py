"""The pictures and pages of a study, all of them, from what is known of it."""

from __future__ import annotations

from pathlib import Path

from nas.files import write_atomic
from nas.report.drawing import architecture_svg
from nas.report.facts import StudyFacts
from nas.report.figures import front_png, hypervolume_png
from nas.report.front_page import front_html
from nas.report.predicted import predicted_png
from nas.report.report_page import report_html

__all__ = ["DRAWING", "write_pictures"]

DRAWING = "architecture_svg"
"""Kind of artifact under which a finalist names its drawing."""


def write_pictures(folder: Path, facts: StudyFacts) -> tuple[Path, ...]:
    """Writes front.html, front.png (of the first device), report.html; hypervolume.png where there are two points or more,
    predictor_<device>.png where the device was measured, and the drawing of each finalist that names one. Returns what was written.

    Raises:
        InputError: the folder cannot be written to; a front has no cost or no accuracy.
    """
    pictures: dict[str, bytes | str] = {"front.html": front_html(facts.fronts), "front.png": front_png(facts.fronts[0])}
    if any(len(pairs) > 1 for pairs in facts.progress.values()):
        pictures["hypervolume.png"] = hypervolume_png(facts.progress)
    for record in facts.fronts:
        found = facts.predictors.get(record.device)
        if found is not None and found.evaluation is not None:
            title = f"{record.device}: {len(found.evaluation.measured_s)} networks"
            pictures[f"predictor_{record.device}.png"] = predicted_png(found.evaluation, title)
        for each in record.finalists:
            if DRAWING in each.artifacts and each.id in facts.blocks:
                pictures[each.artifacts[DRAWING]] = architecture_svg(facts.blocks[each.id], f"{each.id} on {record.device}")
    pictures["report.html"] = report_html(facts)
    for name, content in pictures.items():
        write_atomic(folder / name, content)
    return tuple(folder / name for name in pictures)
