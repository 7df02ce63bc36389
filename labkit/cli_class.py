"""The command for instructors: class, from a roster or from participants' evidence packs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from labkit.terminal import ProfileOption, err, out

if TYPE_CHECKING:
    from labkit.class_lab import Done

app = typer.Typer()


@app.command("class")
def class_(
    roster: Annotated[Optional[Path], typer.Argument(help="CSV with a column learner, and pack, design, seed, notebooks if you like (docs/class.md).")] = None,
    from_: Annotated[Optional[Path], typer.Option("--from", help="Run nothing: a folder of participants' evidence packs (.zip) or out_dirs.")] = None,
    profile: ProfileOption = "lab",
    pack: Annotated[str, typer.Option(help="Of learners whose line has none: a shipped pack or a folder.")] = "materials",
    seed: Annotated[int, typer.Option(min=0, help="Of learners whose line has none.")] = 0,
    notebook: Annotated[Optional[list[str]], typer.Option(help="A notebook of the course, or a .ipynb file; give it again for each further one. By default the whole course.")] = None,
    out_dir: Annotated[Path, typer.Option(help="Where the class page and a folder per learner go; give it again to go on.")] = Path("out/class"),
    jobs: Annotated[Optional[int], typer.Option(min=1, help="Learners at a time; by default one per core.")] = None,
    scheduler: Annotated[Optional[str], typer.Option(help="Run on a Dask cluster, for example tcp://127.0.0.1:8786.")] = None,
    names: Annotated[bool, typer.Option("--names", help="Show names; without it learners are numbered.")] = False,
) -> None:
    """Run notebooks for every learner of a roster, several at a time, and write one page on the class; exit 2 when one failed."""
    from labkit.errors import InputError

    if (roster is None) == (from_ is None):
        raise InputError("give a roster, or --from FOLDER with participants' evidence packs; one of the two")
    if jobs is not None and scheduler is not None:
        raise InputError("--jobs is for this machine: on a cluster the number of workers decides; leave one of the two out")
    if from_ is not None:
        _from_packs(from_, out_dir, names)
        return
    _run(roster, _files(notebook), profile, pack, seed, out_dir, jobs, scheduler, names)


def _files(notebooks: Sequence[str] | None) -> list[Path]:
    """The notebooks to choose from, in the order they are given. Raises InputError for an unknown one, and for one given twice."""
    from labkit.errors import InputError, suggest
    from labkit.syllabus import course_notebooks

    known = {path.stem: path for path in course_notebooks()}
    files = [known.get(name) or Path(name) for name in notebooks or known]
    for path in files:
        if path.suffix != ".ipynb" or not path.is_file():
            raise InputError(f"--notebook {path}: {suggest(str(path), list(known))}, or give a .ipynb file")
    for name in (name for name in {path.stem for path in files} if sum(path.stem == name for path in files) > 1):
        raise InputError(f"--notebook {name} is given twice; give each once")
    return files


def _run(roster: Path, files: list[Path], profile: str, pack: str, seed: int, out_dir: Path, jobs: int | None, scheduler: str | None, names: bool) -> None:
    from labkit import class_lab

    with _Bar() as bar:
        done = class_lab.run_roster(roster, files, profile=profile, pack=pack, seed=seed, out_dir=out_dir, jobs=jobs, scheduler=scheduler, names=names, told=bar)
    _tell(done, f"of {done.notebooks} notebooks failed; give the same command again to run only these")


def _from_packs(folder: Path, out_dir: Path, names: bool) -> None:
    from labkit import class_lab

    with err.status("reading"):
        done = class_lab.read_packs(folder, out_dir=out_dir, names=names)
    _tell(done, "packs could not be read; the page is made of the others")


def _tell(done: Done, failed: str) -> None:
    """Where the page is; every problem, and their number in an error at the end. failed: the words after that number."""
    from labkit.errors import LabkitError

    for sentence in done.problems:
        err.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    out.print(f"{done.status}\nopen {done.page.resolve()}", markup=False, highlight=False, soft_wrap=True)
    if done.problems:
        raise LabkitError(f"{len(done.problems)} {failed}")


class _Bar:
    """One bar over the notebooks of all learners, with the time left."""

    def __enter__(self):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = [TextColumn("notebooks"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(), TextColumn("{task.description}")]
        self.bars = Progress(*columns, console=err, speed_estimate_period=600)
        self.task = self.bars.add_task("", total=None)
        self.bars.start()
        return self

    def __exit__(self, *exc):
        self.bars.stop()

    def __call__(self, done: int, total: int, remark: str) -> None:
        self.bars.update(self.task, completed=done, total=total, description=remark)
