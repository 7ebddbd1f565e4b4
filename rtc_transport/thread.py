"""A transport in a thread of its own: for programs without an event loop, and for those whose loop stands still."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, ParamSpec, Self, TypeVar, overload

from .layer import RealtimeTransportLayer

P = ParamSpec("P")
T = TypeVar("T")
_END = object()


class TransportThread:
    """Runs the event loop of one transport in a thread of its own, inside a ``with`` block; the end closes both.

    The sound goes on whatever the program does meanwhile, waits and computes. The transport lives in that thread:
    what it can do is asked for by `call` (blocks), `acall` (from another event loop) and `events`; only its `status`,
    `muted` and `call_id` may be read directly. Its handlers run in the thread, too, and must not block it.
    """

    def __init__(self, transport: RealtimeTransportLayer) -> None:
        self.transport = transport
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("this thread runs already")
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="rtc-transport", daemon=True
        )
        self._thread.start()
        self._loop = started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the transport and ends the thread; idempotent. What still waits in a `call` is cancelled."""
        if self._loop is None:
            return
        self._refuse_own_thread()
        try:
            self.call(self.transport.close)
        finally:
            self._end()

    def _end(self) -> None:
        with self._changing:  # what was asked for before is under way by then, what comes later is refused
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
            if loop is not None:
                loop.call_soon_threadsafe(self._ended.set)
        if thread is not None:
            thread.join()

    @overload
    def call(
        self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function, or awaits a coroutine function, in the transport's thread; returns or raises as it does.

        Interrupted (Ctrl-C), it cancels the coroutine. Raises RuntimeError in a handler of the transport, where it
        would wait for itself, and outside of the ``with`` block.
        """
        self._refuse_own_thread()
        future = self._submit(function, args, kwargs)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @overload
    async def acall(
        self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def acall(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def acall(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The same from another event loop, which goes on meanwhile; cancelled, it cancels the coroutine."""
        return await asyncio.wrap_future(self._submit(function, args, kwargs))

    def events(self, *names: str) -> Iterator[Any]:
        """As the transport's `events`, blocking: what comes from this call on until the connection closes."""
        stream = self.call(self.transport.events, *names)

        async def following() -> Any:
            return await anext(stream, _END)

        return iter(lambda: self.call(following), _END)

    def _submit(self, function: Callable[..., Any], args: Any, kwargs: Any) -> "Future[Any]":
        with self._changing:
            if self._loop is None:
                raise RuntimeError("the thread of the transport does not run: use it in a with block")
            return asyncio.run_coroutine_threadsafe(_perform(function, args, kwargs), self._loop)

    def _refuse_own_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("this is the thread of the transport: call it directly, or await it")

    async def _serve(self, started: "Future[asyncio.AbstractEventLoop]") -> None:
        self._ended = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._ended.wait()


async def _perform(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    return await result if asyncio.iscoroutine(result) else result
