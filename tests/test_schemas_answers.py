"""What an answer must be: from fields in short, a JSON schema or a model of the notebook to the value that a text holds."""

import enum
import json
import pickle
from datetime import date

import pytest
from hypothesis import given, settings, strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator, model_serializer

from xz_magics.errors import SpecError
from xz_magics.records import AnswerSchema
from xz_magics.schemas import NoSchemaError, SchemaError
from xz_magics.schemas.answers import MOST_SCHEMA_BYTES, answer_schema, model_schema, resolved, value_of
from xz_magics.schemas.faults import MOST_FAULT_CHARACTERS, MOST_FAULTS
from xz_magics.schemas.json_answers import MOST_BYTES, MOST_DEPTH
from xz_magics.schemas.short_form import KEYWORDS, MARKS, TYPES

FIELDS = {
    "sentiment": ["positive", "negative"],
    "score": "number",
    "note": "string?",
    "tags": ["string"],
    "who": {"name": "string", "age": "integer"},
}
REVIEW = answer_schema(FIELDS)
FITTING = {"sentiment": "positive", "score": 3, "note": None, "tags": [], "who": {"name": "Ann", "age": 40}}


def an_object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def fault(schema, text):
    with pytest.raises(SchemaError) as caught:
        value_of(schema, text)
    return caught.value.message


def refusal(written):
    with pytest.raises(NoSchemaError) as caught:
        answer_schema(written)
    return caught.value


def test_fields_in_short_are_a_closed_object_with_all_fields_required():
    assert REVIEW.json == an_object(
        sentiment={"type": "string", "enum": ["positive", "negative"]},
        score={"type": "number"},
        note={"type": ["string", "null"]},
        tags={"type": "array", "items": {"type": "string"}},
        who=an_object(name={"type": "string"}, age={"type": "integer"}),
    )
    assert (REVIEW.name, REVIEW.model) == ("answer", None)


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("text", {"type": "string"}),
        ("integer ?", {"type": ["integer", "null"]}),
        ([1, 2, 3], {"type": "integer", "enum": [1, 2, 3]}),
        ([True, "maybe", None, 0.5], {"type": ["boolean", "string", "null", "number"], "enum": [True, "maybe", None, 0.5]}),
        ([["a", "b"]], {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}),
        ([{"x": "number"}], {"type": "array", "items": an_object(x={"type": "number"})}),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 1}),
        ({"enum": ["string", "number"]}, {"enum": ["string", "number"]}),
        ({"type": ["novel", "poem"], "title": "string"}, an_object(type={"type": "string", "enum": ["novel", "poem"]}, title={"type": "string"})),
    ],
)  # fmt: skip
def test_a_field_may_be_a_type_a_choice_a_list_an_object_or_a_json_schema(written, schema):
    assert answer_schema({"field": written}).json == an_object(field=schema)


def test_a_json_schema_of_an_object_stays_as_it_is():
    written = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"a": {"$ref": "#/definitions/b"}}, "definitions": {"b": {"type": "string"}}}  # fmt: skip

    assert answer_schema(written).json == written


