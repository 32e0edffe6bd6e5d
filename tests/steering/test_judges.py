"""Judges: rules that follow a model, an oracle that is exact, and a language model behind a local stub endpoint."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from das.data.encode import Encoder
from das.errors import ConfigError, EmptySplitError, JudgeError, UnknownChoiceError
from das.steering.compare import continuation_nll
from das.steering.judged import judge_steering
from das.steering.judges.base import Generation, Judge, ReadsModel, Scores
from das.steering.judges.chat_client import ChatClient
from das.steering.judges.llm import LLMJudge
from das.steering.judges.oracle import Oracle
from das.steering.judges.rules import Rules
from das.types import Prompt
from tests.contracts.groups import made, names

WORDS = {"girl": ["she", "her"], "boy": ["he", "his"]}


def test_scores_have_a_harmonic_mean():
    assert Scores(2, 2, 1).overall == pytest.approx(1.5) and Scores(0, 2, 2).overall == 0.0
    assert Scores(0, 2, 2).suppressed == 2.0 and Scores(2, 2, 2).suppressed == 0.0


@pytest.mark.parametrize("name", names("judge"))
def test_every_judge_of_the_configuration_is_one(name, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert isinstance(made("judge", name), Judge | ReadsModel)


def test_rules_count_words_and_measure_likelihoods(llama, tokenizer):
    encoder = Encoder.of(llama, tokenizer)
    texts = ["she and her dog", "she and she", "he was sad", " "]
    generations = [Generation("Tim went home .", text, "girl") for text in texts]
    ids = [encoder.response_ids(text) for text in texts[:3]]
    given = continuation_nll(llama, [encoder.encode(_prompt(g)).ids for g in generations[:3]], ids, 0)
    alone = continuation_nll(llama, [(1,)] * 3, ids, 0)
    fluent = [math.exp(n / len(i)) for n, i in zip(given.tolist(), ids, strict=True)]
    gains = [(a - n) / len(i) for a, n, i in zip(alone.tolist(), given.tolist(), ids, strict=True)]
    middle, gain = sorted(fluent)[1], sorted(gains)[1]
    rules = Rules(WORDS, fluent=middle * 0.999, passable=middle * 1.001, related=gain - 1e-4, answering=gain + 1e-4)
    found = rules.reading(llama, encoder)(generations)
    assert [s.concept for s in found] == [2, 1, 0, 0]
    assert [s.fluency for s in found[:3]] == [{0: 2, 1: 1, 2: 0}[sorted(fluent).index(p)] for p in fluent]
    assert [s.instruct for s in found[:3]] == [sorted(gains).index(g) for g in gains]
    assert found[3] == Scores(0, 0, 0)
    with pytest.raises(UnknownChoiceError, match="girl"):
        rules.reading(llama, encoder)([Generation("Tim", "she", "girls")])


def _prompt(one):
    return Prompt(one.prompt)


def test_an_oracle_knows_the_language():
    oracle = Oracle(
        {"plain": {"dog": "dog", "sun": "sun"}, "loud": {"dog": "DOG", "sun": "SUN"}},
        {"say dog sun": ["dog", "sun"]},
        ["and"],
    )

    def judged(text):
        return oracle([Generation("say dog sun", text, "loud")])[0]

    assert judged("DOG and SUN") == Scores(2, 2, 2)
    assert judged("DOG sun") == Scores(1, 2, 2)
    assert judged("sun dog") == Scores(0, 1, 2)
    assert judged("SUN xx") == Scores(2, 1, 1)
    assert judged("SUN xx xx") == Scores(2, 1, 0)
    assert judged("and") == Scores(0, 0, 2) and judged("") == Scores(0, 0, 0)
    with pytest.raises(UnknownChoiceError, match="prompt"):
        oracle([Generation("say cat", "cat", "loud")])
    with pytest.raises(UnknownChoiceError, match="concept"):
        oracle([Generation("say dog sun", "dog", "quiet")])


class Stub:
    """A local endpoint that answers as it is told; what it was asked is kept."""

    def __init__(self, reply: Callable[[dict[str, Any], int], tuple[int, Any]]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.asked.append(body)
                stub.keys.append(self.headers.get("Authorization"))
                code, answer = reply(body, len(stub.asked))
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[..., Stub]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started: list[Stub] = []

    def start(reply):
        started.append(Stub(reply))
        return started[-1]

    yield start
    for stub in started:
        stub.close()


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


ONLY_LOCAL = pytest.mark.allow_hosts(["127.0.0.1"])
local = [ONLY_LOCAL, pytest.mark.usefixtures("socket_enabled")]


class TestLanguageModel:
    pytestmark = local

    def test_three_questions_and_the_last_rating(self, serve, monkeypatch, tmp_path):
        monkeypatch.setenv("JUDGE_KEY", "secret")
        ratings = {"Concept: rain": 2, "Instruction: Hi {x}": 1, "Is the text fluent": 0}

        def reply(body, number):
            text = body["messages"][0]["content"]
            [rating] = [v for k, v in ratings.items() if k in text]
            return 200, said(f"Not [[{2 - rating}]], since it rains. [[ {rating} ]]")

        stub = serve(reply)
        client = ChatClient(stub.endpoint, "m", "JUDGE_KEY", cache=str(tmp_path))
        judge = LLMJudge(client)
        rows = [Generation("Hi {x}", "It rains {y}.", "rain")]
        assert judge(rows) == [Scores(2, 1, 0)]
        assert stub.keys == ["Bearer secret"] * 3 and stub.asked[0]["model"] == "m"
        assert judge(rows) == [Scores(2, 1, 0)] and len(stub.asked) == 3  # kept
        assert "secret" not in "".join(f.read_text() for f in tmp_path.iterdir())
        judge([Generation("Hi {x}", "It pours.", "rain")])
        assert len(stub.asked) == 6

    def test_busy_endpoints_are_asked_again_and_broken_ones_are_not(self, serve):
        stub = serve(lambda body, number: (429 if number < 3 else 200, said("ok")))
        assert ChatClient(stub.endpoint, "m", backoff=0.001).ask("?") == "ok" and len(stub.asked) == 3
        down = serve(lambda body, number: (503, {}))
        with pytest.raises(JudgeError, match=r"did not answer 3 times\. Got 503"):
            ChatClient(down.endpoint, "m", retries=2, backoff=0.001).ask("?")
        assert len(down.asked) == 3
        wrong = serve(lambda body, number: (401, {}))
        with pytest.raises(JudgeError, match=r"refuses\. Got 401"):
            ChatClient(wrong.endpoint, "m", backoff=0.001).ask("?")
        assert len(wrong.asked) == 1

    def test_answers_that_cannot_be_read(self, serve):
        def asks(code_and_body):
            return ChatClient(serve(lambda body, number: code_and_body).endpoint, "m", retries=0)

        with pytest.raises(JudgeError, match="another format"):
            asks((200, {"choices": []})).ask("?")
        with pytest.raises(JudgeError, match="JSON"):
            asks((200, b"<html>")).ask("?")
        with pytest.raises(JudgeError, match="no rating of concept"):
            LLMJudge(asks((200, said("I would say [[3]]"))))([Generation("a", "b", "c")])

    def test_an_endpoint_that_is_not_there(self):
        gone = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        port = gone.server_port
        gone.server_close()
        with pytest.raises(JudgeError, match="did not answer 2 times"):
            ChatClient(f"http://127.0.0.1:{port}", "m", retries=1, backoff=0.001).ask("?")


def test_clients_that_cannot_be_made(monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError, match="JUDGE_KEY"):
        ChatClient("http://x", "m", "JUDGE_KEY")
    with pytest.raises(ConfigError, match="URL"):
        ChatClient("file:///etc/passwd", "m")


def test_factors_are_judged_and_chosen(llama, tokenizer, make_subspace):
    seen = []

    class ByFactor:
        """Every call is one factor: the first is bad, the second good, the third good on the first half only."""

        def __call__(self, generations):
            seen.append(generations)
            marks = {1: (0, 0, 0, 0), 2: (1, 1, 2, 2), 3: (2, 2, 0, 0)}[len(seen)]
            return [Scores(m, 2, 2) for m in marks]

    prompts = ["Tim went home .", "Sue was happy .", "Bob saw a dog .", "Tim was sad ."]
    subspace = make_subspace(llama)
    found = judge_steering(
        llama, subspace, prompts, "girl", ByFactor(), [1, 2, 4], max_new_tokens=3, tokenizer=tokenizer
    )
    assert (found.selected.factor, found.selected.score, found.selected.chosen_by) == (4.0, 0.0, 2.0)
    assert [g.prompt for g in seen[0]] == prompts and {g.concept for g in seen[0]} == {"girl"}
    assert [g.text for g in seen[0]] != [g.text for g in seen[2]]
    seen.clear()
    away = judge_steering(
        llama, subspace, prompts, "girl", ByFactor(), [1, 2, 4], suppress=True, max_new_tokens=3, tokenizer=tokenizer
    )
    assert (away.selected.factor, away.selected.score) == (1.0, 2.0)
    with pytest.raises(EmptySplitError):
        judge_steering(llama, subspace, prompts[:1], "girl", ByFactor(), [1], tokenizer=tokenizer)
