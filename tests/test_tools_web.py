"""What http_get asks and what it never does: real servers on this machine, every kind of address in between."""

import ipaddress
import socket
import socketserver
import ssl
import threading
import time

import pytest
import trustme
from hypothesis import given, strategies as st

from xz_magics.tools import Context, ToolError, web
from xz_magics.tools.addresses import is_public, normal_host
from xz_magics.tools.web import fetch, http_get

HOST = "site.test"
PRIVATE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "168.63.129.16/32",
]  # fmt: skip
PRIVATE_6 = ["::/8", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "2001::/32", "2001:db8::/32",
             "2002::/16", "3fff::/20", "4000::/2", "8000::/1"]  # fmt: skip


class Server:
    """Speaks raw bytes: `answers` in turn, the last one again and again; keeps the requests."""

    def __init__(self, *answers, context=None):
        self.requests = []
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    sock = context.wrap_socket(self.request, server_side=True) if context else self.request
                    request = b""
                    while b"\r\n\r\n" not in request and (piece := sock.recv(65536)):
                        request += piece
                    server.requests.append(request.decode())
                    answer = answers[min(len(server.requests), len(answers)) - 1]
                    answer(sock) if callable(answer) else sock.sendall(answer)
                except OSError:
                    return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.connections = 0
        verify = self._server.verify_request

        def count(*arguments):
            self.connections += 1
            return verify(*arguments)

        self._server.verify_request = count
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def answer(body=b"Hello", status="200 OK", content_type="text/plain; charset=utf-8", **headers):
    named = {"Content-Type": content_type, "Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items() if value is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def resolver(*answers):
    """Answers as getaddrinfo, with other addresses each time; keeps what it was asked."""
    left = list(answers) or ["127.0.0.1"]

    def resolve(host, port, *, type):  # noqa: A002
        resolve.asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        for address in addresses.split():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            yield (family, type, 6, "", (address, port))

    resolve.asked = []
    return resolve


def is_permitted(address):
    """As in earnest, but for the one address that these tests' servers have."""
    return address == "127.0.0.1" or is_public(address)


def fetched(server, path="/", *, scheme="http", hosts=None, resolve=None, permits=is_permitted, **options):
    granted = frozenset({f"{HOST}:{server.port}"}) if hosts is None else hosts
    url = f"{scheme}://{HOST}:{server.port}{path}"
    return fetch(url, hosts=granted, resolve=resolve or resolver(), permits=permits, **options)


def test_a_page_is_read_with_no_header_of_anybody_s(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Server(answer("Grüße".encode())) as server:
        text = fetched(server, "/a%20b/ü?q=1&r=ö#part")

    assert text == "Grüße"
    (request,) = server.requests
    assert request == (
        f"GET /a%20b/%C3%BC?q=1&r=%C3%B6 HTTP/1.1\r\nHost: {HOST}:{server.port}\r\nAccept-Encoding: identity\r\n"
        "Accept: text/*, application/json, application/xml;q=0.9, */*;q=0.1\r\nUser-Agent: xz-magics\r\n"
        "Connection: close\r\n\r\n"
    )


def test_tls_checks_the_certificate_for_the_name_though_it_connects_to_an_address():
    authority = trustme.CA()
    served, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(served)
    authority.configure_trust(trust)

    with Server(answer(), context=served) as server:
        assert fetched(server, scheme="https", trust=trust) == "Hello"
        with pytest.raises(ToolError, match="CERTIFICATE_VERIFY_FAILED"):
            fetched(server, scheme="https")
        other = f"https://other.test:{server.port}/"
        with pytest.raises(ToolError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(other, hosts=frozenset({f"other.test:{server.port}"}), resolve=resolver(),
                  permits=is_permitted, trust=trust)  # fmt: skip

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "168.63.129.16", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1",
        "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1",
        "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:808:808::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
        "2001:470::5efe:10.0.0.1", "2001:470::200:5efe:10.0.0.1", "2001:db8::1", "3fff::1", "5f00::1", "2001:20::1",
        "no-address", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "168.63.129.15", "223.255.255.255",
                "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808"]
)  # fmt: skip
def test_an_address_of_the_open_internet_is_public(address):
    assert is_public(address)


def within(network):
    parsed = ipaddress.ip_network(network)
    return st.integers(0, parsed.num_addresses - 1).map(lambda offset: parsed[offset])


@given(st.one_of([within(network) for network in PRIVATE]), st.integers(0, 2**64 - 1))
def test_no_address_of_a_private_network_is_public_in_any_disguise(address, noise):
    four = int(address)
    disguises = {
        "itself": four,
        "mapped": 0xFFFF << 32 | four,
        "translated": 0xFFFF << 48 | four,
        "compatible": four,
        "6to4": 0x2002 << 112 | four << 80 | noise,
        "Teredo server": 0x20010000 << 96 | four << 64 | noise,
        "Teredo client": 0x20010000 << 96 | noise << 32 | four ^ 0xFFFFFFFF,
        "NAT64": 0x64FF9B << 96 | four,
        "local NAT64": 0x64FF9B0001 << 80 | four,
        "ISATAP": 0x2A00 << 112 | (noise >> 16) << 64 | 0x5EFE << 32 | four,
        "global ISATAP": 0x2A00 << 112 | (noise >> 16) << 64 | 0x02005EFE << 32 | four,
    }

    public = [name for name, number in disguises.items() if is_public(str(ipaddress.IPv6Address(number)))]

    assert not is_public(str(address))
    assert public == []


@given(st.one_of([within(network) for network in PRIVATE_6]))
def test_no_address_of_a_private_ipv6_network_is_public(address):
    assert not is_public(str(address))


@given(st.ip_addresses())
def test_what_is_public_the_standard_library_takes_for_global_too(address):
    if is_public(str(address)) and address not in ipaddress.ip_network(
        "64:ff9b::/96" if address.version == 6 else "0.0.0.0/32"
    ):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "url",
    [
        "", "site.test", "//site.test/", "/etc/passwd", "file:///etc/passwd", "gopher://site.test/", "ftp://site.test/",
        "data:text/plain,x", "javascript:alert(1)", "http://", "http:///x", "https://?q", "http://[::1", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://127.0.0.1/", "http://127.1/", "http://127/",
        "http://0x7f000001/", "http://0x7f.1/", "http://2130706433/", "http://017700000001/", "http://0/",
        "http://8.8.8.8/", "http://127.0.0.1./", "http://site.test.1/", "http://1２7.0.0.1/", "http://127。0。0。1/",
        "http://me@site.test/", "http://me:s3cret@site.test/", "http://@site.test/", "http://site.test@evil.test/",
        "http://site.test\\@evil.test/", "http://site.test:99999/", "http://site.test:x/", "http://site.test:-1/",
        "http://site.test/ x", "http://site.test/\r\nX: y", "http://site\t.test/", "http://site.test/\0", " http://site.test/",
        "http://site.test/\ud800", "http://site..test/", "http://.site.test/", "http://site.test../", "http://si%74e.test/",
        "http://-site.test/", "http://ｓite.test/", "http://straße.test/", "http://site.test\u2100/",
        "http://" + "a" * 64 + ".test/", "http://" + "a." * 200 + "test/", "http://site.test/" + "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_named_host_is_refused_before_anything_is_looked_up(url):
    resolve = resolver()

    with pytest.raises(ToolError) as caught:
        fetch(url, hosts=frozenset({"site.test", "127.0.0.1", "*.test"}), resolve=resolve, permits=lambda _: True)

    assert caught.value.hint
    assert resolve.asked == []
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "url", "granted"),
    [
        ("example.com", "https://example.com/", True),
        ("example.com", "http://EXAMPLE.com./x", True),
        ("Example.COM.", "https://example.com/", True),
        ("example.com", "https://www.example.com/", False),
        ("example.com", "https://badexample.com/", False),
        ("example.com", "https://example.com.evil.test/", False),
        ("example.com", "https://example.com:8443/", False),
        ("example.com", "http://example.com:443/", True),
        ("example.com:8443", "https://example.com:8443/", True),
        ("example.com:8443", "https://example.com/", False),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://badexample.com/", False),
        ("*.com", "https://example.com/", False),
        ("*", "https://example.com/", False),
        ("", "https://example.com/", False),
        ("bücher.example", "https://xn--bcher-kva.example/", True),
        ("xn--bcher-kva.example", "https://BÜCHER.example/", True),
    ],
)
def test_only_what_was_granted_is_asked(word, url, granted):
    resolve = resolver("10.0.0.1")

    with pytest.raises(ToolError) as caught:
        fetch(url, hosts=frozenset({word}), resolve=resolve)

    assert (len(resolve.asked) == 1) is granted
    assert ("leads to 10.0.0.1" in caught.value.message) is granted


