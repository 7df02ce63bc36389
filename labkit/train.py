"""CPT, SFT, DPO and ORPO on TRL: the only module that imports trl or peft.

TRL moves fast; every assumption about it lives here and is covered by tests/test_train.py.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.design import Stage
from labkit.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100  # label of a token that carries no loss
WARMUP_SHARE = 0.05
LOG_EVERY = 5


@dataclass(frozen=True)
class Progress:
    """One moment of a running stage, as callbacks receive it."""

    stage: str
    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


@dataclass
class TrainResult:
    """What a stage leaves beside its weights. loss_curve: (step, loss) every few steps."""

    model: PreTrainedModel
    loss_curve: list[tuple[int, float]] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)
    wall_seconds: float = 0.0
    tokens: int = 0


def prepare_process() -> None:
    """Settings that must stand before torch is imported; harmless to call again."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    for switch in ("TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(switch, "1")  # progress is labkit's one line; in a notebook theirs are widgets
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|torch)\.")


def bf16_is_fast() -> bool:
    """Whether this machine multiplies in bfloat16 natively; elsewhere autocast only costs time."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.cpu.get_capabilities().get("avx512_bf16", False) or torch.cpu.get_capabilities().get("amx_bf16", False)


# --- rows -------------------------------------------------------------------------------------


def text_rows(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], max_length: int) -> list[dict]:
    """One row per document, closed by the document EOS, every token trained on."""
    encoded = tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=max_length - 1)
    rows = [ids + [tokenizer.eos_token_id] for ids in encoded["input_ids"]]
    return [{"input_ids": ids, "labels": list(ids)} for ids in rows]


def chat_rows(tokenizer: PreTrainedTokenizerBase, chats: Iterable[list[dict]], max_length: int) -> list[dict]:
    """One row per conversation; loss on assistant turns only, end-of-turn token included.

    Raises InputError when the chat template has no {% generation %} markers: the mask would be empty.
    """
    rows = []
    for messages in chats:
        encoded = tokenizer.apply_chat_template(
            messages, return_dict=True, return_assistant_tokens_mask=True, truncation=True, max_length=max_length
        )
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        if not any(mask):
            raise InputError(
                "no assistant token to train on: the chat template lacks {% generation %} markers, "
                "or max_length cuts every answer off; use a template with markers or raise max_length"
            )
        rows.append({"input_ids": ids, "labels": [i if m else IGNORED for i, m in zip(ids, mask, strict=True)]})
    return rows


def mix(rows: list[dict], replay: list[dict], share: float, count: int, rng: random.Random) -> list[dict]:
    """`count` rows in random order, `share` of them replay; both sides are cycled as often as needed."""
    replayed = round(count * share)
    picked = [rows[i % len(rows)] for i in range(count - replayed)] + [replay[i % len(replay)] for i in range(replayed)]
    rng.shuffle(picked)
    return picked


# --- trainers ---------------------------------------------------------------------------------


def _common_arguments(stage: Stage, steps: int, seed: int, folder: str) -> dict:
    import torch

    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": folder,
        "use_cpu": on_cpu,
        "bf16": bf16_is_fast(),
        "activation_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "disable_tqdm": True,
        "max_steps": steps,
        "per_device_train_batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, round(steps * WARMUP_SHARE)),
        "max_grad_norm": 1.0,
        "logging_steps": LOG_EVERY,
        "logging_first_step": True,
        "seed": seed,
        "data_seed": seed,
    }


def _reporter(stage: str, steps: int, tokens_per_step: float, result: TrainResult, progress: Callable | None, probe: Callable | None):
    from transformers import PrinterCallback, TrainerCallback

    class Reporter(TrainerCallback):
        """Keeps the loss curve and tells `progress` where the stage stands."""

        replaces = PrinterCallback

        def on_train_begin(self, args, state, control, model=None, **kwargs):
            self.began = time.perf_counter()
            self.look(model, 0)

        def on_step_end(self, args, state, control, model=None, **kwargs):
            self.look(model, state.global_step)

        def look(self, model, step: int) -> None:
            if probe:
                with _undisturbed(model):
                    probe(model, step, steps)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if not logs or "loss" not in logs:
                return
            result.loss_curve.append((state.global_step, float(logs["loss"])))
            result.metrics.append({"step": state.global_step, **{k: float(v) for k, v in logs.items()}})
            self.tell(state.global_step)

        def on_train_end(self, args, state, control, **kwargs):
            self.tell(state.global_step)

        def tell(self, step: int) -> None:
            if progress and result.loss_curve and step:
                rate = step / max(time.perf_counter() - self.began, 1e-9)
                loss = result.loss_curve[-1][1]
                progress(Progress(stage, step, steps, loss, rate * tokens_per_step, (steps - step) / rate))

    return Reporter()


@contextmanager
def _undisturbed(model):
    """Evaluation mode, and random numbers as they were afterwards: a look must not change what is learned."""
    import torch

    training = model.training
    model.eval()
    with torch.random.fork_rng(enabled=True):
        yield
    model.train(training)


def _run(trainer, reporter, result: TrainResult) -> TrainResult:
    """Train, and take back a model that is free of everything the trainer hung on it.

    result.model must be the model as it was given: trainers rewrite the EOS in its configs.
    """
    import copy

    import torch

    config, generation_config = copy.deepcopy(result.model.config), copy.deepcopy(result.model.generation_config)
    trainer.remove_callback(reporter.replaces)
    trainer.add_callback(reporter)
    began = time.perf_counter()
    trainer.train()
    result.wall_seconds = time.perf_counter() - began
    trained = trainer.model
    if hasattr(trained, "merge_and_unload"):
        trained = trained.merge_and_unload()
    # TRL leaves a patched `forward` bound to this very instance; a copy would compute with these weights.
    clean = type(trained)(config)
    clean.load_state_dict(trained.state_dict())
    clean.generation_config = generation_config
    result.model = clean.to(dtype=torch.float32).eval()
    return result


def _peft_config(stage: Stage):
    if stage.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=stage.lora.rank, lora_alpha=stage.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def _mean_length(rows: list[dict]) -> float:
    return sum(len(row["input_ids"]) for row in rows) / len(rows)


def fit_rows(
    stage: Stage,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    *,
    seed: int,
    progress: Callable[[Progress], None] | None = None,
    probe: Callable[[PreTrainedModel, int, int], None] | None = None,
) -> TrainResult:
    """Next-token training on prepared rows {"input_ids", "labels"}: what CPT and SFT share.

    rows are used once each, in order of a seeded shuffle. probe: called with (model, step, steps) before the first
    step and after each; it cannot disturb the training.
    """
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

    steps = len(rows) // stage.batch_size
    result = TrainResult(model, tokens=sum(len(row["input_ids"]) for row in rows))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **_common_arguments(stage, steps, seed, folder),
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        )
        trainer = LeanSFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=_peft_config(stage),
        )
        reporter = _reporter(stage.kind, steps, _mean_length(rows) * stage.batch_size, result, progress, probe)
        return _run(trainer, reporter, result)


# --- the four stages --------------------------------------------------------------------------


def train_cpt(stage, model, tokenizer, texts: list[str], *, replay: list[dict], seed: int, progress=None, probe=None) -> TrainResult:
    """Continued pre-training on `texts`, `stage.replay` of the rows drawn from prepared `replay` rows."""
    rows = text_rows(tokenizer, texts, stage.max_length)
    return fit_rows(stage, model, tokenizer, _picked(stage, rows, replay, seed), seed=seed, progress=progress, probe=probe)


def train_sft(stage, model, tokenizer, chats: list[list[dict]], *, replay: list[dict], seed: int, progress=None, probe=None) -> TrainResult:
    """Supervised fine-tuning on conversations; loss on assistant tokens only."""
    rows = chat_rows(tokenizer, chats, stage.max_length)
    return fit_rows(stage, model, tokenizer, _picked(stage, rows, replay, seed), seed=seed, progress=progress, probe=probe)


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

    With the document EOS, ORPO would close every answer twice; with a BOS, ORPO would put one before
    prompts that no other stage gave one.
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


def train_dpo(stage, model, tokenizer, pairs: list[dict], *, seed: int, progress=None, probe=None) -> TrainResult:
    """Direct preference optimisation (arXiv 2305.18290) against the model it starts from.

    The reference's log-probabilities are computed once before the first step. Without that, TRL would
    reload a reference from the config's path, which may be another model: silently wrong.
    """
    from trl import DPOConfig, DPOTrainer

    return _train_preferences(
        stage, model, tokenizer, pairs, DPOTrainer, DPOConfig, {"precompute_ref_log_probs": True}, seed, progress, probe
    )


def train_orpo(stage, model, tokenizer, pairs: list[dict], *, seed: int, progress=None, probe=None) -> TrainResult:
    """Odds-ratio preference optimisation (arXiv 2403.07691): no reference model.

    Its likelihood term covers prompt and answer.
    """
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return _train_preferences(stage, model, tokenizer, pairs, ORPOTrainer, ORPOConfig, {}, seed, progress, probe)


def _train_preferences(stage, model, tokenizer, pairs, trainer_class, config_class, extra, seed, progress, probe) -> TrainResult:
    ours = preference_tokenizer(tokenizer)
    per_step = _pair_tokens(ours, pairs) * stage.batch_size
    result = TrainResult(model, tokens=round(per_step * stage.steps))
    with tempfile.TemporaryDirectory() as folder:
        arguments = config_class(
            **_common_arguments(stage, stage.steps, seed, folder),
            **extra,
            beta=stage.beta,
            max_length=stage.max_length,
        )
        trainer = trainer_class(
            model=model,
            args=arguments,
            train_dataset=_preference_dataset(pairs, stage.steps * stage.batch_size, seed),
            processing_class=ours,
            peft_config=_peft_config(stage),
        )
        return _run(trainer, _reporter(stage.kind, stage.steps, per_step, result, progress, probe), result)
