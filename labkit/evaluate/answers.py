"""Answers from a file: how a model is scored that one can only ask, and what lm-eval logged.

A pack's questions go out without keys, as CSV or JSONL; whoever can ask the model fills in the
answers, and they come back as a scorecard with intervals. What is scored by likelihood needs the
model itself: such items are counted and told, unless their choices are short enough to be listed in
the question. Two sample logs of EleutherAI's lm-eval are compared document by document. The module
does not know where answers come from, and needs no model.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import regex

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import tidy
from labkit.base.pages import text_table
from labkit.base.stats import (
    NOT_DISTINGUISHABLE,
    SIGN_TEST_NEEDS,
    Interval,
    ItemScore,
    Power,
    cluster_mean,
    holm,
    p_value,
    paired_difference,
    paired_scores,
    power_of,
    told_verdict,
)
from labkit.base.store import key_of, write_file
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
MARK = "mark"  # begins the name of a column in which a person marks answers
MARKS = rf"{MARK}[ _-]+(.+)"
AGREED = 0.5  # marks on one side of it agree
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


def right_answer(item: dict) -> str:
    """The right answer to an item, as people read it beside a model's."""
    if item["axis"] in ("creativity", "preference"):
        return "several may be right"
    return str(item.get("answer") or "any answer in this form")


def right_answers(pack: Pack, questions: Iterable[str]) -> list[str]:
    """The right answer to each question that is asked in dev or test; of others none is known."""
    known = {
        item["messages"][-1]["content"]: right_answer(item)
        for split in EVAL_SPLITS
        if pack.has(split)
        for item in pack.rows(split)
        if item.get("messages")
    }
    return [known.get(question, "not known here") for question in questions]


def split_option(split: str) -> str:
    """What a command needs to go on with this split."""
    return "" if split == "test" else f" --split {split}"


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
    """One row of a file of answers. place: file:line; id or question may be empty, not both.
    marks: who read the answer -> 1 where they call it good, 0 where not, or a share between.
    """

    place: str
    id: str
    question: str
    answer: str
    marks: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """A file of answers. notes: what in it is no answer, a sentence each."""

    name: str
    rows: tuple[Said, ...]
    notes: tuple[str, ...] = ()

    def ids(self, asked: Iterable[tuple[str, str]]) -> list[str]:
        """The id of each row; of one that has none, that of its question; empty where nothing asks
        that.

        asked: (id, question). Where several ask the same, rows take their ids in order.
        """
        given = {row.id for row in self.rows}
        same: dict[str, list[str]] = {}
        for id, question in asked:
            same.setdefault(one_line(question), []).append(id)
        free = {text: [id for id in ids if id not in given] for text, ids in same.items()}
        found = []
        for row in self.rows:
            text = one_line(row.question)
            if row.id or text not in same:
                found.append(row.id)
            else:
                found.append(free[text].pop(0) if free[text] else same[text][0])
        return found

    def by_known_id(self, items: Sequence[dict]) -> tuple[dict[str, Said], list[str]]:
        """The row that counts under each id, which is the first; and the ids of all rows, as `ids`
        gives them.
        """
        ids = self.ids((item["id"], question_text(item)) for item in items)
        said: dict[str, Said] = {}
        for id, row in zip(ids, self.rows, strict=True):
            if id:
                said.setdefault(id, row)
        return said, ids


