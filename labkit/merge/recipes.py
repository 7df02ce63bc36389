"""Merge recipes in mergekit's YAML, read and written: what labkit merges, mergekit 0.1.5 merges
too, and back.

slerp is mergekit's slerp, lerp its linear, task_vector its nuslerp with a base model. slerp_paper
has no counterpart there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError, field_validator, model_validator

from labkit.base.errors import MergeError, suggest
from labkit.base.inputs import Strict, beside, explain, read_yaml
from labkit.merge.guards import note
from labkit.merge.schedule import PRESETS as SCHEDULES
from labkit.merge.schedule import Schedule, Weights, complement, outside, plain

TOP_KEYS = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
)
# What recipes on the hub hold besides, and what changes nothing in a merge of two models of one
# tokenizer: left out with a note.
IGNORED_KEYS = ("name", "description", "metadata", "author", "license", "tags", "version")
IGNORED_PARAMETERS = ("int8_mask", "embed_slerp")
PARAMETERS = {
    "slerp": ("t",),
    "linear": ("weight", "normalize"),
    "nuslerp": ("weight", "nuslerp_flatten", "nuslerp_row_wise"),
}
THEIR_METHOD = {
    "slerp": "slerp",
    "lerp": "linear",
    "task_vector_lerp": "linear",
    "task_vector": "nuslerp",
}


class Merge(Strict):
    """Join the trained model with the start model, or with the model named `general`.

    t=0 is the general model, t=1 the domain model: a number, anchors over depth, a list of filters,
    or the name of a preset (schedule.py). ancestor: the model both come from, for task-vector
    methods. dtype: of the result; by default the wider of the parents'. extrapolate: allow t
    outside [0, 1].
    """

    method: Literal["slerp", "slerp_paper", "lerp", "task_vector", "task_vector_lerp"] = "slerp"
    t: Schedule | Weights = 0.5
    general: str | None = None
    ancestor: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    extrapolate: bool = False

    @field_validator("t", mode="before")
    @classmethod
    def _schedule_by_name(cls, t: object) -> object:
        if not isinstance(t, str):
            return t
        if t not in SCHEDULES:
            raise ValueError(f"unknown schedule; {suggest(t, list(SCHEDULES))}")
        return SCHEDULES[t]

    @model_validator(mode="after")
    def _makes_sense(self) -> Merge:
        if isinstance(self.t, (int, float)) and not self.extrapolate and not 0 <= self.t <= 1:
            raise ValueError(outside(self.t))
        if self.method.startswith("task_vector") and not self.ancestor:
            raise ValueError(f"{self.method} needs ancestor: the model both parents come from")
        return self


@dataclass(frozen=True)
class Recipe:
    """Two parents and how they are joined. general, domain: zoo names, folders or hub ids.

    layers: how many layers the recipe says it merges, None for all. places: `general`, `domain`,
    `ancestor`, `layers` or `t` -> where in which file it stands, for sentences.
    """

    general: str
    domain: str
    merge: Merge
    layers: int | None = None
    places: dict[str, str] = field(default_factory=dict)

    def blame(self, what: str, error: Exception) -> MergeError:
        """The error with the place in the recipe that caused it."""
        place = self.places.get(what)
        return MergeError(f"{place}: {error}" if place else str(error))


def recipe_of(general: str, domain: str, **fields: Any) -> Recipe:
    """A recipe from words, as a command line has them: t a number or a schedule's name; None is not
    given.

    Raises MergeError.
    """
    given = {key: value for key, value in fields.items() if value is not None}
    with suppress(KeyError, ValueError):  # not given, or the name of a schedule
        given["t"] = float(given["t"])
    return Recipe(general, domain, _checked(**given))


def _checked(place: str = "", **fields: Any) -> Merge:
    """place: where t stands, for what is wrong with the fields together."""
    try:
        return Merge(**fields)
    except ValidationError as error:
        sentence = explain(error, Merge)
        if not error.errors()[0]["loc"]:
            sentence = f"{place}: ".removeprefix(": ") + sentence.removeprefix("spec: ")
        raise MergeError(sentence) from None


# --- writing ------------------------------------------------------------------------------------


def recipe_text(recipe: Recipe) -> str:
    """A recipe as mergekit YAML; t=0 is base_model.

    Raises MergeError for a method mergekit does not have.
    """
    merge = recipe.merge
    if merge.method not in THEIR_METHOD:
        raise MergeError(
            f"mergekit has no {merge.method}, so there is no recipe to write; save the "
            "merged checkpoint instead"
        )
    theirs = THEIR_METHOD[merge.method]
    weights = (
        merge.t
        if isinstance(merge.t, Weights)
        else Weights(general=complement(merge.t), domain=merge.t)
    )
    parents: list[dict[str, Any]] = [{"model": recipe.general}, {"model": recipe.domain}]
    content: dict[str, Any] = {"merge_method": theirs}
    if theirs == "slerp":
        if isinstance(merge.t, Weights):
            raise MergeError("a slerp recipe has one t, not a weight per model; give t itself")
        content |= {
            "base_model": recipe.general,
            "models": parents,
            "parameters": {"t": plain(merge.t)},
        }
    else:
        for parent, weight in zip(parents, (weights.general, weights.domain), strict=True):
            parent["parameters"] = {"weight": plain(weight)}
        content |= {"models": parents}
    if theirs == "nuslerp":
        content["base_model"] = merge.ancestor
    if merge.dtype:
        content["dtype"] = merge.dtype
    head = (
        f"# t=0 is {recipe.general}, t=1 is {recipe.domain}. Runs with: labkit merge "
        "THIS.yaml OUT, or mergekit-yaml THIS.yaml OUT\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False)


CARD = """---
{parents}library_name: transformers
tags: [merge, labkit]
---