def test_without_a_granted_host_the_tool_says_how_to_grant_one(tmp_path):
    with pytest.raises(ToolError, match="no host is granted") as caught:
        http_get(Context(workspace=tmp_path), "https://example.com/")

    assert "http_get(example.com)" in caught.value.hint


def test_a_granted_name_that_leads_to_this_machine_is_refused_in_earnest(tmp_path):
    with Server(answer()) as server:
        granted = frozenset({f"localhost:{server.port}"})
        with pytest.raises(ToolError, match=r"localhost leads to .*, which is no public address"):
            http_get(Context(workspace=tmp_path, params=granted), f"http://localhost:{server.port}/")

    assert server.connections == 0


def test_one_address_that_is_not_public_among_others_refuses_the_host():
    with Server(answer()) as server, pytest.raises(ToolError, match=r"leads to 10\.0\.0\.7"):
        fetched(server, resolve=resolver("127.0.0.1 10.0.0.7"))

    assert server.connections == 0


def test_a_name_is_looked_up_once_so_that_a_second_answer_changes_nothing():
    resolve = resolver("127.0.0.1", "169.254.169.254")
    with Server(answer()) as server:
        assert fetched(server, resolve=resolve) == "Hello"

    assert resolve.asked == [HOST]


def test_a_redirect_is_looked_up_and_checked_anew():
    moved = answer(b"", "302 Found", Location="/next")
    with Server(moved, answer()) as server, pytest.raises(ToolError, match=r"leads to 169\.254\.169\.254"):
        fetched(server, resolve=resolver("127.0.0.1", "169.254.169.254"))

    assert server.connections == 1


