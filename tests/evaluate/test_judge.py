"""A judge is asked over a real connection, reads back what it said, and is judged itself."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from labkit.base.errors import InputError
from labkit.base.pages import plain_table
from labkit.data.packs import load_pack
from labkit.evaluate import judge as kit
from labkit.models import zoo
from tests.commands import labkit

PAIRS = tuple(
    kit.Pair(
        f"item-{n}",
        f"subject {n}",
        f"Propose {n}.",
        ("new", "old"),
        (f"right {n}", f"wrong and long {n}") if n % 2 else (f"wrong {n}", f"right, long {n}"),
        (1.0, 0.0) if n % 2 else (0.0, 1.0),
    )
    for n in range(12)
)


@contextmanager
def server(reply, *, path="/v1/chat/completions"):
    """An OpenAI-compatible server on loopback. reply: the prompt and how many came before -> the
    text that the model says, or a status. Yields its address and what it was sent.
    """
    seen: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            said = reply(body["messages"][0]["content"], len(seen) - 1)
            status = said if isinstance(said, int) else 200
            content = {"choices": [{"message": {"role": "assistant", "content": said}}]}
            if isinstance(said, dict):
                content = said
            data = json.dumps(content).encode()
            self.send_response(status if self.path == path else 404)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def answer_of(prompt: str, letter: str) -> str:
    return prompt.split(f"<answer_{letter}>\n")[1].split(f"\n</answer_{letter}>")[0]


def likes_right(prompt: str, number: int) -> str:
    return "[[A]]" if answer_of(prompt, "A").startswith("right") else "I say [[B]]."


def outcomes_of(judge, pairs, folder):
    replies = kit.Replies(folder)
    kit.ask(kit.plan(judge, pairs, replies), replies)
    return kit.judged(judge, pairs, replies)


def test_a_server_judges_over_a_real_connection(tmp_path):
    with server(likes_right) as (address, seen):
        judge = kit.ServerJudge(address, "some-model", "secret-key")
        replies = kit.Replies(tmp_path)
        planned = kit.plan(judge, PAIRS, replies)
        told = " ".join(planned.told())
        assert not seen  # nothing is sent before it is said
        assert f"{address}/chat/completions" in told and "24 requests" in told
        assert "key is sent" in told and "http:" in told and "secret-key" not in told
        kit.ask(planned, replies)
    assert len(seen) == 24
    assert {(row["model"], row["key"], row["path"]) for row in seen} == {
        ("some-model", "Bearer secret-key", "/v1/chat/completions")
    }
    sent = {row["messages"][0]["content"] for row in seen}
    assert len(sent) == 24 and not any("secret" in text or "item-" in text for text in sent)
    (row,) = kit.worth(kit.judged(judge, PAIRS, replies))
    assert (row.sided, row.opposed, row.flips, row.unread) == (12, 0, 0, 0)
    assert row.agrees.mean == 1 and row.position.mean == 0.5 and row.judge.mean == row.check.mean
    assert "secret-key" not in "".join(path.read_text() for path in tmp_path.iterdir())
    again = kit.plan(judge, PAIRS, replies)
    assert not again.prompts and again.kept == 24
    other = kit.plan(kit.ServerJudge(address, "other-model"), PAIRS, replies)
    assert len(other.prompts) == 24 and "no key is sent" in " ".join(other.told())


def test_a_server_that_fails_keeps_what_came_and_goes_on(tmp_path):
    replies = kit.Replies(tmp_path)

    def breaks(prompt, number):
        return 400 if number == 5 else likes_right(prompt, number)

    with server(breaks) as (address, seen):
        judge = kit.ServerJudge(address, "m")
        with pytest.raises(InputError, match=r"status 400.*5 of 24 replies came and are kept"):
            kit.ask(kit.plan(judge, PAIRS, replies), replies)
        assert kit.plan(judge, PAIRS, replies).kept == 5
        kit.ask(kit.plan(judge, PAIRS, replies), replies)
        assert len(seen) == 25
    with pytest.raises(InputError, match=r"does not answer \(ConnectError.*0 of 24"):
        gone = kit.ServerJudge(address, "another")
        kit.ask(kit.plan(gone, PAIRS, replies), replies)


def test_a_busy_server_is_asked_again(tmp_path):
    with server(lambda prompt, number: 429 if number == 1 else "[[C]]") as (address, seen):
        outcomes = outcomes_of(kit.ServerJudge(address, "m"), PAIRS[:1], tmp_path)
    assert len(seen) == 3 and outcomes[0].share == 0.5 and not outcomes[0].flipped


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (401, "--key-from names the environment"),
        (302, "status 302"),
        ({"choices": []}, "no chat completion"),
        ({"error": "\x1b[31mred"}, "no chat completion"),
    ],
)
def test_what_no_judge_says_is_one_sentence(tmp_path, reply, said):
    with server(lambda prompt, number: reply) as (address, _), pytest.raises(InputError) as raised:
        outcomes_of(kit.ServerJudge(address, "m"), PAIRS[:1], tmp_path)
    assert said in str(raised.value) and "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [("ftp://x", "give an address"), ("nowhere", "give an address"), ("http://a:b@h/v1", "holds")],
)
def test_an_address_that_is_none(address, said):
    with pytest.raises(InputError, match=said):
        kit.ServerJudge(address, "m")


def test_a_key_comes_from_the_environment_only(monkeypatch):
    monkeypatch.setenv("JUDGE", " abc ")
    assert kit.key_from("JUDGE") == "abc" and kit.key_from(None) is None
    monkeypatch.delenv("JUDGE")
    with pytest.raises(InputError, match="'JUDGE' is not set"):
        kit.key_from("JUDGE")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("[[A]]", "A"),
        ("Because it is new: [[ B ]]", "B"),
        ("<think>[[A]] or [[B]]?</think>\n[[C]]", "C"),
        ("B.", "B"),
        ("tie", "C"),
        ("[[A]] and then [[B]]", None),
        ("Answer A is better", None),
        ("", None),
    ],
)
def test_replies_are_read_or_counted(reply, verdict):
    assert kit.read_verdict(reply) == verdict


def test_replies_that_are_no_verdict_are_counted_and_told(tmp_path):
    def mumbles(prompt, number):
        return "hm" if number < 3 else likes_right(prompt, number)

    with server(mumbles) as (address, _):
        rows = kit.worth(outcomes_of(kit.ServerJudge(address, "m"), PAIRS, tmp_path))
    assert rows[0].unread == 2 and rows[0].n == 10
    assert "not counted: 2 of 12 pairs" in " ".join(kit.remarks(rows, own=None))


def test_what_a_judge_is_known_to_do_is_measured():
    ties = [
        replace(pair, id=f"{pair.id} tie", scores=(1.0, 1.0), models=("new", "judge"))
        for pair in PAIRS
    ]
    found = {
        name: kit.worth(kit.judged_by((*PAIRS, *ties), rule), own="judge")[-1]
        for name, rule in kit.controls("judge").items()
    }
    truth, first, longer, own = found.values()
    assert truth.agrees.mean == 1 and truth.flips == 0 and truth.longer.mean == 0.5
    assert first.agrees.mean == 0.5 and first.position.mean == 1 and first.flips == 24
    assert longer.longer.mean == 1 and longer.position.mean == 0.5 and longer.flips == 0
    # in these pairs the second answer is always longer, and right in half of them
    assert longer.agrees.mean == 0.5 and longer.opposed == 6
    assert own.own.mean == 1 and own.own.n == 12 and own.agrees.mean == 0.5
    assert truth.own.mean == 0.5


def test_equal_answers_are_a_tie_and_not_asked_about(tmp_path):
    same = replace(PAIRS[0], answers=("equal", "equal "), scores=(1.0, 1.0))
    planned = kit.plan(kit.ServerJudge("http://127.0.0.1:9/v1", "m"), [same], kit.Replies(tmp_path))
    assert not planned.prompts and planned.same == 1
    (row,) = kit.worth(kit.judged(planned.judge, [same], kit.Replies(tmp_path)), own="new")
    assert row.ties == 1 and row.position is row.longer is row.own is row.agrees is None
    told = " ".join(kit.remarks([row], own="new"))
    assert "no pair that the check decides" in told and "own answer that the check calls" in told


def test_its_own_answers_must_be_among_those_compared():
    outcomes = kit.judged_by(PAIRS, lambda pair: "A")
    with pytest.raises(InputError, match="'me' is none of the models compared"):
        kit.worth(outcomes, own="me")
    assert "named as its own" in " ".join(kit.remarks(kit.worth(outcomes), own=None))


def test_a_model_on_this_machine_judges_by_likelihood(tmp_path):
    judge = kit.LocalJudge(zoo.load("llama-xs-instruct"))
    planned = kit.plan(judge, PAIRS, kit.Replies(tmp_path))
    assert "nothing is sent" in planned.told()[0]
    outcomes = outcomes_of(judge, PAIRS, tmp_path)
    assert all(one.readable and set(one.said) <= {"A", "B"} for one in outcomes)
    assert kit.worth(outcomes)[0].n == 12


def test_answers_are_text_wherever_they_are_shown():
    bad = '<img src=x onerror="alert(1)"> \x1b[31m'
    pair = replace(PAIRS[0], answers=(bad, "fine"), scores=(0.0, 1.0))
    rows = kit.opposing(kit.judged_by([pair], kit.controls(None)["always the longer answer"]), 5)
    assert len(rows) == 1 and "\x1b" not in rows[0][1]
    html = plain_table(("asked", "judge prefers", "check prefers"), rows)
    assert "<img" not in html and "&lt;img" in html


def written(path, items, answer):
    path.write_text(
        "".join(
            json.dumps({"id": item["id"], "answer": answer(number)}) + "\n"
            for number, item in enumerate(items)
        )
    )
    return path


def test_the_command_says_before_it_sends(tmp_path):
    items = [row for row in load_pack("elements").rows("test") if row["axis"] == "creativity"][:8]
    good = [
        " and ".join(item["entity"].split(" + ")) + " in one new alloy for me" for item in items
    ]
    files = [
        written(tmp_path / "good.jsonl", items, lambda n: good[n]),
        written(tmp_path / "poor.jsonl", items, lambda n: f"Nothing new at all {n}"),
    ]
    own = written(tmp_path / "mine.jsonl", items, lambda n: f"{good[n]} of mine")
    home = {"LABKIT_HOME": str(tmp_path / "home"), "JUDGE_KEY": "abc", "COLUMNS": "120"}

    def likes_new(prompt, number):
        return "[[A]]" if "Nothing" not in answer_of(prompt, "A") else "[[B]]"

    with server(likes_new) as (address, seen):
        common = ("llm-judge", *files, "--own", own, "--pack", "elements", "--judge", "some",
                  "--server", address, "--key-from", "JUDGE_KEY")  # fmt: skip
        tried = labkit(*common, "--dry-run", **home)
        assert tried.returncode == 0, tried.stderr
        assert "48 requests" in tried.stderr and "your key is sent" in tried.stderr and not seen
        done = labkit(*common, "--save", tmp_path / "pairs.jsonl", **home)
        assert done.returncode == 0, done.stderr
        again = labkit(*common, **home)
        assert again.returncode == 0 and len(seen) == 48 and again.stdout == done.stdout
    assert "good against poor" in done.stdout and "its own answer" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) == 24 and rows[0]["check"] == [1.0, 0.0] and rows[0]["said"] == ["A", "B"]
    gone = labkit(*common[:-1], "NOT_SET", **home)
    assert gone.returncode == 2 and "'NOT_SET' is not set" in gone.stderr
    alone = labkit("llm-judge", files[0], "--judge", "some", "--server", address, **home)
    assert alone.returncode == 2 and "at least two files" in alone.stderr
