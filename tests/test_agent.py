"""One subagent: its turns and their endings, what is kept, what is charged, and what it waits for."""

import asyncio
from decimal import Decimal

import httpx
import pytest
from strategies import Ran, answering, task

from xz_magics.agent import clip
from xz_magics.agent.room import FORM_TOKENS
from xz_magics.errors import ProviderError
from xz_magics.events import AccountPaused, RequestSent, RetryScheduled, TaskStarted, TextReceived
from xz_magics.prices import FlatPrice
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider
from xz_magics.providers.openai import OpenAIWire
from xz_magics.providers.scripted import Step
from xz_magics.quotas import Tracker
from xz_magics.records import Message, Quota, Reply, Usage

BOUND = 7 + 64
"""The most tokens that the prompt "Say hi." can have on a scripted model: its bytes and the overhead."""

PRICE = FlatPrice(input_usd=Decimal(1_000_000), output_usd=Decimal(2_000_000))
"""A dollar per token, two for those that come out."""


class Acting:
    """A provider that does what a test wants of it, and keeps what it was asked."""

    model = account = "acting"
    note = ""
    overhead_tokens = 64
    tools_overhead_tokens = 0

    def __init__(self, act, price=None):
        self.requests = []
        self.price = price
        self._act = act

    async def open(self, tell):
        pass

    async def call(self, request, exchange):
        self.requests.append(request)
        return await self._act(request, exchange)


def reply(text="hi", usage=(5, 2), finish="stop", **fields):
    counted = usage and Usage(input_tokens=usage[0], output_tokens=usage[1])
    return Reply(text=text, finish=finish, finish_reason=finish, usage=counted, **fields)


async def outcome_of(*steps, fields=None, **run):
    """The outcome of one task that meets these steps."""
    ran = Ran([task(**(fields or {}))], {"scripted:": answering(*steps)}, **run)
    (outcome,) = await ran.to_the_end()
    assert ran.session.reserved == (0, 0, 0)
    return outcome


async def acted(act, *, price=None, fields=None, **run):
    """The outcome of one task whose provider acts so, and the run."""
    ran = Ran([task(**(fields or {}))], {"scripted:": Acting(act, price)}, **run)
    (outcome,) = await ran.to_the_end()
    assert ran.session.reserved == (0, 0, 0)
    return outcome, ran


def events_of(kind, ran):
    return [stamped.event for stamped in ran.events if isinstance(stamped.event, kind)]


# Turns and how they end


async def test_a_task_is_one_call_whose_answer_is_its_output():
    outcome = await outcome_of(
        Step(answer="hello you", input_tokens=9, output_tokens=3), fields={"system": "Be brief."}
    )

    assert (outcome.status, outcome.output, outcome.error, outcome.finish_reason) == ("done", "hello you", None, "stop")
    assert outcome.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Say hi."),
        Message(role="assistant", content="hello you"),
    )
    (turn,) = outcome.turns
    assert (turn.number, turn.attempts, turn.input_tokens, turn.output_tokens) == (1, 1, 9, 3)
    assert not outcome.estimated
    assert outcome.work is None


async def test_times_tell_the_wait_the_way_to_the_first_request_and_all_that_follows_apart():
    now = [100.0]

    async def act(request, exchange):
        now[0] += 2
        exchange.mark_sent()
        now[0] += 30
        return reply()

    ran = Ran([task("a"), task("b")], {"scripted:": Acting(act)}, max_concurrent=1, around={"clock": lambda: now[0]})
    outcomes = await ran.to_the_end()

    assert [(one.queued_s, one.spawn_s, one.duration_s) for one in outcomes] == [(0, 2, 30), (32, 2, 30)]
    assert outcomes[0].turns[0].duration_s == 30
    assert ran.outcomes.duration_s == 64