def read_answers(path: Path) -> Answers:
    """The rows of a file of answers: CSV, JSONL or a workbook with `answer` and `id` or `question`.

    JSONL that lm-eval writes with --log_samples is read as well where its documents have an id.
    Raises InputError naming file, line, field and remedy.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of answers, {' or '.join(READ)}")
    if path.suffix.lower() not in READ:
        raise InputError(f"{path}: answers are read from {', '.join(READ)}; save them as one")
    notes: list[str] = []
    rows, unread = [], dict[str, None]()
    for found in _rows(path, notes):
        rows.append(_said(path, found))
        unread |= dict.fromkeys(_no_marks(found.values))
    notes += [
        f"{path}: column {name!r} is not read: a column of marks is named {MARK} and who gave "
        f"them, as in '{MARK} Ann'"
        for name in unread
    ]
    return Answers(path.stem, tuple(rows), tuple(notes))


def _rows(path: Path, notes: list[str]) -> Iterator[Record]:
    """The rows of a file; what of it is none goes to `notes`, a row that is broken is an error."""
    for found in read_file(path, path.name):
        if isinstance(found, Record):
            yield found
        elif isinstance(found, Dropped) and found.what in ("row", "file", "sheet"):
            line = found.source.partition("#")[2]
            detail = f" ({found.detail})" if found.detail else ""
            raise InputError(
                f"{path}{f':{line}' if line else ''}: {found.reason}{detail}; mend it, or write "
                "the file again"
            )
        elif isinstance(found, Dropped):
            told = f"{found.source}: {found.what} not read: {found.reason} {found.detail}"
            notes.append(told.strip())


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
    return Said(place, **texts, marks=_marks_in(place, values))


def _no_marks(values: dict) -> Iterator[str]:
    """The columns that are named almost as marks are, and have something in them."""
    for name, value in values.items():
        known = column_name(str(name))
        near = re.match(rf"{MARK}s?(?![a-z])", known) and not re.fullmatch(MARKS, known)
        if near and value is not None and str(value).strip():
            yield one_line(str(name))


def _marks_in(place: str, values: dict) -> dict[str, float]:
    """What people wrote in columns named `mark` and their name; empty cells are no marks."""
    found = {}
    for name, value in values.items():
        who = re.fullmatch(MARKS, str(name))
        text = "" if value is None else str(value).strip().lower()
        if not who or not text:
            continue
        mark = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}.get(text)
        try:
            mark = float(text.replace(",", ".")) if mark is None else mark
        except ValueError:
            mark = math.nan
        if not 0 <= mark <= 1:
            raise InputError(
                f"{place}: {name}: {text[:40]!r} is no mark; write 1 for good, 0 for not good, or "
                "a number between"
            )
        found[who[1]] = mark
    return found


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
    """What answers are worth. notes: what was not scored and why; marked: what people's marks say;
    a sentence each.
    """

    card: Scorecard
    scenarios: tuple[ScenarioResult, ...] = ()
    notes: tuple[str, ...] = field(default=())
    marked: tuple[str, ...] = ()


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
    rows, ids = answers.by_known_id(items)
    said = {id: row.answer for id, row in rows.items()}
    counted = known & (said.keys() if asked is None else set(asked))
    cases = _cases(scenarios, said, answers.name, asked)
    if not counted and not cases:
        first = answers.rows[0].place if answers.rows else answers.name
        raise InputError(
            f"{first}: id: no question of pack {pack.name} ({split}) is answered in this file; "
            f"write its questions with `labkit questions {pack.name} --to questions.csv"
            f"{split_option(split)}`"
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
    notes = [*answers.notes, *_counts(ids, said, known, counted, everything)]
    if unmatched := ids.count(""):
        notes.append(f"rows without an id that ask nothing of this pack: {unmatched}; not scored")
    marked = tuple(_marked(scored, {id: row.marks for id, row in rows.items()}))
    return Scored(card, tuple(cases), (*notes, *Asked((), left_out).told()), marked)


def _marked(items: Sequence[dict], given: dict[str, dict[str, float]]) -> Iterator[str]:
    """What people's marks say, axis by axis: the mean with its interval, and of every two people
    how far they agree beyond chance. given: the marks of the answer that counts, by its id.

    No rule sees whether a proposal follows from the domain's principles; people do, and a mark that
    a second person would not give says little. Cohen's kappa: Cohen 1960, doi
    10.1177/001316446002000104; its interval from 2,000 resamples of subjects.
    """
    marks = {item["id"]: given.get(item["id"], {}) for item in items}
    for axis in dict.fromkeys(item["axis"] for item in items):
        of = [item for item in items if item["axis"] == axis and marks[item["id"]]]
        people = list(dict.fromkeys(who for item in of for who in marks[item["id"]]))
        for who in people:
            scores = [
                ItemScore(item["id"], item["entity"], marks[item["id"]][who])
                for item in of
                if who in marks[item["id"]]
            ]
            yield f"{axis}, marked by {who}: {cluster_mean(scores)} of {len(scores)} answers"
        for first, second in combinations(people, 2):
            both = [item for item in of if {first, second} <= marks[item["id"]].keys()]
            if not both:
                continue
            pairs = [
                (item["entity"], *(marks[item["id"]][who] >= AGREED for who in (first, second)))
                for item in both
            ]
            same = sum(one == other for _, one, other in pairs)
            told = f"{axis}, {first} and {second}: they agree on {same} of {len(pairs)}"
            yield f"{told}; beyond chance (Cohen's kappa): {_kappa_told(pairs)}"


def _kappa_told(pairs: Sequence[tuple[str, bool, bool]]) -> str:
    """Kappa with its interval over subjects, or why there is none."""
    kappa = _kappa([(one, other) for _, one, other in pairs])
    if kappa is None:
        return "not defined, for both gave one and the same mark throughout"
    by_subject: dict[str, list[tuple[bool, bool]]] = {}
    for subject, one, other in pairs:
        by_subject.setdefault(subject, []).append((one, other))
    groups = list(by_subject.values())
    if len(groups) < SIGN_TEST_NEEDS:
        return f"{kappa:.2f}, of too few subjects ({len(groups)}) for an interval"
    rng = random.Random(0)
    drawn = (
        _kappa([p for g in rng.choices(groups, k=len(groups)) for p in g]) for _ in range(2000)
    )
    found = sorted(one for one in drawn if one is not None)
    low, high = (found[round(share * (len(found) - 1))] for share in (0.025, 0.975))
    return f"{kappa:.2f} [{low:.2f}, {high:.2f}]"


def _kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement beyond chance, 1 when all agree; None where chance alone makes all agree."""
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    first, second = (sum(pair[i] for pair in pairs) / n for i in (0, 1))
    expected = first * second + (1 - first) * (1 - second)
    return None if expected == 1 else (observed - expected) / (1 - expected)


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
    ids: list[str], said: dict[str, str], known: set[str], counted: set[str], everything: set[str]
) -> list[str]:
    """What does not count as a reader would think, a sentence each. ids: of every row."""
    found = []
    if lacking := len(known - counted):
        found.append(
            f"items that can be asked and are not in this file: {lacking} of {len(known)}; nothing "
            "is known of them, and whoever chose what to ask chose the score"
        )
    if empty := sum(not said.get(id) for id in counted):
        found.append(f"questions without an answer: {empty}; each counts as wrong")
    repeated = [id for id, times in Counter(filter(None, ids)).items() if times > 1]
    if repeated:
        found.append(
            f"ids that are answered more than once: {len(repeated)} (first: {repeated[0]}); the "
            "first answer counts, and its marks"
        )
    unknown = [id for id in said if id not in everything]
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


