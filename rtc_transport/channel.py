"""The control channel: takes messages from a queue one by one and knows when the peer has them.

aiortc's data channel takes everything at once and then sends it in order, so an urgent message would wait behind all
that was given to it before. Here at most one message is inside SCTP; the next is asked for when that one has left.
"""

import asyncio
import logging
from collections.abc import Callable

from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

from .errors import NotConnectedError
from .internals import SctpMonitor

logger = logging.getLogger("rtc_transport.channel")


class ControlChannel:
    """`next_message()` gives the next text to send, or None; call `pump()` whenever it may have one."""

    def __init__(self, channel: RTCDataChannel, next_message: Callable[[], str | None]) -> None:
        self._channel = channel
        self._next_message = next_message
        self._monitor = SctpMonitor(channel, self._on_progress)
        self._pumping = False
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()
        self.messages_sent = 0
        self._marked_messages, self._mark = 0, self._monitor.mark()

    def pump(self) -> None:
        """Gives the channel messages for as long as it holds none back."""
        if self._pumping or self._closed:
            return
        self._pumping = True
        try:
            while self._channel.readyState == "open" and self._monitor.idle:
                self._marked_messages, self._mark = self.messages_sent, self._monitor.mark()
                text = self._next_message()
                if text is None:
                    break
                self._channel.send(text)
                self.messages_sent += 1
        except InvalidStateError:
            logger.debug("the channel closed while a message was given to it")
        finally:
            self._pumping = False

    async def drained(self, pending: Callable[[], bool]) -> None:
        """Returns when `pending()` is false and the peer has acknowledged all that was sent by then.

        What is sent after that is not waited for, however much it is. Raises NotConnectedError if the channel dies
        first. May be cancelled freely.
        """
        while pending():
            await self._progress()
        sent = self.messages_sent
        while self._marked_messages < sent:
            await self._progress()
        mark = self._mark
        while not self._monitor.acknowledged(mark):
            await self._progress()

    def close(self) -> None:
        """Stops pumping and fails those who wait; idempotent. Does not close the data channel."""
        if self._closed:
            return
        self._closed = True
        self._monitor.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(NotConnectedError("the connection ended before the peer had everything"))

    async def _progress(self) -> None:
        if self._closed:
            raise NotConnectedError("the connection ended before the peer had everything")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _on_progress(self) -> None:
        self.pump()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
