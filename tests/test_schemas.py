"""A function's signature as a JSON schema, and arguments checked by it."""

import dataclasses
import datetime as dt
import enum
import functools
import json
import sys
import typing
from decimal import Decimal
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required

import pandas as pd
import pytest
import typing_extensions
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field
from test_loading import in_a_shell

from xz_magics.schemas import SchemaError, Signature
from xz_magics.schemas.faults import MOST_FAULT_CHARACTERS, MOST_FAULTS


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Address(BaseModel):
    street: str
    number: int = Field(ge=1)


class Old(typing.TypedDict, total=False):
    r: Required[int]
    s: str


class Part(typing.TypedDict):
    needed: str
    free: NotRequired[list[Old]]


class New(typing_extensions.TypedDict):
    r: int


class Pair(NamedTuple):
    a: int
    b: str


class Tree(BaseModel):
    name: str
    kids: list["Tree"] = []


class Context:
    pass


def of(kind, default=dataclasses.MISSING):
    """The signature of a function with one argument `a` of this kind."""

    def function(a):
        pass

    function.__annotations__["a"] = kind
    if default is not dataclasses.MISSING:
        function.__defaults__ = (default,)
    return Signature(function)


def faults(signature, **arguments):
    with pytest.raises(SchemaError) as caught:
        signature.check(arguments)
    return caught.value.message


def refusal(function):
    with pytest.raises(SchemaError) as caught:
        Signature(function)
    return caught.value


def test_the_schema_tells_types_defaults_and_what_is_needed():
    def look_up(city: str, days: int = 3, unit: Literal["C", "F"] = "C", tags: list[str] | None = None):
        pass

    assert Signature(look_up).parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "default": 3},
            "unit": {"enum": ["C", "F"], "type": "string", "default": "C"},
            "tags": {"anyOf": [{"items": {"type": "string"}, "type": "array"}, {"type": "null"}], "default": None},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_a_function_without_arguments_takes_an_empty_object():
    def now():
        """The time."""

    signature = Signature(now)

    assert signature.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert (signature.description, signature.check({})) == ("The time.", {})
    assert "`x` is unknown" in faults(signature, x=1)


GOOGLE = """Looks up the weather.

Slow at night.

Args:
    city (str): the city,
        as its people write it
    days: how many

Returns:
    A text.
"""
NUMPY = """Looks up the weather.

Slow at night.

Parameters
----------
city : str
    the city,
    as its people write it
days : int, optional
    how many

Returns
-------
A text.
"""
SPHINX = """Looks up the weather.

Slow at night.

:param str city: the city,
    as its people write it
:param days: how many
:returns: A text.
"""
PLAIN = """Looks up the weather.

Slow at night.

- `city`: the city, as its people write it
days: how many
A text.
"""


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX, PLAIN], ids=["google", "numpy", "sphinx", "plain"])
def test_the_docstring_tells_what_the_tool_does_and_what_each_argument_is(docstring):
    def look_up(city: str, days: int = 3):
        pass

    look_up.__doc__ = docstring

    signature = Signature(look_up)

    told = {name: field.get("description") for name, field in signature.parameters["properties"].items()}
    assert told == {"city": "the city, as its people write it", "days": "how many"}
    assert signature.description.startswith("Looks up the weather.\n\nSlow at night.")
    assert "A text." in signature.description
    assert "as its people" not in signature.description
    assert "Args" not in signature.description
    assert "Parameters" not in signature.description


def test_a_description_in_the_annotation_wins_over_the_docstring():
    def look_up(city: Annotated[str, Field(description="mine", max_length=3)]):
        """Weather.

        city: the docstring's
        """

    signature = Signature(look_up)

    assert signature.parameters["properties"]["city"] == {"description": "mine", "maxLength": 3, "type": "string"}
    assert "at most 3 characters" in faults(signature, city="Berlin")


