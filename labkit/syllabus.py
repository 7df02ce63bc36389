"""What the numbered notebooks ask of a learner, read from their cells: no list of it has to be kept in step."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ASKED = re.compile(r'\blab\.(predict|ask|reflect)\(\s*"([\w-]+)"')  # ids are written out in the cell


@dataclass(frozen=True)
class Step:
    """One thing a notebook asks for. kind: predict, ask or reflect."""

    kind: str
    id: str


def notebooks_folder() -> Path:
    inside = Path(__file__).parent / "notebooks"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "notebooks"


def course_notebooks() -> list[Path]:
    """The numbered notebooks in order."""
    return sorted(notebooks_folder().glob("[0-9][0-9]_*.ipynb"))


def steps(notebook: Path) -> list[Step]:
    """The guesses, exercises and reflections of a notebook, in its order, each once."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return list(dict.fromkeys(Step(*found) for found in ASKED.findall(code)))
