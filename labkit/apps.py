"""What each app shows: a panel of the course on its own, for people who do not code (notebooks/apps, docs/apps.md)."""

from __future__ import annotations

import contextlib
import io
import os
import traceback
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from labkit import choice_lab, design_lab, diagnose_lab, lesson
from labkit.app_server import OUT
from labkit.design import OVERCOOKED, PipelineSpec
from labkit.errors import LabkitError
from labkit.lesson import Lab, headless, show_html
from labkit.merge_lab import Bench, MergeSession, Setting, named_anchors, setting_of
from labkit.pipeline import run_spec
from labkit.store import write_file

BASE, TWIN = "llama-s-base", "llama-s-twin-instruct"
FAULTS = "fault.txt"
AXES = ("compositional", "instructions", "creativity")  # one question of each is asked


@contextlib.contextmanager
def told() -> Iterator[None]:
    """An error is a sentence on the page. The lines of a fault that labkit did not foresee are kept in a file.

    Voilà leaves out what a cell writes to stderr, and would say of an error only that there was one.
    """
    try:
        yield
    except LabkitError as error:
        say_error(str(error))
    except Exception:
        path = out_dir() / FAULTS
        write_file(path, traceback.format_exc())
        say_error(f"this is a fault in labkit; please report what is in {path}")


def say_error(sentence: str) -> None:
    show_html(f'<p role="alert"><b>error: {escape(sentence)}</b></p>')


def out_dir() -> Path:
    return Path(os.environ.get(OUT, "out/apps"))


def start(name: str) -> Lab:
    """An app's session; what its panel keeps goes where `labkit app` was told."""
    with contextlib.redirect_stdout(io.StringIO()):  # the notebooks' line on pack, model, profile and seed
        return lesson.start(f"app_{name}", out_dir=str(out_dir()))


def say_where(lab: Lab) -> None:
    show_html(f"<p>What you save goes to <code>{escape(str(lab.out_dir))}</code>.</p>")


def designer() -> None:
    """Choices become a design that is checked, advised and costed at once; training waits for a button."""
    with told():
        lab = start("designer")
        say_where(lab)
        design_lab.studio(lab, model="llama-s", start="instruct", sequence="cpt-sft")


def merge_lab() -> None:
    """Two pairs of shipped models to merge at once; a pair with a specialist, trained first, behind a button."""
    with told():
        lab = start("merge_lab")
        say_where(lab)
        shipped = {
            "base and instruct": lab.bench(BASE, lab.model, ("base", "instruct")),
            "instruct and its twin": lab.bench(lab.model, TWIN, ("instruct", "twin")),
        }
        lab.merge_panel(shipped, lab.prompts(*AXES), headless_settings=[Setting("slerp", 0.5)])


def specialist() -> None:
    """The same panel with a specialist of the materials pack, which a button trains and scores. Headless: nothing."""
    with told():
        if headless():
            return
        from IPython.display import display

        from labkit.app_panel import LaterPanel

        lab = start("specialist")
        about = "It is trained first, and its merges are scored: one to two minutes. Both are kept, so the next time takes seconds."
        display(LaterPanel(lambda progress: specialist_panel(lab, progress), "train the specialist and merge it", about).whole)


def specialist_panel(lab: Lab, progress: Callable):
    """The merge panel of the instruct model and the overcooked specialist, with its scored grid."""
    from labkit.panels import merge_panel

    spec = PipelineSpec(pack=str(lab.pack.folder), model=lab.model, stages=OVERCOOKED, seed=lab.seed, profile=lab.profile)
    bench: Bench = lab.bench(lab.model, run_spec(spec, progress=progress)[-1], ("instruct", "specialist"), ancestor=BASE)
    bench.score_grid()
    session = MergeSession({"instruct and specialist": bench}, tuple(lab.prompts(*AXES)), lab.out_dir)
    return merge_panel(session, schedules=named_anchors(), make_setting=setting_of)


def clinic() -> None:
    """The failure clinic. Headless: one visit."""
    with told():
        lab = start("clinic")
        say_where(lab)
        diagnose_lab.clinic(lab, patient=13, orders=["other tokenizer"], diagnosis="wrong chat template")


def vendor_audit() -> None:
    """A vendor's claim to fill in, at first an invented one, and its audit."""
    with told():
        lab = start("vendor_audit")
        say_where(lab)
        choice_lab.question_claim(lab, "invented")
