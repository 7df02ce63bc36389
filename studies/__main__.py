"""The studies' own commands: `python -m studies evidence`, `python -m studies gallery` and others.

They write docs/*.md, their pictures and measured data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.base.errors import LabkitError
from labkit.cli import err, fail, note, out, say, working

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="What docs/*.md rest on, measured again."
)

Measured = Annotated[
    Path | None, typer.Option(help="Where what came out is kept; by default the shipped file.")
]
MeasurePart = Annotated[str, typer.Option(help="measure; by default the page alone.")]


def check_measure(part: str) -> None:
    """Raises InputError for a part other than `measure`, of a study that has no more."""
    from labkit.base.errors import InputError

    if part not in ("", "measure"):
        raise InputError(f"--part is {part!r}; leave it out, or write measure")


@app.command()
def evidence(
    profile: Annotated[
        str | None, typer.Option(help="By default study; for real and live, brief.")
    ] = None,
    out_dir: Annotated[
        Path, typer.Option(help="Of recipes: where its records are written.")
    ] = Path("out/evidence"),
    part: Annotated[
        str,
        typer.Option(
            help="recipes (training, merging, diagnoses), data (notebook 02), sizes, "
            "families or rare (facts; notebook 08), real (SmolLM2-135M), or live (the "
            "same in a quarter of an hour)."
        ),
    ] = "recipes",
    page: Annotated[
        Path | None,
        typer.Option(help="The Markdown file to write; by default the part's own in docs/."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            help="Where what notebooks show of it is written (adapters beside it); by "
            "default the shipped folder."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Training seeds; by default the profile's, at least 2. real and live have one.",
        ),
    ] = None,
) -> None:
    """Measure every claim of the lesson over seeds and packs; stops and continues."""
    from labkit.base.errors import InputError, suggest
    from labkit.course.labs import real_lab
    from labkit.data.packs import samples_folder
    from studies import data_evidence, real_evidence, scale_evidence
    from studies import evidence as study

    pages = {
        "recipes": "evidence.md",
        "data": "data.md",
        **dict.fromkeys(scale_evidence.PARTS, "scale.md"),
        "real": "real.md",
        "live": "real.md",
    }
    if part not in pages:
        raise InputError(f"--part is {part!r}; {suggest(part, list(pages))}")
    one_run = part in ("real", "live")
    where: dict[str, Any] = {
        "page": page or Path("docs") / pages[part],
        "measured": measured or samples_folder("measured"),
        "console": err,
        "profile_name": profile or (real_lab.PROFILE if one_run else "study"),
    }
    if one_run and seeds is not None:
        raise InputError(
            f"--seeds cannot be given with --part {part}: it has one training run per pack"
        )
    if part == "real":
        adapters = (measured.parent / "adapters") if measured else samples_folder("adapters")
        real_evidence.run_real_study(adapters=adapters, **where)
    elif part == "live":
        real_evidence.run_live_study(**where)
    elif part == "data":
        data_evidence.run_data_study(seeds=seeds, **where)
    elif part in scale_evidence.PARTS:
        scale_evidence.run_scale_study(part, seeds=seeds, **where)
    else:
        study.run_study(out_dir=out_dir, seeds=seeds, **where)
    say(f"written: {where['page']}")


@app.command("real-notebooks")
def real_notebooks(
    pack: Annotated[
        list[str] | None, typer.Option(help="A pack of real text; by default all three.")
    ] = None,
    profile: Annotated[str, typer.Option(help="smoke, brief, lab or study.")] = "brief",
    out: Annotated[Path, typer.Option(help="A folder for what was run.")] = Path("out/real"),
) -> None:
    """Notebooks 03 to 07 and 09 on SmolLM2-135M; their scorecards ship. Hours the first time."""
    from labkit.evaluate.scoring import shipped_scorecards
    from studies.real_notebooks import run_notebooks

    for name in pack or ("pubmedqa", "contracts", "elements"):
        run_notebooks(
            name,
            profile_name=profile,
            out=out / name,
            cards=shipped_scorecards(),
            told=lambda text: err.print(text, highlight=False),
        )


@app.command("real-packs")
def real_packs(
    unit: Annotated[
        list[str] | None,
        typer.Option(help="PACK:SEED, several times; by default all that are planned."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for pieces, records and page; a trial.")
    ] = None,
) -> None:
    """SmolLM2-135M on three real collections: hours, in pieces that are kept; a stopped run goes
    on where it was.
    """
    from labkit.base.errors import InputError
    from labkit.data.packs import samples_folder
    from studies import real_packs as study

    wanted = []
    for text in unit or ():
        name, _, seed = text.partition(":")
        if not seed.isdecimal():
            raise InputError(f"--unit is {text!r}; write PACK:SEED, as in pubmedqa:0")
        wanted.append((name, int(seed)))
    measured = out or samples_folder("measured")
    page_file = out / "real-packs.md" if out else Path("docs/real-packs.md")
    study.run_study(
        wanted or study.UNITS,
        pieces=measured / "real",
        page_file=page_file,
        measured=measured,
        adapters=out / "adapters" if out else samples_folder("adapters"),
        told=lambda text: err.print(text, highlight=False),
    )
    say(f"written: {page_file}")


@app.command()
def gallery(
    out_dir: Annotated[Path, typer.Option(help="Of a course run: its records and figures.")] = Path(
        "out/course"
    ),
    to: Annotated[Path, typer.Option(help="Where the pictures and their README.md go.")] = Path(
        "docs/gallery"
    ),
    class_dir: Annotated[
        Path, typer.Option(help="The out_dir of labkit class, for a picture of its page.")
    ] = Path("out/class"),
) -> None:
    """Make the pictures of docs/gallery, and their page, from a course run and the study's
    published numbers.
    """
    from studies.gallery import build_gallery

    with working("starting") as step:
        made = build_gallery(out_dir, to, class_dir=class_dir, say=step)
    for sentence in made.left_out:
        note(f"note: left out: {sentence}")
    say(f"written: {made.page} and {len(made.pictures)} pictures")


@app.command()
def site(
    to: Annotated[Path, typer.Option(help="The folder of the site; what was in it goes.")] = Path(
        "out/site"
    ),
    course: Annotated[
        Path | None,
        typer.Option(
            help="The out_dir of a course run, whose outputs the notebooks' pages show; by default "
            "they show text and code."
        ),
    ] = None,
) -> None:
    """Build the site of course, docs, API and gallery, which loads nothing from elsewhere."""
    from studies.site import build_site

    with working("starting") as step:
        made = build_site(to, course=course, say=step)
    told = f"with outputs of {len(made.ran)} notebooks" if made.ran else "notebooks without outputs"
    say(f"written: {made.pages} pages, {told}\nopen {made.page.resolve()}")


@app.command()
def slides(
    notebook: Annotated[
        list[str] | None,
        typer.Argument(help="Notebooks of the course by name; by default every one."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Where the slides go.")] = Path("out/slides"),
    course: Annotated[
        Path | None,
        typer.Option(help="The out_dir of a course run, whose figures and tables are shown."),
    ] = None,
) -> None:
    """Make slides of the notebooks, each one HTML file that loads nothing from elsewhere."""
    from labkit.course.journal import named_notebooks
    from studies.slides import write_slides

    for name in notebook or named_notebooks():
        say(f"written: {write_slides(name, to, course=course)}")


@app.command()
def api() -> None:
    """Write docs/api.md, the names at the front door, from the code."""
    from studies.api_page import write_api_page

    out.print(f"written: {write_api_page()}", markup=False, highlight=False)


@app.command()
def compatibility(
    architecture: Annotated[
        list[str] | None,
        typer.Option(help="A model type of transformers; again for more. By default all."),
    ] = None,
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path(
        "docs/compatibility.md"
    ),
    measured: Measured = None,
) -> None:
    """Try every step on a miniature of every architecture; stops and continues."""
    from labkit.data.packs import samples_folder
    from studies.compatibility import FAULT, write_compatibility

    with working("starting") as step:
        rows = write_compatibility(
            page,
            measured or samples_folder("measured") / "compatibility.json",
            kinds=architecture,
            say=step,
        )
    for kind, row in rows.items():
        for column, told in row.items():
            if told.startswith(FAULT):
                note(f"{kind}, {column}: {told}")
    say(f"written: {page}")


@app.command("reasons")
def six_reasons(
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path(
        "docs/six-reasons.md"
    ),
) -> None:
    """Write what the lesson says, what is reported and what was measured; trains nothing."""
    from studies.reasons import write_reasons_page

    say(f"written: {write_reasons_page(page)}")


@app.command()
def lesson(
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path(
        "docs/lesson.md"
    ),
) -> None:
    """Write how labkit answers the lesson, demand by demand, and follow every link of it."""
    from studies.lesson import write_lesson_page

    say(f"written: {write_lesson_page(page)}")


@app.command("own-domain")
def own_domain(
    part: Annotated[
        str,
        typer.Option(help="recall, fresh, proposal or items; by default the page alone."),
    ] = "",
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path(
        "docs/own-domain.md"
    ),
    measured: Measured = None,
) -> None:
    """What a person's own documents become, and what a tiny model learns of them."""
    from labkit.base.errors import InputError, suggest
    from labkit.data.packs import samples_folder
    from studies import own_domain as study

    parts: dict[str, Any] = {
        "recall": study.run_recall,
        "fresh": study.run_fresh,
        "proposal": study.run_proposal,
        "items": study.run_items,
    }
    if part and part not in parts:
        raise InputError(f"--part is {part!r}; {suggest(part, list(parts))}")
    where = measured or samples_folder("measured")
    if part:
        parts[part](where, note)
    study.write_page(where, page)
    say(f"written: {page}")


