"""The failure clinic: broken runs, really trained, to be told apart by symptoms and a few tests.

A patient is a checkpoint with something wrong about how it was made (one has nothing). The learner
sees curves, scores and samples, orders tests from a budget, and names the cause.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from labkit.base.errors import InputError, suggest
from labkit.base.store import Checkpoint, Store, key_of
from labkit.data.packs import Pack, packs_folder, variant_pack
from labkit.data.world import DOMAINS
from labkit.diagnose.diagnoses import BY_ID, Case, Merge, Result, diagnose, open_case
from labkit.evaluate.answers import right_answer
from labkit.merge.methods import merge_at
from labkit.models.families import MODEL, TWIN
from labkit.models.zoo import Loaded
from labkit.train import trainers
from labkit.train.callbacks import Partial, Stop
from labkit.train.pipeline import load_checkpoint, run_spec, save_model, steps_run, versions
from labkit.train.specs import DPO, GENTLE, PipelineSpec, ProfileName, Stage
from labkit.train.zoo_build import general_rows

BUDGET = 4
PLAIN_TEMPLATE = (
    "{%- for message in messages -%}{{ message['role'] }}: {{ message['content'] }}\n{%- "
    "endfor -%}{%- if add_generation_prompt -%}assistant:{%- endif -%}"
)
RAW = {"sources": ("raw",)}


@dataclass(frozen=True)
class Ward:
    """Where patients come from: a pack, a training seed, a profile. progress: of a training, as
    run_spec takes it.
    """

    pack: Pack
    seed: int = 0
    profile: ProfileName = "lab"
    progress: Callable | None = None

    def spec(
        self, stages: Sequence[Stage], *, model: str = MODEL, variant: str | None = None
    ) -> PipelineSpec:
        """What a patient is trained by. variant: of the pack's text."""
        source = variant_pack(self.pack.name, variant) if variant else self.pack
        return PipelineSpec(
            pack=str(source.folder),
            model=model,
            stages=tuple(stages),
            seed=self.seed,
            profile=self.profile,
        )

    def train(
        self, stages: Sequence[Stage], *, model: str = MODEL, variant: str | None = None
    ) -> Checkpoint:
        spec = self.spec(stages, model=model, variant=variant)
        return run_spec(spec, progress=self.progress)[-1]

    def case(self, checkpoint: Checkpoint, baseline: str = MODEL) -> Case:
        return open_case(checkpoint, baseline, self.pack, profile=self.profile)

    def trained(
        self, stages: Sequence[Stage], *, model: str = MODEL, variant: str | None = None
    ) -> Case:
        return self.case(self.train(stages, model=model, variant=variant), baseline=model)


@dataclass(frozen=True)
class Cause:
    """What can be wrong. decisive: diagnoses that prove it. explain: why, and the way out."""

    id: str
    words: str
    make: Callable[[Ward], Case]
    decisive: tuple[str, ...]
    explain: str


# --- how each is made -------------------------------------------------------------------------


def _changed(stage: Stage, **changes) -> Stage:
    return stage.model_copy(update=changes)


def _rate_times(stages: Sequence[Stage], factor: float) -> tuple[Stage, ...]:
    return tuple(_changed(stage, learning_rate=stage.learning_rate * factor) for stage in stages)


def _with_tokenizer(case: Case, tokenizer, what: str) -> Case:
    """The same weights read through another tokenizer."""
    case.model = Loaded(
        case.model.model,
        tokenizer,
        case.model.name,
        key_of(weights=case.model.fingerprint, tokenizer=what),
    )
    return case


def _wrong_template(ward: Ward) -> Case:
    case = ward.trained(GENTLE)
    tokenizer = copy.deepcopy(case.model.tokenizer)
    tokenizer.chat_template = PLAIN_TEMPLATE
    return _with_tokenizer(case, tokenizer, "plain template")


def _other_tokenizer(ward: Ward) -> Case:
    case = ward.trained(GENTLE)
    return _with_tokenizer(case, shuffled_vocabulary(case.model.tokenizer), "shuffled vocabulary")


