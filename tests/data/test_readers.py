"""Real files of every kind, as messy as they come."""

from __future__ import annotations

import json
import os
import sys
import zipfile

import pytest

from labkit.base.errors import InputError
from labkit.data import readers
from labkit.data.readers import Document, Dropped, Record

PROSE = "The ring was forged at nine hundred degrees. It was cooled in oil."


def read(folder) -> list:
    return list(readers.read_folder(folder))


def one(folder, name: str, data: bytes | str):
    """What the only file of a folder gives, as a list."""
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return read(folder)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "source"
    made.mkdir()
    return made


@pytest.fixture
def make_pdf():
    import typst

    return lambda body: typst.compile(body.encode())


# --- folders ----------------------------------------------------------------------------------


def test_files_come_in_the_order_of_names_and_nothing_is_skipped_silently(folder):
    (folder / "b").mkdir()
    (folder / "b" / "two.md").write_text(PROSE)
    (folder / "A.TXT").write_text(PROSE)
    (folder / ".hidden.txt").write_text(PROSE)
    (folder / ".git").mkdir()
    (folder / "~$open.docx").write_bytes(b"Ada")
    (folder / "song.mp3").write_bytes(b"ID3")
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text(" \n\t\n")
    found = read(folder)
    assert [each.source for each in found if isinstance(each, Document)] == ["A.TXT", "b/two.md"]
    dropped = {each.source: (each.what, each.reason) for each in found if isinstance(each, Dropped)}
    assert dropped == {
        ".hidden.txt": ("file", "hidden"),
        ".git": ("folder", "hidden"),
        "~$open.docx": ("file", "hidden"),
        "song.mp3": ("file", "unknown kind of file"),
        "empty.txt": ("file", "empty"),
        "blank.txt": ("file", readers.NO_TEXT),
    }


def test_links_that_lead_out_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not yours")
    (tmp_path / "elsewhere").mkdir()
    (folder / "in.txt").write_text(PROSE)
    (folder / "alias.txt").symlink_to(folder / "in.txt")
    (folder / "out.txt").symlink_to(secret)
    (folder / "outside").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.txt").symlink_to(folder / "gone.txt")
    found = read(folder)
    assert [each.source for each in found if isinstance(each, Document)] == ["alias.txt", "in.txt"]
    reasons = {each.source: each.reason for each in found if isinstance(each, Dropped)}
    assert reasons["out.txt"] == reasons["outside"] == "a link that leads out of the folder"
    assert set(reasons) == {"out.txt", "outside", "loop", "nowhere.txt"}


@pytest.mark.unix
def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.txt")
    assert [each.what for each in read(folder)] == ["file"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_a_name_that_is_no_text(folder):
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text(PROSE)
    (found,) = read(folder)
    assert found.source == "caf?.txt"


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"no such folder; give a folder with .txt"):
        read(tmp_path / "gone")


# --- text -------------------------------------------------------------------------------------


def test_a_binary_renamed_txt(folder, make_pdf):
    for data in (make_pdf(PROSE), bytes(range(256)) * 40):
        (dropped,) = one(folder, "a.txt", data)
        assert dropped == Dropped("a.txt", "file", readers.BINARY)


def test_replaced_bytes_are_reported(folder):
    document, dropped = one(folder, "a.txt", "Größe über alles. ".encode() * 9 + b"\xff\xfe end")
    assert document.text.endswith("\ufffd\ufffd end")
    assert (dropped.what, dropped.count) == ("character", 2)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
def test_a_file_whose_encoding_is_guessed_is_told(folder, name):
    rows = json.dumps([{"text": "Größe über alles."}], ensure_ascii=False)
    text = rows if "json" in name else "text\nGröße über alles.\n"
    read_well, told = one(folder, name, text.encode("cp1252"))
    assert "Größe über alles." in str(read_well)
    assert (told.source, told.what) == (name, "encoding") and "read as cp1252" in told.detail
    assert len(one(folder, name, text)) == 1


def test_markdown_loses_its_front_matter_only(folder):
    told, document = one(
        folder, "a.md", f"---\ntitle: x\ntags: [a]\n---\n# Head\n\n{PROSE}\n\n---\n\nmore\n---\n"
    )
    assert document.text == f"\n# Head\n\n{PROSE}\n\n---\n\nmore\n---\n"
    assert told.what == "front matter"
    (document,) = one(folder, "a.md", "---\nA paragraph that matters.\n---\nmore")
    assert "A paragraph that matters." in document.text
    (document,) = one(folder, "a.md", "--- not front matter\ntext")
    assert document.text == "--- not front matter\ntext"


