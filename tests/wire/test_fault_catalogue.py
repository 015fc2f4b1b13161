"""Whole runs against each fault of the catalogue: how the task ends, what it is charged, and nothing left open."""

import asyncio
import json
import socket
import ssl
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import fault_server as fs
import pytest
import trustme
from calling import KEY, nothing_left
from fault_server import FaultServer

import xz_magics
from xz_magics.records import Quota
from xz_magics.tools.function import tool_of
from xz_magics.tools.sandbox import sandbox_missing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("session")]

# What a task is charged, and whether that is an estimate. Its prompt "Hi" can have 2 + 128 tokens, its answer 50.
UNSENT = (None, False)
NOTHING = (0, False)
REPORTED = (12, False)
TWICE = (24, False)
ALL = (180, True)
ALL_TWICE = (360, True)
ALL_THEN_REPORTED = (192, True)
CAME = (130 + len(fs.TEXT), True)

PAGE = b"<!doctype html><html><head><title>Sign in to Wi-Fi</title></head><body>hello</body></html>"
COMMENT = b": keep-alive\n\n"
CUT_JSON = fs.response(fs.document()[:-9])
EVENTS = fs.HEAD % (200, fs.SSE + b"transfer-encoding: chunked\r\n")
SILENCE = {"idle_timeout": 0.3}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the server does, and what the run is to come to. `others` is the end of two tasks more, one by one after.

    `told` and `untold` are words of the last request; `requests` is how many the server sees.
    """

    server: Any
    ends: str
    charged: tuple
    says: str
    requests: int
    others: str
    output: str | None
    told: str
    untold: str
    least_s: float
    wire: str
    options: dict


def row(
    name,
    server,
    ends="done",
    charged=REPORTED,
    *,
    says="",
    requests=1,
    others="",
    output=None,
    told="",
    untold="\0",
    least_s=0.0,
    wire="openai",
    marks=(),
    **options,
):
    fields = {key: value for key, value in locals().items() if key not in {"name", "marks"}}
    return pytest.param(Fault(**fields), id=name, marks=marks)


def limited(headers=b"", status=429, **fields):
    return fs.refusal(status, "the reason", headers, **fields)


def then_well(*faults):
    return fs.in_turn(*faults, fs.answering)


def dated(seconds, zone=UTC):
    return format_datetime(datetime.now(zone) + timedelta(seconds=seconds), usegmt=zone is UTC).encode()


def coming_date(call):
    """Dates have whole seconds: two of them from now is one at least."""
    refusal = limited(b"retry-after: " + dated(2) + b"\r\n")
    return call.send(refusal) if call.number == 1 else fs.answering(call)


def reported(**usage):
    return fs.response(fs.document(usage=usage))


def document(content, reason="stop", **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": content} | message, "finish_reason": reason}
    return fs.response(fs.document(choices=[choice]))


CALLS = [
    *[
        row(
            f"F1 Retry-After {value} is no time to wait",
            then_well(limited(b"retry-after: %s\r\n" % value.encode())),
            requests=2,
        )
        for value in ("0", "-10", "nan", "soon")
    ],
    *[
        row(
            f"F1 Retry-After {value} is too long",
            limited(b"retry-after: %s\r\n" % value.encode()),
            "failed rate_limited",
            NOTHING,
            says=f"asks to wait {float(value):,.0f} s: longer than 60 s",
        )
        for value in ("61", "121", "300", "inf", "1e35")
    ],
    row("F1 Retry-After is kept", then_well(limited(b"retry-after: 0.4\r\n")), requests=2, least_s=0.4),
    row(
        "F1 Retry-After past the task's timeout",
        limited(b"retry-after: 20.5\r\n"),
        "failed rate_limited",
        NOTHING,
        says="the next try would be in 20.5 s",
        timeout=5,
    ),
    row(
        "F1 Retry-After past the run's time",
        limited(b"retry-after: 20.5\r\n"),
        "failed rate_limited",
        NOTHING,
        says="the next try would be in 20.5 s",
        max_total_time=2,
    ),
    row("F1 a 429 that stays", limited(), "failed rate_limited", NOTHING, says="429", requests=2),
    row("F2 Retry-After as a date", coming_date, requests=2, least_s=0.9),
    *[
        row(
            f"F2 Retry-After as a date {name}",
            then_well(limited(b"retry-after: " + date + b"\r\n")),
            requests=2,
        )
        for name, date in {
            "in the past": dated(-3600),
            "of the year 100000": b"Fri, 01 Jan 100000 00:00:00 GMT",
            "in the past of another zone": dated(-3600, datetime.now().astimezone().tzinfo),
            "without a zone": b"Fri, 01 Jan 2021 00:00:00",
            "in a zone that is none": b"Fri, 01 Jan 2021 00:00:00 +9999",
        }.items()
    ],
    row(
        "F3 milliseconds come first",
        then_well(limited(b"retry-after: 50\r\nretry-after-ms: 300\r\n")),
        requests=2,
        least_s=0.3,
    ),
    row(
        "F3 the later of two resets",
        then_well(limited(b"x-ratelimit-reset-requests: 100ms\r\nx-ratelimit-reset-tokens: 0m0.9s\r\n")),
        requests=2,
        least_s=0.9,
    ),
    row(
        "F3 a reset that is no time",
        then_well(limited(b"x-ratelimit-reset-requests: soon\r\nx-ratelimit-reset-tokens: \r\n")),
        requests=2,
    ),
    *[
        row(
            f"F5 spent account {name}",
            refusal,
            "failed spent_account",
            NOTHING,
            says="credit",
            others="skipped spent_account",
        )
        for name, refusal in {
            "429 insufficient_quota": limited(code="insufficient_quota"),
            "429 with Retry-After": limited(b"retry-after: 1\r\n", code="organization_spend_limit_exceeded"),
            "429 enforced_spend_limit_reached": limited(details={"error_code": "enforced_spend_limit_reached"}),
            "402": limited(status=402),
            "400 credit balance": fs.refusal(400, "Your credit balance is too low to access the API"),
        }.items()
    ],
    row("F6 503 and well", then_well(limited(status=503)), requests=2),
    row("F6 529 and well", then_well(limited(status=529, type="overloaded_error")), requests=2),
    row(
        "F6 503 with a Retry-After that is too long",
        limited(b"retry-after: 300\r\n", status=503),
        "failed bad_response",
        NOTHING,
        says="asks to wait 300 s",
    ),
    row("F6 529 that stays", limited(status=529), "failed bad_response", NOTHING, says="529 Overloaded", requests=2),
    *[
        row(f"F7 {status} and well", then_well(limited(status=status)), "done", ALL_THEN_REPORTED, requests=2)
        for status in (500, 502, 504)
    ],
    row("F7 500 that stays", limited(status=500), "failed bad_response", ALL_TWICE, says="tried 2 times", requests=2),
    *[row(f"F8 {status} and well", then_well(limited(status=status)), requests=2) for status in (408, 409, 425)],
    *[
        row(f"F9 {status}", limited(status=status), "failed bad_request", NOTHING, says="the reason")
        for status in (400, 404, 413, 418, 422)
    ],
    *[
        row(
            f"F9 {status} ends the run on that key",
            limited(status=status),
            "failed auth",
            NOTHING,
            says="is given no key",
            others="skipped auth",
        )
        for status in (401, 403)
    ],
    row(
        "F10 x-should-retry: false",
        limited(b"x-should-retry: false\r\n", status=500),
        "failed bad_response",
        ALL,
        says="500",
    ),
    row(
        "F10 x-should-retry: true does not help a bad request",
        limited(b"x-should-retry: true\r\n", status=400),
        "failed bad_request",
        NOTHING,
        says="400",
    ),
    row("F15 kept connections are closed", fs.sudden_goodbye, requests=4, others="done"),
    row(
        "F15 reset before headers and well",
        then_well(fs.then("reset")),
        "done",
        ALL_THEN_REPORTED,
        requests=2,
    ),
    row("F15 reset before headers", fs.then("reset"), "failed network", ALL_TWICE, says="closed", requests=2),
    *[
        row(
            f"F16 {action} in the body",
            fs.then(action, fs.HEAD % (200, b"content-length: 5000\r\n") + fs.document()),
            "failed bad_response",
            ALL_TWICE,
            says='the answer broke off: \'{"id"',
            requests=2,
            stream=False,
        )
        for action in ("reset", "close")
    ],
    row(
        "F16 reset in the body and well",
        then_well(fs.then("reset", fs.HEAD % (200, b"content-length: 5000\r\n") + fs.document())),
        "done",
        ALL_THEN_REPORTED,
        requests=2,
        stream=False,
    ),
    row(
        "F16 a stream that breaks before text",
        then_well(fs.then("reset", fs.stream(COMMENT))),
        "done",
        ALL_THEN_REPORTED,
        requests=2,
    ),
    *[
        row(name, server, "incomplete cut", CAME, says="the answer is cut", output=fs.TEXT, wire=wire)
        for name, wire, server in [
            ("F17 reset after tokens", "openai", fs.then("reset", fs.stream(fs.TOKENS))),
            ("F17 reset after tokens (anthropic)", "anthropic", fs.then("reset", fs.stream(fs.SAID))),
            ("F18 stream without finish", "openai", fs.ending(fs.stream(fs.TOKENS))),
            ("F18 [DONE] without finish", "openai", fs.ending(fs.stream(fs.TOKENS + fs.DONE))),
            ("F18 stream without finish (anthropic)", "anthropic", fs.ending(fs.stream(fs.SAID))),
            ("F18 message_stop without finish (anthropic)", "anthropic", fs.ending(fs.stream(fs.SAID + fs.STOP))),
            (
                "F26 error event after text",
                "anthropic",
                fs.streamed(fs.SAID + fs.named("error", error={"type": "overloaded_error", "message": "Overloaded"})),
            ),
            ("F30 huge event after text", "openai", fs.endless(fs.stream(fs.TOKENS + b"data: "), b"x" * 2**20)),
        ]
    ],
    row("F19 finish without [DONE]", fs.ending(fs.stream(fs.TOKENS + fs.FINISH + fs.COUNTED)), output=fs.TEXT),
    row(
        "F19 finish without message_stop (anthropic)",
        fs.ending(fs.stream(fs.SAID + fs.ended_as("end_turn"))),
        output=fs.TEXT,
        wire="anthropic",
    ),
    row("F19 finish without usage", fs.ending(fs.stream(fs.TOKENS + fs.FINISH)), "done", ALL, output=fs.TEXT),
    *[
        row(name, server, "timed_out timeout", charged, says="nothing new for 0.3 s", **SILENCE, **more)
        for name, server, charged, more in [
            ("F20 hung before headers", fs.then("until_gone"), ALL, {}),
            ("F21 hung before tokens", fs.then("until_gone", fs.stream(b"")), ALL, {}),
            ("F21 hung between tokens", fs.then("until_gone", fs.stream(fs.TOKENS)), CAME, {"output": fs.TEXT}),
            ("F22 comments only", fs.endless(fs.stream(b""), COMMENT, every_s=0.01), ALL, {}),
            (
                "F22 pings only (anthropic)",
                fs.endless(fs.stream(b""), fs.named("ping"), every_s=0.01),
                ALL,
                {"wire": "anthropic"},
            ),
            ("F22 endless headers", fs.endless(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n", every_s=0.05), ALL, {}),
        ]
    ],
    row(
        "F20 hung until the task's timeout", fs.then("until_gone"), "timed_out timeout", ALL, says="0.3 s", timeout=0.3
    ),
    row(
        "F20 hung until the run's time is up",
        fs.then("until_gone"),
        "timed_out quota_exceeded",
        ALL,
        says="max_total_time",
        max_total_time=0.3,
    ),
    row(
        "F22 slow loris",
        fs.trickled(fs.HEAD % (200, b"content-length: 5000\r\n"), fs.document() * 20, every_s=0.05),
        "timed_out timeout",
        ALL,
        says="0.4 s",
        timeout=0.4,
        stream=False,
    ),
    row(
        "F22 text for ever",
        fs.endless(fs.stream(b""), fs.chunk("x"), every_s=0.01),
        "timed_out timeout",
        (range(131, 181), True),
        says="0.4 s",
        timeout=0.4,
    ),
    row("F23 cut JSON and well", then_well(CUT_JSON), "done", ALL_THEN_REPORTED, requests=2, stream=False),
    row("F23 cut JSON", CUT_JSON, "failed bad_response", ALL_TWICE, says='got no JSON: \'{"id"', requests=2),
    row(
        "F24 JSON that is no UTF-8",
        fs.response(fs.document().replace(b"One", b"O\xffe")),
        "failed bad_response",
        ALL_TWICE,
        says="got no JSON",
        requests=2,
        stream=False,
    ),
    row(
        "F24 characters in pieces",
        fs.trickled(
            EVENTS[: EVENTS.index(b"transfer")] + b"\r\n", fs.WHOLE.replace(b"two", "zwölf 🌍".encode()), every_s=0.001
        ),
        output="One zwölf 🌍 three",
    ),
    row(
        "F24 a character in two halves",
        fs.streamed(fs.chunk("\ud83c") + fs.chunk("\udf0d") + fs.FINISH + fs.COUNTED),
        output="🌍",
    ),
    row(
        "F24 half a character",
        fs.streamed(fs.chunk("a \ud83c b") + fs.FINISH + fs.COUNTED),
        output="a \ufffd b",
    ),
    row(
        "F24 a stream with a byte that is no UTF-8",
        fs.streamed(fs.WHOLE.replace(b"two", b"t\xffo")),
        output="One t\ufffdo three",
    ),
    *[
        row(f"F25 {name}", fs.response(body), "failed bad_response", ALL_TWICE, says=says, requests=2, stream=False)
        for name, body, says in [
            ("HTML page", PAGE, "got an HTML page titled 'Sign in to Wi-Fi'"),
            ("empty body", b"", "got an empty answer"),
            ("array", b'[{"a": 1}]', "got JSON that is no object"),
            ("other object", b'{"object": "list"}', "got JSON that is no reply"),
        ]
    ],
    row("F25 HTML page for a stream", fs.response(PAGE), "failed bad_response", ALL_TWICE, says="titled", requests=2),
    row("F25 empty stream", fs.streamed(b""), "failed network", ALL_TWICE, says="before any text", requests=2),
    row("F25 JSON called text", fs.response(fs.document(), headers=b"content-type: text/plain\r\n"), output=fs.TEXT),
    row("F25 JSON for a stream", fs.response(fs.document()), output=fs.TEXT),
    row(
        "F26 overloaded with 200 and well",
        then_well(fs.response(b'{"error": {"type": "overloaded_error", "message": "Overloaded"}}')),
        "done",
        ALL_THEN_REPORTED,
        requests=2,
    ),
    row(
        "F26 rate limit with 200 and well",
        then_well(fs.response(b'{"error": {"code": 429, "message": "slow"}}')),
        "done",
        ALL_THEN_REPORTED,
        requests=2,
    ),
    row(
        "F26 bad request with 200",
        fs.response(b'{"error": {"type": "invalid_request_error", "message": "no such field"}}'),
        "failed bad_request",
        ALL,
        says="no such field",
    ),
    row(
        "F26 spent account with 200",
        fs.response(b'{"error": {"code": "insufficient_quota", "message": "spent"}}'),
        "failed spent_account",
        ALL,
        says="spent",
        others="skipped spent_account",
    ),
    row(
        "F26 error event before text and well (anthropic)",
        fs.in_turn(
            fs.streamed(fs.MESSAGE + fs.named("error", error={"type": "overloaded_error", "message": "Overloaded"})),
            fs.streamed(fs.SAID + fs.ended_as("end_turn") + fs.STOP),
        ),
        "done",
        ALL_THEN_REPORTED,
        requests=2,
        wire="anthropic",
    ),
    *[
        row(f"F27 {name}", server, "failed empty_answer", REPORTED, says="without text")
        for name, server in {
            "empty choices": fs.response(fs.document(choices=[])),
            "content null": document(None),
            "content empty in a stream": fs.streamed(fs.FINISH + fs.COUNTED + fs.DONE),
        }.items()
    ],
    row(
        "F27 all thought and no text",
        document("", "length"),
        "failed empty_answer",
        REPORTED,
        says="raise max_tokens",
    ),
    *[
        row(f"F28 usage {name}", fs.response(fs.document(usage=usage)), "done", ALL, output=fs.TEXT)
        for name, usage in {
            "missing": None,
            "negative": {"prompt_tokens": -1, "completion_tokens": 3},
            "NaN": {"prompt_tokens": float("nan"), "completion_tokens": 3},
            "as text": {"prompt_tokens": "9", "completion_tokens": "3"},
            "a list": [9, 3],
            "without the answer's": {"prompt_tokens": 9},
        }.items()
    ],
    row(
        "F28 usage larger than the reservation",
        reported(prompt_tokens=5000, completion_tokens=3),
        "done",
        (5003, False),
        others="skipped quota_exceeded",
        quota=Quota(max_total_tokens=1000),
    ),
    row(
        "F29 gzip bomb",
        fs.bomb(40 * 2**20),
        "failed bad_response",
        ALL,
        says="is larger than 33,554,432 bytes",
        stream=False,
    ),
    row(
        "F29 endless body",
        fs.endless(fs.HEAD % (200, b""), b" " * 2**20),
        "failed bad_response",
        ALL,
        says="is larger than 33,554,432 bytes",
        stream=False,
    ),
    row(
        "F29 Content-Length too small",
        fs.ending(fs.HEAD % (200, b"content-length: 20\r\n") + fs.document()),
        "failed bad_response",
        ALL_TWICE,
        says="no HTTP answer",
        requests=2,
        stream=False,
    ),
    row(
        "F30 one huge event",
        fs.endless(fs.stream(b"data: "), b"x" * 2**20),
        "failed bad_response",
        ALL,
        says="one event is larger than 8,388,608 bytes",
    ),
    row(
        "F30 byte by byte",
        fs.trickled(fs.HEAD % (200, fs.SSE + fs.CLOSING), fs.WHOLE, every_s=0),
        output=fs.TEXT,
    ),
    row(
        "F31 doubled text is kept, and the last usage counts",
        fs.streamed(
            fs.chunk("la ") * 2
            + fs.FINISH * 2
            + fs.event(json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
            + fs.COUNTED
            + fs.DONE
        ),
        output="la la ",
    ),
    row(
        "F31 other choices are not mixed in",
        fs.streamed(fs.TOKENS + fs.chunk("other").replace(b'"index": 0', b'"index": 1') + fs.FINISH + fs.COUNTED),
        output=fs.TEXT,
    ),
    *[
        row(f"F32 {name}", fs.streamed(body), output=fs.TEXT)
        for name, body in {
            "BOM": b"\xef\xbb\xbf" + fs.WHOLE,
            "CR": fs.WHOLE.replace(b"\n", b"\r"),
            "CRLF": fs.WHOLE.replace(b"\n", b"\r\n"),
            "comments and other fields": b"retry: 10\nid: 7\nunknown: x\n" + COMMENT + fs.WHOLE + COMMENT,
        }.items()
    ],
    *[
        row(
            f"F33 redirect {status}",
            fs.response(b"", status=status, headers=b"location: http://elsewhere.invalid/x?key=1\r\n"),
            "failed bad_response",
            NOTHING,
            says="redirects to elsewhere.invalid, which is not followed",
        )
        for status in (301, 307, 308)
    ],
    row("F34 length", document(fs.TEXT, "length"), "incomplete length", says="raise `max_tokens`", output=fs.TEXT),
    row(
        "F34 length (anthropic)",
        fs.streamed(fs.SAID + fs.ended_as("max_tokens") + fs.STOP),
        "incomplete length",
        says="max_tokens = 50",
        output=fs.TEXT,
        wire="anthropic",
    ),
    row("F35 content filter", document(fs.TEXT, "content_filter"), "refused refused", says="filter", output=fs.TEXT),
    row("F35 content filter without text", document("", "content_filter"), "refused refused", says="filter"),
    row("F35 refusal", document(None, refusal="I can't."), "refused refused", says="refused", output="I can't."),
    row(
        "F35 refusal (anthropic)",
        fs.streamed(fs.SAID + fs.ended_as("refusal") + fs.STOP),
        "refused refused",
        says="refused",
        wire="anthropic",
    ),
]


# Tools


def look(number: int) -> str:
    """Looks at a number."""
    return f"seen {number}"


def echo(text: str) -> str:
    """Gives the text back."""
    return f"echo of {text}"


def secret(number: int) -> str:
    """Is granted to nobody."""
    raise AssertionError(f"called with {number}")


async def hang() -> str:
    """Never ends."""
    await asyncio.sleep(1000)


def hang_in_thread() -> str:
    """Takes longer than it may."""
    time.sleep(1)


def flood() -> str:
    """Says too much."""
    return "first " + "y" * 10_000_000 + " last"


def huge_list() -> list:
    """Gives too much."""
    return list(range(1_000_000))


def raises() -> str:
    """Fails."""
    raise ZeroDivisionError("in the tool")


def raises_at_length() -> str:
    """Fails with too many words."""
    raise ValueError("z" * 10_000_000)


def exits() -> str:
    """Wants to end the process."""
    raise SystemExit(3)


async def cancels() -> str:
    """Wants to be cancelled."""
    raise asyncio.CancelledError


def gives_bytes() -> bytes:
    """Gives what is no text."""
    return b"\x89PNG"


def gives_nan() -> float:
    """Gives no number."""
    return float("nan")


def gives_nothing() -> None:
    """Gives nothing."""


def gives_half_a_character() -> str:
    """Gives what no request can carry."""
    return "half \ud83d of it"


class Unreadable:
    def __repr__(self):
        raise RuntimeError("no words")


def gives_unreadable() -> object:
    """Gives what cannot be written."""
    return Unreadable()


def with_tools(name, *replies, ends="done", requests=2, tools=(look,), allowed=None, **expected):
    """A row whose server gives these replies in turn; each that is seen whole is charged as reported."""
    allowed = [tool.name if hasattr(tool, "name") else tool.__name__ for tool in tools] if allowed is None else allowed
    expected = {"charged": (12 * requests, False)} | expected
    return row(name, fs.in_turn(*replies), ends, requests=requests, tools=tools, allowed_tools=allowed, **expected)


def tool_use(arguments, name="look"):
    """A call of a tool on Anthropic's wire."""
    opening = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
    opened = fs.MESSAGE + fs.block(opening, {"type": "input_json_delta", "partial_json": arguments})
    return fs.streamed(opened + fs.ended_as("tool_use") + fs.STOP)


