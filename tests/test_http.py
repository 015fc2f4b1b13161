"""What goes out over HTTP and when; the transport is httpx's own seam, or a server of the test's."""

import json
import logging
import pickle
import re
from contextlib import nullcontext
from datetime import datetime

import aiohttp
import httpx
import pytest

from xz_magics.errors import ModelError, ProviderError
from xz_magics.providers import Exchange
from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider
from xz_magics.providers.openai import OpenAIWire
from xz_magics.records import Message, Request

KEY = "sk-test-Ab3dEf6hIj9Kl2Mn"
BODY = {
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3},
}


class Recorder:
    """Answers every request with the same response, or raises, and keeps what came."""

    def __init__(self, answer=None):
        self.requests = []
        self._answer = answer or httpx.Response(200, json=BODY)

    def __call__(self, request):
        self.requests.append(request)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def provider_of(recorder, *, base_url="https://api.openai.com/v1", wire=None, key=f" {KEY}\n", key_env="TEST_KEY"):
    endpoint = Endpoint(name="test", wire="openai", base_url=base_url, key_env=key_env)
    return HttpProvider(
        model="test:m",
        model_id="m",
        endpoint=endpoint,
        wire=wire or OpenAIWire(),
        key=key,
        price=None,
        transport=httpx.MockTransport(recorder),
    )


def a_request(**changes):
    return Request(messages=(Message(role="user", content="Hi \ud83d"),), max_tokens=50, **changes)


async def error_of(provider, request=None, exchange=None):
    with pytest.raises(ProviderError) as caught:
        await provider.call(request or a_request(), exchange or Exchange())
    return caught.value


async def test_the_request_is_one_post_with_these_headers_and_this_body():
    recorder = Recorder()

    reply = await provider_of(recorder).call(a_request(), Exchange())

    (request,) = recorder.requests
    assert reply.text == "Hello"
    assert (request.method, str(request.url)) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert dict(request.headers) == {
        "host": "api.openai.com",
        "accept": "text/event-stream, application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": "xz-magics",
        "content-length": str(len(request.content)),
        "authorization": f"Bearer {KEY}",
    }
    assert json.loads(request.content) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi \ud83d"}],
        "max_completion_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_only_the_maker_s_own_host_is_asked_in_its_newer_words():
    recorder = Recorder()

    await provider_of(recorder, base_url="https://api.openai.com.example.net/v1").call(a_request(), Exchange())

    assert json.loads(recorder.requests[0].content)["max_tokens"] == 50


async def test_anthropic_s_key_and_version_are_headers_of_their_own():
    recorder = Recorder(httpx.Response(200, json={"content": [{"text": "Hello"}]}))

    await provider_of(recorder, wire=AnthropicWire(), base_url="https://api.anthropic.com/").call(
        a_request(), Exchange()
    )

    (request,) = recorder.requests
    assert str(request.url) == "https://api.anthropic.com/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers


async def test_without_a_key_none_is_sent():
    recorder = Recorder()

    await provider_of(recorder, key=None, key_env=None).call(a_request(), Exchange())

    assert "authorization" not in recorder.requests[0].headers


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example.com/v1", "http://api.openai.com/v1", "https://api.openai.com:444/v1"]
)
def test_the_key_goes_to_its_own_origin_alone(elsewhere):
    auth = provider_of(Recorder())._auth

    assert "authorization" not in next(auth.auth_flow(httpx.Request("POST", elsewhere))).headers
    assert "authorization" in next(auth.auth_flow(httpx.Request("POST", "https://api.openai.com/x"))).headers


def test_a_key_that_would_leak_or_cannot_be_sent_is_refused_before_anything_is_sent():
    with pytest.raises(ModelError, match="clear text"):
        provider_of(Recorder(), base_url="http://api.example.com/v1")
    with pytest.raises(ModelError, match="QUOTATION MARK"):
        provider_of(Recorder(), key=f"\u201c{KEY}\u201d")


async def test_nothing_of_the_key_is_in_names_errors_or_logs(caplog):
    caplog.set_level(logging.DEBUG)
    provider = provider_of(Recorder(httpx.Response(500, text=f"you sent {KEY}")))

    error = await error_of(provider)

    shown = [
        repr(provider),
        str(error),
        repr(error),
        str(pickle.loads(pickle.dumps(error))),
        provider.account,
        caplog.text,
    ]
    assert not [text for text in shown if KEY in text or "Hi " in text]
    assert error.__cause__ is None
    assert provider.account == "api.openai.com TEST_KEY"