# --- lm-eval's samples ------------------------------------------------------------------------

LOG_HELP = "write one with lm_eval --log_samples --output_path FOLDER (docs/compare-evals.md)"
NOT_SCORES = frozenset((
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
    "doc_hash", "prompt_hash", "target_hash",
))  # fmt: skip
# Fields of a document that say which others it stands or falls with; the first that is there.
CLUSTER_FIELDS = (
    "group", "subject", "subject_name", "entity", "passage", "article", "paragraph", "story",
    "title",
)  # fmt: skip
EACH = "doc_id"  # as a cluster: each document on its own
BITS = "bits_per_byte"
# Whose figure is no mean over samples, though a sample has one number or two.
NO_MEAN = {
    "perplexity": "lm-eval's figure is the exponential of a mean",
    "word_perplexity": f"it says what {BITS} says, in other units",
    "byte_perplexity": f"it says what {BITS} says, in other units",
}
LOWER_IS_BETTER = frozenset({*NO_MEAN, BITS, "brier_score", "ter"})  # as lm-eval's registry has it
_LOG_NAME = re.compile(
    r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d[.\d]*))?\.jsonl"
)


@dataclass(frozen=True)
class Outcome:
    """What one sample scored by one metric: a number; several, of which each counts, as for the
    instructions of one prompt; or, with a weight, a sum over so many parts, such as bytes.
    """

    parts: tuple[float, ...]
    weight: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One line of lm-eval's log. document, prompt, target: hashes, empty where nothing tells.

    scores: by metric, with its filter behind a comma where it has one. unread: metrics that are no
    mean over samples, and why. said: the answer, or an empty text.
    """

    place: str
    doc_id: str
    filter: str
    doc: dict
    document: str
    prompt: str
    target: str
    scores: dict[str, Outcome]
    unread: dict[str, str]
    said: str = ""

    def cluster(self, field: str) -> str:
        """What a field of the document says it belongs to; without one it stands alone."""
        value = self.doc.get(field)
        return tidy(str(value)) if isinstance(value, (str, int)) else f"{self.place} alone"


def read_sample(place: str, values: dict) -> Sample:
    """A line of lm-eval's log. Raises InputError when it is none."""
    if values.get("doc_id") is None:
        raise InputError(f"{place}: doc_id: missing; this is no line of lm-eval's log: {LOG_HELP}")
    for key in ("doc_id", "filter", "doc_hash", "prompt_hash", "target_hash"):
        if not isinstance(values.get(key), (str, int, type(None))):
            raise InputError(
                f"{place}: {key}: expected text, got {type(values[key]).__name__}; {LOG_HELP}"
            )
    filter = one_line(str(values.get("filter", "none")))
    scores, unread = {}, {}
    listed = values.get("metrics") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(
            f"{place}: metrics: expected a list of names, got {str(listed)[:40]!r}; {LOG_HELP}"
        )
    for metric in listed or [key for key in map(str, values) if key not in NOT_SCORES]:
        name = one_line(metric) if filter == "none" else f"{one_line(metric)},{filter}"
        found = _outcome(metric, values.get(metric))
        if isinstance(found, str):
            unread[name] = found
        else:
            scores[name] = found
    doc = values.get("doc")
    asked = values.get("arguments")
    while isinstance(asked, (dict, list)) and asked:  # {"gen_args_0": {"arg_0": prompt, …}, …}
        asked = next(iter(asked.values())) if isinstance(asked, dict) else asked[0]
    said = values.get("filtered_resps")
    while isinstance(said, list) and len(said) == 1:
        said = said[0]
    return Sample(
        place,
        one_line(str(values["doc_id"])),
        filter,
        doc if isinstance(doc, dict) else {},
        str(values.get("doc_hash") or "")
        or (_hash(json.dumps(doc, indent=2, ensure_ascii=False)) if doc else ""),
        str(values.get("prompt_hash") or "") or (_hash(asked) if isinstance(asked, str) else ""),
        str(values.get("target_hash") or "")
        or (_hash(str(values["target"])) if "target" in values else ""),
        scores,
        unread,
        tidy(said) if isinstance(said, str) else "",
    )


