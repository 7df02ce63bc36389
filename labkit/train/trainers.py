"""CPT, SFT and DPO on TRL, and ORPO on a loss of our own.

TRL moves fast. Every assumption about it lives here and in orpo.py, and tests/train/test_train.py
covers it. The module does not know packs or the store: it takes a model and rows, and gives a model
back.
"""

from __future__ import annotations

import math
import os
import random
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.base import processes
from labkit.base.errors import InputError
from labkit.base.inputs import seen, tidy
from labkit.data.cleaning import whole_sentences
from labkit.models.families import (
    check_opening,
    conversation,
    question_and_answers,
    rendered,
    start_of_text,
    text_tokens,
)
from labkit.models.zoo import (
    NO_PAD,
    check_rows,
    learned_positions,
    let_libraries_stay,
    not_finite,
    uncollected,
)
from labkit.train.callbacks import (
    Partial,
    Probe,
    Progress,
    Report,
    RowCount,
    Stop,
    TrainResult,
    keeper,
    reporter,
    row_words,
)
from labkit.train.exposure import reads
from labkit.train.memory import Batches, bf16_is_fast, load_as_stored, shares, steps_of
from labkit.train.specs import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from labkit.train.exposure import Recall


IGNORED = -100  # label of a token that carries no loss
WARMUP_SHARE = 0.05
LOG_EVERY = 5


@dataclass(frozen=True)
class Run:
    """How a stage is run, whatever it trains; every stage takes these as keyword arguments.

    progress: told where the stage stands. probe: called with (model, step, steps) before the first
    step and after each; it cannot disturb the training. partial: where to save the state of an
    unfinished stage, and to resume it from. stop: lets an interrupt wait for a saved state. base:
    the folder of the frozen base, when adapters are to be merged into it as it is stored and not as
    it was trained on. recall: tries what CPT has read, and may end it. report: told when training
    begins and of every logged step.
    """

    seed: int
    progress: Callable[[Progress], None] | None = None
    probe: Probe | None = None
    partial: Partial | None = None
    stop: Stop | None = None
    base: Path | None = None
    recall: Recall | None = None
    report: Report | None = None


def prepare_process() -> None:
    """Settings that must stand before torch is imported; harmless to call again."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault(
        "PYTORCH_ENABLE_MPS_FALLBACK", "1"
    )  # what Apple's GPU cannot, its CPU does
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    for switch in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        # progress is labkit's one line; in a notebook theirs are widgets
        os.environ.setdefault(switch, "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|torch)\.")
    # of a base unpacked from a GGUF file
    warnings.filterwarnings("ignore", message="Could not find a config file", module=r"peft\.")


@cache
def import_libraries() -> None:
    """What trains, imported before there is a model, so that it can be left out of the garbage
    collector's rounds.
    """
    with uncollected():
        import datasets  # noqa: F401
        import peft  # noqa: F401
        from trl import DPOTrainer, SFTTrainer  # noqa: F401

        let_libraries_stay()


# --- rows -------------------------------------------------------------------------------------


# what becomes of rows that are not trained on whole, as lineages and sentences say it
IN_PIECES = "read in pieces of at most {} tokens"
CUT_ANSWER = "trained without the end of the answer, which lies beyond {} tokens"
EMPTY = "left out because nothing is in them"
NO_ANSWER = "left out because no turn of the assistant is in them"
REFUSED = "left out because the chat template cannot write it"
DROPPED = "left out because the chat template writes nothing of the answer"
LOST_ANSWER = "left out because the answer begins beyond {} tokens"
LOST_PAIR = "left out because the prompt alone takes {} tokens or more"
SAME_PAIR = "left out because both answers look the same"
CUT_TO_THE_SAME = "left out because both answers are the same up to {} tokens"
EMPTY_ANSWER = "trained with an empty answer"


def text_rows(
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    max_length: int,
    counted: RowCount | None = None,
) -> list[dict]:
    """One row per document, closed by the document EOS, every token trained on. A longer document
    is several rows: nothing of it is lost. counted: is told which documents are long or empty.

    Raises InputError when the tokenizer has no EOS, or when no document has a token.
    """
    rows = joined_rows(rows_of_texts(tokenizer, texts, max_length), counted)
    return [{"input_ids": row, "labels": list(row)} for row in rows]


def rows_of_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], max_length: int
) -> Iterator[tuple[str | None, list[list[int]]]]:
    """Of each text what becomes of it, where it is long or empty, and the tokens of its rows.

    Raises InputError when the tokenizer has no EOS.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the model's tokenizer names no token that ends a document; add one as eos_token to "
            "its tokenizer_config.json"
        )
    start = start_of_text(tokenizer)
    texts, room = list(texts), max(1, max_length - 1 - len(start))
    for text, ids in zip(texts, text_tokens(tokenizer, texts), strict=True):
        if len(ids) == len(start):
            yield EMPTY, []
            continue
        fate, pieces = None, [ids[len(start) :]]
        if len(pieces[0]) > room:
            fate, pieces = IN_PIECES.format(max_length), _pieces_of(tokenizer, text, room)
        closed = [*pieces[:-1], [*pieces[-1], tokenizer.eos_token_id]] if pieces else []
        yield fate, [[*start, *piece] for piece in closed]


