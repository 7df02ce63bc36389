"""The example dossiers of the two worked cases, data_samples/dossiers/*.yaml: a whole case each, on
an invented and on a real pack.

A dossier is what labkit proposes for the case's design, a team's words laid over it (those in
pages/dossiers/), and what was measured. The words hold no measured figure.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.base.errors import InputError
from labkit.base.inputs import read_yaml
from labkit.base.store import Checkpoint, write_file
from labkit.course.labs import dossier_lab
from labkit.course.lesson import Lab
from labkit.data import world
from labkit.data.packs import Pack, load_pack
from labkit.design import dossier as paper
from labkit.design.comparison import START, Comparison, candidates_of, describe, train_and_score
from labkit.design.dossier import Dossier, Failure, TestScenario
from labkit.design.planner import at_sizes
from labkit.design.rules import Alternative
from labkit.evaluate.scenarios import Scenario, make_scenario
from labkit.evaluate.scorecards import Scorecard, is_for
from labkit.evaluate.scoring import score_checkpoint
from labkit.merge.recipes import Merge
from labkit.models.families import MODEL
from labkit.train.pipeline import with_steps
from labkit.train.specs import OWN, OWN_DPO, OWN_ORPO, PipelineSpec, Stage
from studies.case_packs import EVENT
from studies.worked_cases import (
    ANSWER,
    CURATED,
    DOMAIN,
    FLOOD,
    LAW,
    NOTES,
    PREFER,
    READ,
    REAL_LAW,
    REAL_MED,
    REPLAY,
)

WORDS = Path(__file__).parent / "pages" / "dossiers"
HEADER = """\
# An example, written by labkit's authors: a team that they imagine, on {data}.
# Made by `python -m studies dossiers --name {name}`: what labkit proposes, the words in
# {words}, and what was measured.
# docs/dossier.md says what a dossier is.
"""
UNTRAINED = "not measured: this design was not trained"
CASES, AT_LEAST = 16, 0.8  # of a scenario
BACK = Merge(method="slerp", t=0.65)  # of 0.5, 0.65 and 0.8 the best of the pharma design on dev
HALFWAY = Merge(method="slerp", t=0.5)


@dataclass(frozen=True)
class Example:
    """A case on a pack. others: stages and merge of each alternative, and why it is worth
    comparing. own: how it may fail in a way of its own, beside the usual ones, with the axis that
    it is watched by; its test is the case's scenarios. trained: whether the designs are trained
    here; otherwise only the start model is measured.
    """

    pack: str
    stages: tuple[Stage, ...]
    others: tuple[tuple[str, tuple[Stage, ...], Merge | None, str], ...]
    scenarios: Callable[[Pack], list[Scenario]]
    own: str
    shown_by: tuple[str, ...]
    trained: bool
    merge: Merge | None = None


# --- scenarios --------------------------------------------------------------------------------


def event_scenarios(pack: Pack) -> list[Scenario]:
    """Adverse events that must be named, and none that is not there: recall and false alarms of
    what the model says.
    """
    events = world.language(DOMAIN).attributes[EVENT].values
    items = [
        row
        for row in pack.rows("dev")
        if row.get("kind") == "free" and row["axis"] == "knowledge" and row["answer"] in events
    ][:CASES]
    others = [[event for event in events if event != row["answer"]] for row in items]
    return [
        _scenario(
            EVENT_NAMED,
            "A compound's known adverse event is named when somebody asks for it.",
            [(row, {"says": row["answer"]}) for row in items],
        ),
        _scenario(
            NO_FALSE_ALARM,
            "No adverse event is named that the compound does not have.",
            [(row, {"says_none_of": none}) for row, none in zip(items, others, strict=True)],
        ),
    ]


EVENT_NAMED, NO_FALSE_ALARM = "adverse event named", "no false alarm"
FINDING_SEEN, NO_FINDING = "finding recognised", "no finding where there is none"
CLAUSE_SEEN, NO_CLAUSE = "clause recognised", "no clause where there is none"
UNKNOWN = "unknown fact"  # a scenario that the invented packs ship


def finding_scenarios(pack: Pack) -> list[Scenario]:
    """Questions about a study that is shown: it found what is asked, or it did not."""
    return _yes_and_no(
        pack,
        ("conclusion", "results"),
        (FINDING_SEEN, "A finding that the shown study reports is recognised."),
        (NO_FINDING, "A finding that the shown study denies is not reported."),
    )


def clause_scenarios(pack: Pack) -> list[Scenario]:
    """Questions about a clause that is shown: it says what is asked, or it does not."""
    return _yes_and_no(
        pack,
        ("label",),
        (CLAUSE_SEEN, "A clause that does what is asked about is recognised."),
        (NO_CLAUSE, "A clause that does something else is not taken for it."),
    )


def _yes_and_no(
    pack: Pack, kinds: tuple[str, ...], yes: tuple[str, str], no: tuple[str, str]
) -> list[Scenario]:
    rows = [row for row in pack.rows("dev") if row.get("kind") in kinds and is_for(row, tiny=True)]
    return [
        _scenario(
            name,
            about,
            [
                (row, {"says": answer, "says_none_of": [other, "Maybe"]})
                for row in rows
                if row["answer"] == answer
            ][:CASES],
        )
        for (name, about), answer, other in ((yes, "Yes", "No"), (no, "No", "Yes"))
    ]


def _scenario(name: str, about: str, cases: list[tuple[dict, dict]]) -> Scenario:
    return make_scenario(
        {
            "name": name,
            "about": about,
            "at_least": AT_LEAST,
            "cases": [
                {"ask": row["messages"][-1]["content"], "expect": expect} for row, expect in cases
            ],
        }
    )


# --- the four ---------------------------------------------------------------------------------


def _kept(stage: Stage, **changes: object) -> Stage:
    return stage.model_copy(update={"replay": REPLAY, **changes})


PIPELINE = (_kept(READ), ANSWER, PREFER)
CURATED_TEXT = (_kept(NOTES, learning_rate=8e-4, steps=80), _kept(CURATED))
REAL_READ = OWN[0].model_copy(update={"sources": ("raw", "qa")})  # real packs have no summaries
REAL = (REAL_READ, OWN[1])
EVENTS_WRONG = "an adverse event is missed, or one is told that is not there"
CLAUSE_INVENTED = "a term is told that the contract does not have"
EXAMPLES: dict[str, Example] = {
    "pharma": Example(
        DOMAIN,
        PIPELINE,
        (
            (
                "the same, not merged back into the start model",
                PIPELINE,
                None,
                "a merge back may dilute the very facts that a report is checked against",
            ),
            (
                "no preferences: CPT and SFT alone, merged back",
                PIPELINE[:2],
                BACK,
                "reviewers' time is the scarcest thing that this design takes",
            ),
        ),
        event_scenarios,
        EVENTS_WRONG,
        (EVENT_NAMED, NO_FALSE_ALARM),
        trained=True,
        merge=BACK,
    ),
    "pharma-real": Example(
        REAL_MED,
        (*REAL, OWN_DPO),
        (
            (
                "ORPO in place of DPO",
                (*REAL, OWN_ORPO),
                None,
                "which of the two keeps more of the start model differs between models",
            ),
            (
                "no preferences, merged back into the start model",
                REAL,
                HALFWAY,
                "a merge back costs no training and may give back what the stages took",
            ),
        ),
        finding_scenarios,
        EVENTS_WRONG,
        (FINDING_SEEN, NO_FINDING),
        trained=False,
    ),
    "legal": Example(
        LAW,
        CURATED_TEXT,
        (
            (
                "a flood of raw text in place of the summaries",
                (FLOOD.model_copy(update={"steps": 4 * CURATED_TEXT[0].steps}), CURATED),
                None,
                "raw text costs nobody's time, and suppliers offer it by the million pages",
            ),
            (
                "the curated questions alone, without any text",
                (_kept(CURATED),),
                None,
                "the cheapest thing that can be done; it shows what the text is worth",
            ),
        ),
        lambda pack: [],
        CLAUSE_INVENTED,
        (UNKNOWN,),
        trained=True,
    ),
    "legal-real": Example(
        REAL_LAW,
        REAL,
        (
            (
                "raw contracts alone in CPT, without replay",
                (REAL_READ.model_copy(update={"sources": ("raw",), "replay": 0.0}), OWN[1]),
                None,
                "this is what a flood of documents comes to; it shows what replay and questions "
                "are worth",
            ),
            (
                "the annotated clauses alone, without CPT",
                OWN[1:],
                None,
                "the questions quote the clause that they ask about, so that knowledge may not be "
                "needed",
            ),
        ),
        clause_scenarios,
        CLAUSE_INVENTED,
        (CLAUSE_SEEN, NO_CLAUSE),
        trained=False,
    ),
}


def specs_of(example: Example) -> list[PipelineSpec]:
    """The design of an example and its alternatives, their steps settled."""
    made = [(example.stages, example.merge), *((one[1], one[2]) for one in example.others)]
    return [
        with_steps(PipelineSpec(pack=example.pack, model=MODEL, stages=stages, merge=merge))
        for stages, merge in made
    ]


def compared(example: Example) -> Comparison:
    """An example's design beside its alternatives, in words."""
    mine, *others = specs_of(example)
    alternatives = [
        Alternative(choice, spec, worth)
        for (choice, _, _, worth), spec in zip(example.others, others, strict=True)
    ]
    return describe(candidates_of(mine, alternatives))


