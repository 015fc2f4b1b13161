"""What stands between a call and its host: certificates that fail a check, and the environment's proxies."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import fault_server as fs
import pytest
import trustme
from calling import a_provider, called, play
from fault_server import FaultServer

from xz_magics.errors import ModelError

HTTPS = "https://localhost:{port}/v1"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, monkeypatch, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


def tls_of(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def refused(ended):
    assert ended.error is not None
    assert (ended.error.error_type, ended.error.charge) == ("network", "nothing")
    assert ended.error.should_retry is False
    assert not ended.exchange.sent
    assert "verify" not in ended.error.hint
    return ended.error


def test_a_certificate_that_is_trusted_by_its_file_is_good(authority, trusted):
    ended = play(fs.answering, base_url=HTTPS, tls=tls_of(authority.issue_cert("localhost")))

    assert ended.reply.finish == "stop"


def test_a_certificate_of_an_unknown_authority_is_refused(authority):
    ended = play(fs.answering, base_url=HTTPS, tls=tls_of(authority.issue_cert("localhost")))

    error = refused(ended)
    assert f"TLS with localhost:{ended.server.port} failed" in error.message
    assert "unable to get local issuer certificate" in error.message
    assert "SSL_CERT_FILE" in error.hint


def test_a_certificate_for_another_host_is_refused(authority, trusted):
    error = refused(play(fs.answering, base_url=HTTPS, tls=tls_of(authority.issue_cert("example.com"))))

    assert "Hostname mismatch, certificate is not valid for 'localhost'" in error.message


def test_an_expired_certificate_is_refused(authority, trusted):
    old = authority.issue_cert("localhost", not_before=YESTERDAY - timedelta(days=9), not_after=YESTERDAY)

    assert "certificate has expired" in refused(play(fs.answering, base_url=HTTPS, tls=tls_of(old))).message


def test_https_to_a_server_that_speaks_no_tls_says_so():
    async def plain(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def scenario():
        async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
            provider = a_provider(HTTPS.format(port=server.sockets[0].getsockname()[1]))
            ended = await called(provider)
            await provider.aclose()
            return ended

    error = refused(asyncio.run(scenario()))

    assert "TLS with localhost" in error.message
    assert "speaks https:// at all" in error.hint


def test_http_to_a_server_that_speaks_tls_only_is_no_answer(authority):
    ended = play(fs.answering, base_url="http://localhost:{port}/v1", tls=tls_of(authority.issue_cert("localhost")))

    assert ended.error.error_type in {"network", "bad_response"}
    assert ended.error.charge == "all"


def test_the_environment_s_proxy_is_used_and_named_when_it_is_not_there(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:word@127.0.0.1:9")
    ended = play(fs.answering, base_url="https://api.example.com/v1")

    assert (ended.error.error_type, ended.error.charge) == ("network", "nothing")
    assert "the environment's proxy cannot be reached: Connection refused" in ended.error.message
    assert "HTTPS_PROXY" in ended.error.hint
    assert "word" not in str(ended.error)


def test_a_proxy_that_refuses_to_connect_is_told_from_the_provider(monkeypatch):
    async def scenario():
        async with FaultServer(fs.response(b"", status=407)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
            provider = a_provider("https://api.example.com/v1")
            ended = await called(provider)
            await provider.aclose()
            return ended, proxy

    ended, proxy = asyncio.run(scenario())

    assert proxy.heads[0].startswith(b"CONNECT api.example.com:443 ")
    assert "does not connect to api.example.com: it answered 407" in refused(ended).message


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_server_on_this_machine_is_never_called_through_a_proxy(monkeypatch, name):
    monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")

    assert play(fs.answering).reply.finish == "stop"


def test_a_host_that_the_environment_exempts_is_called_directly(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "no-such-host.invalid")

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    ended = play(fs.answering, base_url="https://no-such-host.invalid/v1")

    assert "no host is called no-such-host.invalid" in ended.error.message


def test_a_kind_of_proxy_that_cannot_be_used_is_an_error_before_anything_is_sent(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")

    with pytest.raises(ModelError, match="not supported: socks5") as caught:
        play(fs.answering, base_url="https://api.example.com/v1")

    assert "HTTPS_PROXY" in caught.value.hint
