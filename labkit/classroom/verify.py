"""Checks an evidence pack: hashes and data first, then a sample of its claims is done again.

Nothing that a pack names is downloaded, and its specs are trained only when they are small or when
asked for. What was not checked is told, with the reason.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from labkit.base.errors import LabkitError
from labkit.base.stats import paired_difference, with_run_noise
from labkit.base.store import Checkpoint, Store, file_hash, key_of
from labkit.classroom.evidence_pack import (
    Card,
    Evidence,
    Merged,
    Scored,
    Shipped,
    Trained,
    load_model,
    open_pack,
    read_pack,
    scored_of,
    shipped_by_weights,
    spec_of,
    versions,
    wrong_hashes,
)
from labkit.data.packs import Pack, load_pack, shipped_packs
from labkit.data.published import run_noise_of
from labkit.evaluate.chat import printable
from labkit.evaluate.scorecards import (
    ItemResult,
    Scorecard,
    is_for,
    is_tiny,
    limited,
    score_items,
)
from labkit.models import zoo
from labkit.train.pipeline import SHARING, run_spec, stage_splits, steps_run
from labkit.train.specs import PipelineSpec, Stage, profile

HOLDS, FAILS, UNSURE, SKIPPED = "holds", "does not hold", "not distinguishable", "not checked"
SAMPLE = 32  # items of each scorecard
# Share of items that may come out differently with the same weights: batches of another shape round
# differently.
ROUNDING = 0.05
# A chain of stages that trains no more is trained without being asked for: seconds to two minutes.
SMALL_TOKENS = 300_000
MOST_TOKENS = 50_000_000  # and with --retrain: hours; a pack must not be able to order days
MOST_ROWS, MOST_LENGTH = 256, 4096  # of a batch


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    verdict: str
    told: str


@dataclass
class Verification:
    """learner and rows are text of the pack's author, without control characters. items: scored
    again, of `claimed` ones.
    """

    learner: str
    seed: int
    rows: list[Row] = field(default_factory=list)
    items: int = 0
    claimed: int = 0
    cards: int = 0
    cards_claimed: int = 0

    def add(self, what: str, verdict: str, told: str) -> None:
        self.rows.append(Row(printable(what), verdict, printable(told)))

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.verdict == FAILS]

    @property
    def holds(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        share = (
            f"scored again: {self.items:,} of {self.claimed:,} item outcomes, in "
            f"{self.cards} of {self.cards_claimed} scorecards"
        )
        if self.failed:
            return (
                f"{len(self.failed)} of {len(self.rows)} checks do not hold, first "
                f"{self.failed[0].what} ({self.failed[0].told}); {share}"
            )
        left = sum(row.verdict == SKIPPED for row in self.rows)
        unsure = sum(row.verdict == UNSURE for row in self.rows)
        words = f"nothing that was checked contradicts the pack; {share}"
        return (
            words
            + (f"; {left} not checked" if left else "")
            + (f"; {unsure} only not distinguishable" if unsure else "")
        )


def verify(
    path: Path,
    *,
    sample: int | None = SAMPLE,
    seed: int | None = None,
    retrain: bool = False,
    packs: Iterable[str] = (),
    store: Store | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Verification:
    """Check a pack. sample: items of each scorecard that are scored again (None: all), drawn with
    `seed` (None: by chance).

    retrain: train every checkpoint again, whatever the store has. packs: folders of data packs that
    are not shipped. Raises InputError when the file is no evidence pack that can be opened,
    PackError for a folder that is no data pack.
    """
    given = {pack.name: pack for pack in map(load_pack, packs)}
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        opened = open_pack(path, Path(folder) / "pack", hashes=False)
        evidence = read_pack(opened, path)
        found = Verification(
            printable(evidence.manifest.learner),
            seed,
            claimed=sum(len(card.items) for card in evidence.cards),
            cards_claimed=len(evidence.cards),
        )
        if wrong := wrong_hashes(opened):
            found.add(
                "files",
                FAILS,
                f"changed after they were packed, so nothing else was checked: {', '.join(wrong)}",
            )
            return found
        found.add(
            "files",
            HOLDS,
            f"{len(evidence.manifest.members)} members are as they were packed; that "
            "does not say who packed them",
        )
        data = _check_data(evidence, given, found)
        _check_records(evidence, found)
        models = _Models(
            evidence, data, store or Store(), Store(Path(folder) / "store"), retrain, found, say
        )
        for number, card in enumerate(evidence.cards, 1):
            say(f"scorecard {number} of {len(evidence.cards)}")
            _check_card(card, models, data, sample, random.Random(f"{seed}/{number}"), found)
        models.check_the_others()
        for sentence in evidence.manifest.left_out:
            found.add("not in the pack", SKIPPED, sentence)
    return found


# --- without a model --------------------------------------------------------------------------


def _check_data(evidence: Evidence, given: dict[str, Pack], found: Verification) -> dict[str, Pack]:
    """The data packs that are here and the same."""
    same = {}
    for name, splits in evidence.data.items():
        pack = given.get(name) or (load_pack(name) if name in shipped_packs() else None)
        if pack is None:
            found.add(
                f"data {name}", SKIPPED, "does not come with labkit; give its folder with --pack"
            )
            continue
        other = [
            split
            for split, digest in splits.items()
            if not pack.has(split) or pack.fingerprint(split) != digest
        ]
        if other:
            found.add(f"data {name}", FAILS, f"the pack here has other {', '.join(other)}")
        else:
            found.add(f"data {name}", HOLDS, f"the same {len(splits)} splits are here")
            same[name] = pack
    return same


def _check_records(evidence: Evidence, found: Verification) -> None:
    """Every score that the records state against the outcomes of its items."""
    cards = {card.run: card.scorecard for card in evidence.cards}
    stated = [row for row in evidence.rows if row["kind"] == "scorecard"]
    scored = [one for row in stated if (one := scored_of(row)) and one.run in cards]
    wrong = list(
        dict.fromkeys(one.checkpoint for one in scored if not _agrees(one, cards[one.run]))
    )
    if wrong:
        found.add("scores in the records", FAILS, f"not what the items give: {', '.join(wrong)}")
    elif scored:
        found.add(
            "scores in the records",
            HOLDS,
            f"{len(scored)} of {len(stated)} records are what the outcomes of their items give",
        )
    if len(scored) < len(stated):
        found.add(
            "scores in the records",
            SKIPPED,
            f"{len(stated) - len(scored)} of {len(stated)} have no items in the pack",
        )
    others = sorted(
        {row["kind"][:30] for row in evidence.rows}
        - {"scorecard", "checkpoint", "merge", "session"}
    )
    if others:
        found.add("other records", SKIPPED, f"kept as the learner's own: {', '.join(others)}"[:400])


def _agrees(scored: Scored, card: Scorecard) -> bool:
    for axis, said in scored.axes.items():
        scores = card.scores(axis)
        if (
            len(scores) != said.n
            or abs(sum(score.score for score in scores) / len(scores) - said.mean) > 1e-9
        ):
            return False
    return True


# --- models -----------------------------------------------------------------------------------


class _Models:
    """A pack's models, found here or trained again; each is looked for once and told in a row."""

    def __init__(
        self,
        evidence: Evidence,
        data: dict[str, Pack],
        store: Store,
        own: Store,
        retrain: bool,
        found: Verification,
        say: Callable,
    ):
        self.evidence, self.data, self.found = evidence, data, found
        self.store, self.own, self.retrain, self.say = store, own, retrain, say
        self.kept: dict[str, Checkpoint | str] = {}
        self.shipped = shipped_by_weights()

    def load(self, weights: str) -> zoo.Loaded | str:
        """The model that is to have these weights, or why there is none.

        What it really has is in its fingerprint.
        """
        model = self.evidence.models.get(weights)
        if model is None:
            return "the pack does not say which model this is"
        needed = (
            [self.evidence.models[parent] for parent in model.parents if parent]
            if isinstance(model, Merged)
            else [model]
        )
        for part in needed:
            if isinstance(part, Trained) and isinstance(reason := self.checkpoint(part), str):
                return reason
            if isinstance(part, Shipped) and part.weights not in self.shipped:
                return f"no model with the weights of {part.name} comes with this labkit"
        # a shipped model by the name it has here, whatever the pack calls it
        here = {**self.evidence.models, **self.shipped}
        try:
            loaded = load_model(here[weights], here, self.checkpoint)
        except LabkitError as error:
            return f"cannot be loaded here: {error}"
        if (
            isinstance(model, Merged)
            and loaded.fingerprint != weights
            and all(map(self._exact, needed))
            and self._same_arithmetic()
        ):
            self.found.add(
                f"weights of {model.name}",
                FAILS,
                "its parents are here and their merge has other weights",
            )
        return loaded

    def _exact(self, model: Shipped | Trained | Merged) -> bool:
        made = self.checkpoint(model) if isinstance(model, Trained) else None
        return not isinstance(made, Checkpoint) or zoo.fingerprint_of(made.folder) == model.weights

    def _same_arithmetic(self) -> bool:
        return self.evidence.versions.get("arithmetic") == versions()["arithmetic"]

    def checkpoint(self, model: Trained) -> Checkpoint | str:
        if model.key not in self.kept:
            self.kept[model.key] = self._look_for(model)
        return self.kept[model.key]

    def check_the_others(self) -> None:
        """Checkpoints that no scorecard needed."""
        for model in self.evidence.models.values():
            if isinstance(model, Trained):
                self.checkpoint(model)

    def _look_for(self, model: Trained) -> Checkpoint | str:
        name, spec = f"weights of {model.name}", self.evidence.specs[model.key]
        began, made = time.perf_counter(), None if self.retrain else self.store.find(model.key)
        how = "as in this machine's store"
        if made and (
            "stage" not in made.lineage or determinants(spec_of(made.lineage)) != determinants(spec)
        ):
            self.found.add(
                name,
                FAILS,
                "the checkpoint of this key in this machine's store comes from another spec",
            )
            return "its spec is not what it was trained from"
        if made is None:
            reason = why_not_trained(spec, model, self.data, self.shipped, asked=self.retrain)
            if reason:
                self.found.add(name, SKIPPED, reason)
                return reason
            try:
                made = self._train(spec)
            except LabkitError as error:
                self.found.add(name, FAILS, f"its spec does not train: {error}")
                return "its spec does not train"
            how = f"trained again from its spec in {time.perf_counter() - began:.0f} s"
        self._tell(name, model, made, how)
        return made

    def _train(self, spec: PipelineSpec) -> Checkpoint:
        def progress(at) -> None:
            self.say(
                f"training again: {at.stage}, step {at.step} of {at.steps}, "
                f"{at.seconds_left:.0f} s left"
            )

        return run_spec(
            # the spec is somebody else's: what it names gets nothing from this machine
            spec.model_copy(update={"pack": str(self.data[spec.pack].folder), "report_to": None}),
            store=self.own,
            progress=progress,
        )[-1]

    def _tell(self, name: str, model: Trained, made: Checkpoint, how: str) -> None:
        if zoo.fingerprint_of(made.folder) == model.weights:
            changed = [
                file
                for file, digest in model.files.items()
                if not (made.folder / Path(file).name).is_file()
                or file_hash(made.folder / Path(file).name) != digest
            ]
            told = (
                f"; of its other files these differ: {', '.join(changed)}"
                if changed
                else ", and every file"
            )
            self.found.add(name, HOLDS, f"{how}: the same weights{told}")
            return
        mine, theirs = versions(), self.evidence.versions
        differ = ", ".join(
            f"{key} {theirs[key]} there, {mine[key]} here"
            for key in mine
            if key in theirs and theirs[key] != mine[key]
        )
        self.found.add(
            name,
            UNSURE,
            f"{how}: other weights, so scores are compared with the noise between runs "
            f"({differ or 'the same versions; another processor rounds differently'})",
        )


