"""Reading YAML that people write: every way it can fail is one sentence with file and line."""

from __future__ import annotations

from math import inf
from pathlib import Path

import yaml

from labkit.errors import InputError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where it is there: ten times as fast
MOST_VALUES = 100_000  # with every alias written out: nine lines of aliases of aliases stand for a billion


def read_yaml(path: Path, *, missing: str, error: type[InputError] = InputError) -> object:
    """What a YAML file holds. Raises `error`, also for aliases that stand for more than MOST_VALUES; missing: what to do when there is no such file."""
    text = ""
    try:
        text = path.read_text("utf-8")
        loader = LOADER(text)
        node = loader.get_single_node()
        if _written_out(node, {}) > MOST_VALUES:
            raise error(f"{path}: its aliases (*name) stand for more than {MOST_VALUES:,} values; write out what is meant")
        return None if node is None else loader.construct_document(node)
    except FileNotFoundError:
        raise error(f"{path}: no such file; {missing}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f":{min(mark.line + 1, len(text.splitlines()))}" if mark else ""  # libyaml's mark may lie behind the end
        raise error(f"{path}{line}: this is not valid YAML; check indentation and colons") from None
    except RecursionError:
        raise error(f"{path}: its lists lie too deep in each other to be read; check the brackets") from None
    except (OSError, ValueError):
        raise error(f"{path}: this cannot be read as YAML; check the file") from None


def _written_out(node: yaml.Node | None, known: dict[int, float]) -> float:
    """How many values a node stands for with every alias written out; infinite for one that holds itself. known: sizes by id."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = inf
        parts = (part for pair in node.value for part in pair) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]
