"""From a model's name to its provider: which address, which key, which price, and what is refused before anything."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from strategies import task

from xz_magics.config import Settings
from xz_magics.errors import ConfigError, ModelError
from xz_magics.prices import FREE, FlatPrice
from xz_magics.providers import Exchange
from xz_magics.providers.answer_forms import INSTRUCTION
from xz_magics.providers.embedded import EmbeddedProvider
from xz_magics.providers.http import HttpClient
from xz_magics.providers.local import LocalModel
from xz_magics.providers.opening import Opener
from xz_magics.providers.scripted import ScriptedProvider
from xz_magics.records import Message, Request
from xz_magics.schemas.answers import answer_schema

KEYS = {"OPENAI_API_KEY": "sk-openai-key-1", "ANTHROPIC_API_KEY": "sk-ant-key-2", "GROQ_API_KEY": "gsk-groq-key-3"}
ENDPOINTS = {
    "groq": {"wire": "openai", "base_url": "https://api.groq.com/openai/v1", "key_env": "GROQ_API_KEY"},
    "mine": {"wire": "anthropic", "base_url": "http://127.0.0.1:8000"},
}

OWN_FORM = {"params": {"response_format": {"type": "json_object"}}, "schema": answer_schema({"a": "string"})}


def opener(environ=KEYS, *, base_url=None, **settings):
    settings = Settings(**({"endpoints": ENDPOINTS} | settings))
    return Opener(settings, LocalModel(), base_url=base_url, environ=environ)


def going_out(provider):
    """The address of a call, and the key that goes with it."""
    request = httpx.Request("POST", provider._url)
    next(provider._auth.auth_flow(request))
    key = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key")
    return str(request.url), key


def refusal(model, **changes):
    with pytest.raises(ModelError) as caught:
        opener(**changes).open_provider(model)
    assert not any(key in str(caught.value) for key in KEYS.values())
    return caught.value


OPENAI_MOVED = KEYS | {"OPENAI_BASE_URL": "https://proxy.example/v1"}


@pytest.mark.parametrize(
    ("model", "changes", "url", "key"),
    [
        ("openai:m", {}, "https://api.openai.com/v1/chat/completions", "sk-openai-key-1"),
        ("anthropic:m", {}, "https://api.anthropic.com/v1/messages", "sk-ant-key-2"),
        ("groq:m", {}, "https://api.groq.com/openai/v1/chat/completions", "gsk-groq-key-3"),
        ("mine:m", {}, "http://127.0.0.1:8000/v1/messages", None),
        # The environment may move a maker: its key goes along.
        ("openai:m", {"environ": OPENAI_MOVED}, "https://proxy.example/v1/chat/completions", "sk-openai-key-1"),
        ("openai:m", {"environ": KEYS | {"OPENAI_BASE_URL": ""}}, "https://api.openai.com/v1/chat/completions", "sk-openai-key-1"),
        ("anthropic:m", {"environ": OPENAI_MOVED}, "https://api.anthropic.com/v1/messages", "sk-ant-key-2"),
        ("groq:m", {"environ": OPENAI_MOVED}, "https://api.groq.com/openai/v1/chat/completions", "gsk-groq-key-3"),
        # A base URL of a cell or a call gets no key, and none is needed for it ...
        ("openai:m", {"base_url": "https://other.example/v1"}, "https://other.example/v1/chat/completions", None),
        ("openai:m", {"base_url": "https://other.example/v1", "environ": OPENAI_MOVED}, "https://other.example/v1/chat/completions", None),
        ("openai:m", {"base_url": "https://other.example/v1", "environ": {}}, "https://other.example/v1/chat/completions", None),
        ("anthropic:m", {"base_url": "https://api.anthropic.com"}, "https://api.anthropic.com/v1/messages", None),
        # ... unless the configuration binds that very host and scheme to one: then that one.
        ("openai:m", {"base_url": "https://API.groq.com/other"}, "https://api.groq.com/other/chat/completions", "gsk-groq-key-3"),
        ("openai:m", {"base_url": "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1/chat/completions", None),
        ("openai:m", {"base_url": "http://api.groq.com/v1"}, "http://api.groq.com/v1/chat/completions", None),
        ("openai:m", {"base_url": "https://api.groq.com:8443/v1"}, "https://api.groq.com:8443/v1/chat/completions", None),
        ("openai:m", {"base_url": "https://api.groq.com.evil.example/v1"}, "https://api.groq.com.evil.example/v1/chat/completions", None),
        # A named endpoint has its own address, whatever else is given.
        ("groq:m", {"base_url": "https://other.example/v1"}, "https://api.groq.com/openai/v1/chat/completions", "gsk-groq-key-3"),
    ],
)  # fmt: skip
def test_a_call_goes_to_its_own_host_with_its_own_key_or_none(model, changes, url, key):
    provider = opener(**changes).open_provider(model)

    assert going_out(provider) == (url, key)
    assert provider.model == model


def test_a_host_is_bound_by_whichever_endpoint_has_a_key():
    keyless = {"first": {"wire": "openai", "base_url": "https://api.groq.com/x"}} | ENDPOINTS

    provider = opener(base_url="https://api.groq.com/v1", endpoints=keyless).open_provider("openai:m")

    assert going_out(provider)[1] == "gsk-groq-key-3"


def test_an_endpoint_of_the_configuration_may_bear_a_makers_name():
    endpoints = {"openai": {"wire": "openai", "base_url": "http://127.0.0.1:9/v1"}}

    provider = opener(OPENAI_MOVED, endpoints=endpoints).open_provider("openai:m")

    assert going_out(provider) == ("http://127.0.0.1:9/v1/chat/completions", None)


@pytest.mark.parametrize(
    ("model", "changes", "message", "hint"),
    [
        ("opnai:m", {}, "no provider is called 'opnai', in the model 'opnai:m'", "did you mean openai:m?"),
        ("gorq:m", {}, "no provider is called 'gorq', in the model 'gorq:m'", "did you mean groq:m?"),
        ("gpt-4o", {}, "no provider is called 'gpt-4o', in the model 'gpt-4o'", "write PROVIDER:gpt-4o; there are local, scripted, openai, anthropic, groq, mine"),
        ("openai:", {}, "'openai:' names no model", "write openai:MODEL"),
        ("groq", {}, "'groq' names no model", "write groq:MODEL"),
        ("openai:m", {"environ": {}}, "openai: needs a key, and OPENAI_API_KEY is not set in the environment", "set OPENAI_API_KEY before Jupyter starts, or take --model local"),
        ("groq:m", {"environ": {"GROQ_API_KEY": " "}}, "groq: needs a key, and GROQ_API_KEY is not set in the environment", "set GROQ_API_KEY"),
        ("openai:m", {"base_url": "other.example/v1"}, "the base URL of openai is no address of an API: 'other.example/v1'", "write it as https://host/path"),
        ("openai:m", {"base_url": ""}, "the base URL of openai is no address of an API: ''", "write it as https://host/path"),
        ("openai:m", {"environ": KEYS | {"OPENAI_BASE_URL": "http://far.example/v1"}}, "the key of openai (OPENAI_API_KEY) would go in clear text to far.example", "use an https:// address"),
        ("scripted:lesson", {}, "no script is called 'lesson'", "known are none"),
        ("scripted:lesson", {"scripts": {"a": {}, "b": {}}}, "no script is called 'lesson'", "known are a, b"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_opened_is_refused_with_its_mend(model, changes, message, hint):
    error = refusal(model, **changes)

    assert error.message == message
    assert error.hint.startswith(hint)


def test_on_this_machine_a_key_may_be_missing():
    endpoints = {"mine": ENDPOINTS["mine"] | {"key_env": "NO_SUCH_KEY"}}

    assert going_out(opener(endpoints=endpoints).open_provider("mine:m"))[1] is None


KEY_AS_VALUE = {"wire": "openai", "base_url": "https://a.example", "key_env": "sk-openai-key-1"}


@pytest.mark.parametrize(
    "endpoints",
    [
        {"groq": {"wire": "openai"}},
        {"groq": {"base_url": "https://a.example"}},
        {"groq": {"wire": "gemini", "base_url": "https://a.example"}},
        {"groq": {"wire": ["openai"], "base_url": "https://a.example"}},
        {"groq": {"wire": "openai", "base_url": 3}},
        {"groq": {"wire": "openai", "base_url": "https://a.example", "key_env": 3}},
        {"groq": {"wire": "openai", "base_url": "https://a.example", "api_key": "sk-openai-key-1"}},
        {"groq": KEY_AS_VALUE},
        {"groq": {"wire": "openai", "base_url": "https://a.example", "structured": "no"}},
    ],
)
def test_an_endpoint_that_is_written_wrongly_is_refused_without_showing_its_values(endpoints):
    with pytest.raises(ConfigError) as caught:
        opener(endpoints=endpoints)

    assert caught.value.message == "endpoint 'groq' is not written as it should be"
    assert caught.value.hint.startswith("give groq: {wire: openai or anthropic, base_url: https://…, key_env: ")
    assert "sk-openai" not in str(caught.value)


@pytest.mark.parametrize(("base_url", "model"), [(None, "mine:m"), ("http://127.0.0.1:8000/v1", "anthropic:m")])
@pytest.mark.parametrize("structured", [True, False])
async def test_an_endpoint_that_knows_no_schemas_is_asked_in_words(structured, base_url, model):
    endpoints = {"mine": ENDPOINTS["mine"] | {"structured": structured}}
    sent = []

    def answer(request):
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn"})

    provider = opener(endpoints=endpoints, base_url=base_url).open_provider(model)
    provider._client = HttpClient(provider._endpoint, transport=httpx.MockTransport(answer))
    asked = Request(messages=(Message(role="user", content="Hi"),), max_tokens=5, schema=OWN_FORM["schema"])
    await provider.call(replace(asked, stream=False), Exchange())

    assert ("output_config" in sent[0], INSTRUCTION in sent[0].get("system", "")) == (structured, not structured)


@pytest.mark.parametrize("name", ["local", "scripted", "a:b"])
def test_an_endpoint_whose_name_no_model_could_ask_for_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        opener(endpoints={name: ENDPOINTS["mine"]})

    assert caught.value.message == f"an endpoint cannot be called {name!r}"
    assert caught.value.hint == "give it another name, without a colon"


@pytest.mark.parametrize(
    ("prices", "message", "hint"),
    [
        ({"gpt-4o": {"input": 1, "output": 2}}, "a price is given for 'gpt-4o'", "write PROVIDER:MODEL"),
        ({"groq:m": {"input": 1}}, "the price of groq:m is {'input': 1}", "give dollars per million tokens"),
    ],
)
def test_a_price_that_is_written_wrongly_is_refused(prices, message, hint):
    with pytest.raises(ConfigError) as caught:
        opener(prices=prices)

    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)


def test_prices_are_the_users_own_then_the_tables():
    own = {"groq:m": {"input": 1, "output": 2}}
    opened = opener(prices=own)

    assert opened.open_provider("groq:m").price == FlatPrice(input_usd=Decimal(1), output_usd=Decimal(2))
    assert opened.open_provider("openai:gpt-4o").price.worst(1_000_000, 0) == Decimal("2.5")
    assert opened.open_provider("openai:unheard-of").price is None
    assert opened.open_provider("local").price is opened.open_provider("scripted:").price is FREE


def test_a_model_without_a_price_is_refused_where_cost_is_limited_and_nowhere_else():
    tasks = [task("a", "scripted:"), task("b", "openai:unheard-of")]

    assert list(opener().open_all(tasks, priced=False)) == ["scripted:", "openai:unheard-of"]
    with pytest.raises(ModelError) as caught:
        opener().open_all(tasks, priced=True)
    assert caught.value.message == "openai:unheard-of has no known price, and max_total_cost is set"
    assert caught.value.hint.endswith("as openai:unheard-of: {input: 1.0, output: 2.0}")


def test_tasks_of_one_model_share_its_provider():
    tasks = [task("a", "openai:gpt-4o"), task("b", "openai:gpt-4o"), task("c", "anthropic:m")]

    assert list(opener().open_all(tasks, priced=False)) == ["openai:gpt-4o", "anthropic:m"]


@pytest.mark.parametrize(
    ("model", "fields", "message", "hint"),
    [
        ("anthropic:m", {"seed": 0}, "task 'one': anthropic:m knows no 'seed'", "leave seed out"),
        ("mine:m", {"seed": 3}, "task 'one': mine:m knows no 'seed'", "leave seed out"),
        ("openai:m", {"params": {"stream_options": {}}}, "task 'one': params hold 'stream_options', which", "take"),
        ("local", {"params": {"n": 2}}, "task 'one': params hold 'n', which is not passed on", "take n out"),
        ("openai:m", OWN_FORM, "task 'one': params hold 'response_format', and the task has a schema", "take response"),
        ("local", OWN_FORM, "task 'one': params hold 'response_format', and the task has a schema", "take response"),
    ],
)
def test_a_field_that_would_not_go_out_is_refused(model, fields, message, hint):
    with pytest.raises(ModelError) as caught:
        opener().open_all([task("zero", model), task("one", model, **fields)], priced=False)

    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("openai:m", {"seed": 1}),
        ("groq:m", {"seed": 1}),
        ("local", {"seed": 1}),
        ("scripted:", {"seed": 1, "params": {"n": 2}}),
        ("anthropic:m", {"params": {"top_k": 4}}),
    ],
)
def test_a_field_that_goes_out_is_fine(model, fields):
    assert list(opener().open_all([task("one", model, **fields)], priced=False)) == [model]


@pytest.mark.parametrize("models", [["groq:m"], ["local"], ["scripted:", "groq:m"]])
def test_a_base_url_that_no_task_would_use_is_refused(models):
    tasks = [task(model, model) for model in models]

    with pytest.raises(ModelError) as caught:
        opener(base_url="https://other.example/v1").open_all(tasks, priced=False)

    assert caught.value.message == "a base URL is given, and no task's model is an openai: or anthropic: one"
    assert caught.value.hint.startswith("leave it out")
    opener(base_url="https://other.example/v1").open_all([*tasks, task("x", "openai:m")], priced=False)


def test_scripts_are_those_of_the_configuration_and_the_nameless_one():
    opened = opener(scripts={"lesson": {"steps": [{"answer": "Hello"}]}})

    assert isinstance(opened.open_provider("scripted:"), ScriptedProvider)
    assert opened.open_provider("scripted:lesson").model == "scripted:lesson"


@pytest.mark.parametrize(
    ("model", "environ", "gguf"),
    [
        ("local", {}, None),
        ("local:", {}, None),
        ("local", {"XZ_MAGICS_GGUF": "~/own.gguf"}, Path.home() / "own.gguf"),
        ("local:/a/b:c.gguf", {"XZ_MAGICS_GGUF": "/own.gguf"}, Path("/a/b:c.gguf")),
    ],
)
def test_the_embedded_model_is_the_one_that_is_named(model, environ, gguf, tmp_path):
    provider = opener(environ | {"XZ_MAGICS_CACHE": str(tmp_path)}).open_provider(model)

    assert isinstance(provider, EmbeddedProvider)
    assert (provider._gguf, provider._cache_dir, provider.model) == (gguf, tmp_path, model)
    assert bool(provider.note) == (gguf is None)


def test_the_secrets_are_the_values_of_all_keys_that_are_set():
    assert opener(KEYS | {"ANTHROPIC_API_KEY": " ", "GROQ_API_KEY": "gsk-groq-key-3\n"}).secrets() == {
        "sk-openai-key-1",
        "gsk-groq-key-3",
    }


def test_a_home_that_there_is_not_and_thinking_with_tools_are_refused():
    assert "nosuchuser" in refusal("local:~nosuchuser/model.gguf").message
    asked = task("a", "mine:m", allowed_tools=("grep",), params={"thinking": {"type": "enabled"}})
    with pytest.raises(ModelError, match="thinking and tools do not go together yet"):
        opener().open_all([asked], priced=False)
