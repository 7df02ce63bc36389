"""The command for people who do not code: app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.terminal import err, out

app = typer.Typer()


@app.command("app")
def serve(
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Where the apps are served, on this machine only.")] = 8866,
    out_dir: Annotated[Path, typer.Option(help="Where designs, recipes, audits and records go.")] = Path("out/apps"),
) -> None:
    """Serve designer, merge lab, clinic and vendor audit as pages without code; Ctrl-C ends it (docs/apps.md)."""
    from labkit import app_server

    def told(address: str) -> None:
        out.print(f"open {address}", markup=False, highlight=False, soft_wrap=True)
        err.print("for this machine only; Ctrl-C ends it", highlight=False)

    app_server.serve(port, out_dir, told=told)