def shuffled_vocabulary(tokenizer):
    """A tokenizer of equal size and form whose ordinary tokens have other numbers, as one trained
    elsewhere has.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary, special = (
        raw["model"]["vocab"],
        set(tokenizer.all_special_tokens) | {token["content"] for token in raw["added_tokens"]},
    )
    ordinary = [token for token in vocabulary if token not in special]
    numbers = [vocabulary[token] for token in ordinary]
    random.Random(0).shuffle(numbers)
    vocabulary.update(zip(ordinary, numbers, strict=True))
    names = {
        name: token
        for name, token in tokenizer.special_tokens_map.items()
        if isinstance(token, str)
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)),
        chat_template=tokenizer.chat_template,
        **names,
    )


def _loss_on_prompts(ward: Ward) -> Case:
    """The gentle recipe whose SFT takes its loss on every token."""
    read = ward.train(GENTLE[:1])
    stage = _changed(GENTLE[1], steps=steps_run(GENTLE[1], ward.profile))
    store = Store()
    key = key_of(
        clinic="loss on prompts",
        stage=stage.model_dump(mode="json"),
        parent=read.key,
        data=ward.pack.fingerprint("qa"),
        seed=ward.seed,
        versions=versions(),
    )

    def make(folder) -> dict:
        loaded = load_checkpoint(read)
        chats = trainers.chat_rows(
            loaded.tokenizer, [row["messages"] for row in ward.pack.rows("qa")], stage.max_length
        )
        count = stage.steps * stage.batch_size
        rows = trainers.mix(
            chats,
            general_rows(loaded.tokenizer, round(count * stage.replay), seed=1000 + ward.seed),
            stage.replay,
            count,
            random.Random(ward.seed),
        )
        result = trainers.fit_rows(
            stage,
            loaded.model,
            loaded.tokenizer,
            [{**row, "labels": list(row["input_ids"])} for row in rows],
            seed=ward.seed,
            partial=Partial(store.partial(key)),
            stop=stop,
        )
        save_model(result.model, loaded.tokenizer, folder)
        told = {
            "stage": stage.model_dump(mode="json"),
            "parent": read.key,
            "spec": read.lineage["spec"],
            "seed": ward.seed,
            "versions": versions(),
        }
        return {
            "name": f"{read.name}-sft",
            **told,
            "wall_seconds": result.wall_seconds,
            "tokens": result.tokens,
            "loss_curve": result.loss_curve,
            "metrics": result.metrics,
        }

    with Stop(stage.kind) as stop:
        made = store.get_or_make(key, make)
    return ward.case(made)


def _merge_case(
    ward: Ward, general: Loaded, domain: Loaded, t: float, *, swapped: bool = False
) -> Case:
    made = (
        merge_at(domain, general, t, "slerp") if swapped else merge_at(general, domain, t, "slerp")
    )
    model = replace(made, name=f"SLERP(instruct, gentle) t={t:g}")
    return Case(
        model,
        load_checkpoint(MODEL),
        ward.pack,
        profile=ward.profile,
        merge=Merge(general, domain, t),
    )


def _swapped_ends(ward: Ward) -> Case:
    return _merge_case(
        ward, load_checkpoint(MODEL), load_checkpoint(ward.train(GENTLE)), 0.8, swapped=True
    )


def _strangers(ward: Ward) -> Case:
    return _merge_case(ward, load_checkpoint(TWIN), load_checkpoint(ward.train(GENTLE)), 0.5)


_READ_ONLY_RAW = (_changed(GENTLE[0], **RAW), GENTLE[1])

CAUSES: tuple[Cause, ...] = (
    Cause(
        "healthy",
        "nothing is wrong: the gentle recipe as it should be",
        lambda ward: ward.trained(GENTLE),
        (),
        "No diagnosis is flagged. Calling a healthy run ill costs too: a release is "
        "held up, a good recipe thrown away.",
    ),
    Cause(
        "wrong chat template",
        "at inference the chat template is not the one it was trained with",
        _wrong_template,
        ("other tokenizer",),
        "Weights are fine: text is completed well, chats fall apart. Comparing "
        "template and vocabulary with the parent's settles it for nothing.",
    ),
    Cause(
        "loss on prompts",
        "SFT took its loss on the users' turns too",
        _loss_on_prompts,
        ("questions learned",),
        "Scores hardly show it. Users' questions have become far likelier: the model "
        "was trained to write them.",
    ),
    Cause(
        "rate too high",
        "the learning rate was ten times too high",
        lambda ward: ward.trained(_rate_times(GENTLE, 10)),
        ("general loss",),
        "Everything fell at once, what it knew before as well, and the loss curve is "
        "not that of the healthy run.",
    ),
    Cause(
        "beta too small",
        "DPO ran with a beta far too small for its learning rate",
        lambda ward: ward.trained((*GENTLE, _changed(DPO, beta=1e-3, learning_rate=6e-4))),
        ("collateral damage",),
        "Preference accuracy is all it could be, and what the pairs are not about fell "
        "since that stage began: nothing held the model near its reference.",
    ),
    Cause(
        "beta too large",
        "DPO ran with a beta far too large",
        lambda ward: ward.trained((*GENTLE, _changed(DPO, beta=30.0))),
        ("preferences not learned",),
        "The margin is satisfied after a tiny move; the model hardly changed, and "
        "neither did held-out preference.",
    ),
    Cause(
        "pairs swapped",
        "chosen and rejected answers were swapped",
        lambda ward: ward.trained((*GENTLE, DPO), variant="swapped preferences"),
        ("preferences reversed",),
        "Training looked perfect: accuracy on its own pairs rose. On held-out pairs it "
        "fell below where it began.",
    ),
    Cause(
        "test leaked",
        "evaluation questions were among the training questions",
        lambda ward: ward.trained(GENTLE, variant="leaked test"),
        ("contamination",),
        "The score is too good, and only a look into the training data can say why. No score can.",
    ),
    Cause(
        "junk data",
        "seven of eight training documents were junk",
        lambda ward: ward.trained(_READ_ONLY_RAW, variant="mostly junk"),
        ("no knowledge gained",),
        "The loss fell as it should, general abilities held, and yet it learned little "
        "of the domain: it read something else.",
    ),
    Cause(
        "one wording",
        "every fact was read in one wording only, many times",
        lambda ward: ward.trained(_READ_ONLY_RAW, variant="one wording"),
        ("verbatim memory",),
        "The training text is far more familiar than the same facts in other words: it "
        "knows sentences, not facts.",
    ),
    Cause(
        "ends swapped",
        "the merge has its ends the wrong way round",
        _swapped_ends,
        ("wrong place",),
        "It behaves like the other parent. The weights' place between the two says so at once.",
    ),
    Cause(
        "strangers merged",
        "the merge joins models from different pre-trainings",
        _strangers,
        ("barrier",),
        "On general text the merge is worse than both parents: between them there is "
        "no path, so their mean means nothing.",
    ),
    Cause(
        "tokenizer mismatch",
        "the tokenizer belongs to another model of the same vocabulary size",
        _other_tokenizer,
        ("other tokenizer",),
        "Every score is at chance and every sample is word salad although each loss "
        "curve was fine: ids mean other words.",
    ),
)
BY_CAUSE = {cause.id: cause for cause in CAUSES}
_ORDER = random.Random("patients").sample(range(len(CAUSES)), len(CAUSES))


def patients() -> range:
    """Their numbers. Which cause a number has is not told by the order of CAUSES."""
    return range(1, len(CAUSES) + 1)


@dataclass(frozen=True)
class Answer:
    """What the clinic says to a named cause. decisive: the tests that prove the true one; missed:
    those not ordered.
    """

    right: bool
    cause: Cause
    missed: tuple[str, ...]

    def __str__(self) -> str:
        words, proof = self.cause.words, " ".join(map(self._proof, self.cause.decisive))
        if self.right:
            told = f"Right: {words}."
        elif self.cause.decisive:
            told = f"No. The cause was: {words}."
        else:
            told = f"No. {words[0].upper()}{words[1:]}."
        return f"{told} {self.cause.explain} {proof}".strip()

    def _proof(self, test: str) -> str:
        if test in self.missed:
            return f'The test "{test}" would have shown it; you did not order it.'
        return f'The test "{test}" shows it; you ordered it.'


@dataclass
class Visit:
    """One patient and one learner: symptoms for nothing, tests from a budget, one answer."""

    number: int
    case: Case
    budget: int = BUDGET
    ordered: list[Result] = field(default_factory=list)
    _cause: Cause = field(kw_only=True)

    def order(self, test: str) -> Result:
        """Run a diagnosis. A test ordered again is free.

        Raises InputError for an unknown one or an empty purse.
        """
        if test not in BY_ID:
            raise InputError(f"unknown test {test!r}: {suggest(test, list(BY_ID))}")
        for result in self.ordered:
            if result.diagnosis.id == test:
                return result
        if BY_ID[test].cost > self.budget:
            raise InputError(
                f"{test!r} costs {BY_ID[test].cost}, {self.budget} is left; name the cause"
            )
        result = diagnose(self.case, [test])[0]
        self.budget -= BY_ID[test].cost
        self.ordered.append(result)
        return result

    def answer(self, cause: str) -> Answer:
        """Check a named cause. Raises InputError for an unknown one."""
        if cause not in BY_CAUSE:
            raise InputError(f"unknown cause {cause!r}: {suggest(cause, list(BY_CAUSE))}")
        known = {result.diagnosis.id for result in self.ordered}
        return Answer(
            cause == self._cause.id,
            self._cause,
            tuple(test for test in self._cause.decisive if test not in known),
        )

    def samples(self, count: int = 6) -> list[tuple[str, str, str]]:
        """Questions, their right answers and what the patient said, one of each kind of item."""
        rows = {row["id"]: row for row in self.case.pack.rows(self.case.split)}
        shown: dict[tuple[str, str], tuple[str, str, str]] = {}
        for item in self.case.card.items:
            if "messages" in rows[item.id] and "choices" not in rows[item.id]:
                shown.setdefault(
                    (item.axis, item.kind),
                    (
                        rows[item.id]["messages"][-1]["content"],
                        right_answer(rows[item.id]),
                        item.output.split("\n")[0],
                    ),
                )
        return list(shown.values())[:count]

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """The loss curve of every stage that is known."""
        return {stage["stage"]["kind"]: stage["loss_curve"] for stage in self.case.stages}


def admit(number: int, ward: Ward) -> Visit:
    """A patient by number; its run is trained when it is not there yet.

    Raises InputError for an unknown number.
    """
    if number not in patients():
        raise InputError(f"there is no patient {number}; use 1 to {len(CAUSES)}")
    if not ward.pack.invented or ward.pack.folder != packs_folder() / ward.pack.name:
        raise InputError(
            "the clinic's broken data is made from the shipped packs of an invented world "
            f"({', '.join(DOMAINS)}), not from {ward.pack.folder}; name one of them"
        )
    cause = CAUSES[_ORDER[number - 1]]
    return Visit(number, cause.make(ward), _cause=cause)
