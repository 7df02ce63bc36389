"""Commands for models that are done: export to the world outside, and chat with several at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from labkit.terminal import ProfileOption, err, out

app = typer.Typer()


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint's folder, its name as `labkit run` prints it, a merge's folder, a zoo name or a hub id.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16; in float32 answers are those that were scored.")] = "float32",
    gguf: Annotated[bool, typer.Option("--gguf", help="Write a GGUF file for llama.cpp, too (docs/serving.md).")] = False,
    converter: Annotated[Optional[Path], typer.Option(help="llama.cpp's convert_hf_to_gguf.py; by default the one on PATH.")] = None,
    no_score: Annotated[bool, typer.Option("--no-score", help="Measure nothing; the card says so.")] = False,
    pack: Annotated[Optional[str], typer.Option(help="A shipped pack or a folder; by default the one the model was made for.")] = None,
    profile: ProfileOption = "lab",
) -> None:
    """Write a folder that transformers loads without labkit, with a model card: lineage, data, scores, diagnoses, limits."""
    from labkit.export import export as write

    with err.status("reading") as status:
        folder = write(checkpoint, output, dtype=dtype, gguf=gguf, converter=converter, score=not no_score, pack=pack, profile=profile, say=status.update)
    for path in sorted(folder.iterdir()):
        out.print(f"{path.stat().st_size:>13,}  {path}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def chat(
    checkpoint: Annotated[str, typer.Argument(help="A zoo name, a checkpoint's folder or name, or a hub id.")],
    against: Annotated[Optional[list[str]], typer.Option(help="Another model, asked the same; give it again for each further one.")] = None,
    ask: Annotated[Optional[str], typer.Option(help="Ask this one question and end.")] = None,
    temperature: Annotated[float, typer.Option(help="0: the likeliest answer; higher: drawn, more freely.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Tokens an answer may have.")] = 64,
    seed: Annotated[int, typer.Option(help="Of drawn answers: same seed and same questions, same answers.")] = 0,
) -> None:
    """Talk to a model, or to several side by side. /reset forgets the conversation, /quit ends."""
    from labkit.chat import Conversation, Settings, open_models
    from labkit.heritage import locate, short

    settings = Settings(temperature, max_tokens, seed)
    with err.status("loading"):
        found = [locate(name) for name in (checkpoint, *(against or ()))]
        conversation = Conversation(open_models([(short(name), name) for name in found]), settings)
    for note in conversation.notes():
        err.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if ask is not None:
        _show(conversation.ask(ask))
        return
    try:
        _talk(conversation)
    except (KeyboardInterrupt, EOFError):
        out.print("\ngoodbye")


def _talk(conversation) -> None:
    """Ask until /quit; what one question does wrong is a sentence, and the conversation goes on."""
    from labkit.errors import InputError

    out.print(f"{', '.join(conversation.names)}; /reset forgets the conversation, /quit ends", markup=False, highlight=False)
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
                err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
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
            out.print(f"[dim]{escape(name)}: {escape(remark)}[/]", highlight=False, soft_wrap=True)