def _hash(text: str) -> str:
    """As lm-eval hashes a text."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _outcome(metric: str, value: Any) -> Outcome | str:
    """What a sample scored, or why that is no score."""
    if metric in NO_MEAN:
        return NO_MEAN[metric]
    if metric == BITS and isinstance(value, list) and len(value) == 2:
        total, size = map(_number, value)
        return UNSCORED if total is None or size is None or size < 1 else Outcome((total,), size)
    if (number := _number(value)) is not None:
        return Outcome((number,))
    if isinstance(value, list) and value and all(isinstance(part, bool) for part in value):
        return Outcome(tuple(map(float, value)))
    if value is None or isinstance(value, (int, float)):
        return UNSCORED
    return "lm-eval makes its figure of all answers together, and no sample has one of its own"


def _number(value: Any) -> float | None:
    """A number that can be summed up; None for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) and abs(value) < MOST else None
    except OverflowError:
        return None


MOST = 1e100  # beyond it, squares cannot be summed up
UNSCORED = "it has no number in some samples"
SAME_DIGITS = 1e-12  # sums in another order may differ in the last bit


def own_score(outcomes: Sequence[Outcome]) -> float:
    """The figure that lm-eval reports of these outcomes, summed up in the same order."""
    if outcomes[0].weight:
        total = sum(outcome.parts[0] for outcome in outcomes)
        return -(total / sum(outcome.weight for outcome in outcomes)) / math.log(2)
    flat = [part for outcome in outcomes for part in outcome.parts]
    return sum(flat) / len(flat)


def item_scores(outcomes: Sequence[Outcome], clusters: Sequence[str]) -> list[ItemScore]:
    """Outcomes as scores whose mean is lm-eval's figure, each with its cluster.

    What is a ratio of sums is linearised: a document counts by its weight, and the spread is that
    of the ratio to the first order (Cochran 1977, Sampling Techniques, section 6.4).
    """
    if not outcomes[0].weight:
        return [
            ItemScore(f"{number}#{at}", cluster, part)
            for number, (outcome, cluster) in enumerate(zip(outcomes, clusters, strict=True))
            for at, part in enumerate(outcome.parts)
        ]
    ratio = own_score(outcomes)
    typical = sum(outcome.weight for outcome in outcomes) / len(outcomes)
    return [
        ItemScore(
            f"{number}#0",
            cluster,
            ratio - (outcome.parts[0] / math.log(2) + ratio * outcome.weight) / typical,
        )
        for number, (outcome, cluster) in enumerate(zip(outcomes, clusters, strict=True))
    ]


@dataclass(frozen=True)
class TaskLog:
    """lm-eval's samples of one task, each document once per filter.

    notes: what of the file does not count. results: what lm-eval itself reported beside it, as its
    results file has it for this task; empty where there is none.
    """

    task: str
    name: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]
    results: dict[str, Any]

    def scored(self, metric: str) -> list[Sample]:
        """The samples that have a number by a metric, in the order of the file."""
        return [sample for sample in self.samples if metric in sample.scores]

    def metrics(self) -> list[str]:
        """The metrics that some sample has a number by, and all of one kind, in the order of the
        file.
        """
        return [name for name, weighs in self._weighs.items() if len(weighs) == 1]

    @cached_property
    def _weighs(self) -> dict[str, set[bool]]:
        """By metric, whether its outcomes are sums with a weight: both, where they are mixed."""
        found: dict[str, set[bool]] = {}
        for sample in self.samples:
            for name, outcome in sample.scores.items():
                found.setdefault(name, set()).add(bool(outcome.weight))
        return found

    def told_mixed(self) -> list[str]:
        """A sentence for each metric that no single figure can be made of."""
        return [
            f"{self.name}: {name} is left out: some samples have a sum with its size, and others "
            "a plain number"
            for name, weighs in self._weighs.items()
            if len(weighs) > 1
        ]

    def score(self, metric: str) -> float:
        """The figure that lm-eval reports."""
        return own_score([sample.scores[metric] for sample in self.scored(metric)])

    def reported(self, metric: str) -> float | None:
        """lm-eval's own figure; None where no results file tells it."""
        name = metric if "," in metric else f"{metric},none"
        found = self.results.get("results", {}).get(name)
        return found if isinstance(found, (int, float)) else None

    def lower_is_better(self, metric: str) -> bool:
        """As lm-eval's results say; without them, by the metric's name."""
        name = metric.partition(",")[0]
        found = self.results.get("higher_is_better", {}).get(name)
        return name in LOWER_IS_BETTER if found is None else not found


