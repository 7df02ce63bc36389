"""Commands that measure a model: evaluate, scenarios, gate, drift, chat.

For a model that can only be asked there are questions and acceptance; compare-evals compares what
lm-eval logged of any two models.
"""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from labkit.cli import (
    A_MODEL,
    A_PACK,
    ProfileOption,
    err,
    note,
    out,
    reading_width,
    say,
    tell,
    working,
)

app = typer.Typer()
BITS_TEXTS = 100  # raw texts that bits per byte is measured on
AnswersOption = Annotated[
    Path | None,
    typer.Option(help="Score these answers (CSV, JSONL, XLSX) instead of a model (docs/leads.md)."),
]
BaselineAnswersOption = Annotated[
    Path | None, typer.Option(help="Answers of the baseline to the same questions.")
]
SplitOption = Annotated[str, typer.Option(help="dev or test.")]
ThresholdsOption = Annotated[
    Path | None,
    typer.Option(help="YAML with must_hold: in each line an axis and by how much it may fall."),
]


@app.command(rich_help_panel="Measure")
def questions(
    pack: Annotated[str, typer.Argument(help=f"{A_PACK}.")],
    to: Annotated[Path, typer.Option(help="File to write: .csv or .jsonl.")] = Path(
        "questions.csv"
    ),
    split: SplitOption = "test",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many items of each kind and cases of each scenario."),
    ] = None,
) -> None:
    """Write a pack's questions without right answers, for a model that can only be asked."""
    from labkit.data.packs import load_pack
    from labkit.evaluate import answers as kit

    found = kit.questions_of(load_pack(pack), split=split, limit=limit)
    kit.write_questions(found, to)
    for remark in found.told():
        note(remark)
    say(
        f"{to}: {len(found.questions)} questions; fill in the column answer, then "
        f"labkit evaluate --answers {quote(str(to))} --pack {quote(pack)}{kit.split_option(split)}"
    )


@app.command(rich_help_panel="Measure")
def acceptance(
    pack: Annotated[str, typer.Argument(help=f"{A_PACK}.")],
    to: Annotated[Path, typer.Option(help="PDF to write; the YAML goes beside it.")] = Path(
        "acceptance.pdf"
    ),
    thresholds: ThresholdsOption = None,
    gain: Annotated[
        float, typer.Option(help="The true gain promised where nothing may be lost.")
    ] = 0.1,
    split: SplitOption = "test",
) -> None:
    """Write the sheet that a supplier signs: what must be shown, on which items and how many."""
    from labkit.base.pages import sheet_pdf, sheet_text
    from labkit.data.packs import load_pack
    from labkit.diagnose import gate as kit

    must_hold = kit.read_must_hold(thresholds) if thresholds else None
    found = kit.acceptance(load_pack(pack), must_hold=must_hold, gain=gain, split=split)
    sheet = kit.acceptance_sheet(found)
    sheet_pdf(sheet, to)
    kit.save_acceptance(found, to.with_suffix(".yaml"))
    say(sheet_text(sheet, reading_width()))
    say(f"written: {to}, {to.with_suffix('.yaml')}")


