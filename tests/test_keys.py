"""What looks like the key of an account, and the quick look that tells where none is."""

import json

from hypothesis import assume, given, strategies as st

from xz_magics.keys import holds_a_key, may_hold_a_key

AROUND = st.text("a \n\t-_s\u0000\"'\\ж😀\udc00k", max_size=4)
BEGINNING = st.sampled_from(["sk-", "sk_", "gsk_", "xai-", "ghp_", "github_pat_", "glpat-", "AIza", "AKIA", "Bearer "])
KEYS = st.builds("".join, st.tuples(BEGINNING, st.text("A1ж-_9é", min_size=15, max_size=32)))


@given(AROUND, KEYS, AROUND)
def test_the_quick_look_misses_no_key_in_json(before, key, after):
    text = before + key + after
    assume(holds_a_key(text))

    assert may_hold_a_key(text)
    assert may_hold_a_key(json.dumps({"text": text}))


def test_labels_and_names_of_fields_are_no_keys():
    assert not may_hold_a_key('{"label": "task-1", "ask_for": "risk-free", "max_tokens": 200}')
    assert may_hold_a_key('{"label": "sk-0123456789abcdef"}')
