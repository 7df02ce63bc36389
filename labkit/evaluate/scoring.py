"""This module scores any model on a pack once: the second time it reads the scorecard from disk.

A scorecard is determined by weights, tokenizer and template, items and sampling, so those are its
key. Merges are scored at many t in the same way, and so are everyday items, which come with labkit.
Tasks of EleutherAI's lm-eval are run by lm-eval, and become a scorecard. The module does not know
how an item is scored; scorecards.py does.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from labkit.base.errors import InputError
from labkit.base.records import AXES, CONTROLS
from labkit.base.store import Checkpoint, default_root, key_of, write_file
from labkit.data.items import everyday_items
from labkit.data.packs import Pack, samples_folder
from labkit.evaluate.answers import Scored, read_sample, score_logs, task_log
from labkit.evaluate.scorecards import Scorecard, evaluate, score_items
from labkit.merge.guards import check_tokenizers
from labkit.merge.methods import merge_at
from labkit.models import zoo
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import profile

SCORING_VERSION = 5  # part of every key: raise it when scoring changes what a number means


def scorecards_folder() -> Path:
    return default_root().parent / "scorecards"


def shipped_scorecards() -> Path:
    """Scorecards of what ships (studies/real_notebooks.py): on two cores each took minutes."""
    return samples_folder("measured") / "scorecards"


def score_checkpoint(
    model: str | Checkpoint | zoo.Loaded,
    pack: Pack,
    *,
    split: str = "test",
    axes: Iterable[str] = AXES + CONTROLS,
    profile_name: str = "lab",
    name: str | None = None,
) -> Scorecard:
    """The scorecard of a model, computed or read back. name: how it is called on figures.

    Raises InputError for an unknown model, split or axis.
    """
    chosen, wanted = profile(profile_name), sorted(axes)
    loaded = model if isinstance(model, zoo.Loaded) else load_checkpoint(model)
    key = key_of(
        version=SCORING_VERSION,
        weights=loaded.fingerprint,
        tokenizer=tokenizer_fingerprint(loaded.tokenizer),
        data=pack.fingerprint(split, "raw", "summaries", "qa"),
        split=split,
        axes=wanted,
        limit=chosen.eval_limit,
        samples=chosen.samples,
        **_rescored(loaded, pack.rows(split)),
    )
    return cached_card(
        key,
        lambda: evaluate(
            loaded.model,
            loaded.tokenizer,
            pack,
            split=split,
            axes=wanted,
            limit=chosen.eval_limit,
            samples=chosen.samples,
        ),
        name or loaded.name,
    )


def _rescored(loaded: zoo.Loaded, items: list[dict]) -> dict:
    """What a key says where version 5 once gave other scores; other scorecards stay found.

    It did to answers beyond ASCII, and to models of the hub: their templates were not looked at.
    """
    plain = all(item.get("answer", "").isascii() for item in items)
    return {} if plain and "@" not in loaded.fingerprint else {"rescored": 1}


def cached_card(key: str, make: Callable[[], Scorecard], name: str) -> Scorecard:
    """The scorecard kept under a key, or shipped with labkit, and made when there is none; it is
    called `name` from here on.
    """
    path = scorecards_folder() / f"{key}.json"
    card = read_scorecard(path) or read_scorecard(shipped_scorecards() / path.name)
    if card is None:
        card = make()
        write_file(path, card.as_json())
    card.checkpoint = name
    return card


def tokenizer_fingerprint(tokenizer) -> str:
    """Equal for tokenizers with the same vocabulary and chat template: weights alone do not say how
    they are read.
    """
    return key_of(vocabulary=tokenizer.get_vocab(), template=tokenizer.chat_template)


def read_scorecard(path: Path) -> Scorecard | None:
    """The scorecard in a file; None when there is none or a killed process left half of it."""
    try:
        return Scorecard.load(path)
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


# --- merges over t ----------------------------------------------------------------------------

SWEEP = tuple(i / 10 for i in range(11))


def sweep_merge(
    general: zoo.Loaded,
    domain: zoo.Loaded,
    pack: Pack,
    *,
    split: str,
    axes: Iterable[str],
    methods: Iterable[str] = ("slerp", "lerp"),
    ts: Iterable[float] = SWEEP,
    profile_name: str = "lab",
) -> dict[str, list[tuple[float, Scorecard]]]:
    """Scorecards over t per method: method -> [(t, scorecard)].

    Raises MergeError when the two do not match.
    """
    check_tokenizers(general.tokenizer, domain.tokenizer)
    axes = tuple(axes)
    return {
        method: [
            (
                t,
                score_checkpoint(
                    merge_at(general, domain, t, method),
                    pack,
                    split=split,
                    axes=axes,
                    profile_name=profile_name,
                ),
            )
            for t in ts
        ]
        for method in methods
    }


def best_t(sweep: list[tuple[float, Scorecard]], *axes: str) -> float:
    """The t whose mean score over `axes` is highest.

    Choose on dev only.
    """

    return highest_t(
        {t: sum(card.interval(axis).mean for axis in axes) / len(axes) for t, card in sweep}
    )


def highest_t(values: Mapping[float, float]) -> float:
    """The t with the highest value; of equals, the one nearest the middle. values: t -> score."""
    return max(values, key=lambda t: (values[t], -abs(t - 0.5)))


# --- everyday items ---------------------------------------------------------------------------


def score_everyday(
    loaded: zoo.Loaded, name: str | None = None, *, split: str = "test"
) -> Scorecard:
    """The scorecard of a model on the everyday items of a split, computed or read back. name: how
    it is called on figures.
    """
    items = everyday_items(split)
    data = key_of(items=items)
    key = key_of(
        everyday=1,
        version=SCORING_VERSION,
        weights=loaded.fingerprint,
        tokenizer=tokenizer_fingerprint(loaded.tokenizer),
        data=data,
        **_rescored(loaded, items),
    )
    return cached_card(
        key,
        lambda: Scorecard(
            loaded.name, "everyday", split, data, score_items(loaded.model, loaded.tokenizer, items)
        ),
        name or loaded.name,
    )


# --- lm-eval's tasks --------------------------------------------------------------------------

PEERS = "`make peers` brings it, or `pip install -c constraints.txt -e '.[peers]'`"
TASK_BATCH = 16  # rows that lm-eval gives a model at once
IN_FILES = frozenset(("json", "csv", "parquet", "text", "arrow", "pandas"))  # of load_dataset
_ASKS_NLTK = re.compile(r"""nltk\.data\.find\(\s*["']([\w./-]+)["']""")


@dataclass(frozen=True)
class TaskPlan:
    """What running some tasks of lm-eval takes. names: as lm-eval knows them. manager: lm-eval's.

    here, lacking: data sets by name, with the tasks that read them, in the local cache or not.
    unknown: tasks whose own code fetches their data.
    """

    names: tuple[str, ...]
    manager: Any
    here: dict[str, list[str]]
    lacking: dict[str, list[str]]
    unknown: tuple[str, ...]

    def told(self) -> list[str]:
        """A sentence for everything that may be downloaded."""
        found = [
            f"will be downloaded: {name} (for {_some(tasks)})"
            for name, tasks in self.lacking.items()
        ]
        found += [
            f"is in the local cache, and the hub is asked for a newer version: {name} "
            f"(for {_some(tasks)}); HF_HUB_OFFLINE=1 asks nobody"
            for name, tasks in self.here.items()
            if not zoo.hub_is_off()
        ]
        if self.unknown:
            found.append(
                f"brings its data by code of its own, of which labkit cannot tell what it "
                f"downloads: {_some(self.unknown)}"
            )
        return found


def _some(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def plan_tasks(names: Sequence[str], folder: Path | None = None) -> TaskPlan:
    """Tasks, groups and tags of lm-eval by name, and what they read; nothing is downloaded for it.

    folder: with tasks of one's own, as lm-eval's --include_path. Raises InputError when lm-eval is
    not there, a name is unknown, or the hub is off (HF_HUB_OFFLINE) and data are lacking.
    """
    if not find_spec("lm_eval"):
        raise InputError(f"--tasks runs tasks of lm-eval, which is not installed: {PEERS}")
    if not names:
        raise InputError("--tasks: no name; give the tasks of lm-eval, as in --tasks ifeval")
    if folder is not None and not folder.is_dir():
        raise InputError(f"--include-path {folder}: no such folder; give one with tasks as YAML")
    if zoo.hub_is_off():
        os.environ.setdefault(
            "HF_EVALUATE_OFFLINE", "1"
        )  # the one library with a switch of its own
    from lm_eval.tasks import TaskManager

    manager = None
    if folder is not None:  # lm-eval's own fourteen thousand take half a minute to read
        manager = TaskManager(include_path=str(folder), include_defaults=False)
    if manager is None or not set(names) <= set(manager.all_tasks):
        manager = TaskManager(include_path=str(folder) if folder else None)
    for name in names:
        if name not in manager.task_index:
            close = get_close_matches(name, manager.all_tasks, n=3)
            remedy = (
                f"did you mean {', '.join(close)}?" if close else "`lm_eval ls tasks` lists them"
            )
            raise InputError(f"--tasks {name}: lm-eval has no such task; {remedy}")
    here: dict[str, list[str]] = {}
    lacking: dict[str, list[str]] = {}
    unknown = []
    for task, config, path in _leaves(names, manager.task_index):
        for source in _sources(config, path):
            if source is None:
                unknown.append(task)
            elif not _is_local(source, config, path):
                (here if _is_cached(source) else lacking).setdefault(source, []).append(task)
    if lacking and zoo.hub_is_off():
        wanted = list(dict.fromkeys(task for tasks in lacking.values() for task in tasks))
        raise InputError(
            f"--tasks {','.join(wanted[:3])}: not in the local cache: {_some(list(lacking))}; "
            "HF_HUB_OFFLINE=1 keeps labkit from fetching it: set HF_HUB_OFFLINE=0 and run it once "
            "with a network, or bring the cache from another machine"
        )
    return TaskPlan(tuple(names), manager, here, lacking, tuple(unknown))


def _leaves(names: Iterable[Any], index: dict[str, Any]) -> Iterator[tuple[str, dict, Path | None]]:
    """Every task below names of tasks, groups and tags: its name, its config and its file."""
    for name in names:
        inline = name if isinstance(name, dict) else {}
        called = inline.get("task", inline.get("group", "")) if inline else name
        if isinstance(called, list):
            yield from _leaves(called, index)
            continue
        entry = index.get(str(called))
        config = {**(entry.cfg or {} if entry else {}), **inline}
        if entry and entry.kind.name == "TAG":
            yield from _leaves(sorted(entry.tags), index)
        elif isinstance(config.get("task"), list):
            yield from _leaves(config["task"], index)
        else:
            yield str(called), config, entry.yaml_path if entry else None


def _sources(config: dict, path: Path | None) -> Iterator[str | None]:
    """What a task reads: its data set, and what its code asks of NLTK; None for what only its own
    code knows.
    """
    own = config.get("custom_dataset") or "class" in config
    yield None if own or "dataset_path" not in config else str(config["dataset_path"])
    for file in sorted(path.parent.glob("*.py")) if path else ():
        for wanted in _ASKS_NLTK.findall(file.read_text("utf-8", errors="replace")):
            yield f"nltk:{wanted}"


def _is_local(source: str, config: dict, path: Path | None) -> bool:
    """Whether a data set lies in files or in a folder of this machine."""
    if source in IN_FILES:
        return "://" not in json.dumps(config.get("dataset_kwargs", {}), default=str)
    return Path(source).is_dir()


def _is_cached(source: str) -> bool:
    """Whether a data set was fetched before."""
    if source.startswith("nltk:"):
        import nltk

        try:
            nltk.data.find(source.removeprefix("nltk:"))
        except LookupError:
            return False
        return True
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    hub = Path(HF_HUB_CACHE) / f"datasets--{source.replace('/', '--')}"
    return (hub / "snapshots").is_dir() or any(
        Path(config.HF_DATASETS_CACHE).glob(f"{source.replace('/', '___')}/*")
    )


def score_tasks(
    loaded: zoo.Loaded,
    plan: TaskPlan,
    *,
    limit: int | None = None,
    chat: bool = False,
    log: Path | None = None,
) -> Scored:
    """lm-eval's tasks as a scorecard, an axis for each metric of each task; and what is not scored.

    limit: the first so many documents of each task. chat: asked with the model's chat template.
    log: a folder for lm-eval's samples and results, as its --log_samples --output_path writes them.
    Raises InputError when lm-eval cannot run a task.
    """
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.huggingface import HFLM
    from lm_eval.utils import handle_non_serializable

    class Unasked(HFLM):
        """lm-eval would ask the hub about the model."""

        def get_model_info(self) -> dict:
            return {}

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of what is meant here
    tracker = EvaluationTracker(output_path=str(log)) if log else None
    model = Unasked(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=TASK_BATCH,
        device=str(loaded.model.device),
    )
    try:
        told = simple_evaluate(
            model=model,
            model_args={"pretrained": loaded.name},
            tasks=list(plan.names),
            task_manager=plan.manager,
            limit=limit,
            apply_chat_template=chat,
            bootstrap_iters=0,
            evaluation_tracker=tracker,
        )
    except Exception as error:  # thousands of tasks, each with code of its own
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"--tasks {','.join(plan.names)}: lm-eval stopped ({type(error).__name__}: {said}); "
            "leave that task out, or see what `lm_eval --tasks` says of it"
        ) from error
    samples = told.pop("samples")
    logs = []
    for task, rows in samples.items():
        plain = json.loads(json.dumps(rows, default=handle_non_serializable))
        found = [read_sample(f"{task}:{number}", row) for number, row in enumerate(plain, 1)]
        results = {
            key: told[key][task] for key in ("results", "higher_is_better") if task in told[key]
        }
        logs.append(task_log(task, task, found, results))
    if tracker:
        tracker.save_results_aggregated(results=told, samples=samples)
        for task, rows in samples.items():
            tracker.save_results_samples(task_name=task, samples=rows)
    return score_logs(logs, loaded.name)