async def test_every_field_of_the_task_goes_out():
    fields = {
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 3,
        "stop": ("END",),
        "params": {"top_k": 4},
        "idle_timeout": 7.0,
    }
    seen = []

    async def act(request, exchange):
        seen.append((request, exchange.idle_timeout_s))
        return reply()

    await acted(act, fields=fields, around={"stream": False})

    ((request, idle_timeout_s),) = seen
    assert idle_timeout_s == 7.0
    sent = {name: getattr(request, name) for name in ("temperature", "top_p", "seed", "stop", "params")}
    assert sent | {"idle_timeout": idle_timeout_s} == fields
    assert (request.max_tokens, request.stream) == (100, False)


@pytest.mark.parametrize(
    ("step", "status", "error_type", "output", "error"),
    [
        (Step(answer="half", finish="length"), "incomplete", "length", "half", "cut at max_tokens = 100\nraise `max_tokens`"),
        (Step(answer="half an", chunks=2, cut=1), "incomplete", "cut", "half", "the script breaks it off\nrun the task again"),
        (Step(answer="No.", finish="refused"), "refused", "refused", "No.", "refused to answer\nreword the prompt"),
        (Step(finish="refused"), "refused", "refused", None, "refused to answer\nreword the prompt"),
        (Step(answer="so", finish="tool_calls"), "failed", "tool_protocol", "so", "it can call none\ngrant it tools"),
        (Step(answer=""), "failed", "empty_answer", None, "the script sent an answer without text\nthis failure is"),
        (Step(status=400), "failed", "bad_request", None, "the script answered with status 400\nthis failure is"),
        (Step(status=402), "failed", "spent_account", None, "the script answered with status 402\nthis failure is"),
    ],
)  # fmt: skip
async def test_each_end_of_a_reply_is_one_status_with_its_reason(step, status, error_type, output, error):
    outcome = await outcome_of(step)

    assert (outcome.status, outcome.error_type, outcome.output) == (status, error_type, output)
    assert error in outcome.error
    assert not outcome.success


async def test_a_defect_ends_one_task_tells_so_and_leaves_no_room_behind(caplog):
    async def act(request, exchange):
        raise ZeroDivisionError("oops")

    outcome, ran = await acted(act)

    assert (outcome.status, outcome.error_type) == ("failed", "internal")
    assert outcome.error == "a defect of xz_magics: ZeroDivisionError('oops')"
    assert "task one met a defect" in caplog.text
    assert ran.session.usage.tokens == 0


async def test_a_defect_before_anything_was_sent_is_not_called_skipped(caplog):
    class Priceless:
        def worst(self, input_tokens, output_tokens):
            raise ZeroDivisionError

    outcome, ran = await acted(lambda *_: pytest.fail("sent"), price=Priceless())

    assert (outcome.status, outcome.error_type, outcome.attempts) == ("failed", "internal", 0)
    assert ran.session.usage == (0, 0, 0)


# The summary


SUMMARY = {"summary_prompt": "Sum up.", "max_tokens": 50}


async def test_a_summary_is_one_more_turn_and_becomes_the_output():
    outcome = await outcome_of("long work", "short", fields=SUMMARY)

    assert (outcome.status, outcome.output, outcome.work, outcome.error) == ("done", "short", "long work", None)
    assert [message.content for message in outcome.messages] == ["Say hi.", "long work", "Sum up.", "short"]
    assert [turn.number for turn in outcome.turns] == [1, 2]


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Step(status=400), "the script answered with status 400"),
        (Step(status=500), "the script answered with status 500"),
        (Step(answer=""), "the script sent an answer without text"),
        (Step(answer="half an", chunks=2, cut=1), "it ended as cut"),
        (Step(answer="I won't", finish="refused"), "it ended as refused"),
        (Step(answer="x", finish="tool_calls"), "it ended as tool_calls"),
    ],
)
async def test_a_summary_that_fails_leaves_the_work_as_output_and_says_so(step, why):
    outcome = await outcome_of("long work", step, fields=SUMMARY, retries=0)

    assert (outcome.status, outcome.output, outcome.work) == ("done", "long work", None)
    told, mend = outcome.error.split("\n")
    assert told == f"the summary failed ({why}); the output is the text of the work, without its summary"
    assert mend
    assert len(outcome.turns) == 2