def task_log(task: str, name: str, samples: Sequence[Sample], results: dict) -> TaskLog:
    """A task's samples with each document once per filter; the first of several counts."""
    kept: dict[tuple[str, str, str], Sample] = {}
    repeated = otherwise = 0
    for sample in samples:
        first = kept.setdefault((sample.filter, sample.doc_id, sample.document), sample)
        repeated += first is not sample
        otherwise += first is not sample and first.scores != sample.scores
    notes = []
    if repeated:
        notes.append(
            f"{name}: samples that repeat a document under the same filter: {repeated}, of them "
            f"{otherwise} with another score; the first counts"
        )
    why: dict[str, set[str]] = {}
    lacking: dict[str, list[str]] = {}
    for sample in kept.values():
        for metric, reason in sample.unread.items():
            why.setdefault(metric, set()).add(reason)
            lacking.setdefault(metric, []).append(sample.place)
    for metric, reasons in why.items():
        if reasons == {UNSCORED} and any(metric in sample.scores for sample in kept.values()):
            notes.append(
                f"{name}: {metric}: samples without a number: {len(lacking[metric])} (first: "
                f"{lacking[metric][0]}); left out"
            )
        else:
            at = f" (first: {lacking[metric][0]})" if UNSCORED in reasons else ""
            notes.append(f"{task}: {metric} is left out: {'; '.join(sorted(reasons))}{at}")
    found = TaskLog(task, name, tuple(kept.values()), tuple(notes), results)
    return replace(found, notes=(*notes, *found.told_mixed()))


def read_logs(path: Path) -> tuple[dict[str, TaskLog], list[str]]:
    """By task, the samples of a file that lm-eval wrote, or of every samples_*.jsonl in a folder;
    and what is told of them.

    A folder may hold the folder that lm-eval names after the model. Of several runs of one task the
    latest is read. Raises InputError naming file, line and remedy.
    """
    files, notes = ([path], []) if path.is_file() else _latest(path)
    return {log.task: log for log in map(_read_log, files)}, notes


def _latest(folder: Path) -> tuple[list[Path], list[str]]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such file or folder; {LOG_HELP}")
    found = sorted(folder.glob("samples_*.jsonl"))
    if not found:
        inside = sorted({file.parent for file in folder.glob("*/samples_*.jsonl")})
        if len(inside) != 1:
            several = f"it has {', '.join(each.name for each in inside)}; name one of them"
            raise InputError(
                f"{folder}: no samples_*.jsonl in this folder; {several if inside else LOG_HELP}"
            )
        found = sorted(inside[0].glob("samples_*.jsonl"))
    by_task: dict[str, list[Path]] = {}
    for file in found:
        by_task.setdefault(_task_of(file), []).append(file)
    notes = [
        f"{folder}: {task} was run {len(files)} times; {files[-1].name} is the latest and is read"
        for task, files in by_task.items()
        if len(files) > 1
    ]
    return [files[-1] for files in by_task.values()], notes


def _task_of(file: Path) -> str:
    found = _LOG_NAME.fullmatch(file.name)
    return found["task"] if found else file.stem


def _read_log(file: Path) -> TaskLog:
    notes: list[str] = []
    samples = [read_sample(f"{file}:{row.line}", row.values) for row in _rows(file, notes)]
    found = task_log(_task_of(file), str(file), samples, _results_beside(file))
    return replace(found, notes=(*notes, *found.notes))


def _results_beside(file: Path) -> dict[str, Any]:
    """What results_DATE.json in the same folder says of a task, and of the groups it is in."""
    named = _LOG_NAME.fullmatch(file.name)
    if not named or not named["date"]:
        return {}
    path = file.parent / f"results_{named['date']}.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        beside = {
            key: found[key][named["task"]]
            for key in ("results", "higher_is_better", "versions", "n-shot")
            if named["task"] in found.get(key, {})
        }
        groups = _groups_of(named["task"], found.get("group_subtasks", {}))
        beside["groups"] = {group: found.get("results", {}).get(group, {}) for group in groups}
        for told in (*beside["groups"].values(), beside.get("results", {})):
            told.keys()  # these are asked for scores
        return beside
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: this is not what lm-eval writes as results ({error}); mend it or take it away"
        ) from error


def _groups_of(task: str, children: dict[str, list[str]]) -> list[str]:
    """The groups that a task is in, and those that they are in, the nearest first."""
    found, names = dict[str, None](), [task]
    for name in names:  # it grows by what is found
        for group, inside in children.items():
            if name in inside and group not in found:
                found[group] = None
                names.append(group)
    return list(found)


# --- two logs compared --------------------------------------------------------------------------


