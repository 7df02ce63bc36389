"""The dossier: what is kept of it, what is refused, how parts are joined, what goes out."""

from __future__ import annotations

import re
from pathlib import Path

import pypdf
import pytest
import yaml
from fuzzing import often
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from labkit.base.errors import InputError
from labkit.base.inputs import tidy
from labkit.base.records import AXES
from labkit.cli.__main__ import app
from labkit.data.packs import load_pack, shipped_packs
from labkit.design import dossier as paper
from labkit.design.comparison import HEADS, candidates_of, describe, difference_in_words
from labkit.design.designer import design
from labkit.design.dossier import Dossier, checked, dossier_text, join
from labkit.design.rules import Alternative
from labkit.diagnose.gate import run_gate
from labkit.evaluate.scenarios import read_scenarios
from labkit.train.specs import Lora, read_spec

HOSTILE = (
    "yes",
    "no",
    "null",
    "~",
    "5",
    "0.05",
    "010",
    "12:30",
    "2025-01-31",
    "- a list",
    "key: value",
    "{a: 1}",
    "[1, 2]",
    "# no comment",
    "&anchor *alias !!tag",
    "'single' \"double\"",
    "%YAML 1.2",
    "---",
    "...",
    "| pipes | in | a row |",
    "two\nlines",
    "\n\n  indented\n\nafter a blank line  \n",
    "trailing blanks   \nnext",
    "tab\there",
    "\u2028 line \x85 separators \r\n of all kinds",
    "bell \x07 and nul \x00",
    "ünï, Δ, 中文, עברית, 👩‍🔬",
    "e\u0301 composed",
    "x" * 300,
    '<script>alert("1")</script> <b>b</b> &amp;',
    "![i](http://x) [a](b) **bold** _em_ `code` ~~out~~ $x$ <br>",
    '#panic("x") #import "y": * $x$ *b* @ref \\',
    "{{ 7 * 7 }} {% raw %}",
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80))
NAMES = TEXTS.filter(lambda text: tidy(text).split() and len(text) < 200)


def whole() -> Dossier:
    """A dossier with a member in every list and nothing written in it."""
    return checked(
        {
            "people": [{"name": "Ana", "role": "data", "parts": ["domain", "design"]}],
            "design": {"data": [{"stage": "cpt"}, {"stage": "sft"}]},
            "criteria": [{"axis": axis} for axis in AXES],
            "scenarios": [{"name": "recall"}, {"name": "forms"}, {"name": "dates"}],
            "comparison": {
                "designs": ["Your design", "Alternative 1", "Alternative 2"],
                "rows": [{"head": head, "cells": ["", "", ""]} for head in HEADS],
            },
            "failures": [{"mode": "it forgets", "axis": "instructions", "may_fall": 0.05}],
        }
    )


PATHS = [path for path, _, _ in paper.entries(whole())]


def words(**written: str) -> Dossier:
    """The same with words in some places; a double underline stands for a dot."""
    made = whole()
    for path, text in written.items():
        made = paper.with_entry(made, path.replace("__", "."), words=text)
    return made


def again(made: Dossier) -> Dossier:
    return checked(yaml.safe_load(dossier_text(made)))


# --- YAML -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_every_place_keeps_any_text(text, tmp_path):
    made = whole()
    data = made.model_dump(mode="json")
    for path in PATHS:
        *above, last = [int(step) - 1 if step.isdigit() else step for step in path.split(".")]
        held = data
        for step in above:
            held = held[step]
        held[last] = {"words": text, "proposed": text, "rests_on": [text]}
    name = text[:150]
    data |= {"title": name, "left_open": {"domain.decides": text}}
    data["conflicts"] = [{"place": "domain.name", "words": {"words": text}}]
    data["scenarios"][0]["name"] = data["failures"][0]["mode"] = data["people"][0]["role"] = name
    data["domain"]["baseline"] = {"heads": [text, "b"], "rows": [[text, ""]]}
    made = checked(data)
    assert {entry.words for _, _, entry in paper.entries(made)} == {tidy(text)}
    assert again(made) == made
    paper.save_dossier(made, tmp_path / "dossier.yaml")
    assert paper.load_dossier(tmp_path / "dossier.yaml") == made


@often(60)
@given(
    st.dictionaries(st.sampled_from(PATHS), st.tuples(TEXTS, TEXTS), max_size=6),
    st.lists(NAMES, max_size=3),
    st.dictionaries(st.sampled_from(PATHS), NAMES, max_size=2),
)
def test_a_dossier_is_the_same_after_its_text(written, names, left_open):
    made = whole()
    for path, (mine, proposed) in written.items():
        made = paper.with_entry(made, path, words=mine, proposed=proposed)
    lists = dict.fromkeys(" ".join(tidy(name).split()) for name in names)
    data = made.model_dump(mode="json") | {"left_open": left_open}
    data["people"] = [{"name": name, "role": name} for name in lists]
    made = checked(data)
    assert again(made) == made


