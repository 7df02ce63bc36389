"""Writes docs/six-reasons.md: what the lesson says, what is reported, and what labkit measured.

Nothing is measured here. Claims are looked up by their words, and the verdict on each reason
follows from them by one rule (labkit/data/published.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from labkit.base.pages import claim_verdict, signed
from labkit.base.stats import NOT_DISTINGUISHABLE, Interval
from labkit.base.store import write_file
from labkit.course.labs.scale_lab import families_words, sizes_words
from labkit.data.published import (
    CONTRADICTED,
    REGISTERS,
    SUPPORTED,
    Bearing,
    Reason,
    ReasonPart,
    counted_votes,
    measured_in,
    measured_scale,
    reasons,
    reported,
    reported_by_family,
    study,
)
from studies import page

PAGE = page("six-reasons")
VOTES = {
    SUPPORTED: "for it",
    CONTRADICTED: "against it",
    NOT_DISTINGUISHABLE: "cannot be told",
}


class Told(dict):
    """Looks up what a template names: `{told[STUDY: CLAIM]}` becomes verdict and effect."""

    def __missing__(self, key: str) -> str:
        study_name, _, claim = key.partition(": ")
        row = measured_in(study_name, claim)
        return f"{claim_verdict(row)}, {signed(Interval(**row['effect']))}"


class Cited(dict):
    """Looks up what a template names: `{cited[KEY]}` becomes a study with its size and finding."""

    def __missing__(self, key: str) -> str:
        found = study(key)
        return f"{found['cite']} (models: {found['size']}): {found['found']}"


def write_reasons_page(path: Path) -> Path:
    """Writes the page; returns where. Raises InputError for a claim that was not measured."""
    found = reasons()
    models, approaches = reported_by_family()
    text = PAGE.format(
        overview=_table(
            ("reason", "said", "verdict", "claims that test it", "in short"),
            (
                (
                    f"[{one.number} {one.title}](#{_anchor(one)})",
                    one.said,
                    f"**{one.verdict}**",
                    counted_votes(one.votes),
                    one.in_short,
                )
                for one in found
            ),
        ),
        families=_table(("approach", *models, "where"), approaches),
        reasons="\n\n".join(_section(one) for one in found),
        told=Told(),
        cited=Cited(),
        by_family=families_words(measured_scale("families")),
        by_size=sizes_words(measured_scale("sizes")),
    )
    write_file(path, text)
    return path


def _anchor(reason: Reason) -> str:
    """As GitHub makes it of the heading."""
    kept = "".join(sign for sign in _head(reason).lower() if sign.isalnum() or sign in " -")
    return kept.replace(" ", "-")


def _head(reason: Reason) -> str:
    return f"{reason.number} {reason.title}"


def _section(reason: Reason) -> str:
    return "\n\n".join(
        [
            f"## {_head(reason)}",
            f"**Said.** {reason.said}",
            "**Reported elsewhere.**",
            "\n".join(f"- {reported(key)}" for key in reason.reported),
            "**Measured here.**",
            *(text for part in reason.parts for text in _part(part)),
            f"**Verdict: {reason.verdict}.** Of the claims that test the sentence, "
            f"{counted_votes(reason.votes)}. {reason.in_short}",
            f"**Why the paper may see something else.** {reason.why}",
            f"**What follows for a design.** {reason.design}",
        ]
    )


def _part(part: ReasonPart) -> Iterator[str]:
    beside = "" if part.decides else " This bears on the reason and does not decide."
    yield f"*{part.says}* {part.verdict.capitalize()}: {counted_votes(part.votes)}.{beside}"
    if part.missing:
        yield part.missing
    if part.claims:
        heads = (
            "claim",
            "effect, 95% interval",
            "n",
            "seeds",
            "verdict",
            "for the sentence",
            "page",
        )
        yield _table(heads, map(_row, part.claims))


def _row(bearing: Bearing) -> tuple[str, ...]:
    row, page_name = bearing.row, REGISTERS[bearing.study].page
    effect = Interval(**row["effect"])
    return (
        row["claim"],
        signed(effect),
        f"{effect.n}",
        f"{effect.seeds}",
        claim_verdict(row),
        VOTES[bearing.vote],
        f"[{page_name.removesuffix('.md')}]({page_name})",
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (heads, ["---"] * len(heads), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