async def test_a_summary_that_no_longer_fits_the_quota_leaves_the_work_as_output():
    outcome = await outcome_of(
        Step(answer="work", input_tokens=50, output_tokens=40), fields=SUMMARY, quota=Quota(max_total_tokens=200)
    )

    assert (outcome.status, outcome.output, len(outcome.turns)) == ("done", "work", 1)
    assert "the summary failed (max_total_tokens of the run is 200 tokens, and 90 are used" in outcome.error
    assert outcome.error.endswith("\nraise max_total_tokens, or lower max_tokens")


SLOW = Step(answer="never", latency_s=30)


@pytest.mark.parametrize("way", ["timeout", "cancel", "stop"])
async def test_a_summary_that_is_ended_from_outside_leaves_the_work_as_output(way):
    fields = SUMMARY | ({"timeout": 0.5} if way == "timeout" else {})
    ran = Ran([task(**fields)], {"scripted:": answering("work", SLOW)}).start()
    while len(events_of(RequestSent, ran)) < 2:
        await asyncio.sleep(0.005)

    {"timeout": lambda: None, "cancel": lambda: ran.engine.cancel("one"), "stop": ran.engine.stop}[way]()
    (outcome,) = await ran.ended()

    assert (outcome.status, outcome.output) == ("timed_out" if way == "timeout" else "cancelled", "work")
    assert outcome.error.endswith("\nthe output is the text of the work, without its summary")


async def test_work_that_was_cut_stays_incomplete_whatever_its_summary():
    cut, short = Step(answer="half", finish="length"), "short"

    assert (await outcome_of(cut, short, fields=SUMMARY)).status == "incomplete"
    summary_cut = await outcome_of("work", cut, fields=SUMMARY)
    assert (summary_cut.status, summary_cut.error_type, summary_cut.output) == ("incomplete", "length", "half")


@pytest.mark.parametrize("step", [Step(answer="No.", finish="refused"), Step(status=400)])
async def test_without_work_there_is_no_summary(step):
    outcome = await outcome_of(step, "never asked", fields=SUMMARY)

    assert len(outcome.turns) == 1
    assert outcome.output in {"No.", None}


# The size of the output


@pytest.mark.parametrize(
    ("text", "limit", "clipped"),
    [
        ("hello", None, "hello"),
        ("hello", 5, "hello"),
        ("hello world, hello", 16, "hello w …[cut]"),
        ("ünïcödé ünïcödé", 16, "ünïc …[cut]"),  # the seventh byte is half an ö
        ("hello world", 10, "h …[cut]"),
        ("hello world", 4, " …"),
        ("hello", 0, ""),
    ],
)
def test_an_output_is_cut_at_a_character_with_a_mark_that_counts(text, limit, clipped):
    cut = clip(text, limit)

    assert cut == clipped
    assert limit is None or len(cut.encode()) <= limit


async def test_the_size_bounds_the_output_and_not_what_is_kept_of_the_work():
    outcome = await outcome_of("work " * 9, "summary " * 9, fields=SUMMARY, around={"output_max_size": 20})

    assert outcome.output == "summary sum …[cut]"
    assert outcome.work == "work " * 9
    assert outcome.messages[-1].content == "summary " * 9


# Time


async def test_a_timeout_keeps_the_text_that_has_come():
    outcome = await outcome_of(Step(answer="word " * 200, latency_s=4, chunks=200), fields={"timeout": 0.35})

    assert (outcome.status, outcome.error_type) == ("timed_out", "timeout")
    assert outcome.output.startswith("word ")
    assert outcome.error == "timeout of 0.35 s ran out\nraise `timeout`, or lower `max_tokens`"
    assert outcome.estimated


async def test_a_timeout_does_not_count_the_wait_for_a_slot():
    steps = answering(Step(answer="x", latency_s=0.3))
    tasks = [task(label, timeout=0.8) for label in "abcd"]

    outcomes = await Ran(tasks, {"scripted:": steps}, max_concurrent=1).to_the_end()

    assert [outcome.status for outcome in outcomes] == ["done"] * 4
    assert outcomes[3].queued_s > 0.8