@pytest.mark.parametrize(
    ("written", "path", "message", "hint"),
    [
        ([1], (), "a schema must be a mapping, not a list", "name its fields, such as"),
        ({}, (), "a schema needs a field", "name what the answer holds"),
        ({"a": {}}, ("a",), "a schema needs a field", "name what the answer holds"),
        ({" ": "string"}, (" ",), "a field has no name", "give it one"),
        ({"a": "strin"}, ("a",), "'strin' is no type", "did you mean string?"),
        ({"a": {"b": "Int"}}, ("a", "b"), "'Int' is no type", "did you mean integer?"),
        ({"a": None}, ("a",), "null is no type", "the types are string, text"),
        ({"a": 3}, ("a",), "3 is no type", "the types are"),
        ({"a": []}, ("a",), "an empty list says nothing", "the types are"),
        ({"a": ["one"]}, ("a", 0), "'one' is no type", "the types are"),
        ({"a": ["x", "x"]}, ("a", 1), "'x' is listed twice", "take one of them out"),
        ({"a": ["x", ["y"]]}, ("a", 1), "a list cannot be one of several choices", "list texts"),
        ({"a": ["string", "number"]}, ("a", 0), "'string' is a type, and stands among choices", "write [string] for a list of it"),
        ({"type": "string"}, (), "this reads as a JSON schema whose `type` is not object, and an answer is always an object", "put it under"),
        ({"properties": {"a": {"type": "string"}}}, (), "this reads as a JSON schema whose `type` is not object, and an answer is always an object", "put it under"),
        ({"type": "object", "properties": {"a": {"type": "strng"}}}, ("properties", "a", "type"), "this is no JSON schema: 'strng' is not valid under any of the given schemas", "mend it here"),
        ({"a": {"$ref": "http://127.0.0.1:9/x"}}, ("properties", "a", "$ref"), "'http://127.0.0.1:9/x' leads nowhere in this schema", "refer to a part"),
        ({"a": {"$ref": "#/$defs/a"}}, ("properties", "a", "$ref"), "'#/$defs/a' leads nowhere in this schema", "refer to a part"),
        ({"type": "object", "properties": {"a": {"$id": "http://127.0.0.1:9/x", "type": "string"}}}, ("properties", "a", "$id"), "$id is not taken", "refer by $ref"),
        ({"a": {1, 2}}, (), "it is no JSON: Object of type set is not JSON serializable", "use texts"),
        ({"a": float("nan")}, (), "it is no JSON: Out of range float values are not JSON compliant", "use texts"),
        ({"a": ["b", "c" * MOST_SCHEMA_BYTES]}, (), "it has 65,552 bytes", "at most 65,536 are taken"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_told_with_its_place_and_a_mend(written, path, message, hint):
    error = refusal(written)

    assert (error.path, error.message.partition(": nan")[0]) == (path, message)
    assert error.hint.startswith(hint)
    assert pickle.loads(pickle.dumps(error)).path == path


def test_a_schema_that_holds_itself_or_is_nested_without_end_is_refused():
    endless = {}
    endless["a"] = endless
    deep = {"a": "string"}
    for _ in range(100):
        deep = {"a": deep}

    assert refusal(endless).message == "it is no JSON: Circular reference detected"
    assert refusal(deep).message == "it is nested too deeply"


NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.strip() and name not in KEYWORDS | MARKS)
CHOICES = st.lists(st.integers() | st.text(max_size=8).filter(lambda t: t.removesuffix("?") not in TYPES), min_size=2, max_size=5, unique=True)  # fmt: skip
SHORT = st.recursive(
    st.sampled_from([*TYPES, *(f"{word}?" for word in TYPES)]) | CHOICES,
    lambda inner: st.lists(inner, min_size=1, max_size=1) | st.dictionaries(NAMES, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, SHORT, min_size=1, max_size=5))
def test_fields_in_short_always_make_a_json_schema(written):
    Draft202012Validator.check_schema(answer_schema(written).json)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["type", "object", "string", "$ref", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "enum", "properties", "$ref", "items", "a"]) | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(ANYTHING, st.text())
def test_whatever_is_written_is_a_schema_that_can_be_used_or_is_refused(written, text):
    try:
        schema = answer_schema(written)
    except NoSchemaError:
        return

    Draft202012Validator.check_schema(schema.json)
    with pytest.raises(SchemaError):
        value_of(schema, text if "{" not in text else "no JSON")


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Person(BaseModel):
    name: str
    born: date | None = None


class Opinion(BaseModel):
    """What somebody thinks."""

    mood: Mood
    score: float = Field(ge=0, le=10)
    people: list[Person] = []
    note: str = "none"

    @field_validator("note")
    @classmethod
    def _is_polite(cls, note):
        if "damn" in note:
            raise ValueError("be polite")
        if note == "break":
            raise RuntimeError("the validator is broken")
        return note


def test_a_models_schema_asks_for_every_field_and_knows_no_defaults():
    schema = model_schema(Opinion)

    assert (schema.name, schema.model) == ("Opinion", Opinion)
    assert schema.json["required"] == ["mood", "score", "people", "note"]
    assert schema.json["additionalProperties"] is False
    assert schema.json["$defs"]["Person"]["required"] == ["name", "born"]
    assert "default" not in json.dumps(schema.json)
    Draft202012Validator.check_schema(schema.json)


class Node(BaseModel):
    name: str
    nodes: list["Node"]


def test_the_schema_of_a_model_that_holds_itself_begins_with_an_object():
    schema = model_schema(Node)

    assert schema.json["type"] == "object"
    assert value_of(schema, '{"name": "a", "nodes": [{"name": "b", "nodes": []}]}') == {
        "name": "a",
        "nodes": [{"name": "b", "nodes": []}],
    }


class Words(RootModel[list[str]]):
    pass


class Holding(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    what: type(pytest)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Words, "schema: it: Words is no object, and an answer always is"),
        (Holding, "schema: it: no JSON schema describes Holding: "),
        (Mood, "the schema it is the class Mood, which describes no answer"),
        (Person(name="Ann"), "the schema it is of type Person, which describes no answer"),
        (3, "the schema it is of type int, which describes no answer"),
        ({"a": {"b": "strin"}}, "schema: it: `a.b`: 'strin' is no type"),
    ],
)
def test_what_a_notebooks_name_stands_for_must_describe_an_answer(value, message):
    with pytest.raises(SpecError) as caught:
        resolved("it", {"it": value})

    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_a_name_is_looked_up_in_the_notebook():
    names = {"Opinion": Opinion, "fields": {"a": "string"}, "ready": REVIEW}

    assert resolved("Opinion", names) == model_schema(Opinion)
    assert resolved("fields", names) == AnswerSchema(name="fields", json=an_object(a={"type": "string"}))
    assert resolved("ready", names) is REVIEW
    assert resolved(Opinion, {}).model is Opinion
    assert resolved(REVIEW, {}) is REVIEW
    with pytest.raises(SpecError, match=r"'Opinon' is no name in this notebook\ndid you mean Opinion\?"):
        resolved("Opinon", names)
    with pytest.raises(SpecError, match="run the cell that defines it first"):
        resolved("zzz", names)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FITTING),
        f"\ufeff  {json.dumps(FITTING, indent=2)}\n",
        f"Here you are:\n```json\n{json.dumps(FITTING)}\n```\nAnything else?",
        f"```\n{json.dumps(FITTING)}\n```",
        f'First {{"a": 1}}:\n```json\n{{"a": 1}}\n```\nor rather\n```json\n{json.dumps(FITTING)}\n```',
        f"The answer is {json.dumps(FITTING)}, I think.",
    ],
)
def test_the_value_is_found_in_the_text_in_a_fenced_block_or_between_the_outermost_braces(text):
    assert value_of(REVIEW, text) == FITTING


