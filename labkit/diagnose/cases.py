"""A checkpoint laid out for diagnosis: what it came from, how it was made, and its scores, each
computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from labkit.base.store import Checkpoint, Store
from labkit.data.packs import Pack, load_pack, shipped_packs
from labkit.evaluate.scenarios import ScenarioResult, pack_scenarios, run_scenarios
from labkit.evaluate.scorecards import Scorecard
from labkit.evaluate.scoring import score_checkpoint, tokenizer_fingerprint
from labkit.models import zoo
from labkit.train.pipeline import load_checkpoint


@dataclass
class Merge:
    """A merge and its parents: t is what was asked for, 0 being `general`."""

    general: zoo.Loaded
    domain: zoo.Loaded
    t: float


@dataclass
class Case:
    """A checkpoint, what it came from, and whatever is known of how it was made.

    stages: lineages of its training stages, first to last. trained_on: the pack those read.
    before_preferences: the checkpoint that a DPO or ORPO stage started from. Fields that are None
    leave the diagnoses that need them unmeasured.
    """

    model: zoo.Loaded
    baseline: zoo.Loaded
    pack: Pack
    split: str = "test"
    profile: str = "lab"
    stages: Sequence[dict] = ()
    trained_on: Pack | None = None
    before_preferences: zoo.Loaded | None = None
    merge: Merge | None = None
    _cards: dict[tuple[str, str], Scorecard] = field(default_factory=dict)

    def score(self, loaded: zoo.Loaded) -> Scorecard:
        # as scorecards are kept on disk
        key = loaded.fingerprint, tokenizer_fingerprint(loaded.tokenizer)
        if key not in self._cards:
            self._cards[key] = score_checkpoint(
                loaded, self.pack, split=self.split, profile_name=self.profile
            )
        return self._cards[key]

    @property
    def card(self) -> Scorecard:
        return self.score(self.model)

    @property
    def base_card(self) -> Scorecard:
        return self.score(self.baseline)

    @cached_property
    def scenarios(self) -> list[tuple[ScenarioResult, ScenarioResult]]:
        """Each scenario of the pack on the baseline and on the model."""
        wanted = pack_scenarios(self.pack)
        return list(
            zip(
                run_scenarios(self.baseline, wanted), run_scenarios(self.model, wanted), strict=True
            )
        )


def open_case(
    checkpoint: Checkpoint,
    baseline: str,
    pack: Pack,
    *,
    split: str = "test",
    profile: str = "lab",
    store: Store | None = None,
) -> Case:
    """A case from a checkpoint of the store: its stages, the pack they read, and what preference
    training started from.
    """
    history = (store or Store()).chain(checkpoint)
    kinds = [stage.lineage["stage"]["kind"] for stage in history]
    first = next((i for i, kind in enumerate(kinds) if kind in ("dpo", "orpo")), None)
    # none of its stages is missing from the store
    whole = len(history) == len(checkpoint.name.rsplit("/", 1)[-1].split("-"))
    before = None
    if first is not None and (first or whole):
        before = load_checkpoint(
            history[first - 1] if first else checkpoint.lineage["spec"]["model"]
        )
    source = checkpoint.lineage["spec"]["pack"]
    return Case(
        load_checkpoint(checkpoint),
        load_checkpoint(baseline),
        pack,
        split,
        profile,
        [stage.lineage for stage in history],
        load_pack(source) if source in shipped_packs() or Path(source).is_dir() else None,
        before,
    )