@app.command()
def cases(
    part: Annotated[str, typer.Option(help="pharma or legal; by default the pages alone.")] = "",
    docs: Annotated[Path, typer.Option(help="The folder of the two pages.")] = Path("docs"),
    measured: Measured = None,
    seeds: Annotated[int, typer.Option(min=2, help="Training seeds on the invented pack.")] = 5,
) -> None:
    """The two worked cases, pharma and legal, over seeds; stops and continues."""
    from labkit.base.errors import InputError, suggest
    from labkit.data.packs import samples_folder
    from studies import worked_cases as study
    from studies.case_pages import write_pages

    parts: dict[str, Any] = {"pharma": study.run_pharma, "legal": study.run_legal}
    if part and part not in parts:
        raise InputError(f"--part is {part!r}; {suggest(part, list(parts))}")
    where = measured or samples_folder("measured")
    if part:
        parts[part](where, note, seeds=seeds)
    for written in write_pages(where, docs):
        say(f"written: {written}")


@app.command()
def dossiers(
    name: Annotated[
        list[str] | None,
        typer.Option(help="pharma, pharma-real, legal or legal-real; by default all four."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="The folder to write to; by default the shipped one.")
    ] = None,
) -> None:
    """The example dossiers of the two worked cases; what is trained for them is kept."""
    from labkit.base.errors import InputError, suggest
    from labkit.data.packs import samples_folder
    from studies import dossiers as study

    for one in name or study.EXAMPLES:
        if one not in study.EXAMPLES:
            raise InputError(f"--name is {one!r}; {suggest(one, list(study.EXAMPLES))}")
        say(f"written: {study.write_dossier(one, to or samples_folder('dossiers'), note)}")


