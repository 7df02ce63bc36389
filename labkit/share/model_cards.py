"""Model cards: those of the shipped models, which it builds, too, and those of exports.

A card of the zoo has measured scores. A card of an export is as the Hugging Face hub reads it:
YAML, then lineage, data, scores, diagnoses, limits, serving. The module writes what it is given;
export.py gathers that, and no number is typed in by hand.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from shlex import quote

import yaml

from labkit.base.pages import signed, text_template
from labkit.base.records import AXES, CONTROLS
from labkit.base.store import write_whole
from labkit.data import world
from labkit.data.packs import load_pack
from labkit.diagnose.diagnoses import Result
from labkit.evaluate.scorecards import Scorecard, compare_axis, evaluate
from labkit.models.families import FAMILIES, ROWS_PER_STEP, Family
from labkit.train import zoo_build
from labkit.train.callbacks import row_words
from labkit.train.pipeline import load_checkpoint, save_model
from labkit.train.specs import PREFERENCE_STAGES

# --- the zoo ---------------------------------------------------------------------------------


def build_and_save(family: str, output: Path, *, progress: Callable | None = None) -> list[Path]:
    """Train `family`'s base and instruct model and save both with their cards under `output`.

    Raises InputError for an unknown family.
    """
    import torch

    from labkit.base.errors import InputError, suggest
    from labkit.train.trainers import prepare_process

    prepare_process()
    if family not in FAMILIES:
        raise InputError(f"unknown family {family!r}: {suggest(family, list(FAMILIES))}")
    tokenizer, folders = zoo_build.build_tokenizer(), []
    for start, model in zoo_build.build_pair(family, progress=progress).items():
        folder = output / f"{family}-{start}"

        def fill(draft: Path, model=model, start=start) -> None:
            save_model(model.to(torch.bfloat16), tokenizer, draft)
            write_card(draft, family, start)

        shutil.rmtree(folder, ignore_errors=True)
        folders.append(write_whole(folder, fill))
    return folders


def recipe_words(family: Family) -> str:
    """The part of a family's recipe that families.py decides."""
    return json.dumps(
        {
            "steps": family.steps,
            "rows_per_step": ROWS_PER_STEP,
            "learning_rate": round(family.learning_rate, 7),
        }
    )


