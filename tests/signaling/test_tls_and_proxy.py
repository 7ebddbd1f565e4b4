import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rtc_signaling import InvalidUrl, RequestRejected, SdpClient, ServiceUnreachable, SignalingError
from support.raw_http import http_response, raw_server, shown_by

OFFER = "v=0\r\n"
SESSION = {"model": "m"}
KEY = "sk-proj-hunter2hunter2"
CREATED = http_response(201, "v=0\r\n", {"Location": "/calls/rtc_1"})
AWAY = "http://far.example/v1"


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@asynccontextmanager
async def tls_server(file: Path) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CREATED)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"


async def test_an_untrusted_certificate_is_named(tmp_path: Path) -> None:
    async with tls_server(self_signed(tmp_path)) as url:
        with pytest.raises(ServiceUnreachable) as caught:
            await SdpClient(base_url=url).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value).startswith(
        f"the TLS certificate of {url}/realtime/calls is not trusted: self-signed certificate"
    )
    assert caught.value.hint is not None


async def test_a_context_that_knows_the_certificate_is_used(tmp_path: Path) -> None:
    file = self_signed(tmp_path)
    async with tls_server(file) as url:
        client = SdpClient(base_url=url, ssl=ssl.create_default_context(cafile=str(file)))
        assert (await client.exchange(OFFER, key=KEY, session=SESSION)).call_id == "rtc_1"


async def test_https_to_a_plain_port_is_named() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http_response(400, "this is plain http"))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as listener:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(ServiceUnreachable) as caught:
            await SdpClient(base_url=url).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value).startswith(f"no TLS connection to {url}/realtime/calls: ")
    assert caught.value.hint == "does the server speak plain http?"


async def test_an_unknown_host_is_named() -> None:
    class NoNames(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            raise OSError(None, "Name or service not known")

        async def close(self) -> None:
            pass

    connector = aiohttp.TCPConnector(resolver=NoNames())
    async with aiohttp.ClientSession(connector=connector) as http:
        client = SdpClient(base_url="https://nowhere.example/v1", http=http)
        with pytest.raises(ServiceUnreachable) as caught:
            await client.exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value) == (
        "cannot find host nowhere.example of https://nowhere.example/v1/realtime/calls: Name or service not known"
    )


async def test_a_given_proxy_gets_the_request_with_its_credentials() -> None:
    async with raw_server(CREATED) as proxy:
        given = proxy.url.removesuffix("/v1").replace("//", "//me:swordfish@")
        client = SdpClient(base_url=AWAY, allow_plain_http=True, proxy=given)
        await client.exchange(OFFER, key=None, session=SESSION)
    assert proxy.head.startswith("POST http://far.example/v1/realtime/calls HTTP/1.1\r\n")
    assert "\r\nProxy-Authorization: Basic " in proxy.head


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_the_proxy_of_the_environment_is_used_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    async with raw_server(CREATED) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("http://", scheme))
        monkeypatch.setenv("no_proxy", "near.example")
        client = SdpClient(base_url=AWAY, allow_plain_http=True)
        assert (await client.exchange(OFFER, key=None, session=SESSION)).call_id == "rtc_1"


async def test_the_key_for_this_machine_never_goes_to_a_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with raw_server(CREATED) as proxy, raw_server(CREATED) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
    assert proxy.requests == []
    assert len(server.requests) == 1


async def test_a_dead_proxy_is_named_without_its_password() -> None:
    async with raw_server(CREATED) as proxy:
        pass
    given = proxy.url.removesuffix("/v1").replace("//", "//me:swordfish@")
    client = SdpClient(base_url=AWAY, allow_plain_http=True, proxy=given)
    with pytest.raises(
        ServiceUnreachable, match=r"cannot connect to the proxy for .* at 127.0.0.1:\d+: Conn"
    ) as caught:
        await client.exchange(OFFER, key=KEY, session=SESSION)
    assert "swordfish" not in str(caught.value)


async def test_a_proxy_that_refuses_the_tunnel_is_named() -> None:
    async with raw_server(http_response(407)) as proxy:
        client = SdpClient(base_url="https://far.example/v1", proxy=proxy.url)
        with pytest.raises(
            ServiceUnreachable, match=r"the proxy refused a connection to .*: 407 Reason"
        ) as caught:
            await client.exchange(OFFER, key=KEY, session=SESSION)
    assert proxy.head.startswith("CONNECT far.example:443 ")
    assert "hunter2" not in proxy.head
    assert "hunter2" not in shown_by(caught.value)


async def test_a_plain_request_that_the_proxy_refuses_is_a_rejection() -> None:
    async with raw_server(http_response(407)) as proxy:
        client = SdpClient(base_url=AWAY, allow_plain_http=True, proxy=proxy.url)
        with pytest.raises(RequestRejected, match="407 Proxy Authentication Required"):
            await client.exchange(OFFER, key=KEY, session=SESSION)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [("socks5://me:swordfish@h:1", "socks5://***@h:1"), ("h:3128", "h:3128"), ("http://", "http://")],
)
async def test_what_is_no_http_proxy_is_refused(proxy: str, shown: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        await SdpClient(proxy=proxy).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value) == f"the proxy {shown!r} is no http:// or https:// URL"


async def test_a_proxy_url_that_cannot_be_parsed_is_an_error_of_ours() -> None:
    with pytest.raises(SignalingError):
        await SdpClient(proxy="http://h:port").exchange(OFFER, key=KEY, session=SESSION)
