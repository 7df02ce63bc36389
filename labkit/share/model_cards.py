"""Model cards: those of the shipped models, which it builds, too, and those of exports; and what a
model comes from, which cards tell.

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
from difflib import get_close_matches
from html import escape
from pathlib import Path, PurePosixPath, PureWindowsPath
from shlex import quote
from typing import Any

import yaml

from labkit.base.errors import InputError, MergeError
from labkit.base.pages import signed, text_template
from labkit.base.records import AXES, CONTROLS
from labkit.base.store import LINEAGE, Store, write_whole
from labkit.data import world
from labkit.data.packs import load_pack
from labkit.diagnose.diagnoses import Result
from labkit.diagnose.gate import lineage_of, pack_name
from labkit.evaluate.scorecards import Scorecard, compare_axis, evaluate
from labkit.merge.recipes import Recipe, read_recipe
from labkit.models import zoo
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


# --- what a model comes from ------------------------------------------------------------------
#
# Stages and merges, the models at the root, licences. Nothing that is told has a path of this
# machine in it.

MERGEKIT_FILE = "mergekit_config.yml"  # as `labkit merge` and mergekit write it
APACHE = "apache-2.0"  # what labkit ships, and SmolLM2
HUB_IDS = {zoo.SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct"}
# Of a checkpoint whose start model was given as a folder.
NAME_WITH_PATH = re.compile(r"([\w.-]+)/(/.+)/([\w-]+)")
MACHINE_PATH = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?(?:[/\\][\w.~ -]*[\w.~-])+[/\\]([\w.~-]+)")


@dataclass(frozen=True)
class Source:
    """A model to be told of. name: on cards; ref: for `zoo.load`; folder: with its safetensors.
    lineage: of a checkpoint that labkit trained or merged into its store. recipe: of a folder that
    `labkit merge` wrote. Both None for any other model.
    """

    name: str
    ref: str
    folder: Path
    lineage: dict | None
    recipe: Recipe | None

    @property
    def start(self) -> str | None:
        """The model that it is to be compared with: what training started from, or the general
        model of a merge.
        """
        if self.lineage:
            return (
                self.lineage["spec"]["model"]
                if "stage" in self.lineage
                else self.lineage["general"]
            )
        return self.recipe.general if self.recipe else None

    @property
    def pack(self) -> str | None:
        """The pack it was made for, as `load_pack` takes it."""
        if self.lineage:
            return self.lineage.get("spec", {}).get("pack") or pack_name(self.lineage)
        domain = lineage_of(self.recipe.domain) if self.recipe else None
        return domain.get("spec", {}).get("pack") or pack_name(domain) if domain else None


def locate(name: str) -> str:
    """What `zoo.load` takes for a model's name: the folder of a checkpoint that `labkit run`
    printed, anything else as it is.

    Raises InputError when no checkpoint of the store has the name, or several have.
    """
    if Path(name).exists() or len(name.split("/")) < 3:
        return name
    # a name with a dot in front is the draft of a killed run
    folders = [
        path.parent
        for path in sorted(Store().root.glob(f"*/{LINEAGE}"))
        if not path.parent.name.startswith(".")
    ]
    kept = {
        folder: lineage for folder in folders if (lineage := lineage_of(str(folder))) is not None
    }
    found = {folder: lineage for folder, lineage in kept.items() if lineage["name"] == name}
    if not found:
        close = get_close_matches(name, {lineage["name"] for lineage in kept.values()}, n=1)
        raise InputError(
            f"{name}: no such folder, and no checkpoint of this name is in the store; "
            f"{f'did you mean {close[0]!r}?' if close else '`labkit run` prints names and folders'}"
        )
    if len(found) > 1:
        told = "; ".join(
            f"{folder} ({_apart(lineage)})" for folder, lineage in list(found.items())[-4:]
        )
        raise InputError(
            f"{name}: {len(found)} checkpoints have this name; give the folder of one: {told}"
        )
    return str(next(iter(found)))


def _apart(lineage: dict) -> str:
    """What tells two checkpoints of one name apart."""
    spec = lineage.get("spec", {})
    return ", ".join(
        f"{key} {value}"
        for key, value in (
            ("seed", spec.get("seed")),
            ("profile", spec.get("profile")),
            ("t", lineage.get("merge", {}).get("t")),
        )
        if value is not None
    )


def source_of(name: str) -> Source:
    """A model by zoo name, folder, hub id, or the name that `labkit run` printed.

    Raises InputError when there is none.
    """
    found = locate(name)
    folder = zoo.model_folder(found)
    lineage = lineage_of(str(folder))
    return Source(short(found), found, folder, lineage, None if lineage else recipe_in(folder))


def recipe_in(folder: Path) -> Recipe | None:
    """The recipe of a merge that labkit could make itself; None for other folders and merges."""
    if not (folder / MERGEKIT_FILE).is_file():
        return None
    try:
        return read_recipe(folder / MERGEKIT_FILE)
    except MergeError:
        # mergekit has more methods: such a merge is a model like any other, and its own card names
        # its parents
        return None


def history(lineage: dict | None) -> list[dict]:
    """Lineages of a checkpoint and of what it was made from, as far as they are kept, first to
    last.

    A merge follows its domain model: the general one is told by name.
    """
    store, chain = Store(), []
    while lineage is not None:
        chain.append(lineage)
        if "stage" in lineage:
            found = store.find(lineage["parent"])
            lineage = found.lineage if found else None
        else:
            lineage = lineage_of(lineage["domain"])
    return chain[::-1]


def history_of(source: Source) -> list[dict]:
    """The lineages behind a model: its own, or of a merge in a folder those of its domain model."""
    return history(source.lineage or (lineage_of(source.recipe.domain) if source.recipe else None))


def is_whole(chain: list[dict]) -> bool:
    """Whether no step is missing from a history: a name ends in its steps, as in cpt-sft-slerp."""
    return len(chain) == len(chain[-1]["name"].rsplit("/", 1)[-1].split("-"))


def roots(name: str) -> list[str]:
    """The models a model goes back to, with no parents known: names, hub ids or folders."""
    if base := zoo.adapter_base(name):
        return roots(base)
    lineage, folder = lineage_of(name), Path(name)
    recipe = None if lineage else recipe_in(folder)
    if lineage:
        parents = [parent for step in history(lineage) for parent in _parents(step)]
    elif recipe:
        parents = [recipe.general, recipe.domain]
    else:
        head = front_matter(folder)
        parents = head.get("base_model") or [] if "license" not in head else []
        parents = [parents] if isinstance(parents, str) else parents
    found = [root for parent in parents if parent != name for root in roots(parent)]
    return list(dict.fromkeys(found)) or [name]


def _parents(step: dict) -> Iterator[str]:
    """The models a step takes from outside the history it stands in."""
    if "stage" in step:
        yield step["spec"]["model"]
        return
    yield step["general"]
    if lineage_of(step["domain"]) is None:
        yield step["domain"]


def licence_of(root: str) -> str | None:
    """The licence of a model that labkit knows, or that its folder's README.md states; None
    otherwise.
    """
    if root in zoo.known_names():
        return APACHE
    said = front_matter(Path(root)).get("license")
    return said if isinstance(said, str) else None


def front_matter(folder: Path) -> dict:
    """The YAML at the top of a folder's README.md; empty where there is none or it cannot be read
    as a mapping.
    """
    path = folder / "README.md"
    parts = path.read_text("utf-8", errors="replace").split("---\n", 2) if path.is_file() else []
    if len(parts) < 3 or parts[0]:
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}  # a card of somebody else's: what it does not say is unknown
    return found if isinstance(found, dict) else {}


# --- telling ----------------------------------------------------------------------------------


def short(name: str) -> str:
    """How a model is called on a card: a checkpoint by its lineage, another folder by its last
    part, any other as it is.
    """
    folder = Path(name)
    if not folder.is_dir():
        return clean(name)
    lineage = lineage_of(name)
    return clean(lineage["name"]) if lineage else folder.resolve().name


def clean(value: Any) -> Any:
    """The same value without a path of this machine: of each only the last part is left."""
    if isinstance(value, dict):
        return {key: clean(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(part) for part in value]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute() and "\n" not in value:
            return kind(value).name
    if parts := NAME_WITH_PATH.fullmatch(value):
        return f"{parts[1]}/{PurePosixPath(parts[2]).name}/{parts[3]}"
    return MACHINE_PATH.sub(r"\1", value)


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
    stage, kind = dict(step["stage"]), step["stage"]["kind"]
    if step.get("steps") and step["steps"] < stage["steps"]:  # enough was known before
        stage["steps"] = f"{step['steps']:,} of {stage['steps']:,}"
    return in_words(
        {
            key: value
            for key, value in stage.items()
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