async def test_a_retry_that_would_come_after_the_timeout_is_not_waited_for():
    outcome = await outcome_of(Step(status=503, retry_after_s=30), fields={"timeout": 5.0})

    assert (outcome.status, outcome.error_type, outcome.attempts) == ("failed", "bad_response", 1)
    assert "the next try would be in 30.0 s, with 5.0 s left" in outcome.error
    assert outcome.duration_s < 5


async def test_a_call_that_brings_nothing_new_for_too_long_has_timed_out():
    async def act(request, exchange):
        exchange.mark_sent()
        exchange.add_text("half")
        raise ProviderError("sent nothing new for 9 s", "raise idle_timeout", "timeout", "received")

    outcome, _ = await acted(act)

    assert (outcome.status, outcome.error_type, outcome.output) == ("timed_out", "timeout", "half")


# What is charged


async def failing(request, exchange, *, text="", sent=True, error_type="bad_request", charge="nothing"):
    if sent:
        exchange.mark_sent()
    exchange.add_text(text)
    raise ProviderError("no", "mend", error_type, charge)


@pytest.mark.parametrize(
    ("act", "tokens", "cost_usd", "estimated"),
    [
        pytest.param({"sent": False, "charge": "nothing"}, (None, None), 0, False, id="nothing sent: nothing known"),
        pytest.param({"charge": "nothing"}, (0, 0), 0, False, id="sent and refused: nothing"),
        pytest.param({"charge": "all"}, (BOUND, 100), BOUND + 200, True, id="all of the reservation"),
        pytest.param({"charge": "received", "text": "fünf"}, (BOUND, 5), BOUND + 10, True, id="bound and bytes"),
        pytest.param({"charge": "received", "text": "x" * 300}, (BOUND, 100), BOUND + 200, True, id="never more"),
    ],
)
async def test_a_failed_attempt_is_charged_what_it_may_have_cost(act, tokens, cost_usd, estimated):
    outcome, ran = await acted(lambda *given: failing(*given, **act), price=PRICE)

    (turn,) = outcome.turns
    assert (turn.input_tokens, turn.output_tokens) == tokens
    assert (turn.cost_usd, outcome.estimated) == (cost_usd, estimated)
    assert ran.session.usage.tokens == sum(count or 0 for count in tokens)
    assert ran.session.usage.cost == Decimal(cost_usd)
    assert ran.session.usage.executions == (1 if act.get("sent", True) else 0)


@pytest.mark.parametrize(
    ("given", "tokens", "estimated"),
    [
        pytest.param(reply(usage=(5, 2)), (5, 2), False, id="what the provider reports"),
        pytest.param(reply(usage=None), (BOUND, 100), True, id="usage missing: all"),
        pytest.param(reply(text="half", usage=None, finish="cut"), (BOUND, 4), True, id="cut: bound and bytes"),
        pytest.param(reply(text="half", usage=(5, 1), finish="cut"), (5, 1), False, id="cut, and yet reported"),
    ],
)
async def test_a_reply_is_charged_what_is_reported_or_the_most_it_may_have_cost(given, tokens, estimated):
    async def act(request, exchange):
        exchange.mark_sent()
        exchange.add_text(given.text)
        return given

    outcome, ran = await acted(act, price=PRICE)

    assert (outcome.input_tokens, outcome.output_tokens, outcome.estimated) == (*tokens, estimated)
    assert outcome.cost_usd == tokens[0] + 2 * tokens[1] == ran.session.usage.cost