Row = TypeVar("Row")


def joined_rows(
    read: Iterable[tuple[str | None, list[Row]]], counted: RowCount | None = None
) -> list[Row]:
    """The rows of all texts. counted: is told what became of the texts.

    Raises InputError when there are texts, and no row.
    """
    rows: list[Row] = []
    counted = counted or RowCount()
    for number, (fate, of_text) in enumerate(read):
        counted.rows += 1
        if fate:
            counted.note(fate, number)
        rows += of_text
    if counted.rows and not rows:
        raise _nothing_left(counted, "text", "put words into the documents")
    return rows


def _pieces_of(tokenizer: PreTrainedTokenizerBase, text: str, room: int) -> list[list[int]]:
    """The tokens of a long text in pieces of at most `room`: whole sentences as far as they fit, so
    that a fact stays with what it is said of.
    """
    sentences = whole_sentences(text)
    lengths = [len(ids) for ids in tokenizer(sentences, add_special_tokens=False)["input_ids"]]
    joined: list[str] = []
    filled = room + 1  # the first begins a piece
    for sentence, length in zip(sentences, lengths, strict=True):
        if filled + length <= room:
            joined[-1] += sentence
            filled += length
        else:
            joined.append(sentence)
            filled = length
    encoded = tokenizer([part.strip() for part in joined], add_special_tokens=False)["input_ids"]
    # one sentence alone may be too long; its parts are equal, so that none is a stub
    return [part for ids in encoded for part in _in_equal_parts(ids, room)]


def _in_equal_parts(ids: list[int], room: int) -> list[list[int]]:
    parts = math.ceil(len(ids) / room)
    size = math.ceil(len(ids) / parts) if parts else 1
    return [ids[at : at + size] for at in range(0, len(ids), size)]


