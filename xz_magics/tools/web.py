"""The tool that reads a page of the web, and what keeps it to public addresses of the hosts that were granted.

It goes there itself: without a proxy, which would look names up for it, and without anybody's cookies, headers, keys.
"""

import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from xz_magics.tools import Context, ToolError
from xz_magics.tools.addresses import is_public, normal_host

DEADLINE_S = 20.0
CONNECT_S = 8.0
MOST_BYTES = 1_000_000
MOST_URL_CHARACTERS = 4_000
MOST_REDIRECTS = 3

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301, 302, 303, 307, 308}
_TEXT_TYPE = re.compile(r"text/.+|application/(.+\+)?(json|xml|x-?ndjson|jsonl|yaml|x-yaml|toml|javascript|sql)")
# Others, such as punycode, take a time that grows with the square of the text.
_CHARSET = re.compile(r"(utf|iso|windows|cp|koi8|gb|euc|mac)[\w-]*|us-ascii|ascii|latin-?1|big5|shift_jis")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_HEADERS = {
    "Accept": "text/*, application/json, application/xml;q=0.9, */*;q=0.1",
    "User-Agent": "xz-magics",
    "Connection": "close",
}

Resolve = Callable[..., Iterable[tuple[Any, ...]]]


def http_get(context: Context, url: str) -> str:
    """Reads a text from the web: a page, JSON, a text file. Only the granted hosts are asked, and a redirect to
    another one is not followed.

    url: The whole address, https://host/path.
    """
    return fetch(url, hosts=context.params)


def fetch(
    url: str,
    *,
    hosts: frozenset[str],
    resolve: Resolve = socket.getaddrinfo,
    permits: Callable[[str], bool] = is_public,
    trust: ssl.SSLContext | None = None,
    deadline_s: float = DEADLINE_S,
) -> str:
    """What stands at a URL. `resolve` is asked once for each request, as `socket.getaddrinfo`; the connection goes to
    an address that it gave and `permits` let pass. `trust`: None is the system's certificates.
    """
    until = time.monotonic() + deadline_s
    place = _place(url)
    _check_granted(place, hosts)
    try:
        for _ in range(1 + MOST_REDIRECTS):
            with _connected(place, _addresses(place, resolve, permits), trust, until) as sock:
                response = _answer(place, sock, until)
                if response.status not in _REDIRECTS:
                    return _text(response, place)
                place = _redirected(place, response)
    except TimeoutError as error:
        raise ToolError(
            f"{place.host} did not answer in time: {deadline_s:g} s for the whole", "try again later, or another page"
        ) from error
    except http.client.HTTPException as error:
        raise ToolError(f"{place.host} sent no proper answer: {error!r:.200}", "try another page") from error
    except OSError as error:
        raise ToolError(f"{place.host} cannot be reached: {error}", "check its name; try again later") from error
    raise ToolError(f"{place.host} redirects more than {MOST_REDIRECTS} times", "try another page")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a URL leads, in normal form; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def _place(url: str) -> _Place:
    shown = f"{url[:200]!r}"
    if len(url) > MOST_URL_CHARACTERS:
        raise ToolError(f"the URL has {len(url)} characters, the most is {MOST_URL_CHARACTERS}", "ask for less at once")
    if odd := _UNSAFE.search(url):
        raise ToolError(f"the URL {shown} holds {odd[0]!r} at place {odd.start() + 1}", "write such characters as %XX")
    try:
        parts = urlsplit(url)
        scheme, name, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise ToolError(f"{shown} is no URL: {error}", "write it as https://host/path") from error
    if scheme not in _PORTS or not name:
        raise ToolError(f"{shown} is no address of the web", "write it as https://host/path")
    if "@" in parts.netloc:
        raise ToolError("the URL holds a user name or a password", "leave out what stands before the @")
    host = normal_host(name)
    if host is None:
        raise ToolError(
            f"{name[:200]!r} is no name of a host", "name it, as in https://example.com/; numbers are refused"
        )
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~[]")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~[]?")
    return _Place(scheme=scheme, host=host, port=_PORTS[scheme] if port is None else port, target=target)


