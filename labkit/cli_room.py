"""Commands for a room full of people: evidence packs, checking them, and one file to install from without network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from labkit.terminal import err, out

app = typer.Typer()


@app.command("evidence-pack")
def evidence_pack(
    out_dir: Annotated[Path, typer.Argument(help="The out_dir of your notebooks, where records.jsonl lies.")] = Path("out/lab"),
    to: Annotated[Path, typer.Option(help="The zip file to write.")] = Path("evidence.zip"),
    learner: Annotated[str, typer.Option(help="Whose records, as the notebooks' parameter says.")] = "me",
) -> None:
    """Write one zip with what a learner's results rest on: specs, versions, hashes, records, items' outcomes (docs/bundle.md)."""
    from labkit.evidence_pack import make_pack

    with err.status("reading records and scorecards"):
        made = make_pack(out_dir, learner, to)
    for sentence in made.left_out:
        err.print(f"note: not in it: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    out.print(f"{to}: {len(made.members)} members; check it with: labkit verify {to}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def verify(
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="An evidence pack, as labkit evidence-pack writes it.")],
    sample: Annotated[int, typer.Option(min=1, help="Items of each scorecard that are scored again.")] = 32,
    everything: Annotated[bool, typer.Option("--all", help="Score all items again.")] = False,
    seed: Annotated[Optional[int], typer.Option(help="Draw the sample with this seed; by default by chance.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train every checkpoint again from its spec, even if it is in this machine's store.")] = False,
    data: Annotated[Optional[list[str]], typer.Option("--pack", metavar="FOLDER", help="A data pack that does not come with labkit; give it again for each further one.")] = None,
) -> None:
    """Check an evidence pack and do a sample of it again; exit 1 when something does not hold."""
    from rich.table import Table

    from labkit.verify import FAILS, HOLDS, verify as check

    with err.status("opening") as status:
        found = check(pack, sample=None if everything else sample, seed=seed, retrain=retrain, packs=data or (), say=lambda words: status.update(escape(words)))
    styles = {HOLDS: "green", FAILS: "red"}
    table = Table("what", "verdict", "what was done", title=escape(f"evidence of {found.learner}"))
    for row in found.rows:
        style = styles.get(row.verdict, "yellow")
        table.add_row(escape(row.what), f"[{style}]{row.verdict}[/]", escape(row.told))
    out.print(table)
    out.print(f"{found} (the sample was drawn with --seed {found.seed})", style="green" if found.holds else "red", markup=False, highlight=False, soft_wrap=True)
    if not found.holds:
        raise typer.Exit(1)


@app.command()
def bundle(
    output: Annotated[Path, typer.Argument(metavar="OUT.zip|OUT.tar", help="The file to write.")],
    course: Annotated[Optional[Path], typer.Option(help="The out_dir of a run of the course: the checkpoints it made go in, and nobody has to train.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Leave SmolLM2's weights out.")] = False,
) -> None:
    """Make one file to install labkit from in a room without network, for machines like this one (docs/bundle.md)."""
    from labkit import bundle as maker

    with err.status("starting") as status:
        made = maker.make_bundle(output, course=course, small=small, say=lambda words: status.update(escape(words)))
    for name in made.unpinned:
        err.print(f"note: {name} is not in constraints.txt; its version is today's", style="yellow", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"{output}: {made.wheels} wheels, {made.checkpoints} checkpoints, {output.stat().st_size / 2**20:,.0f} MiB; check it on another machine with: labkit doctor --bundle {output.name}",
        markup=False, highlight=False, soft_wrap=True,
    )
