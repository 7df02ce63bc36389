"""Writes docs/lesson.md: every demand of the lesson, a verdict, and links to what answers it.

Nothing is judged here. The verdicts are in pages/lesson.yaml; this module follows every link and
looks every claim up, and refuses to write a page with one that leads nowhere.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import Strict, explain, read_yaml
from labkit.base.pages import claim_verdict, signed
from labkit.base.stats import Interval
from labkit.base.store import write_file
from labkit.data.published import CONTRADICTED, Bearing, Reason, counted_votes, reasons
from studies import page

ROOT = Path(__file__).parents[1]
ROWS = Path(__file__).parent / "pages" / "lesson.yaml"
PRESENT, PARTIAL, ABSENT = "present", "partial", "absent"
SHOWN = "contradicted by measurement and shown"
VERDICTS = (PRESENT, SHOWN, PARTIAL, ABSENT)
PARTS = {
    "A": "Frame: title, readers, stories, goal",
    "B": "Six reasons",
    "C": "Three critical questions",
    "D": "Roadmap, steps (i) to (vi)",
    "E": "Reflection and bottom line",
    "F": "What it teaches, and its keywords",
}
# The demands, numbered within a part; those of a step of the roadmap have letters. D0 stands before
# step (i).
STEPS = ("ab", "abc", "abcde", "abcdefg", "abc", "abcde", "abcdef")
COUNTS = {"A": 17, "B": 7, "C": 4, "D": 0, "E": 6, "F": 18}
IDS = tuple(
    one
    for part, count in COUNTS.items()
    for one in (
        *(f"{part}{number}" for number in range(1, count + 1)),
        *(f"D{step}{letter}" for step, of in enumerate(STEPS) for letter in of if part == "D"),
    )
)


class Row(Strict):
    """One demand of the lesson.

    now: what labkit has for it. missing: what it still lacks; of partial and absent rows alone.
    links: where to look (`follow` says which forms a link has). reason: the id of one of the six
    reasons, whose claims bear on the demand. claims: claims that do, one by one.
    """

    id: str
    demand: str = Field(min_length=1)
    verdict: Literal["present", "contradicted by measurement and shown", "partial", "absent"]
    now: str = Field(min_length=1)
    missing: str = ""
    links: tuple[str, ...] = ()
    reason: str = ""
    claims: tuple[Bearing, ...] = ()

    @model_validator(mode="after")
    def _fits_its_verdict(self) -> Row:
        if bool(self.missing) != (self.verdict in (PARTIAL, ABSENT)):
            raise ValueError(f"{self.id}: say under missing what a partial or absent row lacks")
        if not self.links and self.verdict != ABSENT:
            raise ValueError(f"{self.id}: give at least one link to what is there")
        return self

    @property
    def votes(self) -> list[str]:
        """What each claim's measured verdict means for the demand."""
        return [
            *(_reason(self.reason).votes if self.reason else ()),
            *(c.vote for c in self.claims),
        ]


def _reason(name: str) -> Reason:
    known = {one.id: one for one in reasons()}
    if name not in known:
        raise InputError(f"{ROWS.name}: no reason {name!r}; {suggest(name, list(known))}")
    return known[name]


def rows(path: Path = ROWS) -> tuple[Row, ...]:
    """The demands in the lesson's order.

    Raises InputError naming the first wrong field, a demand that is not there once, and a row
    that is called contradicted where no measured claim contradicts it.
    """
    try:
        found = TypeAdapter(tuple[Row, ...]).validate_python(read_yaml(path, missing="restore it"))
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, Row)}") from None
    told = [row.id for row in found]
    if tuple(told) != IDS:
        wrong = sorted({*IDS} ^ {*told}) or [i for i, n in Counter(told).items() if n > 1] or told
        raise InputError(
            f"{path}: each demand stands there once, in the order of the lesson; look at {wrong[0]}"
        )
    for row in found:
        if row.verdict == SHOWN and CONTRADICTED not in row.votes:
            raise InputError(
                f"{path}: {row.id} is called contradicted, and none of its claims was measured so; "
                "name one that was, or choose another verdict"
            )
    return found


# --- links ------------------------------------------------------------------------------------