@pytest.mark.parametrize(
    ("sent", "text", "stream", "tokens"),
    [
        pytest.param(False, "", True, (None, None), id="before it was sent"),
        pytest.param(True, "", True, (BOUND, 100), id="before any text: it may have thought"),
        pytest.param(True, "half", True, (BOUND, 4), id="after some text"),
        pytest.param(True, "half", False, (BOUND, 100), id="without a stream"),
    ],
)
async def test_a_cancelled_call_is_charged_by_how_far_it_was(sent, text, stream, tokens):
    begun = asyncio.Event()

    async def act(request, exchange):
        if sent:
            exchange.mark_sent()
        exchange.add_text(text)
        begun.set()
        await asyncio.sleep(30)

    ran = Ran([task()], {"scripted:": Acting(act)}, around={"stream": stream}).start()
    await begun.wait()
    ran.engine.cancel("one")
    (outcome,) = await ran.ended()

    assert (outcome.status, outcome.output) == ("cancelled", text or None)
    assert (outcome.input_tokens, outcome.output_tokens) == tokens
    assert (outcome.estimated, outcome.cost_usd) == (sent, None)
    assert ran.session.usage == (int(sent), sum(count or 0 for count in tokens), 0)
    assert ran.session.reserved == (0, 0, 0)


async def test_usage_that_came_before_the_failure_is_what_is_charged():
    async def act(request, exchange):
        exchange.mark_sent()
        exchange.usage = Usage(input_tokens=5, output_tokens=0)
        raise ProviderError("empty", "", "empty_answer", "all")

    outcome, ran = await acted(act)

    assert (outcome.total_tokens, outcome.estimated, ran.session.usage.tokens) == (5, False, 5)


async def test_every_attempt_is_charged_and_the_turn_shows_their_sum():
    failures = [Step(status=500, retry_after_s=0.001), Step(status=503, retry_after_s=0.001)]
    provider = answering(*failures, Step(answer="yes", input_tokens=4, output_tokens=1), price=PRICE)
    ran = Ran([task()], {"scripted:": provider}, retries=2)

    (outcome,) = await ran.to_the_end()

    (turn,) = outcome.turns
    assert (turn.attempts, turn.input_tokens, turn.output_tokens, turn.estimated) == (3, BOUND + 4, 100 + 1, True)
    assert turn.cost_usd == BOUND + 4 + 2 * 101
    assert ran.session.usage == (1, BOUND + 105, Decimal(BOUND + 4 + 202))
    assert outcome.status == "done"
    assert len(events_of(RetryScheduled, ran)) == 2


async def test_a_provider_that_leaves_out_its_usage_is_charged_the_reservation_over_http_too():
    body = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    provider = HttpProvider(
        model="mine:m",
        model_id="m",
        endpoint=Endpoint(name="mine", wire="openai", base_url="http://127.0.0.1:9/v1"),
        wire=OpenAIWire(),
        key=None,
        price=None,
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=body)),
    )
    ran = Ran([task()], {"scripted:": provider})

    (outcome,) = await ran.to_the_end()

    assert (outcome.output, outcome.estimated, outcome.total_tokens) == ("Hello", True, 7 + 128 + 100)


# What is reserved


async def test_a_call_holds_the_most_it_can_use_while_it_runs():
    held = []

    async def act(request, exchange):
        held.append(tracker.reserved)
        exchange.mark_sent()
        return reply()

    tracker = Tracker()
    await acted(act, session=tracker, price=PRICE)

    assert held == [(1, BOUND + 100, Decimal(BOUND + 200))]


async def test_what_params_add_to_a_prompt_is_reserved_too():
    held = []

    async def act(request, exchange):
        held.append(tracker.reserved.tokens)
        return reply()

    tracker = Tracker()
    schema = {"response_format": {"type": "json_schema", "json_schema": {"description": "ü" * 500}}}
    await acted(act, session=tracker, fields={"params": schema})

    assert held[0] >= BOUND + 100 + 1000


async def test_a_second_turn_reserves_what_the_first_reported_and_the_bytes_added_since():
    held = []

    async def act(request, exchange):
        held.append(tracker.reserved.tokens)
        exchange.mark_sent()
        return reply("a long answer " * 40, usage=(30, 20))

    tracker = Tracker()
    await acted(act, session=tracker, fields={"summary_prompt": "Sum up."})

    assert held == [BOUND + 100, 30 + 20 + len("Sum up.") + FORM_TOKENS + 64 + 100]


