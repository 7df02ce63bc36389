"""Answers from a file: how a model is scored that one can only ask.

A pack's questions go out without keys, as CSV or JSONL; whoever can ask the model fills in the
answers, and they come back as a scorecard with intervals. What is scored by likelihood needs the
model itself: such items are counted and told, unless their choices are short enough to be listed in
the question. The module does not know where answers come from.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import comb
from pathlib import Path

import regex

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import tidy
from labkit.base.stats import Interval, ItemScore, cluster_mean
from labkit.base.store import write_file
from labkit.data.packs import EVAL_SPLITS, Pack
from labkit.data.readers import Dropped, Record, column_name, read_file
from labkit.evaluate.scenarios import (
    FILE,
    CaseResult,
    Scenario,
    ScenarioResult,
    broken,
    pack_scenarios,
)
from labkit.evaluate.scorecards import (
    ItemResult,
    Scorecard,
    alike,
    by_other_rules,
    is_for,
    limited,
    score_answer,
    score_proposals,
    whole_words,
)

FORMATS = (".csv", ".jsonl")
READ = (*FORMATS, ".xlsx")
HELP = "see docs/leads.md"
SCENARIO = "scenario"  # the axis of a question that belongs to one
CHOICE_WORDS = 5  # of the longest choice that a question lists
LISTED = "Answer with one of these and with nothing else: "
NO_ANSWER = "no answer"
# What a spreadsheet puts in the place of a text that it took for a formula, as "- one" is.
SPREADSHEET_ERRORS = ("#NAME?", "#REF!", "#VALUE!", "#ERROR!", "#DIV/0!", "#N/A")


# --- questions out ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What is asked, under an id that finds its key again."""

    id: str
    axis: str
    question: str


def one_line(text: str) -> str:
    """A question as it is found again, whatever a spreadsheet did to its lines."""
    return " ".join(tidy(text).split())


@dataclass(frozen=True)
class Asked:
    """The questions of a pack. left_out: why -> by "axis, kind" how many items."""

    questions: tuple[Question, ...]
    left_out: dict[str, dict[str, int]]

    def told(self) -> list[str]:
        """A sentence for every reason why items are not asked."""
        return [
            f"not asked, {why}: {'; '.join(f'{count} of {kind}' for kind, count in found.items())}"
            for why, found in self.left_out.items()
        ]


BY_LIKELIHOOD = "for they are scored by the likelihood of their choices, which no answer tells"
FOR_TINY = "for they are for labkit's tiny models (docs/packs.md)"


def questions_of(pack: Pack, *, split: str = "test", limit: int | None = None) -> Asked:
    """Every question of a split that can be asked in words, and those of the pack's scenarios.

    limit: items of each kind, and cases of each scenario; None for all. Raises InputError for an
    unknown split, PackError for a broken pack.
    """
    asked, left_out = _askable(pack, split, limit)
    found = [Question(item["id"], item["axis"], question_text(item)) for item in asked]
    for scenario in _scenarios(pack):
        for number, case in enumerate(scenario.cases[:limit], 1):
            found += [
                Question(_scenario_id(scenario, number, wording), SCENARIO, text)
                for wording, text in enumerate(case.ask, 1)
            ]
    return Asked(tuple(found), left_out)


def question_text(item: dict) -> str:
    """An item as it is pasted to a model: its question, or its turns; short choices are listed."""
    turns = item["messages"]
    text = (
        turns[0]["content"]
        if len(turns) == 1
        else "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    )
    return f"{text}\n{LISTED}{'; '.join(item['choices'])}." if "choices" in item else text


def _askable(
    pack: Pack, split: str, limit: int | None
) -> tuple[list[dict], dict[str, dict[str, int]]]:
    """The items that can be asked in words, and how many of which kind cannot."""
    if split not in EVAL_SPLITS:
        raise InputError(f"unknown evaluation split {split!r}: {suggest(split, list(EVAL_SPLITS))}")
    asked, left_out = [], {BY_LIKELIHOOD: Counter[str](), FOR_TINY: Counter[str]()}
    for item in limited(pack.rows(split), limit):
        kind = f"{item['axis']}, {item.get('kind', item['axis'])}"
        if not is_for(item, tiny=False):
            left_out[FOR_TINY][kind] += 1
        elif _in_words(item):
            asked.append(item)
        else:
            left_out[BY_LIKELIHOOD][kind] += 1
    return asked, {why: dict(found) for why, found in left_out.items() if found}


def _in_words(item: dict) -> bool:
    """Whether a text answers an item. A preferred sentence is a likelihood, whatever its length."""
    if "messages" not in item:
        return False
    return "choices" not in item or (
        item["axis"] != "preference"
        and max(len(choice.split()) for choice in item["choices"]) <= CHOICE_WORDS
    )


def _scenarios(pack: Pack) -> list[Scenario]:
    return pack_scenarios(pack) if (pack.folder / FILE).is_file() else []


def _scenario_id(scenario: Scenario, case: int, wording: int) -> str:
    return f"{scenario.name}/{case}/{wording}"


def write_questions(asked: Asked, path: Path) -> None:
    """Write questions as CSV with an empty column `answer`, or as JSONL.

    The CSV begins with a mark by which spreadsheets know its encoding. Raises InputError for
    another ending, StoreError when the file cannot be written.
    """
    rows = [
        {"id": q.id, "axis": q.axis, "question": q.question, "answer": ""} for q in asked.questions
    ]
    if path.suffix.lower() == ".jsonl":
        write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: questions are written as {' or '.join(FORMATS)}; name it so")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "axis", "question", "answer"])
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode("utf-8-sig"))