def chat_rows(
    tokenizer: PreTrainedTokenizerBase,
    chats: Iterable[list[dict]],
    max_length: int,
    counted: RowCount | None = None,
) -> list[dict]:
    """One row per conversation; loss on assistant turns only, end-of-turn token included. counted:
    is told which conversations are cut or left out.

    Raises InputError when no row keeps an answer, or when the chat template cannot be used for
    training.
    """
    rows: list[dict] = []
    counted, refusals = counted or RowCount(), []
    for number, messages in enumerate(chats):
        counted.rows += 1
        try:
            ids, mask = conversation(tokenizer, messages)
        except InputError as error:
            refusals.append(error)
            counted.note(REFUSED, number)
            continue
        if fate := _fate_of_chat(messages, mask, max_length):
            counted.note(fate.format(max_length), number)
        if not any(mask[:max_length]):
            continue
        if not rows:
            _check_first_answer(tokenizer, messages)
        ids, mask = ids[:max_length], mask[:max_length]
        labels = [i if m else IGNORED for i, m in zip(ids, mask, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    if counted.rows and not rows:
        if len(refusals) == counted.rows:
            raise refusals[0]
        raise _nothing_left(
            counted,
            "assistant token",
            "use another chat template"
            if DROPPED in counted.fates
            else f"max_length {max_length} cuts every answer off; raise it"
            if LOST_ANSWER.format(max_length) in counted.fates
            else "give every row an answer",
        )
    return rows


def _fate_of_chat(messages: list[dict], mask: list[int], max_length: int) -> str | None:
    """What a conversation loses to max_length; None when it loses nothing of its answers."""
    if not any(mask):
        asked = any(turn["role"] == "assistant" and turn.get("weight", 1) for turn in messages)
        return DROPPED if asked else NO_ANSWER
    if not any(mask[:max_length]):
        return LOST_ANSWER
    if any(mask[max_length:]):
        return CUT_ANSWER
    answers = [turn["content"] for turn in messages if turn["role"] == "assistant"]
    return None if all(map(_visible, answers)) else EMPTY_ANSWER


def _check_first_answer(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> None:
    at = next(i for i, turn in enumerate(messages) if turn["role"] == "assistant")
    if at:
        check_opening(tokenizer, messages[:at], messages[at : at + 1])


def _nothing_left(counted: RowCount, what: str, remedy: str) -> InputError:
    return InputError(f"no {what} to train on: {remedy} ({row_words(counted.as_json())})")


def preference_rows(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Iterable[dict],
    max_length: int,
    counted: RowCount | None = None,
    *,
    closed: bool = False,
) -> list[dict]:
    """One row per pair: {"prompt_ids", "chosen_ids", "rejected_ids"}, its answers cut at
    max_length.

    Pairs that can teach nothing are left out: the prompt alone is that long, or both answers are
    the same, to a reader or as far as they are read. counted: is told which. closed: an answer that
    does not end in the tokenizer's EOS gets it.

    Raises InputError when no pair is left, or when the chat template cannot be used for training.
    """
    rows: list[dict] = []
    counted, refusals = counted or RowCount(), []
    for number, pair in enumerate(pairs):
        counted.rows += 1
        try:
            question, answers = question_and_answers(
                tokenizer, pair["prompt"], [pair["chosen"], pair["rejected"]]
            )
        except InputError as error:
            refusals.append(error)
            counted.note(REFUSED, number)
            continue
        if closed:
            end = tokenizer.eos_token_id
            answers = [ids if ids[-1:] == [end] else [*ids, end] for ids in answers]
        room = max(0, max_length - len(question))
        kept = [ids[:room] for ids in answers]
        fate = _fate_of_pair(pair, answers, kept)
        if fate:
            counted.note(fate.format(max_length), number)
        if fate in (None, CUT_ANSWER):
            rows.append({"prompt_ids": question, "chosen_ids": kept[0], "rejected_ids": kept[1]})
    if counted.rows and not rows:
        if len(refusals) == counted.rows:
            raise refusals[0]
        raise _nothing_left(
            counted,
            "pair",
            "use another chat template"
            if DROPPED in counted.fates
            else "raise max_length, or give answers that differ",
        )
    return rows


def _fate_of_pair(pair: dict, answers: list[list[int]], kept: list[list[int]]) -> str | None:
    """Why a pair teaches nothing, or what it loses to max_length; None when neither."""
    if not all(answers):
        return DROPPED
    if not all(kept):
        return LOST_PAIR
    chosen, rejected = (
        [(turn["role"], _visible(turn["content"])) for turn in pair[side]]
        for side in ("chosen", "rejected")
    )
    if chosen == rejected or answers[0] == answers[1]:
        return SAME_PAIR
    if kept[0] == kept[1]:
        return CUT_TO_THE_SAME
    return None if kept == answers else CUT_ANSWER


def _visible(text: str) -> str:
    """A text as a reader sees it, in one spelling of its letters and with one kind of blank."""
    return seen(re.sub(r"[^\S\t\n]", " ", tidy(text)))


def longest_row(stage: Stage, model: PreTrainedModel) -> int:
    """Tokens that a row of a stage may have: max_length, or the places the model has, where it has
    learned each of them.
    """
    return min(stage.max_length, learned_positions(model) or stage.max_length)


def check_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Iterable[list[int]]
) -> None:
    """Raises InputError when a row holds a token that the model has no embedding for, or when
    there is no token to fill rows up with.
    """
    if tokenizer.pad_token_id is None:
        raise InputError(NO_PAD)
    check_rows(model, [*rows, [tokenizer.pad_token_id]])


def mix(
    rows: list[dict], replay: list[dict], share: float, count: int, rng: random.Random
) -> list[dict]:
    """`count` rows in random order, `share` of them replay; both sides are cycled as often as
    needed.
    """
    replayed = round(count * share)
    picked = [rows[i % len(rows)] for i in range(count - replayed)] + [
        replay[i % len(replay)] for i in range(replayed)
    ]
    rng.shuffle(picked)
    return picked


# --- trainers ---------------------------------------------------------------------------------


def _common_arguments(
    stage: Stage, model: PreTrainedModel, steps: int, seed: int, folder: str
) -> dict:
    """A constant schedule with its warm-up is what transformers calls constant_with_warmup; its
    `constant` has none. Without use_cpu it takes a GPU by itself: CUDA's, then Apple's.
    """
    device = processes.device(model.num_parameters())
    micro, accumulation = shares(stage, processes.count())
    return {
        "output_dir": folder,
        "use_cpu": device == "cpu",
        "bf16": bf16_is_fast(),
        "activation_checkpointing": stage.activation_checkpointing,
        "report_to": "none",
        "save_strategy": "no",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device == "cuda",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False,  # every trained weight is used in every step
        "max_steps": steps,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": {"cosine": "cosine", "constant": "constant_with_warmup"}[
            stage.schedule
        ],
        "warmup_steps": max(1, round(steps * WARMUP_SHARE)),
        "max_grad_norm": 1.0,
        "log_level_replica": "error",
        "logging_steps": LOG_EVERY,
        "logging_first_step": True,
        "seed": seed,
        "data_seed": seed,
    }


def _in_our_order(trainer_class: type, stage: Stage, run: Run) -> type:
    """A trainer that takes its rows as memory.Batches deals them, so that a step is the same rows
    on any number of processes.
    """

    class Ordered(trainer_class):
        def get_train_dataloader(self):
            from torch.utils.data import DataLoader

            args, accumulation = self.args, self.args.gradient_accumulation_steps
            rows = self._remove_unused_columns(self.train_dataset, description="training")
            steps = steps_of(len(rows), args.max_steps, stage.batch_size, run.seed)
            # pairs have no one length
            by_length = accumulation > 1 and "labels" in rows.column_names
            lengths = [len(ids) for ids in rows["input_ids"]] if by_length else None
            batches = Batches(
                steps,
                accumulation=accumulation,
                processes=processes.count(),
                rank=processes.rank(),
                lengths=lengths,
            )
            return DataLoader(
                rows,
                batch_sampler=batches,
                collate_fn=self.data_collator,
                pin_memory=args.dataloader_pin_memory,
            )

        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            self._check_number("the loss", loss)
            return loss

        def _get_grad_norm(self, *args, **kwargs):
            norm = super()._get_grad_norm(*args, **kwargs)
            self._check_number("the gradient", norm)
            return norm

        def _check_number(self, what: str, value) -> None:
            if value is not None and not math.isfinite(value):
                raise _not_finite(what, stage, self.state.global_step + 1)

    return Ordered


def _not_finite(what: str, stage: Stage, step: int) -> InputError:
    return InputError(
        f"{stage.kind}: {what} is not a finite number from step {step} of {stage.steps} on; this "
        "stage is not kept, what was finished before it is; lower its learning_rate (now "
        f"{stage.learning_rate:g}), or look for what is odd in its data"
    )


def _check_start(model: PreTrainedModel, stage: Stage) -> None:
    """Raises InputError naming a weight of the start model that is not finite."""
    if name := not_finite(model):
        raise InputError(
            f"{stage.kind}: {name} of the start model holds values that are not finite, so nothing "
            "can be trained from it; copy or export the model again"
        )


def _run(
    trainer, model: PreTrainedModel, stage: Stage, run: Run, *, tokens: int, tokens_per_step: float
) -> TrainResult:
    """Train, resuming what a stopped run left, and take back a model that is free of everything the
    trainer hung on it.

    model: as it was given, for its configs: trainers rewrite the EOS in them.
    """
    import copy

    config, generation_config = copy.deepcopy(model.config), copy.deepcopy(model.generation_config)
    result = TrainResult(None, tokens=tokens)
    report = reporter(
        stage.kind,
        trainer.args.max_steps,
        tokens_per_step,
        result,
        run.progress,
        run.probe,
        run.recall,
        run.report,
    )
    trainer.remove_callback(report.replaces)
    trainer.add_callback(report)
    # one GPU per process: without a launcher transformers would split every batch over all it sees
    trainer.args._n_gpu = 1
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            # TRL trains adapters on a base in four bits in bfloat16
            weight.data = weight.data.float()
    state = run.partial.find() if run.partial else None
    before = state.seconds if state else 0.0
    stop = run.stop or Stop(stage.kind)
    if run.partial:
        trainer.add_callback(keeper(run.partial, stop, run.probe, before, LOG_EVERY))
        stop.patient = True
    if state and run.probe:
        run.probe.restore(state.seen(), before)
    _check_start(model, stage)
    if run.report:  # before the clock: another program may take its time to start
        run.report.begin(state.step if state else 0, trainer.args.max_steps)
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(state.folder) if state else None)
    result.wall_seconds = before + time.perf_counter() - began
    at, steps = trainer.state.global_step, trainer.args.max_steps
    result.steps = at
    if at < steps and report.ended:
        result.tokens = round(result.tokens * at / steps)
    elif at < steps:
        stop.end(f"stopped: {stage.kind} is kept up to step {at} of {steps}")
    result.model = _trained_model(trainer, config, run.base)
    if result.model is not None:
        if name := not_finite(result.model):
            raise _not_finite(name, stage, steps)
        result.model.generation_config = generation_config
    return result


