"""What notebooks show of a real model at once: SmolLM2-135M's scores, merges and diagnoses, as they were measured and ship.

A notebook whose parameter says `model = "smollm2-135m"` also opens the shipped adapters, to merge, ask and test them there.
"""

from __future__ import annotations

from labkit import figures
from labkit.chat_lab import chat
from labkit.errors import InputError, suggest
from labkit.evaluate_lab import run_on
from labkit.lesson import Lab, show_html
from labkit.merge_lab import Setting
from labkit.published import measured_real
from labkit.real_model import BALANCED, MERGED, MODEL, SHIPPED, WHOLE, adapter_name
from labkit.stats import Interval
from labkit.tables import claims_table, plain_table

EVERYDAY = "everyday"
MERGE_LABELS = ("instruct", MERGED, BALANCED, "slerp", "lerp")
TINY, REAL = "llama-s", "smollm2-135m"
ASKED = ("general", "knowledge", "compositional")
MERGE_COLUMNS = ("private facts", "instructions", "fact in a format", EVERYDAY)


def _records(lab: Lab) -> dict | None:
    """The records of the lab's pack; of an own pack there are none, and a sentence says how to make them."""
    found = measured_real()["packs"].get(lab.pack.name)
    if found is None:
        print(f"SmolLM2-135M was measured on {', '.join(measured_real()['packs'])}; for {lab.pack.name}, train it yourself: docs/real.md shows the spec")
    return found


def _scores(found: dict, label: str) -> dict[str, Interval]:
    return {name: Interval(**value) for name, value in {**found["scores"][label], EVERYDAY: found["everyday"][label]}.items()}


def show_merge(lab: Lab) -> None:
    """Both parents and the merges of the real model on what merging is about."""
    if found := _records(lab):
        _panels(lab, found, MERGE_LABELS, MERGE_COLUMNS, "real-merge", "Scores of SmolLM2-135M, of its adapted version and of their merges")
        told = ", ".join(f"{label}: t = {t:g}" for label, t in found["chosen"].items())
        print(f"t was chosen on dev ({told}); 0 is the untouched model, 1 the adapted one")


def show_scores(lab: Lab) -> None:
    """The real model before, after every recipe and after merging back, on every axis, and the claims over all packs."""
    if found := _records(lab):
        _panels(lab, found, WHOLE, tuple(_scores(found, WHOLE[0])), "real-scores", "Scores of SmolLM2-135M after every recipe")
    show_html(claims_table(measured_real()["claims"]))


def show_diagnoses(lab: Lab) -> None:
    """What the diagnoses say of the adapted real model against the untouched one."""
    if found := _records(lab):
        print(f"{adapter_name(lab.pack.name, MERGED)} against the untouched model: {found['gate']['words']}")
        rows = found["gate"]["diagnoses"]
        show_html(plain_table(("diagnosis", "verdict", "found", "remedy"), [(row["diagnosis"], row["verdict"], row["found"], row["remedy"] if row["verdict"] == "flagged" else "") for row in rows]))


def merge_live(lab: Lab, model: str) -> None:
    """The merge panel over the untouched and the adapted real model. Raises InputError for a model the course does not have."""
    if _opens(lab, model):
        bench = lab.bench(MODEL, adapter_name(lab.pack.name, MERGED), ("untouched", "adapted"))
        t = measured_real()["packs"][lab.pack.name]["chosen"][BALANCED]
        lab.merge_panel({"SmolLM2-135M": bench}, lab.prompts(*ASKED), headless_settings=[Setting("slerp", t)])


def chat_live(lab: Lab, model: str) -> None:
    """Talk to the untouched and the adapted real models. Raises InputError for a model the course does not have."""
    if _opens(lab, model):
        chat(lab, _models(lab), lab.prompts(*ASKED))


def scenarios_live(lab: Lab, model: str) -> None:
    """The pack's scenarios on the real models. Raises InputError for a model the course does not have."""
    if _opens(lab, model):
        run_on(lab, _models(lab))


def _models(lab: Lab) -> dict[str, object]:
    return {"untouched": MODEL} | {recipe: adapter_name(lab.pack.name, recipe) for recipe in SHIPPED}


def _opens(lab: Lab, model: str) -> bool:
    if model not in (TINY, REAL):
        raise InputError(f"model = {model!r}: this notebook runs on {TINY}, and beside it on {REAL}; {suggest(model, [TINY, REAL])}")
    if model == TINY:
        print(f'Set model = "{REAL}" in the parameters to do this with the real model here')
    return model == REAL and lab.pack.name in measured_real()["packs"]


def _panels(lab: Lab, found: dict, labels, columns, name: str, what: str) -> None:
    panels = {column: {label: _scores(found, label)[column] for label in labels} for column in columns}
    told = "; ".join(f"{column}: {', '.join(f'{label} {score}' for label, score in scores.items())}" for column, scores in panels.items())
    lab.show(figures.arms(panels, label="score (95% interval)"), name, f"{what}. {told}.")