# --- answers in -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One row of a file of answers. place: file:line; id or question may be empty, not both."""

    place: str
    id: str
    question: str
    answer: str


@dataclass(frozen=True)
class Answers:
    """A file of answers. notes: what in it is no answer, a sentence each."""

    name: str
    rows: tuple[Said, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, str]:
        """The first answer under each id."""
        found: dict[str, str] = {}
        for row in self.rows:
            if row.id:
                found.setdefault(row.id, row.answer)
        return found

    def by_known_id(self, items: Sequence[dict]) -> tuple[dict[str, str], int]:
        """The answers by id, those without one by their question; and how many rows without an id
        ask nothing that these items ask.
        """
        ids = {one_line(question_text(item)): item["id"] for item in items}
        said, unmatched = dict(self.by_id), 0
        for row in self.rows:
            if not row.id:
                id = ids.get(one_line(row.question))
                unmatched += id is None
                if id is not None:
                    said.setdefault(id, row.answer)
        return said, unmatched

    @property
    def repeated(self) -> list[str]:
        """The ids that are answered more than once."""
        times = Counter(row.id for row in self.rows if row.id)
        return [id for id, count in times.items() if count > 1]


def read_answers(path: Path) -> Answers:
    """The rows of a file of answers: CSV, JSONL or a workbook with `answer` and `id` or `question`.

    JSONL that lm-eval writes with --log_samples is read as well where its documents have an id.
    Raises InputError naming file, line, field and remedy.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of answers, {' or '.join(READ)}")
    if path.suffix.lower() not in READ:
        raise InputError(f"{path}: answers are read from {', '.join(READ)}; save them as one")
    rows, notes = [], []
    for found in read_file(path, path.name):
        if isinstance(found, Record):
            rows.append(_said(path, found))
        elif isinstance(found, Dropped) and found.what in ("row", "file", "sheet"):
            line = found.source.partition("#")[2]
            detail = f" ({found.detail})" if found.detail else ""
            raise InputError(
                f"{path}{f':{line}' if line else ''}: {found.reason}{detail}; mend it, or write "
                "the file again"
            )
        elif isinstance(found, Dropped):
            notes.append(f"{found.source}: {found.what} not read: {found.reason} {found.detail}")
    return Answers(path.stem, tuple(rows), tuple(map(str.strip, notes)))


def _said(path: Path, record: Record) -> Said:
    place = f"{path}:{record.line}"
    values = {column_name(str(key)): value for key, value in record.values.items()}
    if "doc" in values and ("filtered_resps" in values or "resps" in values):
        values = _logged_sample(place, values)
    if "answer" not in values:
        raise InputError(
            f"{place}: answer: missing (it has {', '.join(values) or 'no fields'}); write what the "
            "model said there, and leave it empty where it said nothing"
        )
    texts = {}
    for key in ("id", "question", "answer"):
        value = values.get(key)
        if value is not None and not isinstance(value, (str, int, float)):
            raise InputError(f"{place}: {key}: expected text, got {type(value).__name__}")
        texts[key] = "" if value is None else tidy(str(value)).strip()
    if not texts["id"] and not texts["question"]:
        raise InputError(
            f"{place}: id: missing; keep the id that `labkit questions` wrote, or write the "
            "question in `question`"
        )
    if texts["answer"] in SPREADSHEET_ERRORS:
        raise InputError(
            f"{place}: answer: a spreadsheet took this answer for a formula "
            f"({texts['answer']}); format the column as text and paste it again"
        )
    return Said(place, **texts)


def _logged_sample(place: str, values: dict) -> dict:
    """A line of lm-eval's log as id and answer: `doc.id` and the first text of its responses."""
    document, said = values["doc"], values.get("filtered_resps") or values.get("resps")
    while isinstance(said, list) and said:
        said = said[0]
    if not isinstance(document, dict) or "id" not in document or not isinstance(said, str):
        raise InputError(
            f"{place}: this line of lm-eval has no doc.id or no text among its responses; only "
            "generated answers (generate_until) of documents with an id can be scored"
        )
    return {"id": document["id"], "answer": said}


