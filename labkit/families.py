"""The tiny families: shapes, and one recipe for all, so that size or architecture is the only thing that changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

VOCABULARY = 2100
CONTEXT = 256
ROWS_PER_STEP = 64
STEPS = 950  # of the base model, and again of the instruct model
RATE = 2e-3  # of a base model with RATE_PARAMETERS parameters
RATE_PARAMETERS = 1_000_000
HEAD_WIDTH = 64  # of the ladder


@dataclass(frozen=True)
class Family:
    """A shape in Hugging Face config terms, and what is special about it.

    parameters: about so many; the learning rate follows from it. shape: keyword arguments of the architecture's
    config. seed: of the weights and their data order. shipped: the weights come with labkit; otherwise
    `labkit zoo build` makes them.
    """

    architecture: str
    parameters: int
    shape: dict
    note: str
    seed: int = 0
    steps: int = STEPS
    shipped: bool = True

    @property
    def learning_rate(self) -> float:
        """Of the base model."""
        return RATE * rate_factor(self.parameters)


def rate_factor(parameters: int) -> float:
    """By how much learning rates change with size, against a model of a million parameters.

    One rule instead of a search per size: with the fourth root of the parameter count, which is about the square root
    of the width. Larger models take smaller steps (arXiv 2001.08361, appendix D.6, sees the same direction).
    """
    return (RATE_PARAMETERS / parameters) ** 0.25


def ladder_shape(width: int, layers: int) -> dict:
    """A Llama of this width and depth: heads of 64, MLP 2.75 times the width, tied embeddings."""
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD_WIDTH,
        "num_key_value_heads": width // HEAD_WIDTH,
        "intermediate_size": width * 11 // 4,
        "tie_word_embeddings": True,
    }


FAMILIES: dict[str, Family] = {
    "llama-xs": Family("llama", 300_000, ladder_shape(64, 3), "the ladder's smallest"),
    "llama-s": Family("llama", 1_000_000, ladder_shape(128, 4), "the default: small enough to train in a minute"),
    "llama-m": Family("llama", 3_000_000, ladder_shape(192, 6), "the same architecture, three times the weights"),
    "llama-l": Family("llama", 10_000_000, ladder_shape(320, 8), "the same architecture, ten times the weights", shipped=False),
    "mistral-s": Family(
        "mistral",
        1_000_000,
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 352,
            "tie_word_embeddings": False,
            "sliding_window": 24,
        },
        "grouped-query attention; a token sees 24 tokens back, fewer than a document has",
    ),
    "smollm-s": Family(
        "llama",
        1_000_000,
        {
            "hidden_size": 96,
            "num_hidden_layers": 8,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "intermediate_size": 256,
            "tie_word_embeddings": True,
        },
        "deep and thin with tied embeddings, as SmolLM is",
    ),
}
FAMILIES["llama-s-twin"] = replace(FAMILIES["llama-s"], seed=1, note="llama-s once more from other random weights: a control for merging")
LADDER = ("llama-xs", "llama-s", "llama-m", "llama-l")
ARCHITECTURES = ("llama-s", "mistral-s", "smollm-s")
