"""What labkit can do with each architecture: docs/compatibility.md, from what was run.

A miniature of every architecture (miniatures.py) is trained, merged, scored, asked, exported and
planned, each as a user would. A cell says that it worked, or the sentence it was refused with.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labkit.base.errors import LabkitError
from labkit.base.store import write_file, write_whole
from labkit.merge.recipes import Merge
from labkit.models import zoo
from labkit.train.specs import Lora, PipelineSpec, Stage, StageKind
from studies import page
from studies.miniatures import LAYERS, SKIPPED, WIDTH, architectures, miniature

WORKS = "works"
FAULT = "fault"  # anything else than a result or a sentence
PACK = "materials"
TRAINED: tuple[StageKind, ...] = ("cpt", "sft", "dpo", "orpo")
COLUMNS = ("merge", *TRAINED, "lora", "evaluate", "chat", "export", "plan")
# As many tokens as the shortest memory of the miniatures holds.
LONGEST = 96
VERSIONS = ("torch", "transformers", "trl", "peft")


def write_compatibility(
    to: Path, measured: Path, *, kinds: list[str] | None = None, say: Callable[[str], None]
) -> dict[str, dict[str, str]]:
    """Run what has not been run with these versions, and write the page.

    kinds: of the architectures, by default all. Returns for each kind what its cells say. An
    interrupted run goes on where it was.
    """
    versions = {name: version(name) for name in VERSIONS}
    known = json.loads(measured.read_text("utf-8")) if measured.is_file() else {}
    rows = known.get("rows", {}) if known.get("versions") == versions else {}
    for kind in kinds or architectures():
        if kind in SKIPPED or kind in rows:
            continue
        say(kind)
        rows[kind] = try_architecture(kind)
        write_file(measured, json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
    write_file(to, compatibility_page(rows, versions))
    return rows


def try_architecture(kind: str) -> dict[str, str]:
    """One row of the table: column -> what came of it."""
    with tempfile.TemporaryDirectory() as folder, _own_home(Path(folder) / "home"):
        start, other, out = (Path(folder) / name for name in ("start", "other", "out"))
        tries: dict[str, Callable[[], Any]] = {
            "merge": lambda: _merge(start, other, out / "merged"),
            **{stage: _stage(start, stage) for stage in TRAINED},
            "lora": _stage(start, "sft", lora=Lora(rank=2, alpha=4)),
            "evaluate": lambda: _evaluate(start),
            "chat": lambda: _chat(start),
            "export": lambda: _export(start, out / "exported"),
            "plan": lambda: _plan(start),
        }
        made = outcome(lambda: _save(kind, start, other))
        if made != WORKS:
            return dict.fromkeys(COLUMNS, made)
        # what stands in a temporary folder is called by its name only
        return {column: outcome(tries[column]).replace(f"{folder}/", "") for column in COLUMNS}


def outcome(attempt: Callable[[], Any]) -> str:
    """`works`, the sentence of a refusal, or what kind of fault it ended with."""
    try:
        attempt()
    except LabkitError as error:
        return str(error)
    except Exception as error:  # a fault is what this study looks for
        return f"{FAULT}: {type(error).__name__}: {error}".splitlines()[0][:200]
    return WORKS


@contextmanager
def _own_home(folder: Path):
    """A store of this try's own: nothing may be reused, and nothing is left behind."""
    before = os.environ.get("LABKIT_HOME")
    os.environ["LABKIT_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LABKIT_HOME")
        if before is not None:
            os.environ["LABKIT_HOME"] = before


# --- the tries ------------------------------------------------------------------------------------


def _save(kind: str, start: Path, other: Path) -> None:
    """Two miniatures that share a tokenizer; the second is a little beside the first."""
    import torch

    words = zoo.load("llama-xs-instruct").tokenizer
    model = miniature(kind, vocab_size=len(words))
    for folder in (start, other):
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.01 * torch.randn_like(weight))


def _spec(start: Path, kind: StageKind, **fields: Any) -> PipelineSpec:
    stage = Stage(
        kind=kind, steps=2, batch_size=2, learning_rate=1e-4, max_length=LONGEST, **fields
    )
    return PipelineSpec(pack=PACK, model=str(start), stages=(stage,), profile="smoke")


def _stage(start: Path, kind: StageKind, **fields: Any) -> Callable[[], Any]:
    from labkit.train.pipeline import run_spec

    return lambda: run_spec(_spec(start, kind, **fields))


def _merge(start: Path, other: Path, out: Path) -> None:
    from labkit.merge.stream import merge_folders

    write_whole(out, lambda draft: merge_folders(start, other, draft, Merge(t=0.5)))


def _evaluate(start: Path) -> None:
    from labkit.data.packs import load_pack
    from labkit.evaluate.scoring import score_checkpoint

    score_checkpoint(str(start), load_pack(PACK), axes=("knowledge",), profile_name="smoke")


def _chat(start: Path) -> None:
    from labkit.evaluate.chat import Conversation, Settings, open_models

    models = open_models([("model", str(start))])
    Conversation(models, Settings(max_tokens=4)).ask("Where does Ada live?")


def _export(start: Path, out: Path) -> None:
    from labkit.share.export import export

    out.parent.mkdir(exist_ok=True)
    export(str(start), out, score=False)


def _plan(start: Path) -> None:
    from labkit.design.planner import gpu, plan_spec

    plan_spec(_spec(start, "sft"), card=gpu("H100"))


# --- the page -------------------------------------------------------------------------------------


def compatibility_page(rows: dict[str, dict[str, str]], versions: dict[str, str]) -> str:
    """The page as Markdown. A refusal is told once, as a numbered note under the table."""
    rows = {
        kind: {column: _general(kind, told) for column, told in row.items()}
        for kind, row in rows.items()
    }
    notes = list(
        dict.fromkeys(told for row in rows.values() for told in row.values() if told != WORKS)
    )
    lines = [
        "| architecture | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
        *(
            f"| `{kind}` | "
            + " | ".join(
                "yes" if row[column] == WORKS else f"[{notes.index(row[column]) + 1}]"
                for column in COLUMNS
            )
            + " |"
            for kind, row in sorted(rows.items())
        ),
    ]
    skipped = [
        f"- {reason}: " + ", ".join(f"`{kind}`" for kind in SKIPPED if SKIPPED[kind] == reason)
        for reason in dict.fromkeys(SKIPPED.values())
    ]
    return page("compatibility").format(
        architectures=len(rows),
        layers=LAYERS,
        width=WIDTH,
        versions=", ".join(f"{name} {number}" for name, number in versions.items()),
        whole=sum(set(row.values()) == {WORKS} for row in rows.values()),
        table="\n".join(lines),
        notes="\n".join(f"{number}. {told}" for number, told in enumerate(notes, 1)),
        skipped="\n".join(skipped),
        faults=sum(told.startswith(FAULT) for row in rows.values() for told in row.values()),
    )


def _general(kind: str, told: str) -> str:
    """A sentence without what is only this architecture's, so that alike ones are one note."""
    return re.sub(r"\w+ForCausalLM|\w+LMHeadModel", "MODEL", told.replace(f"'{kind}'", "TYPE"))
