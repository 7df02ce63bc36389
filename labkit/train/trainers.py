"""CPT, SFT, DPO and ORPO on TRL.

TRL moves fast. Every assumption about it lives here, and tests/train/test_train.py covers it. The
module does not know packs or the store: it takes a model and rows, and gives a model back.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.base import processes
from labkit.base.errors import InputError
from labkit.models.families import conversation
from labkit.models.zoo import uncollected
from labkit.train.callbacks import (
    Partial,
    Probe,
    Progress,
    Stop,
    TrainResult,
    keeper,
    reporter,
)
from labkit.train.memory import Batches, bf16_is_fast, load_as_stored, shares, steps_of
from labkit.train.specs import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    it was trained on.
    """

    seed: int
    progress: Callable[[Progress], None] | None = None
    probe: Probe | None = None
    partial: Partial | None = None
    stop: Stop | None = None
    base: Path | None = None


def prepare_process() -> None:
    """Settings that must stand before torch is imported; harmless to call again."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    for switch in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        # progress is labkit's one line; in a notebook theirs are widgets
        os.environ.setdefault(switch, "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|torch)\.")
    # of a base unpacked from a GGUF file
    warnings.filterwarnings("ignore", message="Could not find a config file", module=r"peft\.")


# --- rows -------------------------------------------------------------------------------------


def text_rows(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], max_length: int
) -> list[dict]:
    """One row per document, closed by the document EOS, every token trained on."""
    encoded = tokenizer(
        list(texts), add_special_tokens=False, truncation=True, max_length=max_length - 1
    )
    rows = [[*ids, tokenizer.eos_token_id] for ids in encoded["input_ids"]]
    return [{"input_ids": ids, "labels": list(ids)} for ids in rows]


def chat_rows(
    tokenizer: PreTrainedTokenizerBase, chats: Iterable[list[dict]], max_length: int
) -> list[dict]:
    """One row per conversation; loss on assistant turns only, end-of-turn token included.

    Raises InputError when max_length cuts every answer off, or when the chat template cannot be
    used for training.
    """
    rows = []
    for messages in chats:
        ids, mask = (found[:max_length] for found in conversation(tokenizer, messages))
        if not any(mask):
            raise InputError(
                f"no assistant token to train on: max_length {max_length} cuts every "
                "answer off; raise it"
            )
        rows.append(
            {
                "input_ids": ids,
                "labels": [i if m else IGNORED for i, m in zip(ids, mask, strict=True)],
            }
        )
    return rows


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


def _common_arguments(stage: Stage, steps: int, seed: int, folder: str) -> dict:
    """A constant schedule with its warm-up is what transformers calls constant_with_warmup; its
    `constant` has none.
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    micro, accumulation = shares(stage, processes.count())
    return {
        "output_dir": folder,
        "use_cpu": on_cpu,
        "bf16": bf16_is_fast(),
        "activation_checkpointing": stage.activation_checkpointing,
        "report_to": "none",
        "save_strategy": "no",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
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

    return Ordered


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
        stage.kind, trainer.args.max_steps, tokens_per_step, result, run.progress, run.probe
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
    began = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(state.folder) if state else None)
    result.wall_seconds = before + time.perf_counter() - began
    at, steps = trainer.state.global_step, trainer.args.max_steps
    if at < steps:
        stop.end(f"stopped: {stage.kind} is kept up to step {at} of {steps}")
    result.model = _trained_model(trainer, config, run.base)
    if result.model is not None:
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
    """A base in four bits made fit for training; ORPO's trainer does it itself."""
    if not (stage.lora and stage.lora.four_bit) or stage.kind == "orpo":
        return model
    from peft import prepare_model_for_kbit_training

    # the trainer sees to gradient checkpointing, as ever
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def fit_rows(
    stage: Stage,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    **how: Any,
) -> TrainResult:
    """Next-token training on prepared rows {"input_ids", "labels"}: what CPT and SFT share. how:
    see Run.

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
    steps = len(rows) // stage.batch_size
    tokens = sum(len(row["input_ids"]) for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **_common_arguments(stage, steps, run.seed, folder),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        )
        trainer = _in_our_order(LeanSFTTrainer, stage, run)(
            model=_prepared(stage, model),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=_peft_config(stage),
        )
        per_step = tokens / len(rows) * stage.batch_size
        return _run(trainer, model, stage, run, tokens=tokens, tokens_per_step=per_step)


# --- the four stages --------------------------------------------------------------------------


def train_cpt(
    stage, model, tokenizer, texts: list[str], *, replay: list[dict], seed: int, **how
) -> TrainResult:
    """Continued pre-training on `texts`, `stage.replay` of the rows drawn from prepared `replay`
    rows.
    """
    rows = text_rows(tokenizer, texts, stage.max_length)
    return fit_rows(stage, model, tokenizer, _picked(stage, rows, replay, seed), seed=seed, **how)


def train_sft(
    stage, model, tokenizer, chats: list[list[dict]], *, replay: list[dict], seed: int, **how
) -> TrainResult:
    """Supervised fine-tuning on conversations; loss on assistant tokens only."""
    rows = chat_rows(tokenizer, chats, stage.max_length)
    return fit_rows(stage, model, tokenizer, _picked(stage, rows, replay, seed), seed=seed, **how)


def _picked(stage, rows: list[dict], replay: list[dict], seed: int) -> list[dict]:
    """The rows a stage trains on, in order: as many as its steps take, its share of them replay."""
    rng = random.Random(seed)
    rng.shuffle(rows)
    return mix(rows, replay, stage.replay, stage.steps * stage.batch_size, rng)


def turn_end(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that closes an assistant turn, read off the chat template."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
    ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
    special = [i for i in ids if i in tokenizer.all_special_ids]
    return tokenizer.convert_ids_to_tokens(special[-1]) if special else tokenizer.eos_token


def preference_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy for DPO and ORPO: its EOS is the end of a turn, and it prepends nothing.

    With the document EOS, ORPO would close every answer twice; with a BOS, ORPO would put one
    before prompts that no other stage gave one.
    """
    import copy

    ours = copy.deepcopy(tokenizer)
    ours.eos_token = turn_end(tokenizer)
    ours.bos_token = None
    return ours


