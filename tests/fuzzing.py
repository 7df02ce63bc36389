"""What people bring, broken in the ways in which files break: hypothesis strategies.

A case begins as something sound. Then a few changes are drawn: of values (another type, an empty
text, a key twice or away) or of the file's bytes (cut off, another encoding, signs nobody sees).
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# `make nightly` sets this: other cases every night, and many more of them.
NIGHTLY = bool(os.environ.get("LABKIT_NIGHTLY"))
MORE = 20

UNSEEN = ["\u200b", "\u00ad", "\ufeff", "\u202e", "\x00", "\u3164", "\u2060", "\x85", "\u2028"]
WORDS = ["", " ", "no", "1e3", "-0", "[/b]", "{{ x }}", "../..", "~", "é", "e\u0301", "它是", "🧪"]
TEXTS = st.one_of(
    st.sampled_from(WORDS + UNSEEN),
    st.text(max_size=20),
    st.sampled_from(["word " * 400, "x" * 5000]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**6),
    st.sampled_from([0.5, -1.0, 1e308, float("inf"), float("nan"), 10**30]),
    TEXTS,
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.sampled_from(["a", "role", "content", "t", "value"]), SCALARS, max_size=2),
)
BYTES = [
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b'"',
    b"\xe9",
    b"{",
    b"]",
    b"\t",
    b";",
    b"\x1a",
]


def often(cases: int, *, shrink: bool = True) -> settings:
    """How many cases a test draws: the same ones in every `make test`, others every night.

    shrink: whether what fails is made smaller, by hundreds of further tries.
    """
    return settings(
        max_examples=cases * MORE if NIGHTLY else cases,
        derandomize=not NIGHTLY,
        database=None,
        phases=[phase for phase in Phase if shrink or phase != Phase.shrink],
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def places(value: Any, at: tuple = ()) -> list[tuple]:
    """The way to every value inside a value, itself included."""
    found = [at]
    keys: Any = (
        value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    )
    for key in keys:
        found += places(value[key], (*at, key))
    return found


@st.composite
def broken(draw: st.DrawFn, sound: Any, most: int = 3) -> Any:
    """A sound value after one to `most` changes anywhere in it."""
    value = copy.deepcopy(draw(st.sampled_from(sound)) if isinstance(sound, tuple) else sound)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.sampled_from(places(value)))
        if not place:
            value = draw(st.one_of(st.just(value), VALUES)) if draw(st.booleans()) else value
            continue
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        match draw(st.integers(0, 3)):
            case 0:
                del holder[place[-1]]
            case 1 if isinstance(holder, dict):
                holder[draw(TEXTS)] = holder.pop(place[-1])
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[place[-1]]))
            case _:
                holder[place[-1]] = draw(VALUES)
    return value


@st.composite
def bytes_of(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """A text as a file's bytes: often sound, else in another encoding, cut off or with a stray."""
    text = draw(texts)
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "cp1252"]))
    content = text.encode(encoding, "replace" if encoding == "cp1252" else "surrogatepass")
    where = draw(st.integers(0, len(content)))
    match draw(st.integers(0, 5)):
        case 0:
            return content[:where]
        case 1:
            return content[:where] + draw(st.sampled_from(BYTES)) + content[where:]
        case 2:
            return content.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n"])))
    return content


def as_json(value: Any) -> str:
    """JSON as people's tools write it: NaN and lone surrogates included."""
    return json.dumps(value, ensure_ascii=False)
