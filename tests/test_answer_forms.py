"""What each API is asked to hold a model to, and what goes out where it can hold it to nothing."""

import json
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from xz_magics.providers.answer_forms import (
    INSTRUCTION,
    MOST_LEVELS,
    MOST_OPTIONAL,
    MOST_UNIONS,
    OVERHEAD_TOKENS,
    anthropic_form,
    by_instruction,
    fits_strict,
    openai_form,
    own_form,
)
from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.providers.grammar import answer_form
from xz_magics.providers.openai import OpenAIWire
from xz_magics.records import AnswerSchema, Message, Request
from xz_magics.schemas.answers import answer_schema, model_schema

REVIEW = answer_schema({"sentiment": ["positive", "negative"], "note": "string?", "who": {"name": "string"}}, "Review")


def an_object(**properties):
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def schema(json_schema):
    return AnswerSchema(name="answer", json=json_schema)


def request(**changes):
    return Request(messages=(Message(role="user", content="Judge this."),), max_tokens=50, schema=REVIEW, **changes)


class Part(BaseModel):
    kind: Literal["a", "b"]


class Whole(BaseModel):
    parts: list[Part]
    first: Part | None = None


class Tree(BaseModel):
    trees: list["Tree"]


DEEP = {"type": "string"}
for _ in range(MOST_LEVELS + 1):
    DEEP = an_object(a=DEEP)


@pytest.mark.parametrize(
    ("json_schema", "fits"),
    [
        (REVIEW.json, True),
        (model_schema(Whole).json, True),
        (model_schema(Tree).json, True),
        (an_object(n={"type": "integer", "minimum": 1, "maximum": 5}, d={"type": "string", "format": "date"}), True),
        (an_object(x={"anyOf": [{"type": "string"}, {"type": "null"}]}), True),
        (DEEP["properties"]["a"], True),
        (DEEP, False),
        ({"type": "object"}, False),
        (an_object(a={"type": "string"}) | {"additionalProperties": True}, False),
        (an_object(a={"type": "string"}) | {"required": []}, False),
        (an_object(a={"type": "string"}) | {"anyOf": [{"type": "object"}]}, False),
        (an_object(a={}), False),
        (an_object(a={"enum": ["x"]}), False),
        (an_object(a={"type": "array", "items": True}), False),
        (an_object(a={"type": "string", "minLength": 1}), False),
        (an_object(a={"type": "string", "format": "money"}), False),
        (an_object(a={"oneOf": [{"type": "string"}]}), False),
        (an_object(a={"type": "object", "additionalProperties": {"type": "string"}}), False),
        (an_object(a={"$ref": "#/$defs/b", "description": "x"}) | {"$defs": {"b": {"type": "string"}}}, False),
        (an_object(a={"type": "string", "pattern": "(?=a)"}), False),
    ],
)
def test_strict_is_asked_for_only_where_the_api_takes_the_schema_so(json_schema, fits):
    assert fits_strict(json_schema) is fits
    assert openai_form(schema(json_schema))["json_schema"]["strict"] is fits


def test_openai_is_sent_a_response_format_with_a_name_that_it_takes():
    named = AnswerSchema(name="Straße & co " + "x" * 80, json=REVIEW.json)

    body = OpenAIWire().encode(Request(messages=(), max_tokens=5, schema=named), "m", official=True)

    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Stra_e___co_" + "x" * 52, "schema": REVIEW.json, "strict": True},
    }


def test_anthropic_is_sent_an_output_config_beside_what_else_stands_in_it():
    body = AnthropicWire().encode(request(params={"output_config": {"effort": "low"}}), "m", official=True)

    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": REVIEW.json}}
    assert "system" not in body
    assert "tool_choice" not in body