@dataclass(frozen=True)
class EvalChange:
    """What one metric of one task became, paired document by document.

    before, after: lm-eval's figures over everything in each file. difference: over what both
    answered, after - before, with its 95% interval over clusters; p is corrected (Holm). power:
    None where no two samples differ, for then nothing says how much they would.
    """

    task: str
    metric: str
    before: float
    after: float
    difference: Interval
    p: float
    power: Power | None
    lower_is_better: bool
    compared: int

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `not distinguishable`, after the correction."""
        if self.p > 0.05:
            return told_verdict(NOT_DISTINGUISHABLE, self.difference, self.compared)
        return "better" if (self.difference.mean > 0) != self.lower_is_better else "worse"

    @property
    def more(self) -> int | None:
        """How many more items would show half of what these could; None where nothing tells."""
        if self.power is None or self.power.needed is None:
            return None
        return max(0, self.power.needed - self.difference.n)


@dataclass(frozen=True)
class EvalComparison:
    """Two runs of lm-eval compared. samples: read in each. notes: what was not compared, and what
    else a reader must know, a sentence each.
    """

    before: str
    after: str
    changes: tuple[EvalChange, ...]
    samples: tuple[int, int]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        heads = (
            "task", "metric", "before", "after", "difference [95%]", "n", "clusters", "verdict",
            "smallest visible", "more items for half of it",
        )  # fmt: skip
        rows = [
            (
                change.task,
                change.metric,
                f"{change.before:.4f}",
                f"{change.after:.4f}",
                f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
                str(change.difference.n),
                str(change.difference.clusters),
                change.verdict,
                f"{change.power.detectable:.4f}" if change.power else "no sample differs",
                "" if change.more is None else f"{change.more:,}",
            )
            for change in self.changes
            for found in [change.difference]
        ]
        title = (
            f"{self.after} minus {self.before}, over the same documents (intervals cover documents "
            f"only; verdicts are corrected for {len(rows)} comparisons)"
        )
        return text_table(title, heads, rows)


@dataclass(frozen=True)
class _Pair:
    """The logs of one task, and by document the samples that are in both. field: what clusters
    them.
    """

    before: TaskLog
    after: TaskLog
    both: dict[tuple[str, str, int], tuple[Sample, Sample]]
    field: str
    notes: tuple[str, ...]

    def scores(self, metric: str) -> tuple[list[ItemScore], list[ItemScore]]:
        """Before and after, of the documents that have a number by this metric in both, and as
        many parts of it.
        """
        scored = [
            (sample, other)
            for sample, other in self._scored(metric)
            if _alike(metric, sample, other)
        ]
        clusters = [sample.cluster(self.field) for sample, _ in scored]
        mine, theirs = ([pair[side].scores[metric] for pair in scored] for side in (0, 1))
        return (item_scores(mine, clusters), item_scores(theirs, clusters)) if scored else ([], [])

    def _scored(self, metric: str) -> list[tuple[Sample, Sample]]:
        """The documents that have something by a metric in both."""
        return [
            (sample, other)
            for sample, other in self.both.values()
            if metric in sample.scores and metric in other.scores
        ]

    def told(self) -> list[str]:
        """What does not count, and what else a reader must know."""
        task = self.before.task
        found = [*self.before.notes, *self.after.notes, *self.notes]
        for log, other in ((self.before, self.after), (self.after, self.before)):
            alone = [metric for metric in log.metrics() if metric not in other.metrics()]
            if alone:
                found.append(f"{task}: in {log.name} only, and not compared: {', '.join(alone)}")
        for metric in self.before.metrics():
            pairs = self._scored(metric)
            unlike = [one for one, other in pairs if not _alike(metric, one, other)]
            if unlike:
                found.append(
                    f"{task}: {metric}: documents with another number of scores, or another kind, "
                    f"in the two runs: {len(unlike)} of {len(pairs)} (first: doc_id "
                    f"{unlike[0].doc_id}); left out"
                )
        for what, name in (("versions", "version of the task"), ("n-shot", "number of examples")):
            here, there = (log.results.get(what) for log in (self.before, self.after))
            if here != there and None not in (here, there):
                found.append(f"{task}: the {name} differs: {here} and {there}")
        return found


def _alike(metric: str, sample: Sample, other: Sample) -> bool:
    """Whether two outcomes of a document can be subtracted, part by part."""
    here, there = sample.scores[metric], other.scores[metric]
    return len(here.parts) == len(there.parts) and bool(here.weight) == bool(there.weight)


def _paired(before: TaskLog, after: TaskLog, cluster: str | None) -> _Pair:
    """The samples of two logs by what is the same document, as far as the logs tell."""
    task, notes = before.task, []
    hashed = all(sample.document for log in (before, after) for sample in log.samples)
    if not hashed:
        notes.append(
            f"{task}: not every sample has its document or doc_hash, so samples are paired by "
            "doc_id, and whether both runs had the same documents is not checked"
        )
    mine, theirs = (_by_document(log.samples, hashed) for log in (before, after))
    both = {key: (sample, theirs[key]) for key, sample in mine.items() if key in theirs}
    alone = [[s for key, s in one.items() if key not in both] for one in (mine, theirs)]
    for log, left in zip((before, after), alone, strict=True):
        if left:
            notes.append(
                f"{task}: samples that are in {log.name} only: {len(left)} (first: doc_id "
                f"{left[0].doc_id}); not compared"
            )
    numbers = [{(sample.filter, sample.doc_id) for sample in left} for left in alone]
    if changed := len(numbers[0] & numbers[1]):
        notes.append(f"{task}: of them have the same doc_id and another document: {changed}")
    if not both:
        raise InputError(
            f"{before.name} and {after.name}: no document is in both"
            f"{f' ({notes[-1]})' if notes else ''}; run the same task, and the same version of it, "
            "twice"
        )
    if keyed := [key for key, pair in both.items() if _differ("target", *pair)]:
        notes.append(
            f"{task}: documents whose right answer differs (target_hash): {len(keyed)}; left out"
        )
        both = {key: pair for key, pair in both.items() if key not in set(keyed)}
    asked = sum(_differ("prompt", *pair) for pair in both.values())
    if asked:
        notes.append(
            f"{task}: prompts differ in {asked} of {len(both)} pairs (prompt_hash): the difference "
            "is that of model and prompt together; use the same chat template, examples and system "
            "prompt to compare models"
        )
    unknown = sum(not (sample.prompt and other.prompt) for sample, other in both.values())
    if unknown:
        notes.append(
            f"{task}: pairs of which nothing tells whether both had the same prompt: {unknown}"
        )
    field = _cluster_field([sample for sample, _ in both.values()], cluster)
    clusters = {sample.cluster(field) for sample, _ in both.values()}
    if cluster not in (None, field):
        notes.append(
            f"{task}: --cluster {cluster} is not used: this field has no two different texts or "
            "whole numbers in its documents; each document stands alone"
        )
    single = sum(not isinstance(sample.doc.get(field), (str, int)) for sample, _ in both.values())
    if field != EACH and single:
        notes.append(
            f"{task}: documents with no text or whole number in {field}: {single} of {len(both)}; "
            "each stands alone"
        )
    if field != EACH and len(clusters) < SIGN_TEST_NEEDS:
        notes.append(
            f"{task}: its documents have {len(clusters)} different values of {field}; from so few "
            f"little can be told of others (--cluster {EACH} lets each document stand alone)"
        )
    return _Pair(before, after, both, field, tuple(notes))


def _of_groups(pairs: Sequence[_Pair], cluster: str | None) -> Iterator[_Pair]:
    """lm-eval's groups of several tasks, such as mmlu, each as the documents of all its tasks."""
    for group in dict.fromkeys(
        name for pair in pairs for name in pair.before.results.get("groups", ())
    ):
        inside = [pair for pair in pairs if group in pair.before.results.get("groups", ())]
        if len(inside) < 2:
            continue
        before, after = (
            TaskLog(
                group,
                f"{group} in {Path(logs[0].name).parent}",
                tuple(sample for log in logs for sample in log.samples),
                (),
                {**logs[0].results, "results": logs[0].results.get("groups", {}).get(group, {})},
            )
            for logs in ([pair.before for pair in inside], [pair.after for pair in inside])
        )
        both = {
            (f"{at} {kind}", document, time): found
            for at, pair in enumerate(inside)
            for (kind, document, time), found in pair.both.items()
        }
        field = _cluster_field([sample for sample, _ in both.values()], cluster)
        mixed = (*before.told_mixed(), *after.told_mixed())
        yield _Pair(before, after, both, field, mixed)


