"""A typed, ordered event emitter whose handlers cannot hurt each other or the caller.

Rules: handlers run in the order they were added; a list is copied before it is walked, so that handlers may add and
remove handlers; an exception goes to `on_fault` and the next handler runs. A handler that gives a coroutine gets a
queue and one task of its own, so its calls run one after the other and never hold up anybody else; the queue is bounded
and drops its oldest call. Everything runs on the event loop's thread.
"""

import asyncio
import inspect
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Self, overload

logger = logging.getLogger("rtc_transport.emitter")

Handler = Callable[[Any], Any]
"""Called with the event's payload; if it gives a coroutine, that is awaited in a task of its own."""

HANDLER_QUEUE = 256
ITERATOR_QUEUE = 1000


class Emitter:
    """`on`, `once`, `off`, `emit` and `events()` over named events with one payload each.

    `on_fault(event_name, exception)` is told of handlers that raise; it must not raise. Iterators over everything
    leave out the events in `only_by_name`.
    """

    def __init__(
        self,
        on_fault: Callable[[str, Exception], None] | None = None,
        only_by_name: Collection[str] = ("*",),
    ) -> None:
        self.only_by_name = frozenset(only_by_name)
        self._registrations: dict[str, list[_Registration]] = {}
        self._iterators: list[EventStream] = []
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped: Counter[str] = Counter()
        """Calls of slow asynchronous handlers that were dropped, by event name."""

    @overload
    def on(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def on(self, event: str, handler: Handler) -> Self: ...
    def on(self, event: str, handler: Handler | None = None) -> Self | Callable[[Handler], Handler]:
        """Calls `handler` for every `event` from now on; without a handler it is a decorator."""
        return self._add(event, handler, once=False)

    @overload
    def once(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def once(self, event: str, handler: Handler) -> Self: ...
    def once(self, event: str, handler: Handler | None = None) -> Self | Callable[[Handler], Handler]:
        """Calls `handler` for the next `event` only; without a handler it is a decorator."""
        return self._add(event, handler, once=True)

    def off(self, event: str, handler: Handler) -> Self:
        """Removes the oldest registration of `handler`, whether `on` or `once` made it; unknown ones are ignored.

        Calls of an asynchronous handler that are still queued are dropped; one that is running goes on.
        """
        registrations = self._registrations.get(event, [])
        for registration in registrations:
            if registration.handler == handler:
                self._remove(event, registration)
                break
        return self

    def emit(self, event: str, payload: Any) -> bool:
        """Hands `payload` to the handlers of `event` and to the iterators; says whether anybody listened."""
        listened = False
        for registration in tuple(self._registrations.get(event, ())):
            if registration.removed:  # by a handler that ran before it
                continue
            listened = True
            if registration.once:
                self._remove(event, registration)
            self._call(event, registration, payload)
        for iterator in tuple(self._iterators):
            listened = iterator._put(event, payload) or listened
        return listened

    def has_listeners(self, event: str) -> bool:
        """Whether a handler or an iterator would see `event`."""
        return bool(self._registrations.get(event)) or any(i._wants(event) for i in self._iterators)

    def events(self, *names: str, limit: int = ITERATOR_QUEUE) -> "EventStream":
        """An async iterator over the payloads of the named events, or of all but those in `only_by_name`.

        It holds at most `limit` payloads, drops the oldest beyond that and counts them in `dropped`. It ends when the
        emitter's owner calls `end_iterators()`. Cancelling the task that waits for the next payload loses none.
        """
        stream = EventStream(self, frozenset(names), limit)
        self._iterators.append(stream)
        return stream

    def end_iterators(self) -> None:
        """Lets every iterator finish once it has handed out what it holds."""
        for iterator in tuple(self._iterators):
            iterator.close()

    async def settle(self, grace_seconds: float, spare: Iterable[asyncio.Task[Any]] = ()) -> None:
        """Waits for the calls of asynchronous handlers that are under way, then cancels what is left of them.

        Tasks in `spare`, and the caller's own, are left alone. Handlers stay registered.
        """
        tasks = self._tasks - {*spare, asyncio.current_task()}
        if tasks:
            _, slow = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    def _add(self, event: str, handler: Handler | None, *, once: bool) -> Self | Callable[[Handler], Handler]:
        if handler is None:

            def decorate(function: Handler) -> Handler:
                self._add(event, function, once=once)
                return function

            return decorate
        if not callable(handler):
            raise TypeError(f"the handler of {event!r} is not callable: {handler!r}")
        self._registrations.setdefault(event, []).append(_Registration(handler, once))
        return self

    def _remove(self, event: str, registration: "_Registration") -> None:
        registration.removed = True
        registrations = self._registrations[event]
        registrations.remove(registration)
        if not registrations:
            del self._registrations[event]
        if registration.worker is not None and not registration.once:
            registration.worker.clear()

    def _call(self, event: str, registration: "_Registration", payload: Any) -> None:
        try:
            result = registration.handler(payload)
        except Exception as error:  # noqa: BLE001 - user code: reported, and the others still run
            self._fault(event, error)
            return
        if inspect.iscoroutine(result):
            if registration.worker is None or registration.worker.task.done():
                registration.worker = _Worker(self, event)
            registration.worker.put(result)

    def _fault(self, event: str, error: Exception) -> None:
        logger.warning("a handler of %r raised", event, exc_info=error)
        if self._on_fault is not None:
            self._on_fault(event, error)


@dataclass(eq=False)
class _Registration:
    handler: Handler
    once: bool
    removed: bool = False
    worker: "_Worker | None" = None


class _Worker:
    """Runs the calls of one asynchronous handler in order; lives as long as there are calls."""

    def __init__(self, emitter: Emitter, event: str) -> None:
        self._emitter, self._event = emitter, event
        self._calls: deque[Coroutine[Any, Any, Any]] = deque()
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"handler of {event}")
        emitter._tasks.add(self.task)
        self.task.add_done_callback(self._on_done)

    def put(self, call: Coroutine[Any, Any, Any]) -> None:
        if len(self._calls) >= HANDLER_QUEUE:
            self._calls.popleft().close()
            self._emitter.dropped[self._event] += 1
        self._calls.append(call)

    def clear(self) -> None:
        while self._calls:
            self._calls.popleft().close()

    async def _run(self) -> None:
        while self._calls:
            try:
                await self._calls.popleft()
            except Exception as error:  # noqa: BLE001 - user code: reported, the next call still runs
                self._emitter._fault(self._event, error)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._emitter._tasks.discard(task)
        self.clear()


class EventStream:
    """What `Emitter.events()` returns: an async iterator with a bounded queue.

    `close()` ends it; so does leaving ``async with``. `dropped` counts payloads that found the queue full.
    """

    def __init__(self, emitter: Emitter, names: frozenset[str], limit: int) -> None:
        self._emitter, self._names = emitter, names
        self._payloads: deque[Any] = deque()
        self._limit = max(1, limit)
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def close(self) -> None:
        """Takes no more payloads; the iteration ends behind those that are held."""
        self._closed = True
        self._arrived.set()
        if self in self._emitter._iterators:
            self._emitter._iterators.remove(self)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._payloads:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._payloads.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _wants(self, event: str) -> bool:
        return event in self._names if self._names else event not in self._emitter.only_by_name

    def _put(self, event: str, payload: Any) -> bool:
        if not self._wants(event):
            return False
        if len(self._payloads) >= self._limit:
            self._payloads.popleft()
            self.dropped += 1
        self._payloads.append(payload)
        self._arrived.set()
        return True
