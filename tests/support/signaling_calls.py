"""A call handler behind the HTTP endpoints, for tests of the server side of signaling."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from rtc_signaling import (
    SignalingServer,
)

OFFER = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n"
ANSWER = "v=0\r\ns=answer\r\n"
KEY = "sk-test"
BEARER = {"Authorization": f"Bearer {KEY}"}
SDP = BEARER | {"Content-Type": "application/sdp"}
CALLS = "/realtime/calls"
SECRETS = "/realtime/client_secrets"


class Calls:
    """A call handler that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, object] | None, bool]] = []
        self.open: set[str] = set()
        self.error: Exception | None = None
        self.wait: asyncio.Event | None = None
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def answer(
        self, offer_sdp: str, session: dict[str, object] | None, secret: bool
    ) -> tuple[str, str]:
        self.started.set()
        if self.wait is not None:
            try:
                await self.wait.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error
        self.asked.append((offer_sdp, session, secret))
        call_id = f"rtc_{len(self.asked)}"
        self.open.add(call_id)
        return call_id, ANSWER

    async def hangup(self, call_id: str) -> bool:
        known = call_id in self.open
        self.open.discard(call_id)
        return known


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    async with SignalingServer(app) as server, aiohttp.ClientSession() as http:
        yield server.url, http


async def error_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The error of a response, checked for the shape that every error of the service has."""
    assert response.content_type == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    body = await response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param"}
    error: dict[str, Any] = body["error"]
    return error
