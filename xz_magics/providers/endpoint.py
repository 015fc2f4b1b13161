"""Where a provider's models answer and with which key: what is a safe address, and what no message may show."""

import base64
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from xz_magics.errors import ModelError

MASKED = re.compile(r"[\w-]{0,40}\*{3,}[\w-]{0,40}")
HIDDEN = "***"

Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`base_url` ends before the wire's own path; `key_env` names the key's variable, None: it is given no key.
    `knows_schemas` False: the server holds no model to the schema of an answer, which is asked for in words then.

    Raises ModelError for an address that is none or that holds a password.
    """

    name: str
    wire: str
    base_url: str
    key_env: str | None = None
    keep_alive: bool = True
    knows_schemas: bool = True

    def __post_init__(self) -> None:
        try:
            parts = self._parts
            whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            whole = False
        if not whole or parts.query or parts.fragment:
            raise ModelError(
                f"the base URL of {self.name} is no address of an API: {_without_user(self.base_url)!r}",
                "write it as https://host/path, or http://127.0.0.1:port/path for a server on this machine",
            )
        if "@" in parts.netloc:
            raise ModelError(
                f"the base URL of {self.name} holds a user name or a password",
                "take it out of the URL: a key comes from the environment",
            )

    @property
    def host(self) -> str:
        """Host and, where the address names it, port."""
        return self._parts.netloc.lower()

    @property
    def scheme(self) -> str:
        return self._parts.scheme

    @property
    def on_this_machine(self) -> bool:
        name = self._parts.hostname or ""
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name == "localhost" or name.endswith(".localhost")

    @property
    def account(self) -> str:
        """Host and key for whatever concerns both; the key itself is not in it."""
        return f"{self.host} {self.key_env}" if self.key_env else self.host

    def url(self, path: str) -> str:
        return self.base_url.rstrip("/") + path

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.base_url)


def checked_key(key: str | None, endpoint: Endpoint) -> str | None:
    """The key without the blanks around it, None where there is none. Raises ModelError, which shows nothing of it."""
    key = (key or "").strip()
    if not key:
        return None
    where = f"the key of {endpoint.name}" + (f" ({endpoint.key_env})" if endpoint.key_env else "")
    for at, char in enumerate(key, start=1):
        if not "!" <= char <= "~":
            name = f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip()
            raise ModelError(
                f"{where} holds a character that no key has: {name}, at place {at}", "copy the key anew, without quotes"
            )
    if endpoint.scheme == "http" and not endpoint.on_this_machine:
        raise ModelError(
            f"{where} would go in clear text to {endpoint.host}",
            "use an https:// address; http:// with a key is for this machine alone",
        )
    return key


def redactor(key: str | None) -> Redact:
    """Takes the key out of a text in its usual spellings, and what servers show of a key between asterisks."""
    spellings = {key, quote(key, safe=""), base64.b64encode(key.encode()).decode()} if key else set()

    def redact(text: str) -> str:
        for spelling in spellings:
            text = text.replace(spelling, HIDDEN)
        return MASKED.sub(HIDDEN, text) if HIDDEN in text else text

    return redact


def _without_user(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)
