"""Commands for what to build, what it takes, and what a claim is worth; and for domain packs.

They are advise, compare, dossier, plan, year, fit and audit; pack new, pack check and pack build.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import Line, note, out, reading_width, say, tell, working

app = typer.Typer()


@app.command(rich_help_panel="Design")
def advise(spec: Annotated[Path, typer.Argument(help="A pipeline spec in YAML.")]) -> None:
    """Say whether a design can run, what it takes, and what the rules think of it; exit 2 when it
    cannot run.
    """
    from labkit.base.errors import SpecError
    from labkit.design import comparison, designer, planner_memory, rules
    from labkit.train.specs import load_spec

    loaded = load_spec(spec)
    found, paper = designer.problems(loaded), planner_memory.on_paper(loaded)
    if found[paper:]:
        raise SpecError(f"{spec}: {found[paper]}")
    tell(f"{designer.in_words(loaded)}: this design {'is on paper' if paper else 'can run'}")
    tell("It takes:")
    for taken in comparison.resources(loaded):
        tell(taken, indent=2)
    for lost in planner_memory.lost_rows(loaded):
        tell(lost)
    tell(rules.size_note(loaded))
    for advice in rules.advise(loaded):
        say(f"\n{advice.rule.id}: a {advice.rule.says}, {advice.strength} evidence", style="bold")
        tell(advice.rule.sentence, indent=2)
        for piece in advice.evidence:
            tell(f"- {piece}", indent=2)
    if paper:
        raise SpecError(f"{spec}: {found[0]}")


@app.command(rich_help_panel="Design")
def compare(
    specs: Annotated[
        list[Path],
        typer.Argument(
            metavar="YOURS.yaml [OTHER.yaml ...]",
            help="Designs; the others are compared with the first. With one, two "
            "alternatives are proposed.",
        ),
    ],
    out_dir: Annotated[Path, typer.Option(help="Where comparison.md, .html and .pdf go.")] = Path(
        "out/comparison"
    ),
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Train nothing: the table of words.")
    ] = False,
    change: Annotated[
        list[str] | None,
        typer.Option(
            help="With one design: compare it with this choice made otherwise, such as "
            "'base start' or 'Mistral family'; may be given several times."
        ),
    ] = None,
    gpu: Annotated[
        str, typer.Option(help="The card that models on the hub are planned for.")
    ] = "H100",
    price: Annotated[
        float, typer.Option(help="What one GPU costs per hour, in your currency; 0: no money.")
    ] = 0.0,
) -> None:
    """Train designs, score them, and lay them side by side with paired differences; shared stages
    are trained once.
    """
    from rich.table import Table

    from labkit.base.errors import SpecError
    from labkit.design import comparison, designer, planner_memory, rules
    from labkit.train.specs import load_spec

    if len(specs) == 1:
        mine = load_spec(specs[0])
        others = [rules.changed(mine, name) for name in change or ()] or rules.propose(mine)
        for (first, one), (second, other) in combinations(
            zip(change or (), others, strict=False), 2
        ):
            if one.spec == other.spec:
                raise SpecError(
                    f"--change {first!r} and --change {second!r} make the same design; leave one "
                    "out"
                )
        candidates = comparison.candidates_of(mine, others)
    elif change:
        raise SpecError("--change makes alternatives of one design; name one spec file")
    else:
        candidates = comparison.read_candidates(specs)
    found = comparison.describe(candidates, card=gpu, price=price)
    if paper := planner_memory.on_paper(candidates[0].spec):
        note(f"nothing is trained on paper: {designer.missing_files(candidates[0].spec)}")
    if not (words_only or paper):
        with Line() as line:
            found = comparison.train_and_score(found, progress=line)
    paths = comparison.export(found, out_dir)
    words = Table("", *(candidate.name for candidate in candidates), show_lines=True)
    for head, cells in found.rows:
        words.add_row(head, *("\n".join(cell) for cell in cells))
    out.print(words)
    for told in found.notes:
        note(told)
    if found.measured:
        out.print(_scores(found.measured))
        out.print(_differences(candidates[0].name, found.measured))
    say(f"written: {', '.join(map(str, paths))}")


def _scores(measured):
    """A row per axis, a column per model."""
    from rich.table import Table

    table = Table("", *measured.cards, title=f"trained and scored in {measured.seconds:.0f} s")
    for axis in next(iter(measured.cards.values())).axes():
        table.add_row(axis, *(str(card.interval(axis)) for card in measured.cards.values()))
    return table


def _differences(first: str, measured):
    """A row per comparison, with its verdict."""
    from rich.table import Table

    from labkit.base.pages import signed

    table = Table("difference", "axis", "with noise between seeds", "verdict (Holm)")
    for found in measured.differences:
        table.add_row(
            f"{found.candidate} − {first}",
            found.axis,
            signed(found.runs),
            found.verdict,
        )
    return table


@app.command(rich_help_panel="Design")
def dossier(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DOSSIER.yaml ...]",
            help="Dossiers as they are; several people's are joined, and what they differ in is "
            "printed.",
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Begin with a design.yaml or a filled design worksheet (PDF), or go on with a "
            "dossier.yaml: labkit proposes what it can, and your words stay.",
        ),
    ] = None,
    to: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER|DOSSIER.yaml",
            help="A folder for all of it, or one YAML file for the dossier alone.",
        ),
    ] = Path("out/dossier"),
    measure: Annotated[
        bool,
        typer.Option("--measure", help="With --from: score the untouched start model."),
    ] = False,
) -> None:
    """Make the case for a design, in the lesson's six steps: begin it, join a team's parts, write
    it out (docs/dossier.md).
    """
    from labkit.base.errors import InputError
    from labkit.design import dossier as paper

    if bool(files) == bool(from_):
        raise InputError(
            "name dossiers to write out or join, or one file with --from to begin with"
        )
    if files and measure:
        raise InputError("--measure goes with --from, where labkit proposes")
    if from_:
        made = _begun(from_, measure)
    else:
        parts = [paper.load_dossier(path) for path in files or ()]
        made = parts[0] if len(parts) == 1 else paper.join(parts)
    for said in made.conflicts:
        for who, words in said.words.items():
            note(f"differs: {said.place}: {who}: {' '.join(words.split())}")
    made = paper.again(made)
    alone = to.suffix in (".yaml", ".yml")
    paths = [paper.save_dossier(made, to)] if alone else paper.export(made, to)
    say(paper.told_state(made))
    for lack in paper.empty(made):
        say(f"missing: {lack}")
    say(f"written: {', '.join(map(str, paths))}")


def _begun(path: Path, measure: bool):
    """A dossier from a worksheet, a design or a dossier, with everything that labkit proposes."""
    from labkit.base.errors import InputError
    from labkit.base.inputs import read_yaml
    from labkit.classroom.handout import read_worksheet
    from labkit.data.packs import load_pack
    from labkit.design import dossier as paper
    from labkit.evaluate.scoring import score_checkpoint
    from labkit.train.specs import load_spec

    if path.suffix.lower() == ".pdf":
        begun, unplaced = read_worksheet(path)
        for sentence in unplaced:
            note(sentence)
        spec = begun.design.spec
    else:
        raw = read_yaml(path, missing="begin with a design (docs/spec.md) or a filled worksheet")
        designed = isinstance(raw, dict) and not {"model", "stages"}.isdisjoint(raw)
        begun = paper.Dossier() if designed else paper.load_dossier(path)
        spec = load_spec(path) if designed else begun.design.spec
    if spec is None:
        if measure:
            raise InputError(f"{path}: --measure needs a design with a start model and a pack")
        note(f"{path}: no design yet, so little is proposed; docs/dossier.md says how to add one")
        return paper.proposed_on_paper(begun)
    untouched = None
    if measure:
        with working(f"scoring {spec.model}"):
            untouched = score_checkpoint(
                spec.model, load_pack(spec.pack), profile_name=spec.profile, name=spec.model
            )
    made = paper.proposed(spec, begun, untouched=untouched)
    for sentence in paper.fell_away(begun, made):
        note(sentence)
    return made


@app.command(rich_help_panel="Design")
def plan(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="A spec (.yaml), or a model: a name, a folder, a config.json, a hub id."
        ),
    ],
    gpu: Annotated[str, typer.Option(help="Card, as in data_samples/gpus.yaml.")] = "H100",
    gpus: Annotated[
        int, typer.Option(help="How many cards; they share everything but activations.")
    ] = 1,
    method: Annotated[str, typer.Option(help="full, lora or qlora.")] = "full",
    tokens: Annotated[float, typer.Option(help="Training tokens, in millions.")] = 100.0,
    batch: Annotated[int, typer.Option(help="Rows per optimiser step, over all GPUs.")] = 96,
    at_once: Annotated[int, typer.Option(help="Rows one GPU takes at once.")] = 1,
    length: Annotated[int, typer.Option(help="Tokens per row.")] = 2048,
    checkpointing: Annotated[
        bool, typer.Option(help="Compute activations again in the backward pass.")
    ] = True,
    price: Annotated[
        float,
        typer.Option(help="What one GPU costs per hour, in your currency; 0 leaves money out."),
    ] = 0.0,
    measure: Annotated[
        bool, typer.Option(help="Of a spec: measure this machine first, for the seconds.")
    ] = False,
    sizes: Annotated[
        bool,
        typer.Option(
            "--sizes", help="Of a spec: the same at 135M, 1.7B, 7B and 8B parameters on --gpu."
        ),
    ] = False,
) -> None:
    """Say what a training takes before it is run: memory, hours, money, energy; what to give up
    when it does not fit.
    """
    from labkit.design.planner import Settings, costs_of, told

    designed = Path(what).suffix in (".yaml", ".yml")
    _refuse_unused(ctx, what, designed, sizes)
    if designed:
        if sizes:
            _plan_sizes(Path(what), gpu, price)
        else:
            _plan_design(Path(what), measure)
        return
    settings = Settings(
        model=what,
        card=gpu,
        gpus=gpus,
        method=method,
        tokens_millions=tokens,
        batch_size=batch,
        rows_at_once=at_once,
        length=length,
        checkpointing=checkpointing,
        price=price,
    )
    found = costs_of(settings)
    for name, words in told(found):
        say(f"{name:<11} {words}")
    for number, remedy in enumerate(found.remedies, 1):
        fits = "fits" if remedy.plan.fits(found.card) else "not yet"
        say(
            f"give up {number}: {remedy.name}: {remedy.plan.peak_gib:.1f} GiB, {fits}; "
            f"it costs {remedy.costs}"
        )


def _refuse_unused(ctx: typer.Context, what: str, designed: bool, sizes: bool) -> None:
    """Raise InputError for an option that was given and that this plan would pass over."""
    from labkit.base.errors import InputError

    of_design = {"sizes", "measure"}
    for name in ctx.params.keys() - {"what"}:
        source = ctx.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        option = f"--{name.replace('_', '-')}"
        if not designed and name in of_design:
            raise InputError(
                f"{option} goes with a design, and {what} is a model; give a spec file (.yaml)"
            )
        used = {"sizes", "gpu", "price"} if sizes else of_design
        if designed and name not in used:
            raise InputError(
                f"{what}: {option} does not go with {'--sizes' if sizes else 'a design'}; leave it "
                "out, or plan a model by its name"
            )


def _plan_design(path: Path, measure: bool) -> None:
    """Stage by stage, as the design runs on this machine."""
    from rich.table import Table

    from labkit.design.planner import UNCOUNTED_HEADS, design_rows, plan_spec, uncounted_rows
    from labkit.design.planner_speed import kind_of, probe_speed
    from labkit.models.architecture import Uncounted
    from labkit.train.specs import load_spec

    spec = load_spec(path)
    for kind in dict.fromkeys(map(kind_of, spec.stages)) if measure else ():
        probe_speed(spec.model, kind)
    table = Table(
        "stage",
        "parameters that learn",
        "tokens",
        "FLOPs",
        "peak GiB",
        "seconds here",
        title=spec.name,
    )
    try:
        rows: list[tuple[str, ...]] = [*design_rows(plan_spec(spec))]
    except Uncounted as error:
        say(f"{error}; memory and time cannot be told")
        table, rows = Table(*UNCOUNTED_HEADS, title=spec.name), [*uncounted_rows(spec)]
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _plan_sizes(path: Path, card: str, price: float) -> None:
    """The design at several sizes, beside what is known of each."""
    from rich.table import Table

    from labkit.design.planner import SIZE_HEADS, at_sizes, below_two_billion, size_rows
    from labkit.train.specs import load_spec

    spec = load_spec(path)
    found = at_sizes(spec, card=card)
    table = Table(*SIZE_HEADS, title=spec.name, show_lines=True)
    for row in size_rows(found, price):
        table.add_row(*row)
    out.print(table)
    say(below_two_billion(spec, found))


@app.command(rich_help_panel="Design")
def fit(
    situation: Annotated[Path, typer.Argument(help="A situation in YAML; docs/fit.md shows one.")],
) -> None:
    """Say which tool fits (prompting, retrieval, training, merging), why, and what would change
    that.
    """
    from labkit.base.pages import sheet_text
    from labkit.design.fit import advice_sheet, advise, load_situation

    say(sheet_text(advice_sheet(advise(load_situation(situation))), reading_width()))


@app.command(rich_help_panel="Design")
def year(
    figures: Annotated[
        Path, typer.Argument(help="Your figures in YAML; docs/leads.md shows them.")
    ],
    pdf: Annotated[Path | None, typer.Option(help="Write the page as a PDF, too.")] = None,
) -> None:
    """Lay buying, building, retraining and merging side by side over a year, by your figures."""
    from labkit.base.pages import sheet_pdf, sheet_text
    from labkit.design.fit import load_year, year_sheet

    sheet = year_sheet(load_year(figures))
    say(sheet_text(sheet, reading_width()))
    if pdf:
        say(f"written: {sheet_pdf(sheet, pdf)}")


@app.command(rich_help_panel="Design")
def audit(
    claim: Annotated[
        str,
        typer.Argument(
            help="A claim in YAML (docs/vendor.md), or a worked example: invented, lu2025."
        ),
    ],
    pdf: Annotated[Path | None, typer.Option(help="Write the page as a PDF, too.")] = None,
) -> None:
    """Audit a vendor's claim: what its figures show, what is missing, what to ask back."""
    from labkit.base.pages import sheet_text
    from labkit.design import vendor
    from labkit.design.vendor import load_claim

    found = vendor.audit(load_claim(claim))
    say(sheet_text(vendor.audit_sheet(found), reading_width()))
    if pdf:
        say(f"written: {vendor.audit_pdf(found, pdf)}")


