"""Commands that hand results on, and that run a room.

The first are export, app, evidence-pack, verify and bundle; the others course, class, handout and
doctor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from labkit.cli import Notebooks, ProfileOption, err, note, out, say, working

if TYPE_CHECKING:
    from labkit.classroom.sessions import Done

app = typer.Typer()


@app.command(rich_help_panel="Share")
def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A checkpoint's folder, its name as `labkit run` prints it, a merge's "
            "folder, a zoo name or a hub id."
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16 or float16; in float32 answers are those that were scored."
        ),
    ] = "float32",
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Write a GGUF file for llama.cpp, too (docs/serving.md).")
    ] = False,
    converter: Annotated[
        Path | None,
        typer.Option(help="llama.cpp's convert_hf_to_gguf.py; by default the one on PATH."),
    ] = None,
    no_score: Annotated[
        bool, typer.Option("--no-score", help="Measure nothing; the card says so.")
    ] = False,
    pack: Annotated[
        str | None,
        typer.Option(help="A shipped pack or a folder; by default the one the model was made for."),
    ] = None,
    profile: ProfileOption = "lab",
) -> None:
    """Write a folder that transformers loads without labkit, with a model card: lineage, data,
    scores, diagnoses, limits.
    """
    from labkit.share.export import export as write

    with working("reading") as step:
        folder = write(
            checkpoint,
            output,
            dtype=dtype,
            gguf=gguf,
            converter=converter,
            score=not no_score,
            pack=pack,
            profile=profile,
            say=step,
        )
    for path in sorted(folder.iterdir()):
        say(f"{path.stat().st_size:>13,}  {path}")


@app.command("app", rich_help_panel="Share")
def serve(
    port: Annotated[
        int,
        typer.Option(min=1024, max=65535, help="Where the apps are served, on this machine only."),
    ] = 8866,
    out_dir: Annotated[
        Path, typer.Option(help="Where designs, recipes, audits and records go.")
    ] = Path("out/apps"),
) -> None:
    """Serve designer, merge lab, clinic and vendor audit as pages without code; Ctrl-C ends it
    (docs/apps.md).
    """
    from labkit.share import apps

    def told(address: str) -> None:
        say(f"open {address}")
        err.print("for this machine only; Ctrl-C ends it", highlight=False)

    apps.serve(port, out_dir, told=told)


@app.command("evidence-pack", rich_help_panel="Share")
def evidence_pack(
    out_dir: Annotated[
        Path, typer.Argument(help="The out_dir of your notebooks, where records.jsonl lies.")
    ] = Path("out/lab"),
    to: Annotated[Path, typer.Option(help="The zip file to write.")] = Path("evidence.zip"),
    learner: Annotated[
        str, typer.Option(help="Whose records, as the notebooks' parameter says.")
    ] = "me",
) -> None:
    """Write one zip with what a learner's results rest on: specs, versions, hashes, records, items'
    outcomes (docs/bundle.md).
    """
    from labkit.classroom.evidence_pack import make_pack

    with working("reading records and scorecards"):
        made = make_pack(out_dir, learner, to)
    for sentence in made.left_out:
        note(f"note: not in it: {sentence}")
    say(f"{to}: {len(made.members)} members; check it with: labkit verify {to}")


@app.command(rich_help_panel="Share")
def verify(
    pack: Annotated[
        Path,
        typer.Argument(metavar="PACK", help="An evidence pack, as labkit evidence-pack writes it."),
    ],
    sample: Annotated[
        int, typer.Option(min=1, help="Items of each scorecard that are scored again.")
    ] = 32,
    everything: Annotated[bool, typer.Option("--all", help="Score all items again.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Draw the sample with this seed; by default by chance.")
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train every checkpoint again from its spec, even if it is in this "
            "machine's store.",
        ),
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--pack",
            metavar="FOLDER",
            help="A data pack that does not come with labkit; give it again for each further one.",
        ),
    ] = None,
) -> None:
    """Check an evidence pack and do a sample of it again; exit 1 when something does not hold."""
    from rich.table import Table

    from labkit.classroom.verify import FAILS, HOLDS
    from labkit.classroom.verify import verify as check

    with working("opening") as step:
        found = check(
            pack,
            sample=None if everything else sample,
            seed=seed,
            retrain=retrain,
            packs=data or (),
            say=step,
        )
    styles = {HOLDS: "green", FAILS: "red"}
    table = Table("what", "verdict", "what was done", title=escape(f"evidence of {found.learner}"))
    for row in found.rows:
        style = styles.get(row.verdict, "yellow")
        table.add_row(escape(row.what), f"[{style}]{row.verdict}[/]", escape(row.told))
    out.print(table)
    say(
        f"{found} (the sample was drawn with --seed {found.seed})",
        style="green" if found.holds else "red",
    )
    if not found.holds:
        raise typer.Exit(1)


@app.command(rich_help_panel="Share")
def bundle(
    output: Annotated[Path, typer.Argument(metavar="OUT.zip|OUT.tar", help="The file to write.")],
    course: Annotated[
        Path | None,
        typer.Option(
            help="The out_dir of a run of the course: the checkpoints it made go in, and "
            "nobody has to train."
        ),
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="Leave SmolLM2's weights out.")] = False,
) -> None:
    """Make one file to install labkit from in a room without network, for machines like this one
    (docs/bundle.md).
    """
    from labkit.classroom import bundle as maker

    with working("starting") as step:
        made = maker.make_bundle(output, course=course, small=small, say=step)
    for name in made.unpinned:
        note(f"note: {name} is not in constraints.txt; its version is today's")
    say(
        f"{output}: {made.wheels} wheels, {made.checkpoints} checkpoints, "
        f"{output.stat().st_size / 2**20:,.0f} MiB; check it on another machine with: "
        f"labkit doctor --bundle {output.name}"
    )


@app.command(rich_help_panel="Teach")
def course(
    profile: ProfileOption = "lab",
    pack: Annotated[str, typer.Option(help="A shipped pack.")] = "materials",
    seed: Annotated[int, typer.Option(help="Training seed.")] = 0,
    out_dir: Annotated[Path, typer.Option(help="Where executed notebooks and the page go.")] = Path(
        "out/course"
    ),
) -> None:
    """Run the course's notebooks headless and write one HTML page."""
    from labkit.course import execute as runner

    page = runner.run_course(profile=profile, pack=pack, seed=seed, out_dir=out_dir, console=err)
    say(f"open {page.resolve()}")