# A merge of {general} and {domain}

Method `{method}`; t=0 is `{general}` (the general model), t=1 is `{domain}` (the domain model).

```yaml
t: {t}
```

Merged by labkit. A score of this model says little without both parents' scores beside it.
"""


def merge_card(recipe: Recipe) -> str:
    """The model card of a merge."""
    names = [
        Path(parent).name if Path(parent).is_dir() else parent
        for parent in (recipe.general, recipe.domain)
    ]
    t = (
        yaml.safe_dump(plain(recipe.merge.t), default_flow_style=True, width=1000)
        .removesuffix("...\n")
        .strip()
    )
    parents = yaml.safe_dump({"base_model": names}, allow_unicode=True, width=1000)
    return CARD.format(
        general=names[0], domain=names[1], method=recipe.merge.method, t=t, parents=parents
    )


# --- reading ------------------------------------------------------------------------------------


def read_recipe(path: Path, *, extrapolate: bool = False) -> Recipe:
    """A mergekit slerp, linear or nuslerp recipe. Models may lie beside the file, too.

    Raises MergeError naming file, key and remedy.
    """
    from labkit.models.zoo import known_names

    def found(name: str) -> str:
        return beside(path, name, known_names())

    content = read_yaml(path, missing="docs/merging.md shows a recipe", error=MergeError)
    try:
        recipe = _recipe(content, extrapolate)
    except MergeError as error:
        raise MergeError(f"{path}: {error}") from None
    ancestor = recipe.merge.ancestor
    return replace(
        recipe,
        general=found(recipe.general),
        domain=found(recipe.domain),
        merge=recipe.merge.model_copy(update={"ancestor": ancestor and found(ancestor)}),
        places={what: f"{path}: {place}" for what, place in recipe.places.items()},
    )


def _recipe(content: object, extrapolate: bool) -> Recipe:
    if not isinstance(content, Mapping):
        raise MergeError(
            "expected a mapping with merge_method, models and parameters; docs/merging.md shows one"
        )
    content = _without_ignored(content)
    _known_keys(content, TOP_KEYS, "")
    method = content.get("merge_method")
    if not isinstance(method, str) or method not in PARAMETERS:
        raise MergeError(
            f"merge_method {method!r} cannot be run here; {suggest(str(method), list(PARAMETERS))}"
        )
    parents, settings, layers, where = _parents(content, PARAMETERS[method])
    read = {"slerp": _slerp, "linear": _linear, "nuslerp": _nuslerp}[method]
    general, domain, fields = read(content.get("base_model"), parents, settings)
    if _tokenizer_source(content) not in (None, "base", "union", general, f"model:{general}"):
        raise MergeError(
            f"tokenizer_source can only be base, union or {general}: labkit merges models of one "
            "tokenizer, and the merge takes the general model's"
        )
    dtype = content.get("out_dtype") or content.get("dtype")
    names = [name for name, _ in parents]
    places = {
        what: f"{where}.{names.index(name)}.model"
        for what, name in (("general", general), ("domain", domain))
    }
    places |= {
        "ancestor": "base_model",
        "layers": f"{where}.0.layer_range",
        "t": "parameters.t" if method == "slerp" else "weight",
    }
    merge = _checked(places["t"], **fields, dtype=dtype, extrapolate=extrapolate)
    return Recipe(general, domain, merge, layers, places)


def _tokenizer_source(content: Mapping) -> object:
    """Whose tokenizer a recipe asks for, in mergekit's older way or its newer one."""
    if "tokenizer" not in content:
        return content.get("tokenizer_source")
    block = content["tokenizer"]
    if not isinstance(block, Mapping) or set(block) != {"source"}:
        raise MergeError(
            "tokenizer can only hold source, as in `source: base`: labkit merges models of one "
            "tokenizer and adds no tokens"
        )
    return block["source"]


