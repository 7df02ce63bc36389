"""The command that makes pages for a room: handout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.terminal import out

app = typer.Typer()


@app.command()
def handout(
    out_dir: Annotated[Path, typer.Option(help="Where the two PDFs go.")] = Path("out/handout"),
    pack: Annotated[str, typer.Option(help="A shipped pack: the warm-up's questions, and the domain on the worksheet.")] = "materials",
) -> None:
    """Make the five-minute warm-up as a one-page PDF and the design worksheet as a PDF form."""
    from labkit.handout import make_handout

    for path in make_handout(out_dir, pack):
        out.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
