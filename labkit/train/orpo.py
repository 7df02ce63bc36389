"""ORPO, odds-ratio preference optimisation: the loss written out, and the trainer that applies it.

The paper is Hong, Lee and Thorne 2024, "ORPO: Monolithic Preference Optimization without Reference
Model", arXiv 2403.07691. A pair has a prompt x, a chosen answer w and a rejected answer l. The
numbers are those of the paper's equations:

    log P(y|x)  =  mean of log P(token | all tokens before it) over the tokens of y      (3)
    odds(y|x)   =  P(y|x) / (1 - P(y|x))                                                 (4)
    OR          =  odds(w|x) / odds(l|x)                                                 (5)
    L           =  L_SFT + lambda * L_OR                                                 (6)
    L_OR        =  -log sigmoid(log OR)                                                  (7)

L_SFT is the mean of -log P(token) of the chosen answer. What the paper leaves open is settled here:

- As in TRL 1.16, L_SFT covers the tokens of the prompt, too, and lambda is called `beta`.
- As in TRL 1.16, prompt and answer together are cut at `max_length`. Both means are taken over the
  tokens that are left.
- L_SFT is one mean over all tokens of a step, and L_OR one mean over its pairs. So micro-batches
  and several processes change nothing but rounding. TRL takes the mean over each share of a step,
  then the mean of these means. In a step that is taken in one piece, both are the same.
- Where a model is certain of an answer, P(y|x) = 1 has no odds; the largest that fit the number
  format stand for them. TRL's loss has no finite gradient there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid
from transformers import Trainer, TrainingArguments, set_seed
from trl.trainer.dpo_trainer import DataCollatorForPreference

if TYPE_CHECKING:
    from torch import Tensor


# --- the loss ---------------------------------------------------------------------------------


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, to full precision wherever exp(x) lies between 0 and 1.

    Each formula loses all digits where the other is good. Source: Mächler 2012, "Accurately
    computing log(1 - exp(-|a|))".
    """
    likely = x > -math.log(2)
    # a gradient goes through both formulas: each is given only numbers that it can take
    near_one, near_zero = torch.where(likely, x, -1.0), torch.where(likely, -1.0, x)
    return torch.where(
        likely, torch.log(-torch.expm1(near_one)), torch.log1p(-torch.exp(near_zero))
    )


def log_odds(log_p: Tensor) -> Tensor:
    """log of P / (1 - P), equation (4), from log P."""
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).tiny)  # P = 1 has no odds
    return log_p - log1mexp(log_p)


def odds_ratio_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """L_OR, equation (7), of every pair, from log P of its two answers, equation (3)."""
    return -logsigmoid(log_odds(chosen) - log_odds(rejected))


def log_probabilities(logits: Tensor, ids: Tensor) -> Tensor:
    """log P(token | all tokens before it) of every token of every row but its first."""
    following = ids.roll(-1, dims=1)  # what stands at a place is predicted one place before
    return logits.log_softmax(-1).gather(-1, following.unsqueeze(-1))[:, :-1, 0]


# --- the trainer ------------------------------------------------------------------------------


@dataclass
class ORPOConfig(TrainingArguments):
    """transformers' arguments, and beta and max_length of a stage."""

    beta: float = 0.1
    max_length: int = 1024
    remove_unused_columns: bool = False  # the columns are for the collator


class ORPOTrainer(Trainer):
    """transformers' Trainer on pairs in tokens: rows {"prompt_ids", "chosen_ids", "rejected_ids"}.

    peft_config: trains adapters and not the weights.
    """

    loss_is_scaled_for_ga = False  # transformers divides by the number of micro-batches

    def __init__(self, model, args, train_dataset, processing_class, peft_config=None):
        set_seed(args.seed)  # adapters begin with random numbers
        if peft_config:
            from peft import get_peft_model

            model = get_peft_model(model, peft_config)
            if args.activation_checkpointing:
                model.enable_input_require_grads()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        self.watched: list[dict[str, Tensor]] = []
        super().__init__(
            model=model,
            args=args,
            data_collator=DataCollatorForPreference(processing_class.pad_token_id, args.max_length),
            train_dataset=train_dataset,
            processing_class=processing_class,
        )

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The micro-batches of a step, and how many tokens L_SFT has in each on average, over all
        processes.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counted = torch.stack([_predicted(batch).sum() for batch in batches]).float().to(device)
        return batches, self.accelerator.gather(counted).mean()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """L, equation (6), of one micro-batch. Its rows are the chosen answers, then the rejected
        ones.
        """
        outputs = model(
            inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        )
        log_p = log_probabilities(outputs.logits, inputs["input_ids"])
        predicted, answers = _predicted(inputs), inputs["completion_mask"][:, 1:]
        tokens = predicted.sum() if num_items_in_batch is None else num_items_in_batch
        likelihood = -(log_p[: len(predicted)] * predicted).sum() / tokens
        chosen, rejected = ((log_p * answers).sum(-1) / answers.sum(-1)).chunk(2)
        odds_ratio = odds_ratio_loss(chosen, rejected)
        loss = likelihood + self.args.beta * odds_ratio.mean()
        self._watch(chosen.detach(), rejected.detach(), likelihood.detach(), odds_ratio.detach())
        return (loss, outputs) if return_outputs else loss

    def _watch(self, chosen, rejected, likelihood, odds_ratio) -> None:
        """Keep what is logged beside the loss, under TRL's names."""
        beta = self.args.beta
        self.watched.append(
            {
                "rewards/chosen": beta * chosen.mean(),
                "rewards/rejected": beta * rejected.mean(),
                "rewards/accuracies": (chosen > rejected).float().mean(),
                "rewards/margins": beta * (chosen - rejected).mean(),
                "logps/chosen": chosen.mean(),
                "logps/rejected": rejected.mean(),
                "nll_loss": likelihood,
                "log_odds_ratio": -odds_ratio.mean(),
                "log_odds_chosen": (log_odds(chosen) - log_odds(rejected)).mean(),
            }
        )

    def log(self, logs, start_time=None):
        """Add the means, since the last log and over all processes, of what was watched."""
        if self.watched and "loss" in logs:
            rows = torch.stack([torch.stack([*row.values()]) for row in self.watched])
            means = self.accelerator.reduce(rows.mean(0), "mean").tolist()
            logs.update(zip(self.watched[0], means, strict=True))
            self.watched.clear()
        super().log(logs, start_time)


def _predicted(batch: dict) -> Tensor:
    """1 for every token of L_SFT: those of the chosen half, but for the first of each row."""
    return batch["attention_mask"].chunk(2)[0][:, 1:]
