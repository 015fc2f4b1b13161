"""What a server's refusals and broken answers mean, and how they are told: redacted, and cut short."""

import html
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from xz_magics.errors import ProviderError
from xz_magics.providers.endpoint import Endpoint, Redact
from xz_magics.providers.wire import mapping, string
from xz_magics.records import ErrorType, Reply
from xz_magics.retry import parse_retry_after

QUOTED_CHARS = 200
EXAMINED_BYTES = 16 * 1024
UNBILLED_SERVER_ERRORS = frozenset({503, 529})
SPENT = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
    }
)
TOO_LONG = re.compile(r"context[ _](length|window|size)|prompt is too long|input is too long", re.IGNORECASE)
STATUS_OF: dict[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

HINTS: dict[ErrorType, str] = {
    "spent_account": "add credit or raise the limit in the provider's console",
    "rate_limited": "lower max_concurrent, or wait and run the failed tasks again",
    "context_length": "shorten the prompt, lower max_tokens, or take a model with a larger context",
    "bad_request": "check the parameters against what this model accepts",
    "bad_response": "the provider is in trouble, or the base URL is wrong",
}


class Failures:
    """The failures of one endpoint as ProviderErrors."""

    def __init__(self, endpoint: Endpoint, redact: Redact) -> None:
        self._endpoint = endpoint
        self._redact = redact

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> ProviderError:
        """An answer with a status from 300 on; `now` in seconds since the epoch."""
        text = body.decode("utf-8", "replace")
        error = _error_in(text)
        named = request_id(headers)
        said = self._said(error) or self._quoted(text)
        if title := _page_title(text):
            said = f"an HTML page titled {self._quoted(title)!r}"
        if status < 400:
            said = f"it redirects to {_host_of(headers.get('location', ''))}, which is not followed"
        told = f"{self._endpoint.host} answered {_phrase(status)}" + (f": {said}" if said else "")
        kind = _kind(status, error)
        wish = headers.get("x-should-retry", "").lower()
        return ProviderError(
            told + (f" (request {self._quoted(named)})" if named else ""),
            self._hint(status, kind),
            kind,
            "all" if status >= 500 and status not in UNBILLED_SERVER_ERRORS else "nothing",
            status,
            parse_retry_after(headers, now=now, status=status),
            False if status < 400 else {"true": True, "false": False}.get(wish),
        )

    def reported(self, error: Any) -> ProviderError:
        """An error that stands in an answer with status 200: it may have cost."""
        words = _words(error)
        status = next((word for word in words if isinstance(word, int) and 400 <= word < 600), None)
        status = status or next((STATUS_OF[word] for word in words if isinstance(word, str) and word in STATUS_OF), 500)
        kind = _kind(status, mapping(error))
        said = self._said(error) or "it does not say which"
        return ProviderError(
            f"{self._endpoint.host} reported an error: {said}", self._hint(status, kind), kind, "all", status
        )

    def unreadable(self, what: str, body: bytes | bytearray) -> ProviderError:
        """An answer with status 200 that is none; `what` says why, the message quotes how it begins."""
        text = body[:EXAMINED_BYTES].decode("utf-8", "replace")
        if title := _page_title(text):
            return self.bad(
                f"got an HTML page titled {self._quoted(title)!r} instead of an answer",
                "a proxy, a login page or a wrong base URL answers there",
            )
        return self.bad(f"{what}: {self._quoted(text)!r}" if text.strip() else what)

    def bad(self, what: str, hint: str = "", *, should_retry: bool | None = None) -> ProviderError:
        hint = hint or "check that the base URL belongs to an API of this kind"
        told = f"{self._endpoint.host}: {what}"
        return ProviderError(told, hint, "bad_response", "all", should_retry=should_retry)

    def too_large(self, what: str) -> ProviderError:
        return self.bad(what, "no model answers so much: the server is broken", should_retry=False)

    def cut_off(self) -> ProviderError:
        told = f"{self._endpoint.host}: the stream ended before any text"
        return ProviderError(told, "the provider or the network is in trouble: try again", "network", "all")

    def empty(self, reply: Reply) -> ProviderError:
        told = f"{self._endpoint.host} sent an answer without text"
        told += f" (finish reason: {self._quoted(reply.finish_reason)})" if reply.finish_reason else ""
        hint = "ask in other words, or take another model"
        if reply.finish == "length":
            hint = "raise max_tokens: a model that thinks before it answers uses it up before any text"
        return ProviderError(told, hint, "empty_answer", "all")

    def _said(self, error: Any) -> str:
        return self._quoted(error if isinstance(error, str) else string(mapping(error).get("message")) or "")

    def _quoted(self, text: str) -> str:
        """One line of at most QUOTED_CHARS printable characters, without the key."""
        words = " ".join(self._redact(text[:EXAMINED_BYTES]).split())
        line = "".join(char if char.isprintable() else "\ufffd" for char in words[: QUOTED_CHARS + 1])
        return line if len(line) <= QUOTED_CHARS else line[:QUOTED_CHARS] + "…"

    def _hint(self, status: int, kind: ErrorType) -> str:
        key_env = self._endpoint.key_env
        if kind == "auth" and key_env is None:
            return f"{self._endpoint.name} is given no key: name its variable as key_env in the configuration"
        if kind == "auth":
            return f"check the key in the environment variable {key_env}, and what it is allowed to use"
        if status == 404:
            return "check the model's name and the base URL"
        return HINTS[kind]


def request_id(headers: Mapping[str, str]) -> str | None:
    """The name under which the provider's support finds a request."""
    return headers.get("x-request-id") or headers.get("request-id")


def _kind(status: int, error: Mapping[str, Any]) -> ErrorType:
    words = _words(error)
    message = string(error.get("message")) or ""
    if status == 402 or SPENT.intersection(words) or "credit balance is too low" in message:
        return "spent_account"
    if status in {401, 403}:
        return "auth"
    if status == 429:
        return "rate_limited"
    if status in {400, 413, 422} and TOO_LONG.search(" ".join(map(str, [message, *words]))):
        return "context_length"
    if 400 <= status < 500 and status not in {408, 409, 425}:
        return "bad_request"
    return "bad_response"


def _words(error: Any) -> list[str | int]:
    """The codes by which an error says what it is."""
    fields = mapping(error)
    words = [
        fields.get("code"),
        fields.get("type"),
        fields.get("status"),
        mapping(fields.get("details")).get("error_code"),
    ]
    return [word for word in words if isinstance(word, (str, int)) and not isinstance(word, bool)]


def _error_in(text: str) -> dict[str, Any]:
    """The error object of a body, in any of the usual wrappings; empty where there is none."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    body = mapping(body[0] if isinstance(body, list) and body else body)
    error = body.get("error", body)
    return {"message": error} if isinstance(error, str) else mapping(error)


def _page_title(text: str) -> str:
    """The title of an HTML page, or what it is where it has none; empty where the text is no page."""
    if not re.match(r"\s*(<!doctype html|<html|<head|<!--)", text, re.IGNORECASE):
        return ""
    found = re.search(r"<title[^>]{0,200}>([^<]{1,500})", text, re.IGNORECASE)
    return html.unescape(found[1]) if found else "(none)"


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Overloaded" if status == 529 else str(status)


def _host_of(location: str) -> str:
    found = re.match(r"(?:[a-z]+:)?//(?:[^/@]*@)?([^/?#]+)", location, re.IGNORECASE)
    return found[1][:QUOTED_CHARS] if found else "elsewhere on the same host"
