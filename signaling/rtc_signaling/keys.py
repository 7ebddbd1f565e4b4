"""Ephemeral keys: minting one, and a key source that always has a fresh one."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack

import aiohttp

from .credentials import KeySource, resolve_key
from .forms import json_body
from .models import LONGEST_LIFE_SECONDS, SHORTEST_LIFE_SECONDS, ClientSecret
from .replies import read_client_secret
from .transfer import HttpPoster, check_headers, time_limit
from .urls import DEFAULT_BASE_URL, check_url, display_url, join_url

__all__ = ["EphemeralKeyProvider", "KeySource", "MintOptions", "mint_client_secret", "resolve_key"]

_SECRETS_PATH = "/realtime/client_secrets"


class MintOptions(TypedDict, total=False):
    """The keyword arguments of `mint_client_secret`."""

    session: Mapping[str, object] | None
    expires_after_seconds: int | None
    base_url: str
    headers: Mapping[str, str] | None
    http: aiohttp.ClientSession | None
    timeout_seconds: float
    allow_plain_http: bool


async def mint_client_secret(
    api_key: KeySource,
    *,
    session: Mapping[str, object] | None = None,
    expires_after_seconds: int | None = None,
    base_url: str = DEFAULT_BASE_URL,
    headers: Mapping[str, str] | None = None,
    http: aiohttp.ClientSession | None = None,
    timeout_seconds: float = 15,
    allow_plain_http: bool = False,
) -> ClientSecret:
    """Mint an ephemeral key with `POST {base_url}/realtime/client_secrets`.

    `session` is bound to the secret (`type` "realtime" unless given). `expires_after_seconds` is 10 to 7200,
    the service's own default (600) if None. `http`, `headers` and `allow_plain_http` as in SdpClient.

    Raises RequestRejected, InvalidAnswer, ServiceUnreachable, SignalingTimeout, InvalidUrl, KeyUnavailable;
    ValueError for a life time out of range. `timeout_seconds` bounds all of it, the key source included;
    cancellation aborts the request and leaves nothing open.
    """
    _check_life_time(expires_after_seconds)
    target = join_url(check_url(base_url, allow_plain_http=allow_plain_http), _SECRETS_PATH)
    wanted: dict[str, object] = {}
    if expires_after_seconds is not None:
        wanted["expires_after"] = {"anchor": "created_at", "seconds": expires_after_seconds}
    if session is not None:
        wanted["session"] = {"type": "realtime", **session}
    poster = HttpPoster(headers=headers, http=http, allow_plain_http=allow_plain_http)
    body = json_body(wanted)
    async with time_limit(timeout_seconds, f"minting a client secret at {display_url(target)}"):
        key = await resolve_key(api_key)
        reply = await poster.post(target, key=key, body=body, accept="application/json")
    return read_client_secret(reply)


class EphemeralKeyProvider:
    """A key source that mints client secrets and hands the last one out until it is about to expire.

    Await an instance for a key, or pass it wherever a KeySource is taken. `options` are those of
    `mint_client_secret`. A secret is replaced `margin_seconds` before `expires_at`; `now` gives epoch seconds
    (it is the service's clock that `expires_at` was written by: keep the margin above the clocks' difference).
    """

    def __init__(
        self,
        api_key: KeySource,
        *,
        margin_seconds: float = 30,
        now: Callable[[], float] = time.time,
        **options: Unpack[MintOptions],
    ) -> None:
        if margin_seconds < 0:
            raise ValueError(f"margin_seconds is {margin_seconds:g}, less than 0")
        _check_life_time(options.get("expires_after_seconds"))
        check_headers(options.get("headers") or {})
        self._api_key = api_key
        self._margin_seconds = margin_seconds
        self._now = now
        self._options = options
        self._secret: ClientSecret | None = None
        self._attempt: _Attempt | None = None

    async def __call__(self) -> str:
        """A key good for at least the margin, unless the service mints shorter ones.

        Callers at the same time share one request, and its failure (errors as `mint_client_secret`; the
        next call tries again). Cancelling one caller leaves it to the others; without callers it is aborted.
        """
        secret = self._secret
        if secret is None or self._now() >= secret.expires_at - self._margin_seconds:
            if self._attempt is None or self._attempt.task.done():
                self._attempt = _Attempt(asyncio.create_task(self._mint()))
            secret = await self._join(self._attempt)
        return secret.value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._secret!r}>"

    async def _mint(self) -> ClientSecret:
        self._secret = await mint_client_secret(self._api_key, **self._options)
        return self._secret

    async def _join(self, attempt: "_Attempt") -> ClientSecret:
        attempt.callers += 1
        try:
            return await asyncio.shield(attempt.task)
        finally:
            attempt.callers -= 1
            if not attempt.callers:
                if self._attempt is attempt:
                    self._attempt = None
                attempt.task.cancel()  # does nothing to a task that is done
                await asyncio.wait([attempt.task])


class _Attempt:
    """One request under way, owned by those who wait for it."""

    def __init__(self, task: asyncio.Task[ClientSecret]) -> None:
        self.task = task
        self.callers = 0
        # A failure nobody is left to hear is no news.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _check_life_time(seconds: int | None) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise ValueError(f"expires_after_seconds is {seconds!r}, not a whole number")
    if not SHORTEST_LIFE_SECONDS <= seconds <= LONGEST_LIFE_SECONDS:
        raise ValueError(
            f"expires_after_seconds is {seconds}, not within {SHORTEST_LIFE_SECONDS} to {LONGEST_LIFE_SECONDS}"
        )
