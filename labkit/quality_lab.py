"""What notebook 02 computes and shows about the quality of documents: a dashboard, thresholds, planted defects."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np

from labkit import quality_view, world
from labkit.errors import InputError
from labkit.figures import png
from labkit.lesson import Lab, headless, show_html
from labkit.packs import Pack, load_pack
from labkit.pipeline import load_checkpoint
from labkit.quality import MEASURES, SAMPLE, DocumentQuality, Kept, Thresholds, domain_of, filter_pack, keep, measure_documents, with_raw
from labkit.stats import Interval, ItemScore, cluster_mean, wilson
from labkit.store import key_of
from labkit.tables import plain_table
from labkit.variants import variants_folder
from labkit.world import TextKnobs

SHOWN_CHARACTERS, WORST, BEST = 200, 3, 1


# --- one corpus -------------------------------------------------------------------------------


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
        return png(quality_view.dashboard(self.measures, kept), dpi=80)

    def tell(self, kept: Kept) -> str:
        """What is kept and dropped, and what was not measured, in sentences."""
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in kept.counts.items() if count)
        words = f"{len(kept.indices):,} of {len(self.texts):,} documents kept ({kept.share:.1%}), with {kept.share_of_words:.1%} of the words"
        return ". ".join([f"{words}; {f'dropped: {dropped}' if dropped else 'none dropped'}", *self.gaps()]) + "."

    def gaps(self) -> list[str]:
        """What is not measured of this corpus."""
        told = []
        if self.read < len(self.texts):
            told.append(f"Surprise: measured on {self.read:,} documents drawn at random")
        if not self.knows_truth:
            told.append("Contradictions: not measured, nothing is known to be true about a pack of your own")
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
        return max(found.words for found in self.measures), max(found.bits_per_byte or 0.0 for found in self.measures)

    @cached_property
    def _extremes(self) -> list[tuple[str, int]]:
        """(measure and end, document): the worst documents by each measure, then the best. No length is bad but the odd one."""
        middle = math.log(1 + median(found.words for found in self.measures))
        badness = MEASURES | {"length": lambda found: abs(math.log(1 + found.words) - middle)}
        rows = []
        for name, how_bad in badness.items():
            known = {i: value for i, found in enumerate(self.measures) if (value := how_bad(found)) is not None}
            order = sorted(known, key=known.__getitem__)
            rows += [(f"{name}: worst", i) for i in order[: -WORST - 1 : -1] if known[i] > 0] + [(f"{name}: best", i) for i in order[:BEST]]
        return rows

    def examples(self, kept: Kept) -> str:
        """The worst and best documents by each measure as an escaped HTML table, and whether they are kept."""
        rows = [
            (f"{end}, {_in_words(end.split(':')[0], self.measures[i])}", ", ".join(kept.reasons[i]) or "kept", i, _beginning(self.texts[i]))
            for end, i in self._extremes
        ]
        return plain_table(("measure", "kept or dropped for", "document", f"its first {SHOWN_CHARACTERS} characters"), rows)

    def write(self, kept: Kept, name: str) -> Pack:
        """The kept documents as a pack in `folder/NAME`; the same choice under the same name is written once.

        Raises InputError for a name that is no folder's, or one that another choice has already.
        """
        if not name or not all(character.isalnum() or character in "-_" for character in name):
            raise InputError(f"the name of the pack is {name[:60]!r}; use letters, digits, dashes and underscores")
        folder = self.folder / name
        if (folder / "pack.yaml").is_file() and [row["text"] for row in load_pack(folder).rows("raw")] == [self.texts[i] for i in kept.indices]:
            return load_pack(folder)
        return filter_pack(self.pack, kept, folder)


def _in_words(measure: str, found: DocumentQuality) -> str:
    """What a document measures."""
    wrong = "; ".join(f"{c.entity}, {c.attribute}: said {c.said}, true {c.true}" for c in found.contradictions or ())
    return {
        "length": f"{found.words} words",
        "repetition": f"{found.repetition:.1%} said before",
        "symbols": f"{found.symbols:.1%} symbols",
        "surprise": f"{found.bits_per_byte or 0:.2f} bits per byte",
        "duplicates": "no duplicate" if found.duplicate_of is None else f"as document {found.duplicate_of}",
        "contradictions": wrong or "none known",
    }[measure]


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def show_quality(
    lab: Lab, pack: Pack | None = None, thresholds: Thresholds = Thresholds(), *, model: object = None, sample: int | None = SAMPLE, name: str = "quality",
) -> QualitySession:
    """Measure the raw documents of a pack (by default the lab's) and show what thresholds keep; in a notebook, with sliders.

    model: whose surprise is measured, on at most `sample` documents (None: all). name: of the figure and the record.
    """
    pack, loaded = pack or lab.pack, load_checkpoint(model or lab.model)
    texts = [row["text"] for row in pack.rows("raw")]
    measures = measure_documents(texts, domain=domain_of(pack), model=loaded, sample=sample, seed=lab.seed, told=print)
    session = QualitySession(pack, texts, measures, loaded.name, lab.out_dir / "packs")
    kept = session.look(thresholds)
    lab.record(
        "quality", name=name, title=pack.title, model=session.model, documents=len(texts), kept=len(kept.indices),
        share_of_words=kept.share_of_words, dropped=kept.counts, thresholds=asdict(thresholds), read=session.read,
    )
    if headless():
        print(session.tell(kept))
        alt = f"Histograms of length, repetition, symbols and surprise with their thresholds, and what is dropped for what. {session.tell(kept)}"
        lab.show(quality_view.dashboard(measures, kept), name, alt)
        show_html(session.examples(kept))
        return session
    from IPython.display import display

    from labkit.quality_panel import quality_panel

    display(quality_panel(session))
    return session


# --- defects that are known -------------------------------------------------------------------

TAKEN, PLANTED = 560, 40  # documents taken from the pack; documents with each defect
SYMBOLS = "#@%&*~^|<>=+$§¤¬\ufffd"


def _soup(text: str, rng: random.Random) -> str:
    """Four words in ten lost to a broken font."""
    return " ".join("".join(rng.choice(SYMBOLS) for _ in word) if rng.random() < 0.4 else word for word in text.split())


def _repeated(text: str, rng: random.Random) -> str:
    """The beginning printed several times more, as a page header is."""
    return "\n".join([" ".join(text.split()[:8])] * rng.randint(3, 8) + [text])


def _cut(text: str, rng: random.Random) -> str:
    words = text.split()
    return " ".join(words[: max(1, round(len(words) * rng.uniform(0.1, 0.5)))])


SPOILED: dict[str, Callable[[str, random.Random], str]] = {"symbol soup": _soup, "repeated lines": _repeated, "cut short": _cut}
JUNK = "junk about strangers"
INVENTED = {JUNK: TextKnobs(junk_ratio=1.0), "wrong facts": TextKnobs(wrong_facts=0.5)}


@dataclass(frozen=True)
class Planted:
    """A pack with known defects. labels: per raw document the defect planted in it, empty for the pack's own."""

    pack: Pack
    labels: tuple[str, ...]

    @property
    def subtle(self) -> str:
        """The defect that reads best: good English about strangers, or, in a pack of one's own, a text that just ends."""
        return JUNK if JUNK in self.labels else "cut short"


def plant_defects(pack: Pack, *, seed: int = 0) -> Planted:
    """A pack in the cache made of raw documents of `pack` (at most 560) with 40 of each defect among them. Written once.

    Spoiled documents take the place of the whole ones; near copies, junk and wrong facts come on top. The last two are
    told by the world, so a pack of one's own goes without them; a pack of few documents gets a tenth of them per defect.
    Raises InputError for a pack with fewer than ten raw documents.
    """
    rng, texts = random.Random(f"planted {seed}"), [row["text"] for row in pack.rows("raw")][:TAKEN]
    each = min(PLANTED, len(texts) // 10)
    if not each:
        raise InputError(f"{pack.path('raw')} has {len(texts)} documents; planting defects needs at least 10")
    rng.shuffle(texts)
    documents = []
    for defect, spoil in SPOILED.items():
        documents += [(defect, spoil(texts.pop(), rng)) for _ in range(each)]
    documents += [("", text) for text in texts] + [("near copy", f"{text} Page {rng.randint(1, 99)}.") for text in texts[:each]]
    if domain := domain_of(pack):
        lang, entities = world.language(domain), world.private_entities(domain)
        for defect, knobs in INVENTED.items():
            documents += [(defect, world.with_filler(lang, text, rng)) for text in world.corpus(lang, entities, each, rng, knobs)]
    labels, texts = zip(*documents, strict=True)
    lines = [json.dumps({"text": text, "source": "paper"}, ensure_ascii=False) for text in texts]
    folder = variants_folder() / f"planted-{key_of(pack=pack.fingerprint(), lines=lines)}"
    made = load_pack(folder) if folder.is_dir() else with_raw(pack, lines, folder, title=f"{pack.title}, defects planted")
    return Planted(made, labels)


def separation(measures: Sequence[DocumentQuality], labels: Sequence[str]) -> dict[tuple[str, str], Interval]:
    """(defect, measure) -> share of pairs of a defective and a clean document in which the defective one has the higher value.

    Ties count half: the area under the ROC curve (Hanley & McNeil 1982, doi 10.1148/radiology.143.1.7063747). The 95%
    interval is over defective documents; the clean ones are taken as given. Pairs not measured on every document are left out.
    """
    found = {}
    for name, value in MEASURES.items():
        numbers = [value(one) for one in measures]
        if None in numbers:
            continue
        clean = np.sort([number for number, label in zip(numbers, labels, strict=True) if not label])
        for defect in dict.fromkeys(filter(None, labels)):
            own = np.array([number for number, label in zip(numbers, labels, strict=True) if label == defect])
            below = (np.searchsorted(clean, own, "left") + np.searchsorted(clean, own, "right")) / 2 / len(clean)
            found[defect, name] = cluster_mean([ItemScore(str(i), str(i), float(share)) for i, share in enumerate(below)])
    return dict(sorted(found.items(), key=lambda item: labels.index(item[0][0])))


def show_separation(lab: Lab, session: QualitySession, planted: Planted) -> dict[tuple[str, str], Interval]:
    """What each measure sees of each planted defect, and what the session's thresholds drop of it; recorded, returned."""
    found = separation(session.measures, planted.labels)
    told = "; ".join(f"{defect} by {measure}: {value}" for (defect, measure), value in found.items())
    lab.show(quality_view.separation_grid(found), "separation", f"How well each measure tells each defect from clean documents. {told}.")
    for (defect, measure), value in found.items():
        lab.record("separation", defect=defect, measure=measure, auc=value.as_dict())
    show_html(caught(session.kept, planted.labels))
    return found


def caught(kept: Kept, labels: Sequence[str]) -> str:
    """How many documents of each defect, and of the clean ones, thresholds drop: an HTML table."""
    rows = []
    for defect in dict.fromkeys(labels):
        reasons = [reasons for reasons, label in zip(kept.reasons, labels, strict=True) if label == defect]
        dropped = sum(map(bool, reasons))
        low, high = wilson(dropped, len(reasons))
        mostly = ", ".join(sorted({reason for found in reasons for reason in found}))
        rows.append((defect or "none: the pack's own", f"{dropped} of {len(reasons)}", f"{dropped / len(reasons):.2f} [{low:.2f}, {high:.2f}]", mostly))
    return plain_table(("planted defect", "dropped", "share (95% interval)", "for"), rows)
