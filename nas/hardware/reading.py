"""Reads a mapping as a pydantic model, strictly: one line says file, key, what is wrong, what was given and which key was meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from nas.errors import ProfileError

__all__ = ["read_as"]

Model = TypeVar("Model", bound=BaseModel)
_LONGEST_SHOWN = 80


def read_as(model: type[Model], data: Mapping[str, Any], where: str) -> Model:
    """`data` as a `model`.

    Raises:
        ProfileError: one line naming `where`, the key, what is wrong and the value given.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = _keys_at(model, first["loc"])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=2) or known
            text = f"unknown key: did you mean {' or '.join(near)}?"
        shown = repr(first.get("input"))
        shown = shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."
        more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        key = ".".join(map(str, first["loc"])) or "top level"
        raise ProfileError(f"{where}: {key}: {text}, got {shown}{more}") from exc


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Keys that the model holding `loc` knows."""
    owner = model
    for part in loc[:-1]:
        field = owner.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field is not None else None
        # Indices of lists and keys of mappings are no fields: what they hold was found with their field.
        owner = inner or owner
    return [field.alias or name for name, field in owner.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
