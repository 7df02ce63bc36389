"""The evidence pack: one zip with what a learner's results rest on, so that others can check them.

It holds specs, versions, hashes of data and weights, the learner's records, and every item's
outcome behind each recorded score; no weights and no text of a data pack. Hashes show that nothing
changed since it was packed, not who packed it. The shapes below are what each member is checked
against when somebody else's pack is read. What a pack claims is checked in verify.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, TypeAdapter, ValidationError

from labkit.base import records
from labkit.base.errors import InputError, LabkitError, PackError
from labkit.base.inputs import MIB, Limits, read_yaml, unpack
from labkit.base.store import (
    DISTRIBUTION,
    Checkpoint,
    Store,
    file_hash,
    write_file,
    write_whole,
)
from labkit.data.packs import SPLITS, Pack, load_pack
from labkit.design.dossier import Dossier, checked, dossier_text
from labkit.evaluate.scorecards import ItemResult, Scorecard
from labkit.evaluate.scoring import SCORING_VERSION, score_checkpoint
from labkit.merge.methods import merge_at
from labkit.merge.recipes import Merge
from labkit.models import zoo
from labkit.train.pipeline import RECIPE_VERSION, load_checkpoint
from labkit.train.specs import PipelineSpec, Stage, Strict, read_spec, spec_text

# --- what a pack holds --------------------------------------------------------------------------

SCHEMA: Final = 1
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(max_length=400)]
Share = Annotated[float, Field(ge=0, le=1)]


class Member(Strict):
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Strict):
    """left_out: a sentence for everything in the records that could not be packed."""

    kind: Literal["labkit evidence pack"] = "labkit evidence pack"
    schema_version: Literal[1] = SCHEMA
    learner: Words
    members: dict[str, Member]
    left_out: tuple[Words, ...] = ()


class Shipped(Strict):
    """A model that comes with labkit."""

    kind: Literal["shipped"] = "shipped"
    weights: Hash
    name: Words


class Trained(Strict):
    """A checkpoint of the store; specs/KEY.yaml trains it again. files: SHA-256 of each. start: the
    weights that training began with. data: fingerprint of what its last stage read. wall_seconds:
    of its last stage.
    """

    kind: Literal["trained"] = "trained"
    weights: Hash
    name: Words
    key: Hash
    files: dict[Words, Sha256]
    start: Hash
    data: Sha256
    versions: dict[Words, Words]
    wall_seconds: Annotated[float, Field(ge=0)]


class Merged(Strict):
    """A merge that was made in memory: the weights of its parents, and how they were joined.
    merge.ancestor: by weights, too.
    """

    kind: Literal["merged"] = "merged"
    weights: Hash
    name: Words
    general: Hash
    domain: Hash
    merge: Merge

    @property
    def parents(self) -> tuple[str | None, ...]:
        return self.general, self.domain, self.merge.ancestor


def _kind_of(value: Any) -> object:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


Model = Annotated[
    Annotated[Shipped, Tag("shipped")]
    | Annotated[Trained, Tag("trained")]
    | Annotated[Merged, Tag("merged")],
    Discriminator(_kind_of),
]


class Item(Strict):
    """ItemResult, checked."""

    id: Words
    axis: Words
    kind: Words
    entity: Words
    score: Share
    output: Annotated[str, Field(max_length=20_000)]
    variants: dict[Words, float] = Field(default_factory=dict)
    measures: dict[Words, float] = Field(default_factory=dict)


class Card(Strict):
    """Every item's outcome of one model, as one `lab.score` saw it. axes: those that were asked
    for.
    """

    weights: Hash
    name: Words
    pack: Words
    data: Sha256
    split: Literal["dev", "test"]
    profile: Literal["smoke", "brief", "lab", "study"]
    axes: tuple[Words, ...]
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=20_000)]

    @property
    def scorecard(self) -> Scorecard:
        items = [ItemResult(**item.model_dump()) for item in self.items]
        return Scorecard(self.name, self.pack, self.split, self.data, items)

    @property
    def run(self) -> tuple:
        """What tells it from the other cards of a pack."""
        return self.weights, self.pack, self.split, self.profile, frozenset(self.axes)


class Mean(BaseModel):
    mean: Share
    n: Annotated[int, Field(gt=0)]


class Scored(BaseModel):
    """A scorecard record that says whose scores it holds. checkpoint: how the learner called the
    model.
    """

    checkpoint: Words
    weights: Hash
    pack: Words
    split: Literal["dev", "test"]
    profile: Literal["smoke", "brief", "lab", "study"]
    axes: dict[Words, Mean]

    @property
    def run(self) -> tuple:
        return self.weights, self.pack, self.split, self.profile, frozenset(self.axes)


@dataclass(frozen=True)
class Evidence:
    """What an opened pack holds. models and specs are by weights and by key; data: pack -> split ->
    fingerprint.
    """

    manifest: Manifest
    versions: dict[str, str]
    data: dict[str, dict[str, str]]
    models: dict[str, Shipped | Trained | Merged]
    specs: dict[str, PipelineSpec]
    cards: list[Card]
    rows: list[dict]
    dossiers: list[Dossier]


def scored_of(row: dict) -> Scored | None:
    """A scorecard record as it can be checked; None when it does not say whose scores it holds."""
    try:
        return Scored(**row)
    except ValidationError:
        return None


LIMITS = Limits(file=32 * MIB, members=500, member=8 * MIB, total=64 * MIB, ratio=200)
MEMBER = re.compile(
    r"(manifest|versions|data|models)\.json|records\.jsonl|specs/[0-9a-f]{16}\.yaml|dossiers/\d{4}\.yaml|scorecards/\d{4}\.json"
)
RECORD_CHARACTERS = 2**18  # of one line of records: a long reflection has a few thousand
# A few lines with aliases unfold to gigabytes, and labkit writes none.
YAML_ALIAS = re.compile(r"(?<![^\s\[{,:-])[&*]\w")
REMEDY = "do not use it, and ask for a new one, made with: labkit evidence-pack"
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "tokenizers",
    "safetensors",
    "numpy",
    "numkong",
)
MADE = (1980, 1, 1, 0, 0, 0)  # the same evidence gives the same bytes


# --- making -----------------------------------------------------------------------------------


def make_pack(out_dir: Path, learner: str, path: Path) -> Manifest:
    """Write the evidence of one learner's records in `out_dir` as one zip file.

    What was scored and is not kept any more is scored again. Raises InputError when the learner has
    no records there or the evidence is larger than a pack may be, StoreError when `path` cannot be
    written.
    """
    rows, store = learner_rows(out_dir, learner), Store()
    left_out: list[str] = []
    kept = {
        checkpoint.key: checkpoint
        for key in _keys(rows)
        if (checkpoint := store.find(key)) and "stage" in checkpoint.lineage
    }
    packs = _packs(rows, kept.values(), left_out)
    models = _models(rows, kept, left_out)
    cards = list(_cards(rows, models, packs, lambda model: kept[model.key], left_out))
    used = _used(models, cards)
    content = {
        "versions.json": _as_json(versions()),
        "data.json": _as_json(
            {
                name: {split: pack.fingerprint(split) for split in SPLITS if pack.has(split)}
                for name, pack in packs.items()
            }
        ),
        "models.json": _as_json([model.model_dump(mode="json") for model in used]),
        "records.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        **{
            f"specs/{model.key}.yaml": spec_text(spec_of(kept[model.key].lineage))
            for model in used
            if isinstance(model, Trained)
        },
        **{
            f"dossiers/{number:04}.yaml": dossier_text(checked(row["dossier"]))
            for number, row in enumerate(latest_of(rows, "dossier", "pack"), 1)
        },
        **{
            f"scorecards/{number:04}.json": card.model_dump_json()
            for number, card in enumerate(cards, 1)
        },
    }
    data = {name: text.encode() for name, text in content.items()}
    if (
        len(data) >= LIMITS.members
        or sum(map(len, data.values())) > LIMITS.total
        or max(map(len, data.values())) > LIMITS.member
    ):
        raise InputError(
            f"{out_dir}: the evidence has {len(data)} parts and "
            f"{sum(map(len, data.values())) / MIB:,.0f} MiB, more than a pack may hold; "
            "use an out_dir per run of the course"
        )
    return _write(path, data, learner, left_out)


def learner_rows(out_dir: Path, learner: str) -> list[dict]:
    """The records of one learner.

    Raises InputError naming the learners there are when there are none of this one.
    """
    rows = records.read(out_dir)
    mine = [row for row in rows if row.get("learner") == learner]
    if not mine:
        known = ", ".join(sorted({str(row.get("learner")) for row in rows})) or _nobody(out_dir)
        raise InputError(
            f"{out_dir / records.FILE}: no records of learner {learner!r}; there are "
            f"records of: {known}"
        )
    return mine


def _nobody(out_dir: Path) -> str:
    """Nobody's records, and where JupyterLab's are: it runs a notebook in the notebook's folder."""
    beside = "notebooks" / out_dir
    if (beside / records.FILE).is_file():
        return f"nobody; did you mean {beside}?"
    return "nobody; run a notebook first"