def test_redirects_within_the_host_are_followed_three_times_at_most():
    moved = answer(b"", "301 Moved Permanently", Location="../up/./next?x=1")
    with Server(moved, moved, moved, answer()) as server:
        assert fetched(server, "/deep/down/page") == "Hello"
    assert server.requests[1].startswith("GET /deep/up/next?x=1 ")

    with Server(moved) as server, pytest.raises(ToolError, match="redirects more than 3 times"):
        fetched(server)
    assert server.connections == 4


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://evil.test/x", "redirects to http://evil.test"),
        ("//evil.test/x", "redirects to http://evil.test"),
        ("https://site.test/", "redirects to https://site.test"),
        ("http://site.test:22/", "redirects to http://site.test:22"),
        ("http://127.0.0.1/", "'127.0.0.1' is no name of a host"),
        ("http://[::ffff:a9fe:a9fe]/", "is no name of a host"),
        ("file:///etc/passwd", "is no address of the web"),
        ("http://me:x@site.test/", "a user name or a password"),
        ("/a b", "holds ' '"),
    ],
)
def test_a_redirect_to_elsewhere_is_not_followed_but_named(location, told):
    resolve = resolver()
    with Server(answer(b"", "302 Found", Location=location)) as server, pytest.raises(ToolError) as caught:
        fetched(server, resolve=resolve)

    assert told in caught.value.message
    assert (resolve.asked, server.connections) == ([HOST], 1)


def drip(first, piece):
    """Sends a beginning, and then piece after piece, for ever."""

    def send(sock):
        sock.sendall(first)
        while True:
            sock.sendall(piece)
            time.sleep(0.05)

    return send


