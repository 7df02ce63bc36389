"""The audit of a vendor's claim: what its numbers can show, what is missing, and what to ask back.

One score beside another says little before its noise, the way its items were used, and what it was
chosen from are known. First comes the claim as a form: CONTROLS lists what it must answer. Then the
statistics of two shares of right answers. They need totals only, as a reader has them who does not
hold the answers. The last part judges a claim with them and makes the page. Everything follows from
the numbers in the claim; nothing is looked up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from labkit.base.inputs import Form, YesNo, load_form
from labkit.base.pages import Section, Sheet, sheet_html, sheet_pdf, sheet_text
from labkit.base.stats import (
    LEVEL,
    Z_LEVEL,
    items_needed,
    mcnemar,
    minimum_detectable_effect,
    wilson,
)
from labkit.data.packs import samples_folder

# --- the claim as a form ----------------------------------------------------------------------

HELP = "see docs/vendor.md"

Name = Annotated[str, Field(min_length=1, max_length=80)]


def _as_share(value: object) -> object:
    """86% as 0.86, with as many digits as were written. Raises ValueError for 86 alone."""
    text = str(value).strip()
    if re.fullmatch(r"\d+([.,]\d+)?\s*%", text):
        return float(Decimal(text.rstrip("% ").replace(",", ".")) / 100)
    if isinstance(value, (int, float)) and 2 <= value <= 100:
        raise ValueError(f"a score lies between 0 and 1: write {value / 100:g}, or {value:g}%")
    return value


Score = Annotated[float, Field(ge=0, le=1), BeforeValidator(_as_share)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
Items = Annotated[int, Field(ge=1, le=100_000)]
Tries = Annotated[int, Field(ge=1, le=100_000)]


class Shares(NamedTuple):
    """Items that product and baseline got right, to the nearest item, and of how many."""

    right: int
    n: int
    baseline_right: int
    baseline_n: int

    @property
    def pooled(self) -> float:
        return (self.right + self.baseline_right) / (self.n + self.baseline_n)


class VendorClaim(Form):
    """What a vendor says.

    Scores are means over items, in [0, 1]; None and `unknown`: the vendor does not say.

    per_item: the score is a mean of per-item scores (no for a corpus measure such as F1 or BLEU).
    n: test items. same_items: product and baseline answered the same items. baseline_n: items of
    the baseline, where they are others. only_product, only_baseline: of the same items, those that
    only one of the two got right. variants_tried, benchmarks_tried: among which the claimed result
    is the best. selected_on_test: the variant was chosen on the items that are reported.
    same_conditions: same prompt, decoding and tools for both. format_controlled: a reply in the
    wrong form is told from a wrong one. seeds: training runs behind the score.
    """

    vendor: Name = Field(title="vendor")
    product: Name = Field(title="product")
    metric: Annotated[str, Field(min_length=1, max_length=120)] = Field(title="what was measured")
    score: Score = Field(title="score of the product")
    n: Items | None = Field(title="number of test items")
    baseline_name: Name | None = Field(None, title="compared with")
    baseline_score: Score | None = Field(title="score of that")
    baseline_n: Items | None = Field(None, title="its number of test items")
    per_item: bool = Field(True, title="a mean over items")
    same_items: YesNo = Field("unknown", title="both answered the same items")
    only_product: Count | None = Field(None, title="items only the product got")
    only_baseline: Count | None = Field(None, title="items only the other got")
    same_conditions: YesNo = Field("unknown", title="same prompt and tools")
    benchmark_chosen_by: Literal["vendor", "customer", "third party", "unknown"] = Field(
        "unknown", title="who chose the benchmark"
    )
    variants_tried: Tries | None = Field(None, title="variants tried")
    benchmarks_tried: Tries | None = Field(None, title="benchmarks tried")
    selected_on_test: YesNo = Field("unknown", title="chosen on the reported items")
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, title="training runs (seeds)")
    contamination_checked: YesNo = Field("unknown", title="test text kept out of training")
    format_controlled: YesNo = Field("unknown", title="wrong form told from wrong")
    general_ability_reported: YesNo = Field("unknown", title="general ability reported")
    decoding: Name | None = Field(None, title="how answers were drawn")
    base_model: Name | None = Field(None, title="model it was made from")
    cost_reported: YesNo = Field("unknown", title="cost reported")
    items_available: YesNo = Field("unknown", title="test items can be seen")
    note: Annotated[str, Field(max_length=300)] = Field("", title="note")

    @model_validator(mode="after")
    def _items_agree(self) -> VendorClaim:
        if self.same_items == "yes" and self.baseline_n not in (None, self.n):
            raise ValueError(
                f"baseline_n: {self.baseline_n} items cannot be the same {self.n} as n; "
                "leave it out, or write same_items: no"
            )
        if self.only_product is None and self.only_baseline is None:
            return self
        counts, shares = self.counts, self.shares
        if (
            counts is None
            or shares is None
            or self.baseline_score is None
            or self.same_items != "yes"
        ):
            raise ValueError(
                "only_product and only_baseline: give both, with n, baseline_score and "
                "same_items: yes"
            )
        off = abs(counts[0] - counts[1] - (shares.right - shares.baseline_right))
        rounding = shares.n * (half_unit(self.score) + half_unit(self.baseline_score))
        if sum(counts) > shares.n or counts[0] > shares.right or off > 1 + rounding:
            together = (
                f"{counts[0]} and {counts[1]} do not go with {shares.right} and "
                f"{shares.baseline_right} right of {shares.n}"
            )
            raise ValueError(f"only_product and only_baseline: {together}; check the counts")
        return self

    @property
    def pairing(self) -> Literal["yes", "no", "unknown"]:
        """Whether the two answered the same items; other numbers of items say that they did not."""
        return (
            "no"
            if self.same_items == "unknown" and self.baseline_n not in (None, self.n)
            else self.same_items
        )

    @property
    def baseline_items(self) -> int | None:
        return self.baseline_n if self.pairing == "no" else self.n

    @property
    def digits(self) -> int:
        """Digits to print scores and their difference with."""
        return max(map(_digits, filter(None, (self.score, self.baseline_score))), default=2)

    @property
    def counts(self) -> tuple[int, int] | None:
        """Items that only the product, and only the baseline, got right; None: not both given."""
        if self.only_product is None or self.only_baseline is None:
            return None
        return self.only_product, self.only_baseline

    @property
    def shares(self) -> Shares | None:
        """Both scores as counts; None where a score or a number of items is not given."""
        n, other, other_n = self.n, self.baseline_score, self.baseline_items
        if n is None or other is None or other_n is None:
            return None
        return Shares(round(self.score * n), n, round(other * other_n), other_n)

    @property
    def compared(self) -> Shares | None:
        """Both scores as counts, where they are shares that can be compared."""
        return self.shares if self.per_item else None

    @property
    def gap(self) -> str:
        """The claimed difference as printed, product minus baseline."""
        assert self.baseline_score is not None, "a gap is told of compared claims only"
        return f"{self.score - self.baseline_score:+.{self.digits}f}"


def _digits(score: float) -> int:
    """Digits that a score was printed with; at least two, since 0.80 reaches us as 0.8."""
    return max(2, len(repr(score).partition(".")[2]))


def half_unit(score: float) -> float:
    """By how much a printed score may be off through rounding."""
    return 0.5 * 10.0 ** -_digits(score)


def load_claim(claim: str | Path) -> VendorClaim:
    """A worked example by its name (`invented`, `lu2025`), or a claim from a YAML file.

    Raises InputError naming file and field.
    """
    shipped = samples_folder("claims") / f"{claim}.yaml"
    named = re.fullmatch(r"[\w-]+", str(claim)) and shipped.is_file()
    return load_form(VendorClaim, shipped if named else Path(claim), help=HELP)


@dataclass(frozen=True)
class Control:
    """missing: whether a claim lacks it. why: what goes wrong then. question: to the vendor."""

    name: str
    missing: Callable[[VendorClaim], bool]
    why: str
    source: str
    question: str


CONTROLS = (
    Control(
        "number of items",
        lambda c: c.n is None,
        "without it a score has no interval",
        "Miller 2024, arXiv 2411.00640",
        "On how many test items was the score measured?",
    ),
    Control(
        "baseline score",
        lambda c: c.baseline_score is None,
        "a score alone does not say what the product adds",
        "Kapoor et al. 2024, arXiv 2407.01502",
        "What does an untouched general model score on the same items?",
    ),
    Control(
        "items of the baseline",
        lambda c: c.baseline_score is not None and c.pairing == "no" and c.baseline_n is None,
        "a difference is as noisy as the smaller of its two sides",
        "Newcombe 1998, Stat. Med. 17:873",
        "On how many items was the baseline measured?",
    ),
    Control(
        "comparison by item",
        lambda c: c.baseline_score is not None and c.pairing != "no" and c.only_product is None,
        "on the same items, only those that one of the two got right carry the difference",
        "Miller 2024, arXiv 2411.00640",
        "Were the items the same, and how many did only your product, and only the "
        "baseline, get right?",
    ),
    Control(
        "same conditions",
        lambda c: c.baseline_score is not None and c.same_conditions != "yes",
        "prompt format alone can move accuracy by tens of points",
        "Sclar et al. 2023, arXiv 2310.11324",
        "Did the baseline get the same prompt, decoding and tools, and as much tuning "
        "of its prompt?",
    ),
    Control(
        "who chose the benchmark",
        lambda c: c.benchmark_chosen_by in ("vendor", "unknown"),
        "rankings change with the choice of the benchmark",
        "Dehghani et al. 2021, arXiv 2107.07002",
        "Who chose the benchmark, and may we name another that fits our use?",
    ),
    Control(
        "variants tried",
        lambda c: c.variants_tried is None and c.selected_on_test != "no",
        "the best of many equal variants looks better than it is",
        "Singh et al. 2025, arXiv 2504.20879",
        "How many checkpoints, prompts and settings were scored before this one was chosen?",
    ),
    Control(
        "benchmarks tried",
        lambda c: c.benchmarks_tried is None,
        "a gain shown on one of several benchmarks may be the lucky one",
        "Dehghani et al. 2021, arXiv 2107.07002",
        "On which other benchmarks was it measured, and with what results?",
    ),
    Control(
        "chosen off the test items",
        lambda c: c.selected_on_test != "no",
        "choosing on the test items makes the reported score too high",
        "Cawley & Talbot 2010, JMLR 11:2079",
        "Was the variant chosen on items other than those reported? If not, what is "
        "its score on fresh items?",
    ),
    Control(
        "several training runs",
        lambda c: (c.seeds or 1) < 2,
        "two runs of one recipe differ by their seed alone",
        "Reimers & Gurevych 2017, arXiv 1707.09861",
        "What do further training runs with other seeds score?",
    ),
    Control(
        "contamination check",
        lambda c: c.contamination_checked != "yes",
        "items seen in training measure memory",
        "Sainz et al. 2023, arXiv 2310.18018",
        "How was it checked that test items are not in the training data of product "
        "and base model?",
    ),
    Control(
        "form told from knowledge",
        lambda c: c.format_controlled != "yes",
        "a right answer in an unexpected form may count as wrong, so a gain may be one of form",
        "Lu, Luu & Buehler 2025, Discussion",
        "How many replies of each model could not be read, and what are the scores without them?",
    ),
    Control(
        "general ability",
        lambda c: c.general_ability_reported != "yes",
        "fine-tuning can cost abilities that the benchmark does not ask about",
        "Luo et al. 2023, arXiv 2308.08747",
        "What do base model and product score on general tasks and on instruction following?",
    ),
    Control(
        "decoding",
        lambda c: c.decoding is None,
        "greedy and sampled answers score differently",
        "Song et al. 2024, arXiv 2407.10457",
        "With which decoding settings was it measured, and is that how the product runs?",
    ),
    Control(
        "base model",
        lambda c: c.base_model is None,
        "a gain may be the base model's and not the adaptation's",
        "Mitchell et al. 2019, arXiv 1810.03993",
        "Which base model, in which version, is under the product?",
    ),
    Control(
        "cost",
        lambda c: c.cost_reported != "yes",
        "accuracy can be bought with more calls and longer prompts",
        "Kapoor et al. 2024, arXiv 2407.01502",
        "What do 1,000 questions cost, and how long does one take, for product and baseline?",
    ),
    Control(
        "items to run again",
        lambda c: c.items_available != "yes",
        "a score that nobody else can measure cannot be checked",
        "Biderman et al. 2024, arXiv 2405.14782",
        "May we have the items, prompts and replies, or run our own items?",
    ),
)


def missing_controls(claim: VendorClaim) -> tuple[Control, ...]:
    """What the claim does not answer, the weightiest first."""
    return tuple(control for control in CONTROLS if control.missing(claim))


# --- what its numbers can show ------------------------------------------------------------------

ALPHA = 1 - LEVEL


def newcombe(
    right: int, n: int, other_right: int, other_n: int, *, phi: float = 0.0
) -> tuple[float, float]:
    """95% interval of right / n - other_right / other_n, built from Wilson's limits of each.

    phi: correlation of the two answers over the same items, from `paired_phi`; 0 where the items
    are others. Sources: Newcombe 1998, Statistics in Medicine 17, method 10 of pp. 873-890
    (independent) and of pp. 2635-2650 (paired).
    """
    first, second = right / n, other_right / other_n
    (low1, high1), (low2, high2) = wilson(right, n), wilson(other_right, other_n)
    down = (first - low1) ** 2 - 2 * phi * (first - low1) * (high2 - second) + (high2 - second) ** 2
    up = (high1 - first) ** 2 - 2 * phi * (high1 - first) * (second - low2) + (second - low2) ** 2
    return first - second - math.sqrt(max(0.0, down)), first - second + math.sqrt(max(0.0, up))


def paired_phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Correlation over the same items, from the four counts, with the correction for continuity
    that Newcombe's method has.
    """
    product = (
        (both + only_first)
        * (only_second + neither)
        * (both + only_second)
        * (only_first + neither)
    )
    raw = both * neither - only_first * only_second
    corrected = max(raw - (both + only_first + only_second + neither) / 2, 0) if raw > 0 else raw
    return corrected / math.sqrt(product) if product else 0.0