LOOK = fs.calling(("look", '{"number": 1}', "call_a"))
HALF_A_CALL = fs.calling(("look", '{"number": 1', "call_a"))
HALF_OF_A_STREAM = LOOK.partition(b"\r\n\r\n")[2].partition(b"\n\n")[0] + b"\n\n"
HALVES_IN_A_CALL = fs.streamed(
    fs.piece_of_call('{"text": "\ud83c', id="call_a", name="echo")
    + fs.piece_of_call('\udf0d"}')
    + fs.chunk(finish_reason="tool_calls")
    + fs.COUNTED
)
LOOK_UNCOUNTED = fs.streamed(HALF_OF_A_STREAM + fs.chunk(finish_reason="tool_calls") + fs.DONE)
MORE_OF_IT = fs.piece_of_call("x" * 2**20)
WELL = fs.answering
WELL_THERE = fs.streamed(fs.SAID + fs.ended_as("end_turn") + fs.STOP)

TOOLS = [
    *[
        with_tools(f"F36 {name}", reply, WELL, told=told, output=fs.TEXT)
        for name, reply, told in [
            ("arguments that are no JSON", fs.calling(("look", "{number: 1}", "call_a")), "the arguments are no JSON"),
            ("arguments that are cut", HALF_A_CALL, "the arguments are no JSON"),
            ("arguments that are no object", fs.calling(("look", "[1]", "call_a")), "not an object"),
            ("arguments of the wrong type", fs.calling(("look", '{"number": "many"}', "call_a")), "number"),
            ("arguments with NaN", fs.calling(("look", '{"number": NaN}', "call_a")), "NaN"),
            ("a missing id", fs.calling(("look", '{"number": 1}')), '"tool_call_id":"call-1","content":"seen 1"'),
            (
                "two calls of one id",
                fs.calling(("look", '{"number": 1}', "call_a"), ("look", '{"number": 2}', "call_a")),
                '"tool_call_id":"call_a","content":"seen 1"},{"role":"tool","tool_call_id":"call-1","content":"seen 2"',
            ),
            ("a missing name", fs.calling(("", '{"number": 1}', "call_a")), "is not available"),
            ("no call at all", fs.calling(), "no call came with it"),
            ("a finish that says stop", fs.calling(("look", '{"number": 1}', "call_a"), reason="stop"), "seen 1"),
        ]
    ],
    with_tools("F36 no JSON (anthropic)", tool_use("{number"), WELL_THERE, told="are no JSON", wire="anthropic"),
    with_tools(
        "F36 four faulty turns in a row",
        *[fs.calling(("look", "{" * number, "call_a")) for number in range(1, 9)],
        ends="failed tool_protocol",
        requests=4,
        says="went wrong in more than 3 turns in a row",
    ),
    with_tools(
        "F36 faulty turns with good ones between",
        *[HALF_A_CALL, HALF_A_CALL, LOOK] * 2,
        WELL,
        requests=7,
        output=fs.TEXT,
    ),
    with_tools(
        "F36 a stream that breaks in a call",
        fs.ending(fs.stream(LOOK.partition(b"\r\n\r\n")[2].partition(b"\n\n")[0] + b"\n\n")),
        WELL,
        charged=(range(12 + 130, 12 + 2000), True),
        untold="seen",
        output=fs.TEXT,
    ),
    with_tools("F37 unknown tool", fs.calling(("loook", "{}", "a")), WELL, told="is not available; have: look"),
    with_tools(
        "F37 tool not granted",
        fs.calling(("secret", '{"number": 1}', "a")),
        WELL,
        tools=(look, secret),
        allowed=["look"],
        told="is not available; have: look",
    ),
    with_tools(
        "F37 a tool of another name each turn",
        *[fs.calling((f"tool{number}", "{}", "a")) for number in range(9)],
        ends="failed tool_protocol",
        requests=4,
        says="went wrong",
    ),
    with_tools(
        "F37 a tool where none is granted",
        LOOK,
        ends="failed tool_protocol",
        requests=1,
        allowed=[],
        says="it can call none",
    ),
    with_tools(
        "F38 the same call again and again",
        *[LOOK] * 3,
        WELL,
        ends="incomplete turn_limit",
        requests=4,
        says="look was called 3 times in a row",
        told="This is your last turn",
        untold='"tools"',
        output=fs.TEXT,
    ),
    with_tools(
        "F38 calls without end",
        *[fs.calling(("look", f'{{"number": {number}}}', "a")) for number in range(3)],
        WELL,
        ends="incomplete turn_limit",
        requests=4,
        says="max_turns = 4 is reached",
        untold='"tools"',
        output=fs.TEXT,
        max_turns=4,
    ),
    with_tools(
        "F38 a model that will not stop calling",
        LOOK,
        ends="failed turn_limit",
        requests=4,
        says="3 times in a row",
    ),
    with_tools(
        "F38 the same call again and again (anthropic)",
        *[tool_use('{"number": 1}')] * 3,
        WELL_THERE,
        ends="incomplete turn_limit",
        requests=4,
        says="3 times in a row",
        told='"tool_choice":{"type":"none"}',
        wire="anthropic",
    ),
    with_tools(
        "F39 context length on the second turn",
        LOOK,
        fs.refusal(400, "too long", code="context_length_exceeded"),
        ends="failed context_length",
        charged=REPORTED,
        says="shorten the prompt",
        told="seen 1",
    ),
    with_tools(
        "F39 context length on the second turn (anthropic)",
        tool_use('{"number": 1}'),
        fs.refusal(400, "prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"),
        ends="failed context_length",
        charged=REPORTED,
        says="shorten the prompt",
        wire="anthropic",
    ),
    with_tools(
        "F5 spent account on the second turn",
        LOOK,
        limited(code="insufficient_quota"),
        ends="failed spent_account",
        charged=REPORTED,
        says="credit",
        others="skipped spent_account",
    ),
    with_tools(
        "F17 cut on the second turn",
        LOOK,
        fs.ending(fs.stream(fs.TOKENS)),
        ends="incomplete cut",
        charged=(range(24 + 130, 2000), True),
        says="is cut",
        output=fs.TEXT,
    ),
    with_tools("F15 kept connection closed between turns", LOOK, fs.then("close"), WELL, requests=3, charged=TWICE),
    with_tools(
        "F28 usage missing on each turn",
        LOOK_UNCOUNTED,
        fs.response(fs.document(usage=None)),
        charged=(range(360, 4000), True),
        told="seen 1",
    ),
    with_tools(
        "F21 hung in a call",
        fs.then("until_gone", fs.stream(HALF_OF_A_STREAM)),
        ends="timed_out timeout",
        requests=1,
        charged=(range(131, 2000), True),
        says="nothing new",
        **SILENCE,
    ),
    with_tools(
        "F21 hung on the third turn",
        LOOK,
        LOOK,
        fs.then("until_gone", fs.stream(fs.TOKENS)),
        ends="timed_out timeout",
        requests=3,
        charged=(range(131, 2000), True),
        says="nothing new",
        output=fs.TEXT,
        **SILENCE,
    ),
    with_tools(
        "F22 a call without end",
        fs.endless(fs.stream(HALF_OF_A_STREAM), MORE_OF_IT),
        ends="failed bad_response",
        requests=1,
        charged=(range(180, 2000), True),
        says="larger",
    ),
    with_tools(
        "F40 tool hangs past the task's timeout",
        fs.calling(("hang", "{}", "a")),
        tools=(hang,),
        ends="timed_out timeout",
        requests=1,
        says="timeout of 0.3 s",
        timeout=0.3,
    ),
    with_tools(
        "F34 length in a call",
        fs.calling(("look", '{"number', "a"), reason="length"),
        ends="failed empty_answer",
        requests=1,
        says="raise max_tokens",
    ),
    with_tools(
        "F24 a character of an argument in two halves",
        HALVES_IN_A_CALL,
        WELL,
        tools=(echo,),
        told="echo of 🌍",
    ),
    *[
        with_tools(
            f"{name}", fs.calling((of.__name__, "{}", "a")), WELL, tools=[tool], allowed=[of.__name__], told=told
        )
        for name, of, tool, told in [
            ("F40 tool hangs", hang, tool_of(hang, timeout_s=0.2), "hang took longer than 0.2 s"),
            (
                "F40 tool hangs in its thread",
                hang_in_thread,
                tool_of(hang_in_thread, timeout_s=0.2),
                "took longer than 0.2 s",
            ),
            ("F40 tool floods its head", flood, flood, '"content":"first yyy'),
            ("F40 tool floods its tail", flood, flood, 'yyy last"'),
            ("F41 tool gives a huge object", huge_list, huge_list, "bytes left out"),
            ("F41 tool raises", raises, raises, "the tool failed: ZeroDivisionError: in the tool"),
            ("F41 tool raises at length", raises_at_length, raises_at_length, "zzz …[cut]"),
            ("F41 tool raises SystemExit", exits, exits, "the tool raised SystemExit"),
            ("F41 tool raises CancelledError", cancels, cancels, "cancels was cancelled from within"),
            ("F41 tool gives bytes", gives_bytes, gives_bytes, "the tool gave 4 bytes, and only text can be read"),
            ("F41 tool gives NaN", gives_nan, gives_nan, '"content":"NaN"'),
            ("F41 tool gives nothing", gives_nothing, gives_nothing, '"content":"(no result)"'),
            ("F41 tool gives half a character", gives_half_a_character, gives_half_a_character, "half \ufffd of it"),
            ("F41 tool gives what has no text", gives_unreadable, gives_unreadable, "RuntimeError: no words"),
        ]
    ],
]