def test_a_long_file_comes_in_parts_that_hold_all_of_it(folder):
    text = "".join(f"line {number} of a long file\n" for number in range(100_000))
    parts = one(folder, "long.txt", text)
    assert len(parts) > 1 and {part.source for part in parts} == {"long.txt"}
    assert "".join(part.text for part in parts) == text
    assert all(part.text.endswith("\n") for part in parts)


def test_one_line_of_many_megabytes(folder):
    text = "word " * 700_000
    parts = one(folder, "line.txt", text)
    assert (
        "".join(part.text for part in parts) == text
        and max(len(part.text) for part in parts) <= 2 * readers.PART
    )


# --- data files -------------------------------------------------------------------------------


def test_jsonl_rows_keep_their_lines(folder):
    found = one(folder, "a.jsonl", '{"text": "one"}\n\n  \n{"text": "two"}\r\n')
    assert [(each.line, each.values) for each in found] == [
        (1, {"text": "one"}),
        (4, {"text": "two"}),
    ]


@pytest.mark.parametrize(
    "line,words",
    [
        ('{"text": "x"', "column 13"),
        ("[1]", "no JSON object"),
        ('{"a": ' + "1" * 5000 + "}", "too long to read"),
        ("[" * 100_000, "too long to read"),
    ],
)
def test_a_line_of_broken_json_is_left_out_with_its_place_and_the_others_are_read(
    folder, line, words
):
    found = one(folder, "a.jsonl", '{"text": "fine"}\n' * 16 + line + '\n{"text": "fine"}\n')
    (dropped,) = (each for each in found if isinstance(each, Dropped))
    assert (dropped.source, dropped.what) == ("a.jsonl#17", "row")
    assert words in f"{dropped.reason} {dropped.detail}"
    assert sum(isinstance(each, Record) for each in found) == 17


def test_a_row_too_long_is_left_out_and_the_next_is_read(folder, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_ROW", 100)
    found = one(folder, "a.jsonl", '{"text": "' + "x" * 350 + '"}\n{"text": "two"}\n')
    assert (
        [type(each) for each in found] == [Dropped, Record]
        and found[0].source == "a.jsonl#1"
        and found[1].line == 2
    )


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_csv_with_any_delimiter_and_cells_over_lines(folder, mark):
    found = one(
        folder,
        "a.csv",
        f'question{mark}answer\n"two\nlines{mark}"{mark}yes\n\nnext{mark}no\n'.encode("utf-8-sig"),
    )
    assert [(each.line, each.values) for each in found] == [
        (2, {"question": f"two\nlines{mark}", "answer": "yes"}),
        (5, {"question": "next", "answer": "no"}),
    ]


def test_csv_rows_that_do_not_fit(folder):
    found = one(folder, "a.csv", "question,answer\na,b,c\nd\ne,f\n")
    assert [(each.source, each.detail) for each in found if isinstance(each, Dropped)] == [
        ("a.csv#2", "3 for 2 columns"),
    ]
    assert found[1].values == {"question": "d", "answer": ""}


def test_a_column_that_is_read_and_is_there_twice_names_file_and_line(folder):
    with pytest.raises(InputError, match=r"a\.csv:1: column 'answer' is there twice"):
        one(folder, "a.csv", "question,answer,answer\n1,2,3\n")
    (row,) = one(folder, "a.csv", "question,answer,note,note\n1,2,3,4\n")
    assert row.values == {"question": "1", "answer": "2", "note": "3", "note (4)": "4"}


@pytest.mark.parametrize("end", ["", 'q4,"a\n4"\n'])
@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_quotation_mark_that_is_not_closed_takes_no_other_rows_with_it(folder, mark, end):
    text = f'question,answer\nq1,a1\nq2,"a2\nq3,a3\n{end}'.replace(",", mark)
    found = one(folder, "a.csv", text)
    (told,) = (each for each in found if isinstance(each, Dropped))
    assert (told.source, told.reason) == ("a.csv#3", "a quotation mark that is not closed")
    rows = [(each.line, *each.values.values()) for each in found if each is not told]
    assert rows == [(2, "q1", "a1"), (4, "q3", "a3"), *[(5, "q4", "a\n4")] * bool(end)]


def test_column_names_that_come_again_are_no_row(folder):
    first, told, second = one(folder, "a.csv", "question,answer\na,b\nquestion,answer,\nc,d\n")
    assert (first.line, told.source, second.line) == (2, "a.csv#3", 4)
    assert told.reason == "the column names once more"


TABLE = [
    {"question": "What is it?", "answer": "A ring; of steel"},
    {"question": "b", "answer": "c"},
]


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\nquestion;answer\nWhat is it?;"A ring; of steel"\nb;c\n',
        "SEP=|\r\nquestion|answer\r\nWhat is it?|A ring; of steel\r\nb|c\r\n",
        '"sep=^"\nquestion^answer\nWhat is it?^A ring; of steel\nb^c\n',
        '\n;;\nquestion;answer\nWhat is it?;"A ring; of steel"\nb;c\n',
        "question,answer,,\nWhat is it?,A ring; of steel,,\nb,c,,\n",
        "question,answer\nWhat is it?,A ring; of steel,,,\nb,c,\u200b\n",
        "\ufeff question\u200b ,answer\nWhat is it?,A ring; of steel\nb,c\n",
        "question\tanswer\rWhat is it?\tA ring; of steel\rb\tc\r",
    ],
)
def test_tables_as_excel_writes_them(folder, text):
    assert [each.values for each in one(folder, "a.csv", text)] == TABLE


