"""labkit: a lab kit for domain adaptation of language models."""

__version__ = "0.1.0"