@app.command("class", rich_help_panel="Teach")
def class_(
    roster: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with a column learner, and pack, design, seed, notebooks if you like "
            "(docs/class.md)."
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Run nothing: a folder of participants' evidence packs (.zip) or out_dirs.",
        ),
    ] = None,
    profile: ProfileOption = "lab",
    pack: Annotated[
        str, typer.Option(help="Of learners whose line has none: a shipped pack or a folder.")
    ] = "materials",
    seed: Annotated[int, typer.Option(min=0, help="Of learners whose line has none.")] = 0,
    notebook: Annotated[
        list[str] | None,
        typer.Option(
            help="A notebook of the course, or a .ipynb file; give it again for each "
            "further one. By default the whole course."
        ),
    ] = None,
    out_dir: Annotated[
        Path,
        typer.Option(
            help="Where the class page and a folder per learner go; give it again to go on."
        ),
    ] = Path("out/class"),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Learners at a time; by default one per core.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Run on a Dask cluster, for example tcp://127.0.0.1:8786.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Show names; without it learners are numbered.")
    ] = False,
) -> None:
    """Run notebooks for every learner of a roster, several at a time, and write one page on the
    class; exit 2 when one failed.
    """
    from labkit.base.errors import InputError

    if (roster is None) == (from_ is None):
        raise InputError(
            "give a roster, or --from FOLDER with participants' evidence packs; one of the two"
        )
    if jobs is not None and scheduler is not None:
        raise InputError(
            "--jobs is for this machine: on a cluster the number of workers decides; "
            "leave one of the two out"
        )
    if from_ is not None:
        _from_packs(from_, out_dir, names)
    elif roster is not None:
        _run(roster, _files(notebook), profile, pack, seed, out_dir, jobs, scheduler, names)