def test_the_delimiter_is_told_by_the_column_names_and_not_inside_quotes(folder):
    text = 'question;answer;"note (a, b, c, d)"\nWhat, where, why?;A ring;"x, y"\n'
    assert [each.values for each in one(folder, "a.csv", text)] == [
        {"question": "What, where, why?", "answer": "A ring", "note (a, b, c, d)": "x, y"}
    ]
    text = '"notes; all; of; them","more; notes"\n1,2\n'
    assert [each.values for each in one(folder, "a.csv", text)] == [
        {"notes; all; of; them": "1", "more; notes": "2"}
    ]


def test_a_single_column_is_not_cut_at_the_commas_of_its_texts(folder):
    found = one(folder, "a.csv", "text\nA ring, a rod and a bolt.\nA ring; of steel.\n")
    assert [each.values["text"] for each in found] == [
        "A ring, a rod and a bolt.",
        "A ring; of steel.",
    ]


def test_lines_above_the_column_names_are_told(folder):
    *told, row = one(
        folder, "a.csv", "Our questions;;\n\nSource;Intranet;\nQuestion;Answer;\na;b;\n"
    )
    assert [(each.source, each.what, each.detail) for each in told] == [
        ("a.csv#1", "line", "Our questions"),
        ("a.csv#3", "line", "Source Intranet"),
    ]
    assert (row.line, row.values) == (5, {"Question": "a", "Answer": "b"})


def test_cells_under_no_name_are_counted(folder):
    first, second, told = one(folder, "a.csv", ",question,answer,\n0,a,b,\n1,c,d,x\n")[:3]
    assert first.values == {"question": "a", "answer": "b"} and second.line == 3
    assert told == Dropped("a.csv", "cell", "a column without a name", "column 1", 2)


def test_a_row_whose_quotes_are_wrong_is_left_out_and_the_others_are_read(folder):
    found = one(folder, "a.csv", 'question,answer\n"5" pipe,steel\na,b\n"c\nd",e\n')
    assert (found[0].source, found[0].reason) == ("a.csv#2", "not CSV")
    assert [(each.line, each.values["question"]) for each in found[1:]] == [(3, "a"), (4, "c\nd")]


