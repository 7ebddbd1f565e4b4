"""Encoding beside the event loop, for processes that carry more calls than one core can encode.

An encoder at work on the loop costs least, so a thread gets only what the loop is late with.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rtc_audio.opus import OpusEncoder, OpusError

logger = logging.getLogger("rtc_transport.encoding")


@dataclass(slots=True)
class Frame:
    """One frame on its way to be a packet."""

    timestamp: int
    encoder: OpusEncoder
    pcm: NDArray[np.float32]
    lead_in: Sequence[NDArray[np.float32]] | None = None
    """The frames before it, where the encoder begins anew; None: it goes on."""
    payload: bytes | None = None
    """The packet; there beforehand if nothing is to be encoded."""
    error: Exception | None = None

    def encode(self, *, release_gil: bool = False) -> None:
        """Makes the packet; never raises: after a failure it is one of silence, if any, with the error beside it."""
        if self.payload is not None:
            return
        try:
            if self.lead_in is not None:
                self.encoder.reset()
                for pcm in self.lead_in:  # thrown away: the next packet continues what the peer has heard
                    self.encoder.encode(pcm, release_gil=release_gil)
            self.payload = self.encoder.encode(self.pcm, release_gil=release_gil)
        except Exception as error:  # noqa: BLE001 - no failure of a frame may end the sender or the thread
            self.error = error
            with suppress(OpusError):  # then there is none, and the time passes
                self.encoder.reset()
                self.payload = self.encoder.encode(np.zeros(self.encoder.frame_samples, np.float32))


class EncodingThread:
    """Encodes the frames of one event loop's tracks, in the order in which they were given.

    It is shared by all who `acquire` it and ends with the last `release`. An encoder must not be touched while one of
    its frames is here.
    """

    _threads: ClassVar["dict[asyncio.AbstractEventLoop, EncodingThread]"] = {}

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._users = 0
        self._given: SimpleQueue[tuple[Frame, Callable[[Frame], None]] | None] = SimpleQueue()
        self._made: deque[tuple[Frame, Callable[[Frame], None]]] = deque()
        self._telling = False
        threading.Thread(target=self._work, name="rtc_transport encoding", daemon=True).start()

    @classmethod
    def acquire(cls, loop: asyncio.AbstractEventLoop) -> "EncodingThread":
        """The thread of `loop`, begun if there is none."""
        thread = cls._threads.get(loop)
        if thread is None:
            thread = cls._threads[loop] = cls(loop)
            logger.info("the event loop is late: a thread helps to encode")
        thread._users += 1
        return thread

    def release(self) -> None:
        """What was given is still encoded, and told if the loop still runs."""
        self._users -= 1
        if not self._users:
            del self._threads[self._loop]
            self._given.put(None)

    def encode(self, frame: Frame, on_done: Callable[[Frame], None]) -> None:
        """Calls `on_done` on the event loop when the packet is there. It must not raise."""
        self._given.put((frame, on_done))

    def _work(self) -> None:
        while (job := self._given.get()) is not None:
            job[0].encode(release_gil=True)
            self._made.append(job)
            if not self._telling:  # else the loop has not looked yet, and sees this one, too
                self._telling = True
                try:
                    self._loop.call_soon_threadsafe(self._tell)
                except RuntimeError:  # the loop is closed: nobody is left who could send
                    return

    def _tell(self) -> None:
        self._telling = False
        while self._made:
            frame, on_done = self._made.popleft()
            on_done(frame)