def follow(link: str) -> str:
    """A link as Markdown for a page in docs/, once it was followed to its end.

    A link is `PAGE.md#ANCHOR`, `NOTEBOOK.ipynb#CELL`, `TEST.py::NAME`, `MODULE:NAME`, a command of
    labkit with its options, or any other file; files by their path in the checkout. Raises
    InputError naming a link that leads nowhere.
    """
    if link.startswith("labkit "):
        _command(link)
        return f"`{link}`"
    if re.fullmatch(r"[\w.]+:[\w.]+", link):
        return f"[`{link.partition(':')[2]}`]({_beside_docs(_code(link))})"
    name, mark, place = link.partition("::" if "::" in link else "#")
    path = ROOT / name
    if not path.is_file():
        raise InputError(f"{link}: there is no file {name}")
    if mark == "::":
        _is_among(link, place, _tests(path))
        return f"[test: {_plain(place.removeprefix('test_'))}]({_beside_docs(path)})"
    if path.suffix == ".ipynb":
        _is_among(link, place, _cells(path))
        return f"[{path.stem}, cell {place}]({_beside_docs(path)})"
    if path.suffix == ".md":
        heads = headings(path.read_text("utf-8"))
        _is_among(link, place, heads)
        return f"[{path.stem}: {heads[place]}]({_beside_docs(path)}#{place})"
    if mark:
        raise InputError(f"{link}: only pages and notebooks have places; leave out #{place}")
    return f"[{path.name}]({_beside_docs(path)})"


def _is_among(link: str, place: str, there: Iterable[str]) -> None:
    if place not in there:
        raise InputError(f"{link}: {place!r} is not there; {suggest(place, list(there))}")


def _beside_docs(path: Path) -> str:
    inside = path.relative_to(ROOT)
    return inside.relative_to("docs").as_posix() if inside.parts[0] == "docs" else f"../{inside}"


def headings(text: str) -> dict[str, str]:
    """Anchor -> heading of a page, as GitHub makes anchors."""
    found: dict[str, str] = {}
    unfenced = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for head in re.findall(r"^#+ (.*)$", unfenced, re.MULTILINE):
        slug = "".join(s for s in head.strip().lower() if s.isalnum() or s in " -_")
        slug = slug.replace(" ", "-")
        again = sum(
            one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found
        )
        found[f"{slug}-{again}" if again else slug] = head.strip()
    return found


@cache
def _cells(path: Path) -> frozenset[str]:
    return frozenset(cell["id"] for cell in json.loads(path.read_text("utf-8"))["cells"])


@cache
def _tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    )


def _code(link: str) -> Path:
    """The file of the module that has the name."""
    module, _, name = link.partition(":")
    try:
        found: Any = importlib.import_module(module)
        path = Path(found.__file__)
        for step in name.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{link}: cannot be imported ({error})") from None
    return path


@cache
def _labkit() -> Any:
    """labkit's own command line, as typer's copy of click holds it."""
    from labkit.cli.__main__ import app

    return typer.main.get_command(app)


def _command(link: str) -> None:
    command, (_, *words) = _labkit(), link.split()
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        name, *words = words
        if name not in command.commands:
            raise InputError(
                f"{link}: no command {name!r}; {suggest(name, list(command.commands))}"
            )
        command = command.commands[name]
    options = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
    for word in words:
        if word.startswith("--") and word not in options:
            raise InputError(f"{link}: no option {word}; {suggest(word, options)}")


# --- the page ---------------------------------------------------------------------------------


def write_lesson_page(path: Path, data: Path = ROWS) -> Path:
    """Writes the page; returns where. Raises InputError as `rows` and `follow` do."""
    found = rows(data)
    counts = Counter(str(row.verdict) for row in found)
    open_rows = [row for row in found if row.missing]
    text = page("lesson").format(
        counts=_table(
            ("verdict", "rows"),
            [*((one, str(counts[one])) for one in VERDICTS), ("in all", str(len(found)))],
        ),
        still_open=_table(
            ("row", "verdict", "what is missing"),
            ((f"{row.id}", row.verdict, row.missing) for row in open_rows),
        )
        if open_rows
        else "Nothing.",
        parts="\n\n".join(
            f"## {part}. {head}\n\n{_part([row for row in found if row.id[0] == part])}"
            for part, head in PARTS.items()
        ),
    )
    write_file(path, text)
    return path


def _part(found: Iterable[Row]) -> str:
    return _table(
        ("row", "the lesson asks for", "verdict", "what labkit has for it", "where to look"),
        (
            (
                row.id,
                row.demand,
                row.verdict if row.verdict == PRESENT else f"**{row.verdict}**",
                " ".join([row.now, *_measured(row)]),
                "; ".join(map(follow, row.links)),
            )
            for row in found
        ),
    )


def _measured(row: Row) -> Iterator[str]:
    """What the records say of the claims that bear on a row."""
    if row.reason:
        reason = _reason(row.reason)
        yield f"*Measured: {reason.verdict}* ({counted_votes(reason.votes)})."
    for claim in row.claims:
        effect = Interval(**claim.row["effect"])
        yield (
            f"*Measured: {claim.claim}: {claim_verdict(claim.row)}*, {signed(effect)} "
            f"(n={effect.n}, seeds={effect.seeds})."
        )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *lines))
