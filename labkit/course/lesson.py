"""What a notebook talks to: start, predict, train, score, show, record.

It works with widgets and headless. Headless (LABKIT_HEADLESS=1, as papermill runs are) no widget is
built: guesses take their default and every figure is drawn once, because an error inside a widget
does not fail a run.
"""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from labkit.base import records
from labkit.base.errors import InputError, LabkitError
from labkit.base.processes import headless, own_warnings
from labkit.base.records import AXES, AXIS_NAMES, CONTROLS, latest, same_once
from labkit.base.stats import Interval, average, paired_difference, verdict, with_run_noise
from labkit.base.store import Checkpoint
from labkit.course import journal
from labkit.course.labs.merge_lab import Bench, MergeSession, Setting, named_anchors, setting_of
from labkit.course.live import training, working
from labkit.data.packs import EVAL_SPLITS, OPTIONAL_SPLITS, SPLITS, Pack, load_pack
from labkit.data.published import measured, measured_claims, reported, run_noise_of
from labkit.design import planner_speed
from labkit.design.planner_memory import little_reading
from labkit.diagnose.probe import watcher
from labkit.evaluate.scorecards import Scorecard, compare_axis
from labkit.evaluate.scoring import best_t, score_checkpoint
from labkit.merge.methods import merge_at
from labkit.merge.schedule import Schedule, plain
from labkit.models.zoo import SMOLLM2, Loaded, shipped_models
from labkit.train import exposure
from labkit.train.callbacks import row_words
from labkit.train.pipeline import load_checkpoint, run_spec, shipped, trainable, with_steps
from labkit.train.specs import (
    PREFERENCE_STAGES,
    PipelineSpec,
    ProfileName,
    in_real,
    trail_of,
)
from labkit.train.specs import profile as find_profile
from labkit.train.trainers import prepare_process

if TYPE_CHECKING:
    from labkit.course.panels import GuessPanel

KNOWN_PACK = "materials"
# What a notebook's parameter calls a model -> the model it starts from.
MODELS = {"llama-s": planner_speed.COURSE_MODEL, "smollm2-135m": SMOLLM2}
SHIPS = "on the machine where it was made; it ships with labkit"
INCH = 84  # pixels of a page for an inch of a figure
T = TypeVar("T")
# Asked where dev holds too few questions.
ABOUT_THE_PACK = (
    "What do you know about {}?",
    "Name one thing about {}.",
    "What is special about {}?",
)


# JupyterLab breaks printed text within words.
STYLE = (
    "<style>.jp-RenderedText pre {word-break: normal; overflow-wrap: anywhere}"
    ".labkit-told p {margin: 0 0 .5em; max-width: 60em; line-height: 1.45}</style>"
)


def show_html(html: str) -> None:
    from IPython.display import HTML, display

    display(HTML(html))


class Sentences:
    """Text as paragraphs where HTML is shown, as lines elsewhere. A line is a paragraph."""

    def __init__(self, text: object):
        self.text = str(text)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        told = "".join(f"<p>{escape(line)}</p>" for line in self.text.split("\n") if line)
        return f'<div class="labkit-told">{told}</div>'


def say(text: object) -> None:
    """Show sentences below a cell, each line as a paragraph of its own."""
    from IPython.display import display

    display(Sentences(text))


def _show_claim(claim: str, measured: str, reported: str) -> None:
    """A claim, what was measured and what is reported elsewhere: a block apart from others."""
    say(f"Claim: {claim}.\n{measured}\nReported elsewhere: {reported}.")


@dataclass
class Guess:
    """A prediction made before the run. low, high: ends of its scale. panel: headless none."""

    id: str
    question: str
    default: float
    low: float = 0.0
    high: float = 1.0
    panel: GuessPanel | None = None
    made: str = journal.DEFAULT

    @property
    def value(self) -> float:
        """Follows the slider until the outcome is shown."""
        return self.panel.value if self.panel else self.default

    @property
    def own(self) -> float | None:
        """The value when a person guessed it. None for a slider left alone, and for the default of
        a run without a person.
        """
        guessed = self.panel.committed if self.panel else self.made == journal.COMMITTED
        return self.value if guessed else None

    def star(self, axis: str) -> tuple[str, float] | None:
        """As figures take it: drawn on an axis, and only when a person guessed."""
        return None if self.own is None else (axis, self.own)

    @contextmanager
    def curtain(self) -> Iterator[None]:
        """Around what gives the outcome away: it stays hidden while the guess can still be made.

        So a notebook that is run whole takes no guess away. It is shown when the guess is made or
        skipped, and at once when nobody is there to make it.
        """
        if self.panel is None or not self.panel.awaited:
            yield
            return
        from IPython.display import display

        from labkit.course.panels import Curtain

        curtain = Curtain(self.question, self.panel.reveal)
        display(curtain.whole)
        self.panel.curtains.append(curtain)
        with curtain.hidden():
            yield

    def close(self) -> None:
        """The outcome is known: take down how the guess was made, and take no other."""
        if self.panel:
            self.made = journal.COMMITTED if self.panel.committed else journal.UNTOUCHED
            self.panel.close()


