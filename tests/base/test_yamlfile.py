"""What people write as YAML is read, or refused in one sentence that names the file."""

from __future__ import annotations

import pytest

from labkit.base.errors import InputError, SpecError
from labkit.base.inputs import read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "me.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_aliases_that_are_meant_are_read(written):
    assert read_yaml(written("a: &a [1, 2]\nb: *a\n"), missing="") == {"a": [1, 2], "b": [1, 2]}


def test_an_empty_file_holds_nothing(written):
    assert read_yaml(written(""), missing="") is None


def test_aliases_of_aliases_are_refused(written):
    with pytest.raises(InputError, match=r"me\.yaml: its aliases .* 100,000 values; write out"):
        read_yaml(written(BOMB), missing="")


def test_a_list_that_holds_itself_is_refused(written):
    with pytest.raises(InputError, match=r"me\.yaml: its aliases"):
        read_yaml(written("a: &a [1, *a]\n"), missing="")


def test_lists_without_end_are_refused(written):
    with pytest.raises(InputError, match=r"me\.yaml: its lists lie too deep"):
        read_yaml(written("[" * 5000 + "]" * 5000), missing="")


@pytest.mark.parametrize(
    "text,words",
    [
        ("a: [1\nb: 2\n", r"me\.yaml:2: this is not valid YAML"),
        (b"a: \xff\xfe", r"me\.yaml: this is not valid YAML"),
        ("a: 1\n---\nb: 2\n", r"me\.yaml: a line of --- parts it into several documents"),
    ],
)
def test_what_is_no_yaml_is_refused(written, text, words):
    with pytest.raises(SpecError, match=words):
        read_yaml(written(text), missing="", error=SpecError)


def test_a_missing_file_names_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml: no such file; make one"):
        read_yaml(tmp_path / "gone.yaml", missing="make one")


def test_a_key_given_twice_is_refused_with_both_its_line_and_its_name(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("a: 1\nlist:\n- {b: 1, c: 2}\n- b: 1\n  b: 2\n", "utf-8")
    with pytest.raises(InputError, match=r"spec.yaml:5: b is given a second time"):
        read_yaml(path, missing="")
    path.write_text("one: &one {a: 1}\ntwo: {<<: *one, a: 2}\nthree: *one\n", "utf-8")
    assert read_yaml(path, missing="")["two"] == {"a": 2}
