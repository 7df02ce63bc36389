"""What notebooks show of a real model at once: SmolLM2-135M's scores, merges and diagnoses, as they were measured and ship."""

from __future__ import annotations

from labkit import figures
from labkit.lesson import Lab, show_html
from labkit.published import measured_real
from labkit.real_model import AS_SHIPPED, MERGED, adapter_name
from labkit.stats import Interval
from labkit.tables import claims_table, plain_table

EVERYDAY = "everyday"
MERGE_LABELS = ("instruct", MERGED, "slerp, three axes", "slerp", "lerp")
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
    """Every recipe of the real model on every axis, and the claims over all packs."""
    if found := _records(lab):
        labels = [label for label in found["scores"] if "lerp" not in label and AS_SHIPPED not in label]
        _panels(lab, found, labels, tuple(_scores(found, labels[0])), "real-scores", "Scores of SmolLM2-135M after every recipe")
    show_html(claims_table(measured_real()["claims"]))


def show_diagnoses(lab: Lab) -> None:
    """What the diagnoses say of the adapted real model against the untouched one."""
    if found := _records(lab):
        print(f"{adapter_name(lab.pack.name, MERGED)} against the untouched model: {found['gate']['words']}")
        rows = found["gate"]["diagnoses"]
        show_html(plain_table(("diagnosis", "verdict", "found", "remedy"), [(row["diagnosis"], row["verdict"], row["found"], row["remedy"] if row["verdict"] == "flagged" else "") for row in rows]))


def _panels(lab: Lab, found: dict, labels, columns, name: str, what: str) -> None:
    panels = {column: {label: _scores(found, label)[column] for label in labels} for column in columns}
    told = "; ".join(f"{column}: {', '.join(f'{label} {score}' for label, score in scores.items())}" for column, scores in panels.items())
    lab.show(figures.arms(panels, label="score (95% interval)"), name, f"{what}. {told}.")
