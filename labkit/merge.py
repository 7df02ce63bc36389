"""Joining two checkpoints: SLERP, SLERP as the paper writes it, and LERP.

t=0 is the general model, t=1 the domain model. Each tensor is merged on its own, flattened, in float32.
LERP is always shown beside SLERP: a synergy that LERP has too is not the sphere's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.errors import MergeError, suggest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PARALLEL = 0.9995  # cosine above which an arc is numerically a line; mergekit's threshold


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The straight line from a (t=0) to b (t=1)."""
    return (1 - t) * a + t * b


def _arc(a: Tensor, b: Tensor, t: float) -> tuple[float, float] | None:
    """Sine weights of a and b at t on the arc between their directions; None where they are near parallel."""
    import torch

    norms = a.norm() * b.norm()
    if norms == 0:
        cosine = torch.zeros(())
    else:
        cosine = ((a / a.norm()) * (b / b.norm())).sum().clamp(-1, 1)
    if abs(cosine) > PARALLEL:
        return None
    angle = torch.arccos(cosine)
    return float(torch.sin((1 - t) * angle) / torch.sin(angle)), float(torch.sin(t * angle) / torch.sin(angle))


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation with mergekit's arithmetic: sine weights on the tensors as they are.

    a, b: tensors of one shape. Near parallel (|cosine| > 0.9995) it is LERP.
    Source: Shoemake 1985, doi 10.1145/325334.325242; mergekit 0.1.5 for the treatment of norms.
    """
    weights = _arc(a, b, t)
    return lerp(a, b, t) if weights is None else weights[0] * a + weights[1] * b


def slerp_paper(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Spherical interpolation of directions, norms interpolated geometrically: |a|^(1-t) |b|^t.

    The same as `slerp` where both norms agree. Source: Lu, Luu & Buehler 2025, Methods,
    doi 10.1038/s41524-025-01564-y.
    """
    length_a, length_b = a.norm(), b.norm()
    weights = _arc(a, b, t)
    if weights is None or length_a == 0 or length_b == 0:
        return lerp(a, b, t)
    direction = weights[0] * (a / length_a) + weights[1] * (b / length_b)
    return direction * length_a ** (1 - t) * length_b**t


METHODS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "slerp": slerp,
    "slerp_paper": slerp_paper,
    "lerp": lerp,
}


def check_mergeable(general: dict[str, Tensor], domain: dict[str, Tensor]) -> None:
    """Raises MergeError naming the first tensor that is missing, extra, of another shape, or not finite."""
    for name in sorted(general.keys() ^ domain.keys()):
        side = "general" if name in general else "domain"
        raise MergeError(f"{name} is only in the {side} model: the architectures differ; merge checkpoints of one family")
    for name, tensor in general.items():
        if tensor.shape != domain[name].shape:
            raise MergeError(
                f"{name} has shape {tuple(tensor.shape)} in the general model and {tuple(domain[name].shape)} "
                "in the domain model; merge checkpoints of one family"
            )
        for side, side_tensor in (("general", tensor), ("domain", domain[name])):
            if not side_tensor.isfinite().all():
                raise MergeError(f"{name} of the {side} model holds NaN or infinity: its training diverged; lower the rate")


def check_tokenizers(general: PreTrainedTokenizerBase, domain: PreTrainedTokenizerBase) -> None:
    """Raises MergeError when one id means different tokens to the two models: the merge would be gibberish."""
    ours, theirs = general.get_vocab(), domain.get_vocab()
    differing = [token for token in sorted(ours.keys() | theirs.keys()) if ours.get(token) != theirs.get(token)]
    if differing:
        raise MergeError(
            f"the tokenizers differ in {len(differing)} entries, first {differing[0]!r} "
            f"(id {ours.get(differing[0])} and {theirs.get(differing[0])}); merge checkpoints of one family"
        )


def merge_tensors(
    general: dict[str, Tensor], domain: dict[str, Tensor], t: float, method: str = "slerp"
) -> dict[str, Tensor]:
    """Every tensor of two state dicts merged at t; dtypes of the general model are kept.

    Raises MergeError for an unknown method, t outside [0, 1] or state dicts that do not match.
    """
    if method not in METHODS:
        raise MergeError(f"unknown merge method {method!r}: {suggest(method, list(METHODS))}")
    if not 0 <= t <= 1:
        raise MergeError(f"t is {t}, outside [0, 1]: 0 is the general model, 1 the domain model")
    check_mergeable(general, domain)
    join = METHODS[method]
    return {
        name: join(tensor.float().flatten(), domain[name].float().flatten(), t).view_as(tensor).to(tensor.dtype)
        for name, tensor in general.items()
    }


def _own_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state dict without the aliases of tied embeddings, so that a tied model stays tied."""
    tied = set(model.all_tied_weights_keys)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def merge_models(general: PreTrainedModel, domain: PreTrainedModel, t: float, method: str = "slerp") -> PreTrainedModel:
    """A new model at t between `general` (t=0) and `domain` (t=1); neither parent is changed."""
    merged = merge_tensors(_own_tensors(general), _own_tensors(domain), t, method)
    model = type(general)(general.config)
    left_out = set(model.load_state_dict(merged, strict=False).missing_keys) - set(model.all_tied_weights_keys)
    if left_out:
        raise MergeError(f"{sorted(left_out)[0]} was not merged; neither model's state dict holds it")
    model.tie_weights()
    model.generation_config = general.generation_config
    return model.to(dtype=general.dtype).eval()