def test_column_names_without_rows(folder):
    assert [each.reason for each in one(folder, "a.csv", "question,answer\n,\n")] == [
        readers.NO_ROWS
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("data,reason", [(b"\n \n", readers.NO_TEXT), (bytes(999), readers.BINARY)])
def test_data_files_without_data(folder, name, data, reason):
    assert [each.reason for each in one(folder, name, data)] == [reason]


ROWS = [{"question": "Why?", "answer": "So."}, {"question": "Who?", "answer": "I, Zoë."}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_objects_is_read_whatever_its_lines(folder, name, indent):
    found = one(folder, name, json.dumps(ROWS, indent=indent, ensure_ascii=False))
    assert [(each.line, each.values) for each in found] == [(1, ROWS[0]), (2, ROWS[1])]
    several = "\n".join(json.dumps(row, indent=4) for row in ROWS)
    assert [each.values for each in one(folder, name, several)] == ROWS


def test_the_only_list_of_rows_inside_an_object_is_read(folder):
    held = {"version": 1, "data": ROWS, "tags": ["x"]}
    *found, version, tags = one(folder, "a.json", json.dumps(held))
    assert [(each.line, each.values) for each in found] == [(1, ROWS[0]), (2, ROWS[1])]
    assert (version.reason, version.detail) == ("beside the list of rows", "version")
    assert tags.detail == "tags"


@pytest.mark.parametrize(
    "value",
    [
        {"train": ROWS, "test": ROWS},
        {"question": "Why?", "answer": "So.", "see": [{"text": "x"}]},
        {"messages": [{"role": "user", "content": "Why?"}]},
        {"data": [{"size": 1}]},
    ],
)
def test_an_object_that_is_a_row_or_holds_several_lists_stays_one(folder, value):
    assert [each.values for each in one(folder, "a.json", json.dumps(value))] == [value]


def test_what_a_list_holds_before_it_breaks_is_kept(folder):
    cut = json.dumps([*ROWS, 7, "x"], indent=1)
    *rows, seven, x = one(folder, "a.json", cut)
    assert [row.values for row in rows] == ROWS
    assert [(each.source, each.detail) for each in (seven, x)] == [
        ("a.json#3", "int"),
        ("a.json#4", "str"),
    ]
    first, broken = one(folder, "a.json", cut[:90])
    assert first.values == ROWS[0] and broken.source == "a.json#2" and "line 8" in broken.detail
    *rows, open_ended = one(folder, "a.json", json.dumps(ROWS)[:-1])
    assert len(rows) == 2 and "does not end" in open_ended.detail


def test_tab_separated_and_parquet_rows(folder):
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "a.tsv").write_text("question\tanswer\nWhy?\tSo, so.\n")
    chat = [{"role": "user", "content": "Hi", "weight": None}, {"role": "x", "content": "Ho"}]
    parquet.write_table(pa.table({"messages": [chat], "year": [1999]}), folder / "b.parquet")
    assert [(each.source, each.line, each.values) for each in read(folder)] == [
        ("a.tsv", 2, {"question": "Why?", "answer": "So, so."}),
        (
            "b.parquet",
            1,
            {
                "messages": [{"role": "user", "content": "Hi"}, {"role": "x", "content": "Ho"}],
                "year": 1999,
            },
        ),
    ]


def workbook(path, **sheets: str) -> None:
    """An .xlsx with these sheets, each given as the XML of its rows."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    names = list(sheets)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        packed.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{office}"><sheets>'
            + "".join(
                f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(names)
            )
            + "</sheets></workbook>",
        )
        packed.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}">'
            + "".join(
                f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/s{n}.xml"/>'
                for n in range(len(names))
            )
            + "</Relationships>",
        )
        for number, rows in enumerate(sheets.values()):
            packed.writestr(
                f"xl/worksheets/s{number}.xml",
                f"<worksheet {main}><sheetData>{rows}</sheetData></worksheet>",
            )


def sheet_row(number: int, *cells: object) -> str:
    def cell(column: str, value: object) -> str:
        place = f'r="{column}{number}"'
        if isinstance(value, str):
            return f'<c {place} t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c {place}><v>{value}</v></c>"

    return f'<row r="{number}">{"".join(map(cell, "ABC", cells))}</row>'


def test_workbooks_row_by_row_and_sheet_by_sheet(folder):
    rows = sheet_row(1, "Question", "Answer") + sheet_row(3, "How many?", 3)
    workbook(folder / "a.xlsx", Sheet1=rows)
    workbook(folder / "b.xlsx", Mine=rows, Yours=rows + sheet_row(4, "How hot?", 1.5), Empty="")
    workbook(folder / "c.xlsx", Twice=sheet_row(1, "Answer", "Answer") + sheet_row(2, 1, 2))
    (folder / "d.xlsx").write_bytes(b"PK")
    found = read(folder)
    assert [
        (each.source, each.line, list(each.values.values()))
        for each in found
        if isinstance(each, Record)
    ] == [
        ("a.xlsx", 3, ["How many?", "3"]),
        ("b.xlsx/Mine", 3, ["How many?", "3"]),
        ("b.xlsx/Yours", 3, ["How many?", "3"]),
        ("b.xlsx/Yours", 4, ["How hot?", "1.5"]),
    ]
    assert [(each.source, each.reason) for each in found if isinstance(each, Dropped)] == [
        ("c.xlsx", "a table that cannot be read"),
        ("d.xlsx", "an unreadable workbook"),
    ]


@pytest.mark.parametrize(
    "name,words",
    [
        ("a.doc", "save it as .docx"),
        ("a.ZIP", "unpack it"),
        ("a.png", "OCR"),
        ("a.pptx", "save it as .pdf"),
        ("README", "save what it says as one of .txt, .md"),
    ],
)
def test_a_file_that_is_not_read_says_what_to_do(folder, name, words):
    (dropped,) = one(folder, name, "x")
    assert dropped.reason == "unknown kind of file" and words in dropped.detail


@pytest.mark.parametrize("name", ["a.json", "a.xlsx", "a.parquet", "a.html", "a.ods", "a.tsv"])
def test_broken_files_of_every_kind_stop_nothing(folder, name):
    for data in (bytes(999), b"PK\x03\x04" + bytes(99), b"{[<"):
        assert not [each for each in one(folder, name, data) if isinstance(each, Record)]


# --- web pages --------------------------------------------------------------------------------


def test_a_web_page_gives_its_text(folder):
    page = """<!DOCTYPE html><html><head><title>T</title><style>p {}</style></head><body>
    <nav><a href="/">Home</a></nav><h1>Rings &amp;
    bolts</h1><p>A <b>steel</b> ring
    holds.<br>It lasts.<ul><li>one<li>two</ul><script>var x = "hidden";</script><!-- no -->
    <table><tr><th>part</th><th>load</th></tr><tr><td><p>ring</p></td><td>9 kN</td></tr></table>
    <pre>a
      b</pre></body></html>"""
    told, document = one(folder, "a.html", page)
    assert document.text == (
        "Rings & bolts\n\nA steel ring holds.\nIt lasts.\n\none\ntwo\n\n"
        "part | load\nring | 9 kN\n\na\nb"
    )
    assert (told.what, told.count) == ("navigation", 1)


def test_a_web_page_is_read_as_it_is_seen_with_its_changes_accepted(folder):
    page = """<p>It is <del>not</del><ins>always</ins> hard.</p><p hidden>Draft.</p>
    <div style="Display: none">Off.</div><p>Choose: <select><option>one<option>two</select></p>
    <button>Send</button>"""
    *told, document = one(folder, "a.html", page)
    assert [line for line in document.text.split("\n") if line] == [
        "It is always hard.",
        "Choose:",
        "one",
        "two",
    ]
    assert [(each.what, each.count) for each in told] == [
        ("deletion", 1),
        ("button", 1),
        ("hidden part of a page", 2),
    ]
    (document,) = one(folder, "a.html", "<body style='display:none'><p>Shown by a script.</p>")
    assert document.text == "Shown by a script."


def test_a_web_page_in_the_encoding_that_it_names(folder):
    page = '<meta charset="shift_jis"><p>鋼のリングは熱い油で冷やす。</p>'
    (document,) = one(folder, "a.htm", page.encode("shift_jis"))
    assert document.text == "鋼のリングは熱い油で冷やす。"
    for encoding in ("cp1252", "utf-16"):
        document, *told = one(folder, "a.htm", "<p>Größe über alles.</p>".encode(encoding))
        assert document.text == "Größe über alles."
        assert [each.what for each in told] == ["encoding"] * (encoding == "cp1252")
    (dropped,) = one(folder, "a.htm", "<html><script>x</script></html>")
    assert dropped.reason == readers.NO_TEXT


# --- documents --------------------------------------------------------------------------------


def test_pdf_text_by_pages(folder, make_pdf):
    (document,) = one(folder, "a.pdf", make_pdf(f"{PROSE}\n#pagebreak()\nSecond page."))
    pages = document.text.split(readers.PAGE_BREAK)
    assert (
        len(pages) == 2
        and "forged at nine hundred degrees" in pages[0]
        and "Second page." in pages[1]
    )


def test_pdf_joins_hyphenated_words(folder, make_pdf):
    words = (
        "thermomechanical characterisation of microstructural homogenisation "
        "notwithstanding internationalisation"
    )
    (document,) = one(
        folder,
        "a.pdf",
        make_pdf(
            '#set page(width: 6cm)\n#set text(hyphenate: true, lang: "en")\n#set '
            f"par(justify: true)\n{words}"
        ),
    )
    assert document.text.split() == words.split()


def test_unreadable_pdfs(folder, make_pdf):
    from pypdf import PdfReader, PdfWriter

    good = make_pdf(PROSE)
    (folder / "good.pdf").write_bytes(good)
    writer = PdfWriter(clone_from=PdfReader(folder / "good.pdf"))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(folder / "locked.pdf")
    (folder / "cut.pdf").write_bytes(good[:400])
    (folder / "none.pdf").write_text("this is no PDF")
    (folder / "scan.pdf").write_bytes(make_pdf("#rect(fill: red)"))
    found = {each.source: each for each in read(folder)}
    assert isinstance(found.pop("good.pdf"), Document)
    assert {source: dropped.reason for source, dropped in found.items()} == {
        "locked.pdf": "an encrypted PDF",
        "cut.pdf": "an unreadable PDF",
        "none.pdf": "an unreadable PDF",
        "scan.pdf": "a PDF without text",
    }


def test_docx_paragraphs_and_tables_in_order(folder):
    from docx import Document as make_docx

    document = make_docx()
    document.add_heading("Rings")
    document.add_paragraph(PROSE)
    table = document.add_table(2, 2)
    for row, cells in zip(table.rows, (("part", "load"), ("ring", "9 kN")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.add_paragraph("The end.")
    document.save(folder / "a.docx")
    (found,) = read(folder)
    assert found.text == f"Rings\n\n{PROSE}\n\npart | load\nring | 9 kN\n\nThe end."


NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
)


def run(text: str) -> str:
    return f'<w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*parts: str) -> str:
    return f"<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr>{''.join(parts)}</w:p>"


def row(*cells: str) -> str:
    return f"<w:tr>{''.join(f'<w:tc>{cell}</w:tc>' for cell in cells)}</w:tr>"


def word(folder, body: str) -> tuple[str, dict[str, int]]:
    """The text of a .docx with this body, and how much of what was left out."""
    from docx import Document as make_docx
    from docx.oxml import parse_xml

    document = make_docx()
    for element in parse_xml(f"<w:body {NAMESPACES}>{body}</w:body>"):
        document.element.body.append(element)
    document.save(folder / "a.docx")
    found = read(folder)
    (text,) = [each.text for each in found if isinstance(each, Document)]
    return text, {each.what: each.count for each in found if isinstance(each, Dropped)}


@pytest.mark.parametrize(
    "wrapped",
    [
        f'<w:ins w:id="1" w:author="A">{run("not")}</w:ins>',
        f'<w:moveTo w:id="1" w:author="A">{run("not")}</w:moveTo>',
        f"<w:sdt><w:sdtPr/><w:sdtContent>{run('not')}</w:sdtContent></w:sdt>",
        f'<w:fldSimple w:instr="REF x">{run("not")}</w:fldSimple>',
        f'<w:smartTag w:element="place">{run("not")}</w:smartTag>',
        f'<w:customXml w:element="x">{run("not")}</w:customXml>',
        f'<w:hyperlink w:anchor="x"><w:ins w:id="1">{run("not")}</w:ins></w:hyperlink>',
        f'<w:bdo w:val="ltr"><w:dir w:val="ltr">{run("not")}</w:dir></w:bdo>',
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>REF x</w:instrText></w:r>'
        f'<w:r><w:fldChar w:fldCharType="separate"/></w:r>{run("not")}'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>',
        '<mc:AlternateContent><mc:Choice Requires="x"><w:r/></mc:Choice>'
        f"<mc:Fallback>{run('not')}</mc:Fallback></mc:AlternateContent>",
        "<w:r><mc:AlternateContent><mc:Choice Requires='x'><w:t>not</w:t></mc:Choice>"
        "<mc:Fallback><w:t>no</w:t></mc:Fallback></mc:AlternateContent></w:r>",
        f"<w:yetUnknown>{run('not')}</w:yetUnknown>",
    ],
)
def test_docx_text_is_read_whatever_is_wrapped_around_it(folder, wrapped):
    text, left_out = word(folder, paragraph(run("It is "), wrapped, run(" longer.")))
    assert (text, left_out) == ("It is not longer.", {})


@pytest.mark.parametrize(
    "wrap",
    [
        "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>",
        '<w:customXml w:element="x">{}</w:customXml>',
        '<w:ins w:id="1">{}</w:ins>',
    ],
)
def test_docx_blocks_rows_and_cells_are_read_whatever_is_wrapped_around_them(folder, wrap):
    block = wrap.format(paragraph(run("one")))
    rows = row(paragraph(run("a")), wrap.format(paragraph(run("b"))))
    rows += wrap.format(row(paragraph(run("c")), paragraph(run("d"))))
    cell = f"<w:tc>{paragraph(run('e'))}</w:tc>"
    rows += f"<w:tr>{wrap.format(cell)}</w:tr>"
    text, left_out = word(folder, block + wrap.format(f"<w:tbl>{rows}</w:tbl>"))
    assert (text, left_out) == ("one\n\na | b\nc | d\ne", {})


def test_docx_has_the_accepted_text_of_tracked_changes(folder):
    deleted = '<w:del w:id="1"><w:r><w:delText>not </w:delText></w:r></w:del>'
    moved = f'<w:moveFrom w:id="2">{run("gone ")}</w:moveFrom>'
    first = paragraph(run("It "), deleted, moved, run("holds "))
    joined = first.replace("</w:pPr>", '<w:rPr><w:del w:id="3"/></w:rPr></w:pPr>')
    table = "<w:tbl>" + row(paragraph(run("a"))) + row(paragraph(run("b"))) + "</w:tbl>"
    table = table.replace("<w:tr>", "<w:tr><w:trPr><w:del w:id='4'/></w:trPr>", 1)
    text, left_out = word(folder, joined + paragraph(run("nine kN.")) + table)
    assert text == "It holds nine kN.\n\nb"
    assert left_out == {
        "tracked deletion": 1,
        "text moved elsewhere": 1,
        "deleted row of a table": 1,
    }


def test_docx_tables_in_tables_merged_cells_and_equal_cells(folder):
    inner = "<w:tbl>" + row(paragraph(run("x")), paragraph(run("y"))) + "</w:tbl>"
    merged = '<w:tcPr><w:vMerge w:val="restart"/></w:tcPr>' + paragraph(run("ring"))
    rows = (
        row('<w:tcPr><w:gridSpan w:val="2"/></w:tcPr>' + paragraph(run("head")))
        + row(merged, paragraph(run("9 kN")), paragraph(run("9 kN")))
        + row("<w:tcPr><w:vMerge/></w:tcPr>" + paragraph(), paragraph(run("7 kN")), inner)
    )
    text, _ = word(folder, f"<w:tbl>{rows}</w:tbl>")
    assert text == "head\nring | 9 kN | 9 kN\nring | 7 kN | x | y"


def test_docx_signs_and_ruby(folder):
    signs = "<w:r><w:t>co</w:t><w:noBreakHyphen/><w:t>op</w:t><w:tab/><w:t>so</w:t><w:softHyphen/>"
    ruby = f"<w:ruby><w:rt>{run('かん')}</w:rt><w:rubyBase>{run('環')}</w:rubyBase></w:ruby>"
    body = paragraph(signs + "<w:t>ft</w:t><w:br/><w:t>end</w:t></w:r>", f"<w:r>{ruby}</w:r>")
    text, left_out = word(folder, body)
    assert (text, left_out) == ("co-op\tsoft\nend環", {"reading aid above characters": 1})


def test_docx_a_field_inside_a_fields_instruction_is_no_text(folder):
    begin, separate, end = (
        f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end")
    )
    page = begin + "<w:r><w:instrText>PAGE</w:instrText></w:r>" + separate + run("3") + end
    text, left_out = word(
        folder, paragraph(begin + page + separate + run("shown"), end + run(" and after"))
    )
    assert (text, left_out) == ("shown and after", {"part of a field's instruction": 1})


def test_docx_what_is_no_running_text_is_counted_once_per_kind(folder):
    box = f"<w:txbxContent>{paragraph(run('box'))}</w:txbxContent>"
    both = (
        f"<mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><wps:txbx>{box}</wps:txbx>"
        f"</w:drawing></mc:Choice><mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict>"
        "</mc:Fallback></mc:AlternateContent>"
    )
    body = paragraph(
        run("Seen"),
        f"<w:r>{both}</w:r><w:r><w:drawing><a:t>drawn</a:t></w:drawing></w:r>",
        '<m:oMath><m:r><m:t>x</m:t></m:r></m:oMath><w:r><w:footnoteReference w:id="2"/></w:r>',
        '<w:r><w:footnoteReference w:id="3"/><w:endnoteReference w:id="2"/></w:r>',
        "<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>"
        f"{run('Click here')}</w:sdtContent></w:sdt>",
    )
    assert word(folder, body) == (
        "Seen",
        {
            "text box": 1,
            "equation": 1,
            "footnote": 2,
            "endnote": 1,
            "placeholder that was never filled in": 1,
        },
    )


def test_docx_hidden_text_is_left_out_and_counted(folder):
    hidden = "<w:r><w:rPr><w:vanish{}/></w:rPr><w:t>secret</w:t></w:r>"
    body = paragraph(run("Seen "), hidden.format(""), hidden.format(' w:val="0"'))
    assert word(folder, body) == ("Seen secret", {"hidden text": 1})


def field(instruction: str, result: str = "", form: str = "", hidden: str = "") -> str:
    begin = f'<w:fldChar w:fldCharType="begin"><w:ffData>{form}</w:ffData></w:fldChar>'
    marks = [f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("separate", "end")]
    asked = f"<w:r><w:instrText> {instruction} </w:instrText></w:r>"
    return f"<w:r>{hidden}{begin}</w:r>{asked}{marks[0]}{result}{marks[1]}"


LIST = '<w:ddList>{}<w:listEntry w:val="iron"/><w:listEntry w:val="gold"/></w:ddList>'


@pytest.mark.parametrize(
    "form,result,text",
    [
        (LIST.format('<w:result w:val="1"/>'), "", "gold"),
        (LIST.format('<w:default w:val="1"/>'), "", "gold"),
        (LIST.format('<w:result w:val="0"/><w:default w:val="1"/>'), "", "iron"),
        (LIST.format(""), "", "iron"),
        (LIST.format('<w:result w:val="7"/>'), "", ""),
        (LIST.format('<w:result w:val="1"/>'), run("gold"), "gold"),
        ("<w:checkBox><w:default w:val='0'/><w:checked/></w:checkBox>", "", "\u2612"),
        ("<w:checkBox><w:default w:val='0'/></w:checkBox>", "", "\u2610"),
    ],
)
def test_docx_choices_in_a_form_are_text(folder, form, result, text):
    body = paragraph(run("It is "), field("FORMDROPDOWN", result, form), run("."))
    assert word(folder, body) == (f"It is {text}.", {})


def test_docx_a_hidden_choice_and_one_in_an_instruction_are_counted(folder):
    form = LIST.format("")
    hidden = field("FORMDROPDOWN", "", form, "<w:rPr><w:vanish/></w:rPr>")
    inside = field("x", run("shown")).replace(
        "<w:r><w:instrText>", field("y", "", form) + "<w:r><w:instrText>"
    )
    assert word(folder, paragraph(run("Seen "), hidden, inside)) == (
        "Seen shown",
        {"hidden text": 1, "part of a field's instruction": 1},
    )


def test_docx_word_art_is_text_on_a_line_of_its_own(folder):
    art = '<w:r><w:pict><v:shape><v:textpath on="t" string="Steel Rings"/></v:shape></w:pict></w:r>'
    assert word(folder, paragraph(run("Seen"), art, run("below"))) == (
        "Seen\nSteel Rings\nbelow",
        {},
    )


def test_docx_dates_are_read_where_they_are_in_the_file_and_else_counted(folder):
    simple = '<w:fldSimple w:instr=" DATE ">{}</w:fldSimple>'
    body = paragraph(
        run("On "),
        simple.format(run("May 1")),
        field("DATE \\@ d", run(", 2 May")),
        simple.format(""),
        field("SAVEDATE"),
        field("XE iron"),
        "<w:r><w:dayLong/><w:monthLong/></w:r>",
    )
    assert word(folder, body) == (
        "On May 1, 2 May",
        {"field that Word fills in": 2, "date or number that Word fills in": 2},
    )


def test_docx_headers_footers_and_comments_are_counted(folder):
    from docx import Document as make_docx

    document = make_docx()
    document.add_comment(document.add_paragraph(PROSE).runs[0], "Really?")
    document.sections[0].header.paragraphs[0].text = "Handbook"
    document.save(folder / "a.docx")
    found = read(folder)
    assert found[0].text == PROSE
    assert [(each.what, each.count) for each in found[1:]] == [("comment", 1), ("header", 1)]


def test_unreadable_docx(folder):
    (folder / "none.docx").write_text("this is no docx")
    with zipfile.ZipFile(folder / "zip.docx", "w") as packed:
        packed.writestr("hello.txt", "hello")
    with zipfile.ZipFile(folder / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", bytes(readers.UNPACKED_XML + 1))
    assert {each.source: each.reason for each in read(folder)} == {
        "none.docx": "an unreadable .docx",
        "zip.docx": "an unreadable .docx",
        "bomb.docx": readers.TOO_MUCH,
    }


def test_a_broken_file_does_not_stop_the_others(folder):
    (folder / "a.pdf").write_text("broken")
    (folder / "b.txt").write_text(PROSE)
    assert [type(each) for each in read(folder)] == [Dropped, Document]


def test_a_link_to_itself_is_told_and_stops_nothing(tmp_path):
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "a.txt").write_text("Some text that can be read by anybody who wants to.")
    found = list(readers.read_folder(tmp_path))
    assert [type(thing).__name__ for thing in found] == ["Document", "Dropped"] and "link" in found[
        1
    ].reason
