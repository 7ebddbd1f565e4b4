"""The loudspeaker as a sink of a call."""

import asyncio
import logging
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..format import check_rate
from ..pacer import PacedPull
from ..ports import Pcm, Pull
from .feed import Feed
from .hub import OPEN_SECONDS, DeviceHub, default_hub
from .line import DeviceLine
from .port import Wake
from .render import Render
from .settings import LineSettings, OnEvent, check_device, check_latency
from .types import DeviceInfo, Latency, StreamFormat

_log = logging.getLogger("rtc_audio.devices")

DRAIN_SECONDS = 0.02
COARSE_TIMERS = sys.platform == "win32"
"""Whether timers of the event loop are off by more than a block: then the driver's thread has to wake it."""

OnWritten = Callable[[NDArray[np.float32], float], None]
"""on_written(pcm [n], at_seconds): what was really played, silence included, at `Speaker.rate_hz`, and when its first
sample sounds, on the clock of `time.monotonic`. On the event loop, soon after it was handed to the device."""


class Speaker:
    """A sink (`AudioSink`) that pulls at the pace of the device, and plays mono on the first two channels.

    * `device`, `latency`, `reopen`, `on_event`: as for `Microphone`.
    * `rate_hz`: what is pulled, always; resampled here if the device runs at another rate.
    * `on_written` is told of what was played: the far end for an echo canceller.

    Nothing is opened before `start`. While the device is lost, the voice is pulled and dropped in real time, so that
    the call goes on and nothing stale is played afterwards.
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        rate_hz: int = 48000,
        latency: Latency = "low",
        reopen: bool = True,
        on_event: OnEvent | None = None,
        on_written: OnWritten | None = None,
        open_timeout_seconds: float = OPEN_SECONDS,
        hub: DeviceHub | None = None,
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.on_written = on_written
        self.faults = 0
        """Calls of `pull` or `on_written` that raised."""
        self._settings = LineSettings(
            direction="output",
            device=check_device(device),
            latency=check_latency(latency),
            reopen=reopen,
            open_timeout_seconds=open_timeout_seconds,
            on_event=on_event,
        )
        self._hub = hub
        self._line: DeviceLine[Render] | None = None
        self._pull: Pull | None = None
        self._feed: Feed | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake: Wake | None = None
        self._played_before = 0.0
        self._draining: asyncio.Task[None] | None = None

    @property
    def device(self) -> DeviceInfo | None:
        """The device that is open; None before `start` and while it is lost."""
        return None if self._line is None else self._line.device

    @property
    def on_event(self) -> OnEvent | None:
        """Who is told of what happens to the device."""
        return self._settings.on_event

    @on_event.setter
    def on_event(self, on_event: OnEvent | None) -> None:
        self._settings.on_event = on_event

    @property
    def latency_seconds(self) -> float:
        """How long it takes, at the moment, until what is pulled now sounds."""
        return 0.0 if self._feed is None else self._feed.latency_seconds(_now())

    @property
    def played_seconds(self) -> float:
        """How much of what was pulled has really sounded since `start`; what `flush` dropped has not."""
        return self._played_before + (0.0 if self._feed is None else self._feed.played_seconds(_now()))

    @property
    def underrun_seconds(self) -> float:
        """Silence for want of sound in time, or as the driver says, since `start`."""
        return 0.0 if self._line is None else self._line.lost_seconds

    async def start(self, pull: Pull, /) -> None:
        """Open the device and begin to pull; a second call replaces `pull`. Raises as `Microphone.start`."""
        if self._line is None:
            self._line = DeviceLine(
                self._hub or default_hub(), self._settings, self._make_render, self._on_change
            )
        if self._pull is None:
            self._played_before = 0.0
            self._wake = Wake(asyncio.get_running_loop(), self._on_time) if COARSE_TIMERS else None
            await self._line.open()
        self._pull = pull
        self._on_change()

    def flush(self) -> None:
        """Fade out within 5 ms and drop what has been pulled and not yet handed to the device, and 10 ms more.

        Those would be the end of the fade of whoever is pulled and has been stopped, too.
        """
        if self._feed is not None:
            self._feed.flush()

    async def aclose(self) -> None:
        """Stop pulling, release the device within two seconds; harmless when repeated or cancelled."""
        self._pull = None
        self._stop_timer()
        draining, self._draining = self._draining, None
        if draining is not None:
            draining.cancel()
        if self._line is not None:
            await self._line.aclose()
        if draining is not None:
            await asyncio.wait([draining])

    # ---- the device comes and goes

    def _make_render(self, format: StreamFormat, on_finished: Callable[[], None]) -> Render:
        return Render(format, on_finished, on_played=self._wake)

    def _on_change(self) -> None:
        port = None if self._line is None else self._line.port
        if self._feed is not None and self._feed.render is not port:
            self._feed.render.flush()  # it may run for another moment
            self._played_before, self._feed = self.played_seconds, None
        if port is not None and self._feed is None:
            self._feed = Feed(port, self._guarded_pull, self.rate_hz)
        self._stop_timer()
        if self._pull is None:
            return
        if self._feed is not None:
            if self._draining is not None:
                self._draining.cancel()
                self._draining = None
            self._on_time()
        elif self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="rtc_audio.speaker_drain")

    async def _drain(self) -> None:
        """Pull in real time for nobody, until cancelled."""
        paced = PacedPull(self.rate_hz, round(self.rate_hz * DRAIN_SECONDS), lambda pcm: None)
        paced.start(self._guarded_pull)
        try:
            await asyncio.Event().wait()
        finally:
            await paced.aclose()

    # ---- with every block that was played

    def _on_time(self) -> None:
        self._stop_timer()
        feed = self._feed
        if self._pull is not None and feed is not None:
            self._exchange(feed)
            self._timer = asyncio.get_running_loop().call_at(feed.next_at(_now()), self._on_time)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _exchange(self, feed: Feed) -> None:
        feed.fill(_now())
        if self.on_written is None:
            return
        for pcm, at_seconds in feed.written():
            try:
                self.on_written(pcm, at_seconds)
            except Exception:  # noqa: BLE001 - the listener's code; the voice does not depend on it
                self._count_fault("on_written of a loudspeaker raised")

    def _guarded_pull(self, n: int) -> Pcm:
        pcm: Pcm | None = None
        try:
            if self._pull is not None:
                pcm = self._pull(n)
        except Exception:  # noqa: BLE001 - whose ever it is, the device wants its block
            self._count_fault("the pull of a loudspeaker raised; silence instead")
        if pcm is None or len(pcm) != n:
            return np.zeros((n, 1), np.float32)
        return pcm

    def _count_fault(self, message: str) -> None:
        self.faults += 1
        if self.faults == 1:
            _log.exception("%s, further ones are only counted", message)


def _now() -> float:
    return asyncio.get_running_loop().time()
