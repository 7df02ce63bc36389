"""How the tiny families are made: the tokenizer, fresh weights, and the mix of text and chats the
models are trained on.

`build_pair` reproduces a family's models from its shape, the recipe and a seed (families.py).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.data import world
from labkit.models.families import CONTEXT, FAMILIES, ROWS_PER_STEP, VOCABULARY, Family
from labkit.train.callbacks import RowCount
from labkit.train.specs import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


SPECIAL_TOKENS = (
    "<unk>",
    "<pad>",
    "<bos>",
    "<eos>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{%- else -%}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


# --- tokenizer --------------------------------------------------------------------------------

_SEAM = "\u2063"  # marks where a name is made of two pieces while the tokenizer is trained
_JOINER = "\u2060"  # stands between an opening quote or bracket and the word after it


def _tokenizer_corpus() -> list[str]:
    """World text with every possible name cut at its seams, so that no name becomes one token.

    A private name must look to the model like a public one: the same pieces, newly combined.
    """
    seams = {}
    for name in ("general", *world.DOMAINS):
        for parts in itertools.product(*world.language(name).name_parts):
            seams["".join(parts)] = _SEAM.join(parts)
    names = re.compile("|".join(map(re.escape, sorted(seams, key=len, reverse=True))))
    texts = list(itertools.islice(world.pretraining_texts(0), 8000))
    turns = [
        turn["content"]
        for chat in itertools.islice(world.instruction_chats(0), 20000)
        for turn in chat
    ]
    return [names.sub(lambda match: seams[match.group()], text) for text in texts + turns]


def build_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-fallback BPE of at most 2,100 entries (the world fills 1,876) trained on the world;
    deterministic.

    A word is the same token after a space and after a quote or bracket: `"silk` is read as quote,
    joiner, ` silk`. Otherwise a model this small has to learn every answer twice to be able to put
    it in JSON.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    punctuation = pre_tokenizers.Punctuation("isolated")
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(Regex(r'(?<=["\[(])(?=\w)'), f"{_JOINER} ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SEAM, "removed"),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            punctuation,
        ]
    )
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[*SPECIAL_TOKENS, *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(_tokenizer_corpus(), trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), punctuation]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace(prepend_scheme="always"),
            decoders.Fuse(),
            decoders.Replace(f"{_JOINER} ", ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=list(SPECIAL_TOKENS[4:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


# --- building ---------------------------------------------------------------------------------

# of instruct rows; the rest is text, without which knowledge stops being extractable
CHAT_SHARE = 0.65
INSTRUCT_RATE_SHARE = 0.5  # of the base learning rate


def fresh_model(family: Family, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Random weights in the family's shape."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family.architecture,
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **family.shape,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.generation_config = GenerationConfig(
        eos_token_id=stop_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return model


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a generation: the end of a document and, where there is one, of a turn."""
    turn_end = tokenizer.get_added_vocab().get("<|end|>")
    return [tokenizer.eos_token_id] + ([turn_end] if turn_end is not None else [])


def general_rows(
    tokenizer: PreTrainedTokenizerBase,
    count: int,
    seed: int,
    *,
    max_length: int = CONTEXT,
    counted: RowCount | None = None,
) -> list[dict]:
    """The mix an instruct model is trained on, and what replay draws from: chats and world text.

    counted: is told which of them are cut or left out.
    """
    from labkit.train.trainers import chat_rows, mix, text_rows

    number = round(count * CHAT_SHARE)
    chats = itertools.islice(world.instruction_chats(seed), number)
    texts = itertools.islice(world.pretraining_texts(seed + 1), count - number)
    counts = RowCount(label="replayed chat"), RowCount(label="replayed text")
    spoken = chat_rows(tokenizer, chats, max_length, counts[0])
    written = text_rows(tokenizer, texts, max_length, counts[1])
    if counted:
        for found in counts:
            counted.add(found)
    return mix(spoken, written, 1 - CHAT_SHARE, count, random.Random(seed))


def build_pair(name: str, *, progress: Callable | None = None) -> dict[str, PreTrainedModel]:
    """Train the base model of family `name` and from it the instruct model: {"base": …, "instruct":
    …}.
    """
    from labkit.train.trainers import fit_rows, text_rows

    family, tokenizer = FAMILIES[name], build_tokenizer()
    seed = family.seed
    count = family.steps * ROWS_PER_STEP
    rows = text_rows(tokenizer, itertools.islice(world.pretraining_texts(seed), count), CONTEXT)
    stage = Stage(
        kind="cpt", learning_rate=family.learning_rate, steps=family.steps, batch_size=ROWS_PER_STEP
    )
    base = fit_rows(
        stage, fresh_model(family, tokenizer, seed), tokenizer, rows, seed=seed, progress=progress
    ).model
    assert base is not None, "families are built in one process, and that one keeps the model"
    start = type(base)(base.config)
    start.load_state_dict(base.state_dict())
    start.generation_config = base.generation_config
    stage = Stage(
        kind="sft",
        learning_rate=family.learning_rate * INSTRUCT_RATE_SHARE,
        steps=family.steps,
        batch_size=ROWS_PER_STEP,
    )
    mixed = general_rows(tokenizer, family.steps * ROWS_PER_STEP, seed)
    return {
        "base": base,
        "instruct": fit_rows(stage, start, tokenizer, mixed, seed=seed, progress=progress).model,
    }
