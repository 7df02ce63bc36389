from __future__ import annotations

import pytest
from class_case import rows, save

from labkit.base.errors import InputError
from labkit.base.records import FILE
from labkit.classroom.class_page import by_learner, checked, read_seats, seat, sources
from labkit.classroom.evidence_pack import make_pack


def test_records_that_labkit_never_wrote_are_left_out_and_counted():
    good = rows(0)
    bad = [
        good[1] | {"guess": float("nan")},
        good[1] | {"guess": "<b>"},
        good[1] | {"measured": []},
        good[1] | {"low": 2.0},
        good[1] | {"question": "x" * 401},
        good[4] | {"spec": {"pack": "../../etc"}},
        good[5] | {"axes": [1]},
        good[9] | {"points": {"slerp": []}},
        good[8] | {"seed": {}},
        {"kind": ["finding"]},
        {},
        [],
        None,
        7,
        "x",
    ]
    found, unread = checked([*bad, *good])
    assert unread == len(bad) and {kind: len(of) for kind, of in found.items()} == {
        kind: len(of) for kind, of in checked(good)[0].items()
    }
    assert seat("learner 01", [*good, *bad]).unread == len(bad)


def test_a_later_record_replaces_an_earlier_one():
    first = rows(0)[1]
    found, _ = checked([first, first | {"guess": 0.1}, first | {"seed": 9}])
    assert [one.guess for one in found["prediction"]] == [0.1, first["guess"]]


def test_packs_and_folders_are_read_and_a_bad_one_stops_nothing(tmp_path):
    packs = tmp_path / "packs"
    save(packs / "desk", [*rows(1, "Ada"), *rows(2, "Bob"), {"kind": "session"}])
    make_pack(save(tmp_path / "cy", rows(3, "Cy")), "Cy", packs / "c.zip")
    (packs / "bad.zip").write_bytes(b"PK" + b"\0" * 50)
    (packs / "notes.txt").write_text("not one of them")
    before = sorted(path.name for path in tmp_path.iterdir())
    seats = read_seats(packs, lambda number, name, source: f"{number} {name} {source}")
    assert [(one.shown, bool(one.problem), len(one.of("prediction"))) for one in seats] == [
        ("1  bad.zip", True, 0),
        ("2 Cy c.zip", False, 2),
        ("3 Ada desk", False, 2),
        ("4 Bob desk", False, 2),
    ]
    assert (
        "no zip file" in seats[0].problem
        and seats[2].unread == 0
        and sorted(path.name for path in tmp_path.iterdir()) == before
    )


def test_a_source_of_thousands_of_learners_is_no_room(tmp_path):
    save(tmp_path / "desk", [{"kind": "session", "learner": str(i)} for i in range(1001)])
    (one,) = read_seats(tmp_path, lambda number, name, source: source)
    assert "records of 1,001 learners; 1,000 are allowed" in one.problem


def test_sources_that_are_none(tmp_path):
    for folder, words in ((tmp_path / "no", "no such folder"), (tmp_path, "no evidence pack")):
        with pytest.raises(InputError, match=words):
            sources(folder)
    save(tmp_path / "one", rows(1))
    assert sources(tmp_path / "one") == [tmp_path / "one"] and sources(tmp_path) == [
        tmp_path / "one"
    ]
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE).symlink_to("/etc/hostname")
    assert [
        "not an ordinary file" in one.problem
        for one in read_seats(tmp_path, lambda number, name, source: name)
    ] == [True, False]
    assert by_learner([None, {"learner": 5}]) == {"": [None, {"learner": 5}]}