async def run(work, **options):
    """Whatever the fault, a run ends; once tried again is enough to see."""
    common = {"model": "openai:m", "max_tokens": 50, "retries": 1}
    return await asyncio.wait_for(xz_magics.run(work, **common | options), 30)


def ending_of(outcome):
    return " ".join(filter(None, (outcome.status, outcome.error_type)))


@pytest.mark.parametrize("fault", [*CALLS, *TOOLS])
async def test_each_fault_ends_as_the_catalogue_says_is_charged_so_and_leaves_nothing(fault, session):
    path = "/v1" if fault.wire == "openai" else ""
    many = {"max_concurrent": 1} if fault.others else {}
    async with FaultServer(fault.server) as server, nothing_left(server):
        url = f"http://127.0.0.1:{server.port}{path}"
        results = await run(
            ["Hi"] * (3 if fault.others else 1), base_url=url, **{"model": f"{fault.wire}:m"} | many | fault.options
        )

    first, *others = results
    assert ending_of(first) == fault.ends, first.error
    assert [ending_of(outcome) for outcome in others] == [fault.others] * len(others)
    tokens, estimated = fault.charged
    assert first.total_tokens in tokens if isinstance(tokens, range) else first.total_tokens == tokens
    assert first.estimated == estimated
    assert fault.says in (first.error or "")
    assert bool(first.error) == (first.status != "done")
    assert fault.output in {None, first.output}
    assert first.output or first.status not in {"done", "incomplete"}
    assert len(server.bodies) == fault.requests
    assert (first.duration_s or 0) >= fault.least_s
    last = json.loads(server.bodies[-1])
    sent = json.dumps(last, ensure_ascii=False, separators=(",", ":"))
    assert fault.told in sent
    assert fault.untold not in sent
    assert len(sent) < 100_000
    assert session.quota.reserved == (0, 0, 0)
    assert session.quota.usage.tokens == sum(outcome.total_tokens or 0 for outcome in results)