def _preference_dataset(pairs: list[dict], count: int, seed: int):
    from datasets import Dataset

    rng = random.Random(seed)
    rows = [{key: pair[key] for key in ("prompt", "chosen", "rejected")} for pair in pairs]
    return Dataset.from_list(rng.sample(rows, min(count, len(rows))))


def _pair_tokens(tokenizer, pairs: list[dict]) -> float:
    """Mean tokens per pair, both answers and both copies of the prompt counted."""
    sample = pairs[:50]
    chats = [pair["prompt"] + pair[side] for pair in sample for side in ("chosen", "rejected")]
    encoded = [tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"] for chat in chats]
    return sum(map(len, encoded)) / len(sample)


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
        Run(**how),
    )


def train_orpo(stage, model, tokenizer, pairs: list[dict], **how) -> TrainResult:
    """Odds-ratio preference optimisation (arXiv 2403.07691): no reference model. how: see Run.

    Its likelihood term covers prompt and answer.
    """
    with uncollected():
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    class LeanORPOTrainer(ORPOTrainer):
        """The likelihood term is a mean over the tokens of a whole step, however the step is
        shared; TRL's is one over each share.
        """

        def get_batch_samples(self, epoch_iterator, num_batches, device):
            batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
            self.parts = len(batches) * processes.count()
            if self.parts > 1:
                tokens = sum(_likelihood_tokens(batch) for batch in batches).to(device)
                self.step_tokens = self.accelerator.gather(tokens).sum()
            return batches, items

        def concatenated_forward(self, model, batch):
            *rest, likelihood = super().concatenated_forward(model, batch)
            if self.parts > 1:
                likelihood = likelihood * (
                    _likelihood_tokens(batch) * self.parts / self.step_tokens
                )
            return (*rest, likelihood)

    return _train_preferences(
        stage, model, tokenizer, pairs, LeanORPOTrainer, ORPOConfig, {}, Run(**how)
    )


def _likelihood_tokens(batch: dict):
    """Tokens of the preferred answers, prompts included, that are predicted: all but the first of
    each row.
    """
    return batch["chosen_attention_mask"][:, 1:].sum()


def _train_preferences(
    stage, model, tokenizer, pairs, trainer_class, config_class, extra, run: Run
) -> TrainResult:
    ours = preference_tokenizer(tokenizer)
    per_step = _pair_tokens(ours, pairs) * stage.batch_size
    with tempfile.TemporaryDirectory() as folder:
        arguments = config_class(
            **_common_arguments(stage, stage.steps, run.seed, folder),
            **extra,
            beta=stage.beta,
            max_length=stage.max_length,
        )
        trainer = _in_our_order(trainer_class, stage, run)(
            model=_prepared(stage, model),
            args=arguments,
            train_dataset=_preference_dataset(pairs, stage.steps * stage.batch_size, run.seed),
            processing_class=ours,
            peft_config=_peft_config(stage),
        )
        tokens = round(per_step * stage.steps)
        return _run(trainer, model, stage, run, tokens=tokens, tokens_per_step=per_step)
