"""Records in, pages out: the page of a run, the page of a learner, and the same as a PDF.

HTML pages are self-contained, with embedded figures and nothing loaded from elsewhere.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.pages import Section, findings_table, scorecard_table, template, write_pdf
from labkit.base.records import latest, same_once
from labkit.base.stats import Interval
from labkit.base.store import write_file
from labkit.course import journal
from labkit.design import dossier as paper

PICTURE_GONE = "its picture is gone; run the notebook again"


def notebook_page(executed: Path, page: Path) -> Path:
    """An executed notebook as one HTML file. nbconvert's `basic` template keeps alt text and needs
    no CDN. Of two cells of parameters the one that was in force is shown.
    """
    import nbformat
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    if any("injected-parameters" in of for of in tags):
        notebook.cells = [
            cell for cell, of in zip(notebook.cells, tags, strict=True) if "parameters" not in of
        ]
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    page.write_text(
        template("page.html.j2").render(title=executed.stem, body=Markup(body)), "utf-8"
    )
    return page


def course_page(runs: list, out_dir: Path, *, title: str) -> Path:
    """One page: what failed, findings, scorecards, how each notebook went, figures. A model with
    several names has one row.

    Raises InputError as `embedded` does.
    """
    from markupsafe import Markup

    found = records.read(out_dir)

    def of_kind(kind: str) -> list[dict]:
        return [record for record in found if record["kind"] == kind]

    findings = latest(of_kind("finding"), "claim")
    scorecards = latest(
        [record for record in of_kind("scorecard") if record["split"] == "test"], "checkpoint"
    )
    scorecards, others = same_once(scorecards)
    session = (of_kind("session") or [{"profile": "", "pack": "", "seed": ""}])[0]
    html = template("course.html.j2").render(
        title=title,
        runs=sorted(runs, key=lambda run: not run.problem),
        findings=Markup(findings_table(findings)) if findings else "",
        scorecards=Markup(scorecard_table(scorecards)) if scorecards else "",
        others=[f"{first} is also called {', '.join(more)}." for first, more in others],
        figures=embedded(out_dir, of_kind("figure")),
        session=session,
    )
    page = out_dir / "course.html"
    page.write_text(html, "utf-8")
    return page


def embedded(out_dir: Path, figures: list[dict]) -> list[dict]:
    """The last figure of each file, with its PNG as base64 under `data`; empty where the file is
    gone.

    Records may come from somebody else: raises InputError for a file outside out_dir or one that is
    no PNG.
    """
    return [
        {**figure, "data": base64.b64encode(_png(out_dir, figure["file"])).decode()}
        for figure in latest(figures, "file")
    ]


def _png(out_dir: Path, name: str) -> bytes:
    path = (out_dir / name).resolve()
    if not path.is_relative_to(out_dir.resolve()):
        raise InputError(
            f"{out_dir / records.FILE}: the figure {name!r} lies outside {out_dir}; "
            "remove that record"
        )
    if not path.is_file():
        return b""
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG"):
        raise InputError(f"{path}: not a PNG picture; remove it, or run the notebook again")
    return content


# --- one learner


@dataclass(frozen=True)
class Learner:
    """All that the records of a folder say of one learner, as plain text and rows."""

    name: str
    sessions: tuple[tuple[str, str, int], ...]  # pack, profile, seed
    progress: str
    critical: list[dict[str, str]]
    reflections: list[dict]
    calibration: journal.Calibration | None
    sections: tuple[Section, ...]
    figures: list[dict]

    @property
    def title(self) -> str:
        return f"What {self.name} guessed, found and thinks"

    @property
    def subtitle(self) -> str:
        told = "; ".join(
            f"pack {pack}, profile {profile}, seed {seed}" for pack, profile, seed in self.sessions
        )
        return (
            f"labkit course; {told}. Every number comes from the records of these runs; "
            "intervals are 95%."
        )


def read_learner(out_dir: Path, learner: str) -> Learner:
    """Raises InputError when the records of a folder do not know the learner."""
    found = journal.kept(out_dir, learner)
    if not found:
        raise InputError(
            f"{out_dir / records.FILE}: no record of a learner {learner[:60]!r}; check "
            "learner and out_dir, or run a notebook first"
        )

    def of_kind(kind: str) -> list[dict]:
        return [row for row in found if row["kind"] == kind]

    statuses, guesses = journal.progress(out_dir, learner), journal.predictions(out_dir, learner)
    critical = {
        f"critical_{i}{when}"
        for i in range(1, len(journal.CRITICAL_QUESTIONS) + 1)
        for when in ("", "_before")
    }
    written = [
        row
        for row in latest(of_kind("reflection"), "id")
        if row["text"] and row["id"] not in critical
    ]
    told = journal.calibration(guesses)
    sections = (
        Section(
            "Progress",
            journal.told_progress(statuses),
            ("notebook", "how far"),
            tuple((one.notebook, str(one)) for one in statuses),
        ),
        _exercises(of_kind("answer")),
        _guesses(guesses),
        _topics(guesses),
        *_measured(of_kind("finding"), of_kind("scorecard")),
        *_dossiers(of_kind("dossier")),
    )
    return Learner(
        learner,
        tuple(dict.fromkeys((row["pack"], row["profile"], row["seed"]) for row in found)),
        journal.told_progress(statuses),
        journal.before_and_after(out_dir, learner),
        written,
        told,
        sections,
        [
            figure
            for figure in embedded(out_dir, of_kind("figure"))
            if (figure["notebook"], figure["name"]) != ("10_report", "calibration")
        ],
    )


def _exercises(rows: list[dict]) -> Section:
    first: dict[str, bool] = {}
    own = journal.by_a_person(rows)
    for row in own:
        first.setdefault(row["id"], row["right"])
    cells = []
    for row in {**journal.by_id(rows), **journal.by_id(own)}.values():
        if row.get("made") == journal.DEFAULT:
            cells.append((row["question"], "default (nobody chose)", "", row["why"]))
            continue
        said = (
            "not right"
            if not row["right"]
            else "right"
            if first[row["id"]]
            else "right, not at first"
        )
        cells.append((row["question"], row["choice"], said, row["why"]))
    told = (
        f"{sum(first.values())} of {len(first)} right at the first choice."
        if first
        else "None answered yet."
    )
    return Section("Exercises", told, ("question", "your choice", "check", "why"), tuple(cells))


def _guesses(found: list[journal.Prediction]) -> Section:
    cells = tuple(
        (
            one.notebook,
            one.question,
            _guessed(one),
            one.told_measured,
            _fell(one),
        )
        for one in found
    )
    told = "" if cells else "None with an outcome yet."
    return Section(
        "Guesses",
        told,
        ("notebook", "question", "guess", "measured (95% interval)", "inside"),
        cells,
    )


def _guessed(one: journal.Prediction) -> str:
    if one.made == journal.UNTOUCHED:
        return "none made"
    return f"{one.guess:.2f}" if one.made == journal.COMMITTED else "default (nobody guessed)"


def _effect(finding: dict) -> str:
    effect = Interval(**finding["effect"])
    return f"{effect} ({effect.covers})"


def _fell(one: journal.Prediction) -> str:
    return "" if one.exact or one.made != journal.COMMITTED else "yes" if one.inside else "no"


def _topics(found: list[journal.Prediction]) -> Section:
    told = journal.calibration(found)
    if told is None:
        return Section("How good the guesses were", journal.told_none(found))
    return Section(
        "How good the guesses were",
        " ".join(told.sentences()),
        journal.TOPIC_HEADS,
        tuple(told.topic_rows()),
    )


def _measured(findings: list[dict], scorecards: list[dict]) -> tuple[Section, Section]:
    """Findings and test scores, the last of each claim or checkpoint per pack, profile and seed;
    the run is told where there are several.
    """
    tested = [row for row in scorecards if row["split"] == "test"]
    several = len({_run(row) for row in (*findings, *tested)}) > 1

    def last(rows: list[dict], key: str) -> list[dict]:
        return list({(_run(row), row[key]): row for row in rows}.values())

    def name(row: dict, key: str) -> str:
        return (
            f"{row[key]} ({row['pack']}, {row['profile']}, seed {row['seed']})"
            if several
            else row[key]
        )

    claims = tuple(
        (name(row, "claim"), _effect(row), row["verdict"], row["reported"])
        for row in last(findings, "claim")
    )
    cards = last(tested, "checkpoint")
    axes = tuple(dict.fromkeys(axis for row in cards for axis in row["axes"]))
    scores = tuple(
        (
            name(row, "checkpoint"),
            *(str(Interval(**row["axes"][axis])) if axis in row["axes"] else "" for axis in axes),
        )
        for row in cards
    )
    return (
        Section(
            "Findings",
            "" if claims else "None yet.",
            ("claim", "measured here", "verdict", "reported elsewhere"),
            claims,
        ),
        Section(
            "Test scores of every checkpoint",
            "" if scores else "None yet.",
            ("checkpoint", *axes),
            scores,
        ),
    )


def _dossiers(rows: list[dict]) -> list[Section]:
    """The dossier of each pack as it was taken home, part by part."""
    return [
        section
        for row in latest(rows, "pack")
        for section in paper.sheet_of(paper.checked(row["dossier"])).sections
    ]


def _run(row: dict) -> tuple:
    return row["pack"], row["profile"], row["seed"]


def learner_file(out_dir: Path, learner: str, ending: str) -> Path:
    return out_dir / f"learner-{journal.learner_key(learner)}.{ending}"


def _pdf(told: Learner, path: Path) -> Path:
    """PDF/UA. The figures of notebooks are in the HTML page alone.

    Raises InputError for a letter that no font here can draw.
    """
    data = {
        "title": told.title,
        "subtitle": told.subtitle,
        "critical": told.critical,
        "sections": [asdict(section) for section in told.sections],
        "reflections": [
            {"question": row["question"], "text": row["text"]} for row in told.reflections
        ],
        "figures": [
            {"after": "How good the guesses were", "alt": alt, "png": list(content)}
            for content, alt in _calibration(told, dpi=150)
        ],
    }
    return write_pdf("learner", data, path)


def _calibration(told: Learner, *, dpi: int = 110) -> list[tuple[bytes, str]]:
    """The figure of the guesses as PNG with its alt text, if there are any guesses."""
    from labkit.course import journal_figures
    from labkit.course.figures import png

    return (
        [
            (
                png(journal_figures.calibration(told.calibration), dpi),
                journal_figures.calibration_alt(told.calibration),
            )
        ]
        if told.calibration
        else []
    )


@dataclass(frozen=True)
class LearnerReport:
    """What was written. pdf: None when it could not be made; problem then says why."""

    page: Path
    pdf: Path | None
    problem: str = ""

    def __str__(self) -> str:
        return f"Page: {self.page}\n{self.status}"

    @property
    def status(self) -> str:
        return (
            f"PDF: {self.pdf.name}, beside the page."
            if self.pdf
            else f"PDF: not made. {self.problem}"
        )


def learner_report(out_dir: Path, learner: str) -> LearnerReport:
    """Page and PDF of a learner; a PDF that cannot be made is told on the page and does not stop
    it.

    Raises InputError for an unknown learner, StoreError when nothing can be written.
    """
    told, page, pdf = (
        read_learner(out_dir, learner),
        learner_file(out_dir, learner, "html"),
        learner_file(out_dir, learner, "pdf"),
    )
    try:
        report = LearnerReport(page, _pdf(told, pdf))
    except InputError as error:
        pdf.unlink(missing_ok=True)  # of an earlier report
        report = LearnerReport(page, None, str(error))
    drawn = [
        {"data": base64.b64encode(content).decode(), "alt": alt}
        for content, alt in _calibration(told)
    ]
    write_file(
        page,
        template("learner.html.j2").render(
            title=told.title,
            learner=told,
            status=report.status,
            calibration=drawn,
            gone=PICTURE_GONE,
        ),
    )
    return report