def test_each_fault_is_a_line_that_names_the_place_the_value_and_what_was_wanted():
    text = '{"sentiment": "happy", "score": "3", "tags": [1, {}], "who": {"name": null}, "more": 1}'

    assert fault(REVIEW, text).splitlines() == [
        "`sentiment` is 'happy': wanted is one of 'positive', 'negative'",
        "`score` is '3': wanted is number",
        "`tags[0]` is 1: wanted is string",
        "`tags[1]` is an object: wanted is string",
        "`who.name` is null: wanted is string",
        "`who.age` is missing",
        "`note` is missing",
        "`more` is unknown",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the answer holds no JSON object: ''"),
        ("I do not know.", "the answer holds no JSON object: 'I do not know.'"),
        ("[1]", "the answer holds no JSON object: '[1]'"),
        ("{", "the answer holds no JSON object: '{'"),
        ("{a}", "the answer is no JSON: Expecting property name enclosed in double quotes, at character 2 of '{a}'"),
        ('{"a": 1, "a": 2}', "the answer is no JSON: 'a' is there twice"),
        ('{"a": NaN}', "the answer is no JSON: NaN is no number"),
        ('{"a": -Infinity}', "the answer is no JSON: -Infinity is no number"),
        ('{"a": 1e999}', "the answer is no JSON: '1e999' is too large a number"),
        ('{"a": ' * 30_000 + "1" + "}" * 30_000, "the answer is nested too deeply"),
        ('{"a": ' * MOST_DEPTH + "1" + "}" * MOST_DEPTH, f"the answer is nested deeper than {MOST_DEPTH} levels"),
        ("x" * (MOST_BYTES + 1), "the answer has 262,145 bytes, of which 262,144 are read at most"),
    ],
    ids=lambda text: text[:20],
)
def test_a_text_without_json_that_can_be_trusted_says_why(text, message):
    assert fault(REVIEW, text) == message


def test_a_number_with_too_many_digits_is_no_defect():
    assert fault(REVIEW, f'{{"a": {"9" * 5000}}}').startswith("the answer is no JSON: Exceeds the limit")


def test_faults_are_few_and_short():
    schema = answer_schema({f"field_{number}": "integer" for number in range(50)})
    listed = answer_schema({"many": ["integer"]})
    wide = answer_schema({"x": ["y" * 200, "z" * 400]})

    lines = fault(schema, "{}").splitlines()

    assert (len(lines), lines[-1]) == (MOST_FAULTS + 1, "and 40 more")
    assert len(fault(listed, '{"many": [' + "true, " * 20_000 + "true]}").splitlines()) == MOST_FAULTS
    assert len(fault(wide, '{"x": 1}')) <= MOST_FAULT_CHARACTERS


def test_halves_of_characters_become_whole_ones():
    schema = answer_schema({"a": "string"})

    assert value_of(schema, '{"a": "\\ud83d\\ude00 \\ud83d"}') == {"a": "😀 \ufffd"}


def test_bounds_and_alternatives_are_checked_and_told():
    schema = answer_schema({"n": {"type": "integer", "minimum": 1}, "x": {"anyOf": [{"type": "string", "minLength": 2}, {"type": "null"}]}})  # fmt: skip

    assert value_of(schema, '{"n": 1, "x": null}') == {"n": 1, "x": None}
    assert fault(schema, '{"n": 0, "x": "y"}').splitlines() == [
        "`n` is 0: wanted is minimum 1",
        "`x` is 'y': wanted is minLength 2",
    ]


