"""What a subagent may call, and that each call is answered, whatever the model wrote and whatever the tool does."""

import asyncio
import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from xz_magics.records import ToolCall
from xz_magics.tools import Context, ToolError
from xz_magics.tools.function import tool_of
from xz_magics.tools.granted import Cache, Granted
from xz_magics.tools.registry import Registry
from xz_magics.tools.rights import Rights
from xz_magics.tools.texts import MOST_RESULT_BYTES, capped, read_arguments


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def holding(*tools, grants=None, clock=time.monotonic, cache=None, **options):
    rights = Rights.of([tool.name for tool in tools] if grants is None else grants)
    around = {"workspace": Path(), "unsafe_local": False, "cache": cache or Cache(clock), "clock": clock} | options
    return Granted(Registry(tools), rights, **around)


def call(name, arguments="{}"):
    return ToolCall(id="call-1", name=name, arguments=arguments)


async def answer_of(function, arguments="{}", **options):
    """The answer to a call of this one function."""
    tool = tool_of(function, name="tool", **options)
    return await asyncio.wait_for(holding(tool).answer(call("tool", arguments)), 20)


def giving(value):
    def function():
        return value

    return function


def raising(error):
    def function():
        raise error

    return function


def raising_later(error):
    async def function():
        raise error

    return function


def weather(city: str, days: int = 3) -> str:
    """The weather of a city."""
    return f"{city} {days}"


WEATHER, SECOND = tool_of(weather), tool_of(weather, name="second")


def test_the_specs_are_those_of_the_granted_tools_by_name():
    granted = holding(WEATHER, SECOND, tool_of(weather, name="third"), grants=["weather", "second", "gone"])

    assert [spec.name for spec in granted.specs] == ["second", "weather"]
    assert granted.specs[1].description == "The weather of a city."
    assert granted.specs[1].parameters == WEATHER.parameters
    assert granted.delegating == frozenset()


def test_a_spec_says_which_words_are_granted():
    tool = tool_of(weather, params="the hosts it may ask")

    (some,) = holding(tool, grants=["weather(b.org, a.org)"]).specs
    (none,) = holding(tool).specs

    assert some.description.endswith("\n\nGranted to you (the hosts it may ask): a.org, b.org")
    assert none.description.endswith("\n\nGranted to you (the hosts it may ask): none")


async def test_a_call_is_answered_with_the_tools_result():
    clock = Clock()

    def slow():
        clock.now_s += 7
        return "done"

    result = await holding(tool_of(slow), clock=clock).answer(call("slow"))

    assert (result.text, result.error, result.cached, result.duration_s) == ("done", False, False, 7)


async def test_a_tool_is_given_its_own_words_and_place():
    def where(context: Context):
        return [str(context.workspace), sorted(context.params), context.unsafe_local]

    tool = tool_of(where, params="words")
    granted = holding(tool, grants=["where(b, a)"], workspace=Path("/w"), unsafe_local=True)

    assert json.loads((await granted.answer(call("where"))).text) == ["/w", ["a", "b"], True]


@pytest.mark.parametrize(
    "arguments", ['{"city": "Bonn"}', ' {"city":\n"Bonn", "days": 3.0} ', '{"city": "\\u0042onn"}']
)
async def test_arguments_are_json_objects(arguments):
    assert (await answer_of(weather, arguments)).text == "Bonn 3"


