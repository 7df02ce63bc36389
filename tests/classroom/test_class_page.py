from __future__ import annotations

import io
import re

import pypdf
import pytest
from class_case import SCRIPT, Tags, rows, span

from labkit.base.errors import InputError
from labkit.classroom.class_page import NotebookRun, Seat, class_page, seat, write_class_page


def room(count: int = 6) -> list[Seat]:
    return [
        seat(
            f"learner {i:02}",
            rows(i),
            runs=[
                NotebookRun("03_cpt", 40.0 + i),
                NotebookRun("06_merge", 50.0, "cell 9: no" if i == 4 else ""),
            ],
            page=f"learners/{i}/course.html",
        )
        for i in range(1, count + 1)
    ]


def written(tmp_path, seats) -> tuple[str, str, str]:
    """The HTML, the PDF's text, and its status."""
    path, status = write_class_page(
        class_page(seats, title="A class", subtitle="of a test"), tmp_path
    )
    pdf = tmp_path / "class.pdf"
    text = (
        "\n".join(
            page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf.read_bytes())).pages
        )
        if pdf.is_file()
        else ""
    )
    return path.read_text("utf-8"), text, status


def test_failures_come_first_and_both_pages_say_the_same(tmp_path):
    html, pdf, status = written(tmp_path, [*room(), Seat("learner 07", problem="bad.zip: damaged")])
    page = Tags(html)
    heads = re.findall(r"<h2>(.*?)</h2>", html)
    assert heads == [
        "Who failed, where and why",
        "Learners",
        "What the room designed",
        "What came out: scores",
        "What came out: comparisons",
        "What came out: findings",
        "What the room believed",
        "Exercises",
        "Everybody&#39;s merge curves",
        "How long it took",
    ]
    assert (
        page.text.index("bad.zip: damaged")
        < page.text.index("cell 9: no")
        < page.text.index("Learners")
    )
    assert (
        "1 of 7 could not be read; 1 of 7 learners has a notebook that failed; the "
        "room was wrong about 1 of 2 questions." in page.text
    )
    twice = class_page(
        [*room(), seat("a", [], runs=[NotebookRun("06_merge", 1.0, "no")])], title="", subtitle=""
    )
    assert twice.verdict.startswith(
        "2 of 7 learners have a notebook that failed, most often 06_merge (2);"
    )
    assert status == "The same page as a PDF: class.pdf." and status in page.text
    for words in (
        "cell 9: no",
        "CPT → SFT → DPO",
        "overcooked CPT",
        "supported",
        "believed too high by 6 of 6",
        "the better parent",
        "06_merge",
    ):
        assert words in page.text and words in " ".join(pdf.split()), words


def test_the_page_is_whole_and_tells_its_pictures_in_words(tmp_path):
    html, *_ = written(tmp_path, room())
    tags = Tags(html).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 4 and all(
        one["alt"] and one["src"].startswith("data:image/png;base64,") for one in images
    )
    assert "t=0.5" in next(one["alt"] for one in images if "merge" in one["alt"])
    assert not [
        tag for tag, _ in tags if tag in ("script", "link", "iframe")
    ] and "http" not in re.sub(r'base64,[^"]*', "", html)
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} == {
        f"learners/{i}/course.html" for i in range(1, 7)
    }


def test_the_room_is_wrong_only_where_it_was_asked(tmp_path):
    asked = rows(1)[1]
    page = class_page(
        [seat("a", [asked]), seat("b", [asked]), seat("c", [asked | {"guess": 0.3}])],
        title="",
        subtitle="",
    )
    assert "the room was wrong about 1 of 1" in page.verdict.lower()
    half = class_page(
        [seat("a", [asked]), seat("b", [asked | {"guess": 0.3}])], title="", subtitle=""
    )
    assert "wrong" not in half.verdict
    untouched = class_page([seat("a", [asked | {"made": "untouched"}])], title="", subtitle="")
    assert [part.head for part in untouched.parts] == ["Who failed, where and why", "Learners"]
    headless = class_page([seat("a", [asked | {"made": "default"}])], title="", subtitle="")
    (beliefs,) = [part for part in headless.parts if part.head == "What the room believed"]
    answered = {
        one.head: one.text
        for one in (
            *class_page([seat("a", rows(1))], title="", subtitle="").parts,
            *class_page(room(1), title="", subtitle="").parts,
        )
    }
    assert answered["Exercises, hardest first"] == "" and "notebooks' own" in answered["Exercises"]
    assert (
        "wrong" not in headless.verdict
        and "default guess (nobody guessed)" in beliefs.text
        and beliefs.rows[0][-1] == "nobody was asked"
        and "default guess (nobody guessed)" in beliefs.rows[0]
        and beliefs.pictures == ()
    )


