"""A subagent whose answer has a schema: its value, the one time that it is asked again, and what is kept and charged."""

import asyncio
import json
import threading

import pytest
from pydantic import BaseModel, field_validator
from strategies import Ran, answering, task

from xz_magics.agent import WITHOUT_SUMMARY
from xz_magics.agent.answers import AGAIN
from xz_magics.providers.scripted import Step
from xz_magics.records import Quota, Reply, Usage
from xz_magics.schemas.answers import answer_schema, model_schema

REVIEW = answer_schema({"sentiment": ["positive", "negative"]})
FITTING = '{"sentiment": "positive"}'
VALUE = {"sentiment": "positive"}
UNFIT = '{"sentiment": "happy"}'
FAULT = "`sentiment` is 'happy': wanted is one of 'positive', 'negative'"
ASKED_AGAIN = AGAIN.format(faults=FAULT, schema=json.dumps(REVIEW.json))


def look(text: str) -> str:
    """Looks it up."""
    return f"looked at {text}"


LOOKING = Step(tool_calls=({"name": "look", "arguments": {"text": "x"}},))


async def ran_with(*steps, quota=None, **fields):
    ran = Ran([task(**({"schema": REVIEW} | fields))], {"scripted:": answering(*steps)}, quota=quota, tools=[look])
    (outcome,) = await ran.to_the_end()
    assert ran.session.reserved == (0, 0, 0)
    return outcome


def users(outcome):
    return [message.content for message in outcome.messages if message.role == "user"]


async def test_an_answer_that_fits_has_its_value():
    outcome = await ran_with(f"Sure: {FITTING}")

    assert (outcome.status, outcome.output, outcome.value) == ("done", f"Sure: {FITTING}", VALUE)
    assert len(outcome.turns) == 1


async def test_without_a_schema_there_is_no_value():
    outcome = await ran_with(FITTING, schema=None)

    assert (outcome.status, outcome.value) == ("done", None)


async def test_an_answer_that_does_not_fit_is_asked_for_once_more_with_its_faults():
    outcome = await ran_with(UNFIT, FITTING)

    assert (outcome.status, outcome.output, outcome.value) == ("done", FITTING, VALUE)
    assert users(outcome) == ["Say hi.", ASKED_AGAIN]
    assert [turn.number for turn in outcome.turns] == [1, 2]


async def test_a_second_answer_that_does_not_fit_fails_and_its_text_is_kept():
    outcome = await ran_with(UNFIT, "I feel happy.", FITTING)

    assert (outcome.status, outcome.error_type, outcome.value) == ("failed", "schema", None)
    assert outcome.output == "I feel happy."
    assert outcome.error.startswith("the answer does not fit its schema, asked for twice: the answer holds no JSON")
    assert outcome.error.endswith("\nreword the prompt, or widen the schema")
    assert [message.content for message in outcome.messages if message.role == "assistant"] == [UNFIT, "I feel happy."]
    assert len(outcome.turns) == 2


async def test_both_answers_are_charged():
    steps = [Step(answer=text, input_tokens=10, output_tokens=4) for text in (UNFIT, FITTING)]

    outcome = await ran_with(*steps)

    assert (outcome.input_tokens, outcome.output_tokens) == (20, 8)


async def test_where_no_turn_is_left_nothing_is_asked_again():
    outcome = await ran_with(UNFIT, FITTING, max_turns=1)

    assert (outcome.status, outcome.error_type, outcome.output) == ("failed", "schema", UNFIT)
    assert outcome.error == (
        f"the answer does not fit its schema: {FAULT}\n"
        "it was not asked for again: max_turns = 1 is reached\nraise `max_turns`"
    )
    assert len(outcome.turns) == 1


async def test_where_the_quota_has_no_room_nothing_is_asked_again():
    first = Step(answer=UNFIT, input_tokens=100, output_tokens=90)

    outcome = await ran_with(first, FITTING, quota=Quota(max_total_tokens=700))

    assert (outcome.status, outcome.error_type, outcome.output) == ("failed", "schema", UNFIT)
    assert f"{FAULT}\nit was not asked for again: " in outcome.error
    assert "max_total_tokens" in outcome.error
    assert len(outcome.turns) == 1


async def test_where_the_second_call_fails_the_first_text_is_kept():
    outcome = await ran_with(UNFIT, Step(status=400))

    assert (outcome.status, outcome.error_type, outcome.output) == ("failed", "schema", UNFIT)
    assert "it was not asked for again: the script answered with status 400" in outcome.error


