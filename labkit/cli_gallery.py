"""The command that makes the pictures of docs/gallery: gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from labkit.terminal import err, out

app = typer.Typer()


@app.command()
def gallery(
    out_dir: Annotated[Path, typer.Option(help="Of a course run: its records and figures.")] = Path("out/course"),
    to: Annotated[Path, typer.Option(help="Where the pictures and their README.md go.")] = Path("docs/gallery"),
    class_dir: Annotated[Path, typer.Option(help="The out_dir of labkit class, for a picture of its page.")] = Path("out/class"),
) -> None:
    """Make the pictures of docs/gallery, and their page, from a course run and the study's published numbers."""
    from labkit.gallery import build_gallery

    with err.status("starting") as status:
        made = build_gallery(out_dir, to, class_dir=class_dir, say=lambda words: status.update(escape(words)))
    for sentence in made.left_out:
        err.print(f"note: left out: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    out.print(f"written: {made.page} and {len(made.pictures)} pictures", markup=False, highlight=False, soft_wrap=True)
