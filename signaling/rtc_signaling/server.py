"""The HTTP half of the embedded realtime server: routes, keys, CORS, the service's errors.

What a call is, the injected `CallHandler` knows; here it is an id and two strings.
"""

import asyncio
import copy
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from .errors import CallRejected, SignalingError
from .keyring import Keyring
from .server_requests import read_call_session, read_offer, read_secret_request

__all__ = ["CallHandler", "CallRejected", "Intercept", "SignalingServer", "create_app"]

logger = logging.getLogger("rtc_signaling.server")

_CALLS_PATH = "/v1/realtime/calls"
_SECRETS_PATH = "/v1/realtime/client_secrets"
_OBJECT_OF = {"realtime": "realtime.session", "transcription": "realtime.transcription_session"}
_DEFAULT_MODEL = "gpt-realtime"
_MAX_BODY_BYTES = 1 << 20
_GRACE_SECONDS = 0.25  # aiohttp waits that long for handlers, cancels them, and waits as long again
_CLOSE_SECONDS = 2.0

Intercept = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Called before anything else with every request; a response it returns is sent instead of the real one."""


class CallHandler(Protocol):
    """The calls behind the routes."""

    async def answer(
        self, offer_sdp: str, session: dict[str, object] | None, secret: bool
    ) -> tuple[str, str]:
        """Open a call: its id and the SDP answer. Raises CallRejected.

        `session` is what the request holds, else what its client secret is bound to, else None; `secret`
        says that the key was a client secret. Cancelled if the client gives up: leave nothing open then.
        """

    async def hangup(self, call_id: str) -> bool:
        """End a call; False if there is none of that id. Cancelled if the client gives up."""


def create_app(
    handler: CallHandler,
    *,
    keys: Collection[str] | None = None,
    now: Callable[[], float] = time.time,
    intercept: Intercept | None = None,
) -> web.Application:
    """An aiohttp application with the HTTP endpoints of the realtime service under `/v1`.

    `keys`: API keys that are accepted, with the client secrets minted by them; None accepts every key but an
    expired client secret. `now` gives epoch seconds. `intercept` is for faults on demand in tests.
    """
    routes = _Routes(handler, Keyring(keys), now)
    middlewares = [_errors_as_json] + ([] if intercept is None else [_intercepting(intercept)])
    app = web.Application(middlewares=middlewares, client_max_size=_MAX_BODY_BYTES)
    app.on_response_prepare.append(_add_headers)
    for path, post in (
        (_CALLS_PATH, routes.create_call),
        (_SECRETS_PATH, routes.create_client_secret),
        (_CALLS_PATH + "/{call_id}/hangup", routes.hangup),
    ):
        app.router.add_post(path, post)
        app.router.add_route("OPTIONS", path, _preflight)
    return app


class SignalingServer:
    """An application on a port of its own, in the running event loop; an async context manager.

    `port` 0 takes a free one. One server serves once: after `aclose` make a new one.
    """

    def __init__(self, app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        # A client that gives up cancels its handler: nobody would ever use the call it is about to open.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE_SECONDS
        )
        self._closing: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The base URL for clients, `http://127.0.0.1:PORT/v1`. SignalingError unless started."""
        if not self._runner.addresses:
            raise SignalingError("the server is not running")
        host, port = self._runner.addresses[0][:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # a wildcard cannot be called
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    async def start(self) -> None:
        """Listen. SignalingError if the address cannot be had; nothing stays open then."""
        if self._closing is not None:
            raise SignalingError("the server is closed")
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()
        except (OSError, OverflowError) as error:
            await self.aclose()
            raise SignalingError(f"cannot listen on {self._host}:{self._port}: {_reason(error)}") from error
        except BaseException:  # cancelled on the way
            await self.aclose()
            raise
        logger.debug("listening on %s", self.url)

    async def aclose(self) -> None:
        """Stop listening, cancel requests under way, close connections, within 2 s. Idempotent.

        A caller that is cancelled leaves the closing to go on.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._runner.cleanup()
        except TimeoutError:
            logger.warning("connections of %s:%s did not close in time", self._host, self._port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Routes:
    def __init__(self, handler: CallHandler, keyring: Keyring, now: Callable[[], float]) -> None:
        self._handler = handler
        self._keyring = keyring
        self._now = now

    async def create_call(self, request: web.Request) -> web.Response:
        secret = self._keyring.authorize(request.headers.get("Authorization"), self._now())
        offer, session = await _read_call(request)
        if session is None and secret is not None:
            session = copy.deepcopy(secret.session)
        call_id, answer = await self._handler.answer(offer, session, secret is not None)
        return web.Response(
            status=201,
            text=answer,
            content_type="application/sdp",
            headers={"Location": f"{_CALLS_PATH}/{quote(call_id, safe='')}"},
        )

    async def create_client_secret(self, request: web.Request) -> web.Response:
        if self._keyring.authorize(request.headers.get("Authorization"), self._now()) is not None:
            raise CallRejected(
                "A client secret cannot mint client secrets.", code="insufficient_permissions", status=403
            )
        session, lifetime_seconds = read_secret_request(await request.read())
        secret = self._keyring.mint(session, lifetime_seconds, self._now())
        kind = str(session["type"])
        # Shown, but not bound: the call may still choose.
        model = {"model": _DEFAULT_MODEL} if kind == "realtime" else {}
        echoed = {"id": f"sess_{secrets.token_hex(12)}", "object": _OBJECT_OF[kind]} | model | session
        return web.json_response(
            {"value": secret.value, "expires_at": int(secret.expires_at), "session": echoed}
        )

    async def hangup(self, request: web.Request) -> web.Response:
        self._keyring.authorize(request.headers.get("Authorization"), self._now())
        if not await self._handler.hangup(request.match_info["call_id"]):
            raise CallRejected("There is no call of this id.", code="call_id_not_found", status=404)
        return web.Response()


async def _read_call(request: web.Request) -> tuple[str, dict[str, object] | None]:
    """Offer and session of either form of the request."""
    match request.content_type:
        case "application/sdp":
            return read_offer(await request.read()), None
        case "multipart/form-data":
            parts = await _read_parts(request)
            session = parts.get("session")
            return read_offer(parts.get("sdp")), None if session is None else read_call_session(session)
    raise CallRejected(
        "Content-Type must be application/sdp or multipart/form-data.",
        code="unsupported_content_type",
        status=415,
    )


async def _read_parts(request: web.Request) -> dict[str, bytes]:
    try:
        form = await request.post()
    # aiohttp's ways to say that a body is no form, or one with bad headers, charset or transfer encoding
    except (HttpProcessingError, ValueError, LookupError, RuntimeError, AssertionError) as error:
        raise CallRejected("The body is not multipart/form-data.", code="invalid_body") from error
    return {name: _content(value) for name, value in form.items()}


def _content(value: str | bytes | bytearray | web.FileField) -> bytes:
    if isinstance(value, web.FileField):
        with value.file as file:
            return file.read()
    return value.encode() if isinstance(value, str) else bytes(value)


async def _preflight(request: web.Request) -> web.Response:
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "POST, OPTIONS",
            # "*" would leave out Authorization (Fetch standard, CORS-preflight fetch)
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers")
            or "authorization, content-type, x-openai-agents-sdk",
            "Access-Control-Max-Age": "600",
        },
    )


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    response.headers.setdefault("Access-Control-Expose-Headers", "Location, x-request-id")
    response.headers.setdefault("x-request-id", f"req_{secrets.token_hex(16)}")


def _intercepting(intercept: Intercept) -> Middleware:
    @web.middleware
    async def intercepting(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await intercept(request)
        return await handler(request) if response is None else response

    return intercepting


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except CallRejected as rejected:
        return _error_response(rejected)
    except web.HTTPException as error:  # 404 and 405 of the router, 413 of an oversized body
        if error.status < 400:
            raise
        response = _error_response(_rejection(error.status, request))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except web.RequestPayloadError:
        return _error_response(CallRejected("The body broke off or is malformed.", code="invalid_body"))
    except Exception:  # a crash of the handler is one failed request, not the end of the server
        logger.exception("%s %s failed", request.method, request.rel_url.raw_path)
        return _error_response(
            CallRejected("The server failed.", code="server_error", status=500, type="server_error")
        )


def _rejection(status: int, request: web.Request) -> CallRejected:
    match status:
        case 404:
            return CallRejected(f"Unknown request URL: {request.path}", code=None, status=404)
        case 405:
            return CallRejected(
                f"Not allowed to {request.method} on {request.path}", code="method_not_allowed", status=405
            )
        case 413:
            return CallRejected(
                f"The body is larger than {_MAX_BODY_BYTES} bytes.", code="request_too_large", status=413
            )
    return CallRejected(HTTPStatus(status).phrase, code=None, status=status)


def _error_response(rejected: CallRejected) -> web.Response:
    fields = ("message", "type", "code", "param")
    error = {name: getattr(rejected, name) for name in fields}
    return web.json_response({"error": error}, status=rejected.status)


def _reason(error: OSError | OverflowError) -> str:
    if isinstance(error, socket.gaierror):  # has numbers of its own
        return error.strerror or "no such host"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error)