def versions() -> dict[str, str]:
    """Of labkit and every package that can change a number, of its own arithmetic, and of the
    machine's kind.
    """
    import platform
    from importlib.metadata import version

    from labkit.merge.methods import ARITHMETIC_VERSION

    own = {"recipe": RECIPE_VERSION, "scoring": SCORING_VERSION, "arithmetic": ARITHMETIC_VERSION}
    machine = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    return {
        "labkit": version(DISTRIBUTION),
        **{name: version(name) for name in PACKAGES},
        **{name: str(value) for name, value in own.items()},
        **machine,
    }


def spec_of(lineage: dict) -> PipelineSpec:
    """The spec that leads to a checkpoint and no further, without a path of this machine in it."""
    whole = PipelineSpec(**lineage["spec"])
    pack, trail = lineage["name"].split("/")[0], lineage["name"].rsplit("/", 1)[-1]
    steps = whole.steps[: trail.count("-") + 1]
    merge = whole.merge if whole.merge in steps else None
    if merge:
        merge = merge.model_copy(
            update={
                "general": merge.general and bare(merge.general),
                "ancestor": merge.ancestor and bare(merge.ancestor),
            }
        )
    stages = tuple(step for step in steps if isinstance(step, Stage))
    after = steps.index(whole.merge) or None if merge else None
    return whole.model_copy(
        update={
            "pack": pack,
            "model": bare(whole.model),
            "stages": stages,
            "merge": merge,
            "merge_after": after,
            "why": None,
        }
    )