def test_a_place_with_words_alone_is_plain_text_and_what_is_blank_is_empty():
    made = words(domain__decides="It costs.")
    assert yaml.safe_load(dossier_text(made))["domain"] == {"decides": "It costs."}
    blank = yaml.safe_load("domain:\n  name:\n  decides:\nscale:\ncriteria:\n")
    assert checked(blank) == Dossier()


def test_a_design_that_trains_goes_through_the_text():
    spec = design(pack="legal", sequence="cpt-sft-dpo", merge="slerp", t=0.4, lora=True)
    made = Dossier(
        design=paper.Design(spec=spec), comparison=paper.Compared(designs=("a",), specs=(spec,))
    )
    assert again(made) == made and again(made).design.spec == spec


def test_a_design_in_a_dossier_is_read_as_one_in_a_file(tmp_path):
    (tmp_path / "my-pack").mkdir()
    stage = {"kind": "sft", "learning_rate": 0.001, "steps": "auto"}
    own = {"pack": "my-pack", "model": "llama-s-base", "stages": [stage | {"steps": 3}]}
    compared = {"designs": ["a", "b"], "specs": [own, own | {"pack": "legal", "stages": [stage]}]}
    data = {"domain": {"pack": "my-pack"}, "design": {"spec": own}, "comparison": compared}
    (tmp_path / "dossier.yaml").write_text(yaml.safe_dump(data))
    made = paper.load_dossier(tmp_path / "dossier.yaml")
    beside = str(tmp_path / "my-pack")
    assert made.domain.pack == made.design.spec.pack == made.comparison.specs[0].pack == beside
    assert made.comparison.specs[1].stages[0].steps > 0


SPEC = {"pack": "legal", "model": "llama-s-instruct"}
STAGE = {"kind": "cpt", "learning_rate": 0.1, "steps": 1}
REFUSED = {
    "unknown part": ({"domian": {}}, "domian is not a known field; did you mean 'domain'"),
    "unknown place": ({"domain": {"decidez": "x"}}, "domain.decidez .* 'decides'"),
    "field of a place": ({"scale": {"small": {"word": "x"}}}, "scale.small.word .* 'words'"),
    "yes": ({"domain": {"decides": True}}, "domain.decides.words: .*True; put it in quotes"),
    "a number": ({"design": {"data": [{"stage": "cpt", "amount": 200}]}}, "data.1.amount.* 200;"),
    "a list": ({"closing": {"fails": ["a", "b"]}}, "closing.fails: .* write it in one"),
    "no name": ({"scenarios": [{"name": "a"}, {"success": "x"}]}, "scenarios.2.name: Field requ"),
    "an axis": ({"criteria": [{"axis": "knowlege"}]}, "criteria.1.axis: .*'knowledge'"),
    "a share": ({"criteria": [{"axis": "general", "may_fall": 5}]}, "criteria.1.may_fall: .*5"),
    "true": ({"criteria": [{"axis": "general", "may_fall": True}]}, "may_fall: must not be true"),
    "infinite": ({"criteria": [{"axis": "general", "may_fall": float("inf")}]}, "criteria.1.may"),
    "twice": ({"failures": [{"mode": "a"}, {"mode": " a "}]}, "failures: 'a' is there 2 times"),
    "axis": ({"failures": [{"mode": "a", "axis": "speed"}]}, "axis .*'speed'; known: knowledge"),
    "diagnosis": ({"failures": [{"mode": "a", "diagnosis": "bariere"}]}, "did you mean 'barrier'"),
    "cells": ({"comparison": {"designs": ["a", "b"], "rows": [{"head": "h", "cells": ["x"]}]}},
              "comparison: row 'h' holds 1 for 2 designs"),
    "table": ({"scale": {"sizes": {"heads": ["a"], "rows": [["1", "2"]]}}}, "row 1 holds 2 for 1"),
    "spec": ({"design": {"spec": SPEC | {"stages": [], "seeds": 1}}}, "spec.seeds .* 'seed'"),
    "stage": ({"design": {"spec": SPEC | {"stages": [STAGE | {"step": 1}]}}},
              "design.spec.stages.1.step is not a known field; did you mean 'steps'"),
    "rate": ({"design": {"spec": SPEC | {"stages": [STAGE | {"learning_rate": -1}]}}},
             r"design.spec.stages.1.learning_rate: .*\(got -1\)"),
    "cases": ({"scenarios": [{"name": "a", "scenario": {"name": "a", "about": "", "at_least": 0,
               "cases": [{"ask": "?", "expect": {"sayz": "x"}}]}}]}, "expect.sayz .* 'says'"),
    "left open": ({"left_open": {"domain.decidez": "x"}}, "did you mean 'domain.decides'"),
    "too long": ({"domain": {"decides": "x" * 6000}}, 
                 "domain.decides.words: 6000 characters are too many; at most 5000 [^x]*$"),
    "a long name": ({"scenarios": [{"name": "x" * 300}]}, "scenarios.1.name: 300 characters"),
    "no mode": ({"failures": [{"mode": " "}]}, "failures.1.mode: must not be empty"),
    "nothing": (None, "expected the parts domain, design"),
    "a text": ("hello", "expected the parts"),
    "a key": ({5: 6}, "5 is no name of a field.*title"),
    "a person": ({"people": "Ann"}, "people: expected a list.*- name: Ann"),
    "persons": ({"people": ["Ann"]}, "people.1: expected fields.*name: Ann"),
    "parts": ({"people": [{"name": "Ann", "parts": "scale"}]}, r"1.parts: .*a list, such as `\["),
    "a part": ({"people": [{"name": "Ann", "parts": ["scales"]}]}, "Ann: parts: .*'scale'"),
    "no fields": ({"domain": "law"}, "domain: expected fields with values, such as `name: "),
    "reasons": ({"left_open": "later"}, "left_open: expected .*domain.decides: asked"),
    "no reason": ({"left_open": {"domain.decides": " "}}, "domain.decides: must not be empty"),
    "conflict": ({"conflicts": [{"place": "domain.nam", "words": {"a": "b"}}]}, "no place.*'name'"),
    "designs": ({"comparison": {"designs": ["a", "a"]}}, "designs: 'a' is there 2 times"),
}  # fmt: skip