def _check_granted(place: _Place, hosts: frozenset[str]) -> None:
    if not hosts:
        raise ToolError("no host is granted to http_get", "the task's allowed_tools name them: http_get(example.com)")
    if not any(_grants(word, place) for word in hosts):
        raise ToolError(f"{place.origin} is not granted", f"http_get may ask: {', '.join(sorted(hosts))}")


def _grants(word: str, place: _Place) -> bool:
    """Whether a grant's word holds: `example.com`, `*.example.com` for what is below it, `example.com:8080`."""
    name, _, port = word.strip().partition(":")
    if port != str(place.port) if port else place.port not in _PORTS.values():
        return False
    above = normal_host(name.removeprefix("*."))
    if above is None:
        return False
    if name.startswith("*."):
        return "." in above and place.host.endswith(f".{above}")
    return place.host == above


def _addresses(place: _Place, resolve: Resolve, permits: Callable[[str], bool]) -> list[str]:
    """Where a host's name leads, provided that all of it is permitted."""
    found = [info[4][0] for info in resolve(place.host, place.port, type=socket.SOCK_STREAM)]
    for address in found:
        if not permits(address):
            raise ToolError(f"{place.host} leads to {address}, which is no public address", "try another host")
    return list(dict.fromkeys(found))


@contextmanager
def _connected(
    place: _Place, addresses: list[str], trust: ssl.SSLContext | None, until: float
) -> Iterator[socket.socket]:
    with closing(_opened(place, addresses, until)) as sock:
        if place.scheme == "http":
            yield sock
            return
        sock.settimeout(_left_s(until))
        with (trust or ssl.create_default_context()).wrap_socket(sock, server_hostname=place.host) as secured:
            yield secured


def _opened(place: _Place, addresses: list[str], until: float) -> socket.socket:
    """A connection to the first of these addresses that takes one."""
    failed: OSError = OSError("its name leads nowhere")
    for address in addresses:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(min(CONNECT_S, _left_s(until)))
            sock.connect((address, place.port))
        except OSError as error:
            sock.close()
            failed = error
        else:
            return sock
    raise failed


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _answer(place: _Place, sock: socket.socket, until: float) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.auto_open = 0  # it connects nowhere by itself
    connection.default_port = _PORTS[place.scheme]
    connection.sock = _Timed(sock, until)
    connection.request("GET", place.target, headers=_HEADERS)
    return connection.getresponse()


def _redirected(place: _Place, response: http.client.HTTPResponse) -> _Place:
    to = _place(urljoin(place.origin + place.target, response.getheader("Location", "")))
    if to.origin != place.origin:
        raise ToolError(f"{place.origin} redirects to {to.origin}", f"ask {to.origin} itself, if it is granted")
    return to


def _text(response: http.client.HTTPResponse, place: _Place) -> str:
    if not 200 <= response.status < 300:
        raise ToolError(f"{place.host} answered with status {response.status}", "check the URL")
    encoding = response.getheader("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise ToolError(f"{place.host} sent a packed text ({encoding:.40}), which is not unpacked", "try another page")
    content_type = response.headers.get_content_type()
    if not _TEXT_TYPE.fullmatch(content_type):
        raise ToolError(f"{place.host} sent {content_type:.100}, which is no text", "only text can be read")
    body = response.read(MOST_BYTES + 1)
    if len(body) <= MOST_BYTES and response.length:
        raise ToolError(f"{place.host} broke off {response.length} bytes before the end", "try again later")
    charset = response.headers.get_content_charset("utf-8")
    try:
        text = body[:MOST_BYTES].decode(charset if _CHARSET.fullmatch(charset) else "utf-8", errors="replace")
    except LookupError:
        text = body[:MOST_BYTES].decode(errors="replace")
    if "\0" in text:
        raise ToolError(f"{place.host} sent what is no text, though it says {content_type}", "only text can be read")
    return text + (f"\n[only the first {MOST_BYTES} bytes are shown]" if len(body) > MOST_BYTES else "")


class _Timed(io.RawIOBase):
    """A socket as http.client uses one, of which each single read ends with the deadline. Its maker closes it."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        super().__init__()
        self._sock = sock
        self._until = until

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left_s(self._until))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left_s(self._until))
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """http.client closes a socket while it still reads from its file."""
