"""Writes docs/api.md: the names at the front door, from their own signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

import labkit
from studies import page

GROUPS = {
    "Load": ("load", "load_pack", "load_spec", "save_spec"),
    "Train and merge": ("run_spec", "merge_at"),
    "Measure": ("score", "compare"),
    "In a notebook": ("start", "reported", "Lab"),
    "What a design is made of": ("PipelineSpec", "Stage", "Merge"),
    "Ready recipes": ("GENTLE", "OVERCOOKED", "DPO", "ORPO"),
    "What comes back": ("Loaded", "Pack", "Scorecard", "Differences", "Interval"),
}


def api_page() -> str:
    """The page as Markdown."""
    parts = []
    for head, names in GROUPS.items():
        parts.append(f"## {head}")
        parts += [section for name in names for section in _told(name, getattr(labkit, name))]
    return page("api").format(names="\n\n".join(parts))


def _told(name: str, value: object) -> Iterator[str]:
    """A heading, a signature and the docstring of one name; of a class its public methods, too."""
    if isinstance(value, type):
        yield f"### `labkit.{name}`"
        yield inspect.getdoc(value) or ""
        yield from _fields(value)
        for method, found in vars(value).items():
            if not method.startswith("_") and (inspect.isfunction(found) or _is_property(found)):
                yield f"- `{_signature(method, found)}`: {_first_paragraph(found)}"
    elif callable(value):
        yield f"### `labkit.{_signature(name, value)}`"
        yield inspect.getdoc(value) or ""
    else:
        yield f"### `labkit.{name}`"
        stages = value if isinstance(value, tuple) else (value,)
        told = [stage.model_dump(mode="json", exclude_defaults=True) for stage in stages]
        yield f"```yaml\n{yaml.safe_dump(told, sort_keys=False)}```"


def _is_property(found: object) -> bool:
    return isinstance(found, property)


def _fields(kind: type) -> Iterator[str]:
    if dataclasses.is_dataclass(kind):
        told = ", ".join(f"`{field.name}: {field.type}`" for field in dataclasses.fields(kind))
        yield f"Fields: {told}."


def _signature(name: str, value: object) -> str:
    if isinstance(value, property):
        return name
    found = inspect.signature(value)  # type: ignore[arg-type]  # only what can be called comes here
    kept = [one for one in found.parameters.values() if one.name != "self"]
    told = f"{name}{found.replace(parameters=kept)}"
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", told)  # annotations are kept as strings


def _first_paragraph(value: object) -> str:
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def write_api_page(path: Path = Path("docs/api.md")) -> Path:
    """Writes the page; returns where."""
    path.write_text(api_page(), "utf-8")
    return path
