"""The schema of an answer as it is written in a spec."""

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from xz_magics.errors import SpecError
from xz_magics.records import AnswerSchema
from xz_magics.specs import parse, read
from xz_magics.specs.answers import schema
from xz_magics.specs.nodes import Given
from xz_magics.specs.values import read_value


class Review(BaseModel):
    sentiment: str


def checked(value):
    return schema(read_value(value, "work"), "`schema`")


def of_cell(written, head="tasks:\n- prompt: Judge this.\n  schema: "):
    return parse(head + written).specs[0].fields["schema"]


def refusal(written):
    with pytest.raises(SpecError) as caught:
        of_cell(written)
    return caught.value


def test_the_short_form_is_written_as_yaml_reads_it():
    found = of_cell("{sentiment: [yes, no], score: number, note: string?, ages: [integer], who: {name: text}}")

    assert found.json["properties"] == {
        "sentiment": {"type": "string", "enum": ["yes", "no"]},
        "score": {"type": "number"},
        "note": {"type": ["string", "null"]},
        "ages": {"type": "array", "items": {"type": "integer"}},
        "who": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    }


def test_a_json_schema_may_stand_in_a_json_cell():
    written = '{"tasks": [{"prompt": "Judge this.", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}]}'  # fmt: skip

    assert parse(written).specs[0].fields["schema"].json["properties"] == {"a": {"type": "integer"}}


def test_a_name_is_left_to_be_looked_up_and_an_object_is_taken_as_it_is():
    ready = AnswerSchema(name="ready", json={"type": "object"})

    assert of_cell("Review") == "Review"
    assert checked(Review) is Review
    assert schema(read_value({"a": "string"}, "work"), "`schema`").json["required"] == ["a"]
    node = read_value("x", "work")
    assert schema(type(node)(place=node.place, value=Given(ready)), "`schema`") is ready


@pytest.mark.parametrize(
    ("written", "line", "column", "message", "hint"),
    [
        ("{a: strin}", 3, 15, "`schema`: 'strin' is no type", "did you mean string?"),
        ("\n    a: string\n    b:\n      c: [x, {d: e}]", 6, 14, "`schema`: an object cannot be one of several choices", "list texts"),
        ("{type: object, properties: {a: {type: strng}}}", 3, 49, "`schema`: this is no JSON schema: 'strng' is not valid", "mend it here"),
        ("{a: {$ref: '#/b'}}", 3, 22, "`schema`: '#/b' leads nowhere in this schema", "refer to a part"),
        ("{a: .inf}", 3, 15, "`schema` cannot hold inf", "write fields such as"),
        ("[a, b]", 3, 11, "`schema` must be a schema, not a list", "write fields such as"),
        ("3", 3, 11, "`schema` must be a schema, not 3", "write fields such as"),
        ("my model", 3, 11, "`schema` must be a schema, not 'my model'", "write fields such as"),
    ],
)  # fmt: skip
def test_an_error_names_the_line_the_column_and_a_mend(written, line, column, message, hint):
    error = refusal(written)

    assert (error.line, error.column) == (line, column)
    assert error.message.startswith(message)
    assert error.hint.startswith(hint)


def test_of_a_python_value_the_error_names_the_expression():
    with pytest.raises(SpecError) as caught:
        read({"tasks": [{"prompt": "Judge this.", "schema": {"a": {"b": "strin"}}}]})

    assert caught.value.message == "work['tasks'][0]['schema']['a']['b']: `schema`: 'strin' is no type"


@pytest.mark.parametrize("value", [len, {"a": Review}])
def test_an_object_that_is_no_class_or_stands_among_fields_is_refused(value):
    with pytest.raises(SpecError, match="`schema`"):
        checked(value)


WORDS = st.sampled_from(
    ["a: string", "{", "}", "[", "]", ",", "?", ": ", "type", "object", "enum", "$ref", "#", "\n   "]
)


@settings(deadline=None)
@given(st.lists(WORDS | st.text(max_size=3), max_size=8).map("".join))
def test_whatever_stands_there_is_read_or_refused_as_a_spec(written):
    try:
        fields = parse(f"tasks:\n- prompt: Judge this.\n  schema: {written}").specs[0].fields
    except SpecError:
        return

    assert isinstance(fields.get("schema"), AnswerSchema | str | None)
