"""One attempt that several callers wait for."""

import asyncio
from collections.abc import Coroutine
from typing import Any

CLEAN_UP_SECONDS = 2.0


class SharedAttempt:
    """Runs a coroutine in a task of its own; `join` waits for it.

    Cancelling one waiter leaves the attempt to the others, cancelling the last ends it, and so does `abort`. The
    coroutine cleans up after itself when it is cancelled.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self.task = asyncio.get_running_loop().create_task(coroutine, name=name)
        # Every waiter may be gone by the time it fails.
        self.task.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        self._waiters = 0
        self.refusal: Exception | None = None
        """What `abort` was given: what the coroutine is to raise in place of CancelledError."""

    async def join(self) -> None:
        """Returns or raises as the attempt does."""
        self._waiters += 1
        try:
            await asyncio.shield(self.task)
        except asyncio.CancelledError:
            if self._waiters == 1:
                await self._cancel()
            raise
        finally:
            self._waiters -= 1

    async def abort(self, refusal: Exception) -> None:
        """Ends the attempt: everybody who waits gets `refusal`. Returns when it has cleaned up."""
        self.refusal = self.refusal or refusal
        await self._cancel()

    async def _cancel(self) -> None:
        self.task.cancel()
        if self.task is not asyncio.current_task():
            await asyncio.wait([self.task], timeout=CLEAN_UP_SECONDS)
