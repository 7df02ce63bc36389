"""What notebook 02 shows of the quality of documents: a dashboard, thresholds, planted defects.

`QualitySession` computes, draws and writes. The panel at the end only wires: a slider per
threshold, what is kept at once, and a button that writes it as a pack.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import ipywidgets as widgets
import numpy as np

from labkit.base.errors import InputError
from labkit.base.pages import plain_table
from labkit.base.stats import Interval, ItemScore, cluster_mean, wilson
from labkit.base.store import Checkpoint, key_of
from labkit.course.figures import png
from labkit.course.labs import views
from labkit.course.lesson import Lab, headless, say, show_html
from labkit.course.panels import guarded_into
from labkit.data import world
from labkit.data.packs import Pack, load_pack, variants_folder
from labkit.data.world import TextKnobs
from labkit.evaluate.quality import (
    MEASURES,
    SAMPLE,
    DocumentQuality,
    Kept,
    Thresholds,
    domain_of,
    filter_pack,
    keep,
    measure_documents,
    with_raw,
)
from labkit.train.pipeline import load_checkpoint

# --- one corpus -------------------------------------------------------------------------------

SHOWN_CHARACTERS, WORST, BEST = 140, 2, 1
USUAL = Thresholds()


@dataclass
class QualitySession:
    """The documents of a pack with their measures: what the panel leads to.

    folder: where filtered packs are written. kept: what the thresholds looked at last keep.
    """

    pack: Pack
    texts: Sequence[str]
    measures: Sequence[DocumentQuality]
    model: str
    folder: Path
    kept: Kept = field(init=False)

    def look(self, thresholds: Thresholds) -> Kept:
        self.kept = keep(self.measures, thresholds)
        return self.kept

    def picture(self, kept: Kept) -> bytes:
        """The dashboard as PNG."""
        return png(views.dashboard(self.measures, kept), dpi=80)

    def tell(self, kept: Kept) -> str:
        """What is kept and dropped, and what was not measured, in sentences."""
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in kept.counts.items() if count)
        words = (
            f"{len(kept.indices):,} of {len(self.texts):,} documents kept "
            f"({kept.share:.1%}), with {kept.share_of_words:.1%} of the words"
        )
        return (
            ". ".join(
                [f"{words}; {f'dropped: {dropped}' if dropped else 'none dropped'}", *self.gaps()]
            )
            + "."
        )

    def gaps(self) -> list[str]:
        """What is not measured of this corpus."""
        told = []
        if self.read < len(self.texts):
            told.append(f"Surprise: measured on {self.read:,} documents drawn at random")
        if not self.knows_truth:
            told.append(
                "Contradictions: not measured, for no truth is known to compare this pack with"
            )
        return told

    @cached_property
    def read(self) -> int:
        """Documents that the model read."""
        return sum(found.bits_per_byte is not None for found in self.measures)

    @property
    def knows_truth(self) -> bool:
        return any(found.contradictions is not None for found in self.measures)

    def highest(self) -> tuple[int, float]:
        """The most words and the most bits per byte of any document: how far sliders go."""
        return max(found.words for found in self.measures), max(
            found.bits_per_byte or 0.0 for found in self.measures
        )

    @cached_property
    def _extremes(self) -> list[tuple[str, int]]:
        """(measure and end, document): the worst documents by each measure, then the best.

        No length is bad but the odd one.
        """
        middle = math.log(1 + median(found.words for found in self.measures))
        badness = MEASURES | {"length": lambda found: abs(math.log(1 + found.words) - middle)}
        rows = []
        for name, how_bad in badness.items():
            known = {
                i: value
                for i, found in enumerate(self.measures)
                if (value := how_bad(found)) is not None
            }
            order = sorted(known, key=known.__getitem__)
            rows += [(f"{name}: worst", i) for i in order[: -WORST - 1 : -1] if known[i] > 0] + [
                (f"{name}: best", i) for i in order[:BEST]
            ]
        return rows

    def examples(self, kept: Kept) -> str:
        """The worst and best documents by each measure, each once, behind a fold: an escaped HTML
        table that says whether they are kept.
        """
        ends: dict[int, list[str]] = {}
        for end, i in self._extremes:
            ends.setdefault(i, []).append(end)
        rows = [
            (
                "; ".join(f"{end}, {_in_words(end.split(':')[0], self.measures[i])}" for end in of),
                ", ".join(kept.reasons[i]) or "kept",
                i,
                self._shown(i, "duplicates: worst" in of),
            )
            for i, of in ends.items()
        ]
        table = plain_table(
            (
                "measure",
                "kept or dropped for",
                "document",
                f"its first {SHOWN_CHARACTERS} characters",
            ),
            rows,
        )
        summary = f"The worst and the best documents by each measure ({len(rows)})"
        return f"<details><summary>{summary}</summary>{table}</details>"

    def _shown(self, i: int, beside_first: bool) -> str:
        """A document's beginning, with that of the one it nearly equals."""
        first = self.measures[i].duplicate_of
        shown = _beginning(self.texts[i])
        if not beside_first or first is None:
            return shown
        return f"{shown} | as document {first}: {_beginning(self.texts[first])}"

    def write(self, kept: Kept, name: str) -> Pack:
        """The kept documents as a pack in `folder/NAME`; the same choice under the same name is
        written once.

        Raises InputError for a name that is no folder's, or one that another choice has already.
        """
        if not name or not all(character.isalnum() or character in "-_" for character in name):
            raise InputError(
                f"the name of the pack is {name[:60]!r}; use letters, digits, dashes "
                "and underscores"
            )
        folder = self.folder / name
        if (folder / "pack.yaml").is_file() and [
            row["text"] for row in load_pack(folder).rows("raw")
        ] == [self.texts[i] for i in kept.indices]:
            return load_pack(folder)
        return filter_pack(self.pack, kept, folder)