# Many tasks on one account


async def test_f4_a_429_pauses_all_tasks_and_then_one_goes_first():
    arrived_at, answered_at = [], []
    clock = asyncio.get_running_loop().time

    async def limited_at_first(call):
        arrived_at.append(clock())
        await asyncio.sleep(0.3)
        if call.number <= 5:
            return await call.send(limited(b"retry-after: 0.5\r\n"))
        answered_at.append(clock())
        return await fs.answering(call)

    async with FaultServer(limited_at_first) as server, nothing_left(server):
        results = await run(["Hi"] * 10, base_url=f"http://127.0.0.1:{server.port}/v1", max_concurrent=5)

    assert [ending_of(outcome) for outcome in results] == ["done"] * 10
    assert [outcome.total_tokens for outcome in results] == [12] * 10
    assert len(arrived_at) == 15
    assert arrived_at[5] - arrived_at[0] >= 0.3 + 0.5
    assert arrived_at[6] >= answered_at[0]


@pytest.mark.parametrize(("status", "error_type"), [(401, "auth"), (402, "spent_account")], ids=["F9 401", "F5 402"])
async def test_what_waits_for_its_next_try_is_not_sent_after_the_account_was_refused(status, error_type):
    refused = asyncio.Event()

    async def one_in_trouble_one_refused(call):
        if call.number > 1:
            await call.send(limited(status=status))
            return refused.set()
        await refused.wait()
        await asyncio.sleep(0.1)
        return await call.send(limited(status=500))

    async with FaultServer(one_in_trouble_one_refused) as server, nothing_left(server):
        results = await run(["Hi"] * 4, base_url=f"http://127.0.0.1:{server.port}/v1", max_concurrent=2, retries=5)

    ends = [f"failed {error_type}"] * 2 + [f"skipped {error_type}"] * 2
    assert [ending_of(outcome) for outcome in results] == ends
    assert sorted(outcome.total_tokens or 0 for outcome in results) == [0, 0, 0, 180]
    assert len(server.bodies) == 2