async def test_a_second_turn_whose_first_reported_nothing_reserves_all_its_bytes():
    held = []

    async def act(request, exchange):
        held.append(tracker.reserved.tokens)
        exchange.mark_sent()
        return reply("answer", usage=None)

    tracker = Tracker()
    await acted(act, session=tracker, fields={"summary_prompt": "Sum up."})

    assert held[1] == len("Say hi.answerSum up.") + FORM_TOKENS + 64 + 100


@pytest.mark.parametrize(
    ("quota", "price", "limit"),
    [
        (Quota(max_total_tokens=BOUND + 99), None, "max_total_tokens"),
        (Quota(max_total_cost=BOUND + 199.5), PRICE, "max_total_cost"),
        (Quota(max_executions=0), None, "max_executions"),
        (Quota(max_total_time=0), None, "max_total_time"),
    ],
)
async def test_what_can_never_fit_is_not_sent_and_its_row_says_why(quota, price, limit):
    provider = Acting(lambda *_: pytest.fail("sent"), price)
    ran = Ran([task()], {"scripted:": provider}, quota=quota)

    (outcome,) = await ran.to_the_end()

    assert (outcome.status, outcome.error_type, outcome.attempts) == ("skipped", "quota_exceeded", 0)
    assert outcome.error.startswith(f"{limit} of the run is ")
    assert f"\nraise {limit}" in outcome.error
    assert ran.session.usage == ran.session.reserved == (0, 0, 0)


# Retries and the account's gate


async def test_a_retry_is_told_with_its_delay_and_begins_its_text_anew():
    async def act(request, exchange):
        exchange.mark_sent()
        exchange.add_text("half")
        if len(provider.requests) == 1:
            raise ProviderError("gone", "", "network", "received", retry_after_s=0.01)
        return reply("half and whole")

    provider = Acting(act)
    ran = Ran([task()], {"scripted:": provider})

    (outcome,) = await ran.to_the_end()

    assert (outcome.status, outcome.output, outcome.attempts) == ("done", "half and whole", 2)
    (retry,) = events_of(RetryScheduled, ran)
    assert (retry.attempt, retry.delay_s, retry.error_type, retry.error) == (1, 0.01, "network", "gone")
    first, second = events_of(RequestSent, ran)
    assert (first.attempt, second.attempt, second.spawn_s) == (1, 2, None)
    assert len(events_of(TaskStarted, ran)) == 1


async def test_retries_end_with_the_last_error_and_how_often_it_was_tried():
    outcome = await outcome_of(Step(status=503, retry_after_s=0.001), retries=2)

    assert (outcome.status, outcome.attempts) == ("failed", 3)
    assert outcome.error.startswith("the script answered with status 503; tried 3 times\n")


@pytest.mark.parametrize(("status", "error_type"), [(401, "auth"), (403, "auth"), (402, "spent_account")])
async def test_a_refused_key_ends_the_account_and_skips_what_waits(status, error_type):
    provider = answering(Step(status=status))
    ran = Ran([task("a"), task("b"), task("c")], {"scripted:": provider}, max_concurrent=1)

    first, *others = await ran.to_the_end()

    assert (first.status, first.error_type) == ("failed", error_type)
    assert [(other.status, other.error_type, other.attempts) for other in others] == [("skipped", error_type, 0)] * 2
    assert others[0].error.startswith(f"not sent: the script answered with status {status}\n")
    assert len(events_of(RequestSent, ran)) == 1
    assert ran.session.usage == (1, 0, 0)


async def test_a_refused_key_of_one_account_leaves_the_others_alone():
    providers = {"bad": answering(Step(status=401), name="bad"), "good": answering("yes", name="good")}

    outcomes = await Ran(
        [task("a", "bad"), task("b", "good"), task("c", "bad")], providers, max_concurrent=1
    ).to_the_end()

    assert [outcome.status for outcome in outcomes] == ["failed", "done", "skipped"]