def test_bounds_that_anthropic_refuses_are_told_in_words():
    written = an_object(
        n={"type": "integer", "minimum": 1, "maximum": 5, "description": "stars"},
        d={"type": "string", "format": "date", "minLength": 2},
        m={"type": "string", "format": "money", "default": "1 €"},
        x={"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "null"}]},
        l={"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 4},
    )

    form = anthropic_form(schema({"$schema": "https://json-schema.org/draft/2020-12/schema", **written}))

    assert form["schema"] == an_object(
        n={"type": "integer", "description": "stars; minimum: 1; maximum: 5"},
        d={"type": "string", "format": "date", "description": "minLength: 2"},
        m={"type": "string", "description": 'format: "money"'},
        x={"anyOf": [{"type": "string", "description": 'pattern: "^a"'}, {"type": "null"}]},
        l={
            "type": "array",
            "items": {"type": "string", "description": "maxLength: 3"},
            "description": "maxItems: 4",
        },
    )


NULLABLE = {"type": ["string", "null"]}
OPTIONAL = {f"field_{number}": {"type": "string"} for number in range(MOST_OPTIONAL + 1)}
TWO_DEFS = {"$defs": {"a": {"type": "string"}, "b": an_object(x={"$ref": "#/$defs/a"})}}


@pytest.mark.parametrize(
    ("json_schema", "held"),
    [
        (model_schema(Whole).json, True),
        (an_object(b={"$ref": "#/$defs/b"}) | TWO_DEFS, True),
        (an_object(**{f"field_{number}": NULLABLE for number in range(MOST_UNIONS)}), True),
        (an_object(**{f"field_{number}": NULLABLE for number in range(MOST_UNIONS + 1)}), False),
        (an_object(**OPTIONAL) | {"required": []}, False),
        (model_schema(Tree).json, False),
        (an_object(a={"$ref": "#/properties/a"}), False),
        ({"type": "object"}, False),
        (an_object(a={}), False),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, False),
    ],
)
def test_what_anthropic_cannot_hold_a_model_to_goes_out_in_words(json_schema, held):
    asked = Request(messages=(Message(role="user", content="Hi"),), max_tokens=5, schema=schema(json_schema))

    body = AnthropicWire().encode(asked, "m", official=True)

    assert ("output_config" in body) is held
    assert (INSTRUCTION in body.get("system", "")) is not held


def test_in_words_the_schema_stands_at_the_end_of_the_system_text():
    told = f"{INSTRUCTION}\n{json.dumps(REVIEW.json)}"
    with_system = Request(
        messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hi")),
        max_tokens=5,
        schema=REVIEW,
    )

    alone, after = by_instruction(request()), by_instruction(with_system)

    assert [message.content for message in alone.messages] == [told, "Judge this."]
    assert [message.content for message in after.messages] == [f"Be brief.\n\n{told}", "Hi"]
    assert alone.schema is after.schema is None
    assert by_instruction(alone) is alone


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"response_format": {"type": "text"}}, "response_format"),
        ({"grammar": "root ::= x"}, "grammar"),
        ({"output_config": {"format": {}}}, "output_config"),
        ({"output_config": {"effort": "low"}, "top_k": 3}, None),
    ],
)
def test_a_form_of_its_own_is_found_among_the_params(params, name):
    assert own_form(params) == name


NAMES = st.sampled_from(["a", "ä b", "c.d", "what", "e"])
FIELDS = st.recursive(
    st.sampled_from(["string", "number?", "integer", "boolean"])
    | st.lists(st.text(max_size=8), min_size=2, max_size=4, unique=True).map(lambda them: {"enum": them}),
    lambda inner: st.lists(inner, min_size=1, max_size=1) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, FIELDS, min_size=1, max_size=4))
def test_no_form_of_a_schema_has_more_bytes_than_are_reserved_for_it(fields):
    asked = answer_schema(fields)
    reserved = len(json.dumps(asked.json))

    words = by_instruction(replace(request(), schema=asked)).messages[0].content
    held = anthropic_form(asked)

    assert len(words.encode()) <= reserved + OVERHEAD_TOKENS
    assert len(json.dumps(openai_form(asked)).encode()) <= reserved + OpenAIWire.schema_overhead_tokens
    assert held is None or len(json.dumps(held).encode()) <= reserved + AnthropicWire.schema_overhead_tokens


def test_the_embedded_models_server_is_given_what_of_a_schema_it_takes():
    form = answer_form(model_schema(Whole))

    assert form["json_schema"]["schema"]["properties"]["parts"] == {"type": "array", "items": {"$ref": "#/$defs/ Part"}}
    assert [*form["json_schema"]["schema"]["$defs"]] == [" Part"]
