"""What a claim about a model must be able to answer: each control with why it matters, a source, and the question to send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.vendor_claim import VendorClaim


@dataclass(frozen=True)
class Control:
    """missing: whether a claim lacks it. why: what goes wrong without it. question: to the vendor."""

    name: str
    missing: Callable[[VendorClaim], bool]
    why: str
    source: str
    question: str


CONTROLS = (
    Control(
        "number of items", lambda c: c.n is None,
        "without it a score has no interval", "Miller 2024, arXiv 2411.00640",
        "On how many test items was the score measured?",
    ),
    Control(
        "baseline score", lambda c: c.baseline_score is None,
        "a score alone does not say what the product adds", "Kapoor et al. 2024, arXiv 2407.01502",
        "What does an untouched general model score on the same items?",
    ),
    Control(
        "items of the baseline", lambda c: c.baseline_score is not None and c.pairing == "no" and c.baseline_n is None,
        "a difference is as noisy as the smaller of its two sides", "Newcombe 1998, Stat. Med. 17:873",
        "On how many items was the baseline measured?",
    ),
    Control(
        "comparison by item", lambda c: c.baseline_score is not None and c.pairing != "no" and c.only_product is None,
        "on the same items, only those that one of the two got right carry the difference", "Miller 2024, arXiv 2411.00640",
        "Were the items the same, and how many did only your product, and only the baseline, get right?",
    ),
    Control(
        "same conditions", lambda c: c.baseline_score is not None and c.same_conditions != "yes",
        "prompt format alone can move accuracy by tens of points", "Sclar et al. 2023, arXiv 2310.11324",
        "Did the baseline get the same prompt, decoding and tools, and as much tuning of its prompt?",
    ),
    Control(
        "who chose the benchmark", lambda c: c.benchmark_chosen_by in ("vendor", "unknown"),
        "rankings change with the choice of the benchmark", "Dehghani et al. 2021, arXiv 2107.07002",
        "Who chose the benchmark, and may we name another that fits our use?",
    ),
    Control(
        "variants tried", lambda c: c.variants_tried is None and c.selected_on_test != "no",
        "the best of many equal variants looks better than it is", "Singh et al. 2025, arXiv 2504.20879",
        "How many checkpoints, prompts and settings were scored before this one was chosen?",
    ),
    Control(
        "benchmarks tried", lambda c: c.benchmarks_tried is None,
        "a gain shown on one of several benchmarks may be the lucky one", "Dehghani et al. 2021, arXiv 2107.07002",
        "On which other benchmarks was it measured, and with what results?",
    ),
    Control(
        "chosen off the test items", lambda c: c.selected_on_test != "no",
        "choosing on the test items makes the reported score too high", "Cawley & Talbot 2010, JMLR 11:2079",
        "Was the variant chosen on items other than those reported? If not, what is its score on fresh items?",
    ),
    Control(
        "several training runs", lambda c: (c.seeds or 1) < 2,
        "two runs of one recipe differ by their seed alone", "Reimers & Gurevych 2017, arXiv 1707.09861",
        "What do further training runs with other seeds score?",
    ),
    Control(
        "contamination check", lambda c: c.contamination_checked != "yes",
        "items seen in training measure memory", "Sainz et al. 2023, arXiv 2310.18018",
        "How was it checked that test items are not in the training data of product and base model?",
    ),
    Control(
        "form told from knowledge", lambda c: c.format_controlled != "yes",
        "a right answer in an unexpected form may count as wrong, so a gain may be one of form", "Lu, Luu & Buehler 2025, Discussion",
        "How many replies of each model could not be read, and what are the scores without them?",
    ),
    Control(
        "general ability", lambda c: c.general_ability_reported != "yes",
        "fine-tuning can cost abilities that the benchmark does not ask about", "Luo et al. 2023, arXiv 2308.08747",
        "What do base model and product score on general tasks and on instruction following?",
    ),
    Control(
        "decoding", lambda c: c.decoding is None,
        "greedy and sampled answers score differently", "Song et al. 2024, arXiv 2407.10457",
        "With which decoding settings was it measured, and is that how the product runs?",
    ),
    Control(
        "base model", lambda c: c.base_model is None,
        "a gain may be the base model's and not the adaptation's", "Mitchell et al. 2019, arXiv 1810.03993",
        "Which base model, in which version, is under the product?",
    ),
    Control(
        "cost", lambda c: c.cost_reported != "yes",
        "accuracy can be bought with more calls and longer prompts", "Kapoor et al. 2024, arXiv 2407.01502",
        "What do 1,000 questions cost, and how long does one take, for product and baseline?",
    ),
    Control(
        "items to run again", lambda c: c.items_available != "yes",
        "a score that nobody else can measure cannot be checked", "Biderman et al. 2024, arXiv 2405.14782",
        "May we have the items, prompts and replies, or run our own items?",
    ),
)


def missing_controls(claim: VendorClaim) -> tuple[Control, ...]:
    """What the claim does not answer, the weightiest first."""
    return tuple(control for control in CONTROLS if control.missing(claim))
