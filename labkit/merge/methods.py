"""Joining two checkpoints: SLERP, SLERP as the paper writes it, LERP, and both on task vectors.

t=0 is the general model, t=1 the domain model. Every method gives each tensor two weights and adds:
they differ only in how the weights follow from t, from the angle between the tensors and from their
lengths. LERP is always shown beside SLERP: a synergy that LERP has too is not the sphere's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from labkit.base.errors import MergeError, suggest
from labkit.base.store import key_of
from labkit.merge.guards import Signature, check_configs, check_tokenizers, match_tensors
from labkit.merge.schedule import Schedule, Weights, plain, resolve
from labkit.models.zoo import Loaded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


# part of what identifies a merge: raise it when the arithmetic changes in any digit
ARITHMETIC_VERSION = 2
# cosine above which an arc is numerically a line (1.8 degrees); mergekit's threshold
PARALLEL = 0.9995
BLOCK = 1 << 18  # elements worked on at a time: small enough to stay in the cache


# --- what a method needs to know of two tensors --------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two flattened tensors (or task vectors) of one shape: their lengths (2-norms) and the cosine
    between them.
    """

    length_a: float
    length_b: float
    cosine: float

    @property
    def angle(self) -> float:
        """In radians, from 0 to pi."""
        return math.acos(self.cosine)

    @property
    def is_line(self) -> bool:
        """Whether the arc between them is so short (or so exactly opposed) that SLERP falls back to
        LERP.
        """
        return abs(self.cosine) > PARALLEL


def lerp_weights(pair: Pair, t: float) -> tuple[float, float]:
    """The straight line from a to b."""
    return 1 - t, t


def arc_weights(pair: Pair, t: float) -> tuple[float, float]:
    """The arc from a to b, wherever there is one: sine weights."""
    return math.sin((1 - t) * pair.angle) / math.sin(pair.angle), math.sin(
        t * pair.angle
    ) / math.sin(pair.angle)


def slerp_weights(pair: Pair, t: float) -> tuple[float, float]:
    """The arc from a to b, with mergekit's arithmetic: sine weights on the tensors as they are.

    Source: Shoemake 1985, doi 10.1145/325334.325242; mergekit 0.1.5 for the treatment of lengths.
    """
    if pair.is_line:
        return lerp_weights(pair, t)
    return arc_weights(pair, t)


def task_vector_weights(pair: Pair, t: float) -> tuple[float, float]:
    """The arc between two task vectors: a line only where they are exactly parallel, as mergekit's
    nuslerp has it.

    Source: mergekit 0.1.5, nuslerp with a base model.
    """
    if 1 - pair.cosine**2 <= 1e-16:
        return lerp_weights(pair, t)
    return arc_weights(pair, t)


def slerp_paper_weights(pair: Pair, t: float) -> tuple[float, float]:
    """The arc between the directions, the length interpolated geometrically: |a|^(1-t) |b|^t.

    The same as SLERP where both lengths agree. Source: Lu, Luu & Buehler 2025, Methods, doi
    10.1038/s41524-025-01564-y.
    """
    if pair.is_line or pair.length_a == 0 or pair.length_b == 0:
        return lerp_weights(pair, t)
    weight_a, weight_b = slerp_weights(pair, t)
    length = pair.length_a ** (1 - t) * pair.length_b**t
    return weight_a * length / pair.length_a, weight_b * length / pair.length_b


@dataclass(frozen=True)
class Method:
    """How t becomes two weights, and whether they weigh the tensors or their differences from a
    common ancestor.
    """

    weights: Callable[[Pair, float], tuple[float, float]]
    on_task_vectors: bool = False


# The straight line between two task vectors ends where the straight line between the tensors does:
# c + (1-t)(a-c) + t(b-c) = (1-t)a + tb. It is here to be seen, not to be chosen.
METHODS: dict[str, Method] = {
    "slerp": Method(slerp_weights),
    "slerp_paper": Method(slerp_paper_weights),
    "lerp": Method(lerp_weights),
    "task_vector": Method(task_vector_weights, on_task_vectors=True),
    "task_vector_lerp": Method(lerp_weights, on_task_vectors=True),
}