def test_nothing_a_participant_writes_is_read_as_markup(tmp_path):
    nasty = f"{SCRIPT} $\\frac{{ $x$ #panic() *b* {{{{ 7*7 }}}}"
    found = [
        {
            key: nasty
            if key in ("question", "choice", "expected", "checkpoint", "claim", "before", "after")
            else value
            for key, value in row.items()
        }
        for row in rows(1)
    ]
    found[-1] = found[-1] | {
        "ends": [nasty, nasty],
        "points": {nasty: found[-1]["points"]["slerp"]},
    }
    html, pdf, status = written(
        tmp_path,
        [
            seat(
                nasty,
                found,
                runs=[NotebookRun(nasty, 1.0, nasty), NotebookRun(nasty, 1.0)],
                page='"><script>',
            )
        ],
    )
    page = Tags(html)
    assert (
        "class.pdf" in status
        and "script" not in [tag for tag, _ in page.tags]
        and page.text.count(SCRIPT) >= 6
        and "{{ 7*7 }}" in page.text
    )
    assert "#panic()" in pdf and SCRIPT in pdf


def test_letters_that_steer_keep_nobody_from_a_pdf(tmp_path):
    html, pdf, status = written(
        tmp_path,
        [
            *room(2),
            seat(
                "\u202eevil", [*rows(3)[:2], rows(3)[8] | {"claim": "a\x00b\x1b[31m\u202ec\ufffe"}]
            ),
        ],
    )
    assert (
        "class.pdf" in status
        and "a b [31m c" in html
        and "a b [31m c" in " ".join(pdf.split())
        and not re.search("[\0\x1b\u202e]", html)
    )


def test_numbers_beyond_measure_stop_nothing(tmp_path):
    most, first = 1e308, rows(1)
    guesses = [(most, -most, most, -most), (0, 0, 5e-324, 1), (most, 0, 1, most)]
    wild = [
        first[1] | {"id": str(i), "guess": guess, "low": low, "high": high, "measured": span(mean)}
        for i, (guess, low, high, mean) in enumerate(guesses)
    ]
    wild += [
        first[5] | {"axes": {"knowledge": span(most)} | {str(i): span(0) for i in range(2000)}},
        first[7] | {"runs": span(most)},
        first[3] | {"seed": 10**3000},
    ]
    wild += [
        first[9]
        | {
            "points": {
                str(i): [{"t": t, "axes": {"knowledge": span(most - t * most * 2)}} for t in (0, 1)]
                for i in range(500)
            }
        },
        *(first[5] | {"checkpoint": str(i)} for i in range(500)),
    ]
    html, _, status = written(tmp_path, [*room(2), seat("a", wild), seat("b", wild)])
    assert "class.pdf" in status and len(html) < 2**20 and "The 8 most frequent of" in html


def test_a_page_without_a_pdf_says_so_and_leaves_no_old_one(tmp_path):
    (tmp_path / "class.pdf").write_bytes(b"old")
    path, status = write_class_page(
        class_page([Seat("a", problem="x")], title="A class", subtitle="of \U000f1234"), tmp_path
    )
    html = path.read_text("utf-8")
    assert (
        status.startswith("There is no PDF of this page: ")
        and "no font here can draw" in Tags(html).text
        and not (tmp_path / "class.pdf").exists()
    )


def test_open_intervals_and_one_learner_can_be_drawn(tmp_path):
    wide = {"mean": 1.0, "low": float("-inf"), "high": float("inf")}
    html, *_ = written(
        tmp_path,
        [seat("learner 01", [rows(0)[1] | {"measured": wide, "guess": -500.0}, *rows(0)[5:]])],
    )
    assert "What the room believed" in html


def test_a_class_of_nobody_is_refused():
    with pytest.raises(InputError, match="nobody"):
        class_page([], title="", subtitle="")
