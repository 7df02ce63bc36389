"""This module reads what people hand in: text of any encoding, YAML, forms and zip files.

Whatever is wrong with a file is one sentence with file, place and remedy. A zip file is refused
before it is unpacked when it holds anything unexpected. The module does not know what a text, a
form or a zip file is for.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from labkit.base.errors import InputError, suggest
from labkit.base.store import write_file

# --- text -------------------------------------------------------------------------------------

SAMPLE = 32_768  # bytes an encoding is guessed from
BLOCK = 1 << 20
# of control characters and of bytes that are no character: more is a binary file
NOT_TEXT_SHARE = 0.01
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SOFT_HYPHEN = "\xad"
# What the languages of Europe write beside a to z, and in which encodings they do. A text in Latin
# letters holds too few other bytes for statistics of bytes.
LATIN_ENCODINGS = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2", "mac_roman", "cp850")
_LATIN_LETTERS = (
    "äöüß àâçéèêëîïôûùœ áéíóúñü áâãàçéêíóôõú àèéìòù åäöé åæøé áéíóúýðþæö "
    "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű ăâîșțşţ čćđšž çğ\u0131iöşü "
    "äõöüšž āčēģīķļņšūž ąčęėįšųūž"
)
LATIN_LETTERS = _LATIN_LETTERS.split()
PUNCTUATION = "\xa0«»“”„\u2018’\u201a–—…•·€£¥§©®°±²³µ¼½¾×¿¡\xb4"
INSIDE_A_WORD = re.compile(f"(?<=[^\\W\\d_])[{PUNCTUATION.replace('’', '')}](?=[^\\W\\d_])")
KNOWN_SHARE = 0.8  # of these characters; of fewer the encoding is not believed

_NEWLINES = re.compile("\r\n?|[\v\x85\u2028\u2029]")
_SOFT_HYPHENS = re.compile("\xad(?:[ \t]*\n[ \t]*(?=\\w))?")  # at a line's end with that end
_CONTROLS = re.compile("[\0-\x08\x0e-\x1f\x7f\ufeff\ud800-\udfff]")
# Signs without a shape that mean nothing: word joiners, invisible operators, old format controls,
# annotation marks, Hangul fillers; and the zero-width space, which parts words in the scripts from
# Thai to Burmese and in Khmer only. Joiners (Persian, emoji) and marks of direction mean something.
_MEANINGLESS = re.compile(
    "[\u2060-\u2064\u206a-\u206f\ufff9-\ufffb\u3164\uffa0]"
    "|(?<![\u0e00-\u109f\u1780-\u17ff])\u200b(?![\u0e00-\u109f\u1780-\u17ff])"
)
_LIGATURES = re.compile("[\ufb00-\ufb06]")  # ff, fi, fl, ffi, ffl, ft, st in one character
# Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt), controls, the empty
# Braille pattern
_UNSEEN = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def tidy(text: str) -> str:
    """Text with one kind of line end, of composed letters (NFC) and without typographic ligatures.

    Control characters, soft hyphens, halves of characters and signs without shape and meaning go.
    """
    text = _SOFT_HYPHENS.sub("", _CONTROLS.sub("", _NEWLINES.sub("\n", text)))
    text = _LIGATURES.sub(lambda sign: unicodedata.normalize("NFKC", sign[0]), text)
    return unicodedata.normalize("NFC", _MEANINGLESS.sub("", text))


def seen(text: str) -> str:
    """What can be seen of a text: no signs without a shape, such as zero-width spaces and Hangul
    fillers, and no blanks around it.
    """
    return _UNSEEN.sub("", text).strip()


def find_encoding(path: Path) -> str | None:
    """The encoding of a text file, or None for a binary one.

    UTF-8, UTF-16 and UTF-32 by their marks; UTF-8 where all bytes are, or all but a few; else it is
    guessed. Text in Latin letters has the encoding in which it looks most like one language; for
    other text the guess is that of charset-normalizer.
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


def is_guessed(encoding: str) -> bool:
    """Whether an encoding of find_encoding rests on what the text looks like."""
    return encoding not in ("utf-8", *(name for _, name in MARKS))


