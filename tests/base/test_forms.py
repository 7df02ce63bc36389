from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.base.inputs import Form, YesNo, fill_form, load_form, save_form


class Tea(Form):
    name: str
    minutes: int = 3
    milk: YesNo = "unknown"


def load(tmp_path, text):
    path = tmp_path / "tea.yaml"
    path.write_text(text)
    return load_form(Tea, path, help="see tea.md")


def test_bare_yes_and_no_of_yaml_are_words(tmp_path):
    assert load(tmp_path, "name: assam\nmilk: yes").milk == "yes"
    assert load(tmp_path, "name: assam\nmilk: no").milk == "no"
    assert load(tmp_path, "name: assam\nmilk:").milk == "unknown"


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("minutes: 4", "name: missing"),
        ("name: a\nminuts: 4", "minuts: not a known field; did you mean 'minutes'"),
        (
            "name: a\nminutes: four",
            "minutes: Input should be a valid integer .got 'four'.; see tea.md",
        ),
        ("name: a\nminutes: true", "minutes: Input should be a valid integer"),
        ("name: a\nmilk: maybe", "milk: Input should be 'yes', 'no' or 'unknown'"),
        ('name: "a\\e[31mb"', "name: must be one line without control characters"),
        ("name: |\n  a\n  b", "name: must be one line"),
        ("- a", "expected fields and values"),
        ("1: a", "expected fields and values"),
        ("", "expected fields and values"),
        ("name: [", "tea.yaml:1: this is not valid YAML"),
    ],
)
def test_mistakes_are_one_sentence_with_file_and_field(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "tea.yaml")) and "\n" not in str(
        caught.value
    )


def test_missing_file_and_given_place(tmp_path):
    with pytest.raises(InputError, match=r"no such file; see tea.md"):
        load_form(Tea, tmp_path / "none.yaml", help="see tea.md")
    with pytest.raises(InputError, match=r"^your tea: name: missing"):
        fill_form(Tea, {}, place="your tea", help="see tea.md")


def test_saved_form_reads_back(tmp_path):
    tea = Tea(name="Ünal: 茶", milk="no")
    save_form(tea, tmp_path / "new" / "tea.yaml")
    assert load_form(Tea, tmp_path / "new" / "tea.yaml", help="") == tea