def _trained_model(trainer, config, base: Path | None) -> PreTrainedModel | None:
    """The trained model in main memory, adapters merged; None in every process but the first."""
    import torch

    trained = trainer.accelerator.unwrap_model(trainer.model)
    # all processes gather
    state = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if not processes.is_main():
        return None
    if base and hasattr(trained, "merge_and_unload"):
        return _merged_into(load_as_stored(base), trained, state).eval()
    if hasattr(trained, "merge_and_unload"):
        trained = trained.merge_and_unload()
    # TRL leaves a patched `forward` bound to this very instance; a copy would compute with these
    # weights.
    before = torch.get_default_dtype()
    torch.set_default_dtype(trained.dtype)
    try:
        clean = type(trained)(config)
    finally:
        torch.set_default_dtype(before)
    clean.load_state_dict(trained.state_dict() if state is None else state)
    return clean.eval()


def _merged_into(base: PreTrainedModel, trained, state: dict | None) -> PreTrainedModel:
    """A trained model's adapters merged into another copy of its base.

    The copy they were trained on may be rounded to bfloat16 or to four bits; a merge there would
    keep that rounding for good, and round the adapters' change away with it.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    adapters = {
        name: value.cpu()
        for name, value in get_peft_model_state_dict(trained, state_dict=state).items()
    }
    whole = get_peft_model(base, trained.peft_config["default"])
    set_peft_model_state_dict(whole, adapters)
    return whole.merge_and_unload()


@contextmanager
def _adapters_fit(stage: Stage, model: PreTrainedModel) -> Iterator[None]:
    """Raises InputError for a model that peft puts no adapters on, such as Mamba."""
    try:
        yield
    except ValueError as error:
        if stage.lora is None:
            raise
        raise InputError(
            f"{stage.kind}: adapters (lora) cannot be put on {type(model).__name__} "
            f"({str(error).split('] ')[-1].split('. ')[0]}); drop lora to train all weights"
        ) from error


def _peft_config(stage: Stage):
    if stage.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=stage.lora.rank,
        lora_alpha=stage.lora.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _prepared(stage: Stage, model: PreTrainedModel) -> PreTrainedModel:
    """A base in four bits made fit for training."""
    if not (stage.lora and stage.lora.four_bit):
        return model
    from peft import prepare_model_for_kbit_training

    # the trainer sees to gradient checkpointing, as ever
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def fit_rows(
    stage: Stage,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    *,
    counted: RowCount | None = None,
    **how: Any,
) -> TrainResult:
    """Next-token training on prepared rows {"input_ids", "labels"}: what CPT and SFT share. how:
    see Run. counted: what became of the rows that these were made of.

    rows are used once each, in order of a seeded shuffle.
    """
    with uncollected():
        from datasets import Dataset
        from transformers import Trainer
        from trl import SFTConfig, SFTTrainer

    class LeanSFTTrainer(SFTTrainer):
        """SFTTrainer whose loss is the model's own.

        TRL computes it in chunks beside entropy and accuracy: made for huge vocabularies, and more
        than half of a step at this size. benchmarks/train_speed.py prints both.
        """

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

    run = Run(**how)
    check_tokens(model, tokenizer, (row["input_ids"] for row in rows))
    steps = len(rows) // stage.batch_size
    tokens = sum(len(row["input_ids"]) for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **_common_arguments(stage, model, steps, run.seed, folder),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        )
        with _adapters_fit(stage, model):
            trainer = _in_our_order(LeanSFTTrainer, stage, run)(
                model=_prepared(stage, model),
                args=arguments,
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                peft_config=_peft_config(stage),
            )
        per_step = tokens / len(rows) * stage.batch_size
        result = _run(trainer, model, stage, run, tokens=tokens, tokens_per_step=per_step)
    result.rows = counted or RowCount(rows=len(rows))
    return result


# --- the four stages --------------------------------------------------------------------------


def train_cpt(
    stage,
    model,
    tokenizer,
    texts: list[str],
    *,
    replay: list[dict],
    seed: int,
    counted: RowCount | None = None,
    **how,
) -> TrainResult:
    """Continued pre-training on `texts`, `stage.replay` of the rows drawn from prepared `replay`
    rows. counted: knows where the texts lie.
    """
    counted = counted or RowCount()
    rows = text_rows(tokenizer, texts, longest_row(stage, model), counted)
    picked = _picked(stage, rows, replay, seed)
    result = fit_rows(stage, model, tokenizer, picked, seed=seed, counted=counted, **how)
    result.reads = reads(stage, len(rows), result.steps)
    return result


def train_sft(
    stage,
    model,
    tokenizer,
    chats: list[list[dict]],
    *,
    replay: list[dict],
    seed: int,
    counted: RowCount | None = None,
    **how,
) -> TrainResult:
    """Supervised fine-tuning on conversations; loss on assistant tokens only. counted: knows where
    the conversations lie.
    """
    counted = counted or RowCount()
    rows = chat_rows(tokenizer, chats, longest_row(stage, model), counted)
    picked = _picked(stage, rows, replay, seed)
    return fit_rows(stage, model, tokenizer, picked, seed=seed, counted=counted, **how)


def _picked(stage, rows: list[dict], replay: list[dict], seed: int) -> list[dict]:
    """The rows a stage trains on, in order: as many as its steps take, its share of them replay."""
    rng = random.Random(seed)
    rng.shuffle(rows)
    return mix(rows, replay, stage.replay, stage.steps * stage.batch_size, rng)


def turn_end(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that closes an assistant turn, read off the chat template."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
    ids = rendered(tokenizer, messages)["input_ids"]
    special = [i for i in ids if i in tokenizer.all_special_ids]
    return tokenizer.convert_ids_to_tokens(special[-1]) if special else tokenizer.eos_token


def preference_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy for DPO and ORPO: its EOS is the end of a turn.

    With the document EOS, ORPO would close every answer twice.
    """
    import copy

    ours = copy.deepcopy(tokenizer)
    ours.eos_token = turn_end(tokenizer)
    return ours