def overlap_bounds(n: int, right: int, other_right: int) -> tuple[int, int]:
    """Fewest and most of the same n items that only the first can have got right, given both
    totals.
    """
    return max(0, right - other_right), min(right, n - other_right)


def most_differing(n: int, right: int, other_right: int) -> int:
    """The most of the same n items on which two answers may differ for the difference to stand out
    (exact p at most 0.05).

    The totals must differ by enough to stand out at all (by 6 items or more).
    """
    low, high = overlap_bounds(n, right, other_right)
    gap = right - other_right
    while low < high:  # p grows with the number of items on which only one is right
        middle = (low + high + 1) // 2
        low, high = (middle, high) if mcnemar(middle, middle - gap) <= ALPHA else (low, middle - 1)
    return 2 * low - gap


# --- the best of several that are equal ---------------------------------------------------------
#
# alike: part of the items on which all variants give one and the same answer; on the others each
# answers by itself.
# At 0 choosing gains the most, at 1 nothing.


def _at_most(n: int, share: float) -> np.ndarray:
    """P(X <= 0), ..., P(X <= n) of a binomial count."""
    from scipy.special import bdtr

    return bdtr(np.arange(n + 1), n, share)


def _steps(at_most: np.ndarray) -> np.ndarray:
    return np.diff(at_most, prepend=0.0)