@pytest.mark.parametrize("data,told", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_one_sentence(data, told, tmp_path):
    path = tmp_path / "dossier.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(InputError) as error:
        paper.load_dossier(path)
    sentence = str(error.value)
    assert sentence.startswith(f"{path}: ") and sentence.endswith("see docs/dossier.md")
    assert re.search(told, sentence) and "\n" not in sentence and len(sentence) < 700


def test_a_path_that_is_no_place_is_refused_with_one_that_is():
    for path in ("domain.decidez", "scenarios.9.success", "domain", "", "scenarios.x.success"):
        with pytest.raises(InputError, match="there is no place"):
            paper.with_entry(whole(), path, words="x")
    with pytest.raises(InputError, match=r"did you mean 'scale\.small'"):
        paper.with_entry(whole(), "scale.smal", words="x")
    with pytest.raises(InputError, match=r"domain\.decides\.word is not a known field"):
        paper.with_entry(whole(), "domain.decides", word="x")


# --- docs/dossier.md --------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "dossier.md"


def example() -> Dossier:
    """What the page shows, with what labkit proposes for one place."""
    made = checked(
        {
            "title": "Clause questions for the contracts desk",
            "people": [
                {"name": "Ana", "role": "lawyer", "parts": ["domain", "scenarios"]},
                {"name": "Ben", "role": "engineer", "parts": ["design", "scale"]},
            ],
            "domain": {"name": "contract clauses", "pack": "legal", "decides": EXAMPLE},
            "criteria": [{"axis": "instructions", "asks": "one word if asked", "may_fall": 0.05}],
            "scenarios": [
                {
                    "name": "missing clause",
                    "success": "says that the contract has no such clause",
                    "failure": "names a clause that is not there",
                }
            ],
            "failures": [
                {
                    "mode": "requests about form are forgotten",
                    "test": "twenty requests for one word, before and after",
                    "axis": "instructions",
                    "may_fall": 0.05,
                    "diagnosis": "instruction loss",
                }
            ],
            "left_open": {"deployment.audit": "the audit office answers in May"},
        }
    )
    spec = design(pack="legal", sequence="cpt-sft", merge="slerp")
    design_alone = made.design.model_copy(update={"spec": spec})
    return paper.with_entry(
        made.model_copy(update={"design": design_alone}),
        "scale.needed",
        words="The smallest size that knows our clause names.",
        proposed="Begin with the smallest size whose untouched model is above chance.",
    )


EXAMPLE = (
    "A wrong clause number costs a client money.\nA friendly answer with a wrong number costs more."
)


def test_the_page_shows_a_dossier_as_the_code_writes_it():
    assert f"```yaml\n{dossier_text(example())}```" in PAGE.read_text("utf-8")


def test_the_page_names_every_part_and_every_file():
    told = PAGE.read_text("utf-8")
    assert all(f"`{part}`" in told for part in paper.PARTS)
    assert all(f"`{name}`" in told for name in ("design.yaml", "scenarios.yaml", "gate.yaml"))


# --- joined -----------------------------------------------------------------------------------


def of(name: str, data: dict) -> Dossier:
    return checked({"people": [{"name": name}], **data})


def test_members_of_lists_meet_by_their_names_whatever_their_order():
    ana = of("Ana", {"scenarios": [{"name": "a", "success": "A"}, {"name": "b", "success": "same"}],
                     "criteria": [{"axis": "general", "asks": "g"}],
                     "left_open": {"scenarios.2.failure": "Ana waits"}})  # fmt: skip
    ben = of("Ben", {"scenarios": [{"name": "c"}, {"name": "b", "success": "same", "failure": "F"},
                                   {"name": "a", "success": "B"}],
                     "criteria": [{"axis": "knowledge"}, {"axis": "general", "may_fall": 0.1}],
                     "left_open": {"scenarios.1.failure": "Ben waits"}})  # fmt: skip
    made = join([ana, ben])
    assert [one.name for one in made.scenarios] == ["a", "b", "c"]
    assert made.scenarios[1].failure.words == "F" and made.criteria[0].may_fall == 0.1
    assert made.left_open == {
        "scenarios.2.failure": "Ana waits",
        "scenarios.3.failure": "Ben waits",
    }
    assert [(one.place, one.words) for one in made.conflicts] == [
        ("scenarios.1.success", {"Ana": "A", "Ben": "B"})
    ]
    assert made.scenarios[0].success.words == "A"
    assert checked(yaml.safe_load(dossier_text(made))) == made
    cleo = of("Cleo", {"scenarios": [{"name": "z"}]})
    assert [one.place for one in join([cleo, made]).conflicts] == ["scenarios.2.success"]


def test_everything_that_differs_is_told_and_the_first_stays():
    first, second = design(sequence="cpt-sft", pack="legal"), design(sequence="sft", pack="legal")
    parts = [
        of(
            name,
            {
                "title": name,
                "domain": {"name": f"domain of {name}", "pack": pack},
                "design": {"spec": spec.model_dump(mode="json")},
                "criteria": [{"axis": "general", "may_fall": fall}],
                "failures": [{"mode": "m", "axis": axis, "found": ""}],
                "scale": {"sizes": {"heads": ["h"], "rows": [[name]]}},
            },
        )
        for name, pack, spec, fall, axis in (
            ("Ana", "legal", first, 0.0, "general"),
            ("Ben", "biomed", second, 0.1, "knowledge"),
        )
    ]
    made = join(parts)
    assert {one.place for one in made.conflicts} == {
        "title", "domain.name", "domain.pack", "design.spec", "criteria.1.may_fall",
        "failures.1.axis", "scale.sizes",
    }  # fmt: skip
    assert made.design.spec == first and made.criteria[0].may_fall == 0.0 and made.title == "Ana"
    assert all(set(one.words) == {"Ana", "Ben"} for one in made.conflicts)


def test_proposals_and_what_they_rest_on_are_taken_where_the_first_has_none():
    proposal = {"proposed": "p", "rests_on": ["finding"]}
    made = join(
        [
            of("Ana", {"scale": {"small": {"words": "mine", "rests_on": ["own"]}}}),
            of("Ben", {"scale": {"small": proposal, "needed": proposal}}),
        ]
    )
    assert made.scale.small.model_dump() == {
        "words": "mine",
        "proposed": "p",
        "rests_on": ("own", "finding"),
    }
    assert made.scale.needed.proposed == "p" and made.conflicts == ()


def test_columns_of_a_comparison_meet_by_the_designs_names():
    def compared(name: str, *designs: str) -> Dossier:
        rows = [{"head": name, "cells": list(designs)}, {"head": "Approach", "cells": designs}]
        spec = design(pack="legal", sequence="cpt").model_dump(mode="json")
        specs = [{**spec, "seed": ord(one)} for one in designs]
        return of(name, {"comparison": {"designs": designs, "rows": rows, "specs": specs}})

    made = join([compared("Ana", "x", "y"), compared("Ben", "y", "z")])
    assert made.comparison.designs == ("x", "y", "z") and len(made.comparison.specs) == 3
    assert [row.head for row in made.comparison.rows] == ["Ana", "Approach", "Ben"]
    assert [[cell.words for cell in row.cells] for row in made.comparison.rows] == [
        ["x", "y", ""], ["x", "y", "z"], ["", "y", "z"],
    ]  # fmt: skip
    paper.sheet_of(made)
    without = compared("Ben", "y", "z").comparison.model_copy(update={"specs": ()})
    made = join(
        [compared("Ana", "x", "y"), of("Ben", {}).model_copy(update={"comparison": without})]
    )
    assert [one.seed for one in made.comparison.specs] == [ord("x"), ord("y")]
    assert made.comparison.designs == ("x", "y", "z") and not made.conflicts


def test_people_of_one_name_are_told_apart_and_keep_their_parts():
    ana = checked({"people": [{"name": "Ana", "role": "data", "parts": ["domain"]}]})
    also = checked({"people": [{"name": "Ana", "role": "tests", "parts": ["scale", "domain"]}]})
    made = join([ana, also, Dossier()])
    (said,) = made.conflicts
    assert said.place == "people.1.role"
    assert said.words == {"Ana (dossier 1)": "data", "Ana (dossier 2)": "tests"}
    assert made.people[0].parts == ("domain", "scale")


def test_a_person_who_is_called_as_a_dossier_is_hides_nobody():
    first = of("dossier 2", {"domain": {"decides": "A"}})
    made = join([first, checked({"domain": {"decides": "B"}})])
    assert len(made.conflicts) == 1
    assert list(made.conflicts[0].words.values()) == ["A", "B"]


@pytest.mark.parametrize("stage", ["CPT", "Pre-training", " Continued  pre-training", "cpt"])
def test_a_stage_by_its_common_name_is_that_stage(stage):
    assert checked({"design": {"data": [{"stage": stage}]}}).design.data[0].stage == "cpt"
    assert checked({"design": {"data": [{"stage": "Our own"}]}}).design.data[0].stage == "Our own"


def test_joining_takes_two():
    with pytest.raises(InputError, match="two dossiers or more"):
        join([whole()])


def test_joining_with_an_empty_one_or_itself_changes_nothing():
    made = words(domain__decides="x", scenarios__2__failure="y", comparison__rows__3__cells__2="z")
    for parts in ([made, Dossier()], [Dossier(), made], [made, made]):
        assert join(parts) == made


def test_two_designs_of_one_name_stay_two_columns_and_one_design_is_one():
    def compared(who: str, left_open: dict, *seeds: int) -> Dossier:
        spec = design(pack="legal", sequence="cpt").model_dump(mode="json")
        names = ["Your design", "Alternative 1", "Alternative 2"]
        rows = [{"head": "Approach", "cells": [f"{who} on {seed}" for seed in seeds[:2]] + [""]}]
        specs = [{**spec, "seed": seed} for seed in seeds]
        about = {"designs": names, "specs": specs, "rows": rows}
        return of(who, {"comparison": about, "left_open": left_open})

    later = {"comparison.rows.1.cells.3": "Ben waits for 2"}
    made = join([compared("Ana", {}, 0, 1, 2), compared("Ben", later, 0, 3, 1)])
    assert made.comparison.designs == (
        "Your design", "Alternative 1", "Alternative 2", "Alternative 1 (Ben)",
    )  # fmt: skip
    assert [one.seed for one in made.comparison.specs] == [0, 1, 2, 3]
    told = [cell.words for cell in made.comparison.rows[0].cells]
    assert told == ["Ana on 0", "Ana on 1", "", "Ben on 3"]
    assert made.left_open == {"comparison.rows.1.cells.2": "Ben waits for 2"}
    assert [one.place for one in made.conflicts] == ["comparison.rows.1.cells.1"]
    assert again(made) == made and join([made, made]) == made


# --- what the kit runs ------------------------------------------------------------------------


def test_the_sheet_says_which_way_of_failing_demands_more_than_a_criterion():
    made = checked(
        {
            "criteria": [{"axis": "general"}, {"axis": "knowledge", "may_fall": 0.0}],
            "failures": [
                {"mode": "it forgets", "axis": "general", "may_fall": 0.05},
                {"mode": "it learns nothing", "axis": "knowledge", "may_fall": 0.2},
            ],
        }
    )
    general, knowledge = paper.part_of(made, "criteria").sections[0].rows
    assert general[-1] == "0.05, demanded by the way of failing 'it forgets'"
    assert knowledge[-1] == "0.00"


def test_the_strictest_of_criteria_and_failures_must_hold():
    made = checked(
        {
            "criteria": [
                {"axis": "knowledge", "may_fall": 0.0},
                {"axis": "general", "may_fall": 0.1},
                {"axis": "creativity"},
            ],
            "failures": [
                {"mode": "a", "axis": "general", "may_fall": 0.05},
                {"mode": "b", "axis": "knowledge", "may_fall": 0.2},
                {"mode": "c", "axis": "instructions", "may_fall": 1},
                {"mode": "d", "axis": "reasoning"},
                {"mode": "e", "may_fall": 0.0},
            ],
        }
    )
    assert paper.must_hold(made) == {"knowledge": 0.0, "general": 0.05, "instructions": 1.0}
    assert {*paper.watched(made)} <= {"general", "knowledge", "instructions", "reasoning"}


# --- proposed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proposals():
    """What labkit proposes on a shipped pack, each once."""
    made: dict[str, Dossier] = {}

    def of(pack: str) -> Dossier:
        if pack not in made:
            kinds = ("sft",)
            if load_pack(pack).invented:  # reading real text takes a minute to count
                kinds = ("cpt", "sft", "dpo")
            spec = design(pack=pack, sequence="-".join(kinds), merge="slerp", profile="smoke")
            others = [
                Alternative(f"seed {seed}", spec.model_copy(update={"seed": seed}))
                for seed in (1, 2)
            ]
            found = None if load_pack(pack).invented else describe(candidates_of(spec, others))
            made[pack] = paper.proposed(spec, found=found)
        return made[pack]

    return of


@pytest.mark.parametrize("pack", shipped_packs())
def test_every_shipped_pack_leaves_no_place_empty(proposals, pack):
    made = proposals(pack)
    assert paper.empty(made) == [] and again(made) == made
    assert paper.counts(made)[0] == 0 and "Not measured yet" in made.domain.underperforms.proposed
    assert len(made.comparison.specs) == 3 and made.comparison.specs[0] == made.design.spec


def test_what_was_written_stays_and_a_second_proposal_is_the_first(proposals):
    made = proposals("legal")
    assert paper.proposed(made.design.spec, made) == made
    written = paper.with_entry(made, "failures.1.action", words="stop")
    written = paper.with_entry(written, "comparison.rows.2.cells.3", words="cheap")
    other = design(pack="legal", sequence="sft", profile="smoke")
    found = paper.proposed(other, written)
    told = dossier_text(found)
    assert "stop" in told and "cheap" in told and found.design.spec == other
    assert found.comparison.specs[0] == other


def test_a_row_or_column_that_the_comparison_lacks_stays_when_somebody_wrote_in_it():
    spec = design(pack="legal", sequence="sft", profile="smoke")
    before = checked(
        {
            "comparison": {
                "designs": ["a", "b", "c"],
                "rows": [
                    {"head": "Approach", "cells": ["", "", "own third"]},
                    {"head": "Ethics", "cells": ["own row", "", ""]},
                    {"head": "Colour", "cells": ["", "", ""]},
                ],
            }
        }
    )
    found = describe(candidates_of(spec, [Alternative("the same", spec)]))
    made = paper.propose_comparison(before, found).comparison
    assert made.designs == ("Your design", "Alternative 1", "c") and made.specs == (spec, spec)
    rows = {row.head: row.cells for row in made.rows}
    assert rows.keys() == {*HEADS, "Ethics"}
    assert rows["Approach"][2].words == "own third" and rows["Ethics"][0].words == "own row"


def test_words_stay_with_their_design_and_an_earlier_one_keeps_a_column():
    spec = design(pack="legal", sequence="sft", profile="smoke")

    def beside(own: int, *seeds: int):
        others = [Alternative("", spec.model_copy(update={"seed": seed})) for seed in seeds]
        return describe(candidates_of(spec.model_copy(update={"seed": own}), others))

    made = paper.propose_comparison(Dossier(), beside(0, 1, 2))
    made = paper.with_entry(made, "comparison.rows.1.cells.2", words="on the first")
    made = paper.with_entry(made, "comparison.rows.1.cells.3", words="on the second")
    left_open = {
        "comparison.rows.2.cells.1": "mine",
        "comparison.rows.2.cells.2": "gone",
        "comparison.rows.2.cells.3": "second",
    }
    made = made.model_copy(update={"left_open": left_open})
    found = again(paper.propose_comparison(made, beside(0, 2, 3)))
    names = found.comparison.designs
    assert names[:3] == ("Your design", "Alternative 1", "Alternative 2")
    assert len(names) == 4 and names[3].startswith("earlier: ")
    assert [cell.words for cell in found.comparison.rows[0].cells] == [
        "", "on the second", "", "on the first",
    ]  # fmt: skip
    assert found.left_open == {
        "comparison.rows.2.cells.1": "mine",
        "comparison.rows.2.cells.2": "second",
        "comparison.rows.2.cells.4": "gone",
    }
    back = again(paper.propose_comparison(found, beside(0, 1, 2)))
    assert back.comparison == made.comparison and back.left_open == left_open
    assert paper.propose_comparison(back, beside(0, 1, 2)) == back
    assert paper.propose_comparison(found, beside(0, 2, 3)) == found


def test_a_reason_for_a_place_that_is_gone_falls_away_and_is_told_of():
    spec = design(pack="legal", sequence="cpt-sft", merge="slerp", profile="smoke")
    before = paper.propose_failures(paper.propose_design(Dossier(), spec), spec)
    last = len(before.failures)
    data = before.model_dump(mode="json") | {
        "left_open": {
            "design.data.2.source": "we ask in May",
            f"failures.{last}.action": "later",
        },
        "conflicts": [
            {"place": f"failures.{last}.may_fall", "words": {"a": "1", "b": "2"}},
            {"place": "design.data.2.source", "words": {"a": "1", "b": "2"}},
        ],
    }
    before = checked(data)
    other = design(pack="legal", sequence="cpt", profile="smoke")
    made = again(paper.propose_failures(paper.propose_design(before, other), other))
    assert made.failures[-1].mode == before.failures[-1].mode and len(made.failures) < last
    assert made.left_open == {f"failures.{len(made.failures)}.action": "later"}
    assert [one.place for one in made.conflicts] == [
        f"failures.{len(made.failures)}.may_fall",
        "design",
    ]
    (told,) = paper.fell_away(before, made)
    assert "we ask in May" in told and "no such place" in told


def test_another_pack_takes_what_came_from_the_first_and_no_words(proposals):
    first, table = proposals("legal"), paper.Table(heads=("x",), rows=(("1",),))
    spec = first.design.spec
    assert spec and first.domain.name == load_pack("legal").title
    own = paper.TestScenario(name="court dates", scenario=first.scenarios[0].scenario)
    made = first.model_copy(
        update={
            "domain": first.domain.model_copy(update={"baseline": table}),
            "criteria": tuple(c.model_copy(update={"found": table}) for c in first.criteria),
            "failures": tuple(f.model_copy(update={"found": "fell"}) for f in first.failures),
            "scenarios": (*first.scenarios, own),
        }
    )
    made = paper.with_entry(made, "scenarios.2.failure", words="two answers")
    assert paper._without_old(made, spec) == made
    other = paper._without_old(made, spec.model_copy(update={"pack": "materials"}))
    assert other.domain.name == "" and not other.domain.baseline.rows
    assert [one.name for one in other.scenarios] == [made.scenarios[1].name, "court dates"]
    assert other.scenarios[0].scenario is None and other.scenarios[1].scenario
    assert other.scenarios[0].failure.words == "two answers"
    assert not any(one.found.rows for one in other.criteria)
    assert not any(one.found for one in other.failures)
    assert "scenario" in " ".join(paper.fell_away(made, other))
    longer = paper._without_old(made, spec.model_copy(update={"merge": None}))
    assert longer.domain == made.domain and not any(one.found for one in longer.failures)


def test_data_of_a_stage_that_the_design_lacks_stays_when_somebody_wrote_in_it():
    spec = design(pack="legal", sequence="sft", profile="smoke")
    before = checked({"design": {"data": [{"stage": "dpo", "source": "panel"}, {"stage": "cpt"}]}})
    made = paper.propose_design(before, spec)
    assert [(one.stage, one.source.words) for one in made.design.data] == [
        ("sft", ""),
        ("dpo", "panel"),
    ]


def test_a_pack_of_ones_own_without_scenarios_and_without_questions(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(6):
        told = [f"Ward {number}{i} keeps {i + 3} beds and one nurse at night." for i in range(40)]
        (tmp_path / "texts" / f"{number}.txt").write_text("\n\n".join(told))
    from labkit.data.ingest import new_pack

    new_pack("wards", tmp_path / "texts", tmp_path / "wards")
    pack = str(tmp_path / "wards")
    assert not load_pack(pack).has("qa")
    made = paper.proposed(design(pack=pack, sequence="cpt", profile="smoke"))
    assert again(made) == made and made.domain.pack == pack
    assert {one.stage for one in made.design.data} == {"cpt"}
    assert all(one.asks.filled for one in made.criteria)
    lacking = [one for one in paper.empty(made) if "Scenarios" not in one]
    assert lacking == []


def test_before_there_is_a_design_or_a_pack_little_is_proposed_and_the_rest_is_named():
    made = paper.proposed_on_paper(checked({"domain": {"name": "tide tables", "pack": "later"}}))
    assert made.domain.pack == "later" and made.deployment.reviews.proposed
    assert "(ii) The pipeline: Start model (design.start)" in paper.empty(made)


# --- out --------------------------------------------------------------------------------------


def test_nothing_of_a_text_is_markup_in_any_file(tmp_path):
    evil = (
        '<script>alert("1")</script> **bold** [a](http://b) ![i](http://c) `code` ~~out~~ '
        "| pipe | #panic() $x$ *b* {{ 7 * 7 }}"
    )
    data = whole().model_dump(mode="json")
    data |= {"title": evil, "left_open": {"domain.underperforms": evil}}
    data["people"] = [{"name": evil, "role": evil}]
    table = {"heads": [evil], "rows": [[evil]]}
    data["domain"] |= {"name": evil, "decides": evil, "baseline": table}
    data["scenarios"][0] |= {"name": evil, "success": f"- {evil}\n# {evil}\n> {evil}"}
    data["comparison"]["rows"][0]["cells"][1] = evil
    data["comparison"]["matters"] = f"1. {evil}"
    data["conflicts"] = [{"place": "title", "words": {evil: evil, "b": evil}}]
    paths = {path.name: path for path in paper.export(checked(data), tmp_path)}
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for html in (
        paths["dossier.html"].read_text("utf-8"),
        rendered.render(paths["dossier.md"].read_text("utf-8")),
    ):
        assert html.count("alert(") > 8
        for tag in ("script", "a ", "img", "code", "em", "s>", "h3>al", "ol", "ul", "blockquote"):
            assert f"<{tag}" not in html.replace("<style", "")
    lines = [one for one in paths["dossier.md"].read_text("utf-8").splitlines() if one[:1] == "|"]
    tables = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    heads = [tables[i - 1] for i, line in enumerate(lines) if line.startswith("| ---")]
    assert set(tables) == set(heads)
    pages = pypdf.PdfReader(paths["dossier.pdf"]).pages
    told = "".join("".join(page.extract_text().split()) for page in pages)
    assert told.count('<script>alert("1")</script>**bold**[a](http://b)') > 8
    assert paper.load_dossier(paths["dossier.yaml"]) == checked(data)


def test_what_goes_out_is_what_the_kit_reads(proposals, tmp_path):
    made = proposals("materials")
    paths = {path.name: path for path in paper.export(made, tmp_path)}
    assert paths.keys() == {
        "dossier.yaml", "dossier.html", "dossier.md", "dossier.pdf",
        "design.yaml", "scenarios.yaml", "gate.yaml",
    }  # fmt: skip
    assert read_spec(paths["design.yaml"]) == made.design.spec
    assert read_scenarios(paths["scenarios.yaml"]) == paper.scenarios_of(made)
    held = yaml.safe_load(paths["gate.yaml"].read_text())["must_hold"]
    assert held == paper.must_hold(made)
    report = run_gate(
        "llama-s-instruct", "llama-s-instruct", pack="materials", profile="smoke", must_hold=held
    )
    assert {one.axis for one in report.axes} == held.keys()


def test_an_empty_dossier_goes_out_and_names_what_is_missing(tmp_path):
    paths = paper.export(Dossier(), tmp_path)
    assert {path.suffix for path in paths} == {".yaml", ".html", ".md", ".pdf"}
    told = (tmp_path / "dossier.md").read_text("utf-8")
    assert all(lack.split(":")[0] in told for lack in paper.empty(Dossier()))


def test_a_letter_that_no_font_can_draw_leaves_the_other_files(tmp_path):
    made = words(domain__decides="\U00012345 cuneiform \U0001f9ff")
    try:
        paper.export(made, tmp_path)
    except InputError as error:  # on a machine that has no font for it
        assert "no font here can draw" in str(error) and "\n" not in str(error)
    assert paper.load_dossier(tmp_path / "dossier.yaml") == made
    assert {path.suffix for path in tmp_path.iterdir()} >= {".yaml", ".html", ".md"}


# --- the command ------------------------------------------------------------------------------


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["dossier", *map(str, words)])
    if isinstance(done.exception, InputError):
        return 2, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_dossier_is_begun_from_a_design_and_gone_on_with(tmp_path, shared_home, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(shared_home))
    text = "pack: legal\nmodel: llama-s-instruct\nprofile: smoke\nstages: gentle\n"
    (tmp_path / "design.yaml").write_text(text)
    code, told = run("--from", tmp_path / "design.yaml", "--to", tmp_path / "dossier.yaml")
    assert code == 0 and "No place is empty" in told
    made = paper.load_dossier(tmp_path / "dossier.yaml")
    assert not made.domain.baseline.rows and "Not measured yet" in dossier_text(made)
    paper.save_dossier(
        paper.with_entry(made, "domain.decides", words="It costs."), tmp_path / "dossier.yaml"
    )
    code, told = run("--from", tmp_path / "dossier.yaml", "--measure", "--to", tmp_path / "out")
    assert code == 0 and "1 of " in told and "dossier.pdf" in told
    made = paper.load_dossier(tmp_path / "out" / "dossier.yaml")
    assert made.domain.decides.words == "It costs."
    assert {row[0] for row in made.domain.baseline.rows} >= set(AXES)
    assert "nobody has adapted is weakest" in made.domain.underperforms.proposed


def test_parts_are_joined_and_what_differs_is_printed(tmp_path):
    for name, told in (("ana", "A"), ("ben", "B\nand C")):
        made = words(domain__decides=told).model_copy(update={"people": ()})
        paper.save_dossier(made, tmp_path / f"{name}.yaml")
    code, told = run(tmp_path / "ana.yaml", tmp_path / "ben.yaml", "--to", tmp_path / "both")
    assert code == 0
    assert "differs: domain.decides: dossier 1: A" in told
    assert "differs: domain.decides: dossier 2: B and C" in told
    assert "missing: (i) The domain: its name" in told
    assert len(paper.load_dossier(tmp_path / "both" / "dossier.yaml").conflicts) == 1


def test_what_cannot_be_begun_or_joined_is_one_sentence(tmp_path):
    paper.save_dossier(whole(), tmp_path / "a.yaml")
    (tmp_path / "bad.yaml").write_text("domain: [")
    (tmp_path / "no.pdf").write_text("hello")
    for given_words, told in (
        ((), "name dossiers to write out or join"),
        ((tmp_path / "a.yaml", "--from", tmp_path / "a.yaml"), "name dossiers to write out"),
        ((tmp_path / "a.yaml", "--measure"), "--measure goes with --from"),
        (("--from", tmp_path / "a.yaml", "--measure"), "needs a design"),
        ((tmp_path / "none.yaml",), "no such file"),
        (("--from", tmp_path / "none.yaml"), "no such file"),
        (("--from", tmp_path / "bad.yaml"), "not valid YAML"),
        (("--from", tmp_path / "no.pdf"), "this is no PDF; labkit handout makes"),
    ):
        code, said = run(*given_words, "--to", tmp_path / "out")
        assert code == 2 and told in said, said
    assert not (tmp_path / "out").exists()


# --- in words ---------------------------------------------------------------------------------


def test_a_schedule_and_a_list_of_sources_are_told_in_words():
    plain = design(pack="legal", sequence="cpt", merge="slerp", profile="smoke")
    assert plain.merge
    told = {
        paper._merging(
            plain.model_copy(update={"merge": type(plain.merge).model_validate({"t": t})})
        )
        for t in ("paper", [0.0, 0.5], [0.0, 1.0], [{"filter": "mlp", "value": 1.0}, {"value": 0}])
    }
    assert len(told) == 4 and any("the schedule 'paper' over depth" in one for one in told)
    stage = plain.stages[0].model_copy(update={"sources": ("raw",), "lora": Lora(rank=4)})
    other = plain.model_copy(update={"stages": (stage,)})
    told.add(difference_in_words(plain, other))
    assert any("cpt sources: raw (not raw and summaries)" in one for one in told)
    assert not [one for one in told if re.search(r"Part\(|\('|\[|rank=|None", one)]