@pytest.mark.parametrize(
    "slow",
    [
        lambda sock: time.sleep(5),
        drip(b"HTTP/1.1 200 OK\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9999\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silent", "headers", "body", "chunks", "continue"],
)
def test_a_server_that_dawdles_is_left_at_the_deadline(slow):
    began = time.monotonic()
    with Server(slow) as server, pytest.raises(ToolError, match="did not answer in time"):
        fetched(server, deadline_s=0.3)

    assert time.monotonic() - began < 4


def test_a_handshake_that_dawdles_is_left_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ToolError, match="did not answer in time"):
            fetch(f"https://{HOST}:{port}/", hosts=frozenset({f"{HOST}:{port}"}), resolve=resolver(),
                  permits=is_permitted, deadline_s=0.3)  # fmt: skip


def test_a_long_text_is_cut_and_says_so():
    with Server(answer(b"x" * (web.MOST_BYTES + 1))) as server:
        text = fetched(server)
    assert text == "x" * web.MOST_BYTES + "\n[only the first 1000000 bytes are shown]"

    with Server(answer(b"x" * web.MOST_BYTES)) as server:
        assert fetched(server) == "x" * web.MOST_BYTES


def test_an_endless_text_is_read_no_further_than_the_cap():
    sent = 0

    def flood(sock):
        nonlocal sent
        sock.sendall(answer(b"", Content_Length=None))
        while True:
            sock.sendall(b"x" * 65536)
            sent += 65536

    with Server(flood) as server:
        assert fetched(server).endswith("bytes are shown]")

    assert sent < 50 * web.MOST_BYTES


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (answer(content_type="image/png"), "sent image/png, which is no text"),
        (answer(content_type="application/octet-stream"), "sent application/octet-stream"),
        (answer(b"a\0b"), "sent what is no text, though it says text/plain"),
        (answer(Content_Encoding="gzip"), "a packed text (gzip)"),
        (answer(status="404 Not Found"), "answered with status 404"),
        (answer(status="304 Not Modified"), "answered with status 304"),
        (answer(status="500 No"), "answered with status 500"),
        (answer(Content_Length="99"), "broke off 94 bytes before the end"),
        (answer(b"5\r\nHel", Content_Length=None, Transfer_Encoding="chunked"), "no proper answer: IncompleteRead"),
        (b"", "no proper answer: RemoteDisconnected"),
        (b"SSH-2.0-x\r\n", "no proper answer: BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "no proper answer"),
    ],
)
def test_what_cannot_be_read_is_told_by_name(sent, told):
    with Server(sent) as server, pytest.raises(ToolError) as caught:
        fetched(server)

    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/html; charset=ISO-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        ("application/json", '{"ü": 1}'.encode(), '{"ü": 1}'),
        ("application/ld+json; charset=utf-16", "ü".encode("utf-16"), "ü"),
        ("text/plain", b"\xff", "\ufffd"),
        ("text/plain; charset=punycode", b"a-b", "a-b"),
        ("text/plain; charset=utf-99", b"a", "a"),
        ("text/plain; charset=zlib", b"a", "a"),
        (None, b"a", "a"),
    ],
)
def test_a_text_is_decoded_as_it_says_or_as_utf_8(content_type, body, text):
    with Server(answer(body, content_type=content_type)) as server:
        assert fetched(server) == text


def test_a_host_that_is_not_there_is_told():
    def nowhere(*_arguments, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    with Server(answer()) as server, pytest.raises(ToolError, match=r"site\.test cannot be reached: .*not known"):
        fetched(server, resolve=nowhere)
    with pytest.raises(ToolError, match="Connection refused"):
        fetched(server)


def test_the_next_address_is_tried_where_the_first_takes_no_connection():
    with Server(answer()) as server:
        assert fetched(server, resolve=resolver("127.0.0.2 127.0.0.1"), permits=lambda _: True) == "Hello"


@given(st.text())
def test_any_text_is_a_host_in_normal_form_or_none(text):
    name = normal_host(text)

    assert name is None or (normal_host(name) == name and name.isascii())


@given(st.text())
def test_any_text_as_a_url_is_read_or_refused_with_a_mend(url):
    with pytest.raises(ToolError) as caught:
        fetch(url, hosts=frozenset({"site.test"}), resolve=resolver("10.0.0.1"))

    assert caught.value.hint