def _in_words(measure: str, found: DocumentQuality) -> str:
    """What a document measures."""
    wrong = "; ".join(
        f"{c.entity}, {c.attribute}: said {c.said}, true {c.true}"
        for c in found.contradictions or ()
    )
    return {
        "length": f"{found.words} words",
        "repetition": f"{found.repetition:.1%} said before",
        "symbols": f"{found.symbols:.1%} symbols",
        "surprise": f"{found.bits_per_byte or 0:.2f} bits per byte",
        "duplicates": "no duplicate"
        if found.duplicate_of is None
        else f"as document {found.duplicate_of}",
        "contradictions": wrong or "none known",
    }[measure]


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def show_quality(
    lab: Lab,
    pack: Pack | None = None,
    thresholds: Thresholds = USUAL,
    *,
    model: str | Checkpoint | None = None,
    sample: int | None = SAMPLE,
    name: str = "quality",
) -> QualitySession:
    """Measure the raw documents of a pack (by default the lab's) and show what thresholds keep; in
    a notebook, with sliders.

    model: whose surprise is measured, on at most `sample` documents (None: all). name: of the
    figure and the record.
    """
    pack, loaded = pack or lab.pack, load_checkpoint(model or lab.model)
    texts = [row["text"] for row in pack.rows("raw")]
    measures = measure_documents(
        texts, domain=domain_of(pack), model=loaded, sample=sample, seed=lab.seed, told=say
    )
    session = QualitySession(pack, texts, measures, loaded.name, lab.out_dir / "packs")
    kept = session.look(thresholds)
    lab.record(
        "quality",
        name=name,
        title=pack.title,
        model=session.model,
        documents=len(texts),
        kept=len(kept.indices),
        share_of_words=kept.share_of_words,
        dropped=kept.counts,
        thresholds=asdict(thresholds),
        read=session.read,
    )
    if headless():
        say(session.tell(kept))
        alt = (
            "Histograms of length, repetition, symbols and surprise with their thresholds, "
            f"and what is dropped for what. {session.tell(kept)}"
        )
        lab.show(views.dashboard(measures, kept), name, alt)
        show_html(session.examples(kept))
        return session
    from IPython.display import display

    display(quality_panel(session))
    return session


# --- defects that are known -------------------------------------------------------------------

TAKEN, PLANTED = 560, 40  # documents taken from the pack; documents with each defect
SYMBOLS = "#@%&*~^|<>=+$§¤¬\ufffd"


def _soup(text: str, rng: random.Random) -> str:
    """Four words in ten lost to a broken font."""
    return " ".join(
        "".join(rng.choice(SYMBOLS) for _ in word) if rng.random() < 0.4 else word
        for word in text.split()
    )


def _repeated(text: str, rng: random.Random) -> str:
    """The beginning printed several times more, as a page header is."""
    return "\n".join([" ".join(text.split()[:8])] * rng.randint(3, 8) + [text])


def _cut(text: str, rng: random.Random) -> str:
    words = text.split()
    return " ".join(words[: max(1, round(len(words) * rng.uniform(0.1, 0.5)))])


SPOILED: dict[str, Callable[[str, random.Random], str]] = {
    "symbol soup": _soup,
    "repeated lines": _repeated,
    "cut short": _cut,
}
JUNK = "junk about strangers"
INVENTED = {JUNK: TextKnobs(junk_ratio=1.0), "wrong facts": TextKnobs(wrong_facts=0.5)}


