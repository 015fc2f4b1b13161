"""Rights, and that a child's are never more than its parent's, its spec's and the configuration's."""

import functools
import operator

import pytest
from hypothesis import given, strategies as st
from test_tools_registry import called

from xz_magics.errors import SpecError
from xz_magics.tools import ToolError
from xz_magics.tools.function import tool_of
from xz_magics.tools.registry import Registry
from xz_magics.tools.rights import Grant, Rights, check_grants, parse_grant

NAMES = st.sampled_from(["read_file", "http_get", "write_file", "spawn_subagent", "x"])
WORDS = st.sampled_from(["a.org", "b.org", "*.c.org", "overwrite"])
GRANTS = st.builds(Grant, name=NAMES, params=st.frozensets(WORDS))
RIGHTS = st.lists(GRANTS, max_size=6).map(lambda grants: Rights.of(map(str, grants)))


def ask(url):
    raise ToolError(url)


REGISTRY = Registry([called("read_file"), tool_of(ask, name="http_get", params="the hosts it may ask")])


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("read_file", Grant(name="read_file")),
        (" read_file ", Grant(name="read_file")),
        ("http_get(a.org)", Grant(name="http_get", params=frozenset({"a.org"}))),
        (
            "http_get ( a.org,b.org , *.c.org:80 )",
            Grant(name="http_get", params=frozenset({"a.org", "b.org", "*.c.org:80"})),
        ),
    ],
)
def test_a_grant_is_a_name_with_or_without_words(text, grant):
    assert parse_grant(text) == grant


@pytest.mark.parametrize(
    "text",
    [
        "a(b)\x00",
        f"a({'b' * 256})",
        f"a({'b,' * 100_000}b)",
        "",
        "()",
        "a b",
        "a()",
        "a(b",
        "a)b(",
        "a(b)c",
        "a(b,)",
        "a(,)",
        "a(b c)",
        "a((b))",
        "größe",
        "a" * 65,
        "a\nb",
    ],
)
def test_any_other_form_is_refused_with_the_right_one(text):
    with pytest.raises(SpecError) as caught:
        parse_grant(text)

    assert "grants no tool" in caught.value.message
    assert len(caught.value.message) < 100
    assert "http_get(docs.python.org)" in caught.value.hint


@given(text=st.text(alphabet="ab(), .*-_\n") | st.text())
def test_any_text_is_a_grant_or_an_error(text):
    try:
        grant = parse_grant(text)
    except SpecError:
        return

    assert parse_grant(str(grant)) == grant


@given(rights=RIGHTS)
def test_rights_are_written_as_they_are_read(rights):
    assert Rights.of(map(str, rights)) == rights


def test_the_words_of_two_grants_of_one_tool_add_up():
    rights = Rights.of(["http_get(a.org)", "read_file", "http_get(b.org)"])

    assert list(map(str, rights)) == ["http_get(a.org, b.org)", "read_file"]
    assert ("http_get" in rights, "x" in rights, len(rights)) == (True, False, 2)


def test_and_takes_what_both_permit_word_for_word():
    parent = Rights.of(["http_get(a.org, b.org)", "write_file(overwrite)", "read_file", "spawn_subagent"])
    spec = Rights.of(["http_get(b.org, c.org)", "write_file", "read_file", "terminal"])

    assert list(map(str, parent & spec)) == ["http_get(b.org)", "read_file", "write_file"]


def test_a_child_that_names_no_words_gets_none_of_its_parents():
    child = Rights.of(["http_get(a.org)"]) & Rights.of(["http_get"])

    assert child.words == {"http_get": frozenset()}


def test_only_keeps_the_named_ones():
    rights = Rights.of(["http_get(a.org)", "read_file"])

    assert list(map(str, rights.only(["http_get", "x"]))) == ["http_get(a.org)"]
    assert list(map(str, rights.only("read_file"))) == ["read_file"]
    assert rights.only([]) == Rights()


@given(parent=RIGHTS, spec=RIGHTS, policy=RIGHTS)
def test_a_childs_rights_are_within_those_of_its_parent_its_spec_and_the_policy(parent, spec, policy):
    child = parent & spec & policy

    assert all(child <= bound for bound in (parent, spec, policy))
    for grant in child:
        for bound in (parent, spec, policy):
            assert grant.name in bound.words
            assert grant.params <= bound.words[grant.name]


@given(root=RIGHTS, policy=RIGHTS, specs=st.lists(RIGHTS, min_size=1, max_size=6))
def test_no_depth_gives_back_what_was_taken(root, policy, specs):
    line = [root & policy]
    for spec in specs:
        line.append(line[-1] & spec & policy)

    assert all(lower <= upper for number, upper in enumerate(line) for lower in line[number:])
    assert all(lower <= spec for lower, spec in zip(line[1:], specs, strict=True))
    assert all(rights <= policy for rights in line)


def test_a_policy_that_names_a_tool_without_words_does_not_bind_its_words():
    rights = Rights.of(["http_get(a.org, b.org)", "write_file(overwrite)", "read_file"])

    left = rights.within(Rights.of(["http_get", "write_file(x)"]))

    assert list(map(str, left)) == ["http_get(a.org, b.org)", "write_file"]


@given(rights=RIGHTS, policy=RIGHTS)
def test_a_policy_only_ever_takes_away(rights, policy):
    left = rights.within(policy)

    assert rights & policy <= left <= rights
    assert set(left.words) == set(rights.words) & set(policy.words)
    assert all(grant.params <= policy.words[grant.name] for grant in left if policy.words[grant.name])


@given(rights=st.lists(RIGHTS, min_size=1, max_size=4), order=st.randoms())
def test_the_order_of_the_bounds_does_not_matter_and_nothing_that_all_permit_is_lost(rights, order):
    shuffled = order.sample(rights, len(rights))

    both = functools.reduce(operator.and_, rights)

    assert both == functools.reduce(operator.and_, shuffled)
    assert set(both.words) == set.intersection(*(set(one.words) for one in rights))


@given(a=RIGHTS, b=RIGHTS)
def test_within_means_every_tool_and_every_word(a, b):
    pairs = [({(name, None) for name in r.words} | {(n, w) for n, ws in r.words.items() for w in ws}) for r in (a, b)]

    assert (a <= b) == (pairs[0] <= pairs[1])


def test_what_is_granted_is_checked_against_the_tools_that_there_are():
    rights = check_grants(["http_get(a.org)", "read_file"], REGISTRY)

    assert list(map(str, rights)) == ["http_get(a.org)", "read_file"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("raed_file", "no tool is called 'raed_file'", "did you mean read_file? there are: http_get, read_file"),
        ("raed_file(x)", "no tool is called 'raed_file'", "did you mean read_file? there are: http_get, read_file"),
        ("read_file(a.org)", "'read_file(a.org)': read_file takes no words", "write read_file alone"),
        ("read file", "'read file' grants no tool", "http_get(docs.python.org)"),
    ],
)
def test_a_grant_that_cannot_hold_is_refused_with_the_mend(text, message, hint):
    with pytest.raises(SpecError) as caught:
        check_grants(["http_get", text], REGISTRY)

    assert caught.value.message == message
    assert hint in caught.value.hint
