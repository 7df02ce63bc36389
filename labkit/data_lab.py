"""What notebook 02 computes and shows of experiments: one run live with its noise, beside what the study measured over seeds."""

from __future__ import annotations

from labkit import figures
from labkit.data_study import EXPERIMENTS, experiment, knowledge, run_experiment
from labkit.errors import InputError
from labkit.lesson import Guess, Lab, headless, show_html
from labkit.packs import shipped_packs
from labkit.published import measured_data, reported, run_noise_of
from labkit.stats import Interval, with_run_noise
from labkit.study import Unit
from labkit.tables import claims_table


def run_live(lab: Lab, name: str) -> Unit:
    """Train and score the arms of an experiment, one seed; finished ones are read back.

    Raises InputError for a pack of one's own: junk and errors are made from the world's truth, which only shipped packs have.
    """
    found = experiment(name)
    if lab.pack.name not in shipped_packs():
        raise InputError(f"experiments make text from a known world, so they need a shipped pack ({', '.join(shipped_packs())}), not {lab.pack.name!r}")
    return run_experiment(found, lab.pack, lab.seed, lab.profile, told=lambda text: None if headless() else print(text))


def show_experiment(lab: Lab, name: str, unit: Unit, guess: Guess | None = None) -> None:
    """The arms as a figure, and each claim as a finding of this one run, the noise between training seeds included."""
    found = experiment(name)
    scores = knowledge([unit], found)
    told = "; ".join(f"{arm}: {score}" for arm, score in scores.items())
    lab.show(figures.arms({found.question: scores}, guess=guess.value if guess else None), f"arms-{name.replace(' ', '-')}", f"Share of questions answered in each arm. {told}.")
    if guess:
        lab.outcome(guess, list(scores.values())[-1])
    for claim in found.claims:
        effect = with_run_noise(claim.measure([unit]), run_noise_of("knowledge", found.kind))
        elsewhere = reported(claim.reported) if claim.reported.isidentifier() else claim.reported
        lab.finding(claim.words, effect, claimed=1, reported=elsewhere)


def show_study(lab: Lab, names: tuple[str, ...] = tuple(EXPERIMENTS)) -> None:
    """What the study measured over seeds: every experiment's arms, and the findings with verdicts."""
    data = measured_data()
    panels = {experiment(name).question: {arm: Interval(**score) for arm, score in data["scores"][name].items()} for name in names}
    lab.show(figures.arms(panels), "study", "Share of questions answered in every arm of every experiment over the study's seeds, with intervals; the table below has the figures.")
    show_html(claims_table([row for row in data["claims"] if row["topic"] in names]))


def offer(lab: Lab) -> None:
    """A choice of experiments to run live; headless, nothing is built."""
    if headless():
        print(f"experiments to choose from: {', '.join(EXPERIMENTS)}")
        return
    from IPython.display import display

    from labkit.panels import run_panel

    display(run_panel({found.question: name for name, found in EXPERIMENTS.items()}, lambda name: show_experiment(lab, name, run_live(lab, name)), "run this experiment"))