async def test_f9_a_refused_key_is_told_by_its_variable_and_not_shown(monkeypatch):
    refusal = fs.refusal(401, f"Incorrect API key provided: {KEY}. {KEY[:7]}****{KEY[-4:]} is wrong.")
    async with FaultServer(refusal) as server, nothing_left(server):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
        results = await run(["Hi"])

    assert ending_of(results[0]) == "failed auth"
    assert "OPENAI_API_KEY" in results[0].error
    assert KEY[-4:] not in results.to_json()
    assert f"Bearer {KEY}".encode() in server.heads[0]


async def test_f21_a_stream_that_is_given_up_is_closed_while_the_run_goes_on():
    gone = asyncio.Event()

    async def one_hangs(call):
        if call.request["messages"][0]["content"] == "Hang":
            await call.send(fs.stream(fs.TOKENS))
            await call.until_gone()
            return gone.set()
        await gone.wait()
        return await fs.answering(call)

    async with FaultServer(one_hangs) as server, nothing_left(server):
        url = f"http://127.0.0.1:{server.port}/v1"
        results = await run([{"prompt": "Hang", "timeout": 0.3}, "Hi"], base_url=url, timeout=5)

    assert [ending_of(outcome) for outcome in results] == ["timed_out timeout", "done"]


# Before anything is sent