def _guess(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    if latin := _latin_encoding(sample):
        return latin
    best = from_bytes(sample).best()
    if best is None or _is_binary(str(best)):
        return None
    return "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding


def _latin_encoding(sample: bytes) -> str | None:
    """The encoding in which a text in Latin letters looks most like one of LATIN_LETTERS.

    None for other text, where bytes beyond ASCII stand mostly side by side.
    """
    runs = re.findall(rb"[\x80-\xff]+", sample)
    if 3 * len(runs) < 2 * sum(map(len, runs)) or _is_binary(sample.decode("latin-1")):
        return None
    looks = {name: _like_a_language(sample.decode(name, "replace")) for name in LATIN_ENCODINGS}
    best = max(looks, key=looks.__getitem__)
    return best if looks[best] >= KNOWN_SHARE else None


def _like_a_language(text: str) -> float:
    """The share of the characters beyond ASCII that one language has, of the likeliest language."""
    beyond = Counter(re.findall("[^\0-\x7f]", text.lower()))
    signs = sum(beyond[sign] for sign in PUNCTUATION) - len(INSIDE_A_WORD.findall(text))
    letters = max(sum(beyond[letter] for letter in letters) for letters in LATIN_LETTERS)
    return (signs + letters) / max(1, beyond.total())


# --- YAML -------------------------------------------------------------------------------------

# libyaml's where it is there: ten times as fast
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# with every alias written out: nine lines of aliases of aliases stand for a billion
MOST_VALUES = 100_000


def read_yaml(path: Path, *, missing: str, error: type[InputError] = InputError) -> Any:
    """What a YAML file holds.

    Raises `error`, also for aliases that stand for more than MOST_VALUES; missing: what to do when
    there is no such file.
    """
    text = ""
    try:
        text = path.read_text("utf-8")
        loader = LOADER(text)
        node = loader.get_single_node()
        if _written_out(node, {}) > MOST_VALUES:
            raise error(
                f"{path}: its aliases (*name) stand for more than {MOST_VALUES:,} "
                "values; write out what is meant"
            )
        if twice := _given_twice(node, set()):
            raise error(
                f"{path}:{twice.start_mark.line + 1}: {twice.value} is given a second time, and "
                "only one can be meant; keep one"
            )
        return None if node is None else loader.construct_document(node)
    except FileNotFoundError:
        raise error(f"{path}: no such file; {missing}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        if "single document" in str(problem):
            raise error(
                f"{path}: a line of --- parts it into several documents, and only one can be "
                "meant; keep one"
            ) from None
        # libyaml's mark may lie behind the end
        line = f":{min(mark.line + 1, len(text.splitlines()))}" if mark else ""
        raise error(f"{path}{line}: this is not valid YAML; check indentation and colons") from None
    except RecursionError:
        raise error(
            f"{path}: its lists lie too deep in each other to be read; check the brackets"
        ) from None
    except (OSError, ValueError):
        raise error(f"{path}: this cannot be read as YAML; check the file") from None


def _given_twice(node: yaml.Node | None, seen: set[int]) -> yaml.ScalarNode | None:
    """The first key that its mapping has already, which YAML would let take the first one's place.

    seen: ids of nodes that were looked through.
    """
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return None
    seen.add(id(node))
    inner = node.value
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if (key.tag, key.value) in keys:
                    return key
                keys.add((key.tag, key.value))
        inner = [part for pair in node.value for part in pair]
    return next((found for part in inner if (found := _given_twice(part, seen))), None)


def beside(file: Path, given: str, known: Iterable[str] = ()) -> str:
    """The folder that a file names, looked for from here and then from where the file lies.

    known: names that stand for no folder. What is in neither place stays as it is given.
    """
    there = os.path.join(file.parent, given)
    return given if given in known or os.path.isdir(given) or not os.path.isdir(there) else there


def _written_out(node: yaml.Node | None, known: dict[int, float]) -> float:
    """How many values a node stands for with every alias written out; infinite for one that holds
    itself. known: sizes by id.
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = inf
        parts = (
            (part for pair in node.value for part in pair)
            if isinstance(node, yaml.MappingNode)
            else node.value
        )
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]


class Strict(BaseModel):
    """Base of what a spec is made of: no unknown field, no number that is not finite, nothing
    changed once it is read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, field: ValidationInfo) -> object:
        if not isinstance(value, bool):
            return value
        kinds = re.findall(r"\b(?:bool|int|float)\b", str(cls.model_fields[field.field_name or ""]))
        if kinds and "bool" not in kinds:  # true would be read as 1
            raise ValueError(f"must not be {str(value).lower()}")
        return value


def explain(error: ValidationError, model: type[BaseModel], **parts: type[BaseModel]) -> str:
    """The first problem pydantic found, as one sentence with the field's path.

    parts: models of the fields that hold other fields, for suggestions when a name there is not
    known.
    """
    first = error.errors()[0]
    loc = first["loc"]
    if "t" in loc:  # one of several shapes: pydantic tells of each what is wrong with it
        field = ".".join(map(str, loc[: loc.index("t") + 1]))
        shapes = (
            "must be a number, anchors over depth, a list of filter and value, or a preset's name"
        )
        return (
            f"{field} {shapes} (got {first['input']!r})"[:400]
            if loc[-1] != "t"
            else f"{field}: {_bare(first['msg'])}"
        )
    field = ".".join(str(part) for part in loc) or "spec"
    if first["type"] == "extra_forbidden":
        known = parts.get(str(loc[0]) if len(loc) > 1 else "", model)
        return f"{field} is not a known field; {suggest(str(loc[-1]), list(known.model_fields))}"
    if first["type"] == "value_error":
        return f"{field}: {_bare(first['msg'])}"
    return f"{field}: {_bare(first['msg'])} (got {first['input']!r})"[:400]


def _bare(message: str) -> str:
    return message.removeprefix("Value error, ")


# --- forms ------------------------------------------------------------------------------------


class Form(BaseModel):
    """Base of every form: no unknown field, no silent change of type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _one_line_of_letters(cls, value: object) -> object:
        # Forms are printed: a control character could steer a terminal, and no font has a glyph for
        # one.
        if isinstance(value, str) and any(
            unicodedata.category(letter) in ("Cc", "Cs") for letter in value
        ):
            raise ValueError("must be one line without control characters")
        return value


Filled = TypeVar("Filled", bound=Form)


def _in_words(value: object) -> object:
    """YAML reads a bare yes as true and an empty value as nothing."""
    return (
        "unknown"
        if value is None
        else {True: "yes", False: "no"}[value]
        if isinstance(value, bool)
        else value
    )


YesNo = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(_in_words)]


def load_form(model: type[Filled], path: Path, *, help: str) -> Filled:
    """A filled form from YAML.

    Raises InputError naming file and field. help: where the form is described.
    """
    return fill_form(model, read_yaml(path, missing=help), place=str(path), help=help)


def fill_form(model: type[Filled], values: object, *, place: str, help: str) -> Filled:
    """A filled form from plain values.

    Raises InputError starting with `place`, with the first field that is wrong.
    """
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise InputError(f"{place}: expected fields and values, one `field: value` a line; {help}")
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(f"{place}: {_first_problem(error, model)}; {help}") from None


def save_form(form: Form, path: Path) -> None:
    """Write a form as YAML, without what was left at its default.

    Raises StoreError when it cannot be written.
    """
    values = form.model_dump(mode="json", exclude_defaults=True)
    write_file(path, yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True))


def _first_problem(error: ValidationError, model: type[Form]) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{field}: not a known field; {suggest(field, list(model.model_fields))}"
    if first["type"] == "missing":
        return f"{field}: missing; write it, as `{field}: null` where it is allowed not to be known"
    message = first["msg"].removeprefix("Value error, ")
    if not field:  # of the form as a whole; such a message names its fields itself
        return message
    return f"{field}: {message} (got {first['input']!r})"[:400]


# --- zip files --------------------------------------------------------------------------------

# The end of the list of members, as a zip without a comment ends (APPNOTE.TXT, 4.3.16). It is read
# first: Python's zipfile would list millions of members before anyone could count them.
END = struct.Struct("<4sHHHHIIH")
END_MARK, ZIP64_MARK, ZIP64_LOCATOR_BYTES = b"PK\x05\x06", b"PK\x06\x07", 20
ENTRY_BYTES = 512  # of one member in that list: 46, its name, and room
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a file may hold. file, member, total: bytes; ratio: of unpacked to packed, for members
    above 1 MiB.
    """

    file: int
    members: int
    member: int
    total: int
    ratio: int


def unpack(
    path: Path, folder: Path, *, allowed: re.Pattern[str], limits: Limits, remedy: str
) -> None:
    """Unpack a zip file into an empty folder. allowed: what the whole name of a member must match;
    remedy: of every error.

    Raises InputError naming file, member and remedy for anything else than ordinary files of
    allowed names within limits.
    """
    _check_end(path, limits, remedy)
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
            for problem in _problems(members, allowed, limits):
                raise InputError(f"{path}: {problem}; {remedy}")
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                # never more than its stated size, which is within the limit
                target.write_bytes(packed.read(member))
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        raise InputError(
            f"{path}: this zip file is damaged ({_first_line(error)}); {remedy}"
        ) from None


def _first_line(error: Exception) -> str:
    return ascii((str(error).splitlines() or [type(error).__name__])[0][:80]).strip("'\"")


def _check_end(path: Path, limits: Limits, remedy: str) -> None:
    """Refuse by size and by the number of members that the end of the file states."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a zip file")
    size = path.stat().st_size
    if size > limits.file:
        raise InputError(
            f"{path}: the file has {size / MIB:,.0f} MiB, more than the "
            f"{limits.file / MIB:,.0f} MiB that are allowed; {remedy}"
        )
    with path.open("rb") as file:
        file.seek(max(0, size - END.size - ZIP64_LOCATOR_BYTES))
        tail = file.read()
    if tail[-END.size : -END.size + 4] != END_MARK or tail.startswith(ZIP64_MARK):
        raise InputError(f"{path}: this is no zip file as labkit writes it; {remedy}")
    *_, count, list_bytes, _, comment = END.unpack(tail[-END.size :])
    if comment or count > limits.members or list_bytes > limits.members * ENTRY_BYTES:
        raise InputError(
            f"{path}: the file has {count:,} members, or their list takes "
            f"{list_bytes:,} bytes; {limits.members} are allowed; {remedy}"
        )


def _problems(members: list[zipfile.ZipInfo], allowed: re.Pattern[str], limits: Limits):
    """What is wrong with the members, most telling first."""
    if len(members) > limits.members:
        yield f"the file has {len(members):,} members, {limits.members} are allowed"
    for member in members:
        name = ascii(member.orig_filename[:80])
        if (
            problem := _name_problem(member.orig_filename)
            or _kind_problem(member)
            or _size_problem(member, limits)
        ):
            yield f"member {name} {problem}"
        elif not allowed.fullmatch(member.filename):
            yield f"member {name} does not belong here"
    for name, times in Counter(member.filename for member in members).items():
        if times > 1:
            yield f"member {name[:80]!a} is there {times} times"
    if (total := sum(member.file_size for member in members)) > limits.total:
        yield (
            f"its members unpack to {total / MIB:,.0f} MiB, {limits.total / MIB:,.0f} MiB "
            "are allowed"
        )


def _name_problem(name: str) -> str | None:
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in parts:
        return "has a name that leads out of the folder"
    return "has a control character in its name" if re.search(r"[\x00-\x1f]", name) else None


def _kind_problem(member: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        return "is no ordinary file"
    if member.flag_bits & 1:
        return "is encrypted"
    return (
        None
        if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        else "is packed in a way that is not expected"
    )


def _size_problem(member: zipfile.ZipInfo, limits: Limits) -> str | None:
    if member.file_size > limits.member:
        return (
            f"unpacks to {member.file_size / MIB:,.0f} MiB, {limits.member / MIB:,.0f} MiB "
            "are allowed"
        )
    if member.file_size > MIB and member.file_size > limits.ratio * max(1, member.compress_size):
        return (
            f"unpacks to {member.file_size / max(1, member.compress_size):,.0f} times its "
            "size, as a zip bomb does"
        )
    return None