@pytest.mark.parametrize(
    ("kind", "sent", "taken"),
    [
        (float, 3, 3.0),
        (int | None, None, None),
        (Literal["a", 1], 1, 1),
        (Colour, "red", Colour.RED),
        (Point, {"x": 1}, Point(1)),
        (list[Point], [{"x": 1, "y": 2}], [Point(1, 2.0)]),
        (Address, {"street": "Elm", "number": 3}, Address(street="Elm", number=3)),
        (Old, {"r": 1}, {"r": 1}),
        (list[Part], [{"needed": "x", "free": [{"r": 1, "s": "y"}]}], [{"needed": "x", "free": [{"r": 1, "s": "y"}]}]),
        (Old | None, None, None),
        (Annotated[Old | None, Field(description="d")], {"r": 2}, {"r": 2}),
        (New, {"r": 1}, {"r": 1}),
        (Pair, [1, "b"], Pair(1, "b")),
        (tuple[int, str], [1, "b"], (1, "b")),
        (set[int], [1, 1, 2], {1, 2}),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
        (dt.date, "2026-11-05", dt.date(2026, 11, 5)),
        (Decimal, "1.10", Decimal("1.10")),
        (Tree, {"name": "a", "kids": [{"name": "b"}]}, Tree(name="a", kids=[Tree(name="b")])),
        (Any, {"a": [1, None, "x", {"b": True}]}, {"a": [1, None, "x", {"b": True}]}),
    ],
    ids=str,
)
def test_what_fits_comes_as_the_function_wants_it(kind, sent, taken):
    assert of(kind).check({"a": sent}) == {"a": taken}


