from __future__ import annotations

import re
import shutil

import pytest
from class_case import roster

from labkit.base.errors import InputError
from labkit.classroom.class_page import printable
from labkit.classroom.sessions import Defaults, read_roster
from labkit.data.packs import packs_folder

KNOWN = ("03_cpt", "06_merge", "10_report")
DEFAULTS = Defaults("materials", 5, KNOWN)


def read(tmp_path, *lines, columns="learner,seed"):
    return read_roster(roster(tmp_path / "roster.csv", *lines, columns=columns), DEFAULTS)


def test_empty_fields_take_the_defaults(tmp_path):
    ada, bob = read(
        tmp_path,
        "Ada,,,,",
        "Bob,legal,CPT-sft, 7 ,10_report 03_cpt",
        columns="learner,pack,design,seed,notebooks",
    )
    assert (ada.pack, ada.design, ada.seed, ada.notebooks) == ("materials", "", 5, KNOWN)
    assert (bob.pack, bob.design, bob.seed, bob.notebooks) == (
        "legal",
        "cpt-sft",
        7,
        ("03_cpt", "10_report"),
    )
    assert (ada.pseudonym, bob.pseudonym) == ("learner 01", "learner 02")


def test_columns_may_be_short_semicolons_and_a_byte_order_mark_read(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes('\ufeffLearner;Seed\r\nZoë Å;3\r\n;\r\n\r\n"Lovelace; Ada";\r\n'.encode())
    assert [(one.name, one.seed, one.number) for one in read_roster(path, DEFAULTS)] == [
        ("Zoë Å", 3, 1),
        ("Lovelace; Ada", 5, 2),
    ]


PLAIN = "learner;seed\nAda Lovelace;1\n\nBob;2\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.replace(";", "\t").encode(),
        PLAIN.replace(";", "|").encode(),
        ("sep=;;\n" + PLAIN).encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\r\n").encode("utf-16"),  # Excel's "Unicode text"
        ("sep=;\n" + PLAIN).encode(),
        ('\ufeff"SEP=|"\r\n' + PLAIN.replace(";", "|")).encode(),
        b"\n\n" + PLAIN.encode(),
        PLAIN.replace("\n", ";;\n").encode(),  # empty cells behind every row
        PLAIN.replace("Ada Lovelace", "Ada\xa0Love\u200blace\u200e").encode(),
        PLAIN.replace("seed", "\u200bseed\xa0").encode(),
    ],
    ids=[
        "plain",
        "tabs",
        "bars",
        "sep-cells",
        "returns",
        "utf-16",
        "sep",
        "sep-bar",
        "blank",
        "cells",
        "name",
        "heads",
    ],
)
def test_the_same_roster_as_programs_write_it_is_the_same_class(tmp_path, content):
    path = tmp_path / "roster.csv"
    path.write_bytes(content)
    ada, bob = read_roster(path, DEFAULTS)
    assert (ada.name, ada.seed, bob.name, bob.seed) == ("Ada Lovelace", 1, "Bob", 2)


@pytest.mark.parametrize("mark", [" ", ";", ", ", " ; "])
def test_notebooks_are_parted_by_blanks_or_signs(tmp_path, mark):
    path = tmp_path / "roster.csv"
    path.write_text(f'learner,notebooks\nAda,"{mark.join(DEFAULTS.notebooks)}{mark}"\n')
    assert read_roster(path, DEFAULTS)[0].notebooks == DEFAULTS.notebooks


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_a_line_is_counted_as_an_editor_counts_it(tmp_path, line_end):
    path = tmp_path / "roster.csv"
    for content, words in (
        ("sep=;|learner;seed||Ada;1|Bob;x|", r":5: seed is 'x'"),
        ("||learner;sead|Ada;1", r":3: unknown column 'sead'"),
        ("|learner;;seed|Ada;;1", r":2: column 2 has no name"),
        ("learner;seed|Ada;1|Bob;2;x", r":3: 3 fields under 2 columns"),
    ):
        path.write_bytes(content.replace("|", line_end).encode())
        with pytest.raises(InputError, match=words):
            read_roster(path, DEFAULTS)
    path.write_bytes(f"learner{line_end}Ada{line_end}Zoë".encode("latin-1"))
    with pytest.raises(InputError, match=":3: byte 0xeb is not UTF-8"):
        read_roster(path, DEFAULTS)


def test_joiners_stay_in_a_name_and_make_no_second_learner(tmp_path):
    name = "سید\u200cرضا"
    (one,) = read(tmp_path, f"{name},1")
    assert one.name == name and printable(name) == name
    for twin in (name.replace("\u200c", ""), name.replace("\u200c", "\u200d")):
        with pytest.raises(InputError, match=r":3: learner: the same name as in line 2"):
            read(tmp_path, f"{name},1", f"{twin},2")


@pytest.mark.parametrize(
    "name,words",
    [
        ("A\u202eda", r"its character 2 \(U\+202E RIGHT-TO-LEFT OVERRIDE\) cannot be shown"),
        ("Ada\x07", r"its character 4 \(U\+0007 control character\) cannot be shown"),
        ("\u200d", "write a name of letters"),
        ("\u3164\u200b", "write a name of letters"),
    ],
)
def test_what_nobody_sees_in_a_name_is_named_with_its_place(tmp_path, name, words):
    with pytest.raises(InputError, match=rf"roster.csv:2: learner is .*{words}"):
        read(tmp_path, f"{name},1")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/root",
        "..",
        "C:\\x",
        "<script>alert(1)</script>",
        "a" * 100,
        "con",
        "$(reboot)",
        "名前",
    ],
)
def test_no_name_becomes_a_path(tmp_path, name):
    (one,) = read(tmp_path, f"{name},1")
    assert one.name == name and re.fullmatch(r"[0-9a-f]{12}", one.key)


