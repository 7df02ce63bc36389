"""What the processes of a distributed test run: ranks.py SPEC STORE [sharded].

Trains in float32, so that only the order of additions differs from one process. STORE.jsonl is the
run's log. `sharded`: by FSDP2 on CPUs; torch can, but accelerate asks for it on GPUs only, so it is
told that these processes have some.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def pretend_gpus() -> None:
    import torch
    from accelerate import state

    os.environ.update(
        ACCELERATE_TORCH_DEVICE="cpu",
        ACCELERATE_USE_FSDP="true",
        FSDP_VERSION="2",
        FSDP_RESHARD_AFTER_FORWARD="true",
        FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
        FSDP_STATE_DICT_TYPE="SHARDED_STATE_DICT",
    )
    torch.distributed.init_process_group("gloo")
    state.PartialState._prepare_backend = lambda self, *args, **kwargs: (
        "gloo",
        state.DistributedType.MULTI_GPU,
    )


def say(line: str) -> None:
    """In one piece: the processes share the stream."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    from labkit.base.store import Store
    from labkit.train import pipeline, specs, trainers

    if "sharded" in sys.argv:
        pretend_gpus()
    trainers.bf16_is_fast = lambda: False
    original = trainers._trained_model

    def told(trainer, config, base):
        say(f"held as {type(next(trainer.model.parameters())).__name__}")
        return original(trainer, config, base)

    trainers._trained_model = told
    pipeline.run_spec(
        specs.load_spec(Path(sys.argv[1])),
        store=Store(Path(sys.argv[2])),
        log_jsonl=Path(sys.argv[2]).with_suffix(".jsonl"),
        progress=lambda at: say(f"at {at.stage} {at.step}"),
    )
