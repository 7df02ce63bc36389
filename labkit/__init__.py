"""labkit: a lab kit for domain adaptation of language models.

The names below are the front door: they are all that most programs and every notebook need. Each is
imported when it is first asked for, so that `import labkit` takes no time. docs/api.md describes
them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.base.stats import Interval
    from labkit.course.lesson import Lab, reported, start
    from labkit.data.packs import Pack, load_pack
    from labkit.evaluate.scorecards import Differences, Scorecard, compare
    from labkit.evaluate.scoring import score_checkpoint as score
    from labkit.merge.methods import merge_at
    from labkit.merge.recipes import Merge
    from labkit.models.zoo import Loaded
    from labkit.train.pipeline import load_checkpoint as load
    from labkit.train.pipeline import run_spec
    from labkit.train.specs import (
        DPO,
        GENTLE,
        ORPO,
        OVERCOOKED,
        PipelineSpec,
        Stage,
        load_spec,
        save_spec,
    )

__version__ = "0.1.0"

# Name at the door -> module, and its name there where that is another.
PLACES = {
    "load": ("labkit.train.pipeline", "load_checkpoint"),
    "load_pack": ("labkit.data.packs",),
    "load_spec": ("labkit.train.specs",),
    "save_spec": ("labkit.train.specs",),
    "run_spec": ("labkit.train.pipeline",),
    "merge_at": ("labkit.merge.methods",),
    "score": ("labkit.evaluate.scoring", "score_checkpoint"),
    "compare": ("labkit.evaluate.scorecards",),
    "start": ("labkit.course.lesson",),
    "reported": ("labkit.course.lesson",),
    "GENTLE": ("labkit.train.specs",),
    "OVERCOOKED": ("labkit.train.specs",),
    "DPO": ("labkit.train.specs",),
    "ORPO": ("labkit.train.specs",),
    "PipelineSpec": ("labkit.train.specs",),
    "Stage": ("labkit.train.specs",),
    "Merge": ("labkit.merge.recipes",),
    "Loaded": ("labkit.models.zoo",),
    "Pack": ("labkit.data.packs",),
    "Scorecard": ("labkit.evaluate.scorecards",),
    "Differences": ("labkit.evaluate.scorecards",),
    "Interval": ("labkit.base.stats",),
    "Lab": ("labkit.course.lesson",),
}

__all__ = [
    "DPO",
    "GENTLE",
    "ORPO",
    "OVERCOOKED",
    "Differences",
    "Interval",
    "Lab",
    "Loaded",
    "Merge",
    "Pack",
    "PipelineSpec",
    "Scorecard",
    "Stage",
    "compare",
    "load",
    "load_pack",
    "load_spec",
    "merge_at",
    "reported",
    "run_spec",
    "save_spec",
    "score",
    "start",
]


def __getattr__(name: str) -> object:
    if name not in PLACES:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    module, *known_as = PLACES[name]
    return getattr(import_module(module), known_as[0] if known_as else name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PLACES])
