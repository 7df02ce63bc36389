"""Records as HTML tables, shared by notebooks and pages; every value is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from labkit.packs import AXES, CONTROLS
from labkit.stats import Interval

NOTE_CHARACTERS = 60  # a shorter text stands in its cell however often it occurs


def template(name: str):
    """A Jinja template of the package, with autoescape on."""
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader("labkit"), autoescape=True).get_template(name)


def scorecard_table(rows: list[dict]) -> str:
    """Scorecard records as a table: a row per checkpoint, a column per axis."""
    axes = [axis for axis in AXES + CONTROLS if any(axis in row["axes"] for row in rows)]
    cells = [
        (row["checkpoint"], [str(Interval(**row["axes"][axis])) if axis in row["axes"] else "" for axis in axes]) for row in rows
    ]
    return template("scorecards.html.j2").render(axes=axes, rows=cells)


def findings_table(rows: list[dict]) -> str:
    """Finding records as a table: claim, effect, verdict, and what is reported elsewhere."""
    said, notes = noted([(row["reported"],) for row in rows])
    cells = [(row, str(Interval(**row["effect"])), words) for row, (words,) in zip(rows, said, strict=True)]
    return template("findings.html.j2").render(rows=cells, notes=notes)


def plain_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Any rows under heads; numbers are written with two digits."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return template("plain.html.j2").render(heads=heads, rows=cells)


def claims_table(rows: list[dict]) -> str:
    """The claims register: claim, effect, verdict, what is reported elsewhere, and why the two may differ."""
    heads = ("topic", "claim", "measured over seeds", "verdict", "reported elsewhere", "why they may differ")
    said, notes = noted([(row["reported"], row["differs"]) for row in rows])
    cells = [(row["topic"], row["claim"], signed(Interval(**row["effect"])), row["verdict"], *words) for row, words in zip(rows, said, strict=True)]
    return plain_table(heads, cells) + template("notes.html.j2").render(notes=notes)


def noted(rows: Sequence[Sequence[str]]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Cells of which a long text that occurs more than once is a number, and those texts in the order of their numbers."""
    often = Counter(text for row in rows for text in row if len(text) > NOTE_CHARACTERS)
    notes = [text for text, times in often.items() if times > 1]
    return [tuple(f"note {notes.index(text) + 1}" if text in notes else text for text in row) for row in rows], notes


def signed(found: Interval) -> str:
    """A difference with its sign; a very small one with a digit more, so that it does not read as zero."""
    digits = 3 if abs(found.mean) < 0.01 else 2
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def synergy_table(rows: list[dict]) -> str:
    """Synergy records (axis, merge, merged, over_max, over_mean) as a table; intervals are Interval.as_dict()."""
    cells = [
        (row["axis"], row["merge"], str(Interval(**row["merged"])), *(signed(Interval(**row[bar])) for bar in ("over_max", "over_mean")))
        for row in rows
    ]
    return template("synergy.html.j2").render(rows=cells)


def claims_rows(rows: list[dict]) -> str:
    """Claims as Markdown: effect, how many scores and seeds, verdict, what is reported elsewhere, why the two may differ."""
    lines = ["| claim | measured | scores, seeds | verdict | reported elsewhere | why they may differ |", "|---|---|---|---|---|---|"]
    said, notes = noted([(row["reported"], row["differs"]) for row in rows])
    for row, words in zip(rows, said, strict=True):
        effect = Interval(**row["effect"])
        lines.append(f"| {row['claim']} | {signed(effect)} | {effect.n}, {effect.seeds} | {row['verdict']} | {' | '.join(words)} |")
    told = ["", "Notes:", "", *(f"{number}. {text}" for number, text in enumerate(notes, 1))] if notes else []
    return "\n".join(lines + told)
