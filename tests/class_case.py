"""A small notebook, a roster and records for the tests of a class."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import nbformat

from labkit.base.records import FILE

PARAMETERS = 'profile = "lab"\npack = "materials"\nseed = 0\nlearner = "me"\nout_dir = "out"\n'
RECORD = """
from pathlib import Path
from labkit.base import records
common = {"notebook": "quick", "pack": pack, "profile": profile, "seed": seed, "learner": learner}
low = {"mean": 0.1 + seed / 50, "low": 0.05, "high": 0.3, "n": 9, "clusters": 9, "seeds": 1}
guess = {"guess": 0.5, "measured": low, "inside": False, "low": 0.0, "high": 1.0, "made": "default"}
records.append(Path(out_dir), "prediction", **common, id="a", question="How much?", **guess)
"""

SCRIPT = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    first = nbformat.v4.new_code_cell(parameters)
    first.metadata["tags"] = ["parameters"]
    made = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)
    return path


def roster(path: Path, *lines: str, columns: str = "learner,seed") -> Path:
    path.write_text("\n".join((columns, *lines)) + "\n", "utf-8")
    return path


def span(mean: float, half: float = 0.1) -> dict:
    return {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "n": 20,
        "clusters": 10,
        "seeds": 1,
    }


def rows(seed: int, learner: str = "me") -> list[dict]:
    """What a learner's records hold after the whole course, in small."""
    common = {"pack": "materials", "profile": "lab", "seed": seed, "learner": learner}
    shift = 0.02 * seed
    spec = {
        "pack": "materials",
        "model": "llama-s-instruct",
        "stages": [
            {"kind": kind, "learning_rate": 1e-3, "steps": 9}
            for kind in ("cpt", "sft", "dpo")[: 2 + seed % 2]
        ],
    }
    curve = [
        {
            "t": i / 10,
            "axes": {
                "compositional": span(0.2 + 0.05 * min(i, 10 - i) + shift),
                "knowledge": span(0.08 * i + shift),
            },
        }
        for i in range(11)
    ]
    scores = {
        "knowledge": span(0.6 + shift),
        "instructions": span(0.5 - shift),
        "creativity": span(0.3),
    }
    return [
        {"kind": "session", "notebook": "03_cpt", **common},
        {
            "kind": "prediction",
            "notebook": "03_cpt",
            **common,
            "id": "a",
            "question": "Instruction following after CPT",
            "guess": 0.8 - shift,
            "measured": span(0.3 + shift),
            "inside": False,
            "low": 0.0,
            "high": 1.0,
            "made": "committed",
        },
        {
            "kind": "prediction",
            "notebook": "08_scale",
            **common,
            "id": "b",
            "question": "Hours of the paper's CPT at 8B",
            "guess": 24 + seed,
            "measured": span(25, 3),
            "inside": True,
            "low": 0,
            "high": 200,
            "made": "committed",
        },
        {
            "kind": "answer",
            "notebook": "06_merge",
            **common,
            "id": "c",
            "question": "Which bar is the honest one?",
            "choice": "their mean" if seed % 2 else "the better parent",
            "right": seed % 2 == 0,
            "expected": "the better parent",
            "why": "because",
        },
        {"kind": "design", "notebook": "01_design", **common, "spec": spec, "advice": []},
        {
            "kind": "scorecard",
            "notebook": "03_cpt",
            **common,
            "checkpoint": "overcooked CPT",
            "split": "test",
            "axes": scores,
        },
        {
            "kind": "scorecard",
            "notebook": "03_cpt",
            **common,
            "checkpoint": "instruct",
            "split": "test",
            "axes": {"knowledge": span(0.1), "instructions": span(0.8), "creativity": span(0.4)},
        },
        {
            "kind": "comparison",
            "notebook": "01_design",
            **common,
            "axis": "knowledge",
            "before": "your design",
            "after": "alternative 1",
            "runs": span(0.2 + shift),
            "p": 0.01,
            "verdict": "higher",
        },
        {
            "kind": "finding",
            "notebook": "03_cpt",
            **common,
            "claim": "CPT without replay lowers instruction following",
            "effect": span(-0.3),
            "verdict": "supported",
            "reported": "yes",
        },
        {
            "kind": "sweep",
            "notebook": "06_merge",
            **common,
            "ends": ["instruct", "overcooked"],
            "split": "dev",
            "points": {"slerp": curve, "lerp": curve},
        },
    ]


def save(folder: Path, found: list[dict]) -> Path:
    """An out_dir that holds these records."""
    folder.mkdir(parents=True)
    (folder / FILE).write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder
