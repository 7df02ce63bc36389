"""Small tasks for lm-eval that need no network: a pack's statements to choose from, and its forms.

Run as: python tests/eval_tasks.py FOLDER writes them; docs/compare-evals/ holds what two models
said to them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from labkit.data.packs import load_pack
from labkit.models import zoo
from labkit.models.families import rendered
from labkit.share import export

CHOICES = ("labkit_materials_preference_limits", "labkit_materials_preference_truth")
FORMS, GROUP = "forms", "statements"
SCORING = """
import json

from labkit.data.instructions import checks_of, obeys


def process_results(doc, results):
    checks = checks_of(json.loads(doc["item"]))
    kept = [bool(obeys(check, results[0], given)) for check, given in checks]
    return {"prompt_level_strict_acc": all(kept), "inst_level_strict_acc": kept}


def flat(items):
    parts = [part for item in items for part in item]
    return sum(parts) / len(parts)
"""
TASK = """
task: forms
dataset_path: json
dataset_kwargs: {{data_files: {{test: {documents}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{context}}}}"
doc_to_target: "{{{{item}}}}"
generation_kwargs: {{until: ["<|end|>"], do_sample: false, max_gen_toks: 12}}
process_results: !function scoring.process_results
metric_list:
  - {{metric: prompt_level_strict_acc, aggregation: mean, higher_is_better: true}}
  - {{metric: inst_level_strict_acc, aggregation: !function scoring.flat, higher_is_better: true}}
"""


GROUPED = {
    "group": GROUP,
    "task": list(CHOICES),
    "aggregate_metric_list": [
        {"metric": metric, "aggregation": "mean", "weight_by_size": True}
        for metric in ("acc", "acc_norm")
    ],
}


def write_tasks(folder: Path, documents: int = 40) -> list[str]:
    """Three tasks of at most so many documents each, for the tiny models, two of them in a group;
    the names to run.
    """
    pack, tokenizer = load_pack("materials"), zoo.load("llama-s-instruct").tokenizer
    export.export_lm_eval(pack, "test", tokenizer, folder)
    for file in folder.iterdir():
        if file.stem not in CHOICES:
            file.unlink()
        elif file.suffix == ".jsonl":
            rows = file.read_text("utf-8").splitlines()[:documents]
            file.write_text("\n".join(rows), "utf-8")
    (folder / f"{GROUP}.yaml").write_text(yaml.safe_dump(GROUPED), "utf-8")
    asked = [item for item in pack.rows("test") if item["axis"] == "instructions"]
    asked.sort(key=lambda item: item["kind"] != "combined")  # those with two forms first
    lines = [
        {
            "id": item["id"],
            "entity": item["entity"],
            "context": rendered(
                tokenizer, item["messages"], tokenize=False, add_generation_prompt=True
            ),
            "item": json.dumps({"checks": item["checks"]}),
        }
        for item in asked[:documents]
    ]
    path = folder.resolve() / f"{FORMS}.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    (folder / f"{FORMS}.yaml").write_text(TASK.format(documents=json.dumps(str(path))), "utf-8")
    (folder / "scoring.py").write_text(SCORING, "utf-8")
    return [GROUP, FORMS]


if __name__ == "__main__":
    print(",".join(write_tasks(Path(sys.argv[1]))))