@dataclass(frozen=True)
class Planted:
    """A pack with known defects. labels: per raw document the defect planted in it, empty for the
    pack's own.
    """

    pack: Pack
    labels: tuple[str, ...]

    @property
    def subtle(self) -> str:
        """The defect that reads best: good English about strangers, or, in a pack of one's own, a
        text that just ends.
        """
        return JUNK if JUNK in self.labels else "cut short"


def plant_defects(pack: Pack, *, seed: int = 0) -> Planted:
    """A pack in the cache made of raw documents of `pack` (at most 560) with 40 of each defect
    among them. Written once.

    Spoiled documents take the place of the whole ones; near copies, junk and wrong facts come on
    top. The last two are told by the world, so a pack of one's own goes without them; a pack of few
    documents gets a tenth of them per defect. Raises InputError for a pack with fewer than ten raw
    documents.
    """
    rng, texts = random.Random(f"planted {seed}"), [row["text"] for row in pack.rows("raw")][:TAKEN]
    each = min(PLANTED, len(texts) // 10)
    if not each:
        raise InputError(
            f"{pack.path('raw')} has {len(texts)} documents; planting defects needs at least 10"
        )
    rng.shuffle(texts)
    documents = []
    for defect, spoil in SPOILED.items():
        documents += [(defect, spoil(texts.pop(), rng)) for _ in range(each)]
    documents += [("", text) for text in texts] + [
        ("near copy", f"{text} Page {rng.randint(1, 99)}.") for text in texts[:each]
    ]
    if domain := domain_of(pack):
        lang, entities = world.language(domain), world.private_entities(domain)
        for defect, knobs in INVENTED.items():
            documents += [
                (defect, world.with_filler(lang, text, rng))
                for text in world.corpus(lang, entities, each, rng, knobs)
            ]
    labels, written = zip(*documents, strict=True)
    lines = [json.dumps({"text": text, "source": "paper"}, ensure_ascii=False) for text in written]
    folder = variants_folder() / f"planted-{key_of(pack=pack.fingerprint(), lines=lines)}"
    made = (
        load_pack(folder)
        if folder.is_dir()
        else with_raw(pack, lines, folder, title=f"{pack.title}, defects planted")
    )
    return Planted(made, labels)


def separation(
    measures: Sequence[DocumentQuality], labels: Sequence[str]
) -> dict[tuple[str, str], Interval]:
    """(defect, measure) -> share of pairs of a defective and a clean document in which the
    defective one has the higher value.

    Ties count half: the area under the ROC curve (Hanley & McNeil 1982, doi
    10.1148/radiology.143.1.7063747). The 95% interval is over defective documents; the clean ones
    are taken as given. Pairs not measured on every document are left out.
    """
    found = {}
    for name, value in MEASURES.items():
        numbers = [value(one) for one in measures]
        if None in numbers:
            continue
        clean = np.sort(
            [number for number, label in zip(numbers, labels, strict=True) if not label]
        )
        for defect in dict.fromkeys(filter(None, labels)):
            own = np.array(
                [number for number, label in zip(numbers, labels, strict=True) if label == defect]
            )
            below = (
                (np.searchsorted(clean, own, "left") + np.searchsorted(clean, own, "right"))
                / 2
                / len(clean)
            )
            found[defect, name] = cluster_mean(
                [ItemScore(str(i), str(i), float(share)) for i, share in enumerate(below)]
            )
    return dict(sorted(found.items(), key=lambda item: labels.index(item[0][0])))


def show_separation(
    lab: Lab, session: QualitySession, planted: Planted
) -> dict[tuple[str, str], Interval]:
    """What each measure sees of each planted defect, and what the session's thresholds drop of it;
    recorded, returned.
    """
    found = separation(session.measures, planted.labels)
    told = "; ".join(
        f"{defect} by {measure}: {value}" for (defect, measure), value in found.items()
    )
    lab.show(
        views.separation_grid(found),
        "separation",
        f"How well each measure tells each defect from clean documents. {told}.",
    )
    for (defect, measure), value in found.items():
        lab.record("separation", defect=defect, measure=measure, auc=value.as_dict())
    show_html(caught(session.kept, planted.labels))
    return found


def caught(kept: Kept, labels: Sequence[str]) -> str:
    """How many documents of each defect, and of the clean ones, thresholds drop: an HTML table."""
    rows = []
    for defect in dict.fromkeys(labels):
        reasons = [
            reasons for reasons, label in zip(kept.reasons, labels, strict=True) if label == defect
        ]
        dropped = sum(map(bool, reasons))
        low, high = wilson(dropped, len(reasons))
        mostly = ", ".join(sorted({reason for found in reasons for reason in found}))
        rows.append(
            (
                defect or "none: the pack's own",
                f"{dropped} of {len(reasons)}",
                f"{dropped / len(reasons):.2f} [{low:.2f}, {high:.2f}]",
                mostly,
            )
        )
    return plain_table(("planted defect", "dropped", "share (95% interval)", "for"), rows)


# --- the panel -------------------------------------------------------------------------------

SIZE = {"layout": {"width": "480px"}, "style": {"description_width": "170px"}}
SLIDER = {**SIZE, "continuous_update": False}


def quality_panel(session: QualitySession) -> widgets.Widget:
    """Sliders for the thresholds of a session, its figure, its examples, and a pack to write."""
    return QualityPanel(session).whole


class QualityPanel:
    """Every move of a slider is followed at once; nothing is written until the button says so."""

    def __init__(self, session: QualitySession):
        self.session = session
        self.kept: Any = None  # a Kept; while there is none, the button cannot be pressed
        self.controls = _controls(session)
        self.told, self.examples = widgets.HTML(), widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.name = widgets.Text(
            "filtered",
            description="name of the pack",
            tooltip="letters, digits, dashes and underscores",
            **SIZE,
        )
        self.button = widgets.Button(
            description="write the kept documents as a pack",
            tooltip="a new folder; every other split is copied",
            layout=widgets.Layout(width="auto"),
        )
        self.result = widgets.HTML()
        sliders, choices = list(self.controls.values())[:4], list(self.controls.values())[4:]
        self.whole = widgets.VBox(
            [
                widgets.HBox([widgets.VBox(sliders), widgets.VBox(choices)]),
                self.told,
                self.picture,
                widgets.HBox([self.name, self.button]),
                self.result,
                self.examples,
            ]
        )
        for control in self.controls.values():
            control.observe(guarded_into(self.told, self._follow), "value")
        self.button.on_click(guarded_into(self.result, self._write))
        guarded_into(self.told, self._follow)()

    def thresholds(self) -> Thresholds:
        """What the controls say; the right end of the slider for bits per byte is no bound."""
        found = {name: control.value for name, control in self.controls.items()}
        low, high = found.pop("words")
        bits = self.controls["max_bits_per_byte"]
        return Thresholds(
            min_words=low,
            max_words=high,
            **found | {"max_bits_per_byte": None if bits.value >= bits.max else bits.value},
        )

    def _follow(self) -> None:
        """Compute, draw, tell. Until that succeeds nothing is shown and nothing can be written."""
        self.kept, self.button.disabled = None, True
        self.told.value = self.result.value = self.examples.value = ""
        self.picture.value = b""
        kept = self.session.look(self.thresholds())
        self.picture.value = self.session.picture(kept)
        self.examples.value = self.session.examples(kept)
        self.told.value = f"<p>{escape(self.session.tell(kept))}</p>"
        self.kept, self.button.disabled = kept, False

    def _write(self) -> None:
        self.result.value = ""
        made = self.session.write(self.kept, self.name.value)
        self.result.value = (
            f"<p>written: {escape(str(made.folder))}, {len(self.kept.indices):,} documents</p>"
        )


def _controls(session: QualitySession) -> dict[str, widgets.Widget]:
    """A widget per threshold, at what the session last looked at: four sliders, two choices."""
    now, (longest, bits) = session.kept.thresholds, session.highest()
    words = max(longest, now.min_words, 1)
    end = math.ceil(10 * max(bits, now.max_bits_per_byte or 0) + 1) / 10
    known = "" if session.knows_truth else " (not measured)"
    share = {"min": 0, "max": 1, "step": 0.01, **SLIDER}
    return {
        "words": widgets.IntRangeSlider(
            value=(now.min_words, min(words, now.max_words)),
            min=0,
            max=words,
            description="words, from and to",
            tooltip="how long a document may be",
            **SLIDER,
        ),
        "max_repetition": widgets.FloatSlider(
            value=now.max_repetition,
            description="repetition, at most",
            tooltip="share of words that the document said before",
            **share,
        ),
        "max_symbols": widgets.FloatSlider(
            value=now.max_symbols,
            description="symbols, at most",
            tooltip="share of characters that are no letters, digits or punctuation",
            **share,
        ),
        "max_bits_per_byte": widgets.FloatSlider(
            value=end if now.max_bits_per_byte is None else now.max_bits_per_byte,
            min=0,
            max=end,
            step=0.05,
            description="bits per byte, at most",
            tooltip=f"surprise under {session.model}; the right end is no bound",
            **SLIDER,
        ),
        "drop_duplicates": widgets.Checkbox(
            value=now.drop_duplicates,
            description="drop near duplicates",
            indent=False,
            tooltip="the first of those alike is kept",
        ),
        "drop_contradictions": widgets.Checkbox(
            value=now.drop_contradictions,
            description=f"drop contradictions{known}",
            disabled=not session.knows_truth,
            indent=False,
            tooltip="documents that say something else than the world's truth",
        ),
    }
