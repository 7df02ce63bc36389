"""Which encoding a text file is in, and its text without what is no text."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path

SAMPLE = 32_768  # bytes an encoding is guessed from
BLOCK = 1 << 20
NOT_TEXT_SHARE = 0.01  # of control characters and of bytes that are no character: more is a binary file
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SOFT_HYPHEN = "\xad"

_NEWLINES = re.compile("\r\n?|[\v\x85\u2028\u2029]")
_CONTROLS = re.compile("[\0-\x08\x0e-\x1f\x7f\ufeff\ud800-\udfff]")


def tidy(text: str) -> str:
    """Text with one kind of line end and of composed letters (NFC), without control characters, soft hyphens and halves of characters."""
    return unicodedata.normalize("NFC", _CONTROLS.sub("", _NEWLINES.sub("\n", text)).replace(SOFT_HYPHEN, ""))


def find_encoding(path: Path) -> str | None:
    """The encoding of a text file, or None for a binary one.

    UTF-8, UTF-16 and UTF-32 by their marks; UTF-8 where all bytes are, or all but a few; else the best guess of
    charset-normalizer, and of the encodings that read the sample alike the Western Windows one.
    """
    with path.open("rb") as file:
        start = file.read(SAMPLE)
    for mark, encoding in MARKS:
        if start.startswith(mark):
            return None if _is_binary(start.decode(encoding, "replace")) else encoding
    if _is_binary(start.decode("latin-1")):
        return _guess(start)
    sample = _around_first_not_utf8(path)
    if sample is None:
        return "utf-8"
    read = sample.decode("utf-8", "replace")
    wrong = read.count("\ufffd")
    beyond_ascii = sum(character > "\x7f" for character in read) - wrong
    return "utf-8" if beyond_ascii > 5 * wrong else _guess(sample)


def _is_binary(text: str) -> bool:
    return len(_CONTROLS.findall(text)) + text.count("\ufffd") > 1 + NOT_TEXT_SHARE * len(text)


def _around_first_not_utf8(path: Path) -> bytes | None:
    """A sample around the first byte that is not UTF-8, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while True:
            block, at = file.read(BLOCK), file.tell()
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                file.seek(max(0, at - len(block) + error.start - SAMPLE // 2))
                return file.read(SAMPLE)
            if not block:
                return None


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is None or _is_binary(str(best)):
        return None
    return "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding
