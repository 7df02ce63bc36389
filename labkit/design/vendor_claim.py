"""A vendor's claim as a form: what is said about a product's score, and what is left out.

`CONTROLS` lists what a claim must answer: why each point matters, a source, and the question to
send. What the numbers of a claim can show is the matter of vendor.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from labkit.base.inputs import Form, YesNo, load_form
from labkit.data.packs import samples_folder

HELP = "see docs/vendor.md"

Name = Annotated[str, Field(min_length=1, max_length=80)]
Score = Annotated[float, Field(ge=0, le=1)]
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

    vendor: Name
    product: Name
    metric: Annotated[str, Field(min_length=1, max_length=120)]
    score: Score
    n: Items | None
    baseline_name: Name | None = None
    baseline_score: Score | None
    baseline_n: Items | None = None
    per_item: bool = True
    same_items: YesNo = "unknown"
    only_product: Count | None = None
    only_baseline: Count | None = None
    same_conditions: YesNo = "unknown"
    benchmark_chosen_by: Literal["vendor", "customer", "third party", "unknown"] = "unknown"
    variants_tried: Tries | None = None
    benchmarks_tried: Tries | None = None
    selected_on_test: YesNo = "unknown"
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    contamination_checked: YesNo = "unknown"
    format_controlled: YesNo = "unknown"
    general_ability_reported: YesNo = "unknown"
    decoding: Name | None = None
    base_model: Name | None = None
    cost_reported: YesNo = "unknown"
    items_available: YesNo = "unknown"
    note: Annotated[str, Field(max_length=300)] = ""

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
