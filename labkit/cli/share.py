"""Commands that hand results on, and that run a room.

The first are export, app, evidence-pack, verify and bundle; the others course, class, handout and
doctor, whose checks stand at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import A_PACK, Notebooks, ProfileOption, err, note, out, say, working

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
    quantise: Annotated[
        str,
        typer.Option(
            help="Beside it, GGUF files in fewer bits: q8_0, q4_k_m, q4_0, with commas between."
        ),
    ] = "",
    quantiser: Annotated[
        Path | None, typer.Option(help="llama.cpp's llama-quantize; by default the one on PATH.")
    ] = None,
    ollama: Annotated[
        bool,
        typer.Option("--ollama", help="A Modelfile for the last GGUF file, too (docs/export.md)."),
    ] = False,
    no_score: Annotated[
        bool, typer.Option("--no-score", help="Measure nothing; the card says so.")
    ] = False,
    pack: Annotated[
        str | None,
        typer.Option(help=f"{A_PACK}; by default the one the model was made for."),
    ] = None,
    profile: ProfileOption = "lab",
) -> None:
    """Write a folder that transformers loads without labkit, with a model card: lineage, data,
    scores, diagnoses, limits.
    """
    from labkit.share.export import export as write
    from labkit.share.export import weight_types

    with working("reading") as step:
        folder = write(
            checkpoint,
            output,
            dtype=dtype,
            gguf=gguf,
            converter=converter,
            quantisations=[kind.strip() for kind in quantise.split(",") if kind.strip()],
            quantiser=quantiser,
            ollama=ollama,
            score=not no_score,
            pack=pack,
            profile=profile,
            say=step,
        )
    for path in sorted(folder.iterdir()):
        say(f"{path.stat().st_size:>13,}  {path}")
    for file in sorted(folder.glob("*.gguf")) if quantise else ():
        types = weight_types(file)
        told = ", ".join(f"{n / sum(types.values()):.1%} {kind}" for kind, n in types.items())
        say(f"weights of {file.name}: {told}")


@app.command("app", rich_help_panel="Share")
def serve(
    port: Annotated[
        int,
        typer.Option(min=1024, max=65535, help="Where the apps are served, on this machine only."),
    ] = 8866,
    out_dir: Annotated[
        Path, typer.Option(help="Where designs, dossiers, recipes, audits and records go.")
    ] = Path("out/apps"),
    pack: Annotated[
        str, typer.Option(help=f"{A_PACK}: what designer, merge lab and judge begin with.")
    ] = "materials",
) -> None:
    """Serve designer, merge lab, clinic, vendor audit and judge as pages without code; Ctrl-C ends
    it (docs/apps.md).
    """
    from labkit.share import apps

    def told(address: str) -> None:
        say(f"open {address}")
        err.print("for this machine only; Ctrl-C ends it")

    apps.serve(port, out_dir, pack=pack, told=told)


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
    say(f"{to}: {len(made.members)} members; check it with: labkit verify {quote(str(to))}")


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
    from rich.text import Text

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
    table = Table("what", "verdict", "what was done", title=f"evidence of {found.learner}")
    for row in found.rows:
        style = styles.get(row.verdict, "yellow")
        table.add_row(row.what, Text(row.verdict, style), row.told)
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
        f"labkit doctor --bundle {quote(output.name)}"
    )


@app.command(rich_help_panel="Teach")
def course(
    profile: ProfileOption = "lab",
    pack: Annotated[str, typer.Option(help=f"{A_PACK}.")] = "materials",
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
        str,
        typer.Option(help=f"Of learners whose line has none. {A_PACK}."),
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
    gradebook: Annotated[
        Path | None,
        typer.Option(
            metavar="EXPORT",
            help="With --from: write gradebook.csv, too, for Canvas or Moodle to import; EXPORT is "
            "the platform's own export of its grades, which says who is who.",
        ),
    ] = None,
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
    if gradebook is not None and from_ is None:
        raise InputError(
            "--gradebook is for what participants bring: give --from FOLDER; in a run of a roster "
            "nobody guesses or answers"
        )
    if from_ is not None:
        _from_packs(from_, out_dir, names, gradebook)
    elif roster is not None:
        _run(roster, _files(notebook), profile, pack, seed, out_dir, jobs, scheduler, names)


def _files(notebooks: Sequence[str] | None) -> list[Path]:
    """The notebooks to choose from, in the order they are given.

    Raises InputError for an unknown one, and for one given twice.
    """
    from labkit.base.errors import InputError, suggest
    from labkit.course.journal import course_notebooks, named_notebooks

    known = named_notebooks()
    files = [known.get(name) or Path(name) for name in notebooks or ()] or course_notebooks()
    for path in files:
        if path.suffix != ".ipynb" or not path.is_file():
            remedy = suggest(str(path), list(known), otherwise="give a .ipynb file")
            raise InputError(f"--notebook {path}: {remedy}")
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


def _from_packs(folder: Path, out_dir: Path, names: bool, export: Path | None) -> None:
    from labkit.classroom import sessions
    from labkit.classroom.class_page import write_gradebook

    with working("reading"):
        done = sessions.read_packs(folder, out_dir=out_dir, names=names)
        grades = write_gradebook(folder, export, out_dir / "gradebook.csv") if export else None
    if grades is not None:
        for stranger in grades.strangers:
            note(f"note: not in the gradebook: {stranger}; {export} does not name exactly one such")
        say(f"written: {grades}")
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
    out_dir: Annotated[Path, typer.Option(help="Where the PDFs go.")] = Path("out/handout"),
    pack: Annotated[
        str | None,
        typer.Option(help=f"{A_PACK}: the domain on the worksheet; without one it is empty."),
    ] = None,
) -> None:
    """Make the five-minute warm-up, the design worksheet as a form, cases to match, and a poster of
    the findings, as PDFs.
    """
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
    from rich.text import Text

    from labkit.classroom import bundle_check

    failed = False
    for check in bundle_check.look(bundle) if bundle else run_all():
        failed |= not check.passed
        verdict = Text("OK  ", "green") if check.passed else Text("FAIL", "red")
        out.print(verdict, f"{check.name}: {check.found}", soft_wrap=True)
        if not check.passed:
            say(f"     remedy: {check.remedy}")
    if failed:
        raise typer.Exit(1)


# --- what the doctor looks at

NEEDED_MEMORY_GIB = 3.0
NEEDED_DISK_GIB = 2.0
NEEDED_TOKENS_PER_SECOND = 2000
SPEED_TEST_SECONDS = 2  # of training, after a few steps that warm up
WARM_UP_STEPS = 4
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "jupyterlab",
    "ipywidgets",
    "papermill",
    "matplotlib",
)


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    passed: bool
    found: str
    remedy: str = ""


def run_all() -> Iterator[Check]:
    """Every check, each as soon as it is done; the speed test comes last."""
    yield python_version()
    yield from map(package_version, PACKAGES)
    yield cores()
    yield memory()
    yield from disk_and_write_access()
    yield temporary_folder()
    with working("training speed") as step:
        step("training speed: loading PyTorch and a model")
        found = speed(step)
    yield found


def python_version() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def pinned_versions() -> dict[str, str]:
    """name -> version from constraints.txt; empty when labkit is installed without it."""
    from labkit.base.store import PROJECT

    path = PROJECT / "constraints.txt"
    if not path.is_file():
        return {}
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


def package_version(name: str) -> Check:
    pinned = pinned_versions().get(name)
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, False, "not installed", "run: make install")
    same = pinned is None or found.split("+")[0] == pinned
    return Check(
        name, same, found, f"tested with {pinned}; run: pip install -c constraints.txt {name}"
    )


def cores() -> Check:
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return Check(
        "cores",
        count >= 2,
        str(count),
        "use a machine with at least two cores, or expect twice the time",
    )


def memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    return Check(
        "free memory",
        free >= NEEDED_MEMORY_GIB,
        f"{free:.1f} GiB",
        f"close programs: {NEEDED_MEMORY_GIB:.0f} GiB are needed",
    )


def disk_and_write_access() -> Iterator[Check]:
    from labkit.base.store import default_root

    root = default_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"labkit")
    except OSError as error:
        yield Check(
            "write access",
            False,
            f"{root}: {error.strerror}",
            "point LABKIT_HOME to a folder you may write to",
        )
        return
    yield Check("write access", True, str(root))
    free = shutil.disk_usage(root).free / 2**30
    yield Check(
        "free disk",
        free >= NEEDED_DISK_GIB,
        f"{free:.1f} GiB",
        f"free {NEEDED_DISK_GIB:.0f} GiB or point LABKIT_HOME elsewhere",
    )


def temporary_folder() -> Check:
    """Whether a notebook's sockets find a folder whose path is short enough for them."""
    from labkit.course.execute import MOST_BYTES, socket_folder

    folder, used = tempfile.gettempdir(), socket_folder()
    long = f"{folder} has {len(os.fsencode(folder))} bytes, {MOST_BYTES} are room for sockets"
    if used is None and os.name == "posix":
        remedy = "set TMPDIR to a folder with a short path; until then notebooks use TCP ports"
        return Check("TMPDIR", False, long, remedy)
    return Check("TMPDIR", True, folder if used in (folder, None) else f"{long}: {used} is used")


def speed(step: Callable[[str], None] = lambda what: None) -> Check:
    """Really trains llama-s for a few seconds. step: is told what comes next."""
    from labkit.train.trainers import prepare_process

    prepare_process()
    from labkit.data.packs import load_pack
    from labkit.models import zoo
    from labkit.train.specs import Stage
    from labkit.train.trainers import train_cpt

    loaded = zoo.load("llama-s-base")
    texts = [row["text"] for row in load_pack("materials").rows("raw")]
    step(f"training speed: training for {SPEED_TEST_SECONDS:.0f} s")
    model, steps = loaded.model, WARM_UP_STEPS
    for _ in ("warm-up", "measured"):
        stage = Stage(kind="cpt", learning_rate=1e-5, steps=steps)
        result = train_cpt(stage, model, loaded.tokenizer, texts, replay=[], seed=0)
        rate = result.tokens / result.wall_seconds
        model = result.model
        steps = max(WARM_UP_STEPS, round(rate * SPEED_TEST_SECONDS * steps / result.tokens))
    return Check(
        "training speed",
        rate >= NEEDED_TOKENS_PER_SECOND,
        f"{rate:,.0f} tokens/s with llama-s",
        "stop other programs; on battery, plug in; the course will take proportionally longer",
    )
