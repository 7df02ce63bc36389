"""Forms that people fill in as YAML: flat, strict, every mistake one sentence with file, field and remedy."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator

from labkit.errors import InputError, suggest
from labkit.store import write_file
from labkit.yamlfile import read_yaml


class Form(BaseModel):
    """Base of every form: no unknown field, no silent change of type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _one_line_of_letters(cls, value: object) -> object:
        # Forms are printed: a control character could steer a terminal, and no font has a glyph for one.
        if isinstance(value, str) and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            raise ValueError("must be one line without control characters")
        return value


Filled = TypeVar("Filled", bound=Form)


def _in_words(value: object) -> object:
    """YAML reads a bare yes as true and an empty value as nothing."""
    return "unknown" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


YesNo = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(_in_words)]


def load_form(model: type[Filled], path: Path, *, help: str) -> Filled:
    """A filled form from YAML. Raises InputError naming file and field. help: where the form is described."""
    return fill_form(model, read_yaml(path, missing=help), place=str(path), help=help)


def fill_form(model: type[Filled], values: object, *, place: str, help: str) -> Filled:
    """A filled form from plain values. Raises InputError starting with `place`, with the first field that is wrong."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise InputError(f"{place}: expected fields and values, one `field: value` a line; {help}")
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(f"{place}: {_first_problem(error, model)}; {help}") from None


def save_form(form: Form, path: Path) -> None:
    """Write a form as YAML, without what was left at its default. Raises StoreError when it cannot be written."""
    values = form.model_dump(mode="json", exclude_defaults=True)
    write_file(path, yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True))


def _first_problem(error: ValidationError, model: type[Form]) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{field}: not a known field; {suggest(field, list(model.model_fields))}"
    if first["type"] == "missing":
        return f"{field}: missing; write it, as `{field}: null` where it is allowed not to be known"
    message = first["msg"].removeprefix("Value error, ")
    if not field:  # of the form as a whole; such a message names its fields itself
        return message
    return f"{field}: {message} (got {first['input']!r})"[:400]