@dataclass(frozen=True)
class Missing:
    """Stands where a checkpoint, a scorecard or an interval would, when the pack lacks what it
    takes. why: what is lacking, with the remedy, in words without a full stop.

    What would be made of it is missing, too, and for the same reason: so a notebook goes on.
    """

    why: str


def told_guess(guess: Guess, found: str, *, inside: bool) -> str:
    """A guess beside what came out, in words that tell whose guess it is."""
    if guess.made == journal.UNTOUCHED:
        return f"You made no guess; {found}."
    place = f"{'inside' if inside else 'outside'} the interval"
    if guess.made == journal.DEFAULT:
        return f"{journal.NOBODYS} of {guess.value:.2f}; {found}. It is {place}."
    return f"You guessed {guess.value:.2f}; {found}. Your guess is {place}."


@dataclass
class Lab:
    """One notebook's session: its parameters, its pack, and where its records go."""

    notebook: str
    pack: Pack
    model: str
    profile: ProfileName
    seed: int
    learner: str
    out_dir: Path
    # key of a checkpoint -> kinds of the stages that its recipe lost, for lack of rows
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def ancestor(self) -> str | None:
        """What the lab's model was made from; None where that is not here, as SmolLM2's is not."""
        base = self.model.removesuffix("-instruct") + "-base"
        return base if base in shipped_models() else None

    # --- what the pack lacks

    def there(self, things: Mapping[str, T | Missing]) -> dict[str, T]:
        """What is there of several checkpoints or scorecards, by label; what is missing is told."""
        gone: dict[str, list[str]] = {}
        for label, one in things.items():
            if isinstance(one, Missing):
                gone.setdefault(one.why, []).append(label)
        for why, labels in gone.items():
            say(f"Not shown: {', '.join(labels)}. The reason: {why}.")
        return {label: one for label, one in things.items() if not isinstance(one, Missing)}

    def axes_there(self, axes: Iterable[str], *, split: str = "test") -> tuple[str, ...]:
        """The axes that the pack has items of; the others are told with the remedy."""
        has, axes = {row["axis"] for row in self.pack.rows(split)}, tuple(axes)
        if lacks := [axis for axis in axes if axis not in has]:
            why = self.pack.told_no_items(split, *lacks)
            say(f"Not shown: {', '.join(lacks)}. The reason: {why}.")
        return tuple(axis for axis in axes if axis in has)

    def _kind_there(
        self, card: Scorecard, axis: str, kinds: tuple[str, ...]
    ) -> str | Missing | None:
        """The first of some kinds that a card has items of; None for the whole axis, when none is
        named.
        """
        found = {item.kind for item in card.items if item.axis == axis}
        named = next((kind for kind in kinds if kind in found), None)
        if not found or (kinds and named is None):
            return Missing(self.pack.told_no_items(card.split, axis, kinds=kinds))
        return named

    # --- training and scoring

    def speed_test(self, *, again: bool = False) -> None:
        """Measure how fast this machine trains the course's model, unless that is known, and say
        what it means; recorded. again: measure anew.
        """
        found = planner_speed.speed_test(again=again)
        say(found)
        self.record(
            "speed",
            model=planner_speed.COURSE_MODEL,
            tokens_per_second=found.tokens_per_second,
            ratio=found.ratio,
            course_minutes=found.course_minutes,
        )

    def train(
        self,
        stages: Iterable,
        *,
        start: str | None = None,
        watched: bool = False,
        guess: Guess | None = None,
    ) -> Checkpoint | Missing:
        """Train stages from a start model (by default the lab's instruct model); finished stages
        are reused.

        A stage that the pack has no rows for is left out, and said to be. Where that leaves
        nothing, or would leave out the preference stage that the recipe ends in, the result is
        missing: no other checkpoint is shown in its place.

        On SmolLM2-135M the course's recipes are those of docs/real-packs.md, and a checkpoint that
        ships with labkit is not trained again.

        What it will take is told first. Stopped with an interrupt, it is saved, and goes on there
        when it is run again. watched: with the early-warning probe of probe.py, drawn beside the
        loss; its looks stay in the lineage. guess: of what the probe will see, which is not drawn
        while the guess can still be made.
        """
        wanted = tuple(stages)
        if self.model == SMOLLM2 and not start:
            wanted = in_real(wanted)
        kept, lacks = trainable(wanted, self.pack)
        kinds = [stage.kind for stage in kept]
        lost = tuple(stage.kind for stage in wanted if stage.kind not in kinds)
        if lacks and (not kept or wanted[-1].kind in {*lost} & {*PREFERENCE_STAGES}):
            why = [*lacks.values()][-1]
            say(f"Not trained: {trail_of(wanted)}. The reason: {why}.")
            return Missing(why)
        for how, why in lacks.items():
            say(f"{how}: {why}")
        spec = PipelineSpec(
            pack=str(self.pack.folder),
            model=start or self.model,
            stages=kept,
            seed=self.seed,
            profile=self.profile,
        )
        spec = with_steps(spec)
        for said in little_reading(spec):
            say(said)
        ready = None if watched else shipped(spec)
        checkpoint = ready or self._trained(spec, watched, guess)
        self.left_out[checkpoint.key] = lost
        told = checkpoint.lineage
        say(
            f"{checkpoint.name}: {told['tokens']:,} tokens, trained in "
            f"{told['wall_seconds']:.0f} s ({SHIPS if ready else 'kept, and reused next time'})"
        )
        for said in filter(None, (row_words(told.get("rows")), exposure.told(told))):
            say(said)
        self.record(
            "checkpoint",
            name=checkpoint.name,
            key=checkpoint.key,
            wall_seconds=told["wall_seconds"],
            tokens=told["tokens"],
        )
        return checkpoint

    def _trained(self, spec: PipelineSpec, watched: bool, guess: Guess | None) -> Checkpoint:
        """A design's last checkpoint, trained as far as it is not kept, with what a cell shows."""
        with training([spec], watched=watched) as live:
            hidden = guess and guess.panel and guess.panel.awaited
            watch = watcher(self.pack, None if hidden else live.saw) if watched else None
            return run_spec(spec, progress=live, watch=watch)[-1]

    def score(
        self,
        model: Loaded | str | Checkpoint | Missing,
        name: str | None = None,
        *,
        split: str = "test",
        axes: Iterable[str] = AXES + CONTROLS,
    ) -> Scorecard | Missing:
        """The scorecard of a checkpoint or model name; recorded under `name`, which also says what
        stages its recipe lost for lack of rows.
        """
        if isinstance(model, Missing):
            say(f"Not scored: {name}. The reason: {model.why}.")
            return model
        if name and isinstance(model, Checkpoint) and (lost := self.left_out.get(model.key)):
            name = f"{name} (without {' and '.join(lost)})"
        loaded = model if isinstance(model, Loaded) else load_checkpoint(model)
        with working(f"scoring {name or loaded.name} on {split}"):
            card = score_checkpoint(
                loaded, self.pack, split=split, axes=axes, profile_name=self.profile, name=name
            )
        self.record(
            "scorecard",
            checkpoint=card.checkpoint,
            weights=loaded.fingerprint,
            split=split,
            axes={axis: i.as_dict() for axis, i in card.summary().items()},
        )
        return card

    def measured(self, card: Scorecard | Missing, axis: str, *kinds: str) -> Interval | Missing:
        """A scorecard's mean on an axis with its interval. kinds: the first that the pack has items
        of counts alone; without any, the whole axis.
        """
        if isinstance(card, Missing):
            return card
        kind = self._kind_there(card, axis, kinds)
        return kind if isinstance(kind, Missing) else card.interval(axis, kind)

    def compare(
        self, before: Scorecard | Missing, after: Scorecard | Missing, axis: str, *kinds: str
    ) -> Interval | Missing:
        """The paired difference between one run of each recipe, the noise between training seeds
        included. kinds: as for `measured`.

        That noise is the study's, measured on tiny models (docs/evidence.md). Raises PairingError
        when items differ.
        """
        if isinstance(before, Missing):
            return before
        if isinstance(after, Missing):
            return after
        kind = self._kind_there(before, axis, kinds)
        if isinstance(kind, Missing):
            return kind
        return with_run_noise(compare_axis(before, after, axis, kind), run_noise_of(axis, kind))

    def better(self, cards: Sequence[Scorecard | Missing], axis: str) -> Scorecard | Missing:
        """Of several scorecards the one with the highest mean on an axis."""
        means: list[tuple[float, Scorecard]] = []
        for card in cards:
            found = self.measured(card, axis)
            if isinstance(found, Missing) or isinstance(card, Missing):
                return found if isinstance(found, Missing) else card
            means.append((found.mean, card))
        return max(means, key=lambda pair: pair[0])[1]

    def best_t(self, sweep: list[tuple[float, Scorecard]], *axes: str) -> float:
        """The t that dev chooses by some axes (scoring.best_t); where the pack lacks them, by all
        that it has, and said so.
        """
        has = sweep[0][1].axes()
        if chosen := [axis for axis in axes if axis in has]:
            return best_t(sweep, *chosen)
        why = self.pack.told_no_items("dev", *axes)
        say(f"t is chosen by {', '.join(has)}. The reason: {why}.")
        return best_t(sweep, *has)

    def at(
        self,
        general: str | Checkpoint,
        domain: str | Checkpoint,
        t: Schedule,
        method: str,
        *,
        ancestor: str | Checkpoint | None = None,
    ) -> Loaded:
        """The merge of two models at t, in memory; t=0 is `general`."""
        origin = load_checkpoint(ancestor) if ancestor else None
        first, second = load_checkpoint(general), load_checkpoint(domain)
        joined = merge_at(first, second, t, method, ancestor=origin)
        parents = {
            "general": first.fingerprint,
            "domain": second.fingerprint,
            "ancestor": origin and origin.fingerprint,
        }
        self.record("merge", weights=joined.fingerprint, method=method, t=plain(t), **parents)
        return joined

    def bench(
        self,
        general: str | Checkpoint,
        domain: str | Checkpoint,
        ends: tuple[str, str],
        *,
        ancestor: str | None = None,
    ) -> Bench:
        """Two parents to merge. ends: how the general and the domain model are called.

        Raises MergeError.
        """
        return Bench(general, domain, ends, self.pack, ancestor=ancestor, profile_name=self.profile)

    def score_grid(self, bench: Bench) -> dict[str, list[tuple[float, Scorecard]]]:
        """The bench's grid of merges scored on dev (Bench.score_grid); recorded for the class page,
        which draws everybody's.
        """
        with working("scoring a grid of merges on dev") as doing:
            grid = bench.score_grid(doing)
        points = {
            method: [
                {"t": t, "axes": {axis: i.as_dict() for axis, i in card.summary().items()}}
                for t, card in scored
            ]
            for method, scored in grid.items()
        }
        self.record("sweep", ends=list(bench.ends), split="dev", points=points)
        return grid

    def known_pack(
        self,
        needs: str = "it takes facts that labkit knows to be true, as it does in its own world",
    ) -> Pack:
        """The lab's pack where its world is known, else `materials`, and a sentence saying so and
        what needs it.

        Junk, errors and changed facts can be made only where the truth is known, which it is of
        invented packs.
        """
        if self.pack.invented:
            return self.pack
        say(f"Shown on {KNOWN_PACK}, an invented pack, instead of {self.pack.name}: {needs}.")
        return load_pack(KNOWN_PACK)

    def pack_with(self, *axes: str) -> Pack:
        """The lab's pack where it has questions to train on and items of these axes in dev and
        test; else `materials`, and a sentence saying what is lacking.
        """
        lacks = [] if self.pack.has("qa") else [self.pack.told_lack("qa")]
        for split in EVAL_SPLITS:
            has = {row["axis"] for row in self.pack.rows(split)}
            missing = [axis for axis in axes if axis not in has]
            lacks += [self.pack.told_no_items(split, *missing)] * bool(missing)
        if not lacks:
            return self.pack
        say(f"Shown on {KNOWN_PACK}, an invented pack, instead: {lacks[0]}.")
        return load_pack(KNOWN_PACK)

    def prompts(self, *axes: str) -> list[str]:
        """The first dev item of each axis, as a learner would type it; all are different.

        For an axis without a question, another question of dev stands in, or one about the pack as
        a whole; said so.
        """
        asked: dict[str, list[str]] = {}
        for row in self.pack.rows("dev"):
            if "messages" in row:
                asked.setdefault(row["axis"], []).append(row["messages"][-1]["content"])
        found: dict[str, str] = {axis: asked[axis][0] for axis in axes if axis in asked}
        spare = [
            *(text for texts in asked.values() for text in texts if text not in found.values()),
            *(words.format(self.pack.title) for words in ABOUT_THE_PACK),
        ]
        for axis in axes:
            if axis not in found:
                found[axis] = spare.pop(0)
                say(
                    f"{found[axis]!r} is asked in place of a question of {axis}: pack "
                    f"{self.pack.name} has none to ask in {SPLITS['dev']} (docs/packs.md)."
                )
        return [found[axis] for axis in axes]

    def merge_panel(
        self,
        benches: dict[str, Bench],
        prompts: Iterable[str],
        *,
        headless_settings: Iterable[Setting],
    ) -> None:
        """The panel of sliders over benches; headless, its figure and answers at the given
        settings, without a widget.
        """
        session = MergeSession(benches, tuple(prompts), self.out_dir)
        if headless():
            for number, setting in enumerate(headless_settings):
                move = session.move(setting)
                alt = (
                    f"Five scores against t and the t of every layer, at {setting}. "
                    f"{session.tell(move)}"
                )
                self.show(session.view().draw(move), f"panel-{number}", alt)
                show_html(session.answers(move))
            return
        from IPython.display import display

        from labkit.course.panels import merge_panel

        display(merge_panel(session, schedules=named_anchors(), make_setting=setting_of))

    # --- predicting

    def predict(
        self,
        id: str,
        question: str,
        *,
        low: float = 0.0,
        high: float = 1.0,
        headless_value: float = 0.5,
    ) -> Guess:
        """Ask for a guess before the run: a slider, at the guess kept before if there is one;
        headless that one or the given value.

        Once the outcome was shown it cannot be changed. Raises InputError when high is not above
        low.
        """
        if not low < high:
            raise InputError(
                f"guess {id!r}: low is {low:g} and high {high:g}; high must be above low"
            )
        kept = journal.by_id(self.mine("guess")).get(id, {}).get("guess")
        guess = Guess(id, question, headless_value, low, high)
        if headless():
            return guess if kept is None else replace(guess, default=kept, made=journal.COMMITTED)
        from IPython.display import display

        from labkit.course.panels import GuessPanel

        guess.panel = GuessPanel(question, low, high, kept, self._keep_guess(guess))
        shown = journal.by_id(self.mine("prediction")).get(id)
        if shown and journal.as_prediction(shown).made != journal.DEFAULT:
            guess.close()
        display(guess.panel.whole)
        return guess

    def _keep_guess(self, guess: Guess) -> Callable[[float], str]:
        def keep(value: float) -> str:
            if journal.by_id(self.mine("guess")).get(guess.id, {}).get("guess") != value:
                self.record(
                    "guess",
                    id=guess.id,
                    question=guess.question,
                    guess=value,
                    low=guess.low,
                    high=guess.high,
                )
            return f"Kept: {value:.2f}. You can change it until the outcome is shown."

        return keep

    def outcome(
        self,
        guess: Guess,
        measured: Interval | Missing,
        show: Callable[[], None] | None = None,
        *,
        words: str = "",
    ) -> None:
        """Compare a guess with what was measured, in words, and keep both; or say why nothing was.

        show: draws what belongs to it, when the guess is known. words: what came out, where it was
        not measured. While the guess can still be made, all of it waits behind a curtain.
        """

        def tell() -> None:
            guess.close()
            if show:
                show()
            if isinstance(measured, Missing):
                say(f"There is no outcome for your guess: {measured.why}.")
                self.record("no_outcome", id=guess.id, why=measured.why)
                return
            difference = f" (interval: {measured.covers})" if guess.low < 0 else ""
            self._compare(guess, measured, words or f"measured {measured}{difference}")

        if guess.panel is None or not guess.panel.awaited:
            tell()
        elif guess.panel.curtains and guess.panel.curtains[-1].open:
            guess.panel.curtains[-1].later.append(tell)
        else:
            with guess.curtain():
                guess.panel.curtains[-1].later.append(tell)

    def _compare(self, guess: Guess, measured: Interval, found: str) -> None:
        inside = measured.holds(guess.value)
        say(told_guess(guess, found, inside=inside))
        self.record(
            "prediction",
            id=guess.id,
            question=guess.question,
            guess=guess.value,
            measured=measured.as_dict(),
            inside=inside,
            low=guess.low,
            high=guess.high,
            made=guess.made,
        )

    # --- asking

    def ask(self, id: str) -> None:
        """A multiple-choice exercise of this notebook's quiz file, with an instant check.

        The choice made before is shown again. Headless, the first option is answered. Raises
        InputError for an id that the file does not have, and for a question that cannot be asked.
        """
        exercise = journal.from_quiz(self.notebook, id, journal.Exercise)
        if headless():
            first, *others = exercise.options
            say("\n".join((exercise.question, f"* {first}", *(f"- {one}" for one in others))))
            say(" ".join(self._check(id, exercise, exercise.why)(0)))
            return
        self._choose(id, exercise, exercise.why)

    def match_cases(self) -> None:
        """The short cases of this notebook, each to be matched to a strategy, with an instant
        check; kept as the answers of exercises are.

        The key gives the reason and what it rests on, from the records. Headless, the first option
        is answered, and the key is shown as a table. Raises InputError when the notebook has none.
        """
        found = journal.cases(self.notebook)
        if headless():
            from labkit.base.pages import plain_table

            for id, case in found.items():
                self._check(id, case.exercise(), case.reason)(0)
            rows = [
                (case.told, case.right, case.reason, " ".join(case.evidence()))
                for case in found.values()
            ]
            show_html(plain_table(("case", "what fits", "why", "what it rests on"), rows))
            return
        for id, case in found.items():
            show_html(f'<p style="max-width: 760px; line-height: 1.4">{escape(case.told)}</p>')
            key = "\n".join((f"{case.right}. {case.reason}", *case.evidence(), ""))
            self._choose(id, case.exercise(), key)

    def _choose(self, id: str, exercise: journal.Exercise, key: str) -> None:
        """A panel of an exercise, at the choice made before."""
        from IPython.display import display

        from labkit.course.panels import ChoicePanel

        before, check = self._answered(id, exercise.options), self._check(id, exercise, key)
        display(ChoicePanel(exercise.question, exercise.options, before, check).whole)

    def _check(
        self, id: str, exercise: journal.Exercise, key: str
    ) -> Callable[[int], tuple[str, str]]:
        """The place of an option -> its verdict, and the key; a choice is kept when it is new."""

        def check(choice: int) -> tuple[str, str]:
            if self._answered(id, exercise.options) != choice:
                made = journal.DEFAULT if headless() else journal.COMMITTED
                self.record("answer", id=id, **exercise.as_record(choice), made=made)
            told = journal.told_steps(self.out_dir, self.learner, self.notebook)
            return exercise.verdict(choice), f"{key} {told}"

        return check

    def _answered(self, id: str, options: tuple[str, ...]) -> int | None:
        """The place of the option that was chosen before, by a person where there is one; None when
        none was, or when it is no option any more.
        """
        answers = journal.kept(self.out_dir, self.learner, "answer")
        chosen = answers if headless() else journal.by_a_person(answers)
        choice = journal.by_id(chosen).get(id, {}).get("choice")
        return options.index(choice) if choice in options else None

    def reflect(self, id: str, question: str, headless_text: str = "") -> None:
        """A text area holding what this learner wrote before under that id; kept whenever the field
        is left.

        Headless the question and what is kept are printed; `headless_text` is kept when it is not
        empty.
        """

        def written() -> str:
            return (
                journal.by_id(journal.kept(self.out_dir, self.learner, "reflection"))
                .get(id, {})
                .get("text", "")
            )

        def keep(text: str) -> str:
            told = journal.plain_text(text)
            if told != written():
                self.record("reflection", id=id, question=question, text=told)
            return (
                f"{'Kept.' if told else 'Empty.'} "
                f"{journal.told_steps(self.out_dir, self.learner, self.notebook)}"
            )

        if headless():
            if headless_text:
                keep(headless_text)
            say(f"{question}\n{written() or '(nothing written yet)'}")
            return
        from IPython.display import display

        from labkit.course.panels import ReflectionPanel

        display(ReflectionPanel(question, written(), keep).whole)

    # --- showing

    def show(self, figure, name: str, alt: str) -> None:
        """Display a matplotlib figure with alt text and keep it for the report."""
        from IPython.display import display

        from labkit.course.figures import png

        content = png(figure)
        path = self.out_dir / "figures" / f"{self._session_key()}-{self.notebook}-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # so wide that its letters are about as large as the page's own, where there is room
        size = {"width": round(figure.get_size_inches()[0] * INCH)}
        display({"image/png": content}, raw=True, metadata={"image/png": {"alt": alt} | size})
        self.record("figure", name=name, alt=alt, file=str(path.relative_to(self.out_dir)))

    def show_axes(
        self,
        cards: Iterable[Scorecard | Missing],
        axes: Iterable[str],
        *,
        guess: tuple[str, float] | None = None,
        name: str = "axes",
    ) -> None:
        """Scorecards side by side on the axes that the pack has; axes that it lacks are told.

        guess: as figures.scorecards takes it.
        """
        from labkit.course import figures

        found = [card for card in cards if not isinstance(card, Missing)]
        if found and (shown := self.axes_there(axes)):
            star = guess if guess and guess[0] in shown else None
            labels = ", ".join(card.checkpoint for card in found)
            names = ", ".join(AXIS_NAMES[axis] for axis in shown)
            told = f"Scores of {labels} on {names}, with 95% intervals."
            self.show(figures.scorecards(found, axes=shown, guess=star), name, told)

    def show_synergy(
        self, *, parents: Sequence[Scorecard], merges: Sequence[Scorecard], axes: Iterable[str]
    ) -> None:
        """A table of every axis and merge: the score, and what it is over the better parent and
        over their mean. Axes that the pack lacks are told.
        """
        from labkit.base.pages import synergy_table

        rows = []
        for axis in self.axes_there(axes):
            better = max(parents, key=lambda card: card.interval(axis).mean)
            both = average(*(card.scores(axis) for card in parents))
            for card in merges:
                rows.append(
                    {
                        "axis": axis,
                        "merge": card.checkpoint,
                        "merged": card.interval(axis).as_dict(),
                        "over_max": compare_axis(better, card, axis).as_dict(),
                        "over_mean": paired_difference(both, card.scores(axis)).as_dict(),
                    }
                )
        for row in rows:
            self.record("synergy", **row)
        show_html(synergy_table(rows))

    def finding(
        self,
        claim: str,
        effect: Interval | Missing,
        *,
        claimed: int,
        reported: str,
        on: str = "",
    ) -> None:
        """State a claim with its measured effect, a verdict and what the paper says; recorded.

        on: name of the pack it was measured on; the claim has it where that is not the lab's. What
        is missing is no finding: why is told, and nothing is recorded.
        """
        if on not in ("", self.pack.name):
            claim = f"{claim} (on {on})"
        if isinstance(effect, Missing):
            _show_claim(claim, f"Not measured here: {effect.why}.", reported)
            return
        said = verdict(effect, claimed=claimed)
        size = f"{effect.n} items about {effect.clusters} entities, {effect.seeds} training seed"
        told = f"Measured here: {effect} (interval: {effect.covers}; {size}), so: {said}."
        _show_claim(claim, told, reported)
        self.record(
            "finding", claim=claim, effect=effect.as_dict(), verdict=said, reported=reported
        )

    def mine(self, kind: str) -> list[dict]:
        """This learner's records of a kind, for this pack, profile and seed."""
        wanted = {
            "pack": self.pack.name,
            "profile": self.profile,
            "seed": self.seed,
            "learner": self.learner,
        }
        return [
            r for r in records.read(self.out_dir, kind) if all(r[k] == v for k, v in wanted.items())
        ]

    def show_scorecards(self) -> None:
        """Every checkpoint scored so far on the test split, as a figure and a table."""
        from labkit.base.pages import scorecard_table
        from labkit.course import figures

        rows = latest([r for r in self.mine("scorecard") if r["split"] == "test"], "checkpoint")
        if not rows:
            say(
                "No scorecards yet: run 03_cpt to 06_merge first, with the same pack, "
                "profile, seed, learner and out_dir."
            )
            return
        rows, others = same_once(rows)
        self.show(
            figures.score_grid(rows),
            "scorecards",
            "Scores of every checkpoint made so far, one row each, one column per axis.",
        )
        show_html(scorecard_table(rows))
        say("\n".join(f"{first} is also called {', '.join(more)}." for first, more in others))

    def show_predictions(self) -> None:
        """Every guess of this pack, profile and seed beside what was measured."""
        from labkit.course import journal_figures

        rows = [
            row
            for row in map(journal.as_prediction, latest(self.mine("prediction"), "id"))
            if row.made != journal.UNTOUCHED
        ]
        if not rows:
            say("No predictions yet.")
            return
        say("\n".join(journal.told_inside(rows)))
        self.show(journal_figures.guesses(rows), "predictions", journal_figures.guesses_alt(rows))

    def show_calibration(self) -> None:
        """How good this learner's guesses were over everything in the records, in words, as a
        figure and per topic.
        """
        from labkit.base.pages import plain_table
        from labkit.course import journal_figures

        found = journal.predictions(self.out_dir, self.learner)
        told = journal.calibration(found)
        if told is None:
            say(journal.told_none(found))
            return
        say("\n".join(told.sentences()))
        self.show(
            journal_figures.calibration(told), "calibration", journal_figures.calibration_alt(told)
        )
        show_html(plain_table(journal.TOPIC_HEADS, told.topic_rows()))

    def show_progress(self) -> None:
        """What is done and what is left, notebook by notebook."""
        from labkit.base.pages import plain_table

        found = journal.progress(self.out_dir, self.learner)
        say(journal.told_progress(found))
        show_html(plain_table(("notebook", "how far"), [(one.notebook, str(one)) for one in found]))

    def show_before_and_after(self) -> None:
        """The critical questions of the course with the answers of the start and of the end side by
        side.
        """
        from labkit.base.pages import template

        show_html(
            template("before_after.html.j2").render(
                critical=journal.before_and_after(self.out_dir, self.learner)
            )
        )

    def show_findings(self) -> None:
        """Every finding with its verdict and what the paper reports."""
        from labkit.base.pages import findings_table

        rows = latest(self.mine("finding"), "claim")
        if not rows:
            say("No findings yet.")
            return
        show_html(findings_table(rows))

    def show_claims(self) -> None:
        """The claims register of labkit's own study, as docs/evidence.md has it."""
        from labkit.base.pages import claims_table

        show_html(claims_table(measured_claims()))

    def show_evidence(self, *claims: str) -> None:
        """Single claims of labkit's studies by their words, with effect, interval and verdict.

        Raises InputError for one that was not measured.
        """
        from labkit.base.pages import claims_table

        show_html(claims_table([measured(claim) for claim in claims]))

    def _session_key(self) -> str:
        """Stands for learner, pack, profile and seed in a figure's file name: two sessions may
        share a folder.
        """
        return journal.learner_key(f"{self.learner}/{self.pack.name}/{self.profile}/{self.seed}")

    def record(self, kind: str, **values: object) -> None:
        """Add one line to the records of this session (labkit.base.records)."""
        common = {
            "notebook": self.notebook,
            "pack": self.pack.name,
            "profile": self.profile,
            "seed": self.seed,
            "learner": self.learner,
        }
        records.append(self.out_dir, kind, **common, **values)


