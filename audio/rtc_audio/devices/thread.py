"""The one thread that talks to drivers, so that no event loop ever waits for one."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

_log = logging.getLogger("rtc_audio.devices")

_T = TypeVar("_T")

MAX_STUCK = 4


class Worker(Protocol):
    """Runs blocking work elsewhere, in order."""

    @property
    def stuck(self) -> int:
        """How many pieces of work hang in a driver and were given up."""
        ...

    async def run(
        self,
        work: Callable[[], _T],
        /,
        *,
        timeout_seconds: float,
        discard: Callable[[_T], None] | None = None,
    ) -> _T:
        """What `work` returns or raises; TimeoutError after `timeout_seconds`.

        Cancelled or late: with `discard`, work that has not begun is left out, and what comes of it is discarded;
        without, it is done all the same.
        """
        ...

    def run_blocking(self, work: Callable[[], _T], /, *, timeout_seconds: float) -> _T:
        """The same for callers without an event loop."""
        ...


class _Job(Generic[_T]):
    def __init__(self, work: Callable[[], _T], discard: Callable[[_T], None] | None) -> None:
        self.work = work
        self.discard = discard
        # Never set running: so `cancel` and `set_result` decide between them who has the result.
        self.future: Future[_T] = Future()

    def __call__(self) -> None:
        if self.discard is not None and self.future.cancelled():
            return
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the work was asked for
            self._settle(partial(self.future.set_exception, error))
        else:
            if not self._settle(partial(self.future.set_result, result)):
                self.throw_away(result)

    def throw_away(self, result: _T) -> None:
        """Undo what came too late."""
        try:
            if self.discard is not None:
                self.discard(result)
        except Exception:  # noqa: BLE001 - a driver's: nobody is left who could be told
            _log.warning("a device that was opened too late could not be closed", exc_info=True)

    def _settle(self, deliver: Callable[[], None]) -> bool:
        try:
            deliver()
        except InvalidStateError:  # cancelled: nobody waits any more
            return False
        return True


class DeviceThread:
    """A daemon thread that runs one piece of work after another, for all event loops of the process.

    A driver that hangs keeps its thread; the work behind it goes on in a new one, at most MAX_STUCK times.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job[Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._current: threading.Thread | None = None
        self._busy: set[threading.Thread] = set()
        self._given_up: set[threading.Thread] = set()

    @property
    def stuck(self) -> int:
        """Threads that hang in a driver."""
        return len(self._given_up)

    async def run(
        self,
        work: Callable[[], _T],
        /,
        *,
        timeout_seconds: float,
        discard: Callable[[_T], None] | None = None,
    ) -> _T:
        """See `Worker.run`."""
        job = self._submit(work, discard)
        waiter = asyncio.wrap_future(job.future)
        try:
            done, _ = await asyncio.wait([waiter], timeout=timeout_seconds)
        except asyncio.CancelledError:
            waiter.cancel()
            if not job.future.cancel() and job.future.exception() is None:
                self._jobs.put(_Job(lambda: job.throw_away(job.future.result()), None))
            raise
        if done:
            return waiter.result()
        waiter.cancel()
        if not job.future.cancel():  # in this very moment
            return job.future.result()
        self._give_up()
        raise TimeoutError

    def run_blocking(self, work: Callable[[], _T], /, *, timeout_seconds: float) -> _T:
        """See `Worker.run_blocking`."""
        job = self._submit(work, None)
        try:
            return job.future.result(timeout_seconds)
        except TimeoutError:
            if not job.future.cancel():
                return job.future.result()
            self._give_up()
            raise

    def _submit(self, work: Callable[[], _T], discard: Callable[[_T], None] | None) -> _Job[_T]:
        job = _Job(work, discard)
        with self._lock:
            if self.stuck >= MAX_STUCK:
                raise TimeoutError
            self._jobs.put(job)
            if self._current is None:
                self._current = threading.Thread(target=self._serve, name="rtc_audio.devices", daemon=True)
                self._current.start()
        return job

    def _give_up(self) -> None:
        """Leave the busy thread to its driver; the next one serves what waits."""
        with self._lock:
            if self._current in self._busy:
                self._given_up.add(self._current)
                self._current = None
                if not self._jobs.empty():
                    self._current = threading.Thread(
                        target=self._serve, name="rtc_audio.devices", daemon=True
                    )
                    self._current.start()

    def _serve(self) -> None:
        me = threading.current_thread()
        while True:
            job = self._jobs.get()
            with self._lock:
                self._busy.add(me)
            job()
            del job  # or its result would live until the next one
            with self._lock:
                self._busy.discard(me)
                if me in self._given_up:
                    self._given_up.discard(me)
                    return