# --- scored -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """What answers are worth. notes: what was not scored and why, a sentence each."""

    card: Scorecard
    scenarios: tuple[ScenarioResult, ...] = ()
    notes: tuple[str, ...] = field(default=())


def score_answers(
    pack: Pack,
    answers: Answers,
    *,
    split: str = "test",
    asked: Iterable[str] | None = None,
) -> Scored:
    """Answers as a scorecard, item by item, and the pack's scenarios on them.

    asked: the ids that count; by default those in the file. One that has no answer counts as wrong.
    Of several answers to one question the first counts. Raises InputError when the file holds no
    question of this pack.
    """
    items, left_out = _askable(pack, split, None)
    known = {item["id"] for item in items}
    scenarios = _scenarios(pack)
    said, unmatched = answers.by_known_id(items)
    counted = known & (said.keys() if asked is None else set(asked))
    cases = _cases(scenarios, said, answers.name, asked)
    if not counted and not cases:
        first = answers.rows[0].place if answers.rows else answers.name
        raise InputError(
            f"{first}: id: no question of pack {pack.name} ({split}) is answered in this file; "
            f"write its questions with `labkit questions {pack.name} --to questions.csv`"
        )
    scored = [item for item in items if item["id"] in counted]
    proposes = any("pattern" in item for item in scored)
    training_text = alike(pack.training_text) if proposes else ""
    results = [_scored(item, said.get(item["id"], ""), training_text) for item in scored]
    card = Scorecard(answers.name, pack.name, split, pack.fingerprint(split), results)
    everything = known | {
        _scenario_id(scenario, number, wording)
        for scenario in scenarios
        for number, case in enumerate(scenario.cases, 1)
        for wording in range(1, len(case.ask) + 1)
    }
    notes = [*answers.notes, *_counts(answers, said, known, counted, everything)]
    if unmatched:
        notes.append(f"rows without an id that ask nothing of this pack: {unmatched}; not scored")
    return Scored(card, tuple(cases), (*notes, *Asked((), left_out).told()))


def _scored(item: dict, answer: str, training_text: str) -> ItemResult:
    variants: dict[str, float] = {}
    if not answer:
        score = 0.0
    elif "choices" in item:
        score = float(chosen(item["choices"], answer) == {item["answer"]})
    elif "pattern" in item:
        score = score_proposals(item, [answer], training_text)
    else:
        score, variants = score_answer(item, answer), by_other_rules(item, answer)
    kind = item.get("kind", item["axis"])
    return ItemResult(item["id"], item["axis"], kind, item["entity"], score, answer, variants)


def chosen(choices: Sequence[str], answer: str) -> set[str]:
    """The choices that an answer names; one that stands inside a longer one is not named by it."""
    rest, found = alike(answer), set()
    for choice in sorted(choices, key=len, reverse=True):
        pattern: regex.Pattern = whole_words(alike(choice))
        if pattern.search(rest):
            found.add(choice)
            rest = pattern.sub(" ", rest)
    return found


def _cases(
    scenarios: Sequence[Scenario],
    said: dict[str, str],
    name: str,
    asked: Iterable[str] | None,
) -> list[ScenarioResult]:
    """The scenarios of which some case was asked; a case is, when all its wordings are."""
    wanted = said.keys() if asked is None else set(asked)
    results = []
    for scenario in scenarios:
        cases = []
        for number, case in enumerate(scenario.cases, 1):
            ids = [_scenario_id(scenario, number, at) for at in range(1, len(case.ask) + 1)]
            if wanted >= set(ids):
                replies = tuple(said.get(id, "") for id in ids)
                lacks = () if all(replies) else (NO_ANSWER,)
                breaks = lacks or tuple(broken(case.expect, replies))
                cases.append(CaseResult(case.ask, replies, breaks))
        if cases:
            results.append(ScenarioResult(scenario, name, tuple(cases)))
    return results


def _counts(
    answers: Answers, said: dict[str, str], known: set[str], counted: set[str], everything: set[str]
) -> list[str]:
    """What does not count as a reader would think, a sentence each."""
    found = []
    if lacking := len(known - counted):
        found.append(
            f"items that can be asked and are not in this file: {lacking} of {len(known)}; nothing "
            "is known of them, and whoever chose what to ask chose the score"
        )
    if empty := sum(not said.get(id) for id in counted):
        found.append(f"questions without an answer: {empty}; each counts as wrong")
    if answers.repeated:
        found.append(
            f"ids that are answered more than once: {len(answers.repeated)} (first: "
            f"{answers.repeated[0]}); the first answer counts"
        )
    unknown = [id for id in answers.by_id if id not in everything]
    if unknown:
        found.append(
            f"ids that are not of this pack and split, or cannot be asked in words: {len(unknown)} "
            f"(first: {unknown[0]}); their answers are not scored"
        )
    return found