def find_method(name: str) -> Method:
    """Raises MergeError for an unknown method."""
    if name not in METHODS:
        raise MergeError(f"unknown merge method {name!r}: {suggest(name, list(METHODS))}")
    return METHODS[name]


# --- arithmetic ---------------------------------------------------------------------------------


def _blocks(first: Tensor, *others: Tensor | None) -> Iterator[tuple]:
    """Views of the same BLOCK elements of each flattened tensor; None stays None."""
    flat = [None if each is None else each.detach().reshape(-1) for each in (first, *others)]
    for start in range(0, first.numel(), BLOCK):
        yield tuple(None if tensor is None else tensor[start : start + BLOCK] for tensor in flat)


def _array(block: Tensor) -> tuple:
    """A block as numkong takes it: a NumPy array and the name of its dtype."""
    import torch

    name = str(block.dtype).removeprefix("torch.")
    return (block.view(torch.uint16) if block.dtype == torch.bfloat16 else block).numpy(), name


def _dot(a: Tensor, b: Tensor) -> float:
    import numkong

    (first, name), (second, _) = _array(a), _array(b)
    # numkong's stub speaks of all its dtypes: the dot product of real numbers is a real number
    return float(cast("float", numkong.dot(first, second, name)))


def _common(
    a: Tensor, b: Tensor, ancestor: Tensor | None, *dtypes: object
) -> tuple[Tensor, Tensor]:
    """Two blocks in the widest of their dtypes and `dtypes`; with an ancestor, their differences
    from it.
    """
    import torch

    wide = functools.reduce(torch.promote_types, dtypes, torch.promote_types(a.dtype, b.dtype))
    if ancestor is None:
        return a.to(wide), b.to(wide)
    wide = torch.promote_types(wide, torch.float32)
    return a.to(wide) - ancestor.to(wide), b.to(wide) - ancestor.to(wide)


def measure(a: Tensor, b: Tensor, ancestor: Tensor | None = None) -> Pair:
    """Lengths of two tensors of one shape and the cosine between them; with `ancestor`, of their
    task vectors.

    Raises MergeError when a value is NaN or infinite.
    """
    aa = ab = bb = 0.0
    for x, y, c in _blocks(a, b, ancestor):
        x, y = _common(x, y, c)
        aa, ab, bb = aa + _dot(x, x), ab + _dot(x, y), bb + _dot(y, y)
    bad = [side for side, square in (("general", aa), ("domain", bb)) if not math.isfinite(square)]
    if bad:
        side = "ancestor" if ancestor is not None and len(bad) == 2 else bad[0]
        raise MergeError(
            f"the {side} model holds NaN or infinity: its training diverged; lower the "
            "learning rate"
        )
    lengths = math.sqrt(aa), math.sqrt(bb)
    cosine = ab / (lengths[0] * lengths[1]) if all(lengths) else 0.0
    return Pair(*lengths, max(-1.0, min(1.0, cosine)))


def weighted_sum(
    a: Tensor,
    b: Tensor,
    pair: Pair,
    weights: tuple[float, float],
    out: Tensor,
    ancestor: Tensor | None = None,
) -> Tensor:
    """out = weights[0] a + weights[1] b; with an ancestor c, out = c + weights[0] (a - c) +
    weights[1] (b - c).

    pair: as measured. out: contiguous. Computed in the widest dtype of all. Raises MergeError where
    the dtype cannot hold the result, so that no merge has a weight that is not finite.
    """
    import numkong
    import torch

    # No value is larger than its tensor is long: nearly always that alone tells that all fit.
    longest = abs(weights[0]) * pair.length_a + abs(weights[1]) * pair.length_b
    surely_fits = ancestor is None and longest <= torch.finfo(out.dtype).max
    for x, y, c, z in _blocks(a, b, ancestor, out.view(-1)):
        x, y = _common(x, y, c, z.dtype)
        direct = c is None and x.dtype == z.dtype
        target = z if direct else torch.empty_like(x)
        (first, name), (second, _), (result, _) = _array(x), _array(y), _array(target)
        numkong.blend(first, second, name, alpha=weights[0], beta=weights[1], out=result)
        if not direct:
            z.copy_(target if c is None else target.add_(c))
        if not (surely_fits or z.isfinite().all()):
            kind = str(out.dtype).removeprefix("torch.")
            wider = "bfloat16 or float32" if kind == "float16" else "t between 0 and 1"
            raise MergeError(
                f"the merge has weights that are not finite: it does not fit into {kind}; choose "
                f"{wider}"
            )
    return out