def determinants(spec: PipelineSpec) -> str:
    """Equal for specs that train the same from the same data."""
    steps = [
        step.model_copy(update={"steps": steps_run(step, spec.profile)}).model_dump(
            mode="json", exclude=SHARING
        )
        if isinstance(step, Stage)
        else step.model_dump(mode="json")
        for step in spec.steps
    ]
    return key_of(model=spec.model, steps=steps, seed=spec.seed)


def why_not_trained(
    spec: PipelineSpec, model: Trained, data: dict[str, Pack], shipped: dict, *, asked: bool
) -> str | None:
    """Why a spec of somebody else's is not trained here; None when it is."""
    if spec.pack not in data:
        return f"its data {spec.pack} is not here, or not the same"
    named = [spec.model, *((spec.merge.general, spec.merge.ancestor) if spec.merge else ())]
    known = zoo.known_names() if asked else zoo.shipped_models()
    for name in (name for name in named if name and name not in known):
        return (
            f"not in this store, and it starts from {name}, which is no model that comes "
            "with labkit"
        )
    if not spec.stages:
        return "it has no stage that could be trained"
    if data[spec.pack].fingerprint(*stage_splits(spec.stages[-1])) != model.data:
        return "it was trained on other data than the pack here has"
    tokens = sum(
        steps_run(stage, spec.profile) * stage.batch_size * stage.max_length
        for stage in spec.stages
    )
    if tokens > MOST_TOKENS or any(
        stage.batch_size > MOST_ROWS or stage.max_length > MOST_LENGTH for stage in spec.stages
    ):
        return (
            f"its spec trains up to {tokens:,} tokens, more than this command does; if you "
            "want to, run it with labkit run"
        )
    if not asked and tokens > SMALL_TOKENS:
        return f"not in this store, and its spec trains up to {tokens:,} tokens; --retrain does it"
    return None