# --- words ------------------------------------------------------------------------------------


def read_words(name: str) -> dict:
    """What a team says: that of both packs of its case, and that of this one. Raises InputError
    where both say the same thing.
    """
    both, own = (
        read_yaml(WORDS / f"{one}.yaml", missing="write the words of the dossier there")
        for one in (f"{name.removesuffix('-real')}-both", name)
    )
    return laid_together(both, own, name)


def laid_together(one: dict, other: dict, place: str) -> dict:
    made = dict(one)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = laid_together(made[key], value, f"{place}.{key}")
        elif key in made:
            raise InputError(f"{place}.{key}: said for both packs and again here; keep one")
        else:
            made[key] = value
    return made


def said(words: dict) -> dict[tuple[str, ...], str]:
    """Place -> the words for it. Members of lists go by their names: scenarios by name, failures by
    mode, stages by kind, cells by head and design.
    """
    found = dict(_leaves({part: words[part] for part in paper.PARTS if part in words}, ()))
    del found["domain", "name"]
    return found


def _leaves(words: dict, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in words.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def with_words(made: Dossier, words: dict[tuple[str, ...], str]) -> Dossier:
    """The dossier with words laid over it. Raises InputError for a place that is not there."""
    places = {by_name(made, path): path for path, _, _ in paper.entries(made)}
    for place, text in words.items():
        if place not in places:
            raise InputError(f"the dossier has no place {' / '.join(place)}")
        made = paper.with_entry(made, places[place], words=text)
    return made


def by_name(made: Dossier, path: str) -> tuple[str, ...]:
    """A place's path with names in place of numbers, and without steps that are always the same."""
    value: Any = made
    found = []
    for step in path.split("."):
        if step.isdigit():
            value = value[int(step) - 1]
            names = (getattr(value, key, "") for key in ("stage", "mode", "name", "head", "axis"))
            found.append(next(filter(None, names), "") or made.comparison.designs[int(step) - 1])
        else:
            value = getattr(value, step)
            found += [step] * (step not in ("rows", "cells", "asks"))
    return tuple(found)


# --- made -------------------------------------------------------------------------------------


def proposed(example: Example, words: dict, untouched: Scorecard | None = None) -> Dossier:
    """What labkit proposes for an example, under the team's names and words."""
    pack, found = load_pack(example.pack), compared(example)
    begun = paper.checked(
        {
            "title": words["title"],
            "people": words["people"],
            "domain": {"name": words["domain"]["name"]},
        }
    ).model_copy(
        update={
            "scenarios": tuple(
                TestScenario(name=one.name, scenario=one) for one in example.scenarios(pack)
            ),
            "failures": (Failure(mode=example.own, axis="knowledge", may_fall=0.0),),
        }
    )
    spec = found.candidates[0].spec
    made = paper.proposed(spec, begun, untouched=untouched, found=found, sizes=at_sizes(spec))
    return with_words(made, said(words))


def measured(example: Example, made: Dossier, tell: Callable[[str], None]) -> Dossier:
    """The dossier with what its scenarios, its gate and its diagnoses found, as notebooks find it.

    Of designs that are not trained here only the start model is asked.
    """
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        lab = Lab("dossiers", load_pack(example.pack), MODEL, "lab", 0, "me", Path(out))
        dossier_lab.change(lab, lambda _: made)
        models: dict[str, str | Checkpoint] = {START: MODEL}
        if example.trained:
            found = train_and_score(compared(example), told=tell, watch=dossier_lab.watch_of(lab))
            dossier_lab.change(lab, lambda kept: paper.propose_comparison(kept, found))
            models = dossier_lab.train_designs(lab)
        tell("running criteria and scenarios")
        dossier_lab.run_own_criteria(lab, models)
        asked = dossier_lab.run_own_scenarios(lab, models)
        if not example.trained:
            return with_nothing_found(asked)
        tell("running diagnoses and the gate")
        dossier_lab.run_own_failures(lab)
        return with_own_found(dossier_lab.read(lab), example)


def with_nothing_found(made: Dossier) -> Dossier:
    """A dossier that says of each way of failing that nothing is known of it yet."""
    failures = tuple(one.model_copy(update={"found": UNTRAINED}) for one in made.failures)
    return made.model_copy(update={"failures": failures})


def with_own_found(made: Dossier, example: Example) -> Dossier:
    """What the case's scenarios say of its own way of failing, beside what the gate says of it."""
    told = []
    for one in made.scenarios:
        if one.name in example.shown_by:
            row = next(row for row in one.found.rows if row[0] == made.comparison.designs[0])
            told.append(f"scenario '{one.name}': {row[1]} ({row[3]})")
    failures = tuple(
        one.model_copy(update={"found": "; ".join((*told, one.found))})
        if one.mode == example.own
        else one
        for one in made.failures
    )
    return made.model_copy(update={"failures": failures})


def write_dossier(name: str, folder: Path, tell: Callable[[str], None]) -> Path:
    """Make one of the four, and write it. Raises InputError for words that do not fit."""
    example, words = EXAMPLES[name], read_words(name)
    tell(f"{name}: the untouched model")
    untouched = score_checkpoint(MODEL, load_pack(example.pack), name=MODEL)
    made = measured(
        example, proposed(example, words, untouched), lambda what: tell(f"{name}: {what}")
    )
    return save(made, name, folder)


def save(made: Dossier, name: str, folder: Path) -> Path:
    """Write an example with a comment that says what it is."""
    data = load_pack(made.domain.pack)
    header = HEADER.format(
        name=name,
        data="invented data" if data.invented else "real, public data",
        words=f"studies/pages/dossiers/{name}.yaml",
    )
    path = folder / f"{name}.yaml"
    write_file(path, header + paper.dossier_text(made))
    return path
