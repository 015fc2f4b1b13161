"""Addresses and keys: what is safe to call, and what no message shows."""

import base64
import json

import pytest
from hypothesis import given, strategies as st

from xz_magics.errors import ModelError
from xz_magics.providers.endpoint import Endpoint, checked_key, redactor

KEY = "sk-proj-Ab3dEf6h/Ij9+Kl2="


def endpoint(base_url="https://api.example.com/v1", key_env="EXAMPLE_KEY"):
    return Endpoint(name="example", wire="openai", base_url=base_url, key_env=key_env)


def test_an_address_knows_its_host_its_account_and_its_paths():
    here = endpoint("https://API.example.com:8443/v1/")

    assert here.host == "api.example.com:8443"
    assert here.account == "api.example.com:8443 EXAMPLE_KEY"
    assert here.url("/chat/completions") == "https://API.example.com:8443/v1/chat/completions"
    assert endpoint(key_env=None).account == "api.example.com"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.example.com",
        "ftp://x/v1",
        "https://",
        "https://x:port/",
        "http://[::1/v1",
        "https://x/?a=1",
        "https://x/#f",
    ],
)
def test_what_is_no_address_is_refused(base_url):
    with pytest.raises(ModelError, match="no address of an API") as caught:
        endpoint(base_url)

    assert "https://host/path" in caught.value.hint


@pytest.mark.parametrize(
    "base_url", ["https://me:secret-word@x/v1", "https://secret-word@x/v1?q=1", "ftp://me:secret-word@x"]
)
def test_an_address_with_a_password_is_refused_without_showing_it(base_url):
    with pytest.raises(ModelError) as caught:
        endpoint(base_url)

    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "here"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8000", True),
        ("http://llm.localhost", True),
        ("http://0.0.0.0:8000", False),
        ("http://192.168.1.2", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_only_loopback_is_this_machine(base_url, here):
    assert endpoint(base_url).on_this_machine is here


def test_blanks_around_a_key_are_taken_off_and_an_empty_one_is_none():
    assert checked_key(f" \n{KEY}\r\n", endpoint()) == KEY
    assert checked_key("  ", endpoint()) is None
    assert checked_key(None, endpoint()) is None


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (f"\u201c{KEY}\u201d", "U+201C LEFT DOUBLE QUOTATION MARK, at place 1"),
        (f"{KEY[:4]}\n{KEY[4:]}", "U+000A, at place 5"),
        (f"Bearer {KEY}", "U+0020 SPACE, at place 7"),
        (f"{KEY}\u00e9", "U+00E9 LATIN SMALL LETTER E WITH ACUTE"),
        (f"{KEY}\x7f", "U+007F"),
    ],
)
def test_a_character_that_no_key_has_is_named_and_nothing_else_of_the_key(key, named):
    with pytest.raises(ModelError) as caught:
        checked_key(key, endpoint())

    assert named in caught.value.message
    assert "EXAMPLE_KEY" in caught.value.message
    assert "copy the key anew" in caught.value.hint
    assert KEY[:6] not in str(caught.value)


def test_a_key_goes_in_clear_text_to_this_machine_alone():
    assert checked_key(KEY, endpoint("http://127.0.0.1:8000/v1")) == KEY
    assert checked_key(None, endpoint("http://192.168.1.2:8000/v1")) is None

    with pytest.raises(ModelError, match="would go in clear text to 192") as caught:
        checked_key(KEY, endpoint("http://192.168.1.2:8000/v1"))

    assert "https://" in caught.value.hint
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "spelled", [KEY, "sk-proj-Ab3dEf6h%2FIj9%2BKl2%3D", base64.b64encode(KEY.encode()).decode(), json.dumps(KEY)]
)
def test_a_key_is_redacted_in_its_usual_spellings(spelled):
    told = redactor(KEY)(f"Invalid key {spelled}, sorry")

    assert "Ab3dEf6h" not in told
    assert spelled not in told
    assert told.startswith("Invalid key ")
    assert told.endswith(", sorry")


def test_what_a_server_shows_of_a_key_between_asterisks_is_redacted_too():
    assert redactor(None)("Incorrect API key provided: sk-pr********Kl2. See") == "Incorrect API key provided: ***. See"


@pytest.mark.parametrize("text", ["x" * 2**20, "*" * 2**20, "*x" * 2**19])
def test_long_texts_are_redacted_in_linear_time(text):
    assert redactor(KEY)(text)[-1] in "x*"


@given(st.text())
def test_texts_without_a_key_stay_as_they_are(text):
    if "***" not in text:
        assert redactor(KEY)(text) == text.replace(KEY, "***")