async def unsent(url, *, attempts, ends="failed network", tls=None, **options):
    """The error of a run that can send nothing; the port in the address is that of a server that would answer."""
    async with FaultServer(fs.answering, tls=tls) as server, nothing_left(server):
        results = await run(["Hi"], base_url=url.format(port=server.port), **options)
    (outcome,) = results
    assert ending_of(outcome) == ends, outcome.error
    assert (outcome.total_tokens, outcome.estimated, outcome.duration_s) == (None, False, None)
    assert outcome.attempts == attempts
    assert server.bodies == []
    return outcome.error


async def test_f11_a_closed_port_is_named_and_tried_again():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    error = await unsent(f"http://127.0.0.1:{port}/v1", attempts=2)

    assert f"nothing answers at 127.0.0.1:{port}" in error
    assert "is the local server running?" in error


async def test_f12_an_unknown_host_is_named_and_tried_again(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert "no host is called no-such-host.localhost" in await unsent("http://no-such-host.localhost/v1", attempts=2)


@pytest.mark.parametrize(
    ("limit", "ends"), [("idle_timeout", "timed_out timeout"), ("max_total_time", "timed_out quota_exceeded")]
)
async def test_f12_a_name_server_that_hangs_is_bounded(monkeypatch, limit, ends):
    def slow(*_, **__):
        time.sleep(0.8)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    assert "0.2 s" in await unsent("http://slow-host.localhost/v1", attempts=1, ends=ends, **{limit: 0.2})


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.mark.parametrize(
    ("host", "age_days", "trusted", "says"),
    [
        ("localhost", 0, False, "unable to get local issuer certificate"),
        ("example.com", 0, True, "Hostname mismatch"),
        ("localhost", 9, True, "certificate has expired"),
    ],
    ids=["F13 unknown authority", "F13 other host", "F13 expired"],
)
async def test_a_certificate_that_fails_a_check_is_not_tried_again(
    authority, monkeypatch, tmp_path, host, age_days, trusted, says
):
    start = datetime.now(UTC) - timedelta(days=age_days + 1)
    certificate = authority.issue_cert(
        host, not_before=start, not_after=start + timedelta(days=2 if not age_days else 1)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if trusted:
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    error = await unsent("https://localhost:{port}/v1", tls=context, attempts=1)

    assert says in error
    assert "verify=" not in error


async def test_f13_a_server_that_speaks_no_tls_is_not_tried_again():
    connections = []

    async def plain(reader, writer):
        connections.append(await reader.read(100))
        writer.write(fs.response(fs.document()))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        error = await unsent(f"https://localhost:{server.sockets[0].getsockname()[1]}/v1", attempts=1)

    assert "speaks https:// at all" in error
    assert len(connections) == 1


async def test_f14_a_proxy_of_the_environment_that_is_not_there_is_told_from_the_provider(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:word@127.0.0.1:9")

    error = await unsent("https://api.example.com/v1", attempts=2)

    assert "the environment's proxy cannot be reached" in error
    assert "word" not in error


# Programs


def alive(word):
    """The processes that have this word in their command line, zombies apart: those have none."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [file.parent.name] if word.encode() in file.read_bytes() else []
    return found


@pytest.mark.skipif(sandbox_missing() is not None, reason=str(sandbox_missing()))
@pytest.mark.parametrize(
    ("ending", "ends"),
    [("head -c 10000000 /dev/zero | tr '\\0' y", "done"), ("yes", "done"), ("wait", "timed_out timeout")],
    ids=["F40 floods", "F40 floods for ever", "F40 hangs"],
)
async def test_a_program_that_forks_is_ended_with_all_that_it_started(tmp_path, ending, ends):
    word = f"1000.{uuid.uuid4().int}"
    command = json.dumps({"command": f"sleep {word} & (setsid nohup sleep {word} &); {ending}"})
    server = FaultServer(fs.in_turn(fs.calling(("terminal", command, "call_a")), fs.answering))
    async with server, nothing_left(server):
        (outcome,) = await run(
            ["Hi"],
            base_url=f"http://127.0.0.1:{server.port}/v1",
            allowed_tools=["terminal"],
            workspace=tmp_path,
            timeout=10 if ends == "done" else 2,
        )
        for _ in range(200):
            if not alive(word):
                break
            await asyncio.sleep(0.05)

    assert ending_of(outcome) == ends, outcome.error
    assert alive(word) == []
    assert max(map(len, server.bodies)) < 100_000
    assert (b"yyyy" in server.bodies[-1] or b"y\\ny\\ny" in server.bodies[-1]) == (ends == "done")
