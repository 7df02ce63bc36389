"""Is adaptation the right tool at all? Rules for and against prompting, retrieval and training.

A situation is a form. Each rule says when it applies, what it speaks for, why, and who found it.
Bars on amounts of data are this kit's, rough on purpose; where a study names one, it is cited.

There is no score: every rule that applies is printed with its reason and source, needs that
contradict are said, and what would change the advice is found by changing one answer at a time.

The last part lays buying, building, retraining and merging side by side over a year, by figures
that the user enters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from labkit.base.inputs import Form, load_form
from labkit.base.pages import Section, Sheet, sheet_html, sheet_text
from labkit.design.planner import Costs, Settings, between, costs_of, digits, fit_in_words

HELP = "see docs/fit.md"

# In the order to try them.
TOOLS = ("prompting", "constrained decoding", "retrieval", "CPT", "SFT", "preferences", "merging")
# What a tool builds on, one of them.
PARENTS = {"preferences": {"SFT"}, "merging": {"CPT", "SFT", "preferences"}}
LITTLE_TEXT = 30_000  # words: fits into one long prompt
MUCH_TEXT = 1_000_000
FEW_PAIRS, MANY_PAIRS = 100, 1_000
COUNTS = {
    "words": (1, LITTLE_TEXT, MUCH_TEXT),
    "questions_answers": (1, FEW_PAIRS, MANY_PAIRS),
    "preference_pairs": (1, MANY_PAIRS),
}
PAPER = "Lu, Luu & Buehler 2025, doi 10.1038/s41524-025-01564-y"
OWN = "a matter of how the tools work; no study is cited"
Many = Annotated[int, Field(ge=0, le=10**12)]


class Situation(Form):
    """What decides between the tools.

    facts_change: how often what must be known changes. model_knows: how much of it the general
    model answers right already. words: of domain text at hand. questions_answers: checked pairs.
    preference_pairs: pairs of a better and a worse answer. specialist_language: the field's text
    reads unlike what general models are trained on. whole_corpus: questions about all documents at
    once, not about a passage. latency: until the answer starts. privacy: where text may go; `no
    memory`: no model may hold it in its weights. readers: who may see which document. must_forget:
    single documents must be deletable. format_needs: fixed is a form of one's own, strict a schema
    that a program reads. gpus: for training.
    """

    facts_change: Literal["never", "yearly", "monthly", "weekly", "daily"] = Field(
        title="how often the facts change"
    )
    model_knows: Literal["most", "some", "little", "unknown"] = Field(
        "unknown", title="what a general model knows"
    )
    words: Many = Field(title="words of domain text")
    questions_answers: Many = Field(title="questions with answers")
    preference_pairs: Many = Field(0, title="pairs of answers")
    specialist_language: bool = Field(False, title="it has its own language")
    whole_corpus: bool = Field(False, title="asked of all documents")
    latency: Literal["batch", "seconds", "sub-second"] = Field(
        "seconds", title="an answer must come within"
    )
    privacy: Literal["open", "on premises", "no memory"] = Field(
        "open", title="where the text may go"
    )
    readers: Literal["everyone", "by rights"] = Field("everyone", title="who may read a document")
    must_forget: bool = Field(False, title="documents must be deletable")
    format_needs: Literal["free", "fixed", "strict"] = Field("free", title="form of the answers")
    citations_needed: bool = Field(False, title="sources must be named")
    general_ability_needed: bool = Field(False, title="general ability must stay")
    gpus: Literal["none", "one", "many"] = Field("none", title="GPUs for training")


def _title(field: str) -> str:
    """What people read for a field of a situation."""
    return Situation.model_fields[field].title or field


def load_situation(path: Path) -> Situation:
    """A situation from YAML. Raises InputError naming file and field."""
    return load_form(Situation, path, help=HELP)


# --- rules --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """needs: tools that must be part of the answer. wants, against: that there is a reason for,
    against. rules_out: that cannot.
    """

    name: str
    applies: Callable[[Situation], bool]
    reason: str
    source: str
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    rules_out: tuple[str, ...] = ()


def facts_move(s: Situation) -> bool:
    return s.facts_change in ("daily", "weekly", "monthly")


def facts_stay(s: Situation) -> bool:
    return not facts_move(s)


def in_the_prompt(s: Situation) -> bool:
    """Whether all text fits into the prompt, which then does what an index would do."""
    return 0 < s.words < LITTLE_TEXT


RULES = (
    Rule(
        "first a prompt",
        lambda s: True,
        "a prompt costs an afternoon, and its score is what every other tool must beat",
        OWN,
        needs=("prompting",),
    ),
    Rule(
        "the model knows it",
        lambda s: s.model_knows == "most",
        "what the model answers right already need not be taught",
        OWN,
        against=("CPT",),
    ),
    Rule(
        "facts move daily or weekly",
        lambda s: s.facts_change in ("daily", "weekly") and not in_the_prompt(s),
        "an index is exchanged without any training, weights are not",
        "Lewis et al. 2020, arXiv 2005.11401",
        needs=("retrieval",),
        rules_out=("CPT",),
    ),
    Rule(
        "facts move monthly",
        lambda s: s.facts_change == "monthly" and not in_the_prompt(s),
        "an index is exchanged without training; CPT would be paid, and tested for "
        "what it broke, every month",
        "Lewis et al. 2020, arXiv 2005.11401",
        wants=("retrieval",),
        against=("CPT",),
    ),
    Rule(
        "facts the model lacks",
        lambda s: s.words >= LITTLE_TEXT and s.model_knows != "most",
        "for facts, known and new, retrieval did better than fine-tuning on the same text",
        "Ovadia et al. 2023, arXiv 2312.05934; rare facts: Soudani et al. 2024, arXiv 2403.01432",
        wants=("retrieval",),
    ),
    Rule(
        "sources must be cited",
        lambda s: s.citations_needed and not in_the_prompt(s),
        "a passage that was retrieved can be shown and checked, a weight cannot",
        "Gao et al. 2023, arXiv 2305.14627",
        needs=("retrieval",),
    ),
    Rule(
        "no text to look up",
        lambda s: s.words == 0,
        "without text there is nothing to retrieve and nothing to read",
        OWN,
        rules_out=("retrieval", "CPT"),
    ),
    Rule(
        "little text",
        in_the_prompt,
        "so little text fits into the prompt, to be cited, exchanged and deleted "
        "there; facts read in few wordings are hardly learned",
        "Ovadia et al. 2023, arXiv 2312.05934",
        against=("CPT",),
    ),
    Rule(
        "much text, stable facts",
        lambda s: s.words >= MUCH_TEXT and facts_stay(s) and s.model_knows != "most",
        "reading on in much text of the field is the tested way to give a model its knowledge",
        f"Gururangan et al. 2020, arXiv 2004.10964; {PAPER}",
        wants=("CPT",),
    ),
    Rule(
        "specialist language",
        lambda s: s.specialist_language and s.words >= LITTLE_TEXT,
        "further pre-training helps the more, the less the field's text is like what "
        "the model was trained on",
        "Gururangan et al. 2020, arXiv 2004.10964",
        wants=("CPT",),
    ),
    Rule(
        "questions about the whole",
        lambda s: s.whole_corpus and s.words >= LITTLE_TEXT,
        "retrieving passages answers questions about a passage, not about all documents",
        "Edge et al. 2024, arXiv 2404.16130",
        against=("retrieval",),
    ),
    Rule(
        "answers at once",
        lambda s: s.latency == "sub-second",
        "a search and the passages it puts into the prompt cost time at every "
        "question, training costs it once",
        OWN,
        wants=("SFT",),
        against=("retrieval",),
    ),
    Rule(
        "no pairs",
        lambda s: s.questions_answers == 0,
        "SFT needs examples of questions with answers",
        OWN,
        rules_out=("SFT",),
    ),
    Rule(
        "few pairs",
        lambda s: 0 < s.questions_answers < FEW_PAIRS,
        "so few pairs do more as examples in the prompt and as a test set",
        OWN,
        against=("SFT",),
    ),
    Rule(
        "pairs to learn the form from",
        lambda s: s.questions_answers >= MANY_PAIRS,
        "about a thousand good pairs taught a large model how to answer",
        "Zhou et al. 2023, arXiv 2305.11206",
        wants=("SFT",),
    ),
    Rule(
        "new facts by pairs alone",
        lambda s: s.model_knows == "little" and s.questions_answers > 0 and s.words < MUCH_TEXT,
        "pairs whose facts are new to the model are learned slowly and make it invent more",
        "Gekhman et al. 2024, arXiv 2405.05904",
        against=("SFT",),
    ),
    Rule(
        "a form of one's own",
        lambda s: s.format_needs == "fixed" and s.questions_answers >= FEW_PAIRS,
        "form and tone are what fine-tuning on few, good pairs teaches",
        "Zhou et al. 2023, arXiv 2305.11206",
        wants=("SFT",),
    ),
    Rule(
        "a schema that a program reads",
        lambda s: s.format_needs == "strict",
        "a grammar over the next token keeps to a schema by construction, training only mostly",
        "Willard & Louf 2023, arXiv 2307.09702",
        needs=("constrained decoding",),
    ),
    Rule(
        "pairs of better and worse",
        lambda s: s.preference_pairs >= MANY_PAIRS,
        "preferences teach which of two answers to give; whether it pays differed by model family",
        f"Rafailov et al. 2023, arXiv 2305.18290; {PAPER}",
        wants=("preferences",),
    ),
    Rule(
        "retrieval with pairs",
        lambda s: (facts_move(s) or s.citations_needed) and s.questions_answers >= MANY_PAIRS,
        "training on questions with retrieved passages, right ones and wrong ones, "
        "teaches to use them",
        "Zhang et al. 2024, arXiv 2403.10131",
        wants=("SFT",),
    ),
    Rule(
        "no memory of the text",
        lambda s: s.privacy == "no memory",
        "text that a model was trained on can be drawn out of it",
        "Carlini et al. 2021, arXiv 2012.07805",
        rules_out=("CPT", "SFT", "preferences"),
    ),
    Rule(
        "readers by rights",
        lambda s: s.readers == "by rights" and s.words >= LITTLE_TEXT,
        "an index can show each reader what that reader may see; weights, trained on "
        "text or on pairs from it, show all to all",
        OWN,
        needs=("retrieval",),
        against=("SFT",),
        rules_out=("CPT",),
    ),
    Rule(
        "documents must be deletable",
        lambda s: s.must_forget and s.words >= LITTLE_TEXT,
        "a document leaves an index at once, and leaves weights only by training again",
        "Bourtoule et al. 2021, arXiv 1912.03817",
        needs=("retrieval",),
        against=("SFT",),
        rules_out=("CPT",),
    ),
    Rule(
        "a model of one's own",
        lambda s: s.privacy == "on premises" and s.questions_answers >= MANY_PAIRS,
        "on one's own machines the model is smaller, and small models gain much from "
        "pairs on a narrow task",
        "Bucher & Martini 2024, arXiv 2406.08660",
        wants=("SFT",),
    ),
    Rule(
        "no GPU",
        lambda s: s.gpus == "none",
        "without a GPU only models far smaller than those people use can be trained",
        OWN,
        against=("CPT", "SFT", "preferences"),
    ),
    Rule(
        "one GPU",
        lambda s: s.gpus == "one",
        "one GPU trains adapters; they forget less than full training, and learn less in CPT",
        "Biderman et al. 2024, arXiv 2405.09673",
        against=("CPT",),
    ),
    Rule(
        "general ability must stay",
        lambda s: s.general_ability_needed,
        "a merge with the general model lifted trained models of 7B and 8B, not one of "
        "1.7B; the other guard is replay of general text",
        f"{PAPER}; Wortsman et al. 2021, arXiv 2109.01903; Ibrahim et al. 2024, arXiv 2403.08763",
        wants=("merging",),
    ),
)


# --- advice -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Advice:
    """recommended: tools in the order to try them. open: tools with reasons on both sides.
    conflicts: a sentence each.

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
        undecided = (
            f" There are reasons on both sides, so measure: {', '.join(self.open)}."
            if self.open
            else ""
        )
        needs = f" Needs pull apart: {' '.join(self.conflicts)}" if self.conflicts else ""
        return plan + undecided + needs


