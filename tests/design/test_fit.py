from __future__ import annotations

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.base.pages import sheet_pdf
from labkit.design import fit
from labkit.design.fit import (
    RULES,
    TOOLS,
    Situation,
    advice_html,
    advice_sheet,
    advice_text,
    advise,
    load_situation,
)

PLAIN = {"facts_change": "yearly", "words": 200_000, "questions_answers": 0, "gpus": "many"}
ONE_OF_EACH = {
    "first a prompt": {},
    "the model knows it": {"model_knows": "most"},
    "facts move daily or weekly": {"facts_change": "weekly"},
    "facts move monthly": {"facts_change": "monthly"},
    "facts the model lacks": {"model_knows": "some"},
    "sources must be cited": {"citations_needed": True},
    "no text to look up": {"words": 0},
    "little text": {"words": 5_000},
    "much text, stable facts": {"words": 2_000_000},
    "specialist language": {"specialist_language": True},
    "questions about the whole": {"whole_corpus": True},
    "answers at once": {"latency": "sub-second"},
    "no pairs": {},
    "few pairs": {"questions_answers": 50},
    "pairs to learn the form from": {"questions_answers": 2_000},
    "new facts by pairs alone": {"model_knows": "little", "questions_answers": 500},
    "a form of one's own": {"format_needs": "fixed", "questions_answers": 200},
    "a schema that a program reads": {"format_needs": "strict"},
    "pairs of better and worse": {"preference_pairs": 1_000},
    "retrieval with pairs": {"citations_needed": True, "questions_answers": 2_000},
    "no memory of the text": {"privacy": "no memory"},
    "readers by rights": {"readers": "by rights"},
    "documents must be deletable": {"must_forget": True},
    "a model of one's own": {"privacy": "on premises", "questions_answers": 2_000},
    "no GPU": {"gpus": "none"},
    "one GPU": {"gpus": "one"},
    "general ability must stay": {"general_ability_needed": True},
}
ALWAYS = {"first a prompt"}


def advice(**changes):
    return advise(Situation(**{**PLAIN, **changes}))


def fired(**changes) -> set[str]:
    return {rule.name for rule in advice(**changes).rules}


def test_the_list_of_rules_is_the_one_tested():
    assert {rule.name for rule in RULES} == set(ONE_OF_EACH) and len(RULES) >= 12
    for rule in RULES:
        assert (
            rule.reason
            and rule.source
            and {*rule.needs, *rule.wants, *rule.against, *rule.rules_out} <= set(TOOLS)
        )


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_each_rule_fires_where_it_should_and_not_everywhere(name):
    assert name in fired(**ONE_OF_EACH[name])
    quiet = {
        "facts_change": "yearly",
        "words": 200_000,
        "questions_answers": 500,
        "model_knows": "most",
    }
    assert (name in fired(**quiet)) == (name in ALWAYS | {"the model knows it"})


# --- whole situations, as an expert would answer them
# -------------------------------------------------