@pytest.mark.parametrize(
    ("step", "status", "error_type"),
    [
        (Step(answer='{"sentiment": "posi', finish="length"), "incomplete", "length"),
        (Step(answer='{"sentiment": "positive"', chunks=3, cut=2), "incomplete", "cut"),
        (Step(answer="I will not.", finish="refused"), "refused", "refused"),
    ],
)
@pytest.mark.parametrize("earlier", [(), (UNFIT,)], ids=["at once", "asked again"])
async def test_an_answer_that_is_not_whole_stays_what_it_is(step, status, error_type, earlier):
    outcome = await ran_with(*earlier, step, FITTING)

    assert (outcome.status, outcome.error_type, outcome.value) == (status, error_type, None)
    assert len(outcome.turns) == len(earlier) + 1


async def test_an_answer_at_its_limit_that_is_whole_nonetheless_has_its_value():
    outcome = await ran_with(Step(answer=FITTING, finish="length"))

    assert (outcome.status, outcome.error_type, outcome.value) == ("incomplete", "length", VALUE)


async def test_after_tools_the_answer_is_checked_and_asked_for_again():
    outcome = await ran_with(LOOKING, UNFIT, FITTING, allowed_tools=("look",))

    assert (outcome.status, outcome.value, len(outcome.turns)) == ("done", VALUE, 3)


async def test_the_last_turn_of_all_has_a_value_where_its_answer_fits():
    outcome = await ran_with(LOOKING, FITTING, allowed_tools=("look",), max_turns=2)

    assert (outcome.status, outcome.error_type, outcome.value) == ("incomplete", "turn_limit", VALUE)


class Asked:
    """A provider that keeps what it was asked."""

    model = account = "asked"
    note = ""
    price = None
    overhead_tokens = 64
    tools_overhead_tokens = 0
    schema_overhead_tokens = 40

    def __init__(self, *answers):
        self.requests = []
        self._answers = list(answers)

    async def open(self, tell):
        pass

    async def call(self, request, exchange):
        self.requests.append(request)
        exchange.mark_sent()
        usage = Usage(input_tokens=50, output_tokens=5, cache_read_tokens=30, cache_write_tokens=7)
        return Reply(text=self._answers.pop(0), finish="stop", finish_reason="stop", usage=usage)


async def test_the_schema_goes_out_with_the_answer_alone_which_is_the_summary_where_there_is_one():
    provider = Asked("Some prose.", UNFIT, FITTING)
    ran = Ran([task(schema=REVIEW, summary_prompt="Sum it up.")], {"scripted:": provider})

    (outcome,) = await ran.to_the_end()

    assert [request.schema for request in provider.requests] == [None, REVIEW, REVIEW]
    assert (outcome.status, outcome.output, outcome.value, outcome.work) == ("done", FITTING, VALUE, "Some prose.")
    assert users(outcome) == ["Say hi.", "Sum it up.", ASKED_AGAIN]


async def test_a_summary_that_fails_leaves_an_answer_that_does_not_fit():
    outcome = await ran_with("Some prose.", Step(status=400), summary_prompt="Sum it up.")

    assert (outcome.status, outcome.error_type, outcome.output) == ("failed", "schema", "Some prose.")
    assert WITHOUT_SUMMARY in outcome.error


async def test_the_cached_tokens_of_a_turn_are_those_of_its_usage():
    ran = Ran([task(schema=REVIEW)], {"scripted:": Asked(UNFIT, FITTING)})

    (outcome,) = await ran.to_the_end()

    assert [(turn.cache_read_tokens, turn.cache_write_tokens) for turn in outcome.turns] == [(30, 7), (30, 7)]
    assert outcome.cached_tokens == 60


@pytest.mark.parametrize("spare", [0, -1])
async def test_room_is_taken_for_the_schema_to_its_last_byte(spare):
    bound = len("Say hi.") + 64 + 40 + len(json.dumps(REVIEW.json)) + 100
    provider = Asked(FITTING)
    ran = Ran([task(schema=REVIEW)], {"scripted:": provider}, quota=Quota(max_total_tokens=bound + spare))

    (outcome,) = await ran.to_the_end()

    assert (outcome.status, len(provider.requests)) == (("done", 1) if spare == 0 else ("skipped", 0))


class Score(BaseModel):
    score: int
    note: str = "none"


async def test_a_models_value_is_its_json():
    outcome = await ran_with('{"score": 3}', schema=model_schema(Score))

    assert outcome.value == {"score": 3, "note": "none"}


async def test_a_stop_does_not_wait_for_a_model_that_takes_its_time():
    looking, go_on = threading.Event(), threading.Event()

    class Slow(BaseModel):
        score: int

        @field_validator("score")
        @classmethod
        def look(cls, value):
            looking.set()
            go_on.wait(30)
            return value

    ran = Ran([task(schema=model_schema(Slow))], {"scripted:": answering('{"score": 3}')}).start()
    assert await asyncio.to_thread(looking.wait, 10)

    ran.engine.stop()
    (outcome,) = await asyncio.wait_for(ran.ended(), 5)
    go_on.set()

    assert (outcome.status, outcome.output) == ("cancelled", '{"score": 3}')
