"""Is adaptation the right tool at all? Rules that speak for and against prompting, retrieval, training and merging.

There is no score: every rule that applies is printed with its reason and source, needs that contradict are said, and
what would change the advice is found by changing one answer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

from labkit.fit_rules import COUNTS, PARENTS, RULES, TOOLS, Rule, Situation
from labkit.sheet import Section, Sheet, sheet_html, sheet_text


@dataclass(frozen=True)
class Advice:
    """recommended: tools in the order to try them. open: tools with reasons on both sides. conflicts: a sentence each.

    rules: those that apply. changes: what one other answer would change.
    """

    situation: Situation
    recommended: tuple[str, ...]
    open: tuple[str, ...]
    conflicts: tuple[str, ...]
    rules: tuple[Rule, ...]
    changes: tuple[tuple[str, str], ...]

    @property
    def sentence(self) -> str:
        first, *more = self.recommended
        then = f"then add {', then '.join(more)}" if more else "nothing else is recommended"
        plan = f"Start with {first}; {then}."
        undecided = f" There are reasons on both sides, so measure: {', '.join(self.open)}." if self.open else ""
        needs = f" Needs pull apart: {' '.join(self.conflicts)}" if self.conflicts else ""
        return plan + undecided + needs


def advise(situation: Situation) -> Advice:
    """What the rules say of a situation."""
    rules = tuple(rule for rule in RULES if rule.applies(situation))
    recommended, undecided = weigh(rules)
    return Advice(situation, recommended, undecided, tuple(conflicts(rules)), rules, tuple(changes(situation)))


def weigh(rules: tuple[Rule, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tools that are recommended, and tools that are open, from the rules that apply.

    Ruled out is out. Needed is recommended, whatever else speaks against it. Wanted is recommended when nothing speaks
    against it, and open otherwise. A merge needs a trained parent, and preferences an SFT model to start from.
    """
    stances = ("needs", "wants", "against", "rules_out")
    needed, wanted, against, out = ({tool for rule in rules for tool in getattr(rule, stance)} for stance in stances)
    recommended = [tool for tool in TOOLS if tool not in out and (tool in needed or tool in wanted - against)]
    undecided = [tool for tool in TOOLS if tool in (wanted & against) - needed - out]
    for tool, parents in PARENTS.items():
        if tool in recommended and not parents & {*recommended}:
            recommended.remove(tool)
            undecided.append(tool)
        if tool in undecided and not parents & {*recommended, *undecided}:
            undecided.remove(tool)
    return tuple(recommended), tuple(undecided)


def conflicts(rules: tuple[Rule, ...]) -> Iterator[str]:
    """A sentence for every tool that one need demands while another forbids it or speaks against it."""
    for tool in TOOLS:
        demanding, opposing, forbidding = (
            [rule for rule in rules if tool in getattr(rule, stance)] for stance in ("needs", "against", "rules_out")
        )
        if demanding and forbidding:
            yield f"{tool} is needed ({demanding[0].reason}) and ruled out ({forbidding[0].reason}); decide which of the two gives way."
        elif demanding and opposing:
            yield f"{tool} is needed ({demanding[0].reason}), and against it: {opposing[0].reason}; measure whether both can be met."


def changes(situation: Situation) -> Iterator[tuple[str, str]]:
    """(other answer, what it would move) for every single answer that would change what is recommended or open."""
    now = _standing(situation)
    for field, value, shown in alternatives(situation):
        then = _standing(situation.model_copy(update={field: value}))
        moved = [f"{then[tool]} {tool}" for tool in TOOLS if then[tool] != now[tool]]
        if moved:
            yield f"{field.replace('_', ' ')}: {shown}", ", ".join(moved)


def _standing(situation: Situation) -> dict[str, str]:
    recommended, undecided = weigh(tuple(rule for rule in RULES if rule.applies(situation)))
    return {tool: "with" if tool in recommended else "perhaps" if tool in undecided else "without" for tool in TOOLS}


def alternatives(situation: Situation) -> Iterator[tuple[str, object, str]]:
    """(field, other answer, the same in words): of a list all others, of a number one from each other range of the rules."""
    for name, field in type(situation).model_fields.items():
        given = getattr(situation, name)
        if name in COUNTS:
            starts = (0, *COUNTS[name])
            spans = [f"{low:,} to {high - 1:,}" if high - low > 1 else f"{low:,}" for low, high in pairwise(starts)]
            ranges = zip(starts, (*spans, f"{starts[-1]:,} or more"), strict=True)
            here = max(start for start in starts if start <= given)
            yield from ((name, start, shown) for start, shown in ranges if start != here)
        else:
            options = (False, True) if field.annotation is bool else get_args(field.annotation)
            yield from ((name, option, _shown(option)) for option in options if option != given)


# --- the page -----------------------------------------------------------------------------------


def advice_sheet(advice: Advice) -> Sheet:
    """The advice as one page of plain values."""
    reasons = tuple((rule.name, _speaks(rule), f"{rule.reason} ({rule.source})") for rule in advice.rules)
    asked = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in advice.situation)
    sections = (
        Section("Reasons", "", ("rule", "speaks", "because"), reasons),
        Section("What would change it", "One other answer at a time.", ("if the answer were", "then"), advice.changes),
    )
    return Sheet("Which tool fits?", f"Situation: {asked}.", advice.sentence, sections)


def _speaks(rule: Rule) -> str:
    stances = {"needs": rule.needs, "for": rule.wants, "against": rule.against, "rules out": rule.rules_out}
    return "; ".join(f"{word} {', '.join(tools)}" for word, tools in stances.items() if tools)


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else str(value)


def advice_text(advice: Advice) -> str:
    """The advice for a terminal."""
    return sheet_text(advice_sheet(advice))


def advice_html(advice: Advice) -> str:
    """The advice for a notebook, escaped."""
    return sheet_html(advice_sheet(advice))
