from __future__ import annotations

import json
from collections import Counter

from labkit import syllabus
from labkit.syllabus import Step


def test_steps_are_read_from_code_in_order_and_once(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ['lab.ask("not_code", "?")']},
        {"cell_type": "code", "source": ['guess = lab.predict("a", "How many?")\n', "%matplotlib inline\n"]},
        {"cell_type": "code", "source": 'lab.ask(\n    "b", "Which?", ("x", "y"), 0, "Because.")\nlab.predict("a", "How many?")\nlab.reflect("c-1", "Why?")'},
        {"cell_type": "code", "source": 'lab.record("d")\ncollab.ask("e", "?")'},
    ]
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert syllabus.steps(path) == [Step("predict", "a"), Step("ask", "b"), Step("reflect", "c-1")]


def test_the_course_asks_nothing_twice_under_one_id():
    found = Counter(step for notebook in syllabus.course_notebooks() for step in syllabus.steps(notebook))
    assert found and not [step for step, times in found.items() if times > 1]


def test_every_question_has_an_id_that_can_be_read():
    """A step whose id is not written out would not count as progress."""
    for notebook in syllabus.course_notebooks():
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        asked = sum(code.count(f"lab.{kind}(") for kind in ("predict", "ask", "reflect"))
        assert asked == len(syllabus.steps(notebook)), notebook.stem