@app.command(rich_help_panel="Measure")
def evaluate(
    model: Annotated[str | None, typer.Argument(help=A_MODEL)] = None,
    pack: Annotated[str, typer.Option(help=f"{A_PACK}.")] = "materials",
    split: SplitOption = "test",
    answers: AnswersOption = None,
    baseline_answers: BaselineAnswersOption = None,
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
    tasks: Annotated[
        str | None,
        typer.Option(help="Run these tasks of lm-eval instead of a pack: ifeval,arc_easy,…"),
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option(help="With --tasks: a folder with tasks of your own (YAML).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --tasks: the first so many documents of each.")
    ] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="With --tasks: ask as in a chat.")
    ] = False,
    log_samples: Annotated[
        Path | None,
        typer.Option(help="With --tasks: folder for lm-eval's samples, for labkit compare-evals."),
    ] = None,
) -> None:
    """Score a model, or answers from a file, on the four axes and three controls of a pack; or a
    model on lm-eval's tasks (docs/compare-evals.md).
    """
    from labkit.base.errors import InputError
    from labkit.data.packs import load_pack
    from labkit.evaluate.scorecards import bits_per_byte
    from labkit.evaluate.scorecards import evaluate as score
    from labkit.share import export
    from labkit.share.model_cards import locate
    from labkit.train import pipeline, specs

    model = locate(model) if model else None
    if tasks is not None:
        if not model or answers or baseline_answers or export_lm_eval:
            raise InputError("--tasks needs a model, and neither answers nor --export-lm-eval")
        _evaluate_tasks(model, tasks, include_path, limit, apply_chat_template, log_samples, save)
        return
    if include_path or limit or apply_chat_template or log_samples:
        raise InputError(
            "--include-path, --limit, --apply-chat-template and --log-samples go with --tasks; "
            "give the names of lm-eval's tasks there"
        )
    chosen, loaded_pack = specs.profile(profile), load_pack(pack)
    if answers and not model and not export_lm_eval:
        _evaluate_answers(answers, baseline_answers, loaded_pack, split, save)
        return
    if not model or answers or baseline_answers:
        raise InputError("give a model, or --answers (with --baseline-answers to compare)")
    with working(f"loading {model}"):
        loaded = pipeline.load_checkpoint(model)
    if export_lm_eval:
        names = export.export_lm_eval(loaded_pack, split, loaded.tokenizer, export_lm_eval)
        say(
            f"{len(names)} tasks; run: lm_eval --model_args pretrained=MODEL,add_bos_token=False "
            f"--include_path {quote(str(export_lm_eval))} --tasks {quote(','.join(names))}"
        )
        return
    with working(f"scoring {loaded.name} on {loaded_pack.name} ({split})"):
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


def _evaluate_tasks(
    model: str,
    tasks: str,
    include_path: Path | None,
    limit: int | None,
    chat: bool,
    log: Path | None,
    save: Path | None,
) -> None:
    """lm-eval's tasks on a model; what will be downloaded is said before."""
    from labkit.evaluate import scoring
    from labkit.train.pipeline import load_checkpoint

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    plan = scoring.plan_tasks(names, include_path)
    for remark in plan.told():
        note(remark)
    with working(f"loading {model}"):
        loaded = load_checkpoint(model)
    found = scoring.score_tasks(loaded, plan, limit=limit, chat=chat, log=log)
    print_scorecard(found.card)
    for remark in found.notes:
        note(remark)
    if limit:
        note(f"the first {limit} documents of each task at most: no sample of the whole task")
    if loaded.tokenizer.chat_template and not chat:
        note(
            "this model has a chat template, and was not asked with it; --apply-chat-template does"
        )
    if save:
        found.card.save(save)


def _evaluate_answers(
    file: Path, baseline: Path | None, pack, split: str, save: Path | None
) -> None:
    """Scores of answers, the pack's scenarios on them, and differences to a baseline."""
    from labkit.evaluate import answers as kit
    from labkit.evaluate.scorecards import compare

    after = kit.read_answers(file)
    before, found = (
        kit.score_pair(pack, kit.read_answers(baseline), after, split=split)
        if baseline
        else (None, kit.score_answers(pack, after, split=split))
    )
    print_scorecard(found.card)
    if found.scenarios:
        print_scenarios(file.name, found.scenarios)
    for line in found.marked:
        say(line)
    if before and before.card.items:
        say(str(compare(before.card, found.card)))
    for remark in dict.fromkeys((*found.notes, *(before.notes if before else ()))):
        note(remark)
    if save:
        found.card.save(save)


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


@app.command("compare-evals", rich_help_panel="Measure")
def compare_evals(
    before: Annotated[
        Path, typer.Argument(help="Samples of lm-eval (--log_samples): a file, or a folder.")
    ],
    after: Annotated[Path, typer.Argument(help="Samples of another model on the same tasks.")],
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Field that says which documents belong together; doc_id: each stands alone."
        ),
    ] = None,
) -> None:
    """Say what differs between two runs of lm-eval, sample by sample. No model is needed."""
    began = time.perf_counter()
    from labkit.evaluate import answers as kit

    found = kit.compare_evals(before, after, cluster=cluster)
    say(str(found))
    for remark in found.notes:
        note(remark)
    say(
        f"{found.samples[0]:,} and {found.samples[1]:,} samples read and compared in "
        f"{time.perf_counter() - began:.1f} s"
    )