def _files(notebooks: Sequence[str] | None) -> list[Path]:
    """The notebooks to choose from, in the order they are given.

    Raises InputError for an unknown one, and for one given twice.
    """
    from labkit.base.errors import InputError, suggest
    from labkit.course.journal import course_notebooks

    known = {path.stem: path for path in course_notebooks()}
    files = [known.get(name) or Path(name) for name in notebooks or known]
    for path in files:
        if path.suffix != ".ipynb" or not path.is_file():
            raise InputError(
                f"--notebook {path}: {suggest(str(path), list(known))}, or give a .ipynb file"
            )
    for name in (
        name
        for name in {path.stem for path in files}
        if sum(path.stem == name for path in files) > 1
    ):
        raise InputError(f"--notebook {name} is given twice; give each once")
    return files


def _run(
    roster: Path,
    files: list[Path],
    profile: str,
    pack: str,
    seed: int,
    out_dir: Path,
    jobs: int | None,
    scheduler: str | None,
    names: bool,
) -> None:
    from labkit.classroom import sessions

    with Notebooks() as bar:
        done = sessions.run_roster(
            roster,
            files,
            profile=profile,
            pack=pack,
            seed=seed,
            out_dir=out_dir,
            jobs=jobs,
            scheduler=scheduler,
            names=names,
            told=bar,
        )
    _tell(
        done, f"of {done.notebooks} notebooks failed; give the same command again to run only these"
    )


def _from_packs(folder: Path, out_dir: Path, names: bool) -> None:
    from labkit.classroom import sessions

    with working("reading"):
        done = sessions.read_packs(folder, out_dir=out_dir, names=names)
    _tell(done, "packs could not be read; the page is made of the others")


def _tell(done: Done, failed: str) -> None:
    """Where the page is; every problem, and their number in an error at the end. failed: the words
    after that number.
    """
    from labkit.base.errors import LabkitError

    for sentence in done.problems:
        note(sentence, style="red")
    say(f"{done.status}\nopen {done.page.resolve()}")
    if done.problems:
        raise LabkitError(f"{len(done.problems)} {failed}")


@app.command(rich_help_panel="Teach")
def handout(
    out_dir: Annotated[Path, typer.Option(help="Where the two PDFs go.")] = Path("out/handout"),
    pack: Annotated[
        str,
        typer.Option(
            help="A shipped pack: the warm-up's questions, and the domain on the worksheet."
        ),
    ] = "materials",
) -> None:
    """Make the five-minute warm-up as a one-page PDF and the design worksheet as a PDF form."""
    from labkit.classroom.handout import make_handout

    for path in make_handout(out_dir, pack):
        say(f"written: {path}")


@app.command(rich_help_panel="Teach")
def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Check this file of labkit bundle instead of the machine (docs/bundle.md)."
        ),
    ] = None,
) -> None:
    """Check this machine: versions, cores, memory, disk, write access, speed; or whether a bundle
    is whole and fits it.
    """
    from labkit.classroom import bundle_check, checkup

    failed = False
    for check in bundle_check.look(bundle) if bundle else checkup.run_all():
        failed |= not check.passed
        out.print(
            "[green]OK  [/]" if check.passed else "[red]FAIL[/]",
            escape(f"{check.name}: {check.found}"),
            highlight=False,
        )
        if not check.passed:
            out.print(escape(f"     remedy: {check.remedy}"), highlight=False)
    if failed:
        raise typer.Exit(1)
