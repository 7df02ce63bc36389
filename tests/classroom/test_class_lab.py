from __future__ import annotations

from class_case import RECORD, SCRIPT, Tags, notebook, roster, rows, save

from labkit.classroom import sessions


def test_a_roster_from_end_to_end(tmp_path):
    files = [notebook(tmp_path / "quick.ipynb", RECORD, "assert seed != 2, '<b>two</b>'")]
    room = roster(tmp_path / "roster.csv", f"{SCRIPT},1", "../../Bob,2")
    done = sessions.run_roster(
        room, files, profile="smoke", pack="materials", seed=0, out_dir=tmp_path / "out"
    )
    assert (
        done.problems == ("learner 02: quick: cell 4: AssertionError: <b>two</b>",)
        and done.notebooks == 2
    )
    page = Tags(done.page.read_text())
    links = [tmp_path / "out" / attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert (
        len(links) == 3
        and all(link.is_file() for link in links)
        and "Bob" not in page.text
        and SCRIPT not in page.text
    )
    assert "learner 01: " in links[-2].read_text() and (tmp_path / "out" / "class.pdf").is_file()
    named = sessions.run_roster(
        room, files, profile="smoke", pack="materials", seed=0, out_dir=tmp_path / "out", names=True
    )
    html = named.page.read_text()
    assert (
        "../../Bob" in html
        and SCRIPT in Tags(html).text
        and SCRIPT not in html
        and SCRIPT not in links[-2].read_text()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "quick.ipynb", "roster.csv"]


def test_odd_records_of_an_own_notebook_are_a_failure_that_stops_nothing(
    tmp_path,
):
    cell = (
        "from pathlib import Path\nfrom labkit.base import records\n"
        "records.append(Path(out_dir), 'finding', odd=1)"
    )
    files = [notebook(tmp_path / "quick.ipynb", cell)]
    done = sessions.run_roster(
        roster(tmp_path / "roster.csv", "Ada,1"),
        files,
        profile="smoke",
        pack="materials",
        seed=0,
        out_dir=tmp_path / "out",
    )
    assert "page cannot be made of the records" in done.problems[0] and done.page.is_file()


def test_packs_are_read_without_names_and_with_them(tmp_path):
    packs = tmp_path / "packs"
    save(packs / "desk", [*rows(1, "Ada"), *rows(2, SCRIPT)])
    (packs / "bad.zip").write_bytes(b"PK" + b"\0" * 50)
    done = sessions.read_packs(packs, out_dir=tmp_path / "out")
    page = Tags(done.page.read_text())
    assert len(done.problems) == 1 and "learner 02" in page.text and "Ada" not in page.text
    (packs / "\x1b[31mred\x07.zip").write_bytes(b"no zip")  # a file's name steers no terminal
    assert all(
        problem.isprintable()
        for problem in sessions.read_packs(packs, out_dir=tmp_path / "out", names=True).problems
    )
    html = sessions.read_packs(packs, out_dir=tmp_path / "out", names=True).page.read_text()
    assert "Ada (desk)" in html and SCRIPT not in html and f"{SCRIPT} (desk)" in Tags(html).text