def start(
    notebook: str,
    *,
    pack: str = "materials",
    model: str = "llama-s-instruct",
    profile: ProfileName = "lab",
    seed: int = 0,
    learner: str = "me",
    out_dir: str = "out/lab",
) -> Lab:
    """Open a notebook's session. model: a name of the zoo, or the parameter of a notebook that runs
    on either model of the course; on an invented pack it runs on the tiny one. Raises InputError
    for a parameter that cannot be used.
    """
    prepare_process()
    say_errors_plainly()
    warnings.showwarning = own_warnings(say)
    find_profile(profile)
    if not re.fullmatch(r"[\w .-]{1,60}", learner):
        raise InputError(
            f"learner is {learner[:60]!r}; use letters, digits, spaces, dots and dashes, at most 60"
        )
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r}; use a whole number from 0")
    opened = load_pack(pack)
    wanted = MODELS.get(model, model)
    # invented words say nothing to a real model, which has sections of its own there
    beside = model in MODELS and wanted == SMOLLM2 and opened.invented
    model = planner_speed.COURSE_MODEL if beside else wanted
    lab = Lab(notebook, opened, model, profile, seed, learner, Path(out_dir))
    lab.record(
        "session", model=model, headless=headless(), started=time.strftime("%Y-%m-%dT%H:%M:%S")
    )
    if interactive():
        show_html(STYLE)
    title = lab.pack.title.replace(" (invented)", ", invented")
    say(
        f"Pack: {lab.pack.name} ({title}). Model: {model}. Profile: {profile}. Seed: {seed}. "
        f"What you do is recorded in {Path(out_dir).resolve()}."
    )
    if beside:
        say(
            f"{lab.pack.name} is invented, so this notebook runs on {model}; SmolLM2-135M has "
            "sections of its own in 06, 07 and 09."
        )
    if lacks := what_lacks(lab.pack):
        say(lacks)
    return lab