# --- scorecards -------------------------------------------------------------------------------


def _check_card(
    card: Card,
    models: _Models,
    data: dict[str, Pack],
    sample: int | None,
    draw: random.Random,
    found: Verification,
) -> None:
    """Score some items of a card again and compare them."""
    what = f"{card.name} on {card.pack} ({card.split}, {card.profile})"
    pack = data.get(card.pack)
    if pack is None:
        found.add(what, SKIPPED, f"the data {card.pack} is not here, or not the same")
        return
    if problem := _wrong_items(card, pack):
        found.add(what, FAILS, problem)
        return
    loaded = models.load(card.weights)
    if isinstance(loaded, str):
        found.add(what, SKIPPED, loaded)
        return
    if problem := _wrong_items(card, pack, (is_tiny(loaded.tokenizer),)):
        found.add(what, FAILS, problem)
        return
    exact, proposals = loaded.fingerprint == card.weights, _proposals(card, pack)
    # other weights: all items, a sample tells too little then
    again = score_again(card, loaded, pack, sample if exact else None, draw)
    found.items, found.cards = found.items + len(again), found.cards + 1
    claimed = {item.id: item for item in card.scorecard.items}
    pairs = [(claimed[item.id], item) for item in again]
    fixed = [pair for pair in pairs if pair[0].id not in proposals]
    if all(map(_same, pairs)):
        found.add(
            what,
            HOLDS,
            f"scored again {len(pairs)} of {len(card.items)} items, on "
            f"{len({item.axis for item in again})} axes: all agree",
        )
        return
    for axis in dict.fromkeys(item.axis for item in again):
        mine = [pair for pair in pairs if pair[0].axis == axis]
        strict = fixed if exact and not any(pair[0].id in proposals for pair in mine) else None
        found.add(
            f"{what}: {axis}", *compare_pairs(axis, mine, len(card.scorecard.scores(axis)), strict)
        )