def advise(situation: Situation) -> Advice:
    """What the rules say of a situation."""
    rules = tuple(rule for rule in RULES if rule.applies(situation))
    recommended, undecided = weigh(rules)
    return Advice(
        situation, recommended, undecided, tuple(conflicts(rules)), rules, tuple(changes(situation))
    )


def weigh(rules: tuple[Rule, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tools that are recommended, and tools that are open, from the rules that apply.

    Ruled out is out. Needed is recommended, whatever else speaks against it. Wanted is recommended
    when nothing speaks against it, and open otherwise. A merge needs a trained parent, and
    preferences an SFT model to start from.
    """
    stances = ("needs", "wants", "against", "rules_out")
    needed, wanted, against, out = (
        {tool for rule in rules for tool in getattr(rule, stance)} for stance in stances
    )
    recommended = [
        tool for tool in TOOLS if tool not in out and (tool in needed or tool in wanted - against)
    ]
    undecided = [tool for tool in TOOLS if tool in (wanted & against) - needed - out]
    for tool, parents in PARENTS.items():
        if tool in recommended and not parents & {*recommended}:
            recommended.remove(tool)
            undecided.append(tool)
        if tool in undecided and not parents & {*recommended, *undecided}:
            undecided.remove(tool)
    return tuple(recommended), tuple(undecided)


def conflicts(rules: tuple[Rule, ...]) -> Iterator[str]:
    """A sentence for every tool that one need demands while another forbids it or speaks against
    it.
    """
    for tool in TOOLS:
        demanding, opposing, forbidding = (
            [rule for rule in rules if tool in getattr(rule, stance)]
            for stance in ("needs", "against", "rules_out")
        )
        if demanding and forbidding:
            yield (
                f"{tool} is needed ({demanding[0].reason}) and ruled out "
                f"({forbidding[0].reason}); decide which of the two gives way."
            )
        elif demanding and opposing:
            yield (
                f"{tool} is needed ({demanding[0].reason}), and against it: "
                f"{opposing[0].reason}; measure whether both can be met."
            )


def changes(situation: Situation) -> Iterator[tuple[str, str]]:
    """(other answer, what it would move) for every single answer that would change what is
    recommended or open.
    """
    now = _standing(situation)
    for field, value, shown in alternatives(situation):
        then = _standing(situation.model_copy(update={field: value}))
        moved = [f"{then[tool]} {tool}" for tool in TOOLS if then[tool] != now[tool]]
        if moved:
            yield f"{_title(field)}: {shown}", ", ".join(moved)


def _standing(situation: Situation) -> dict[str, str]:
    recommended, undecided = weigh(tuple(rule for rule in RULES if rule.applies(situation)))
    return {
        tool: "with" if tool in recommended else "perhaps" if tool in undecided else "without"
        for tool in TOOLS
    }


def alternatives(situation: Situation) -> Iterator[tuple[str, object, str]]:
    """(field, other answer, the same in words): of a list all others, of a number one from each
    other range of the rules.
    """
    for name, field in type(situation).model_fields.items():
        given = getattr(situation, name)
        if name in COUNTS:
            starts = (0, *COUNTS[name])
            spans = [
                f"{low:,} to {high - 1:,}" if high - low > 1 else f"{low:,}"
                for low, high in pairwise(starts)
            ]
            ranges = zip(starts, (*spans, f"{starts[-1]:,} or more"), strict=True)
            here = max(start for start in starts if start <= given)
            yield from ((name, start, shown) for start, shown in ranges if start != here)
        else:
            options = (False, True) if field.annotation is bool else get_args(field.annotation)
            yield from ((name, option, _shown(option)) for option in options if option != given)


# --- the page -----------------------------------------------------------------------------------


def advice_sheet(advice: Advice) -> Sheet:
    """The advice as one page of plain values."""
    reasons = tuple(
        (rule.name, _speaks(rule), f"{rule.reason} ({rule.source})") for rule in advice.rules
    )
    asked = "; ".join(f"{_title(name)}: {_shown(value)}" for name, value in advice.situation)
    sections = (
        Section("Reasons", "", ("rule", "speaks", "because"), reasons),
        Section(
            "What would change it",
            "One other answer at a time.",
            ("if the answer were", "then"),
            advice.changes,
        ),
    )
    return Sheet("Which tool fits?", f"Situation: {asked}.", advice.sentence, sections)


def _speaks(rule: Rule) -> str:
    stances = {
        "needs": rule.needs,
        "for": rule.wants,
        "against": rule.against,
        "rules out": rule.rules_out,
    }
    return "; ".join(f"{word} {', '.join(tools)}" for word, tools in stances.items() if tools)


def _shown(value: object) -> str:
    return (
        ("yes" if value else "no")
        if isinstance(value, bool)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def advice_text(advice: Advice) -> str:
    """The advice for a terminal."""
    return sheet_text(advice_sheet(advice))


def advice_html(advice: Advice) -> str:
    """The advice for a notebook, escaped."""
    return sheet_html(advice_sheet(advice))


# --- a year -------------------------------------------------------------------------------------

Amount = Annotated[float, Field(ge=0, le=1e12)]
YEAR_HELP = "see docs/leads.md"


class Year(Form):
    """What a year is reckoned from. labkit knows no price: what is null is told to be missing, and
    no money is summed without it.

    updates: how often in the year the model must follow a change. changes: of what: a newer general
    model, or the domain's facts. model, card, gpus, method, tokens_millions, length: of one
    training, as for `labkit plan`. data_hours: people's, once, for data and test items.
    review_hours: people's, before each release, of a model of one's own; bought_review_hours: of a
    bought one. merge_hours: of one merge, on one GPU. serving_gpu_hours: in the year. licence: of a
    bought model, in the year, with all calls.
    """

    updates: Annotated[int, Field(ge=0, le=366)]
    changes: Literal["general model", "facts"]
    model: str
    card: str
    gpus: Annotated[int, Field(ge=1)] = 1
    method: Literal["full", "lora", "qlora"] = "full"
    tokens_millions: Annotated[float, Field(gt=0)]
    length: Annotated[int, Field(ge=1)] = 2048
    data_hours: Amount
    review_hours: Amount
    bought_review_hours: Amount
    merge_hours: Amount
    serving_gpu_hours: Amount
    price_gpu_hour: Amount | None
    price_person_hour: Amount | None
    licence: Amount | None


@dataclass(frozen=True)
class Way:
    """One way through the year. people: hours; gpu: hours, shortest and longest; fixed: money that
    is no hours; None where the user gave none. note: what it does not give. follows: whether it is
    a choice, for it follows every change of the year.
    """

    name: str
    people: float
    gpu: tuple[float, float]
    fixed: float | None
    note: str
    follows: bool


def load_year(path: Path) -> Year:
    """Raises InputError naming file, field and remedy."""
    return load_form(Year, path, help=YEAR_HELP)


def ways_of(year: Year) -> tuple[Costs, list[Way]]:
    """The plan of one training, and buying, building once, retraining and merging over the year.

    Raises InputError for a training that cannot be planned.
    """
    costs = costs_of(
        Settings(
            model=year.model,
            card=year.card,
            gpus=year.gpus,
            method=year.method,
            tokens_millions=year.tokens_millions,
            length=year.length,
        )
    )
    low, high = (hours * year.gpus for hours in costs.plan.hours(costs.card))
    serving, releases = year.serving_gpu_hours, 1 + year.updates

    def own(trainings: int, merges: int, reviews: int) -> tuple[float, tuple[float, float]]:
        other = serving + merges * year.merge_hours
        people = year.data_hours + reviews * year.review_hours
        return people, (trainings * low + other, trainings * high + other)

    stale = "does not follow a change" if year.updates else ""
    idle = "nothing changes in this year, so this row is no choice"
    merging = (
        "carries the domain into a newer general model; a merge has to pass the gate each time"
        if year.changes == "general model"
        else "does not bring in new facts: merging joins what was trained, so this row is no choice"
    )
    return costs, [
        Way(
            "buy", releases * year.bought_review_hours, (0.0, 0.0), year.licence,
            "weights and test items stay apart: accept by a file of answers", True,
        ),
        Way("build once", *own(1, 0, 1), 0.0, stale, not year.updates),
        Way("build, retrain at each update", *own(releases, 0, releases), 0.0,
            "follows both kinds of change" if year.updates else idle, bool(year.updates)),
        Way("build, merge at each update", *own(1, year.updates, releases), 0.0,
            merging if year.updates else idle,
            bool(year.updates) and year.changes == "general model"),
    ]  # fmt: skip


def year_sheet(year: Year) -> Sheet:
    """The year as one page: a row per way, in hours, and in money where the prices are given.

    Raises InputError as `ways_of` does.
    """
    costs, ways = ways_of(year)
    money = {way.name: _money_of_way(way, year) for way in ways}
    choices = [way.name for way in ways if way.follows]
    told = {
        name: value
        for name, value in money.items()
        if name in choices and not isinstance(value, str)
    }
    least = [
        name
        for name, value in told.items()
        if all(value[1] < other[0] for key, other in told.items() if key != name)
    ]
    verdict = (
        f"By these figures the least money is: {least[0]}."
        if least and len(told) == len(choices)
        else "These figures do not tell which way costs least: prices are missing, or ranges meet."
    )
    others = ", ".join(way.name for way in ways if not way.follows)
    verdict += f" Compared are the ways that follow every change; not: {others}."
    rows = tuple(
        (
            way.name,
            digits(way.people) if way.people else "none",
            between(way.gpu) if way.gpu[1] else "none",
            value if isinstance(value := money[way.name], str) else between(value),
            way.note,
        )
        for way in ways
    )
    given = tuple(
        (name.replace("_", " "), "not given" if value is None else f"{value}")
        for name, value in year.model_dump().items()
    )
    return Sheet(
        "A year: build, buy, merge or retrain",
        f"{year.updates} updates of the {year.changes}; one training of {year.model} on "
        f"{year.gpus} x {costs.card.name}: {between(costs.plan.hours(costs.card))} hours, "
        f"{costs.plan.peak_gib:.1f} GiB at its peak; does it fit? "
        f"{fit_in_words(costs.plan, costs.card)}",
        verdict,
        (
            Section(
                "Four ways",
                "What they are worth is another question: only the gate on your items tells.",
                ("way", "people, hours", "GPU, hours", "money", "note"),
                rows,
            ),
            Section("What you entered", "", ("figure", "value"), given),
        ),
    )


def _money_of_way(way: Way, year: Year) -> tuple[float, float] | str:
    """Least and most; in words where a price that it takes is missing."""
    missing = [
        name
        for name, price, takes in (
            ("price_person_hour", year.price_person_hour, way.people),
            ("price_gpu_hour", year.price_gpu_hour, way.gpu[1]),
            ("licence", way.fixed, True),
        )
        if price is None and takes
    ]
    if missing:
        return f"not told: {', '.join(missing)} not given"
    people = way.people * (year.price_person_hour or 0) + (way.fixed or 0)
    low, high = (hours * (year.price_gpu_hour or 0) for hours in way.gpu)
    return people + low, people + high
