"""What notebook 08 shows of size and architecture: the ladder run live on two sizes, and what the study measured over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from labkit import scale_view
from labkit.clock import training
from labkit.design import OVERCOOKED, PipelineSpec
from labkit.families import LADDER
from labkit.lesson import Guess, Lab, headless, show_html
from labkit.published import measured_scale, reported, run_noise_of
from labkit.scale_evidence import PARTS, SYNERGY_TITLE, parameters_of
from labkit.scale_study import BOTH, CHOOSES, ladder_synergy, scaled, size_unit
from labkit.stats import Interval, with_run_noise
from labkit.study import Unit
from labkit.tables import claims_table, plain_table

LIVE = LADDER[:2]


def climb(lab: Lab, families: Iterable[str] = LIVE) -> Unit:
    """Train, merge and score the ladder's smaller sizes, one seed; what was trained before is read back. Recorded."""
    sizes = tuple(families)
    common = {"pack": str(lab.pack.folder), "seed": lab.seed, "profile": lab.profile}
    with training([PipelineSpec(model=f"{family}-instruct", stages=scaled(OVERCOOKED, family), **common) for family in sizes]):
        unit = size_unit(lab.pack, lab.seed, lab.profile, lambda text: None if headless() else print(text), sizes)
    for label, card in unit.cards.items():
        lab.record("scorecard", checkpoint=label, split=card.split, axes={axis: found.as_dict() for axis, found in card.summary().items()})
    return unit


def show_climb(lab: Lab, unit: Unit, guess: Guess, families: Iterable[str] = LIVE) -> None:
    """Synergy of this run per size, as a figure and as findings, the noise between training seeds included."""
    found = {family: with_run_noise(ladder_synergy(family, "slerp", BOTH)([unit]), run_noise_of(CHOOSES)) for family in families}
    points = {parameters_of(family): effect for family, effect in found.items()}
    told = "; ".join(f"{family}: {effect}" for family, effect in found.items())
    lab.show(scale_view.by_size({SYNERGY_TITLE: {"this run, SLERP, items that need both": points}}, ()), "climb", f"Merge minus better parent at each size of this run. {told}.")
    rows = [(family, f"{parameters_of(family):,}", f"{unit.chosen[f'{family}: slerp']:g}", str(effect)) for family, effect in found.items()]
    show_html(plain_table(("family", "parameters", "t chosen on dev", "merged minus better parent"), rows))
    for family, effect in found.items():
        lab.finding(f"{family}: the SLERP merge beats the better parent on items that need both", effect, claimed=1, reported=reported("size"))
    lab.outcome(guess, found[tuple(families)[0]])


def show_sizes(lab: Lab) -> None:
    """The synergy-size figure of the study, its verdict in a sentence, and its claims."""
    _show(lab, "sizes", lambda data: "Merge synergy and forgetting against parameters, with what is reported at 1.7B to 8B in words. " + PARTS["sizes"].words(data))


def show_families(lab: Lab) -> None:
    """Every recipe on every architecture, and whether a stage does the same for all."""

    def alt(data: dict) -> str:
        scores = "; ".join(f"{family} {recipe}: {Interval(**row)}" for family, found in data["scores"].items() for recipe, row in found.items())
        return f"Mean of four axes for every recipe, one panel per family. {scores}."

    _show(lab, "families", alt)


def show_rare(lab: Lab) -> None:
    """What is learned of facts that are a small share of what is read."""
    _show(lab, "rare", lambda data: "Share of questions answered against the share of the pack's text, one line per size. " + PARTS["rare"].words(data))


def _show(lab: Lab, part: str, alt: Callable[[dict], str]) -> None:
    data = measured_scale(part)
    _, figure = PARTS[part].figure(data)
    lab.show(figure, part, alt(data))
    print(f"{PARTS[part].words(data)} Measured on pack {data['pack']} over {data['seeds']} seeds; docs/scale.md says how.")
    show_html(claims_table(data["claims"]))