def score_pair(
    pack: Pack, before: Answers, after: Answers, *, split: str = "test"
) -> tuple[Scored, Scored]:
    """Two files of answers on the questions of the first.

    What only the second answers is left out; what only the first answers counts as wrong in the
    second, so that leaving out hard questions gains nothing. Raises InputError as `score_answers`.
    """
    first = score_answers(pack, before, split=split)
    items, _ = _askable(pack, split, None)
    (mine, _), (theirs, _) = before.by_known_id(items), after.by_known_id(items)
    second = score_answers(pack, after, split=split, asked=mine.keys())
    told = []
    if extra := len(theirs.keys() - mine.keys()):
        told.append(
            f"answers of {after.name} to what {before.name} was not asked: {extra}; not compared"
        )
    if lost := len(mine.keys() - theirs.keys()):
        told.append(
            f"questions of {before.name} that are not in {after.name}: {lost}; each counts as "
            "wrong there"
        )
    return first, replace(second, notes=(*second.notes, *told))


# --- a demo -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Demo:
    """Replies chosen to look good, and what the same model does on questions nobody chose.

    kind: of the demo's questions, "axis, kind"; right, asked: on dev, of that kind. same: that kind
    on test; realistic: everything else on test that is answered in words, by_kind apart.
    """

    kind: str
    shown: tuple[tuple[str, str], ...]
    right: int
    asked: int
    same: Interval
    realistic: Interval
    by_kind: dict[str, Interval]
    realistic_right: int


def demo_of(dev: Scorecard, test: Scorecard, pack: Pack, *, count: int = 5) -> Demo:
    """The demo somebody would show: of the kind of question that dev answers best, the right
    answers, the longest first, one to a subject; `count` at most, as pairs of question and reply.

    Raises InputError when dev has no right answer in words, or test no question of another kind.
    """
    tried, asked = (_in_words_by_kind(card, pack) for card in (dev, test))
    if not any(item.score == 1 for items in tried.values() for item in items):
        raise InputError(f"{dev.checkpoint}: no answer in words on dev is right: nothing to show")
    kind = max(tried, key=lambda kind: sum(item.score for item in tried[kind]) / len(tried[kind]))
    others = {name: items for name, items in asked.items() if name != kind}
    if kind not in asked or not others:
        raise InputError(
            f"{test.checkpoint}: test has no other kind of question than {kind} that is answered "
            "in words; add some (docs/packs.md)"
        )
    right = [item for item in tried[kind] if item.score == 1]
    best = sorted(right, key=lambda item: (-len(item.output), item.id))
    one_each: dict[str, ItemResult] = {}
    for item in best:
        one_each.setdefault(item.entity, item)
    texts = {item["id"]: question_text(item) for item in pack.rows(dev.split) if _in_words(item)}
    realistic = [item for items in others.values() for item in items]
    return Demo(
        kind,
        tuple((texts[item.id], item.output) for item in one_each.values())[:count],
        len(right),
        len(tried[kind]),
        _mean(asked[kind]),
        _mean(realistic),
        {name: _mean(items) for name, items in others.items()},
        sum(item.score == 1 for item in realistic),
    )


def _in_words_by_kind(card: Scorecard, pack: Pack) -> dict[str, list[ItemResult]]:
    """The outcomes of questions that have one right answer in words, by "axis, kind"."""
    ids = {
        item["id"]
        for item in pack.rows(card.split)
        if "messages" in item and not {"choices", "pattern"} & item.keys()
    }
    found: dict[str, list[ItemResult]] = {}
    for item in card.items:
        if item.id in ids:
            found.setdefault(f"{item.axis}, {item.kind}", []).append(item)
    return found


def _mean(items: Sequence[ItemResult]) -> Interval:
    return cluster_mean([ItemScore(item.id, item.entity, item.score) for item in items])


def perfect_demos(right: int, asked: int, count: int) -> tuple[int, float]:
    """How many different demos of `count` questions look perfect where `right` of `asked` answers
    are, and the chance that a demo drawn blindly does.

    Raises InputError when `count` is not between 1 and `asked`.
    """
    if not 1 <= count <= asked:
        raise InputError(f"count is {count}; a demo has at least 1 and at most {asked} questions")
    return comb(right, count), comb(right, count) / comb(asked, count)
