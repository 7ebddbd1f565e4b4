"""One POST over aiohttp, the border at which aiohttp's exceptions become the room's.

Laws: a key goes only to the URL it was given for (no redirects), over TLS or to this machine; a request has
its own aiohttp session unless the caller lent one, so that nothing outlives it.
"""

import asyncio
import logging
import os
import re
import ssl as tls
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from .credentials import check_key
from .errors import InvalidUrl, ServiceUnreachable, SignalingError, SignalingTimeout
from .forms import Body
from .redaction import one_line, redact
from .replies import MAX_BODY_BYTES, Reply
from .urls import check_proxy, check_url, display_url, is_loopback

logger = logging.getLogger("rtc_signaling.client")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name, RFC 9110 §5.6.2
_FRAMING_HEADERS = {"content-length", "content-type", "transfer-encoding"}
_SECRET_HEADERS = re.compile(r"auth|cookie|key|password|secret|token", re.IGNORECASE)


@asynccontextmanager
async def time_limit(seconds: float, doing: str) -> AsyncIterator[None]:
    """Raise SignalingTimeout if the block takes longer; what it awaits is cancelled."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise SignalingTimeout(f"{doing} took longer than {seconds:g} s") from error


class HttpPoster:
    """Sends one request at a time per call of `post`; sessions it opens live as long as the request."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        http: aiohttp.ClientSession | None = None,
        allow_plain_http: bool = False,
        proxy: str | None = None,
        trust_env: bool = True,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        self._headers = check_headers(headers or {})
        self._lent = http
        self._allow_plain_http = allow_plain_http
        self._proxy = proxy
        self._trust_env = trust_env
        self._ssl = ssl
        self._opened: set[aiohttp.ClientSession] = set()
        self._closed = False

    async def post(self, url: str, *, key: str | None, body: Body | None, accept: str) -> Reply:
        """POST to `url` exactly as written and read the response, whatever its status.

        Raises InvalidUrl, KeyUnavailable, ServiceUnreachable. Has no time limit (see `time_limit`);
        cancellation aborts the request.
        """
        if self._closed or (self._lent is not None and self._lent.closed):
            raise SignalingError("the HTTP client is closed")
        check_url(url, allow_plain_http=self._allow_plain_http)
        shown = display_url(url)
        try:
            target = URL(url, encoded=True) if url.isascii() else URL(url)
            headers = self._request_headers(key, body, accept)
            return await self._send(target, shown, headers, body)
        except aiohttp.ClientResponseError as error:
            failure = _no_http(error, shown)  # not chained: its repr shows our headers, the key among them
        except aiohttp.InvalidURL as error:
            raise InvalidUrl(f"malformed URL {shown!r}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error, shown) from error
        except ValueError as error:  # host names IDNA refuses; credentials the lent session has and we too
            raise SignalingError(f"cannot send to {shown!r}: {one_line(str(error), 200)}") from error
        raise failure

    async def aclose(self) -> None:
        """Abort requests under way and refuse later ones. A lent session stays open."""
        self._closed = True
        for session in tuple(self._opened):
            await session.close()

    async def _send(self, target: URL, shown: str, headers: dict[str, str], body: Body | None) -> Reply:
        async with (
            self._session() as session,
            session.post(
                target,
                data=body.content if body else None,
                headers=headers,
                allow_redirects=False,
                raise_for_status=False,
                timeout=aiohttp.ClientTimeout(),
                proxy=self._proxy_for(target),
                ssl=True if self._ssl is None else self._ssl,
            ) as response,
        ):
            content = await _read_capped(response)
            reply = Reply(
                url=shown,
                status=response.status,
                headers=response.headers,
                body=content[:MAX_BODY_BYTES],
                truncated=len(content) > MAX_BODY_BYTES,
                secrets=_secrets({**session.headers, **headers}),
            )
        logger.debug("POST %s: %d, request %s", shown, reply.status, reply.request_id)
        return reply

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        if self._lent is not None:
            yield self._lent
            return
        # trust_env would look into ~/.netrc as well, and fail on finding credentials beside ours.
        async with aiohttp.ClientSession(trust_env=False) as session:
            self._opened.add(session)
            try:
                yield session
            finally:
                self._opened.discard(session)

    def _request_headers(self, key: str | None, body: Body | None, accept: str) -> dict[str, str]:
        headers = {"Accept": accept}
        if key is not None:
            headers["Authorization"] = f"Bearer {check_key(key)}"
        ours = {name.lower(): name for name in headers}
        for name, value in self._headers.items():
            headers[ours.get(name.lower(), name)] = value
        if body is not None:
            headers["Content-Type"] = body.content_type
        return headers

    def _proxy_for(self, target: URL) -> str | None:
        """The proxy given, else that of HTTP_PROXY, HTTPS_PROXY, NO_PROXY; none from there for this machine."""
        if self._proxy is not None or self._lent is not None or not self._trust_env:
            return None if self._proxy is None else check_proxy(self._proxy)
        host = target.host or ""
        if is_loopback(host) or proxy_bypass(host):
            return None
        proxy = getproxies().get(target.scheme)
        if proxy is None:
            return None
        return check_proxy(proxy if "://" in proxy else f"http://{proxy}")


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A copy of `headers`; ValueError, naming the header but never its value, for what must not be sent."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"no header name: {name!r}")
        if name.lower() in _FRAMING_HEADERS:
            raise ValueError(f"header {name} follows from the body and cannot be set")
        if not all(character.isprintable() or character == "\t" for character in value):
            raise ValueError(f"control characters (a line end?) in the value of header {name}")
    return dict(headers)


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            break
    return bytes(content)


def _secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What a server that echoes the request must not put into our errors: values and the tokens in them."""
    values = [value for name, value in headers.items() if _SECRET_HEADERS.search(name)]
    return tuple(values + [value.rpartition(" ")[2] for value in values])


def _no_http(error: aiohttp.ClientResponseError, shown: str) -> ServiceUnreachable:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ServiceUnreachable(
            f"the proxy refused a connection to {shown}: {error.status} {one_line(redact(error.message), 100)}"
        )
    return ServiceUnreachable(f"{shown} did not answer in HTTP", hint="is this the port of an HTTP server?")


def _unreachable(error: aiohttp.ClientError | OSError, shown: str) -> ServiceUnreachable:
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            why = getattr(cause, "verify_message", "") or "it does not fit the host"
            return ServiceUnreachable(
                f"the TLS certificate of {shown} is not trusted: {why}",
                hint="pass an ssl.SSLContext that knows the certificate's issuer",
            )
        case aiohttp.ClientConnectorSSLError():
            return ServiceUnreachable(
                f"no TLS connection to {shown}: {getattr(error.os_error, 'reason', None) or 'handshake failed'}",
                hint="does the server speak plain http?",
            )
        case aiohttp.ClientProxyConnectionError():
            return ServiceUnreachable(
                f"cannot connect to the proxy for {shown} at {error.host}:{error.port}: {_os_reason(error)}"
            )
        case aiohttp.ClientConnectorDNSError():
            return ServiceUnreachable(f"cannot find host {error.host} of {shown}: {error.strerror}")
        case aiohttp.ClientConnectorError():
            return ServiceUnreachable(f"cannot connect to {shown}: {_os_reason(error)}")
        case aiohttp.ServerDisconnectedError():
            return ServiceUnreachable(f"{shown} closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return ServiceUnreachable(f"the response of {shown} is broken or broke off")
        case OSError():
            return ServiceUnreachable(f"connection to {shown} lost: {_os_reason(error)}")
    return ServiceUnreachable(f"no answer from {shown}: {type(error).__name__}")


def _os_reason(error: OSError) -> str:
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return one_line(redact(error.strerror or str(error)), 200)  # several addresses tried