def train_dpo(stage, model, tokenizer, pairs: list[dict], **how) -> TrainResult:
    """Direct preference optimisation (arXiv 2305.18290) against the model it starts from. how: see
    Run.

    The reference's log-probabilities are computed once, before the first step and before a killed
    run's weights are read. Without that, TRL would reload a reference from the config's path, which
    may be another model: silently wrong.
    """
    import torch

    with uncollected():
        from trl import DPOConfig, DPOTrainer

    class LeanDPOTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            """TRL would tokenise here, and drop rows without a word; these are tokens already."""
            return dataset

        def _precompute_ref_logps(self, dataset, name, batch_size):
            """TRL passes them on through a file in a temporary folder that other processes do not
            see; here each keeps its own.
            """
            loader = torch.utils.data.DataLoader(
                dataset, batch_size=batch_size, collate_fn=self.data_collator
            )
            found = []
            for batch in self.accelerator.prepare(loader):
                logps = self.compute_ref_log_probs(self.ref_model or self.model, batch)
                found.append(
                    [value.float().cpu() for value in self.accelerator.gather_for_metrics(logps)]
                )
            for column, values in zip(
                ("ref_chosen_logps", "ref_rejected_logps"), zip(*found, strict=True), strict=True
            ):
                dataset = dataset.add_column(column, torch.cat(values).numpy())
            return dataset

    return _train_preferences(
        stage,
        model,
        tokenizer,
        pairs,
        LeanDPOTrainer,
        DPOConfig,
        {"precompute_ref_log_probs": True},
        **how,
    )


