from __future__ import annotations

import random

import pytest

from labkit.base.inputs import SAMPLE, find_encoding, is_guessed, tidy

GERMAN = "Die Größe der Maße wurde überprüft. Für jede Prüfung müssen die Geräte geöffnet werden. "
RUSSIAN = "Привет, как дела? Это простой текст на русском языке. "
JAPANESE = "これは日本語の文章です。テストのために書きました。"


def read(tmp_path, data: bytes) -> str | None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    encoding = find_encoding(path)
    return encoding and path.read_text(encoding, errors="replace")


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "cp1252", "latin-1"],
)
def test_german_in_every_encoding(tmp_path, encoding):
    assert read(tmp_path, (GERMAN * 20).encode(encoding)) == GERMAN * 20


@pytest.mark.parametrize(
    "text,encoding",
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp")],
)
def test_other_scripts(tmp_path, text, encoding):
    assert read(tmp_path, (text * 20).encode(encoding)) == text * 20


@pytest.mark.parametrize(
    "text,encodings",
    [
        ("Wie lange hält Harz? Für sechs Monate.", ("cp1252", "mac_roman", "cp850")),
        ("Le château fut bâti à l’époque où l’été était chaud.", ("cp1252", "mac_roman")),
        ("Żywica zachowuje swoje właściwości przez sześć miesięcy.", ("cp1250", "iso8859_2")),
        ("Pryskyřice vydrží v chladu šest měsíců.", ("cp1250",)),
        ("Reçine soğukta altı ay dayanır, sonra gücünü yitirir.", ("cp1254",)),
        ("Hartset håller i sex månader vid fyra grader.", ("cp1252",)),
        ("The resin’s “pot life” costs £5 at 4 °C.", ("cp1252", "mac_roman")),
        ("It’s kept cold.", ("cp1252",)),
    ],
)
def test_a_sentence_in_latin_letters_is_enough_to_tell_its_encoding(tmp_path, text, encodings):
    for encoding in encodings:
        assert read(tmp_path, text.encode(encoding)) == text
        path = tmp_path / "a.txt"
        assert is_guessed(str(find_encoding(path)))
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert not is_guessed(str(find_encoding(path)))


def test_letters_whose_bytes_look_like_controls(tmp_path):
    assert read(tmp_path, ("í " * 900).encode()) == "í " * 900


def test_umlauts_beyond_the_first_sample(tmp_path):
    text = "Plain words only. " * (SAMPLE // 9) + GERMAN
    assert read(tmp_path, text.encode("cp1252")) == text
    assert read(tmp_path, text.encode("utf-8")) == text


def test_a_few_stray_bytes_do_not_turn_utf8_into_something_else(tmp_path):
    data = (GERMAN * 20).encode() + b" caf\xe9 " + GERMAN.encode()
    assert read(tmp_path, data) == GERMAN * 20 + " caf\ufffd " + GERMAN


def test_a_character_cut_at_the_end_of_the_file(tmp_path):
    assert read(tmp_path, (GERMAN * 20 + "ß").encode()[:-1]) == GERMAN * 20 + "\ufffd"


@pytest.mark.parametrize(
    "data",
    [
        random.Random(0).randbytes(5000),
        b"\x7fELF\x02\x01\x01" + bytes(4000),
        b"\xff\xfe" + random.Random(1).randbytes(5000),
        b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(900),
    ],
)
def test_binaries(tmp_path, data):
    assert read(tmp_path, data) is None


def test_tidy():
    assert tidy("a\r\nb\rc\u2028d\x85e") == "a\nb\nc\nd\ne"
    assert tidy("x\0\x1b\ufeffy\ud800 sof\xadter") == "xy softer"
    assert tidy("e\u0301") == "\u00e9"
    assert tidy("pub\xad\nlic\xad\n\nend") == "public\n\nend"
    assert tidy("page\fpage\ttab") == "page\fpage\ttab"


def test_tidy_takes_signs_that_cannot_be_seen_and_keeps_those_that_mean_something():
    assert tidy("st\u200beel wo\u2060rd \u3164") == "steel word "
    assert tidy("e\ufb03cient \ufb01t") == "efficient fit"
    for kept in (
        "می\u200cخواهم",
        "👩\u200d👧",
        "☂\ufe0f",
        "אב\u200f",
        "ไทย\u200bเป็น",
        "ភាសា\u200bខ្មែរ",
    ):
        assert tidy(kept) == kept