@pytest.mark.parametrize("retries", [0, 2], ids=["given up", "tried again"])
async def test_a_rate_limit_pauses_all_calls_to_the_account_together(retries):
    provider = answering(Step(status=429, retry_after_s=0.3), "yes")
    ran = Ran([task(label) for label in "abc"], {"scripted:": provider}, max_concurrent=1, retries=retries)

    outcomes = await ran.to_the_end()

    times = {stamped.number: stamped.at for stamped in ran.events if isinstance(stamped.event, RequestSent)}
    first, second = list(times.values())[:2]
    assert second - first >= 0.29
    (paused,) = events_of(AccountPaused, ran)
    assert paused.delay_s == pytest.approx(0.3, abs=1e-6)
    assert outcomes[0].status == ("done" if retries else "failed")
    assert [outcome.status for outcome in outcomes[1:]] == ["done", "done"]


async def test_while_the_account_pauses_no_room_is_held():
    provider = answering(Step(status=429, retry_after_s=0.2), "yes")
    ran = Ran([task()], {"scripted:": provider}, quota=Quota(max_total_tokens=1000)).start()
    while not events_of(AccountPaused, ran):
        await asyncio.sleep(0.005)

    held = ran.tracker.reserved.tokens
    (outcome,) = await ran.ended()

    assert (held, outcome.status) == (0, "done")


async def test_a_pause_that_is_too_long_fails_at_once_with_its_time():
    outcome = await outcome_of(Step(status=429, retry_after_s=300))

    assert (outcome.status, outcome.error_type, outcome.attempts) == ("failed", "rate_limited", 1)
    assert "the server asks to wait 300 s: longer than 60 s" in outcome.error


async def test_who_waited_for_room_while_the_gate_closed_gives_it_back_and_waits():
    calls = []

    async def act(request, exchange):
        calls.append(asyncio.get_running_loop().time())
        exchange.mark_sent()
        await asyncio.sleep(0.02)
        if len(calls) == 1:
            raise ProviderError("slow down", "", "rate_limited", "nothing", retry_after_s=0.2)
        return reply()

    quota = Quota(max_total_tokens=BOUND + 100 + 50)
    ran = Ran([task("a"), task("b")], {"scripted:": Acting(act)}, quota=quota)

    outcomes = await ran.to_the_end()

    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert calls[1] - calls[0] >= 0.2


async def test_text_is_told_as_it_comes_unless_it_is_not_wanted():
    loud = Ran([task()], {"scripted:": answering(Step(answer="abcd", chunks=2))})
    quiet = Ran([task()], {"scripted:": answering(Step(answer="abcd", chunks=2))}, around={"emit_text": False})

    await loud.to_the_end()
    (outcome,) = await quiet.to_the_end()

    assert [event.text for event in events_of(TextReceived, loud)] == ["ab", "cd"]
    assert (events_of(TextReceived, quiet), outcome.output) == ([], "abcd")


async def test_what_is_estimated_costs_what_was_reserved_for_it():
    price = FlatPrice(input_usd=Decimal(1), output_usd=Decimal(1), cache_write_usd=Decimal(5))
    failing = answering(Step(status=500), price=price)
    ran = Ran([task()], {"scripted:": failing}, retries=0)

    (outcome,) = await ran.to_the_end()

    assert outcome.estimated
    assert ran.session.usage.cost == price.worst(outcome.input_tokens, outcome.output_tokens)
    assert ran.session.usage.cost > price.cost(Usage(input_tokens=outcome.input_tokens, output_tokens=100))


async def test_the_beginning_of_a_summary_that_was_broken_off_is_kept_among_the_messages():
    steps = ("work", Step(answer="sum " * 100, latency_s=30, chunks=400))
    ran = Ran([task(**SUMMARY)], {"scripted:": answering(*steps)}).start()
    while len(events_of(TextReceived, ran)) < 3:
        await asyncio.sleep(0.005)

    ran.engine.stop()
    (outcome,) = await ran.ended()

    assert outcome.output == "work"
    assert outcome.messages[-1].role == "assistant"
    assert outcome.messages[-1].content
    assert ("sum " * 100).startswith(outcome.messages[-1].content)
