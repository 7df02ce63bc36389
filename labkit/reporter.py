"""What a running stage tells: its loss curve, where it stands, and what a probe sees."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit import processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    """What a stage leaves beside its weights. loss_curve: (step, loss) every few steps.

    model: None in every process but the first. wall_seconds: of training, those before a resumption included.
    """

    model: PreTrainedModel | None
    loss_curve: list[tuple[int, float]] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)
    wall_seconds: float = 0.0
    tokens: int = 0

    def add(self, step: int, logs: dict) -> None:
        """Take down what was logged at a step."""
        self.loss_curve.append((step, float(logs["loss"])))
        self.metrics.append({"step": step, **{k: float(v) for k, v in logs.items() if k != "step"}})


def reporter(stage: str, steps: int, tokens_per_step: float, result: TrainResult, progress: Callable | None, probe: Callable | None):
    """A TrainerCallback that keeps the loss curve and, in the first process, tells `progress` where the stage stands."""
    from transformers import PrinterCallback, TrainerCallback

    class Reporter(TrainerCallback):
        replaces = PrinterCallback

        def on_train_begin(self, args, state, control, model=None, **kwargs):
            self.began, self.first = time.perf_counter(), state.global_step
            for logs in state.log_history:  # of the run that is resumed
                if "loss" in logs:
                    result.add(logs["step"], logs)
            if not self.first:
                self.look(model, 0)

        def on_step_end(self, args, state, control, model=None, **kwargs):
            self.look(model, state.global_step)

        def look(self, model, step: int) -> None:
            if probe:
                with _undisturbed(model):
                    probe(model, step, steps)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                result.add(state.global_step, logs)
                self.tell(state.global_step)

        def on_train_end(self, args, state, control, **kwargs):
            self.tell(state.global_step)

        def tell(self, step: int) -> None:
            if progress and processes.is_main() and result.loss_curve and step > self.first:
                rate = (step - self.first) / max(time.perf_counter() - self.began, 1e-9)
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
