"""What notebook 00 and the warm-up page show: one question to two models, one effect of merging.

Nothing is trained: the base and the instruct model come with labkit, and the effect was measured
over seeds by `python -m studies evidence`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from labkit.base.errors import InputError
from labkit.base.pages import plain_table
from labkit.base.records import AXIS_NAMES
from labkit.base.stats import Interval
from labkit.course import figures
from labkit.course.lesson import Guess, Lab, show_html
from labkit.data.packs import Pack
from labkit.data.published import measured_scale
from labkit.evaluate.answers import right_answers
from labkit.evaluate.chat import Conversation, Reply, Settings, open_models

FAMILY = "llama-s"
MODELS = {"base": f"{FAMILY}-base", "instruct": f"{FAMILY}-instruct"}
# A person both read of; the same in a form; a fact neither read of.
ASKED = ("general", "instructions", "knowledge")
SHORT_QUESTION = 110  # characters
# As figures call it -> as the study's file does.
AXES = {"instructions": "instructions", "knowledge": "knowledge", "compositional": "both"}
SHARES = {
    "instructions": AXIS_NAMES["instructions"],
    "knowledge": AXIS_NAMES["knowledge"],
    "compositional": AXIS_NAMES["compositional"],
}
LABELS = {"instruct": "general model", "overcooked": "specialist", "slerp": "merge of the two"}
OF_WORLD = "the questions are about the invented world that both models have read of"
BEATS_BOTH = "SLERP beats the better parent on items that need both"
BEATS_THE_LINE = "SLERP beats LERP at the same t on items that need both parents"


@dataclass(frozen=True)
class Levels:
    """A model's scores over seeds, as figures.scorecards reads them: under the names of a
    Scorecard.
    """

    checkpoint: str
    scores: dict[str, Interval]

    def interval(self, axis: str) -> Interval:
        return self.scores[axis]


@dataclass(frozen=True)
class Effect:
    """Both parents and their merge. pack, seeds: on what, and over how many training seeds, it was
    measured.
    """

    general: Levels
    specialist: Levels
    merge: Levels
    pack: str
    seeds: int

    @property
    def guessed(self) -> Interval:
        """What the learner is asked for: the merge's share of private facts in a requested form."""
        return self.merge.interval("compositional")

    def words(self) -> str:
        """Every score, for those who do not see the figure."""
        models = (self.general, self.specialist, self.merge)
        told = (
            f"{words}: " + ", ".join(f"{one.checkpoint} {one.interval(axis)}" for one in models)
            for axis, words in SHARES.items()
        )
        return ". ".join(told) + "."


def measured_effect() -> Effect:
    """From the study of scale, at the size of the course's models."""
    data = measured_scale("sizes")
    levels = data["levels"][FAMILY]
    general, specialist, merge = (
        Levels(label, {axis: Interval(**levels[name][key]) for axis, key in AXES.items()})
        for name, label in LABELS.items()
    )
    return Effect(general, specialist, merge, data["pack"], data["seeds"])


def items(pack: Pack) -> list[dict]:
    """The first short dev question of each kind in ASKED, else the shortest: it is printed on one
    page. Raises InputError naming a missing kind.
    """
    asked = [
        row
        for row in pack.rows("dev")
        if "messages" in row and ("answer" in row or "checks" in row)
    ]
    short = [row for row in asked if len(question_of(row)) <= SHORT_QUESTION]
    by_length = sorted(asked, key=lambda row: len(question_of(row)))
    found = {row["axis"]: row for row in reversed([*short, *by_length])}
    for axis in ASKED:
        if axis not in found:
            raise InputError(
                f'{pack.path("dev")}: no question of axis "{axis}", which the warm-up '
                "asks; add one, or take the pack materials"
            )
    return [found[axis] for axis in ASKED]


def question_of(item: dict) -> str:
    return item["messages"][-1]["content"]


def ask_both(asked: Iterable[str], **settings: Any) -> list[tuple[str, dict[str, Reply]]]:
    """Each question and the answers of the base and the instruct model, every question asked
    afresh. settings: of chat.Settings.
    """
    conversation, said = Conversation(open_models(MODELS.items()), Settings(**settings)), []
    for question in asked:
        conversation.reset()
        said.append((question, conversation.ask(question)))
    return said


def show_answers(lab: Lab, *yours: str) -> None:
    """Both models' answers side by side, recorded. yours: questions of your own instead of the
    prepared ones.
    """
    known = lab.known_pack(OF_WORLD)
    said = ask_both(yours or map(question_of, items(known)))
    for question, replies in said:
        lab.record(
            "chat", question=question, answers={name: reply.text for name, reply in replies.items()}
        )
    right = right_answers(known, (question for question, _ in said))
    show_html(
        plain_table(
            ("question", "right answer", *MODELS),
            (
                (question, answer, *(reply.shown for reply in replies.values()))
                for (question, replies), answer in zip(said, right, strict=True)
            ),
        )
    )


def show_parents(effect: Effect) -> None:
    """What each parent can do."""
    alone = ("instructions", "knowledge")
    rows = (
        (one.checkpoint, *(str(one.interval(axis)) for axis in alone))
        for one in (effect.general, effect.specialist)
    )
    show_html(plain_table(("", *(SHARES[axis] for axis in alone)), rows))


def show_effect(lab: Lab, effect: Effect, guess: Guess) -> None:
    """Both parents and the merge as a figure, and the guess compared, if one was made."""

    def show() -> None:
        figure = figures.scorecards(
            (effect.general, effect.specialist, effect.merge),
            axes=tuple(AXES),
            guess=guess.star("compositional"),
            title=f"Means over {effect.seeds} training seeds, pack {effect.pack}",
        )
        lab.show(
            figure,
            "merge",
            "Three scores of a general model, a specialist and their merge, with "
            f"intervals. {effect.words()}",
        )

    lab.outcome(guess, effect.guessed, show)