MOST_FILES = 20  # of personal text, shown

pack_app = typer.Typer(no_args_is_help=True, help="Domain packs: list, new, check, build.")
app.add_typer(pack_app, name="pack", rich_help_panel="Data")


@pack_app.command("list")
def pack_list() -> None:
    """The packs that come with labkit, and which of them are invented; a folder is a pack, too."""
    from rich.table import Table

    from labkit.data.packs import load_pack, shipped_packs

    table = Table("name", "what it is about", "text", "licence")
    for pack in map(load_pack, shipped_packs()):
        table.add_row(pack.name, pack.title, "invented" if pack.invented else "real", pack.licence)
    out.print(table)


@pack_app.command("new")
def pack_new(
    name: Annotated[
        str, typer.Argument(help="Name of the new pack: small letters, digits, dashes.")
    ],
    from_: Annotated[
        Path,
        typer.Option("--from", help="Folder of text, web pages, PDFs, Word files, tables."),
    ],
    to: Annotated[Path | None, typer.Option(help="Folder to write; by default ./NAME.")] = None,
    title: Annotated[str | None, typer.Option(help="Title on the data card.")] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of your texts, as on the Hugging Face hub.")
    ] = "unstated",
    chunk_words: Annotated[int, typer.Option(help="Most words of one row of text.")] = 150,
    seed: Annotated[int, typer.Option(help="Decides what is held out.")] = 0,
    mask_personal: Annotated[
        bool,
        typer.Option(
            "--mask-personal",
            help="Replace personal text, such as an e-mail address, by a placeholder: [EMAIL].",
        ),
    ] = False,
    leave_out_personal: Annotated[
        bool,
        typer.Option(
            "--leave-out-personal",
            help="Leave out every document and row with personal or confidential text in it.",
        ),
    ] = False,
) -> None:
    """Make a pack of your own files; says what was left out and why, and where personal or
    confidential text was found (docs/packs.md, docs/privacy.md).
    """
    from rich.table import Table

    from labkit.base.errors import InputError
    from labkit.data.ingest import KEEP, LEAVE_OUT, MASK, PERSONAL_FILE, new_pack

    if mask_personal and leave_out_personal:
        raise InputError("give --mask-personal or --leave-out-personal, not both")
    with working("reading") as step:
        made = new_pack(
            name,
            from_,
            to,
            title=title,
            licence=licence,
            chunk_words=chunk_words,
            seed=seed,
            personal=MASK if mask_personal else LEAVE_OUT if leave_out_personal else KEEP,
            progress=lambda what, done: step(what, f"{done:,}"),
        )
    for sentence in made.unread:
        note(f"left out: {sentence}")
    if made.dropped:
        table = Table("what", "why", "how many", "first", title="left out")
        for row in made.dropped:
            table.add_row(row["what"], row["reason"], f"{row['count']:,}", row["first"])
        out.print(table)
    if made.personal:
        table = Table("kind", "file", "how many", "such as", title="personal or confidential text")
        for row in made.personal[:MOST_FILES]:
            table.add_row(row["kind"], row["file"], f"{row['count']:,}", row["example"])
        out.print(table)
        if len(made.personal) > MOST_FILES:
            say(f"{len(made.personal) - MOST_FILES:,} lines more in {PERSONAL_FILE}")
    read, rows = (
        ", ".join(f"{count:,} {key}" for key, count in each.items())
        for each in (made.read, made.rows)
    )
    axes = ", ".join(f"{axis} {count:,}" for axis, count in made.axes.items())
    say(f"read: {read}\nrows: {rows}\ntest items about your domain: {axes}")
    told = made.personal_told("--mask-personal", "--leave-out-personal")
    for sentence in (*made.too_few, *told):
        note(sentence)
    left_out = sum(row["count"] for row in made.dropped)
    say(
        f"{made.folder}: made in {made.seconds:.1f} s; {left_out:,} things left out, "
        f"{len(made.unread)} of them files or pages; see dropped.jsonl"
    )


@pack_app.command("check")
def pack_check(
    folder: Annotated[str, typer.Argument(help="A pack folder, or a shipped pack's name.")],
) -> None:
    """Check a pack line by line; exit 2 when something is wrong."""
    from labkit.data.packs import check_pack

    problems = check_pack(folder)
    for problem in problems:
        note(problem, style="red")
    if problems:
        raise typer.Exit(2)
    say(f"{folder}: no problems found")


@pack_app.command("build")
def pack_build(
    name: Annotated[str, typer.Argument(help="A shipped pack's name.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; by default the shipped one.")
    ] = None,
) -> None:
    """Rebuild a shipped pack, bit for bit."""
    from labkit.data import pack_build as builder
    from labkit.data.packs import packs_folder

    say(str(builder.build_pack(name, output or packs_folder() / name)))