def test_a_schema_that_refers_to_itself_alone_ends_in_a_fault():
    schema = answer_schema({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})

    assert fault(schema, "{}") == "the answer cannot be checked: its schema refers to itself without end"


def test_a_model_has_the_last_word_and_fills_in_what_is_left_out():
    schema = model_schema(Opinion)

    assert value_of(schema, '{"mood": "good", "score": 3, "people": [{"name": "Ann", "born": "1990-01-31"}]}') == {
        "mood": "good",
        "score": 3.0,
        "people": [{"name": "Ann", "born": "1990-01-31"}],
        "note": "none",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mood": "so-so", "score": 3}', "`mood` is 'so-so': Input should be 'good' or 'bad'"),
        ('{"mood": "good", "score": "3"}', "`score` is '3': Input should be a valid number"),
        ('{"mood": "good", "score": 11}', "`score` is 11: Input should be less than or equal to 10"),
        ('{"mood": "good", "score": 1, "note": "damn"}', "`note` is 'damn': Value error, be polite"),
        ('{"mood": "good", "score": 1, "note": "break"}', "the answer could not be checked by Opinion: RuntimeError('the validator is broken')"),
        ("{}", "`mood` is missing\n`score` is missing"),
    ],
)  # fmt: skip
def test_what_a_model_refuses_is_told_in_its_words(text, message):
    assert fault(model_schema(Opinion), text) == message


class Unwritable(BaseModel):
    a: int

    @model_serializer
    def _write(self):
        raise ValueError("no")


def test_a_model_that_cannot_be_written_as_json_gives_no_value():
    schema = AnswerSchema(name="Unwritable", json=an_object(a={"type": "integer"}), model=Unwritable)

    assert fault(schema, '{"a": 1}').startswith("Unwritable cannot be written as JSON: ")


PIECES = st.sampled_from(['{"sentiment": "positive"', ', "score": 1e400', ', "score": 2', ', "note": null', ', "tags": ["a"]', ', "who": {"name": "x", "age": 1}', "}", "```json\n", "\n```", '"\\ud800"', "NaN", "[", "]"])  # fmt: skip


@settings(deadline=None)
@given(st.text() | st.lists(PIECES | st.text(max_size=3), max_size=9).map("".join))
def test_any_text_gives_a_value_that_fits_or_a_fault(text):
    try:
        value = value_of(REVIEW, text)
    except SchemaError:
        return

    Draft202012Validator(REVIEW.json).validate(value)
    json.dumps(value, allow_nan=False).encode()


OBJECT = {"type": "object", "required": ["x"]}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 5_000 + "!"),
        ({"type": "array", "uniqueItems": True}, [{"n": n} for n in range(3_000)] + [{"n": 0}]),
    ],
)
def test_no_rule_takes_for_ever(rule, value):
    schema = answer_schema(OBJECT | {"properties": {"x": rule}})

    with pytest.raises(SchemaError, match="x"):
        value_of(schema, json.dumps({"x": value}))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (OBJECT | {"properties": {"x": {"type": "string", "pattern": "(?=a)b"}}}, "pattern '(?=a)b' cannot be checked"),
        (OBJECT | {"patternProperties": {"^a": {}}}, "patternProperties is not taken"),
        ({"$schema": "http://json-schema.org/draft-03/schema#", "type": "object"}, "draft 3 is not taken"),
    ],
)
def test_what_cannot_be_checked_in_bounded_time_or_is_too_old_is_refused_with_its_mend(written, message):
    with pytest.raises(NoSchemaError) as caught:
        answer_schema(written)

    assert message in caught.value.message
    assert caught.value.hint


def test_fields_may_bear_the_names_of_rules():
    schema = answer_schema(
        {"type": "object", "properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "string"}}}
    )

    assert value_of(schema, '{"pattern": "x"}') == {"pattern": "x"}


def test_a_number_that_no_rule_can_reckon_with_is_a_fault():
    schema = answer_schema(OBJECT | {"properties": {"x": {"type": "number", "multipleOf": 0.1}}})

    with pytest.raises(SchemaError, match="too large"):
        value_of(schema, f'{{"x": {"9" * 400}}}')


@pytest.mark.parametrize("leaving", [SystemExit, ValueError])
def test_a_model_that_leaves_ends_nothing_but_its_own_check(leaving):
    class Leaving(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def leave(cls, value):
            raise leaving("away")

    with pytest.raises(SchemaError, match=r"x|Leaving"):
        value_of(model_schema(Leaving), '{"x": 1}')