def bare(model: str) -> str:
    """A model's name; of a folder its last part."""
    return Path(model).name if Path(model).is_dir() or Path(model).is_absolute() else model


def _keys(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(row["key"] for row in rows if row["kind"] == "checkpoint"))


def _packs(rows: list[dict], kept: Iterable[Checkpoint], left_out: list[str]) -> dict[str, Pack]:
    """The data packs that records name: where a checkpoint says they lie, or the shipped ones."""
    folders = {
        checkpoint.name.split("/")[0]: checkpoint.lineage["spec"]["pack"] for checkpoint in kept
    }
    found = {}
    for name in dict.fromkeys(row["pack"] for row in rows if "pack" in row):
        try:
            found[name] = load_pack(folders.get(name, name))
        except PackError:
            left_out.append(f"the scores on pack {name[:100]}: its folder is not where it was")
    return found


def _models(
    rows: list[dict], kept: dict[str, Checkpoint], left_out: list[str]
) -> dict[str, Shipped | Trained | Merged]:
    """By weights: every checkpoint that was trained, every shipped model, and every merge whose
    parents are among them.
    """
    found: dict[str, Shipped | Trained | Merged] = {**shipped_by_weights()}
    for row in latest_of(rows, "checkpoint", "key"):
        if row["key"] not in kept:
            left_out.append(
                f"checkpoint {row['name'][:100]} ({row['key']}): it is not in the store any more"
            )
            continue
        trained = trained_of(kept[row["key"]])
        found[trained.weights] = trained
    for row in latest_of(rows, "merge", "weights"):
        merge = Merge(method=row["method"], t=row["t"], ancestor=row["ancestor"], extrapolate=True)
        model = Merged(
            weights=row["weights"],
            name=f"{merge.method} merge",
            general=row["general"],
            domain=row["domain"],
            merge=merge,
        )
        if any(
            parent and not isinstance(found.get(parent), (Shipped, Trained))
            for parent in model.parents
        ):
            left_out.append(
                f"a {merge.method} merge: one of its parents is no checkpoint of these records"
            )
        else:
            found.setdefault(model.weights, model)
    return found


def latest_of(rows: list[dict], kind: str, key: str) -> list[dict]:
    return records.latest([row for row in rows if row["kind"] == kind and key in row], key)


def shipped_by_weights() -> dict[str, Shipped]:
    """The models in labkit's own folder. weights -> model."""
    folder = zoo.shipped_folder()
    named = {zoo.fingerprint_of(folder / name): name for name in zoo.shipped_models()}
    return {weights: Shipped(weights=weights, name=name) for weights, name in named.items()}


def trained_of(checkpoint: Checkpoint) -> Trained:
    """A checkpoint of a training stage, as a pack tells of it."""
    lineage, spec = checkpoint.lineage, spec_of(checkpoint.lineage)
    return Trained(
        weights=zoo.fingerprint_of(checkpoint.folder),
        name=f"{spec.pack}/{spec.model}/{spec.trail}",
        key=checkpoint.key,
        files=lineage["files"],
        start=zoo.fingerprint_of(zoo.model_folder(lineage["spec"]["model"])),
        data=lineage["data"],
        versions=lineage["versions"],
        wall_seconds=lineage["wall_seconds"],
    )


