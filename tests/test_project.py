"""The house rules: pins agree, floors hold, each library has one owner, notebooks are clean."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FLOORS = [
    {
        "errors",
        "imports",
        "instructions",
        "schedule",
        "stats",
        "store",
        "records",
        "diversity",
        "yamlfile",
        "dedupe",
        "encoding",
        "terminal",
        "families",
        "adapters",
        "gguf_file",
        "hub",
        "chat_template",
        "processes",
        "syllabus",
        "safe_zip",
        "bundle_check",
    },
    {
        "design",
        "world",
        "reporter",
        "resume",
        "leaks",
        "readers",
        "forms",
        "proportions",
        "journal",
        "pdf",
        "pdf_form",
        "app_server",
    },
    {"packs", "batches", "precision", "cleaning", "fit_rules"},
    {
        "pack_build",
        "tables",
        "guards",
        "recipes",
        "harness",
        "published",
        "layouts",
        "datacard",
        "vendor_claim",
    },
    {"variants", "held_out", "workbench", "sheet", "vendor_controls"},
    {"train", "merge", "fit", "vendor", "examples"},
    {"zoo", "zoo_build", "stream", "ingest"},
    {"pipeline", "evaluate", "architecture", "planner_probe", "planner_rows", "reading"},
    {"geometry", "chat", "designer", "evidence_shapes", "planner_memory", "quality"},
    {
        "scoring",
        "scenarios",
        "probe",
        "cards",
        "figures",
        "checkup",
        "planner_speed",
        "rules",
        "roster",
    },
    {"cases"},
    {
        "everyday",
        "journal_view",
        "live",
        "merge_view",
        "scale_view",
        "diagnose",
        "study",
        "quality_view",
        "retrieval_view",
        "planner",
        "alternatives",
        "evidence_pack",
        "class_view",
    },
    {
        "clock",
        "merge_lab",
        "export_card",
        "clinic",
        "gate",
        "claims",
        "planner_view",
        "comparison",
        "panels",
        "preflight",
        "verify",
        "bundle",
        "class_records",
    },
    {"journal_panel", "class_page"},
    {
        "lesson",
        "heritage",
        "chat_panel",
        "calibration",
        "data_study",
        "scale_study",
        "real_model",
        "form_panel",
        "design_panel",
        "quality_panel",
        "planner_panel",
        "app_panel",
    },
    {
        "evaluate_lab",
        "export",
        "chat_lab",
        "diagnose_lab",
        "evidence",
        "data_evidence",
        "scale_evidence",
        "real_evidence",
        "design_lab",
        "data_lab",
        "quality_lab",
        "planner_lab",
        "retrieval",
        "report",
        "warm_up",
    },
    {
        "course",
        "cli_studio",
        "cli_models",
        "cli_room",
        "cli_app",
        "scale_lab",
        "real_lab",
        "dry_run",
        "handout",
        "apps",
        "gallery",
    },
    {"cli_handout", "cli_gallery", "classroom"},
    {"class_lab"},
    {"cli_class"},
    {"cli"},
]
OWNERS = {
    "trl": "train",
    "peft": "train",
    "papermill": "course",
    "joblib": "classroom",
    "distributed": "classroom",
    "numkong": "merge",
    "typst": "pdf",
    "bm25s": "retrieval",
    "datasketch": "dedupe",
    "voila": "app_server",
    "PIL": "gallery merge_view",
    "pypdf": "readers pdf_form",
    "docx": "readers",
    "charset_normalizer": "encoding",
    "ipywidgets": "panels journal_panel form_panel design_panel quality_panel planner_panel "
    "chat_panel app_panel",
    "typer": "cli cli_app cli_class cli_gallery cli_handout cli_studio cli_models cli_room "
    "terminal",
    "matplotlib": "figures class_view journal_view merge_view scale_view quality_view "
    "retrieval_view planner_view",
}


def modules() -> dict[str, ast.Module]:
    return {
        path.stem: ast.parse(path.read_text("utf-8"))
        for path in (ROOT / "labkit").glob("*.py")
        if path.stem != "__init__"
    }


def imports(tree: ast.Module) -> set[str]:
    """Dotted names a module imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "labkit":
                found |= {f"labkit.{alias.name}" for alias in node.names}
    return found


def floor_of(name: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if name in floor)


def test_every_module_has_a_floor():
    assert set(modules()) == set().union(*FLOORS)


def test_modules_import_only_from_below():
    for name, tree in modules().items():
        for imported in imports(tree):
            part = imported.removeprefix("labkit.").split(".")[0]
            if not imported.startswith("labkit.") or part == "errors":
                continue
            assert floor_of(part) < floor_of(name), (
                f"{name} (floor {floor_of(name)}) imports {part} (floor {floor_of(part)})"
            )


@pytest.mark.parametrize("library,owner", OWNERS.items())
def test_each_library_has_one_owner(library, owner):
    users = {
        name
        for name, tree in modules().items()
        if any(i.split(".")[0] == library for i in imports(tree))
    }
    assert users == set(owner.split())


@pytest.mark.parametrize("module", ["labkit", "labkit.cli"])
def test_importing_brings_no_heavy_library(module):
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'transformers', 'trl', "
        "'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>; ]", name)[0]).lower()


def pins(lines) -> dict[str, str]:
    return {
        normal(line): line.split("==")[1].strip()
        for line in lines
        if re.match(r"^[\w.-]+(\[\w+\])?==", line)
    }


def test_three_files_pin_the_same_versions():
    constraints = pins((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda_pins = pins(conda["dependencies"][-1]["pip"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name in map(normal, project["dependencies"] + extras["test"]):
        assert conda_pins[name] == constraints[name]
    for name in map(normal, (name for extra in extras.values() for name in extra)):
        assert name in constraints
    assert conda_pins.items() <= constraints.items()


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert "widgets" not in notebook["metadata"]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "parameters" in code[0]["metadata"].get("tags", [])
    names = re.findall(r"^(\w+) = ", "".join(code[0]["source"]), re.MULTILINE)
    assert set(names) >= {"profile", "pack", "seed", "learner", "out_dir"}
    for cell in code:
        source = "".join(cell["source"])
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert "%pip" not in source and "!pip" not in source
        assert len(source.splitlines()) <= 12, source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_headings_are_in_order(path):
    text = "\n".join(
        "".join(c["source"])
        for c in json.loads(path.read_text("utf-8"))["cells"]
        if c["cell_type"] == "markdown"
    )
    levels = [len(mark) for mark in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(level in (1, 2) for level in levels)


def test_no_remote_code_and_no_pickled_weights():
    for path in (ROOT / "labkit").glob("*.py"):
        text = path.read_text("utf-8")
        assert "trust_remote_code=True" not in text and "torch.load" not in text