def test_one_name_spelled_in_two_ways_of_unicode_is_one_learner(tmp_path):
    with pytest.raises(InputError, match=r"roster.csv:3: learner: the same name as in line 2"):
        read(tmp_path, "Zoe\u0308,1", "zo\u00eb,2")


def test_a_pack_beside_the_roster_is_found(tmp_path):
    shutil.copytree(packs_folder() / "legal", tmp_path / "mine")
    (one,) = read(tmp_path, "Ada,mine", columns="learner,pack")
    assert one.pack == str((tmp_path / "mine").resolve())


def test_a_pack_that_links_out_of_its_folder_is_refused(tmp_path):
    shutil.copytree(packs_folder() / "legal", tmp_path / "mine")
    (tmp_path / "mine" / "raw.jsonl").unlink()
    (tmp_path / "mine" / "raw.jsonl").symlink_to(packs_folder() / "materials" / "raw.jsonl")
    with pytest.raises(
        InputError,
        match=r":2: pack is 'mine'; its raw.jsonl is a link that leads out of its folder",
    ):
        read(tmp_path, "Ada,mine", columns="learner,pack")
    (tmp_path / "away").symlink_to(packs_folder() / "legal")
    with pytest.raises(InputError, match=r"pack is 'away'; it must lie in the roster's folder"):
        read(tmp_path, "Ada,away", columns="learner,pack")


@pytest.mark.parametrize(
    "columns,line,words",
    [
        ("name,seed", "Ada,1", r":1: unknown column 'name'"),
        (
            "seed",
            "1",
            r":1: column 'learner' is missing; the first line names the columns, for "
            r"example: learner,pack",
        ),
        ("learner,seed,seed", "Ada,1,2", r":1: column 'seed' is there 2 times"),
        ("learner,seeed", "Ada,1", r":1: unknown column 'seeed'; did you mean 'seed'"),
        (
            "learner,seed",
            "Ada,1,2",
            r":2: 3 fields under 2 columns; put a field that holds a ',' in quotes",
        ),
        ("learner,seed", "Ada,-1", r":2: seed is '-1'; use a whole number"),
        ("learner,seed", "Ada,1e3", r":2: seed is '1e3'"),
        ("learner,seed", "Ada,²", r":2: seed is '\\xb2'"),
        ("learner,seed", "Ada,9999999999", r":2: seed is"),
        ("learner,seed", ",1", r":2: learner is ''; write a name"),
        ("learner,seed", "A\u202eda,1", r":2: learner is 'A\\u202eda'"),
        ("learner,seed", '"A\nda",1', r":3: learner is 'A\\nda'"),
        ("learner,seed", f"{'x' * 101},1", r":2: learner has 101 characters; 100 are allowed"),
        (
            "learner,seed",
            f"{'x' * 200_000},1",
            r"roster.csv:2: this is not CSV \(field larger than field limit",
        ),
        ("learner,seed", '"Ada,1', r"this is not CSV .*check the quotes"),
        ("learner,design", "Ada,cpt-stf", r":2: design is 'cpt-stf'; 'stf' is not a stage"),
        ("learner,pack", "Ada,legl", r":2: pack is 'legl'; did you mean 'legal'"),
        ("learner,pack", "Ada,../..", r":2: pack is '../..'; it must lie in the roster's folder"),
        ("learner,pack", "Ada,/etc", r":2: pack is '/etc'; it must lie in the roster's folder"),
        ("learner,pack", "Ada,a\0b", r":2: (pack is|this is not CSV)"),
        ("learner,pack", "Ada,.", r":2: pack is '.'; .*pack.yaml is missing"),
        ("learner,notebooks", "Ada,03_cpt ../x", r":2: notebooks is '../x'; known: 03_cpt"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, columns, line, words):
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, line, columns=columns)
    assert (
        "\n" not in str(caught.value)
        and str(caught.value).isascii()
        and len(str(caught.value)) < 500
    )


def test_a_roster_of_nobody_no_file_another_encoding_and_a_huge_file(tmp_path):
    path = tmp_path / "roster.csv"
    with pytest.raises(InputError, match=r"cannot be read .No such file"):
        read_roster(path, DEFAULTS)
    for content, words in (
        (b"learner\n\n", "no learner in it"),
        (b"", "column 'learner' is missing"),
        (
            "learner\nAda\nZoë\n".encode("latin-1"),
            r":3: byte 0xeb is not UTF-8; save the roster as `CSV UTF-8`",
        ),
        (b"learner\n" + b"x" * 2**20, "a roster has at most 1"),
        (b"PK\x03\x04\0\0workbook\n", "no text in UTF-8, perhaps a workbook; save the roster"),
        ("learner\nAda\n".encode("utf-16-le"), "no text in UTF-8, perhaps a workbook"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_roster(path, DEFAULTS)
    for count, words in (
        (1001, "more than 1,000 learners"),
        (100_000, "more than 1,000 learners"),
        (200_000, "a roster has at most 1, check"),
    ):
        path.write_text("learner\n" + "".join(f"n{i}\n" for i in range(count)))
        with pytest.raises(InputError, match=words):
            read_roster(path, DEFAULTS)