def best_of_lead(variants: int, n: int, share: float, *, alike: float = 0.0) -> float:
    """By how much the best of equal variants is expected to score above `share`, what each is
    worth. Exact, in score units.
    """
    own = round(n * (1 - alike))
    return float((1 - _at_most(own, share) ** variants).sum() - own * share) / n


def best_of_chance(
    variants: int,
    right: int,
    n: int,
    other_right: int,
    other_n: int,
    *,
    same_items: bool,
    alike: float = 0.0,
) -> float:
    """The chance that the best of so many variants leads a baseline by the observed gap though all
    are worth the same.

    What all are worth is taken to be the pooled share. Exact for binomial counts. same_items: the
    baseline then answers the shared part like the variants do.
    """
    from scipy.signal import fftconvolve

    share, own = (right + other_right) / (n + other_n), round(n * (1 - alike))
    best = _steps(_at_most(own, share) ** variants)
    if same_items:
        rival, scale = _steps(_at_most(own, share)), 1.0
    else:
        best, rival, scale = (
            fftconvolve(best, _steps(_at_most(n - own, share))),
            _steps(_at_most(other_n, share)),
            n / other_n,
        )
    at_least = np.append(np.cumsum(best[::-1])[::-1], 0.0)
    wanted = np.ceil(right - scale * other_right + scale * np.arange(len(rival)) - 1e-9).astype(int)
    return float(np.clip((rival * at_least[np.clip(wanted, 0, len(best))]).sum(), 0, 1))


