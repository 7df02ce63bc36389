"""Reading YAML that people write: every way it can fail is one sentence with file and line."""

from __future__ import annotations

from pathlib import Path

import yaml

from labkit.errors import InputError


def read_yaml(path: Path, *, missing: str, error: type[InputError] = InputError) -> object:
    """What a YAML file holds. Raises `error`; missing: what to do when there is no such file."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file; {missing}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        raise error(f"{path}{f':{mark.line + 1}' if mark else ''}: this is not valid YAML; check indentation and colons") from None
    except (OSError, ValueError):
        raise error(f"{path}: this cannot be read as YAML; check the file") from None