def join(
    a: Tensor,
    b: Tensor,
    t: float,
    method: str = "slerp",
    *,
    ancestor: Tensor | None = None,
    dtype: object = None,
) -> Tensor:
    """Two tensors of one shape joined at t, in `dtype` (by default the wider of theirs).

    ancestor: the tensor both come from; task-vector methods need it, the others do not look at it.
    Raises MergeError for an unknown method, a missing ancestor, NaN or infinity.
    """
    import torch

    chosen = find_method(method)
    origin = _origin(method, ancestor)
    if a.shape != b.shape:
        raise MergeError(
            f"the tensors have shapes {tuple(a.shape)} and {tuple(b.shape)}; only "
            "tensors of one shape can be joined"
        )
    out = torch.empty(a.shape, dtype=dtype or torch.promote_types(a.dtype, b.dtype))
    pair = measure(a, b, origin)
    return weighted_sum(a, b, pair, chosen.weights(pair, t), out, origin)


def _origin(method: str, ancestor: Any) -> Any:
    """What a method measures differences from: the ancestor where it works on task vectors, else
    nothing.
    """
    if not find_method(method).on_task_vectors:
        return None
    if ancestor is None:
        raise MergeError(
            f"{method} needs the ancestor both models come from; name it, as in "
            "--ancestor llama-s-base"
        )
    return ancestor


# --- whole models -------------------------------------------------------------------------------