@pytest.mark.parametrize(
    ("kind", "sent", "told"),
    [
        (int, "3", "`a` is '3': Input should be a valid integer"),
        (int, True, "`a` is true: Input should be a valid integer"),
        (int, 3.5, "`a` is 3.5: Input should be a valid integer"),
        (int, None, "`a` is null: Input should be a valid integer"),
        (str, 3, "`a` is 3: Input should be a valid string"),
        (bool, "yes", "`a` is 'yes': Input should be a valid boolean"),
        (float, "1.5", "`a` is '1.5': Input should be a valid number"),
        (list[int], 1, "`a` is 1: Input should be a valid array"),
        (Literal["C", "F"], "K", "`a` is 'K': Input should be 'C' or 'F'"),
        (Colour, "green", "`a` is 'green': Input should be 'red' or 'blue'"),
        (Point, {"y": 1, "z": 2}, "`a.x` is missing\n`a.z` is unknown"),
        (list[Old], [{"r": 1}, {"r": "x"}], "`a[1].r` is 'x': Input should be a valid integer"),
        (Address, {"street": "Elm", "number": 0}, "`a.number` is 0: Input should be greater than or equal to 1"),
        (dict[str, int], {"two words": []}, "`a['two words']` is a list: Input should be a valid integer"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_with_place_value_and_what_is_wanted(kind, sent, told):
    assert faults(of(kind), a=sent) == told


def test_all_faults_are_told_at_once_with_the_names_that_there_are():
    def look_up(city: str, days: int = 3):
        pass

    with pytest.raises(SchemaError) as caught:
        Signature(look_up).check({"days": "3", "citty": "Bonn"})

    assert set(caught.value.message.splitlines()) == {
        "`city` is missing",
        "`days` is '3': Input should be a valid integer",
        "`citty` is unknown; did you mean city?",
    }
    assert caught.value.hint == "the arguments are: city, days"


def test_however_much_is_wrong_the_message_stays_short():
    many = faults(of(list[int]), a=["x" * 10_000] * 1000)
    odd = faults(of(int), **{"b" * 100_000: 1, "a": {"c" * 100_000: 1}})

    assert len(many.splitlines()) == MOST_FAULTS + 1
    assert many.endswith("and 990 more")
    assert len(many) + len(odd) < (MOST_FAULTS + 4) * MOST_FAULT_CHARACTERS


def test_what_is_left_out_stays_left_out_so_that_the_function_uses_its_own_default():
    default = pd.DataFrame({"a": [1]})

    signature = of(Any, default)

    assert signature.parameters["properties"] == {"a": {}}
    assert "required" not in signature.parameters
    assert signature.check({}) == {}


@pytest.mark.parametrize("default", [float("inf"), float("nan"), object(), b"\xff"])
def test_a_default_that_json_cannot_hold_is_not_shown(default):
    assert of(Any, default).parameters["properties"] == {"a": {}}


def test_a_default_of_none_lets_none_be_sent():
    assert of(int, None).check({"a": None}) == {"a": None}


def test_any_name_that_python_takes_names_an_argument():
    def odd(self_, model_config=1, _private=2, copy=3, schema=4, json=5, größe=6):  # noqa: PLC2401 - that is the point
        pass

    names = ("self_", "model_config", "_private", "copy", "schema", "json", "größe")

    assert Signature(odd).check(dict.fromkeys(names, 1)) == dict.fromkeys(names, 1)


def test_annotations_as_texts_are_read_in_the_functions_own_module():
    module = ModuleType("a_notebook")
    sys.modules["a_notebook"] = module
    try:
        exec(
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Spot:\n    x: int\n    next: Spot | None = None\n"
            "def go(to: Spot, by: list[Spot] = ()): return to.next.x",
            module.__dict__,
        )

        checked = Signature(module.go).check({"to": {"x": 1, "next": {"x": 2}}})
    finally:
        del sys.modules["a_notebook"]

    assert checked["to"].next.x == 2


def test_the_functions_of_a_notebook_are_read_in_the_notebook():
    define = """from __future__ import annotations
from pydantic import BaseModel
class Spot(BaseModel):
    x: int
    way: Way
class Way(BaseModel):
    z: int
def go(to: Spot): return to.way.z
"""
    call = """from xz_magics.schemas import Signature
checked = Signature(go).check({'to': {'x': 1, 'way': {'z': 7}}})
print(go(**checked), go.__module__, type(checked['to']).__name__)
"""

    (printed,) = in_a_shell(f"shell.run_cell({define!r})\nshell.run_cell({call!r})")

    assert printed == "7 __main__ Spot"


def test_a_text_may_name_what_the_function_closes_over():
    class Inner(BaseModel):
        x: int

    def function(a: "Inner") -> "NotThere":  # noqa: F821 - what it gives back is not looked at
        return Inner(x=a.x)

    assert Signature(function).check({"a": {"x": 1}}) == {"a": Inner(x=1)}


def test_a_bound_method_and_a_wrapped_function_are_read_as_well():
    class Shop:
        def price(self, item: "str") -> int:
            return len(item)

    @functools.wraps(Shop.price)
    def wrapper(*args, **kwargs):
        return Shop.price(*args, **kwargs)

    assert Signature(Shop().price).parameters["properties"] == {"item": {"type": "string"}}
    assert list(Signature(wrapper).parameters["properties"]) == ["self", "item"]


def test_a_first_parameter_that_is_the_callers_to_give_is_left_out():
    def read(context: "Context", path: str):
        pass

    def other(path: str, context: int):
        pass

    given_one, without = Signature(read, context=Context), Signature(other, context=Context)

    assert (given_one.takes_context, list(given_one.parameters["properties"])) == (True, ["path"])
    assert (without.takes_context, list(without.parameters["properties"])) == (False, ["path", "context"])


def takes_all(*names):
    pass


def takes_any(**names):
    pass


def takes_place(path, /):
    pass


def takes_frame(frame: pd.DataFrame):
    pass


def takes_call(call: typing.Callable[[], int]):
    pass


def takes_lost(path: "Lost"):  # noqa: F821 - that is the point
    pass


def takes_code(path: "1/0"):
    pass


@pytest.mark.parametrize(
    ("function", "names", "mend"),
    [
        (takes_all, "*names", "as a list"),
        (takes_any, "**names", "as a list or a dict"),
        (takes_place, "path", "take the `/` out"),
        (takes_frame, "frame", "use str, int"),
        (takes_call, "call", "use str, int"),
        (takes_lost, "'Lost'", "at the top level"),
        (takes_code, "'1/0'", "at the top level"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_parameter_that_cannot_be_described_is_refused_by_name_with_the_mend(function, names, mend):
    error = refusal(function)

    assert names in error.message
    assert mend in error.hint


def test_a_schema_is_plain_json_and_holds_no_titles_of_fields():
    def function(a: Tree, title: str, b: Point = Point(1), c: Colour = Colour.RED, d: Address | None = None):  # noqa: B008
        pass

    schema = Signature(function).parameters

    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert schema["properties"]["title"] == {"type": "string"}
    assert "title" not in schema
    assert schema["properties"]["b"]["default"] == {"x": 1, "y": 0.0}
    assert schema["properties"]["c"]["default"] == "red"


def test_values_that_no_json_holds_are_refused():
    assert "hold what JSON does not" in faults(of(Any), a=float("nan"))
    assert "hold what JSON does not" in faults(of(Any), a=object())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(value=JSON)
def test_without_an_annotation_any_json_value_comes_as_it_was_sent(value):
    assert ANY.check({"a": value}) == {"a": value}


@given(arguments=st.dictionaries(st.sampled_from(["a", "b", "c"]) | st.text(), JSON))
def test_any_arguments_fit_or_are_told_what_is_wrong_with_them(arguments):
    told = None
    try:
        checked = MANY.check(arguments)
    except SchemaError as error:
        checked, told = None, error

    if told is None:
        assert checked.keys() == arguments.keys()
    else:
        assert told.message
        assert len(str(told)) < 2 * MOST_FAULTS * MOST_FAULT_CHARACTERS


def many(a: int, b: list[Point] | None = None, c: Colour | str = "x"):
    pass


ANY = of(Any)
MANY = Signature(many)
