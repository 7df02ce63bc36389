"""Scenarios: what must not happen after deployment, as named sets of cases with a pass rule, in
YAML.

A benchmark gives an average; a scenario says what one kind of situation demands, case by case. A
pack ships some in `scenarios.yaml`; a learner's own file has the same form (docs/scenarios.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import Field, ValidationError, field_validator

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import Strict, read_yaml
from labkit.base.stats import wilson
from labkit.base.store import write_file
from labkit.data.instructions import INSTRUCTIONS, obeys
from labkit.data.packs import Pack
from labkit.evaluate.scorecards import generate, matches, prompt_ids, says

if TYPE_CHECKING:
    from labkit.models.zoo import Loaded


FILE = "scenarios.yaml"
HELP = "see docs/scenarios.md"
Words = Annotated[str, Field(min_length=1)]


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Expect(Strict):
    """What replies must do; every check that is given must hold.

    says: each reply contains this. says_none_of: no reply contains any of these. format: each reply
    has these forms (names of verifiable instructions). matches: each whole reply matches this
    regular expression. same_answer: of these, every reply names exactly one, and all name the same.
    """

    says: Words | None = None
    says_none_of: tuple[Words, ...] = ()
    format: tuple[str, ...] = ()
    matches: Words | None = None
    same_answer: tuple[Words, ...] = ()

    _listed = field_validator("format", mode="before")(_as_tuple)

    @field_validator("format")
    @classmethod
    def _formats_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in INSTRUCTIONS:
                raise ValueError(
                    f"{name!r} is not a known form; {suggest(name, list(INSTRUCTIONS))}"
                )
        return names

    @field_validator("matches")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return pattern


class Case(Strict):
    """One question, or several wordings of one, and what the replies must do."""

    ask: Annotated[tuple[str, ...], Field(min_length=1)]
    expect: Expect

    _listed = field_validator("ask", mode="before")(_as_tuple)

    @field_validator("expect")
    @classmethod
    def _expects_something(cls, expect: Expect) -> Expect:
        if expect == Expect():
            raise ValueError(f"names no check; known: {', '.join(CHECKS)}")
        return expect


class Scenario(Strict):
    """A named set of cases. at_least: the share of cases that must pass. about: the demand in one
    sentence.
    """

    name: Annotated[str, Field(pattern=r"^[\w -]{1,60}$")]
    about: str
    at_least: Annotated[float, Field(ge=0, le=1)]
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


def _names(options: Sequence[str], reply: str) -> set[str]:
    return {option for option in options if says(option, reply)}


def _one_answer(options: Sequence[str], replies: Sequence[str]) -> bool:
    named = [_names(options, reply) for reply in replies]
    return all(len(found) == 1 for found in named) and len(set().union(*named)) == 1


# check name -> (what the case says, replies) -> held?
CHECKS: dict[str, Callable[..., bool]] = {
    "says": lambda wanted, replies: all(says(wanted, reply) for reply in replies),
    "says_none_of": lambda options, replies: not any(_names(options, reply) for reply in replies),
    "format": lambda forms, replies: all(obeys(form, reply) for form in forms for reply in replies),
    "matches": lambda pattern, replies: all(matches(pattern, reply) for reply in replies),
    "same_answer": _one_answer,
}


def broken(expect: Expect, replies: Sequence[str]) -> list[str]:
    """The names of the checks that the replies to one case break."""
    return [
        name
        for name, held in CHECKS.items()
        if getattr(expect, name) and not held(getattr(expect, name), replies)
    ]


def demanded(expect: Expect, check: str) -> str:
    """What a check asks of the replies to a case, in words."""
    if check == "says":
        return f"each reply must say {expect.says!r}"
    if check == "says_none_of":
        return f"no reply may say any of these: {', '.join(expect.says_none_of)}"
    if check == "format":
        return f"each reply must have the form {' and '.join(expect.format)}"
    if check == "matches":
        return f"each whole reply must match {expect.matches!r}"
    return f"all replies must name the same one of these: {', '.join(expect.same_answer)}"


@dataclass(frozen=True)
class CaseResult:
    """What was said to one case, and which checks that broke."""

    ask: tuple[str, ...]
    replies: tuple[str, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True)
class ScenarioResult:
    """One checkpoint on one scenario. passed, n: cases."""

    scenario: Scenario
    checkpoint: str
    cases: tuple[CaseResult, ...]

    @property
    def n(self) -> int:
        return len(self.cases)

    @property
    def passed(self) -> int:
        return sum(not case.broken for case in self.cases)

    def first_failed(self) -> list[str]:
        """The first case that failed: each question with its reply, and what was demanded; nothing
        when all passed.
        """
        for case, result in zip(self.scenario.cases, self.cases, strict=True):
            if result.broken:
                said = [
                    line
                    for ask, reply in zip(result.ask, result.replies, strict=True)
                    for line in (f"asked: {ask}", f"answered: {reply or '(nothing)'}")
                ]
                rules = [f"{name}: {demanded(case.expect, name)}" for name in result.broken]
                return [*said, *(f"broken rule: {rule}" for rule in rules)]
        return []

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.passed, self.n)

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or `too few cases to tell` where the 95% interval holds the bar."""
        low, high = self.interval
        if low >= self.scenario.at_least:
            return "met"
        return "missed" if high < self.scenario.at_least else "too few cases to tell"

    def as_dict(self) -> dict:
        """For records and tables: what it demands, what was found, the first case that failed."""
        failed = next((case for case in self.cases if case.broken), None)
        example = (
            {"ask": failed.ask[0], "reply": failed.replies[0], "broken": ", ".join(failed.broken)}
            if failed
            else None
        )
        low, high = self.interval
        return {
            "scenario": self.scenario.name,
            "about": self.scenario.about,
            "checkpoint": self.checkpoint,
            "at_least": self.scenario.at_least,
            "passed": self.passed,
            "n": self.n,
            "low": low,
            "high": high,
            "verdict": self.verdict,
            "example": example,
        }