@app.command("llm-judge", rich_help_panel="Measure")
def llm_judge(
    answers: Annotated[
        list[Path],
        typer.Argument(help="Two or more files of answers (CSV, JSONL, XLSX), a model each."),
    ],
    judge: Annotated[
        str,
        typer.Option(
            help="Who judges: a zoo name or folder; with --server the model's name there."
        ),
    ],
    pack: Annotated[str, typer.Option(help=f"{A_PACK}: what was asked.")] = "materials",
    split: SplitOption = "test",
    server: Annotated[
        str | None,
        typer.Option(
            help="An OpenAI-compatible server: http://127.0.0.1:8000/v1. Answers go there."
        ),
    ] = None,
    key_from: Annotated[
        str | None,
        typer.Option(help="The environment variable that holds the key for the server."),
    ] = None,
    own: Annotated[
        Path | None,
        typer.Option(help="One more file of answers: those that the judge itself gave."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many requests of each kind.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write every pair and verdict here (JSON Lines).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be sent where.")
    ] = False,
) -> None:
    """Let a language model compare proposals, and say what its verdicts are worth
    (docs/judge.md). Without --server nothing leaves this machine.
    """
    from labkit.base.errors import InputError
    from labkit.data.packs import load_pack
    from labkit.evaluate import judge as kit
    from labkit.evaluate.answers import read_answers
    from labkit.train.pipeline import load_checkpoint

    if key_from and not server:
        raise InputError("--key-from goes with --server: a model on this machine needs no key")
    files = [read_answers(path) for path in (*answers, *((own,) if own else ()))]
    compared = kit.pairs_of_answers(load_pack(pack), files, split=split, limit=limit)
    asked: kit.Judge
    if server:
        asked = kit.ServerJudge(server, judge, kit.key_from(key_from))
    else:
        with working(f"loading {judge}"):
            asked = kit.LocalJudge(load_checkpoint(judge))
    replies = kit.Replies()
    planned = kit.plan(asked, compared.pairs, replies)
    for sentence in (*compared.notes, *planned.told()):
        note(sentence)
    if dry_run:
        return
    with working("asking the judge") as step:
        kit.ask(
            planned, replies, lambda done, total: step("asking the judge", f"{done} of {total}")
        )
    outcomes = kit.judged(asked, compared.pairs, replies)
    mine = files[-1].name if own else None
    rows = kit.worth(outcomes, own=mine)
    for row in rows:
        say(row.models, style="bold")
        for head, cell in zip(kit.HEADS[1:], kit.cells(row)[1:], strict=True):
            say(f"  {head:<26} {cell}")
    for remark in kit.remarks(rows, own=mine):
        note(remark)
    if save:
        kit.saved(outcomes, save)


@app.command(rich_help_panel="Measure")
def scenarios(
    model: Annotated[str, typer.Argument(help=A_MODEL)],
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
    from labkit.data.packs import load_pack
    from labkit.evaluate import scenarios as kit
    from labkit.share.model_cards import locate
    from labkit.train import pipeline

    wanted = kit.read_scenarios(file) if file else kit.pack_scenarios(load_pack(pack))
    with working(f"loading {model}") as step:
        loaded = pipeline.load_checkpoint(locate(model))
        step(f"asking {sum(len(scenario.cases) for scenario in wanted)} cases")
        results = kit.run_scenarios(loaded, wanted)
    print_scenarios(model, results)


def print_scenarios(title: str, results) -> None:
    """A row per scenario; below, of each that failed a case, the first with the rule it broke."""
    from rich.table import Table

    table = Table("scenario", "passed", "95% interval", "at least", "verdict", title=title)
    for result in results:
        low, high = result.interval
        table.add_row(
            result.scenario.name,
            f"{result.passed} of {result.n}",
            f"{low:.2f} to {high:.2f}",
            f"{result.scenario.at_least:.2f}",
            result.verdict,
        )
    out.print(table)
    for result in results:
        if lines := result.first_failed():
            tell(f"{result.scenario.name}: the first case that failed")
            for line in lines:
                tell(line, indent=2)


@app.command(rich_help_panel="Measure")
def gate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="The model that is to be released: a zoo name, a checkpoint's folder or name, or "
            "a hub id."
        ),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="What it must not fall behind.")] = None,
    thresholds: ThresholdsOption = None,
    pack: Annotated[
        str | None,
        typer.Option(help=f"{A_PACK}; by default the one it was trained on."),
    ] = None,
    profile: ProfileOption = "lab",
    answers: AnswersOption = None,
    baseline_answers: BaselineAnswersOption = None,
    split: SplitOption = "test",
) -> None:
    """Diagnose a checkpoint against a baseline, or answers against answers; exit 1 when an axis
    that must hold fell significantly.
    """
    from labkit.base.errors import InputError
    from labkit.data.packs import load_pack
    from labkit.diagnose import gate as kit
    from labkit.evaluate.answers import read_answers
    from labkit.share.model_cards import locate

    must_hold = kit.read_must_hold(thresholds) if thresholds else None
    if answers and baseline_answers and not checkpoint and not baseline:
        if not pack:
            raise InputError(f"{answers}: nothing says which pack was asked; give --pack")
        report, notes = kit.gate_answers(
            load_pack(pack), read_answers(answers), read_answers(baseline_answers),
            must_hold=must_hold, split=split,
        )  # fmt: skip
        _print_held(report.axes, f"{report.checkpoint} against {report.baseline} on {report.pack}")
        for remark in notes:
            note(remark)
    elif checkpoint and baseline and not answers and not baseline_answers:
        if split != "test":
            raise InputError("--split goes with --answers; a checkpoint is gated on test")
        with working(f"loading {checkpoint} and {baseline}, scoring both, diagnosing"):
            report = kit.run_gate(
                locate(checkpoint),
                locate(baseline),
                must_hold=must_hold,
                pack=pack,
                profile=profile,
            )
        _print_held(report.axes, f"{report.checkpoint} against {report.baseline} on {report.pack}")
        _print_diagnoses(report.results)
    else:
        raise InputError(
            "give a checkpoint and --baseline, or --answers and --baseline-answers with --pack"
        )
    say(str(report), style="green" if report.passed else "red")
    if not report.passed:
        raise typer.Exit(1)


