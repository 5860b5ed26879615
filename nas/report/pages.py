"""Pages from templates: the home of jinja2. Whatever is put into a page is escaped, unless it is `Markup` that we made ourselves."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from nas.errors import MissingExtraError
from nas.report.canvas import DARK, LIGHT

__all__ = ["embedded", "picture", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: Mapping[str, object]) -> str:
    """A page of templates/; the palettes are known to each as `light` and `dark`.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as exc:
        raise MissingExtraError("jinja2", "search") from exc
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # in the order that we chose
    return environment.get_template(template).render({**values, "light": LIGHT, "dark": DARK})


def picture(light: bytes, dark: bytes) -> dict[str, str]:
    """An SVG picture inside a page, in both palettes."""
    return {"light": embedded(light, "svg+xml"), "dark": embedded(dark, "svg+xml")}


def embedded(content: bytes, kind: str) -> str:
    """The address of a picture that the page itself holds."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