async def test_no_arguments_at_all_are_an_empty_object():
    assert (await answer_of(giving("x"), " ")).text == "x"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"city": "Bonn"', "the arguments are no JSON: Expecting ',' delimiter"),
        ("city=Bonn", "the arguments are no JSON: Expecting value, near 'city=Bonn'"),
        ("{'city': 'Bonn'}", "no JSON"),
        ('{"city": "Bonn"} {}', "no JSON: Extra data"),
        ('{"city": "a\nb"}', "no JSON: Invalid control character"),
        ("\ufeff{}", "no JSON"),
        ('{"city": "a", "days": 1, "city": "b"}', "the arguments have the key 'city' twice"),
        ('{"city": {"a": 1, "\\u0061": 1}}', "the arguments have the key 'a' twice"),
        ("{" + '"a": 1,' * 50_000 + '"b": 1}', "the arguments have the key 'a' twice"),
        ('{"city": NaN}', "the arguments hold NaN"),
        ('{"city": -Infinity}', "the arguments hold -Infinity"),
        ('{"city": 1e999}', "hold a number that is too large: '1e999'"),
        ('{"city": ' + "9" * 5_000 + "}", "hold a number of 5,000 digits"),
        ('{"city": ' + "[" * 40 + "]" * 40 + "}", "nested deeper than 32 levels"),
        ("[" * 100_000, "nested deeper than 32 levels"),
        ('{"city": "\\ud800"}', "half a character"),
        ('{"\\ud800": 1}', "half a character"),
        ("[]", "the arguments are list, not an object"),
        ('"{}"', "the arguments are str, not an object"),
        ("null", "the arguments are NoneType, not an object"),
        (json.dumps({"city": "x" * 600_000}), "the arguments have 600,0"),
        ('{"city": 3}', "`city` is 3: Input should be a valid string"),
        ('{"city": "a", "days": "3"}', "`days` is '3': Input should be a valid integer"),
        ("{}", "`city` is missing"),
        ('{"citi": "a"}', "`citi` is unknown; did you mean city?"),
    ],
    ids=lambda text: text[:20],
)
async def test_arguments_that_do_not_fit_are_told_to_the_model_with_the_mend(arguments, told):
    result = await answer_of(weather, arguments)

    assert result.error
    assert told in result.text
    assert len(result.text.splitlines()) >= 2, "what is wrong, and how to mend it"
    assert len(result.text) < 500


@given(text=st.text() | st.text(alphabet='{}[]",:\\u019.eE-ntf '))
def test_any_text_is_arguments_or_an_error(text):
    told = None
    try:
        arguments = read_arguments(text)
    except ToolError as error:
        arguments, told = None, error

    if told is None:
        assert isinstance(arguments, dict)
    else:
        assert told.hint
        assert len(str(told)) < 500


PLAIN = st.none() | st.booleans() | st.integers(-(2**900), 2**900) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(PLAIN | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(arguments=st.dictionaries(st.text(), JSON))
def test_whatever_json_writes_is_read_back(arguments):
    assert read_arguments(json.dumps(arguments)) == arguments


@pytest.mark.parametrize("name", ["wether", "second", "", "x" * 1_000_000, "weather\n", "\ud800"])
async def test_an_unknown_or_ungranted_tool_is_told_with_those_that_there_are(name):
    called = []
    other = tool_of(noting(called), name="second")

    result = await holding(WEATHER, other, grants=["weather"]).answer(call(name))

    assert result.error
    assert "is not available; have: weather" in result.text
    assert len(result.text.encode()) < 200
    assert called == []


def noting(called):
    def function():
        called.append(1)

    return function


async def test_with_no_tools_at_all_the_model_is_told_to_answer():
    result = await holding().answer(call("weather"))

    assert result.text == "tool 'weather' is not available; there are none: answer in text"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        ("", ""),
        (None, "(no result)"),
        (True, "true"),
        (3, "3"),
        (1.5, "1.5"),
        (float("nan"), "NaN"),
        ({"a": [1, None, "ü"]}, '{"a": [1, null, "ü"]}'),
        ((1, 2), "[1, 2]"),
        ({"n": float("inf"), "d": Path("/x"), "b": b"abc"}, '{"n": Infinity, "d": "/x", "b": "(3 bytes)"}'),
        ({"n": np.int64(3), "t": pd.Timestamp("2026-01-02")}, '{"n": 3, "t": "2026-01-02 00:00:00"}'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (np.float64(2.5), "2.5"),
        ({1}, "{1}"),
        (pd.DataFrame({"a": [1, 2]}), "   a\n0  1\n1  2"),
        ("half \ud83d", "half \ufffd"),
    ],
    ids=lambda value: str(type(value)),
)
async def test_results_are_made_text(value, text):
    result = await answer_of(giving(value))

    assert (result.text, result.error) == (text, False)


