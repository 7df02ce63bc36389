"""Whether an output says an answer: in scripts without blanks, with particles, however Unicode
spells it.
"""

from __future__ import annotations

import unicodedata

import pytest

from labkit.evaluate import scenarios
from labkit.evaluate.scorecards import alike, says, score_answer, score_proposals


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    "answer,output",
    [
        ("丝绸", "它是用丝绸做的。"),
        ("絹", "それは絹で作られています"),
        ("シルク", "シルクで作られた"),
        ("ไหม", "ทำจากผ้าไหมไทย"),
        ("ខ្មែរ", "ភាសាខ្មែរ"),
        ("PLA", "它用PLA做的"),
        ("12", "约12个"),
    ],
)
def test_scripts_without_blanks_need_none(answer, output):
    assert says(answer, output)


@pytest.mark.parametrize(
    "answer,output",
    [
        ("비단", "비단으로 만들었습니다."),
        ("서울", decomposed("수도는 서울입니다")),
        ("나무", "나무다"),
        ("PLA", "PLA로 만들었다"),
        ("حرير", "مصنوع من الحرير"),
        ("ירושלים", "הוא גר בירושלים"),
        ("کتاب", "کتاب‌ها"),
        ("حرير", "للحرير"),
        ("İstanbul", "istanbul'da"),
        ("eau", "de l’eau"),
    ],
)
def test_particles_may_be_attached(answer, output):
    assert says(answer, output)


@pytest.mark.parametrize(
    "answer,output",
    [
        ("café", decomposed("Le Café noir")),
        (decomposed("crème brûlée"), "Crème brûlée."),
        ("X-ray", "an X‑ray image"),
        ("rock'n'roll", "rock’n’roll"),
        ("10-20", "10–20 MPa"),
        ("-5", "at −5 °C"),
        ("5 MPa", "5\u202fMPa"),
        ("200 MPa", "強度は２００　ＭＰａ です"),
        ("シルク", "ｼﾙｸで"),
        ("ガラス", "ｶﾞﾗｽ製"),
        ("CO2", "CO₂ rises"),
        ("fiber", "a ﬁber"),
        ("25", "२५"),
        ("3.5", "٣٫٥"),
        ("silk", "si\u00adlk"),
        ("حرير", "حَرِير"),
        ("straße", "STRASSE"),
        ("ışık", "IŞIK"),
        ("шёлк", "это шелк"),
        (decomposed("ёлка"), "Елка"),
        ("5 €", "5€"),
        ("5MPa", "5 MPa"),
        ("$5", "$5.00"),
        ("silk", "made of _silk_"),
    ],
)
def test_the_same_word_in_other_signs(answer, output):
    assert says(answer, output) and says(output, output)


@pytest.mark.parametrize(
    "answer,output",
    [
        ("silk", "silky"),
        ("रेशम", "रेशमी"),
        ("cafe", decomposed("café")),
        ("cafe", "café"),
        ("비단", "비단벌레"),
        ("물", "물고기"),
        ("シルク", "シルクロード"),
        ("1", "11级"),
        ("ก", "ก่า"),
        ("шёлк", "шёлковый"),
        ("حرير", "تحريري"),
        ("102", "10²"),
        ("5", "3.5"),
        ("5", "5.7 kg"),
        ("3", "3,000"),
        ("5", "at −5 °C"),
        ("silk", "raw_silk"),
        ("丝绸", "它是用木头做的。"),
    ],
)
def test_parts_of_longer_words_and_other_words_are_not_the_answer(answer, output):
    assert not says(answer, output)


@pytest.mark.parametrize("output", ["5.", "5, or 6", "(5)", "3-5", "x=5", "**5**", "5%", "5.0"])
def test_a_number_may_stand_beside_signs(output):
    assert says("5", output)


def test_plain_text_is_compared_as_ever():
    assert alike("Silk; don't `x`") == "silk; don't `x`"


def test_forms_scenarios_and_proposals_compare_the_same_way():
    assert score_answer({"answer": "丝绸"}, "丝绸做的") == 1
    expect = scenarios.Expect(says="丝绸", says_none_of=("木头",), same_answer=("丝绸", "木头"))
    assert scenarios.broken(expect, ["它是用丝绸做的。"]) == []
    assert scenarios.broken(scenarios.Expect(matches="Café"), [decomposed("Café")]) == []
    item = {"pattern": "use (café|thé)"}
    assert score_proposals(item, [decomposed("use café"), "use café"], "") == 0.5
    assert score_proposals(item, ["use café"], alike(decomposed("Use café"))) == 0