@app.command()
def privacy(
    part: Annotated[str, typer.Option(help="alarms or drawn; by default the page alone.")] = "",
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path(
        "docs/privacy.md"
    ),
    measured: Measured = None,
) -> None:
    """What is found of personal text, how often rightly, and what of it can be drawn out of a
    model that read it.
    """
    from labkit.base.errors import InputError, suggest
    from labkit.data.packs import samples_folder
    from studies import privacy as study

    parts: dict[str, Any] = {"alarms": study.run_alarms, "drawn": study.run_drawn}
    if part and part not in parts:
        raise InputError(f"--part is {part!r}; {suggest(part, list(parts))}")
    where = measured or samples_folder("measured")
    if part:
        parts[part](where, note)
    study.write_page(where, page)
    say(f"written: {page}")


@app.command()
def judge(
    part: MeasurePart = "",
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path("docs/judge.md"),
    measured: Measured = None,
) -> None:
    """What a small model's verdicts on proposals are worth; stops and continues."""
    from labkit.data.packs import samples_folder
    from studies import judge as study

    check_measure(part)
    where = measured or samples_folder("measured")
    if part:
        study.run_judge(where, note)
    study.write_page(where, page)
    say(f"written: {page}")


@app.command()
def quantised(
    part: MeasurePart = "",
    model: Annotated[
        list[str] | None, typer.Option(help="Of the study's models; by default all.")
    ] = None,
    profile: Annotated[str, typer.Option(help="How many items.")] = "lab",
    converter: Annotated[
        Path | None, typer.Option(help="llama.cpp's converter; by default the one on PATH.")
    ] = None,
    quantiser: Annotated[
        Path | None, typer.Option(help="llama.cpp's llama-quantize; by default the one on PATH.")
    ] = None,
    page: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path(
        "docs/quantised.md"
    ),
    measured: Measured = None,
) -> None:
    """What storing weights in eight or four bits costs on every axis; stops and continues."""
    from labkit.base.errors import InputError, suggest
    from labkit.data.packs import samples_folder
    from studies import quantised as study

    check_measure(part)
    for name in model or ():
        if name not in study.MODELS:
            raise InputError(f"--model is {name!r}; {suggest(name, list(study.MODELS))}")
    where = measured or samples_folder("measured")
    if part:
        study.run_quantised(
            where,
            note,
            converter=converter,
            quantiser=quantiser,
            profile=profile,
            models=model or study.MODELS,
        )
    study.write_page(where, page)
    say(f"written: {page}")


def main() -> None:
    """Entry point: what goes wrong is told in one sentence."""
    from labkit.train.trainers import prepare_process

    prepare_process()
    try:
        app()
    except LabkitError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
