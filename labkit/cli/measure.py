"""Commands that measure a model: evaluate, scenarios, gate, chat."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from labkit.cli import A_PACK, ProfileOption, err, note, out, say, working

app = typer.Typer()
BITS_TEXTS = 100  # raw texts that bits per byte is measured on


@app.command(rich_help_panel="Measure")
def evaluate(
    model: Annotated[str, typer.Argument(help="A zoo name, a checkpoint folder or a hub id.")],
    pack: Annotated[str, typer.Option(help=f"{A_PACK}.")] = "materials",
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    profile: ProfileOption = "lab",
    save: Annotated[
        Path | None, typer.Option(help="Write every item's outcome here (JSON).")
    ] = None,
    export_lm_eval: Annotated[
        Path | None,
        typer.Option(
            help="Write the choice items as lm-eval tasks for this model here, and score nothing."
        ),
    ] = None,
) -> None:
    """Score a model on the four axes and three controls of a pack."""
    from labkit.data.packs import load_pack
    from labkit.evaluate.scorecards import bits_per_byte
    from labkit.evaluate.scorecards import evaluate as score
    from labkit.share import export
    from labkit.train import pipeline, specs

    chosen, loaded_pack = specs.profile(profile), load_pack(pack)
    loaded = pipeline.load_checkpoint(model)
    if export_lm_eval:
        names = export.export_lm_eval(loaded_pack, split, loaded.tokenizer, export_lm_eval)
        say(
            f"{len(names)} tasks; run: lm_eval --model_args pretrained=MODEL,add_bos_token=False "
            f"--include_path {quote(str(export_lm_eval))} --tasks {quote(','.join(names))}"
        )
        return
    card = score(
        loaded.model,
        loaded.tokenizer,
        loaded_pack,
        split=split,
        limit=chosen.eval_limit,
        samples=chosen.samples,
        checkpoint=loaded.name,
    )
    print_scorecard(card)
    if loaded_pack.has("raw"):
        texts = [row["text"] for row in loaded_pack.rows("raw")[:BITS_TEXTS]]
        out.print(
            "bits per byte of the pack's raw text: "
            f"{bits_per_byte(loaded.model, loaded.tokenizer, texts):.3f}"
        )
    if save:
        card.save(save)


def print_scorecard(card) -> None:
    """Every axis and kind; below each, in brackets, its scores by other rules."""
    from rich.table import Table

    table = Table(
        "axis",
        "kind",
        "score",
        "95% interval",
        "n",
        title=f"{card.checkpoint} on {card.pack} ({card.split})",
    )
    for axis in card.axes():
        kinds = sorted({item.kind for item in card.items if item.axis == axis})
        for kind in [None, *kinds] if len(kinds) > 1 else [None]:
            for variant in (None, *(card.variants(axis, kind) if kind or len(kinds) == 1 else ())):
                found = card.interval(axis, kind, variant=variant)
                name = f"({variant})" if variant else kind or "all"
                shown = f"{found.mean:.2f}", f"{found.low:.2f} to {found.high:.2f}", str(found.n)
                table.add_row("" if kind or variant else axis, name, *shown)
    out.print(table)


@app.command(rich_help_panel="Measure")
def scenarios(
    model: Annotated[str, typer.Argument(help="A zoo name, a checkpoint folder or a hub id.")],
    pack: Annotated[
        str,
        typer.Option(help=f"{A_PACK}: its scenarios are run."),
    ] = "materials",
    file: Annotated[
        Path | None,
        typer.Option(help="Run the scenarios of this YAML file instead (docs/scenarios.md)."),
    ] = None,
) -> None:
    """Run scenarios on a model: what must not happen after deployment, case by case."""
    from rich.table import Table

    from labkit.data.packs import load_pack
    from labkit.evaluate import scenarios as kit
    from labkit.train import pipeline

    wanted = kit.read_scenarios(file) if file else kit.pack_scenarios(load_pack(pack))
    table = Table(
        "scenario",
        "passed",
        "95% interval",
        "at least",
        "verdict",
        "first case that failed",
        title=model,
    )
    for result in kit.run_scenarios(pipeline.load_checkpoint(model), wanted):
        row, (low, high) = result.as_dict(), result.interval
        failed = (
            f"{row['example']['ask']} -> {row['example']['reply']} ({row['example']['broken']})"
            if row["example"]
            else ""
        )
        table.add_row(
            row["scenario"],
            f"{result.passed} of {result.n}",
            f"{low:.2f} to {high:.2f}",
            f"{row['at_least']:.2f}",
            row["verdict"],
            failed,
        )
    out.print(table)


@app.command(rich_help_panel="Measure")
def gate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="The model that is to be released: a checkpoint folder, zoo name or hub id."
        ),
    ],
    baseline: Annotated[str, typer.Option(help="What it must not fall behind.")],
    thresholds: Annotated[
        Path | None,
        typer.Option(
            help="YAML with must_hold: an axis and the fall that is let through per line."
        ),
    ] = None,
    pack: Annotated[
        str | None,
        typer.Option(help=f"{A_PACK}; by default the one it was trained on."),
    ] = None,
    profile: ProfileOption = "lab",
) -> None:
    """Diagnose a checkpoint against a baseline; exit 1 when an axis that must hold fell
    significantly.
    """
    from rich.table import Table

    from labkit.base.pages import covered
    from labkit.diagnose import gate as kit

    report = kit.run_gate(
        checkpoint,
        baseline,
        must_hold=kit.read_must_hold(thresholds) if thresholds else None,
        pack=pack,
        profile=profile,
    )
    axes = Table(
        "must hold",
        "baseline",
        "checkpoint",
        "difference",
        "let through",
        "verdict",
        title=f"{report.checkpoint} against {report.baseline} on {report.pack}",
    )
    for held in report.axes:
        axes.add_row(
            held.axis,
            str(held.before),
            str(held.after),
            covered(held.change),
            f"{held.allowed:.2f}",
            held.verdict,
        )
    out.print(axes)
    found = Table("diagnosis", "verdict", "found", "remedy")
    for result in report.results:
        row = result.as_dict()
        found.add_row(
            row["diagnosis"],
            row["verdict"],
            row["found"],
            row["remedy"] if result.verdict == "flagged" else "",
        )
    out.print(found)
    say(str(report), style="green" if report.passed else "red")
    if not report.passed:
        raise typer.Exit(1)


@app.command(rich_help_panel="Measure")
def chat(
    checkpoint: Annotated[
        str, typer.Argument(help="A zoo name, a checkpoint's folder or name, or a hub id.")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(help="Another model, asked the same; give it again for each further one."),
    ] = None,
    ask: Annotated[str | None, typer.Option(help="Ask this one question and end.")] = None,
    temperature: Annotated[
        float, typer.Option(help="0: the likeliest answer; higher: drawn, more freely.")
    ] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Tokens an answer may have.")] = 64,
    seed: Annotated[
        int, typer.Option(help="Of drawn answers: same seed and same questions, same answers.")
    ] = 0,
) -> None:
    """Talk to a model, or to several side by side. /reset forgets the conversation, /quit ends."""
    from labkit.evaluate.chat import Conversation, Settings, open_models
    from labkit.share.model_cards import locate, short

    settings = Settings(temperature, max_tokens, seed)
    with working("loading"):
        found = [locate(name) for name in (checkpoint, *(against or ()))]
        conversation = Conversation(open_models([(short(name), name) for name in found]), settings)
    for remark in conversation.notes():
        note(f"note: {remark}")
    if ask is not None:
        _show(conversation.ask(ask))
        return
    try:
        _talk(conversation)
    except (KeyboardInterrupt, EOFError):
        out.print("\ngoodbye")


def _talk(conversation) -> None:
    """Ask until /quit; what one question does wrong is a sentence, and the conversation goes on."""
    from labkit.base.errors import InputError

    say(f"{', '.join(conversation.names)}; /reset forgets the conversation, /quit ends")
    while (line := out.input("[bold]you> [/]").strip()) != "/quit":
        if line == "/reset":
            conversation.reset()
            out.print("forgotten")
        elif line.startswith("/"):
            out.print("commands are /reset and /quit")
        elif line:
            try:
                with err.status("answering"):
                    replies = conversation.ask(line)
                _show(replies)
            except InputError as error:
                note(f"error: {error}", style="red")
    out.print("goodbye")


def _show(replies: dict) -> None:
    """A column per model; what a model says is text, whatever is in it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True)
    for name in replies:
        table.add_column(Text(name), ratio=1, overflow="fold")
    table.add_row(*(Text(reply.shown) for reply in replies.values()))
    out.print(table)
    for name, reply in replies.items():
        for remark in reply.remarks:
            say(f"{name}: {remark}", style="dim")
