"""What the application holds while something is on its way: a requested response, an event it waits for."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from .emitter import Emitter
from .errors import NotConnectedError, TransportError, WaitTimeout
from .events.responses import Response


class PendingResponse:
    """The outcome of one requested response; see `layer.ResponseHandle`."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        # Whoever ignores the handle is not warned of an exception that nobody retrieved.
        self._future.add_done_callback(lambda future: None if future.cancelled() else future.exception())

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._future.done()

    def cancel(self) -> None:
        """Withdraws the request if it has not gone out, else cancels the response if it runs; idempotent."""
        if not self._future.done():
            self._cancel()

    def resolve(self, response: Response | None, error: TransportError | None) -> None:
        """Makes the outcome known."""
        if self._future.done():
            return
        if error is not None or response is None:
            self._future.set_exception(error or NotConnectedError("the response was never made"))
        else:
            self._future.set_result(response)

    def __await__(self) -> Generator[Any, None, Response]:
        return asyncio.shield(self._future).__await__()

    async def result(self, timeout: float | None = None) -> Response:
        """The response, or `WaitTimeout` after `timeout` seconds; the request goes on."""
        try:
            async with asyncio.timeout(timeout):
                return await self
        except TimeoutError:
            raise WaitTimeout(f"no response within {timeout:g} s") from None


class EventWaiters:
    """Those who wait for the next event of a name."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._waiting: set[asyncio.Future[Any]] = set()

    async def wait_for(
        self, event: str, predicate: Callable[[Any], bool] | None, timeout: float | None
    ) -> Any:
        """The next payload that fits; WaitTimeout, NotConnectedError by `fail`, or what `predicate` raises."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_event(payload: Any) -> None:
            if waiter.done():
                return
            try:
                fits = predicate is None or predicate(payload)
            except Exception as error:  # noqa: BLE001 - the caller's predicate: its fault goes to the caller
                waiter.set_exception(error)
                return
            if fits:
                waiter.set_result(payload)

        self._emitter.on(event, on_event)
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            raise WaitTimeout(f"no {event!r} within {timeout:g} s") from None
        finally:
            self._waiting.discard(waiter)
            self._emitter.off(event, on_event)

    def fail(self, reason: str) -> None:
        """Nobody's event will come."""
        for waiter in tuple(self._waiting):
            if not waiter.done():
                waiter.set_exception(NotConnectedError(reason))