def _by_document(samples: Sequence[Sample], hashed: bool) -> dict[tuple[str, str, int], Sample]:
    """Samples by filter and document; of equal documents of a task by their order, too."""
    found: dict[tuple[str, str, int], Sample] = {}
    times: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        name = (sample.filter, sample.document if hashed else sample.doc_id)
        found[*name, times[name]] = sample
        times[name] += 1
    return found


def _differ(what: str, sample: Sample, other: Sample) -> bool:
    """Whether two samples are known to differ in something."""
    here, there = getattr(sample, what), getattr(other, what)
    return bool(here and there and here != there)


def _cluster_field(samples: Sequence[Sample], wanted: str | None) -> str:
    """The field that clusters these documents: the wanted one, or the first that has two values;
    EACH where there is none.
    """
    for name in CLUSTER_FIELDS if wanted is None else (wanted,):
        named = [sample.doc[name] for sample in samples if name in sample.doc]
        if len({value for value in named if isinstance(value, (str, int))}) > 1:
            return name
    return EACH


def compare_evals(before: Path, after: Path, *, cluster: str | None = None) -> EvalComparison:
    """Two sample logs of lm-eval, or two folders of them, paired document by document.

    cluster: the field of a document that says which stand or fall together; `doc_id` for each on
    its own; by default the first of CLUSTER_FIELDS that a task's documents have. Raises InputError
    when something cannot be read, or no document is in both.
    """
    if before.is_dir() != after.is_dir() and before.exists() and after.exists():
        raise InputError(f"{before} and {after}: one is a folder; give two files or two folders")
    (first, told), (second, told_too) = read_logs(before), read_logs(after)
    notes = [*told, *told_too]
    if before.is_file():
        (one,), (other,) = first.values(), second.values()
        if one.task != other.task and all(_LOG_NAME.fullmatch(p.name) for p in (before, after)):
            notes.append(f"the files are named after two tasks, {one.task} and {other.task}")
        first, second = {one.task: one}, {one.task: other}
    for task in first.keys() ^ second.keys():
        where = before if task in first else after
        notes.append(f"{task} is in {where} only, and is not compared")
    tasks = [task for task in first if task in second]
    if not tasks:
        raise InputError(
            f"{before} and {after}: no task is in both ({', '.join(first)}; {', '.join(second)}); "
            "run the same tasks twice"
        )
    pairs = [_paired(first[task], second[task], cluster) for task in tasks]
    fields = {field for pair in pairs for sample, _ in pair.both.values() for field in sample.doc}
    if cluster and cluster not in fields | {EACH}:
        raise InputError(
            f"--cluster {cluster}: no document has this field; "
            f"{suggest(cluster, sorted(fields | {EACH}))}"
        )
    compared = [*_of_groups(pairs, cluster), *pairs]
    found = [
        (pair, metric, *scores)
        for pair in compared
        for metric in pair.before.metrics()
        if metric in pair.after.metrics()
        if (scores := pair.scores(metric))[0]
    ]
    if not found:
        raise InputError(
            f"{before} and {after}: no metric is in both for any document "
            f"({'; '.join(note for pair in pairs for note in pair.told())}); run the same tasks "
            "twice with the same version of lm-eval"
        )
    differences = [paired_difference(mine, theirs) for _, _, mine, theirs in found]
    p = holm([p_value(difference) for difference in differences])
    changes = tuple(
        EvalChange(
            pair.before.task,
            metric,
            pair.before.score(metric),
            pair.after.score(metric),
            difference,
            corrected,
            _power(paired_scores(mine, theirs), len(found)),
            pair.before.lower_is_better(metric),
            len(found),
        )
        for (pair, metric, mine, theirs), difference, corrected in zip(
            found, differences, p, strict=True
        )
    )
    for pair in pairs:
        notes += pair.told()
    for pair in compared:
        notes += pair.notes
    notes += _as_reported([log for pair in compared for log in (pair.before, pair.after)])
    return EvalComparison(
        _short(before, after),
        _short(after, before),
        changes,
        (sum(len(pair.before.samples) for pair in pairs), sum(len(p.after.samples) for p in pairs)),
        tuple(dict.fromkeys(notes)),
    )