def _wrong_items(card: Card, pack: Pack, tiny: tuple[bool, ...] = (True, False)) -> str | None:
    """Whether a card has other items than its profile takes of the pack: leaving out what went
    wrong makes a good score.

    tiny: whether the model is one of labkit's tiny families, which are asked other items than real
    ones; as long as it is not loaded it may be either.
    """
    rows = [
        row
        for row in limited(pack.rows(card.split), profile(card.profile).eval_limit)
        if row["axis"] in card.axes
    ]
    stated = {item.id: (item.axis, item.kind, item.entity) for item in card.items}
    expected = [
        {
            row["id"]: (row["axis"], row.get("kind", row["axis"]), row["entity"])
            for row in rows
            if is_for(row, tiny=one)
        }
        for one in tiny
    ]
    if len(stated) == len(card.items) and stated in expected:
        return None
    return (
        f"its {len(card.items)} items are not the {len(expected[0])} that {card.profile} "
        f"takes of the pack's {card.split} split"
    )


def _proposals(card: Card, pack: Pack) -> set[str]:
    """Items that are answered by several drawn samples: which ones depends on all that are drawn
    together.
    """
    mine = {item.id for item in card.items}
    return {row["id"] for row in pack.rows(card.split) if "pattern" in row and row["id"] in mine}