@pytest.mark.parametrize(
    "situation,recommended,undecided",
    [
        (
            {"facts_change": "daily", "words": 5_000_000, "citations_needed": True},
            ("prompting", "retrieval"),
            (),
        ),
        (
            {
                "words": 50_000_000,
                "questions_answers": 5_000,
                "latency": "sub-second",
                "model_knows": "little",
            },
            ("prompting", "CPT", "SFT"),
            ("retrieval",),
        ),
        (
            {
                "words": 50_000_000,
                "questions_answers": 5_000,
                "latency": "sub-second",
                "model_knows": "little",
                "general_ability_needed": True,
            },
            ("prompting", "CPT", "SFT", "merging"),
            ("retrieval",),
        ),
        (
            {
                "words": 0,
                "questions_answers": 800,
                "format_needs": "fixed",
                "model_knows": "most",
                "gpus": "one",
            },
            ("prompting", "SFT"),
            (),
        ),
        (
            {"words": 0, "format_needs": "strict", "model_knows": "most"},
            ("prompting", "constrained decoding"),
            (),
        ),
        ({"words": 4_000, "questions_answers": 20}, ("prompting",), ()),
        ({"words": 4_000, "questions_answers": 20, "citations_needed": True}, ("prompting",), ()),
        (
            {"words": 900_000, "questions_answers": 3_000, "privacy": "no memory"},
            ("prompting", "retrieval"),
            (),
        ),
        (
            {"words": 900_000, "questions_answers": 3_000, "citations_needed": True},
            ("prompting", "retrieval", "SFT"),
            (),
        ),
        ({"words": 900_000, "readers": "by rights"}, ("prompting", "retrieval"), ()),
        (
            {"words": 9_000_000, "questions_answers": 3_000, "gpus": "none"},
            ("prompting", "retrieval"),
            ("CPT", "SFT"),
        ),
        (
            {"words": 9_000_000, "questions_answers": 3_000, "preference_pairs": 4_000},
            ("prompting", "retrieval", "CPT", "SFT", "preferences"),
            (),
        ),
    ],
)
def test_situations(situation, recommended, undecided):
    found = advice(**situation)
    assert found.recommended == recommended and found.open == undecided
    assert found.conflicts == ()


def test_a_merge_needs_a_trained_parent():
    assert "merging" not in advice(general_ability_needed=True).recommended
    assert advice(general_ability_needed=True, questions_answers=2_000).recommended[-2:] == (
        "SFT",
        "merging",
    )
    assert advice(general_ability_needed=True, questions_answers=2_000, gpus="none").open == (
        "SFT",
        "merging",
    )


def test_needs_that_contradict_are_said():
    found = advice(citations_needed=True, words=0)
    assert (
        "retrieval" not in found.recommended
        and "needed" in found.sentence
        and "ruled out" in found.sentence
        and "gives way" in found.sentence
    )
    found = advice(facts_change="daily", latency="sub-second")
    assert "retrieval" in found.recommended and "measure whether both can be met" in found.sentence


def test_what_would_change_it_does_change_it():
    found = advice(words=50_000_000, questions_answers=5_000)
    told = dict(found.changes)
    assert (
        told["how often the facts change: daily"] == "without CPT"
        and told["where the text may go: no memory"] == "without CPT, without SFT"
    )
    assert (
        told["words of domain text: 30,000 to 999,999"] == "without CPT"
        and told["an answer must come within: sub-second"] == "perhaps retrieval"
    )
    assert "who may read a document: everyone" not in told  # the answer given
    assert (
        "CPT"
        not in advice(words=50_000_000, questions_answers=5_000, facts_change="daily").recommended
    )
    assert "CPT" not in advice(words=999_999, questions_answers=5_000).recommended


def test_pages_tell_reasons_with_sources_and_are_escaped(tmp_path):
    found = advice(facts_change="daily", citations_needed=True)
    text = " ".join(advice_text(found).split())
    assert (
        all(" ".join(rule.reason.split()) in text and rule.source in text for rule in found.rules)
        and found.sentence in text
    )
    assert "how often the facts change: daily" in text and "words of domain text: 200,000" in text
    html = advice_html(found)
    assert "<table" in html and "arXiv 2005.11401" in html and "<script>" not in html
    assert sheet_pdf(advice_sheet(found), tmp_path / "fit.pdf").is_file()


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"facts_change": "hourly"}, "facts_change: .*'daily'"),
        ({"words": -5}, "words: .*greater than or equal to 0"),
        ({"words": "many"}, "words: .*valid integer"),
        ({"gpu": "one"}, "gpu: not a known field; did you mean 'gpus'"),
        ({"citations_needed": "perhaps"}, "citations_needed: .*boolean"),
    ],
)
def test_a_wrong_answer_is_one_sentence(tmp_path, changes, sentence):
    path = tmp_path / "situation.yaml"
    path.write_text(yaml.safe_dump({**PLAIN, **changes}))
    with pytest.raises(InputError, match=sentence) as caught:
        load_situation(path)
    assert str(caught.value).startswith(str(path)) and "docs/fit.md" in str(caught.value)