SHARED = (0.0, 0.5, 0.9)  # how alike variants may answer; at 1 nothing can be gained by choosing
IF_UNKNOWN = (1, 5, 20)  # variants to show where their number is not told
MANY = (2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


# --- one difference, by how the items were used -------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """One way in which product and baseline may have met the items; differences are product minus
    baseline.

    p: exact, two-sided, where the items are the same. visible: smallest true difference seen with
    power 0.8. needed: items (each side) to see the claimed difference, None when it is zero.
    """

    name: str
    low: float
    high: float
    p: float | None
    visible: float
    needed: int | None

    @property
    def distinguishable(self) -> bool:
        """By the exact test where there is one, which is the stricter, and otherwise by the
        interval.
        """
        return self.low > 0 or self.high < 0 if self.p is None else self.p <= ALPHA


def _reading(
    name: str,
    right: int,
    n: int,
    baseline_right: int,
    baseline_n: int,
    interval: tuple[float, float],
    p: float | None,
) -> Reading:
    low, high = interval
    error = (high - low) / (2 * Z_LEVEL)
    claimed = abs(right / n - baseline_right / baseline_n)
    deviation = error * math.sqrt(2 / (1 / n + 1 / baseline_n))
    return Reading(
        name,
        low,
        high,
        p,
        minimum_detectable_effect(error),
        items_needed(claimed, deviation) if claimed else None,
    )


def paired_reading(name: str, n: int, right: int, only_product: int, only_baseline: int) -> Reading:
    """The same n items; `only_product` of them the product got right and the baseline did not."""
    both, baseline_right = right - only_product, right - only_product + only_baseline
    phi = paired_phi(both, only_product, only_baseline, n - right - only_baseline)
    interval = newcombe(right, n, baseline_right, n, phi=phi)
    return _reading(
        name, right, n, baseline_right, n, interval, mcnemar(only_product, only_baseline)
    )


def readings(claim: VendorClaim) -> tuple[Reading, ...]:
    """The difference under every way of using the items that the claim leaves open.

    Empty when nothing can be compared.
    """
    shares = claim.compared
    if shares is None:
        return ()
    right, n, baseline, _baseline_n = shares
    if claim.counts:
        return (paired_reading("same items, with the counts given", n, right, *claim.counts),)
    other = _reading("other items for each", *shares, newcombe(*shares), None)
    if claim.pairing == "no":
        return (other,)
    gap, (fewest, most) = right - baseline, overlap_bounds(n, right, baseline)
    same = tuple(
        paired_reading(
            f"same items, answers differ as {how} as possible (on {2 * only - gap})",
            n,
            right,
            only,
            only - gap,
        )
        for how, only in (("little", fewest), ("much", most))
    )
    return same if claim.pairing == "yes" else (*same, other)


# --- choosing the best of several ---------------------------------------------------------------


def alike(claim: VendorClaim) -> float:
    """The part of the items that product and baseline answer alike for one reason, so that just as
    many differ as were counted.

    0, the least, where nothing was counted: choosing then gains the most.
    """
    shares = claim.shares
    if claim.counts is None or shares is None:
        return 0.0
    by_themselves = 2 * shares.pooled * (1 - shares.pooled) * shares.n
    return max(0.0, 1 - sum(claim.counts) / by_themselves) if by_themselves else 0.0


def chance_of_gap(claim: VendorClaim, variants: int, part_alike: float) -> float:
    """The chance of the claimed gap, or a larger one, where the best of so many variants is no
    better than the baseline.

    Where several benchmarks were tried, of finding it on at least one of them.
    """
    assert claim.shares is not None, "a gap is told of compared claims only"
    once = best_of_chance(
        variants, *claim.shares, same_items=claim.pairing != "no", alike=part_alike
    )
    return 1 - (1 - once) ** (claim.benchmarks_tried or 1)


def enough_variants(claim: VendorClaim) -> int | None:
    """How many variants (2, 3, 5, ... 1000) make the claimed gap too likely by choice alone; None:
    not even 1000.
    """
    return next((k for k in MANY if chance_of_gap(claim, k, alike(claim)) > ALPHA / 2), None)


# --- the audit ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Audit:
    """verdict: `distinguishable`, `not distinguishable` or `cannot be told`; reason: the sentence
    that says why.
    """

    claim: VendorClaim
    readings: tuple[Reading, ...]
    verdict: str
    reason: str
    missing: tuple[Control, ...]

    @property
    def questions(self) -> list[str]:
        return [control.question for control in self.missing]


def audit(claim: VendorClaim) -> Audit:
    """What the claim's own numbers show."""
    found = readings(claim)
    word, reason = judge(claim, found)
    return Audit(claim, found, word, reason, missing_controls(claim))


def judge(claim: VendorClaim, found: tuple[Reading, ...]) -> tuple[str, str]:
    """Verdict and reason.

    A difference that selection alone may have made is not called distinguishable.
    """
    shares = claim.compared
    if shares is None:
        return "cannot be told", _why_not_compared(claim)
    apart, sharpest = [reading.distinguishable for reading in found], found[0]
    if not any(apart):
        exact = f", exact p = {_p(sharpest.p)}" if sharpest.p is not None else ""
        even = "even if the answers differ as little as they can, " if len(found) > 1 else ""
        interval = f"{sharpest.low:+.3f} to {sharpest.high:+.3f}"
        return (
            "not distinguishable",
            f"{even}{claim.gap} may be no difference at all (95% interval {interval}{exact}).",
        )
    if not all(apart):
        limit = most_differing(shares.n, shares.right, shares.baseline_right)
        bound = (
            f"{claim.gap} stands out only if the two answers differ on at most {limit} of "
            f"the {shares.n} items"
        )
        return "cannot be told", f"{bound}, and the claim does not say on how many."
    if sharpest.high < 0:
        return "distinguishable", f"but against the claim, {claim.gap}: the baseline scores higher."
    return _after_selection(claim)


def _why_not_compared(claim: VendorClaim) -> str:
    if claim.n is None:
        return (
            "the number of test items is not given, so no interval can be drawn; this is "
            "the first question to send back."
        )
    if not claim.per_item:
        return (
            "the score is no mean over items, so its noise cannot be computed from n; ask "
            "for results item by item."
        )
    if claim.baseline_score is None:
        return "there is no baseline score to compare with."
    return "the baseline was scored on other items, and their number is not given."


def _after_selection(claim: VendorClaim) -> tuple[str, str]:
    """The verdict on a difference that stands out by itself, once it is asked what it was chosen
    from.
    """
    tried = 1 if claim.selected_on_test == "no" else claim.variants_tried
    boards = f" on {claim.benchmarks_tried} benchmarks" if (claim.benchmarks_tried or 1) > 1 else ""
    if tried is None:
        enough = enough_variants(claim)
        if enough:
            easy = (
                f"the best of {enough} equal variants{boards} would show {claim.gap} in "
                f"over {ALPHA / 2:.1%} of cases by choice alone"
            )
            return "cannot be told", f"{easy}, and it is not said how many were tried."
        return (
            "distinguishable",
            f"{claim.gap} is more than choice among {MANY[-1]} equal variants would show.",
        )
    chance = chance_of_gap(claim, tried, alike(claim)) if tried > 1 or boards else 0.0
    if chance > ALPHA / 2:  # one side of a two-sided 95% interval
        choice = (
            f"the best of {tried} variants that are worth no more"
            if tried > 1
            else "a variant that is worth no more, tried"
        )
        easy = f"{choice}{boards} shows as much in up to {chance:.0%} of cases by choice alone"
        return "cannot be told", f"{claim.gap} would stand out by itself, but {easy}."
    once = (
        ""
        if (claim.seeds or 1) > 1
        else " It speaks of this one trained model: no second training run is reported."
    )
    return (
        "distinguishable",
        f"{claim.gap} is more than chance{' and choice' if tried > 1 or boards else ''} "
        f"would show.{once}",
    )


# --- the page -----------------------------------------------------------------------------------


def audit_sheet(found: Audit) -> Sheet:
    """The audit as one page of plain values."""
    claim = found.claim
    sections = [
        Section(
            "The figures",
            _scores_text(claim),
            ("", "score", "95% interval", "items"),
            _score_rows(claim),
        )
    ]
    if found.readings:
        heads: tuple[str, ...] = (
            "how the items were used",
            "95% interval of the difference",
            "exact p",
            "smallest visible",
            "items to see it",
        )
        sections.append(
            Section(
                "The difference",
                _difference_text(claim),
                heads,
                tuple(map(_reading_row, found.readings)),
            )
        )
    if claim.n is not None and claim.per_item:
        heads = ("variants tried", *(f"{part:.0%} answered alike" for part in SHARED))
        sections.append(
            Section(
                "What choosing the best adds",
                _selection_text(claim),
                heads,
                _selection_rows(claim, claim.n),
            )
        )
    rows = tuple(
        (control.name, f"{control.why} ({control.source})", control.question)
        for control in found.missing
    )
    heads = ("control", "why it matters", "question to send back")
    sections.append(Section(f"Missing: {len(rows)} of {len(CONTROLS)} controls", "", heads, rows))
    subtitle = f"{claim.vendor}: {claim.product}. {claim.note}"
    return Sheet(
        "Audit of a claim",
        subtitle,
        f"{found.verdict.capitalize()}: {found.reason}",
        tuple(sections),
    )


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _reading_row(reading: Reading) -> tuple[str, ...]:
    exact = "" if reading.p is None else _p(reading.p)
    needed = "" if reading.needed is None else f"{reading.needed:,}"
    return (
        reading.name,
        f"{reading.low:+.3f} to {reading.high:+.3f}",
        exact,
        f"{reading.visible:.3f}",
        needed,
    )


def _score_rows(claim: VendorClaim) -> tuple[tuple[str, ...], ...]:
    """A row for the product, and one for its baseline where that has a score."""
    taken = (
        " (taken to be as many)" if claim.pairing == "unknown" and claim.baseline_n is None else ""
    )
    rows = [
        (claim.product, claim.score, claim.n, ""),
        (claim.baseline_name or "baseline", claim.baseline_score, claim.baseline_items, taken),
    ]
    return tuple(
        (
            name,
            f"{score:.{claim.digits}f}",
            _interval(claim, score, n),
            f"{n:,}{how}" if n else "not given",
        )
        for name, score, n, how in rows
        if score is not None
    )


def _interval(claim: VendorClaim, score: float, n: int | None) -> str:
    if n is None or not claim.per_item:
        return "cannot be told"
    low, high = wilson(round(score * n), n)
    return f"{low:.3f} to {high:.3f}"


def _scores_text(claim: VendorClaim) -> str:
    graded = (
        " Where replies are graded, not right or wrong, the intervals are at most this wide."
        if claim.per_item
        else ""
    )
    return f"{claim.metric}.{graded}"


def _difference_text(claim: VendorClaim) -> str:
    assert claim.shares is not None and claim.baseline_score is not None, "not compared"
    right, n, baseline, baseline_n = claim.shares
    text = (
        f"{claim.gap}, product minus baseline: about {right} of {n} right against "
        f"{baseline} of {baseline_n}."
    )
    if claim.pairing == "no" or claim.counts:
        return text
    low, high = rounding_range(claim.score, n)
    other_low, other_high = rounding_range(claim.baseline_score, n)
    if low > high or other_low > other_high:
        return (
            f"{text} No whole number of right answers gives these scores (Brown & Heathers "
            "2017): are replies graded, or is n another?"
        )
    most = high - other_low
    text += f" As rounded, the scores allow {low - other_high} to {most} items of difference."
    if mcnemar(abs(right - baseline), 0) > ALPHA >= (p := mcnemar(max(0, most), 0)):
        text += (
            f" If rounding favours the claim, and all {most} items went its way, p would be "
            f"{_p(p)}."
        )
    return text


def rounding_range(score: float, n: int) -> tuple[int, int]:
    """Fewest and most right answers of n that are printed as this score; the fewest above the most
    where there are none.

    Source: Brown & Heathers 2017, doi 10.1177/1948550616673876.
    """
    fewest, most = (score - half_unit(score)) * n, (score + half_unit(score)) * n
    return max(0, math.ceil(fewest - 1e-9)), min(n, math.floor(most + 1e-9))


def _selection_text(claim: VendorClaim) -> str:
    if claim.selected_on_test == "no":
        return (
            "The variant was chosen on other items, as the vendor says: this is what "
            "choosing on the test would have added."
        )
    lead = "How far the best of equal variants is expected above what each is worth"
    boards = (
        f", on at least one of {claim.benchmarks_tried} benchmarks"
        if (claim.benchmarks_tried or 1) > 1
        else ""
    )
    return (
        f"{lead}; the chance that it leads an equal baseline by the claimed gap{boards}."
        if claim.compared
        else f"{lead}."
    )


def _selection_rows(claim: VendorClaim, n: int) -> tuple[tuple[str, ...], ...]:
    worth = claim.compared.pooled if claim.compared else claim.score
    return tuple(
        (str(k), *(_selection_cell(claim, n, k, worth, part) for part in SHARED))
        for k in ((claim.variants_tried,) if claim.variants_tried else IF_UNKNOWN)
    )


def _selection_cell(claim: VendorClaim, n: int, variants: int, worth: float, part: float) -> str:
    lead = f"+{abs(best_of_lead(variants, n, worth, alike=part)):.3f}"
    score = claim.baseline_score
    if not claim.compared or score is None or claim.score <= score:
        return lead
    return f"{lead}; {_share(chance_of_gap(claim, variants, part))}"


def _share(chance: float) -> str:
    return "below 0.1%" if chance < 0.001 else f"{chance:.1%}"


def audit_text(found: Audit) -> str:
    """The audit for a terminal."""
    return sheet_text(audit_sheet(found))


def audit_html(found: Audit) -> str:
    """The audit for a notebook, escaped."""
    return sheet_html(audit_sheet(found))


def audit_pdf(found: Audit, path: Path) -> Path:
    """The audit as one side of A4; returns the path.

    Raises InputError and StoreError as `pages.write_pdf` does.
    """
    return sheet_pdf(audit_sheet(found), path)