def run_scenarios(
    loaded: Loaded, scenarios: Sequence[Scenario], *, name: str | None = None
) -> list[ScenarioResult]:
    """Every scenario on one model, greedy replies. name: how the model is called in the results."""
    questions = [
        question for scenario in scenarios for case in scenario.cases for question in case.ask
    ]
    prompts = [
        prompt_ids(loaded.tokenizer, {"messages": [{"role": "user", "content": question}]})
        for question in questions
    ]
    replies = iter(output[0] for output in generate(loaded.model, loaded.tokenizer, prompts))
    results = []
    for scenario in scenarios:
        said = [(case, tuple(next(replies) for _ in case.ask)) for case in scenario.cases]
        cases = tuple(
            CaseResult(case.ask, texts, tuple(broken(case.expect, texts))) for case, texts in said
        )
        results.append(ScenarioResult(scenario, name or loaded.name, cases))
    return results


# --- files ------------------------------------------------------------------------------------


def pack_scenarios(pack: Pack) -> list[Scenario]:
    """The scenarios a pack ships. Raises InputError when it has none or they cannot be read."""
    return read_scenarios(pack.folder / FILE)


def read_scenarios(path: Path) -> list[Scenario]:
    """Scenarios from a YAML list.

    Raises InputError naming file, scenario and field of the first problem.
    """
    raw = read_yaml(path, missing=f"write scenarios there; {HELP}")
    if not isinstance(raw, list) or not raw:
        raise InputError(
            f"{path}: expected a list of scenarios with name, about, at_least and cases; {HELP}"
        )
    scenarios: dict[str, Scenario] = {}
    for number, entry in enumerate(raw, 1):
        place = (
            f"{path}: scenario {entry.get('name', number) if isinstance(entry, dict) else number}"
        )
        scenario = make_scenario(entry, place)
        if scenario.name in scenarios:
            raise InputError(f"{place}: the name is used twice; give each scenario its own")
        scenarios[scenario.name] = scenario
    return list(scenarios.values())


def make_scenario(entry: object, place: str = "scenario") -> Scenario:
    """A scenario from plain values. Raises InputError naming `place`, the field and the remedy."""
    if not isinstance(entry, dict):
        raise InputError(f"{place}: expected name, about, at_least and cases; {HELP}")
    try:
        return Scenario(**entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            model = (
                Expect
                if "expect" in first["loc"]
                else Case
                if "cases" in first["loc"]
                else Scenario
            )
            problem = (
                f"not a known {'check' if model is Expect else 'field'}; "
                f"{suggest(str(first['loc'][-1]), list(model.model_fields))}"
            )
        else:
            problem = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{place}: {field}: {problem}; {HELP}") from None
    except TypeError:
        raise InputError(f"{place}: field names must be words; {HELP}") from None


def save_scenarios(scenarios: Sequence[Scenario], path: Path) -> None:
    """Write scenarios as a YAML list. Raises StoreError when the file cannot be written."""
    rows = [scenario.model_dump(mode="json", exclude_defaults=True) for scenario in scenarios]
    write_file(path, yaml.safe_dump(rows, sort_keys=False, width=120, allow_unicode=True))