@pytest.mark.parametrize("params", [{"x": datetime(2026, 1, 1)}, {"x": float("nan")}, {"x": {1, 2}}])  # noqa: DTZ001
async def test_params_that_are_no_json_are_an_error_before_anything_is_sent(params):
    recorder, exchange = Recorder(), Exchange()

    error = await error_of(provider_of(recorder), a_request(params=params), exchange)

    assert (error.error_type, error.charge) == ("bad_request", "nothing")
    assert "params" in error.hint
    assert not exchange.sent
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("raised", "error_type"),
    [
        (httpx.ConnectError("x"), "network"),
        (httpx.ReadError("x"), "network"),
        (httpx.RemoteProtocolError("x"), "bad_response"),
        (httpx.DecodingError("x"), "bad_response"),
        (ConnectionResetError("x"), "network"),
        (TimeoutError("x"), "network"),
    ],
)
async def test_every_error_of_the_transport_is_a_provider_error_with_its_cause(raised, error_type):
    error = await error_of(provider_of(Recorder(raised)))

    assert (error.error_type, error.charge, error.__cause__) == (error_type, "nothing", raised)
    assert error.hint


async def test_a_connection_that_takes_too_long_is_said_to():
    slow = httpx.ConnectTimeout("x")
    slow.__cause__ = aiohttp.ConnectionTimeoutError("x")

    error = await error_of(provider_of(Recorder(slow)))

    assert "no connection to api.openai.com within 15 s" in error.message


async def test_the_exchange_hears_once_that_the_request_was_sent_and_each_piece_of_text():
    heard = []
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in ("Hel", "lo")]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    exchange = Exchange(on_sent=lambda: heard.append("sent"), on_text=heard.append)

    await provider_of(Recorder(httpx.Response(200, text=body))).call(a_request(), exchange)

    assert heard == ["sent", "Hello"]
    assert exchange.finish_reason == "stop"


async def test_the_request_s_id_comes_from_the_headers_where_they_have_one():
    answered = httpx.Response(200, json=BODY | {"id": "chatcmpl-1"}, headers={"x-request-id": "req_1"})

    assert (await provider_of(Recorder(answered)).call(a_request(), Exchange())).request_id == "req_1"
    unnamed = httpx.Response(200, json=BODY | {"id": "chatcmpl-1"})
    assert (await provider_of(Recorder(unnamed)).call(a_request(), Exchange())).request_id == "chatcmpl-1"


LIMITS = {
    "X-RateLimit-Limit-Requests": "60",
    "x-ratelimit-reset-tokens": "6m0s",
    "Anthropic-RateLimit-Tokens-Remaining": "7",
}


@pytest.mark.parametrize("status", [200, 429, 500])
async def test_the_exchange_has_the_headers_that_speak_of_rate_limits_of_answers_and_of_refusals(status):
    answered = httpx.Response(status, json=BODY, headers=LIMITS | {"x-request-id": "req_1", "set-cookie": "a=b"})
    exchange = Exchange()

    with nullcontext() if status == 200 else pytest.raises(ProviderError):
        await provider_of(Recorder(answered)).call(a_request(), exchange)

    assert exchange.headers == {name.lower(): value for name, value in LIMITS.items()}


@pytest.mark.parametrize(("named", "reason"), [("missing.pem", "No such file"), ("", "Is a directory"), ("no.pem", "")])
async def test_certificates_that_cannot_be_read_are_an_error_before_anything_is_sent(
    monkeypatch, tmp_path, named, reason
):
    (tmp_path / "no.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / named))
    provider = HttpProvider(
        model="test:m",
        model_id="m",
        endpoint=Endpoint(name="test", wire="openai", base_url="https://api.example.com/v1"),
        wire=OpenAIWire(),
        key=None,
        price=None,
    )

    with pytest.raises(ModelError, match=re.escape(str(tmp_path / named))) as caught:
        await provider.open(print)

    assert reason in caught.value.message
    assert "SSL_CERT_FILE" in caught.value.hint