def train_orpo(stage, model, tokenizer, pairs: list[dict], **how) -> TrainResult:
    """Odds-ratio preference optimisation (arXiv 2403.07691): no reference model. how: see Run.

    labkit/train/orpo.py has the loss and says what it follows.
    """
    with uncollected():
        from labkit.train.orpo import ORPOConfig, ORPOTrainer

    return _train_preferences(stage, model, tokenizer, pairs, ORPOTrainer, ORPOConfig, {}, **how)


def _train_preferences(
    stage,
    model,
    tokenizer,
    pairs,
    trainer_class,
    config_class,
    extra,
    *,
    counted: RowCount | None = None,
    **how,
) -> TrainResult:
    run = Run(**how)
    from datasets import Dataset

    ours, counted = preference_tokenizer(tokenizer), counted or RowCount()
    rows = preference_rows(
        ours, pairs, longest_row(stage, model), counted, closed=stage.kind == "orpo"
    )
    lengths = [2 * len(prompt) + len(a) + len(b) for prompt, a, b in map(dict.values, rows)]
    per_step = sum(lengths) / len(rows) * stage.batch_size
    check_tokens(model, ours, (ids for row in rows for ids in row.values()))
    wanted = min(stage.steps * stage.batch_size, len(rows))
    with tempfile.TemporaryDirectory() as folder:
        arguments = config_class(
            **_common_arguments(stage, model, stage.steps, run.seed, folder),
            **extra,
            beta=stage.beta,
            max_length=stage.max_length,
        )
        with _adapters_fit(stage, model):
            trainer = _in_our_order(trainer_class, stage, run)(
                model=_prepared(stage, model),
                args=arguments,
                train_dataset=Dataset.from_list(random.Random(run.seed).sample(rows, wanted)),
                processing_class=ours,
                peft_config=_peft_config(stage),
            )
        tokens = round(per_step * stage.steps)
        result = _run(trainer, model, stage, run, tokens=tokens, tokens_per_step=per_step)
    result.rows = counted
    return result
