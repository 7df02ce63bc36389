"""The notebooks on SmolLM2-135M and a pack of real text, run once, so that they show at once what
they score: every scorecard that they ask for ships.

Run by `python -m studies real-notebooks`. What they train ships as adapters already
(studies/real_packs.py), and a scorecard is found by the weights that it is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from labkit.base.errors import LabkitError
from labkit.base.store import write_file
from labkit.course.execute import run_notebook
from labkit.course.journal import named_notebooks
from labkit.evaluate.scoring import scorecards_folder

NOTEBOOKS = ("03_cpt", "04_sft", "05_preferences", "06_merge", "07_evaluate", "09_diagnose")
MODEL = "smollm2-135m"


def run_notebooks(
    pack: str,
    *,
    profile_name: str,
    out: Path,
    cards: Path,
    told: Callable[[str], None],
    notebooks: Sequence[str] = NOTEBOOKS,
) -> dict[str, float]:
    """Run them headless and copy the scorecards they made; notebook -> seconds.

    Raises LabkitError where a notebook fails; what was scored until then is copied.
    """
    found = named_notebooks()
    took = {}
    before = set(scorecards_folder().glob("*.json"))
    for name in notebooks:
        run = run_notebook(
            found[name],
            out / "executed" / f"{name}.ipynb",
            {"profile": profile_name, "pack": pack, "model": MODEL, "out_dir": str(out)},
        )
        took[name] = run.seconds
        for path in sorted(set(scorecards_folder().glob("*.json")) - before):
            write_file(cards / path.name, path.read_text("utf-8"))
        if run.problem:
            raise LabkitError(f"{name} failed, {run.problem}; see {run.executed}")
        told(f"{name}: {run.seconds:.0f} s")
    return took