def load_model(
    model: Shipped | Trained | Merged,
    models: dict,
    checkpoint_of: Callable[[Trained], Checkpoint | str],
) -> zoo.Loaded:
    """A model of a pack, ready to use: from labkit's folder, from a checkpoint, or merged again
    from its parents.
    """
    if isinstance(model, Shipped):
        return zoo.load(model.name)
    if isinstance(model, Trained):
        return load_checkpoint(checkpoint_of(model))
    general, domain = (
        load_model(models[weights], models, checkpoint_of)
        for weights in (model.general, model.domain)
    )
    origin = model.merge.ancestor
    return merge_at(
        general,
        domain,
        model.merge.t,
        model.merge.method,
        ancestor=load_model(models[origin], models, checkpoint_of) if origin else None,
    )


def _cards(
    rows: list[dict],
    models: dict,
    packs: dict[str, Pack],
    checkpoint_of: Callable,
    left_out: list[str],
) -> Iterator[Card]:
    """A card for everything that was scored, each once."""
    done = set()
    for row in (row for row in rows if row["kind"] == "scorecard"):
        scored = scored_of(row)
        if scored is None or scored.weights not in models or scored.pack not in packs:
            left_out.append(
                f"the scores of {row['checkpoint'][:100]}: their record names no "
                "weights, or a model or pack that is not here"
            )
        elif scored.run not in done:
            done.add(scored.run)
            loaded = load_model(models[scored.weights], models, checkpoint_of)
            card = score_checkpoint(
                loaded,
                packs[scored.pack],
                split=scored.split,
                axes=scored.axes,
                profile_name=scored.profile,
            )
            yield Card(
                weights=scored.weights,
                name=scored.checkpoint,
                pack=scored.pack,
                data=card.data,
                split=scored.split,
                profile=scored.profile,
                axes=tuple(scored.axes),
                items=tuple(Item(**vars(item)) for item in card.items),
            )


def _used(
    models: dict[str, Shipped | Trained | Merged], cards: list[Card]
) -> list[Shipped | Trained | Merged]:
    """The models without shipped ones that nothing rests on."""
    weights: set[str | None] = {card.weights for card in cards}
    for model in models.values():
        if not isinstance(model, Shipped):
            weights |= {model.start} if isinstance(model, Trained) else set(model.parents)
    return [
        model
        for model in models.values()
        if not isinstance(model, Shipped) or model.weights in weights
    ]


def _as_json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


