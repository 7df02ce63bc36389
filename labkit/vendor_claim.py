"""A vendor's claim as a form: what is said about a product's score, and what is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from labkit.forms import Form, YesNo, load_form
from labkit.packs import samples_folder

HELP = "see docs/vendor.md"

Name = Annotated[str, Field(min_length=1, max_length=80)]
Score = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
Items = Annotated[int, Field(ge=1, le=100_000)]
Tries = Annotated[int, Field(ge=1, le=100_000)]


class VendorClaim(Form):
    """What a vendor says. Scores are means over items, in [0, 1]; None and `unknown`: the vendor does not say.

    per_item: the score is a mean of per-item scores (no for a corpus measure such as F1 or BLEU). n: test items.
    same_items: product and baseline answered the same items. baseline_n: items of the baseline, where they are others.
    only_product, only_baseline: of the same items, those that only one of the two got right. variants_tried,
    benchmarks_tried: among which the claimed result is the best. selected_on_test: the variant was chosen on the items
    that are reported. same_conditions: same prompt, decoding and tools for both. format_controlled: a reply in the
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
            raise ValueError(f"baseline_n: {self.baseline_n} items cannot be the same {self.n} as n; leave it out, or write same_items: no")
        counts = (self.only_product, self.only_baseline)
        if counts == (None, None):
            return self
        if None in counts or self.n is None or self.baseline_score is None or self.same_items != "yes":
            raise ValueError("only_product and only_baseline: give both, with n, baseline_score and same_items: yes")
        product, baseline = self.right(), self.baseline_right()
        off = abs(counts[0] - counts[1] - (product - baseline))
        rounding = self.n * (half_unit(self.score) + half_unit(self.baseline_score))
        if sum(counts) > self.n or counts[0] > product or off > 1 + rounding:
            together = f"{counts[0]} and {counts[1]} do not go with {product} and {baseline} right of {self.n}"
            raise ValueError(f"only_product and only_baseline: {together}; check the counts")
        return self

    @property
    def pairing(self) -> Literal["yes", "no", "unknown"]:
        """Whether the two answered the same items; other numbers of items say that they did not."""
        return "no" if self.same_items == "unknown" and self.baseline_n not in (None, self.n) else self.same_items

    @property
    def baseline_items(self) -> int | None:
        return self.baseline_n if self.pairing == "no" else self.n

    @property
    def digits(self) -> int:
        """Digits to print scores and their difference with."""
        return max(map(_digits, filter(None, (self.score, self.baseline_score))), default=2)

    def right(self) -> int:
        """Items that the product got right, to the nearest item."""
        return round(self.score * self.n)

    def baseline_right(self) -> int:
        return round(self.baseline_score * self.baseline_items)

    @property
    def gap(self) -> str:
        """The claimed difference as printed, product minus baseline."""
        return f"{self.score - self.baseline_score:+.{self.digits}f}"

    @property
    def compared(self) -> bool:
        """Whether there is enough to compare two shares."""
        return self.per_item and None not in (self.n, self.baseline_score, self.baseline_items)


def _digits(score: float) -> int:
    """Digits that a score was printed with; at least two, since 0.80 reaches us as 0.8."""
    return max(2, len(repr(score).partition(".")[2]))


def half_unit(score: float) -> float:
    """By how much a printed score may be off through rounding."""
    return 0.5 * 10.0 ** -_digits(score)


def load_claim(claim: str | Path) -> VendorClaim:
    """A worked example by its name (`invented`, `lu2025`), or a claim from a YAML file. Raises InputError naming file and field."""
    shipped = samples_folder("claims") / f"{claim}.yaml"
    named = re.fullmatch(r"[\w-]+", str(claim)) and shipped.is_file()
    return load_form(VendorClaim, shipped if named else Path(claim), help=HELP)
