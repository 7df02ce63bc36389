"""A Modelfile's template, rendered by Go's own text/template as Ollama does, gives the tokens that
the tokenizer's chat template gives; what cannot be written so is refused.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from labkit.base.errors import InputError
from labkit.models import zoo
from labkit.models.families import CHATML, LLAMA3, MISTRAL
from labkit.share.export import (
    PADDED,
    OllamaTemplate,
    adds_start,
    export,
    modelfile,
    ollama_template,
)

needs_go = pytest.mark.skipif(
    not find_spec("go_template"),
    reason="py-go-template is not installed: `make peers` brings it, on Linux",
)
QWEN = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\nYou are {kind}.<|im_end|>\n' }}{%- endif -%}" + CHATML
)
LLAMA3_STRIPPED = LLAMA3.replace("message['content']", "message['content'] | trim")
CONVERSATIONS = [
    [("user", 'What is a "labkit"?')],
    [("system", "Answer in one word."), ("user", "Colour of <b>grass</b> & {{ .System }}?")],
    [("user", "Größe?\nZwei Zeilen"), ("assistant", "1,80 m"), ("user", "{% raw %}")],
    [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", '"""'),
        ("user", "e"),
    ],
]


def tokenizer_with(template: str | None, family: str = "llama-s-instruct"):
    tokenizer = zoo.tokenizer_of(zoo.model_folder(family))
    tokenizer.chat_template = template
    return tokenizer


def in_ollama(template: str, messages: list[dict], folder: Path) -> str:
    """As Ollama's server does it: the template is given .Messages and .System, and Go renders it.

    Neighbouring turns of one role, which Ollama would join, are not among the conversations.
    """
    import go_template

    path = folder / "template"
    path.write_text(template, "utf-8", newline="")
    turns = [{"Role": turn["role"], "Content": turn["content"]} for turn in messages]
    system = "\n\n".join(turn["content"] for turn in messages if turn["role"] == "system")
    return go_template.render(path, {"Messages": turns, "System": system}).decode("utf-8")


def template_in(text: str) -> str:
    """What Ollama's parser of Modelfiles takes as the template: all between the quotes."""
    _, found, rest = text.partition('\nTEMPLATE """')
    assert found
    return rest.partition('"""')[0]


@needs_go
@pytest.mark.parametrize("adds", [False, True], ids=["BOS in the template", "BOS by llama.cpp"])
@pytest.mark.parametrize(
    "name,template",
    [
        *((name, None) for name in zoo.shipped_models()),
        ("ChatML", CHATML),
        ("Llama 3", LLAMA3),
        ("Mistral", MISTRAL),
        ("a default system message", QWEN),
        ("a BOS and a default system message", "{{ bos_token }}" + QWEN),
    ],
)
def test_ollama_gives_the_tokens_that_transformers_gives(name, template, adds, tmp_path):
    if template is None:
        tokenizer = zoo.tokenizer_of(zoo.model_folder(name))
    else:
        tokenizer = tokenizer_with(template)
    if tokenizer.chat_template is None:
        pytest.skip("a base model has no chat template")
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.eos_token
    begins = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False
    ).startswith(tokenizer.bos_token)
    if adds and not begins:
        with pytest.raises(InputError, match="put before every prompt"):
            ollama_template(tokenizer, adds_start=True)
        return
    written = modelfile(ollama_template(tokenizer, adds_start=adds), ["x.gguf"])
    for conversation in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in conversation]
        text = in_ollama(template_in(written), messages, tmp_path)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        wanted = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        assert ([tokenizer.bos_token_id] if adds else []) + ids == wanted


@pytest.mark.parametrize(
    "template,stops",
    [
        (CHATML, ("<|im_end|>",)),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }} ###{{ '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
            ("###",),
        ),
    ],
)
def test_an_answer_stops_where_the_template_ends_one(template, stops):
    tokenizer = tokenizer_with(template, "smollm-s-instruct")
    found = ollama_template(tokenizer, adds_start=False).stops
    assert found == tuple(dict.fromkeys([*stops, tokenizer.eos_token]))


@pytest.mark.parametrize(
    "template,words",
    [
        (None, "continues text"),
        (CHATML + "{{ strftime_now('%d') }}", "today's date"),
        ("{{ messages[-1]['content'] }}", "texts of all turns in their order"),
        (
            "{% for m in messages %}{{ loop.index }}{{ m.role }}{{ m.content }}\n{% endfor %}",
            "unlike others|one by one|depends on the next",
        ),
        (
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}"
            "{% endif %}{{ m.content }}{% endfor %}",
            "refuses a conversation",
        ),
    ],
)
def test_a_template_that_ollama_cannot_have_is_refused_in_one_sentence(template, words):
    with pytest.raises(InputError, match=words) as caught:
        ollama_template(tokenizer_with(template), adds_start=False)
    assert "\n" not in str(caught.value)


def test_a_template_that_strips_blanks_is_written_and_the_modelfile_says_so():
    found = ollama_template(tokenizer_with(LLAMA3_STRIPPED), adds_start=False)
    assert found.notes == (PADDED,) and f"# {PADDED}" in modelfile(found, ["x.gguf"])
    assert not ollama_template(tokenizer_with(LLAMA3), adds_start=False).notes


def test_a_modelfile_is_for_the_last_file_and_answers_greedily():
    text = modelfile(OllamaTemplate("{{ .Messages }}", ("<end>",)), ["a-f32.gguf", "a-q8_0.gguf"])
    assert "\nFROM ./a-q8_0.gguf\n" in text and "# or: FROM ./a-f32.gguf" in text
    assert 'PARAMETER stop "<end>"' in text and "PARAMETER temperature 0\n" in text
    with pytest.raises(InputError, match="line break or a quote"):
        modelfile(OllamaTemplate("", ('"',)), ["a.gguf"])


@pytest.mark.skipif(not find_spec("gguf"), reason="needs the package gguf")
@pytest.mark.parametrize("said", [True, False, None])
def test_a_file_says_whether_prompts_begin_with_a_bos_or_is_refused(said, tmp_path):
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    if said is not None:
        writer.add_add_bos_token(said)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if said is None:
        with pytest.raises(InputError, match="guess otherwise"):
            adds_start(tmp_path / "x.gguf")
    else:
        assert adds_start(tmp_path / "x.gguf") is said


@pytest.mark.parametrize(
    "how,words",
    [
        ({"ollama": True}, "--ollama needs --gguf"),
        ({"quantisations": ["q8_0"]}, "--quantise needs --gguf"),
        ({"gguf": True, "quantisations": ["q8"]}, "--quantise is 'q8'"),
    ],
)
def test_what_is_asked_for_together_is_checked_before_anything_is_written(how, words, tmp_path):
    with pytest.raises(InputError, match=words):
        export("llama-s-instruct", tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()