def write_card(folder: Path, family: str, start: str) -> None:
    """Evaluate the saved model on every shipped pack and write README.md beside it."""
    loaded, name = load_checkpoint(str(folder)), f"{family}-{start}"
    cards = {}
    for domain in world.DOMAINS:
        pack = load_pack(domain)
        cards[domain] = evaluate(loaded.model, loaded.tokenizer, pack, checkpoint=name)
    rows = [
        f"| {axis} | " + " | ".join(str(card.interval(axis)) for card in cards.values()) + " |"
        for axis in AXES + CONTROLS
    ]
    spec = FAMILIES[family]
    text = text_template("zoo_card.md").format(
        name=name,
        note=spec.note[0].upper() + spec.note[1:],
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        start=start,
        family=family,
        seed=spec.seed,
        shape=json.dumps({"architecture": spec.architecture, **spec.shape}),
        recipe=recipe_words(spec),
        packs=" | ".join(cards),
        rule="|".join("---" for _ in cards),
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(text, "utf-8")


# --- the card of an export -------------------------------------------------------------------

# Settings that other kinds of stages do not use.
FOR_KINDS = {"sources": ("cpt",), "replay": ("cpt", "sft"), "beta": PREFERENCE_STAGES}
FINGERPRINT = 12  # digits shown; lineage.json has all
SEE_PARENT = {"license": "other", "license_name": "see-parent"}


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a pack's test split. base: the model it is compared with, None where
    there is none.
    """

    pack: str
    profile: str
    card: Scorecard
    base: Scorecard | None = None
    results: Sequence[Result] = ()


@dataclass(frozen=True)
class Card:
    """What a card tells; no path of this machine in it.

    licences: root model -> its licence, None where labkit does not know it. hub_ids: of roots that
    have one. steps: lineages, first to last; whole: none is missing. recipe: of a merge without
    lineage, as YAML. pack: what pack.yaml says. evaluation: or a sentence why there is none. gguf:
    the file's name. own: the card of a shipped model.
    """

    name: str
    folder: str
    model: dict
    licences: dict[str, str | None]
    hub_ids: dict[str, str]
    steps: list[dict]
    versions: dict[str, str]
    evaluation: Evaluation | str
    whole: bool = True
    recipe: str = ""
    pack: dict = field(default_factory=dict)
    gguf: str = ""
    own: str = ""

    @property
    def licence(self) -> str | None:
        """The licence of all root models, None when one is unknown or they differ."""
        said = set(self.licences.values())
        return said.pop() if len(said) == 1 else None

    @property
    def parents(self) -> list[str]:
        """The models it was made of; a model of the zoo as it is has none."""
        return [root for root in self.licences if root != self.name]


def card_text(card: Card) -> str:
    """README.md."""
    parts = [_front(card), f"# {_cell(card.name)}\n", *_about(card)]
    for title, lines in (
        ("Licence", _licence(card)),
        ("How it was made", _made(card)),
        ("Data", _data(card)),
        ("Scores", _scores(card)),
        ("Diagnoses", _diagnoses(card)),
        ("Limits", _limits(card)),
        ("How to run it", _serving(card)),
    ):
        if told := list(lines):
            parts += [f"## {title}\n", *told]
    if card.own:
        parts.append(
            f"## Its card in labkit\n\n{re.sub('^#', '##', card.own.strip(), flags=re.MULTILINE)}\n"
        )
    return "\n".join(parts)


def _front(card: Card) -> str:
    """What the hub reads.

    Names of the zoo and of packs are no ids of the hub, which a comment says.
    """
    tags = ["labkit", *dict.fromkeys(_kind(step) for step in card.steps)]
    if card.recipe or any("merge" in step for step in card.steps):
        tags.append("merge")
    head: dict = {"license": card.licence} if card.licence else dict(SEE_PARENT)
    if models := [
        card.hub_ids.get(root, root)
        for root in card.licences
        if root in card.parents or root in card.hub_ids
    ]:
        head["base_model"] = models
    if card.pack:
        head["datasets"] = [str(card.pack["name"])]
    head |= {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    local = [
        name for name in (*head.get("base_model", ()), *head.get("datasets", ())) if "/" not in name
    ]
    note = f"# not on the hub, put your own ids here: {', '.join(local)}\n" if local else ""
    return f"---\n{note}{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def _about(card: Card) -> Iterator[str]:
    model, steps = card.model, [_kind(step) for step in card.steps]
    made = (
        f"Made by labkit from {_names(card.parents)}"
        if card.parents
        else "Exported by labkit as it is"
    )
    by = f" by {', '.join(steps)}" if steps else ""
    by += " and a merge" if card.recipe else ""
    on = f" on the pack `{card.pack['name']}` ({_cell(card.pack['title'])})" if card.pack else ""
    yield f"{made}{by}{on}.\n"
    context = (
        f"reads up to {model['context']:,} tokens" if model["context"] else "states no longest text"
    )
    yield (
        f"{model['architecture']}, {model['parameters']:,} parameters stored in "
        f"{model['dtype']}, a vocabulary of {model['vocabulary']:,}; {context}.\n"
    )


def _licence(card: Card) -> Iterator[str]:
    for root, licence in card.licences.items():
        yield f"- `{root}`: {_cell(licence) if licence else 'see parent; labkit does not know it'}"
    if card.pack:
        yield f"- data, pack `{card.pack['name']}`: {_cell(card.pack['licence'])}"
    yield "\nWhat is made of several things is bound by the licence of each of them.\n"


# --- how it was made ----------------------------------------------------------------------------


def _made(card: Card) -> Iterator[str]:
    if card.steps:
        heads = ("step", "kind", "settings", "data fingerprint", "seed", "tokens", "seconds")
        yield from _table(
            heads, ((number, *_step_row(step)) for number, step in enumerate(card.steps, 1))
        )
        if not card.whole:
            yield "Earlier steps are not told: they are no longer kept where this was exported.\n"
        for number, step in enumerate(card.steps, 1):
            if told := row_words(step.get("rows")):
                yield f"Step {number}: {_cell(told)}.\n"
        for versions in dict.fromkeys(in_words(step["versions"]) for step in card.steps):
            yield f"Trained with {versions}.\n"
    if card.recipe:
        yield (
            f"{'Then merged' if card.steps else 'Merged'} by this recipe:\n\n```yaml\n"
            f"{card.recipe.strip()}\n```\n"
        )
    elif card.steps:
        yield "`lineage.json` holds the whole design, the loss curve and every earlier step.\n"


def _step_row(step: dict) -> tuple[str, ...]:
    fingerprint = f"`{step['data'][:FINGERPRINT]}`" if "data" in step else ""
    return (
        _kind(step),
        _settings(step),
        fingerprint,
        str(step.get("seed", "")),
        f"{step['tokens']:,}" if "tokens" in step else "",
        f"{step['wall_seconds']:.1f}",
    )


def _kind(step: dict) -> str:
    return step["stage"]["kind"] if "stage" in step else step["merge"]["method"]


def _settings(step: dict) -> str:
    """Hyper-parameters in words; the ends of a merge by name."""
    if "merge" in step:
        told = {
            key: value
            for key, value in step["merge"].items()
            if key not in ("method", "general") and value not in (None, False)
        }
        return f"t=0 is {step['general']}, t=1 is {step['domain']}; {in_words(told)}"
    kind = step["stage"]["kind"]
    return in_words(
        {
            key: value
            for key, value in step["stage"].items()
            if key != "kind" and value is not None and kind in FOR_KINDS.get(key, (kind,))
        }
    )


def in_words(value: object) -> str:
    """A value of a record as one reads it aloud."""
    if isinstance(value, dict):
        return (
            ", ".join(f"{key.replace('_', ' ')} {in_words(part)}" for key, part in value.items())
            or "none"
        )
    if isinstance(value, (list, tuple)):
        return " and ".join(map(in_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


# --- data, scores, diagnoses --------------------------------------------------------------------


def _data(card: Card) -> Iterator[str]:
    if not card.pack:
        return
    yield (
        f"{_cell(card.pack['title'])}, pack `{card.pack['name']}`, licence "
        f"{_cell(card.pack['licence'])}. {_cell(card.pack.get('note', ''))}\n"
    )
    splits = card.pack.get("splits", {})
    if splits:
        yield from _table(
            ("split", "rows", "what it is"),
            (
                (split, in_words(about.get("rows", "")), about.get("about", ""))
                for split, about in splits.items()
            ),
        )
    provenance = card.pack.get("provenance", {})
    yield from (
        f"- {key.replace('_', ' ')}: {_cell(in_words(value))}"
        for key, value in provenance.items()
        if key != "dropped"
    )
    if provenance:
        yield ""


def _scores(card: Card) -> Iterator[str]:
    found = card.evaluation
    if isinstance(found, str):
        yield f"Not measured: {_cell(found)}.\n"
        return
    yield (
        f"On the test split of `{found.pack}`, profile `{found.profile}`: mean and 95% "
        "interval, clustered by entity; n items about so many entities. Scores are shares "
        "from 0 to 1.\n"
    )
    against = found.base.checkpoint if found.base else ""
    heads = (
        "axis",
        "score",
        "n",
        "entities",
        *((_cell(against), "paired difference") if found.base else ()),
    )
    rows = []
    for axis in found.card.axes():
        mine = found.card.interval(axis)
        rows.append(
            (
                axis,
                mine,
                mine.n,
                mine.clusters,
                *(
                    (found.base.interval(axis), signed(compare_axis(found.base, found.card, axis)))
                    if found.base
                    else ()
                ),
            )
        )
    yield from _table(heads, rows)
    yield (
        "One training run: intervals have the noise of the items in them, not what another "
        "seed would have given.\n"
    )


def _diagnoses(card: Card) -> Iterator[str]:
    found = card.evaluation
    if isinstance(found, str) or not found.results or found.base is None:
        yield "Not made: there are no scores of a model it could be compared with.\n"
        return
    yield (
        f"Against `{found.base.checkpoint}`. Flagged: the whole 95% interval lies beyond "
        "the threshold.\n"
    )
    rows = (
        (
            result.diagnosis.id,
            result.verdict,
            result.found.words if result.found else "",
            result.diagnosis.remedy if result.verdict == "flagged" else "",
        )
        for result in found.results
    )
    yield from _table(("diagnosis", "verdict", "found", "remedy"), rows)


def _limits(card: Card) -> Iterator[str]:
    found = card.evaluation
    if card.model["tiny"]:
        yield (
            "- A teaching model: it knows labkit's invented world and what it was trained "
            f"on here, nothing else, and reads {card.model['context']:,} tokens at most."
        )
    if card.model["note"]:
        yield f"- {card.model['note']}"
    if isinstance(found, str):
        yield "- Nothing was measured: do not deploy it on the strength of this card."
    else:
        flagged = [result.diagnosis.id for result in found.results if result.verdict == "flagged"]
        unmeasured = sum(result.verdict == "not measured" for result in found.results)
        if found.results:
            yield (
                f"- Flagged by diagnoses: {', '.join(flagged) or 'nothing'}; {unmeasured} "
                f"of {len(found.results)} could not be measured."
            )
        yield (
            f"- Measured on items of one pack, `{found.pack}`: other questions, languages "
            "and safety were not looked at."
        )
    if card.model["dtype"] != "float32":
        yield (
            f"- Stored in {card.model['dtype']}: answers can differ from those of the "
            "float32 weights that were scored."
        )
    if card.pack:
        yield (
            "- Facts that the data has wrong or lacks are wrong or lacking here; check "
            "answers that matter."
        )
    yield ""


def _serving(card: Card) -> Iterator[str]:
    if card.model["chat"]:
        yield text_template("serve_python.txt").format(
            folder=json.dumps(card.folder, ensure_ascii=False)
        )
    else:
        yield "There is no chat template: it continues text and cannot be asked in a chat.\n"
    llama_cpp = (
        f"llama-server -m {quote(f'{card.folder}/{card.gguf}')} --host 127.0.0.1 --port 8000"
        if card.gguf
        else "# llama.cpp: no GGUF file was made; labkit export --gguf makes one where llama.cpp "
        "can read the tokenizer"
    )
    yield text_template("serve_http.md").format(
        folder=quote(f"./{card.folder}"), llama_cpp=llama_cpp
    )
    yield (
        f"Exported with {in_words(card.versions)}; an older major version of transformers "
        "may not read it.\n"
    )


# --- Markdown -----------------------------------------------------------------------------------


def _cell(value: object) -> str:
    """Text that can do nothing to a table or a page."""
    return escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")


def _names(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in rows)
    yield ""