def _print_held(found, title: str) -> None:
    """A row per axis that must hold."""
    from rich.table import Table

    axes = Table(
        "must hold",
        "baseline",
        "checkpoint",
        "difference",
        "let through",
        "verdict",
        title=title,
    )
    for held in found:
        axes.add_row(*held.row())
    out.print(axes)


def _print_diagnoses(results) -> None:
    """A row per diagnosis; a remedy where one is flagged."""
    from rich.table import Table

    found = Table("diagnosis", "verdict", "found", "remedy")
    for result in results:
        row = result.as_dict()
        found.add_row(
            row["diagnosis"],
            row["verdict"],
            row["found"],
            row["remedy"] if result.verdict == "flagged" else "",
        )
    out.print(found)


@app.command(rich_help_panel="Measure")
def drift(
    logged: Annotated[
        Path, typer.Argument(help="Logged answers: CSV or JSONL with question or id, and answer.")
    ],
    reference: Annotated[Path, typer.Option(help="The answers at release, in the same form.")],
    pack: Annotated[
        str | None, typer.Option(help=f"{A_PACK}: its right answers tell, axis by axis, what fell.")
    ] = None,
    thresholds: ThresholdsOption = None,
    split: SplitOption = "test",
) -> None:
    """Compare logged answers with those at release; exit 1 when something changed for certain."""
    from rich.table import Table

    from labkit.base.errors import InputError
    from labkit.base.pages import signed
    from labkit.data.packs import load_pack
    from labkit.diagnose import gate as kit
    from labkit.evaluate.answers import read_answers

    if not pack and (split != "test" or thresholds):
        raise InputError("--split and --thresholds go with --pack, whose keys they are about")
    report = kit.drift(
        read_answers(logged),
        read_answers(reference),
        pack=load_pack(pack) if pack else None,
        must_hold=kit.read_must_hold(thresholds) if thresholds else None,
        split=split,
    )
    table = Table(
        "measure", "over", "questions", "reference", "logged", "change", "let through", "verdict",
        title=f"{report.logged} against {report.reference}",
    )  # fmt: skip
    for shift in report.shifts:
        table.add_row(
            shift.measure,
            shift.over,
            f"{shift.before.n}, {shift.after.n}",
            f"{shift.before.mean:.2f}",
            f"{shift.after.mean:.2f}",
            signed(shift.change),
            f"\u00b1{shift.allowed:.2f}",
            shift.verdict,
        )
    out.print(table)
    if report.axes:
        _print_held(report.axes, "by the pack's keys")
    for remark in report.notes:
        note(remark)
    say(f"not seen: {'; '.join(report.unseen)}")
    say(str(report), style="red" if report.drifted else "green")
    if report.drifted:
        raise typer.Exit(1)


@app.command(rich_help_panel="Measure")
def chat(
    checkpoint: Annotated[str, typer.Argument(help=A_MODEL)],
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
    with working(f"loading {' and '.join((checkpoint, *(against or ())))}"):
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