def _without_ignored(content: Mapping) -> dict:
    """A recipe without what changes nothing here; a note names it."""
    ignored = [key for key in IGNORED_KEYS if key in content]
    template = content.get("chat_template")
    if template not in (None, "auto"):
        raise MergeError(
            f"chat_template can only be auto (got {str(template)[:60]!r}): the merge takes the "
            "general model's; change chat_template.jinja in the merge's folder afterwards"
        )
    if "chat_template" in content:
        ignored.append("chat_template")
    if ignored:
        note(f"{', '.join(ignored)} of the recipe: nothing here depends on it, it is left out")
    return {key: value for key, value in content.items() if key not in ignored}


def _known_keys(mapping: Mapping, known: tuple[str, ...], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise MergeError(
                f"{where}{key} is not a key labkit understands; {suggest(str(key), list(known))}"
            )


def _parents(
    content: Mapping, known: tuple[str, ...]
) -> tuple[list[tuple[str, dict]], dict, int | None, str]:
    """The two models with their own parameters, the recipe's common ones, its layers, and where the
    models stand.
    """
    if ("models" in content) == ("slices" in content):
        raise MergeError("give either models or slices, with the two models to merge")
    common = dict(_parameters(content, known, "parameters"))
    entries, where, layers = content.get("models"), "models", None
    allowed: tuple[str, ...] = ("model", "parameters")
    if "slices" in content:
        entries, where, layers = _only_slice(content["slices"], known, common)
        allowed += ("layer_range",)
    if not isinstance(entries, list) or len(entries) != 2:
        base = content.get("base_model")
        alone = isinstance(entries, list) and len(entries) == 1 and base
        remedy = f": list base_model ({base}) as well" if alone else ""
        raise MergeError(f"{where} must list exactly two models{remedy}")
    parents = []
    for number, entry in enumerate(entries):
        place = f"{where}.{number}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("model"), str):
            raise MergeError(f"{place}.model must name a model: a zoo name, a folder or a hub id")
        _known_keys(entry, allowed, f"{place}.")
        parents.append((entry["model"], dict(_parameters(entry, known, f"{place}.parameters"))))
    return parents, common, layers, where


def _only_slice(slices: object, known: tuple[str, ...], common: dict) -> tuple[object, str, int]:
    if not isinstance(slices, list) or len(slices) != 1 or not isinstance(slices[0], Mapping):
        raise MergeError(
            "slices must hold one slice over all layers: stacking layers of several "
            "slices is not merging"
        )
    _known_keys(slices[0], ("sources", "parameters"), "slices.0.")
    sources = slices[0].get("sources")
    listed = sources if isinstance(sources, list) else []
    ranges = [entry.get("layer_range") for entry in listed if isinstance(entry, Mapping)]
    well = [
        found
        for found in ranges
        if isinstance(found, list)
        and len(found) == 2
        and all(isinstance(end, int) for end in found)
    ]
    if not ranges or well != ranges or any(found != ranges[0] or found[0] != 0 for found in ranges):
        raise MergeError(
            "slices.0.sources: both layer_range must be the same and begin at 0; leave "
            "it to `models` to take all layers"
        )
    common.update(_parameters(slices[0], known, "slices.0.parameters"))
    return sources, "slices.0.sources", ranges[0][1]


def _parameters(mapping: Mapping, known: tuple[str, ...], where: str) -> Mapping:
    found = mapping.get("parameters") or {}
    if not isinstance(found, Mapping):
        raise MergeError(f"{where} must be a mapping, as in `t: 0.5`")
    if ignored := [key for key in IGNORED_PARAMETERS if key in found]:
        note(f"{where}: nothing here depends on {', '.join(ignored)}, it is left out")
        found = {key: value for key, value in found.items() if key not in ignored}
    _known_keys(found, known, f"{where}.")
    return found


def _slerp(base: object, parents: list, settings: dict) -> tuple[str, str, dict]:
    names = [name for name, _ in parents]
    if base not in names:
        raise MergeError(
            f"base_model is {base!r}; it must be one of the two models, the one at t=0"
        )
    if "t" not in settings:
        raise MergeError("parameters.t is missing: 0 is base_model, 1 the other model")
    general, domain = names if base == names[0] else names[::-1]
    return general, domain, {"method": "slerp", "t": _schedule(settings["t"], "parameters.t")}


def _linear(base: object, parents: list, settings: dict) -> tuple[str, str, dict]:
    if settings.get("normalize", True) is not True:
        raise MergeError(
            "parameters.normalize must be true: weights that do not add up to 1 leave "
            "the line between the models"
        )
    weights = _weights(parents, settings)
    return parents[0][0], parents[1][0], {"method": "lerp", "t": weights}


def _nuslerp(base: object, parents: list, settings: dict) -> tuple[str, str, dict]:
    if not isinstance(base, str):
        raise MergeError(
            "base_model is missing: nuslerp is read as task_vector, which needs the "
            "ancestor of both models"
        )
    if (
        settings.get("nuslerp_flatten", True) is not True
        or settings.get("nuslerp_row_wise", False) is not False
    ):
        raise MergeError(
            "parameters: only nuslerp_flatten true and nuslerp_row_wise false can be run here"
        )
    return (
        parents[0][0],
        parents[1][0],
        {"method": "task_vector", "t": _weights(parents, settings), "ancestor": base},
    )


def _weights(parents: list, settings: dict) -> Weights:
    """One weight per model, as mergekit finds it: the model's own, else the recipe's."""
    found = [own.get("weight", settings.get("weight")) for _, own in parents]
    for number, weight in enumerate(found):
        if weight is None:
            raise MergeError(f"models.{number}.parameters.weight is missing")
    first, second = (
        _schedule(weight, f"models.{number}.parameters.weight")
        for number, weight in enumerate(found)
    )
    return Weights(general=first, domain=second)


def _schedule(value: object, where: str) -> Schedule:
    try:
        return TypeAdapter(Schedule).validate_python(
            [value] if isinstance(value, Mapping) else value
        )
    except ValidationError as error:
        known = ("filter", "value")
        for problem in error.errors():
            if problem["type"] == "extra_forbidden":
                raise MergeError(
                    f"{where}: {problem['loc'][-1]} is not a key of a schedule; "
                    f"{suggest(str(problem['loc'][-1]), list(known))}"
                ) from None
        raise MergeError(
            f"{where} must be a number, a list of numbers, or a list of filter and "
            f"value; got {value!r}"[:300]
        ) from None