def test_a_situation_is_read_from_yaml(tmp_path):
    path = tmp_path / "situation.yaml"
    path.write_text(
        "facts_change: daily\nwords: 40000\nquestions_answers: 0\ncitations_needed: yes\n"
    )
    assert load_situation(path).citations_needed is True


# --- a year ---------------------------------------------------------------------------------------

FIGURES = {
    "updates": 3,
    "changes": "general model",
    "model": "Llama-3.1-8B",
    "card": "H100",
    "gpus": 2,
    "method": "lora",
    "tokens_millions": 50,
    "data_hours": 100,
    "review_hours": 20,
    "bought_review_hours": 10,
    "merge_hours": 2,
    "serving_gpu_hours": 1000,
    "price_gpu_hour": None,
    "price_person_hour": None,
    "licence": None,
}


def a_year(**changes):
    return fit.Year(**{**FIGURES, **changes})


def test_a_year_counts_trainings_merges_and_reviews():
    costs, ways = fit.ways_of(a_year())
    one = [hours * 2 for hours in costs.plan.hours(costs.card)]
    buy, once, again, merged = ways
    assert (buy.people, once.people, again.people, merged.people) == (40, 120, 180, 180)
    assert once.gpu == pytest.approx([1000 + hours for hours in one])
    assert again.gpu == pytest.approx([1000 + 4 * hours for hours in one])
    assert merged.gpu == pytest.approx([1006 + hours for hours in one])
    facts = fit.ways_of(a_year(changes="facts"))[1][-1]
    assert "does not bring in new facts" in facts.note and "newer general" in merged.note


def test_no_price_is_invented(tmp_path):
    from labkit.base.pages import sheet_pdf

    sheet = fit.year_sheet(a_year())
    assert "do not tell" in sheet.verdict
    cells = {row[0]: row[3] for row in sheet.sections[0].rows}
    assert cells["buy"] == "not told: price_person_hour, licence not given"
    priced = a_year(price_gpu_hour=2, price_person_hour=50, licence=0)
    verdict = fit.year_sheet(priced).verdict
    assert "least money is: buy." in verdict and verdict.endswith("not: build once.")
    assert sheet_pdf(fit.year_sheet(priced), tmp_path / "year.pdf").is_file()


def test_only_what_follows_a_change_can_cost_least():
    prices = {"price_gpu_hour": 2, "price_person_hour": 50}
    facts = fit.year_sheet(a_year(changes="facts", licence=1e6, **prices)).verdict
    assert "least money is: build, retrain" in facts
    assert facts.endswith("not: build once, build, merge at each update.")
    still = fit.year_sheet(a_year(updates=0, licence=1e6, **prices)).verdict
    assert "least money is: build once." in still and "not: build, retrain" in still


def test_figures_of_a_year_are_checked(tmp_path):
    import yaml

    path = tmp_path / "year.yaml"
    for changes, words in (
        ({"updates": -1}, "updates"),
        ({"licence": "much"}, "licence"),
        ({"updatse": 1}, "updatse: not a known field; did you mean 'updates'?"),
    ):
        path.write_text(yaml.safe_dump({**FIGURES, **changes}))
        with pytest.raises(InputError) as error:
            fit.load_year(path)
        assert words in str(error.value) and str(path) in str(error.value)
    path.write_text(yaml.safe_dump(FIGURES))
    assert fit.load_year(path) == a_year()
    with pytest.raises(InputError, match="unknown GPU"):
        fit.ways_of(a_year(card="H1000"))


def test_the_page_for_leads_shows_figures_that_can_be_read():
    from labkit.base.store import shipped_or_checkout

    page = shipped_or_checkout("data_samples").parent / "docs" / "leads.md"
    shown = page.read_text("utf-8").split("```yaml")[1].split("```")[0]
    sheet = fit.year_sheet(fit.Year(**yaml.safe_load(shown)))
    assert sheet.sections[0].rows[0][0] == "buy" and "do not tell" in sheet.verdict
