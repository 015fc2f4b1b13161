"""Typed answers over both wires, from the spec to the table, with a model server that nobody here wrote."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib import request as http

import pytest
from calling import WIRES, called
from pydantic import BaseModel

import xz_magics
from xz_magics.providers.answer_forms import INSTRUCTION
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider
from xz_magics.records import Message, Request
from xz_magics.schemas.answers import answer_schema, value_of

pytestmark = pytest.mark.parametrize("wire", ["openai", "anthropic"])

SCHEMA = {"sentiment": ["positive", "negative"], "score": "number", "who": {"name": "string?"}}
FITTING = {"sentiment": "positive", "score": 4, "who": {"name": None}}
UNFIT = '{"sentiment": "happy", "score": "4"}'
LOOKED_UP = {"sentiment": "negative", "score": 1.5, "who": {"name": "Ann"}}
CALL = {"id": "call_look", "name": "look", "arguments": {"what": "review"}}
USAGE = {"prompt_tokens": 120, "completion_tokens": 9}


def answering(text, **match):
    return {"match": match, "response": {"content": text, "usage": USAGE}}


FIXTURES = [
    answering(json.dumps(FITTING), userMessage="Your answer does not fit"),
    answering(json.dumps(FITTING), userMessage="Judge it well"),
    answering(f"It is:\n```json\n{json.dumps(FITTING)}\n```", userMessage="Judge it in a fence"),
    answering(UNFIT, userMessage="Judge it twice"),
    answering("Some prose.", userMessage="Judge it at length"),
    answering(json.dumps(LOOKED_UP), userMessage="Sum it up"),
    {
        "match": {"userMessage": "Look it up", "hasToolResult": False},
        "response": {"toolCalls": [CALL], "usage": USAGE},
    },
    answering(json.dumps(LOOKED_UP), userMessage="Look it up", toolResultContains="a bad review"),
    {
        "match": {"userMessage": "Be cut"},
        "response": {"content": json.dumps(FITTING)},
        "latency": 20,
        "truncateAfterChunks": 4,
    },
]


class Sent:
    """Hands each request on to the model server, and keeps its body as it went out."""

    def __init__(self, server):
        self.bodies = []
        sent = self

        class Relay(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                sent.bodies.append(json.loads(body))
                names = {"content-type": "application/json", "authorization": "Bearer x", "x-api-key": "x"}
                with http.urlopen(http.Request(server.url + self.path, body, names)) as answer:
                    self.send_response(answer.status)
                    self.send_header("content-type", answer.headers["content-type"])
                    self.end_headers()
                    while piece := answer.read1(65536):
                        self.wfile.write(piece)

            def log_message(self, *_):
                pass

        self._relay = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        self.url = f"http://127.0.0.1:{self._relay.server_port}"

    @contextmanager
    def relaying(self):
        thread = threading.Thread(target=self._relay.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._relay.shutdown()
            self._relay.server_close()
            thread.join()


@pytest.fixture
def sent(aimock, monkeypatch):
    monkeypatch.setenv("XZ_MAGICS_CONFIG", "/dev/null")
    aimock.ask("/__aimock/reset/journal", "POST", {})
    aimock.ask("/__aimock/fixtures", "POST", {"fixtures": FIXTURES})
    with Sent(aimock).relaying() as relay:
        yield relay


@pytest.fixture(params=[True, False], ids=["streamed", "whole"])
def stream(request):
    return request.param


def look(what: str) -> str:
    """Looks something up."""
    return f"a bad {what}"


async def run(sent, wire, prompt, **options):
    task = {"prompt": prompt, "schema": options.pop("schema", SCHEMA)}
    return await xz_magics.run(
        {"tasks": {"a": task | options.pop("fields", {})}},
        model=f"{wire}:m",
        base_url=sent.url + ("/v1" if wire == "openai" else ""),
        tools=[look],
        **{"max_tokens": 50} | options,
    )


def form_in(body):
    """The schema that a request asks the server to hold the model to."""
    if "output_config" in body:
        return body["output_config"]["format"]["schema"]
    return body["response_format"]["json_schema"]["schema"]


async def test_an_answer_of_a_schema_has_a_value_and_columns(sent, wire, stream):
    results = await run(sent, wire, "Judge it well", stream=stream)

    outcome = results["a"]
    assert (outcome.status, outcome.value, json.loads(outcome.output)) == ("done", FITTING, FITTING)
    assert (outcome.input_tokens, outcome.output_tokens, outcome.estimated) == (120, 9, False)
    (body,) = sent.bodies
    assert form_in(body)["required"] == ["sentiment", "score", "who"]
    assert body.get("stream", False) is stream
    assert results.fields_df[["sentiment", "score"]].dtypes.astype(str).tolist() == ["string", "Int64"]


async def test_the_form_is_each_apis_own(sent, wire, stream):
    await run(sent, wire, "Judge it well", stream=stream)

    (body,) = sent.bodies
    if wire == "openai":
        assert body["response_format"]["type"] == "json_schema"
        assert body["response_format"]["json_schema"]["strict"] is True
        assert body["response_format"]["json_schema"]["name"] == "answer"
    else:
        assert body["output_config"]["format"]["type"] == "json_schema"
        assert not {"tools", "tool_choice", "system"} & body.keys()


async def test_an_answer_in_a_fence_is_found(sent, wire, stream):
    results = await run(sent, wire, "Judge it in a fence", stream=stream)

    assert (results["a"].value, len(sent.bodies)) == (FITTING, 1)


async def test_an_answer_that_does_not_fit_is_asked_for_again_and_both_are_charged(sent, wire, stream):
    used = xz_magics.quota.usage.tokens

    results = await run(sent, wire, "Judge it twice", stream=stream, max_total_tokens=20_000)

    outcome = results["a"]
    assert (outcome.status, outcome.value, len(outcome.turns)) == ("done", FITTING, 2)
    assert xz_magics.quota.usage.tokens - used == outcome.total_tokens == 258
    assert xz_magics.quota.reserved.tokens == 0
    again = sent.bodies[1]["messages"]
    assert again[-2] == {"role": "assistant", "content": UNFIT}
    assert "`sentiment` is 'happy': wanted is one of 'positive', 'negative'" in again[-1]["content"]
    assert form_in(sent.bodies[0]) == form_in(sent.bodies[1])


async def test_one_that_never_fits_fails_with_its_text(sent, wire, stream):
    results = await run(sent, wire, "Judge it well", stream=stream, schema={"other": "string"})

    outcome = results["a"]
    assert (outcome.status, outcome.error_type, outcome.value) == ("failed", "schema", None)
    assert json.loads(outcome.output) == FITTING
    assert len(sent.bodies) == 2


async def test_with_tools_granted_the_model_calls_them_and_then_answers_by_the_schema(sent, wire, stream):
    results = await run(sent, wire, "Look it up", stream=stream, fields={"allowed_tools": ["look"]})

    outcome = results["a"]
    assert (outcome.status, outcome.value) == ("done", LOOKED_UP)
    assert [turn.tool_calls for turn in outcome.turns] == [1, 0]
    assert all(body["tools"] and form_in(body) for body in sent.bodies)


async def test_where_there_is_a_summary_the_schema_is_the_summarys(sent, wire, stream):
    results = await run(sent, wire, "Judge it at length", stream=stream, fields={"summary_prompt": "Sum it up."})

    outcome = results["a"]
    assert (outcome.status, outcome.value, outcome.work) == ("done", LOOKED_UP, "Some prose.")
    assert not {"response_format", "output_config"} & sent.bodies[0].keys()
    assert form_in(sent.bodies[1])


async def test_what_came_of_an_answer_that_breaks_off_is_kept(sent, wire):
    results = await run(sent, wire, "Be cut")

    outcome = results["a"]
    assert (outcome.status, outcome.error_type, outcome.value) == ("incomplete", "cut", None)
    assert json.dumps(FITTING).startswith(outcome.output)


async def test_a_server_without_schemas_is_asked_in_words(sent, wire, stream):
    base_url = sent.url + ("/v1" if wire == "openai" else "")
    endpoint = Endpoint(name="mine", wire=wire, base_url=base_url, knows_schemas=False)
    provider = HttpProvider(model="mine:m", model_id="m", endpoint=endpoint, wire=WIRES[wire], key=None, price=None)
    schema = answer_schema(SCHEMA)
    asked = Message(role="user", content="Judge it well")

    ended = await called(provider, Request(messages=(asked,), max_tokens=50, schema=schema, stream=stream))
    await provider.aclose()

    (body,) = sent.bodies
    assert value_of(schema, ended.reply.text) == FITTING
    assert not {"response_format", "output_config"} & body.keys()
    assert INSTRUCTION in (body["system"] if wire == "anthropic" else body["messages"][0]["content"])


class Who(BaseModel):
    name: str | None


class Review(BaseModel):
    sentiment: str
    score: float
    who: Who


async def test_a_pydantic_model_gives_the_schema_and_has_the_last_word(sent, wire, stream):
    results = await run(sent, wire, "Judge it well", stream=stream, schema=Review)

    assert results["a"].value == FITTING | {"score": 4.0}
    assert form_in(sent.bodies[0])["$defs"]["Who"]["additionalProperties"] is False