def _as_reported(logs: Sequence[TaskLog]) -> list[str]:
    """Whether the scores made here are those that lm-eval reported, where its results tell."""
    told, agree, asked = [], 0, 0
    for log in logs:
        for metric in log.metrics():
            reported, score = log.reported(metric), log.score(metric)
            if reported is None:
                continue
            asked += 1
            if math.isclose(reported, score, rel_tol=SAME_DIGITS):
                agree += 1
            else:
                told.append(
                    f"{log.name}: {metric}: lm-eval's own results say {reported}, and these "
                    f"samples make {score}: some are missing, or its figure is no mean over samples"
                )
    if not asked:
        return ["no results_DATE.json of lm-eval lies beside the samples to check the scores with"]
    return [f"scores that agree with lm-eval's own results to the digit: {agree} of {asked}", *told]


def _short(path: Path, other: Path) -> str:
    """A file's name, with its folder where both have the same."""
    return path.name if path.name != other.name else f"{path.parent.name}/{path.name}"


def _power(differences: Sequence[ItemScore], compared: int) -> Power | None:
    if not any(difference.score for difference in differences):
        return None
    return power_of(differences, comparisons=compared)


def score_logs(logs: Sequence[TaskLog], checkpoint: str) -> Scored:
    """Logs as a scorecard: an axis for each metric of each task, its items clustered as above."""
    items = []
    for log in logs:
        field = _cluster_field(log.samples, None)
        for metric in log.metrics():
            scored = log.scored(metric)
            clusters = [sample.cluster(field) for sample in scored]
            scores = item_scores([sample.scores[metric] for sample in scored], clusters)
            axis = f"{log.task} {metric}"
            for score in scores:
                number, _, at = score.id.partition("#")
                sample = scored[int(number)]
                id = (
                    f"{sample.doc_id}#{at}"
                    if len(sample.scores[metric].parts) > 1
                    else sample.doc_id
                )
                items.append(ItemResult(id, axis, axis, score.entity, score.score, sample.said))
    names = ",".join(log.task for log in logs)
    documents = sorted({sample.document for log in logs for sample in log.samples})
    card = Scorecard(checkpoint, names, "test", key_of(documents=documents), items)
    return Scored(card, notes=tuple(note for log in logs for note in log.notes))