async def test_a_list_that_holds_itself_is_made_text():
    circle = [1]
    circle.append(circle)

    assert (await answer_of(giving(circle))).text == "[1, [...]]"


async def test_a_result_nested_without_end_is_an_error():
    deep = []
    for _ in range(100_000):
        deep = [deep]

    result = await answer_of(giving(deep))

    assert (result.error, "RecursionError" in result.text) == (True, True)


@pytest.mark.parametrize("value", [b"\x89PNG", bytearray(3), memoryview(b"abc")])
async def test_bytes_are_no_result(value):
    result = await answer_of(giving(value))

    assert (result.error, "only text can be read" in result.text) == (True, True)


class Nameless:
    def __init__(self, error):
        self.error = error

    def __repr__(self):
        raise self.error

    __str__ = __repr__


@pytest.mark.parametrize("error", [ValueError("no text"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"a": value}])
async def test_a_result_that_cannot_be_made_text_is_an_error(error, wrap):
    result = await answer_of(giving(wrap(Nameless(error))))

    assert result.error


@pytest.mark.parametrize("size", [MOST_RESULT_BYTES, MOST_RESULT_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
async def test_a_long_result_keeps_its_head_and_tail_and_says_what_is_left_out(size, letter):
    text = "HEAD" + letter * ((size - 8) // len(letter.encode())) + "TAIL"

    given_text = (await answer_of(giving(text))).text

    assert len(given_text.encode()) <= MOST_RESULT_BYTES
    assert given_text.startswith("HEAD")
    assert given_text.endswith("TAIL")
    if len(text.encode()) <= MOST_RESULT_BYTES:
        assert given_text == text
    else:
        assert f"of {len(text.encode()):,} bytes left out" in given_text


@given(text=st.text(alphabet="aü😀\n", min_size=1), times=st.integers(1, 60_000))
def test_no_text_is_longer_than_the_cap_and_what_is_left_out_is_counted(text, times):
    whole = text * times

    short = capped(whole)

    assert len(short.encode()) <= MOST_RESULT_BYTES
    if short != whole:
        head, mark, tail = short.rpartition("\n…[")[0], short.rpartition("\n…[")[2], short.rpartition("left out]…\n")[2]
        assert whole.startswith(head)
        assert whole.endswith(tail)
        left_out = int(mark.split(" of ")[0].replace(",", ""))
        assert len(head.encode()) + left_out + len(tail.encode()) == len(whole.encode())


async def test_a_huge_object_is_cut_while_the_loop_goes_on():
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)

    pulse = asyncio.ensure_future(beat())
    result = await answer_of(giving([10**6] * 3_000_000))
    pulse.cancel()

    assert len(result.text.encode()) <= MOST_RESULT_BYTES
    assert result.text.endswith("[the rest is left out]")
    assert beats > 5


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ToolError("there is no x", "look with list_directory"), "there is no x\nlook with list_directory"),
        (ValueError("bad city"), "the tool failed: ValueError: bad city\n"),
        (ValueError(), "the tool failed: ValueError\n"),
        (KeyError("city"), "the tool failed: KeyError: 'city'\n"),
        (TimeoutError("mine"), "the tool failed: TimeoutError: mine\n"),
        (ValueError("y" * 1_000_000), "…[cut]\n"),
        (ValueError(Nameless(ValueError())), "the tool failed: ValueError: (its message cannot be read: ValueError)"),
        (ValueError(Nameless(SystemExit())), "(its message cannot be read: SystemExit)"),
        (
            ExceptionGroup("two", [ValueError(1), KeyError(2)]),
            "the tool failed: ExceptionGroup: two (2 sub-exceptions)",
        ),
        (SystemExit(3), "the tool raised SystemExit"),
        (KeyboardInterrupt(), "the tool raised KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("odd"), "BaseException"),
        (StopIteration(), "StopIteration"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (asyncio.CancelledError(), "tool was cancelled from within"),
        (MemoryError(), "the tool failed: MemoryError"),
        (ValueError("\ud800"), "the tool failed: ValueError: \ufffd"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("make", [raising, raising_later])
async def test_whatever_a_tool_raises_is_told_to_the_model(make, error, told):
    result = await answer_of(make(error))

    assert result.error
    assert told in result.text
    assert len(result.text) < 3_000
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_tool_that_takes_too_long_is_a_result_that_says_so(kind):
    release, ended = threading.Event(), asyncio.Event()

    def hang():
        release.wait(30)

    async def hang_later():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    result = await answer_of(hang if kind == "sync" else hang_later, timeout_s=0.05)
    release.set()

    assert result.error
    assert "tool took longer than 0.05 s" in result.text
    assert ended.is_set() or kind == "sync"


@pytest.mark.parametrize("until", ["timeout", "cancelled"])
async def test_a_tool_that_will_not_be_cancelled_is_not_waited_for_without_end(until, monkeypatch):
    monkeypatch.setattr("xz_magics.tools.granted.GRACE_S", 0.05)
    release = asyncio.Event()

    async def stubborn():
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        raise ValueError("nobody hears this")

    job = asyncio.ensure_future(answer_of(stubborn, timeout_s=0.05 if until == "timeout" else 60))
    await asyncio.sleep(0.02)
    if until == "timeout":
        assert "took longer" in (await job).text
    else:
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    release.set()


async def test_our_own_cancellation_passes_through_and_ends_the_tool():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    job = asyncio.ensure_future(holding(tool_of(wait)).answer(call("wait")))
    await begun.wait()
    job.cancel()

    with pytest.raises(asyncio.CancelledError):
        await job
    assert job.cancelled()
    assert ended.is_set()


async def test_a_tool_that_swallows_our_cancellation_does_not_keep_its_subagent():
    begun = asyncio.Event()

    async def swallow():
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "still here"

    job = asyncio.ensure_future(holding(tool_of(swallow)).answer(call("swallow")))
    await begun.wait()
    job.cancel()

    with pytest.raises(asyncio.CancelledError):
        await job


async def test_secrets_are_taken_out_of_results_and_errors_and_before_they_are_cut():
    secret = "sk-hush"

    def tell(fail: bool, fill: int = 0):
        text = "x" * fill + secret
        if fail:
            raise ValueError(text)
        return text

    granted = holding(tool_of(tell), redact=lambda text: text.replace(secret, "***"))

    good = await granted.answer(call("tell", '{"fail": false}'))
    bad = await granted.answer(call("tell", '{"fail": true}'))
    wrong = await granted.answer(call("tell", json.dumps({"fail": secret})))
    cut = await granted.answer(call("tell", json.dumps({"fail": False, "fill": MOST_RESULT_BYTES - 3})))

    assert good.text == "***"
    assert "***" in bad.text
    assert not any("sk-" in result.text for result in (good, bad, wrong, cut))


def counting(cache_s=30, **options):
    calls = []

    async def look(city: str = "x", wait: bool = False):
        calls.append(city)
        await asyncio.sleep(0.02 if wait else 0)
        if city == "error":
            raise ValueError("no such city")
        return f"{city} {len(calls)}"

    return tool_of(look, cache_s=cache_s, **options), calls


async def test_a_result_is_used_again_for_equal_calls_as_long_as_it_is_kept():
    tool, _ = counting()
    clock = Clock()
    granted = holding(tool, clock=clock)

    first = await granted.answer(call("look", '{"city": "Bonn", "wait": false}'))
    clock.now_s += 29
    again = await granted.answer(call("look", '{ "wait": false, "city": "B\\u006fnn" }'))
    other = await granted.answer(call("look", '{"city": "Köln", "wait": false}'))
    clock.now_s += 1
    later = await granted.answer(call("look", '{"city": "Bonn", "wait": false}'))

    assert (first.text, first.cached) == ("Bonn 1", False)
    assert (again.text, again.cached) == ("Bonn 1", True)
    assert (other.text, other.cached) == ("Köln 2", False)
    assert (later.text, later.cached) == ("Bonn 3", False)


async def test_without_cache_s_every_call_is_made():
    tool, calls = counting(cache_s=None)
    granted = holding(tool)

    results = [await granted.answer(call("look")) for _ in range(3)]

    assert (len(calls), [result.cached for result in results]) == (3, [False] * 3)


async def test_errors_are_not_kept():
    tool, calls = counting()
    granted = holding(tool)

    results = [await granted.answer(call("look", '{"city": "error"}')) for _ in range(2)]

    assert [(result.error, result.cached) for result in results] == [(True, False)] * 2
    assert len(calls) == 2


async def test_a_cache_is_shared_by_those_who_hold_it_and_by_no_others():
    tool, _ = counting()
    cache = Cache(time.monotonic)

    ours = [await holding(tool, cache=cache).answer(call("look")) for _ in range(2)]
    theirs = await holding(tool).answer(call("look"))

    assert [result.cached for result in (*ours, theirs)] == [False, True, False]


async def test_who_has_fewer_rights_does_not_see_what_another_was_given():
    def ask(context: Context):
        if "a.org" not in context.params:
            raise ToolError("a.org is not granted", "ask another")
        return "the page"

    tool, cache = tool_of(ask, params="hosts", cache_s=60), Cache(time.monotonic)

    parent = await holding(tool, grants=["ask(a.org)"], cache=cache).answer(call("ask"))
    child = await holding(tool, grants=["ask(b.org)"], cache=cache).answer(call("ask"))

    assert (parent.text, child.text, child.error) == ("the page", "a.org is not granted\nask another", True)


@pytest.mark.parametrize("city", ["Bonn", "error"])
async def test_equal_calls_at_the_same_time_wait_for_the_first_and_share_how_it_ends(city):
    tool, calls = counting()
    granted = holding(tool)
    wanted = call("look", json.dumps({"city": city, "wait": True}))

    results = await asyncio.gather(*(granted.answer(wanted) for _ in range(10)))

    assert len(calls) == 1
    assert len({(result.text, result.error) for result in results}) == 1
    assert [result.cached for result in results] == [False] + [True] * 9


async def test_when_the_first_is_cancelled_one_of_those_who_wait_makes_the_call():
    tool, calls = counting()
    granted = holding(tool)
    wanted = call("look", '{"wait": true}')
    first, *others = [asyncio.ensure_future(granted.answer(wanted)) for _ in range(4)]
    await asyncio.sleep(0.005)

    first.cancel()
    results = await asyncio.wait_for(asyncio.gather(*others), 10)

    assert first.cancelled()
    assert len(calls) == 2
    assert [result.cached for result in results] == [False, True, True]


async def test_one_who_waits_may_be_cancelled_without_the_others():
    tool, calls = counting()
    granted = holding(tool)
    wanted = call("look", '{"wait": true}')
    first, second, third = [asyncio.ensure_future(granted.answer(wanted)) for _ in range(3)]
    await asyncio.sleep(0.005)

    second.cancel()

    assert [(await job).error for job in (first, third)] == [False, False]
    assert second.cancelled()
    assert len(calls) == 1


async def test_the_arguments_of_a_call_that_the_engine_carries_out_are_checked_alone():
    granted = holding(WEATHER)

    assert await granted.checked(call("weather", '{"city": "Bonn"}')) == {"city": "Bonn"}
    for name, arguments in (("other", "{}"), ("weather", "{"), ("weather", '{"city": 3}')):
        with pytest.raises(ToolError) as caught:
            await granted.checked(call(name, arguments))
        assert str(caught.value) == (await granted.answer(call(name, arguments))).text


async def test_many_calls_at_once_are_all_answered():
    granted = holding(WEATHER)

    results = await asyncio.gather(
        *(granted.answer(call("weather", json.dumps({"city": str(number)}))) for number in range(200))
    )

    assert [result.text for result in results] == [f"{number} 3" for number in range(200)]
