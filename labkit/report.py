"""Records in, pages out: self-contained HTML with embedded figures and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from pathlib import Path

from labkit import records
from labkit.records import latest
from labkit.tables import findings_table, scorecard_table, template


def notebook_page(executed: Path, page: Path) -> Path:
    """An executed notebook as one HTML file. nbconvert's `basic` template keeps alt text and needs no CDN."""
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="basic").from_filename(str(executed))
    page.write_text(template("page.html.j2").render(title=executed.stem, body=Markup(body)), "utf-8")
    return page


def course_page(runs: list, out_dir: Path, *, title: str) -> Path:
    """One page: how each notebook went (failures first), findings, scorecards, figures."""
    from markupsafe import Markup

    found = records.read(out_dir)

    def of_kind(kind: str) -> list[dict]:
        return [record for record in found if record["kind"] == kind]

    findings = latest(of_kind("finding"), "claim")
    scorecards = latest([record for record in of_kind("scorecard") if record["split"] == "test"], "checkpoint")
    figures = [
        {**f, "data": base64.b64encode((out_dir / f["file"]).read_bytes()).decode()} for f in latest(of_kind("figure"), "file")
    ]
    session = (of_kind("session") or [{"profile": "", "pack": "", "seed": ""}])[0]
    html = template("course.html.j2").render(
        title=title,
        runs=sorted(runs, key=lambda run: not run.problem),
        findings=Markup(findings_table(findings)) if findings else "",
        scorecards=Markup(scorecard_table(scorecards)) if scorecards else "",
        figures=figures,
        session=session,
    )
    page = out_dir / "course.html"
    page.write_text(html, "utf-8")
    return page
