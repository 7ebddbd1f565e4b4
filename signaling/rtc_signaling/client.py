"""The client side of SDP over HTTP: offer out, answer in, hang up."""

import ssl as tls
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self, get_args

import aiohttp

from .forms import multipart_body, sdp_body
from .models import SdpAnswer
from .replies import check_status, read_sdp
from .transfer import HttpPoster, time_limit
from .urls import DEFAULT_BASE_URL, check_url, display_url, drop_query, hangup_path, join_url

__all__ = ["DEFAULT_BASE_URL", "BodyForm", "SdpClient"]

BodyForm = Literal["auto", "raw", "multipart"]
_CALLS_PATH = "/realtime/calls"


class SdpClient:
    """Exchanges SDP with a realtime service (`POST /v1/realtime/calls`).

    `body`: "auto" sends the raw form for ephemeral keys (`ek_…`: the session is bound to them) and the
    multipart form for any other key or none. `headers` go with every request and win over those made here
    (`Authorization`, `Accept`). `http` lends an aiohttp session, which stays open and brings its own proxy
    and TLS settings; `proxy` and `ssl` override them. `trust_env` reads HTTP_PROXY, HTTPS_PROXY, NO_PROXY,
    never for loopback hosts. Plain http goes to loopback hosts only unless `allow_plain_http`.

    One client serves any number of calls, also at once. Raises ValueError for headers that cannot be sent.
    """

    def __init__(
        self,
        *,
        base_url: str = DEFAULT_BASE_URL,
        body: BodyForm = "auto",
        headers: Mapping[str, str] | None = None,
        http: aiohttp.ClientSession | None = None,
        allow_plain_http: bool = False,
        proxy: str | None = None,
        trust_env: bool = True,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        if body not in get_args(BodyForm):
            raise ValueError(f"body is {body!r}, not one of {', '.join(get_args(BodyForm))}")
        self._base_url = base_url
        self._body = body
        self._allow_plain_http = allow_plain_http
        self._poster = HttpPoster(
            headers=headers,
            http=http,
            allow_plain_http=allow_plain_http,
            proxy=proxy,
            trust_env=trust_env,
            ssl=ssl,
        )

    async def exchange(
        self,
        offer_sdp: str,
        *,
        key: str | None,
        session: Mapping[str, object],
        url: str | None = None,
        timeout_seconds: float = 15,
    ) -> SdpAnswer:
        """Post an offer and return the answer.

        `url` is posted to exactly as written; without it, `base_url` + `/realtime/calls`. `session` travels
        in the multipart form only, with every field given, and must name a `model` there.

        Raises RequestRejected, InvalidAnswer, ServiceUnreachable, SignalingTimeout, InvalidUrl,
        KeyUnavailable; ValueError for an empty offer or a session that cannot be sent. `timeout_seconds`
        bounds all of it; cancellation aborts the request and leaves nothing open.
        """
        if not offer_sdp.strip():
            raise ValueError("the SDP offer is empty")
        body = sdp_body(offer_sdp) if self._sends_raw(key) else multipart_body(offer_sdp, session)
        target = self._calls_url(url)
        async with time_limit(timeout_seconds, f"the SDP exchange with {display_url(target)}"):
            reply = await self._poster.post(target, key=key, body=body, accept="application/sdp")
        return read_sdp(reply)

    async def hangup(
        self, call_id: str, *, key: str | None, url: str | None = None, timeout_seconds: float = 5
    ) -> None:
        """End a call at the service: POST `{calls URL}/{call_id}/hangup`.

        `url` is the one the offer was posted to, if it was given; its query is dropped. Raises as
        `exchange`; a call the service no longer knows is RequestRejected with status 404.
        """
        calls_url = self._calls_url(None if url is None else drop_query(url))
        target = join_url(calls_url, hangup_path(call_id))
        async with time_limit(timeout_seconds, f"the hang-up at {display_url(target)}"):
            reply = await self._poster.post(target, key=key, body=None, accept="application/json")
        check_status(reply)

    async def aclose(self) -> None:
        """Abort exchanges under way and refuse later ones; a lent aiohttp session stays open. Idempotent."""
        await self._poster.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _calls_url(self, url: str | None) -> str:
        if url is not None:
            return check_url(url, allow_plain_http=self._allow_plain_http)
        base_url = check_url(self._base_url, allow_plain_http=self._allow_plain_http)
        return join_url(base_url, _CALLS_PATH)

    def _sends_raw(self, key: str | None) -> bool:
        if self._body == "auto":
            return key is not None and key.startswith("ek_")
        return self._body == "raw"