def _write(path: Path, content: dict[str, bytes], learner: str, left_out: list[str]) -> Manifest:
    """The zip file with its manifest, completely or not at all."""
    members = {
        name: Member(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in content.items()
    }
    manifest = Manifest(learner=learner, members=members, left_out=tuple(dict.fromkeys(left_out)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in {
            "manifest.json": manifest.model_dump_json(indent=1).encode(),
            **content,
        }.items():
            info = zipfile.ZipInfo(name, MADE)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(info, data)
    write_file(path, buffer.getvalue())
    return manifest


# --- opening ----------------------------------------------------------------------------------


def open_pack(path: Path, folder: Path | None = None, *, hashes: bool = True) -> Path:
    """Unpack an evidence pack into a new folder (by default a temporary one, which the caller
    removes) and check it.

    hashes: refuse a pack in which a member is not as it was packed. Raises InputError naming file,
    member and remedy for anything that is not as labkit writes it; nothing is left behind then.
    """
    target = folder or Path(tempfile.mkdtemp(prefix="labkit-")) / "pack"
    if target.exists():
        raise InputError(f"{target} exists already; name a new folder")

    def fill(draft: Path) -> None:
        unpack(path, draft, allowed=MEMBER, limits=LIMITS, remedy=REMEDY)
        read_pack(draft, path)
        for name in wrong_hashes(draft) if hashes else ():
            raise InputError(f"{path}: member {name!r} was changed after it was packed; {REMEDY}")

    try:
        return write_whole(target, fill)
    except LabkitError:
        if folder is None:
            target.parent.rmdir()
        raise


def wrong_hashes(folder: Path) -> list[str]:
    """Members of an unpacked pack that are not as the manifest says."""
    manifest = Manifest(**json.loads((folder / "manifest.json").read_text("utf-8")))
    return [
        name
        for name, member in manifest.members.items()
        if file_hash(folder / name) != member.sha256
    ]


def read_pack(folder: Path, path: Path | None = None) -> Evidence:
    """What an unpacked pack holds. path: how it is called in errors.

    Raises InputError naming file, member and remedy.
    """
    called = path or folder
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    for name in ("manifest.json", "versions.json", "data.json", "models.json", "records.jsonl"):
        if name not in present:
            raise InputError(
                f"{called}: member {name!r} is missing, so this is no evidence pack; {REMEDY}"
            )

    def read(name: str, shape: Any) -> Any:
        raw = _parse(folder / name, f"{called}: member {name!r}")
        if (
            name == "manifest.json"
            and isinstance(raw, dict)
            and raw.get("schema_version") != SCHEMA
        ):
            found = _plain(str(raw.get("schema_version"))[:20])
            raise InputError(
                f"{called}: member {name!r} has schema {found}, and this labkit reads "
                f"{SCHEMA}; use the labkit it was made with, or make the pack again"
            )
        try:
            return TypeAdapter(shape).validate_python(raw)
        except (ValidationError, RecursionError) as error:
            raise InputError(f"{called}: member {name!r}: {_told(error)}; {REMEDY}") from None

    manifest = read("manifest.json", Manifest)
    for name in sorted(present - {"manifest.json"} ^ manifest.members.keys()):
        raise InputError(
            f"{called}: member {name[:80]!a} is in the file or in the manifest, "
            f"but not in both; {REMEDY}"
        )
    models = {model.weights: model for model in read("models.json", list[Model])}
    specs = {
        Path(name).stem: _spec(folder / name, called, name)
        for name in sorted(present)
        if name.startswith("specs/")
    }
    _check_parents(models, specs, called)
    return Evidence(
        manifest,
        read("versions.json", dict[Words, Words]),
        read("data.json", dict[Words, dict[Words, Sha256]]),
        models,
        specs,
        [read(name, Card) for name in sorted(present) if name.startswith("scorecards/")],
        list(_rows(folder, called, manifest.learner)),
        [
            _dossier(folder / name, called, name)
            for name in sorted(present)
            if name.startswith("dossiers/")
        ],
    )


def _told(error: ValidationError | RecursionError) -> str:
    """The place of the first problem and what it is, without what was found there."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    first = error.errors(include_input=False)[0]
    return _plain(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def _plain(words: str) -> str:
    """Words that may come from the pack, in a line of letters that only show."""
    return ascii(words[:200])[1:-1]


def _check_parents(models: dict, specs: dict, called: Path) -> None:
    """Every trained model has its spec, and every merge parents that are no merges themselves."""
    for model in models.values():
        if isinstance(model, Trained) and model.key not in specs:
            raise InputError(f"{called}: member 'specs/{model.key}.yaml' is missing; {REMEDY}")
        for parent in model.parents if isinstance(model, Merged) else ():
            if parent and not isinstance(models.get(parent), (Shipped, Trained)):
                raise InputError(
                    f"{called}: member 'models.json': the merge {model.weights} has a "
                    f"parent that is not there; {REMEDY}"
                )


def _parse(path: Path, called: str) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    # broken, not UTF-8, a number of a million digits, or nested too deeply
    except (ValueError, RecursionError):
        raise InputError(f"{called}: broken JSON; {REMEDY}") from None


def _spec(path: Path, called: Path, name: str) -> PipelineSpec:
    try:
        if YAML_ALIAS.search(path.read_text("utf-8", "replace")):
            raise InputError("YAML aliases are not allowed here")
        return read_spec(path)
    except (InputError, RecursionError) as error:
        said = str(error).removeprefix(str(path)).removeprefix(": ")
        raise InputError(f"{called}: member {name!r}: {_plain(said)}; {REMEDY}") from None


def _dossier(path: Path, called: Path, name: str) -> Dossier:
    try:
        return checked(read_yaml(path, missing=REMEDY), name)
    except (InputError, RecursionError) as error:
        raise InputError(f"{called}: member {_plain(str(error))}; {REMEDY}") from None


def _rows(folder: Path, called: Path, learner: str) -> Iterator[dict]:
    """Records, each an object with a kind, all of one learner."""
    text = (folder / "records.jsonl").read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        place = f"{called}: member 'records.jsonl', line {number}"
        if len(line) > RECORD_CHARACTERS:
            raise InputError(
                f"{place}: {len(line):,} characters, {RECORD_CHARACTERS:,} are allowed; {REMEDY}"
            )
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{place}: broken JSON; {REMEDY}") from None
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("kind"), str)
            or row.get("learner") != learner
        ):
            raise InputError(f"{place}: no record of the pack's learner; {REMEDY}")
        yield row