class Pairing:
    """Two state dicts, matched and measured once.

    Angles do not depend on t: each further merge is one weighted sum.

    general, domain, ancestor: name -> tensor, on the CPU. Neither parent is changed.
    Raises MergeError when they do not match or hold NaN.
    """

    def __init__(
        self,
        general: Mapping[str, Tensor],
        domain: Mapping[str, Tensor],
        *,
        ancestor: Mapping[str, Tensor] | None = None,
    ):
        names = match_tensors(signatures(general), signatures(domain))
        self.general = {name: general[ours] for name, (ours, _) in names.items()}
        self.domain = {name: domain[theirs] for name, (_, theirs) in names.items()}
        self.ancestor = None
        if ancestor is not None:
            before = match_tensors(signatures(general), signatures(ancestor), other="ancestor")
            self.ancestor = {name: ancestor[theirs] for name, (_, theirs) in before.items()}
        self._pairs: dict[bool, dict[str, Pair]] = {}

    def pairs(self, *, task_vectors: bool = False) -> dict[str, Pair]:
        """name -> lengths and cosine of the tensors, or of their task vectors; measured on first
        use.
        """
        if task_vectors not in self._pairs:
            origin = _origin("task_vector", self.ancestor) if task_vectors else {}
            self._pairs[task_vectors] = {
                name: _measured(name, a, self.domain[name], origin.get(name))
                for name, a in self.general.items()
                if a.is_floating_point()
            }
        return self._pairs[task_vectors]

    def resolved(self, t: Schedule | Weights, *, extrapolate: bool = False) -> dict[str, float]:
        """name -> t; see schedule.resolve."""
        return resolve(t, self.general, extrapolate=extrapolate)

    def merge(
        self,
        t: Schedule | Weights,
        method: str = "slerp",
        *,
        dtype: object = None,
        extrapolate: bool = False,
        into: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Every tensor merged. into: tensors to write to, by name; by default new ones in `dtype`
        or the wider dtype.

        Raises MergeError for an unknown method, a missing ancestor, a schedule that does not fit.
        """
        import torch

        chosen = find_method(method)
        origin = _origin(method, self.ancestor) or {}
        pairs, merged = self.pairs(task_vectors=chosen.on_task_vectors), {}
        for name, at in self.resolved(t, extrapolate=extrapolate).items():
            a, b = self.general[name], self.domain[name]
            if not a.is_floating_point():
                merged[name] = into[name].copy_(same(name, a, b)) if into else same(name, a, b)
                continue
            out = (
                into[name]
                if into
                else torch.empty(a.shape, dtype=dtype or torch.promote_types(a.dtype, b.dtype))
            )
            pair = pairs[name]
            merged[name] = weighted_sum(a, b, pair, chosen.weights(pair, at), out, origin.get(name))
        return merged


def _measured(name: str, a: Tensor, b: Tensor, ancestor: Tensor | None) -> Pair:
    try:
        return measure(a, b, ancestor)
    except MergeError as error:
        raise MergeError(f"{name}: {error}") from None


def same(name: str, a: Tensor, b: Tensor) -> Tensor:
    """A tensor of whole numbers, which cannot be averaged.

    Raises MergeError when the models differ in it.
    """
    if not a.equal(b):
        raise MergeError(
            f"{name} holds whole numbers and differs between the models: it cannot be interpolated"
        )
    return a.clone()


def signatures(tensors: Mapping[str, Tensor]) -> dict[str, Signature]:
    return {
        name: Signature(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors.items()
    }


def own_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state dict without the aliases of tied embeddings, so that a tied model stays tied."""
    tied = set(model.all_tied_weights_keys)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def pair_models(
    general: PreTrainedModel, domain: PreTrainedModel, ancestor: PreTrainedModel | None = None
) -> Pairing:
    """The Pairing of two models in memory. Raises MergeError when their architectures differ."""
    check_configs(general.config, domain.config)
    before = None
    if ancestor is not None:
        check_configs(general.config, ancestor.config, other="ancestor")
        before = own_tensors(ancestor)
    return Pairing(own_tensors(general), own_tensors(domain), ancestor=before)


def empty_like(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the same shape and dtype, to merge into."""
    copy = type(model)(model.config).to(dtype=model.dtype).eval()
    copy.generation_config = model.generation_config
    return copy


def merge_models(
    general: PreTrainedModel,
    domain: PreTrainedModel,
    t: Schedule | Weights,
    method: str = "slerp",
    *,
    ancestor: PreTrainedModel | None = None,
) -> PreTrainedModel:
    """A new model at t between `general` (t=0) and `domain` (t=1); neither parent is changed."""
    merged = empty_like(general)
    merge_into(merged, pair_models(general, domain, ancestor), t, method)
    return merged


def merge_into(
    model: PreTrainedModel, pairing: Pairing, t: Schedule | Weights, method: str = "slerp"
) -> None:
    """Overwrite a model's weights with the merge at t: what a slider does at every move."""
    pairing.merge(t, method, into=own_tensors(model))


def merge_at(
    general: Loaded,
    domain: Loaded,
    t: Schedule | Weights = 0.5,
    method: str = "slerp",
    *,
    ancestor: Loaded | None = None,
) -> Loaded:
    """The merge at t, in memory: t=0 is `general`, t=1 is `domain`, for every method.

    ancestor: the model both come from, for the methods on task vectors. Neither parent is changed.
    Raises MergeError when the two have other shapes or read text differently.
    """
    check_tokenizers(general.tokenizer, domain.tokenizer)
    if t in (0, 1):
        return domain if t else general
    model = merge_models(
        general.model, domain.model, t, method, ancestor=ancestor.model if ancestor else None
    )
    fingerprint = merge_fingerprint(general, domain, t, method, ancestor=ancestor)
    return Loaded(model, general.tokenizer, f"{method} t={plain(t)}", fingerprint)


def merge_fingerprint(
    general: Loaded,
    domain: Loaded,
    t: Schedule | Weights,
    method: str,
    *,
    ancestor: Loaded | None = None,
) -> str:
    """What identifies a merge's weights without making it."""
    origin = (
        {"ancestor": ancestor.fingerprint} if ancestor and METHODS[method].on_task_vectors else {}
    )
    return key_of(
        arithmetic=ARITHMETIC_VERSION,
        general=general.fingerprint,
        domain=domain.fingerprint,
        t=plain(t),
        method=method,
        **origin,
    )