def score_again(
    card: Card, loaded: zoo.Loaded, pack: Pack, sample: int | None, draw: random.Random
) -> list[ItemResult]:
    """New outcomes of a sample of a card's items and of all its proposals, in the card's order."""
    proposals = _proposals(card, pack)
    others = [item.id for item in card.items if item.id not in proposals]
    drawn = (
        set(others if sample is None else draw.sample(others, min(sample, len(others)))) | proposals
    )
    rows = {row["id"]: row for row in pack.rows(card.split)}
    wanted = [rows[item.id] for item in card.items if item.id in drawn]
    return score_items(
        loaded.model,
        loaded.tokenizer,
        wanted,
        training_text=pack.training_text,
        samples=profile(card.profile).samples,
    )


def compare_pairs(
    axis: str,
    pairs: list[tuple[ItemResult, ItemResult]],
    of: int,
    strict: list[tuple[ItemResult, ItemResult]] | None,
) -> tuple[str, str]:
    """Verdict and words on one axis. pairs: (claimed, again). of: items that are claimed.

    strict: all pairs of the card, where the weights are the same and nothing is drawn: then items
    must agree, up to rounding. Otherwise the difference has to be told from zero, with the noise
    between runs of one recipe, before it counts.
    """
    agree = sum(map(_same, pairs))
    told = (
        f"scored again {len(pairs)} of {of}: {agree} agree, mean {_mean(pairs, 0):.2f} "
        f"claimed, {_mean(pairs, 1):.2f} again"
    )
    if agree == len(pairs):
        return HOLDS, told
    if strict is not None:
        differ = len(strict) - sum(map(_same, strict))
        small = differ <= ROUNDING * len(strict)
        return (
            (HOLDS if small else FAILS),
            f"{told}; {differ} of all {len(strict)} differ, "
            f"{'as rounding may' if small else 'more than rounding explains'}",
        )
    before, after = (
        Scorecard("", "", "", "", [pair[side] for pair in pairs]).scores(axis) for side in (0, 1)
    )
    difference = with_run_noise(paired_difference(before, after), run_noise_of(axis))
    return (
        UNSURE if difference.holds(0) else FAILS
    ), f"{told}; difference {difference} with the noise between runs"


def _same(pair: tuple[ItemResult, ItemResult]) -> bool:
    return abs(pair[0].score - pair[1].score) < 1e-9


def _mean(pairs: list[tuple[ItemResult, ItemResult]], side: int) -> float:
    return sum(pair[side].score for pair in pairs) / len(pairs)
