"""Slides of the lesson from its notebooks: one HTML file each, with reveal.js inside, nothing
loaded.

nbconvert makes them. Here it is decided what is a slide: a heading begins one, a long section goes
on below it, and what a run of the course drew or printed stands under the section it belongs to.
Code is left out, and so is what tells a learner how to use the notebook. Folded answers become
speaker notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from labkit.base.errors import InputError
from labkit.base.store import write_file
from labkit.course.journal import named_notebooks

HERE = Path(__file__).parent
REVEAL = HERE / "vendor" / "reveal"
WIDTH, HEIGHT = 1100, 700
MOST_CHARACTERS = 560  # of a slide's text: more would run off its foot
MOST_ROWS = 9  # of a table
LEFT_OUT = ("Time", "How to use it")  # of use to whoever runs the notebook only
WIDGET = "application/vnd.jupyter.widget-view+json"
HIDDEN = re.compile(r"<details>.*?</details>", re.DOTALL)
# A link to another file or place of the checkout leads nowhere from a slide: its words stay.
INNER = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)(?:[^()\s]|\([^()\s]*\))+\)")


def write_slides(name: str, to: Path, *, course: Path | None = None) -> Path:
    """The slides of a notebook of the course; returns the file.

    name: as `labkit class --notebook` takes it. course: the out_dir of a course run, whose figures
    and tables are then on the slides; without it there is text alone. Raises InputError for an
    unknown name, and for a run without this notebook.
    """
    from nbconvert import SlidesExporter

    known = named_notebooks()
    if name not in known:
        raise InputError(f"{name}: no notebook of the course; there are {', '.join(known)}")
    notebook = course / "executed" / f"{name}.ipynb" if course else known[name]
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such run; labkit course makes one")
    import nbformat

    found = nbformat.read(notebook, as_version=4)
    found.cells = list(_slides(found.cells))
    found.metadata.pop("widgets", None)
    exporter = SlidesExporter(
        template_name="slides",
        extra_template_basedirs=[str(HERE / "templates")],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    carried = {
        "title": _title(found.cells, name),
        "css": "\n".join((REVEAL / one).read_text("utf-8") for one in ("reset.css", "reveal.css")),
        "js": (REVEAL / "reveal.js").read_text("utf-8"),
        "width": WIDTH,
        "height": HEIGHT,
    }
    body, _ = exporter.from_notebook_node(found, resources={"slides": carried})
    path = to / f"{name}.slides.html"
    write_file(path, body)
    return path


def _title(cells: list, name: str) -> str:
    first = next((cell.source for cell in cells if cell.source.startswith("# ")), name)
    return first.splitlines()[0].lstrip("# ")


def _slides(cells: list) -> Iterator:
    """The cells of the slides: markdown, and code cells that show something."""
    shown, heading = True, ""
    for cell in cells:
        if cell.cell_type == "markdown":
            for section in re.split(r"^(?=##? )", cell.source, flags=re.MULTILINE):
                if not section.strip():
                    continue
                if found := re.match(r"##? (.*)", section):
                    heading = found[1].strip()
                    shown = heading not in LEFT_OUT
                if shown:
                    yield from _section(section, heading)
        elif cell.cell_type == "code" and shown:
            cell.outputs = [one for one in cell.outputs if _is_shown(one)]
            if cell.outputs:
                cell.metadata["slideshow"] = {"slide_type": "subslide"}
                yield cell


def _is_shown(output) -> bool:
    """What can be seen without the notebook: figures, tables and text, no views of widgets."""
    if output.output_type == "stream":
        return output.name == "stdout" and len(output.text) <= MOST_CHARACTERS
    return output.output_type != "error" and WIDGET not in output.data


def _section(section: str, heading: str) -> Iterator:
    """A section's slides: as many as its text needs, then what is folded away, as notes."""
    from nbformat.v4 import new_markdown_cell

    notes = HIDDEN.findall(section)
    text = INNER.sub(r"\1", HIDDEN.sub("", section)).strip()
    begins = bool(re.match(r"##? ", text))
    for number, part in enumerate(_parts(text)):
        new = begins and number == 0
        told = part if new else f"## {heading} (continued)\n\n{part}"
        kind = "slide" if new else "subslide"
        yield new_markdown_cell(told, metadata={"slideshow": {"slide_type": kind}})
    for note in notes:
        yield new_markdown_cell(note, metadata={"slideshow": {"slide_type": "notes"}})


def _parts(text: str) -> list[str]:
    """The text in pieces that fit on a slide, cut between paragraphs; a long table is cut between
    rows, with its heads again.
    """
    parts: list[str] = []
    size = MOST_CHARACTERS
    for block in (piece for whole in text.split("\n\n") for piece in _rows(whole)):
        if not block.strip():
            continue
        if size + len(block) > MOST_CHARACTERS and not _is_heading(parts):
            parts.append(block)
            size = len(block)
        else:
            parts[-1] += f"\n\n{block}"
            size += len(block)
    return parts


def _is_heading(parts: list[str]) -> bool:
    """Whether the last piece is a heading alone: what follows stays with it."""
    return bool(parts) and all(line.startswith("#") for line in parts[-1].split("\n"))


def _rows(block: str) -> Iterator[str]:
    lines = block.split("\n")
    if not block.lstrip().startswith("|") or len(lines) <= MOST_ROWS + 2:
        yield block
        return
    for first in range(2, len(lines), MOST_ROWS):
        yield "\n".join((*lines[:2], *lines[first : first + MOST_ROWS]))