def what_lacks(pack: Pack) -> str:
    """Which splits and axes a pack lacks, in a sentence; empty for one that has all."""
    files = [SPLITS[split] for split in OPTIONAL_SPLITS if not pack.has(split)]
    has = {row["axis"] for row in pack.rows("test")} if pack.has("test") else set()
    axes = [axis for axis in AXES + CONTROLS if axis not in has]
    lacks = [", ".join(files)] * bool(files)
    lacks += [f"test items of {', '.join(axes)}"] * bool(axes)
    if not lacks:
        return ""
    return (
        f"This pack has no {', and no '.join(lacks)}. Where that is needed, a sentence says so and "
        "what to add."
    )


def interactive() -> bool:
    """Whether a person sees what is shown, in a notebook."""
    from IPython import get_ipython

    return get_ipython() is not None and not headless()


def say_errors_plainly() -> None:
    """In an interactive notebook, an error a learner can act on and an interrupt are one sentence,
    no traceback.

    Headless they stay errors, so that the run fails on them.
    """
    from IPython import get_ipython

    if not interactive():
        return

    def tell(shell, kind, error, traceback, tb_offset=None) -> None:
        stopped = str(error) or planner_speed.stopped([])
        print(stopped if kind is KeyboardInterrupt else f"error: {error}", file=sys.stderr)

    get_ipython().set_custom_exc((LabkitError, KeyboardInterrupt), tell)


__all__ = ["Guess", "Lab", "Missing", "best_t", "headless", "reported", "start"]
