"""nas run: an exported model at work, with the base install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import JsonOption, emit

__all__ = ["register"]


def run(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="A file of nas export, or its folder.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A picture, or a folder of them.")],
    top: Annotated[int, typer.Option(metavar="N", help="Classes to show.", min=1)] = 5,
    threads: Annotated[int, typer.Option(metavar="N", help="Of ONNX Runtime.", min=1)] = 1,
    as_json: JsonOption = False,
) -> None:
    """Classifies images with an exported model.

    Tells the latency measured here, or why none could be. Needs no torch. Warns where the model was edited after its export, or carries no
    checksum to tell it by, and lists the pictures of a folder that cannot be read.

    Example: nas run exports/photos-1a2b/model.onnx picture.jpg
    """
    from nas.classify import Classifier, classify, find_images, find_model
    from nas.config import MeasureProtocol
    from nas.errors import DisturbedError
    from nas.report.units import describe

    classifier = Classifier(find_model(model), threads)
    if not classifier.is_as_exported:
        edited = "was edited after its export: its checksum is another"
        unknown = "carries no checksum: cannot tell whether it was edited after its export"
        typer.echo(f"warning: {classifier.path} {edited if classifier.is_as_exported is False else unknown}", err=True)
    answers, skipped = classify(classifier, find_images(images), top)
    if skipped:
        typer.echo(f"warning: {len(skipped)} of {len(skipped) + len(answers)} pictures cannot be read:", err=True)
        for each in skipped:
            typer.echo(f"  {each.image}: {each.why}", err=True)
    if not as_json:  # before the machine is measured: that takes a while, and may come to nothing
        for answer in answers:
            typer.echo(f"{answer.image}  {'  '.join(f'{name} {share:.1%}' for name, share in answer.classes)}")
    latency = None
    disturbed = None
    try:
        latency = classifier.latency(MeasureProtocol(), lambda text: typer.echo(f"warning: {text}", err=True))
    except DisturbedError as exc:
        disturbed = str(exc)
    if as_json:
        emit({
            "schema": 1, "model": str(classifier.path), "as_exported": classifier.is_as_exported,
            "latency_s": None if latency is None else latency.to_dict(), "not_measured": disturbed,
            "images": [{"image": str(a.image), "top": [{"class": name, "probability": p} for name, p in a.classes]} for a in answers],
            "skipped": [{"image": str(each.image), "why": each.why} for each in skipped],
        })  # fmt: skip
        return
    told = f"not measured: {disturbed}" if latency is None else describe("latency_s", latency)
    typer.echo(f"latency  {told}, {threads} thread{'s' if threads > 1 else ''}, one image")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(run)
