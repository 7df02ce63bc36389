"""What a model comes from, as a card tells it: stages and merges, the models at the root, licences.

Nothing that is told has a path of this machine in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from labkit.base.errors import InputError, MergeError
from labkit.base.store import LINEAGE, Store
from labkit.diagnose.gate import lineage_of, pack_name
from labkit.merge.recipes import Recipe, read_recipe
from labkit.models import zoo

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
    if Path(name).is_dir() or len(name.split("/")) < 3:
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
