"""Where a model comes from (the zoo of tiny models, adapters, SmolLM2, the hub, a folder), and
what its config says about its size.

It does not know how a model is trained, merged or scored.
"""
