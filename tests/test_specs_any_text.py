"""No text crashes or hangs the parser: public corpora, and whatever Hypothesis thinks of."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.errors import SpecError
from xz_magics.specs import Document, Spec, parse, read
from xz_magics.specs.fields import ALIASES, FIELDS

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
FORMS = (None, "json", "yaml", "text")


def corpus(name):
    path = CORPORA / name
    if not path.exists():
        pytest.skip(f"{path} is not there: the public corpora stand beside the checkout")
    return path


def parsed(text, form=None):
    """The document, or the SpecError; any other exception leaves."""
    try:
        document = parse(text, form=form)
    except SpecError as error:
        told = error
    else:
        return whole(document, text)
    assert told.message
    assert told.hint
    assert str(told).count("\n") <= 3
    str(told).encode()
    return told


def whole(document, text):
    assert isinstance(document, Document)
    assert document.specs
    for spec in document.specs:
        assert isinstance(spec, Spec)
        assert spec.prompt.strip()
        assert 1 <= spec.line <= text.count("\n") + 1
        spec.prompt.encode()
        assert spec.label is None or (spec.label.isprintable() and 0 < len(spec.label) <= 80)
    assert not any("\n" in warning for warning in document.warnings)
    return document


def test_the_yaml_test_suite_gives_documents_or_spec_errors():
    cases = json.loads(corpus("yaml-test-suite/cases.json").read_text("utf-8"))
    assert len(cases) == 406
    accepted = 0
    for case in cases:
        ends = {form: parsed(case["yaml"], form) for form in FORMS}
        accepted += isinstance(ends["yaml"], Document)
    assert accepted > 20


def test_json_texts_of_the_test_suite_are_told_apart():
    files = sorted(corpus("JSONTestSuite/test_parsing").glob("*.json"))
    kinds = {"y": [], "n": [], "i": []}
    for file in files:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        parsed(text)
        kinds[file.name[0]].append((file.name, parsed(text, "json")))
    assert (len(kinds["y"]), len(kinds["n"])) == (95, 188)
    for name, end in kinds["n"]:
        assert isinstance(end, SpecError), name
    for name, end in kinds["y"]:
        assert isinstance(end, Document) or "no JSON" not in end.message, (name, end)


def test_naughty_strings_are_prompts_labels_or_spec_errors():
    for text in json.loads(corpus("strings/blns.json").read_text("utf-8")):
        for form in FORMS:
            parsed(text, form)
        as_json = parsed(json.dumps({"tasks": [{"prompt": text}]}))
        assert isinstance(as_json, Document) == bool(text.strip())
        parsed(json.dumps({text: "x"}))
        if text.strip():
            assert read([text]).specs[0].prompt == text


names = st.sampled_from([*FIELDS, *ALIASES, "promt", "api_key", "name", "arguments", "parallel_subagent"])
scraps = st.sampled_from(
    [
        *": |>-?[]{},#&*!%@`'\"\n\t\\~<",
        *(
            ": ",
            "- ",
            "\n  ",
            "\n- ",
            " #",
            "---",
            "--- ",
            "...",
            "{{",
            "}}",
            "<<: ",
            "\r\n",
            "\u00a0",
            "\ufeff",
            "\u2028",
        ),
        *("null", "true", "1_000", "-0", ".nan", "1e999", "0x", "\ud800", "\0", "\u202e", '"\\ud800"', "%YAML 1.1\n"),
    ]
)
mixed = st.lists(names | scraps | st.text(max_size=3), max_size=30).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=st.text() | st.text(st.characters()) | mixed, form=st.sampled_from(FORMS))
def test_any_text_is_a_document_or_a_spec_error(text, form):
    parsed(text, form)


json_like = st.recursive(  # without NaN: in a table of Python values it stands for nothing, and JSON has none
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=json_like)
def test_any_value_is_read_alike_from_python_and_from_json(value):
    from_python = attempted(lambda: read([value] if isinstance(value, str) else value))
    from_json = attempted(lambda: parse(json.dumps(value), form="json"))
    assert from_python == from_json


def attempted(reading):
    try:
        document = reading()
    except SpecError:
        return None
    return document.head, [(spec.label, spec.prompt, spec.fields) for spec in document.specs]


prompts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@given(texts=st.lists(prompts, min_size=1, max_size=5))
def test_prompts_come_back_from_json_as_they_were(texts):
    assert [spec.prompt for spec in parse(json.dumps(texts)).specs] == texts
    assert [spec.prompt for spec in read(texts).specs] == texts
