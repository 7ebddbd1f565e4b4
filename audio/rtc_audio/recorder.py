"""Both directions of a call in one stereo WAV file: left the user, right the model, on one time axis.

`StereoTimeline` is the pure part (blocks with their times in, stereo frames out), `StereoRecorder` the file.
"""

import os
from collections import deque
from collections.abc import Callable

import numpy as np

from .errors import AudioFileError
from .fifo import BlockFifo
from .format import check_rate, mix_channels
from .levels import Seam
from .ports import Pcm
from .resampler import StreamResampler
from .wav import BackgroundWav, WavWriter

TOLERANCE_SECONDS = 0.010  # of each side, so that both together are within 20 ms
_LOOKAHEAD_SECONDS = 1.0
_MAX_LEAD_SECONDS = 2.0
_MAX_PAUSE_SECONDS = 5.0


class _Side:
    """One direction: blocks with jittering times become one gapless stream from time zero.

    A block that comes late, or twice in a row after a stall, is not a gap: it is one only if the blocks behind it
    are late as well. So a block is placed when a second of later ones is known, longer than a network stalls.
    """

    def __init__(self, rate_out: int) -> None:
        self.late_seconds = 0.0
        self._rate_out = rate_out
        self._pending: deque[tuple[int, Pcm]] = deque()
        self._pending_frames = 0
        self._placed = 0  # frames of the stream so far
        self.ready = BlockFifo(1)
        self._set_rate(rate_out)

    def _set_rate(self, rate_hz: int) -> None:
        self.rate_hz = check_rate(rate_hz)
        self._tolerance = round(TOLERANCE_SECONDS * rate_hz)
        self._lookahead = round(_LOOKAHEAD_SECONDS * rate_hz)
        self._seam = Seam(rate_hz, 1)
        self._resampler = StreamResampler(rate_hz, self._rate_out)

    def insert(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> None:
        if rate_hz != self.rate_hz:
            self.finish()
            self._placed = round(self._placed * rate_hz / self.rate_hz)
            self._set_rate(rate_hz)
        self._pending.append((round(at_seconds * rate_hz), mix_channels(pcm, 1)))
        self._pending_frames += len(pcm)
        while self._pending_frames - len(self._pending[0][1]) >= self._lookahead:
            self._place()

    def advance_to(self, at_seconds: float) -> None:
        """Nothing has come up to this time: it is silence."""
        while self._pending and self._pending[0][0] < at_seconds * self.rate_hz:
            self._place()
        self._silence(round(at_seconds * self.rate_hz) - self._placed)

    def finish(self) -> None:
        while self._pending:
            self._place()
        self.ready.put(self._resampler.flush().reshape(-1, 1))

    @property
    def seconds(self) -> float:
        return self._placed / self.rate_hz

    def _place(self) -> None:
        shift = self._shift()
        _, block = self._pending.popleft()
        self._pending_frames -= len(block)
        if shift > 0:
            self._silence(shift)
        elif shift < 0:
            self._seam.cut()
            if block[:-shift].any():
                self.late_seconds += min(-shift, len(block)) / self.rate_hz
            block = block[-shift:]
        self._emit(self._seam.fill(block, len(block)))

    def _shift(self) -> int:
        """Frames by which all pending blocks are late (> 0) or early (< 0); 0 within the tolerance."""
        place, least = self._placed, 0
        for position, block in self._pending:
            late = position - place
            if abs(late) <= self._tolerance or late * least < 0:
                return 0
            least = late if not least or abs(late) < abs(least) else least
            place += len(block)
        return least

    def _silence(self, frames: int) -> None:
        if frames > 0:
            self._emit(self._seam.fill(np.empty((0, 1), np.float32), frames))

    def _emit(self, pcm: Pcm) -> None:
        self._placed += len(pcm)
        self.ready.put(self._resampler.push(pcm))


class StereoTimeline:
    """Puts the blocks of two directions on one time axis, correct to 20 ms.

    Times are seconds on any one monotonic clock; the first block of either side is time zero. What is missing is
    silence, faded in and out; sound for a time that is written already is dropped and counted in `late_seconds`.
    Bounded: a side that says nothing for two seconds is taken as silent; a pause of both sides of more than five
    seconds is left out and counted in `cut_seconds`.
    """

    def __init__(self, rate_hz: int) -> None:
        self._user, self._model = _Side(check_rate(rate_hz)), _Side(rate_hz)
        self._origin: float | None = None
        self.cut_seconds = 0.0

    @property
    def late_seconds(self) -> float:
        """Sound of both sides that came too late to be written."""
        return self._user.late_seconds + self._model.late_seconds

    def insert_user(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> Pcm:
        """Frames `[frame, channel]` of the user from `at_seconds` on; returns the stereo frames that are complete.

        The rate may change from block to block.
        """
        return self._insert(self._user, self._model, pcm, rate_hz, at_seconds)

    def insert_model(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> Pcm:
        """The same for the model."""
        return self._insert(self._model, self._user, pcm, rate_hz, at_seconds)

    def finish(self) -> Pcm:
        """The rest of both sides, the shorter one filled with silence."""
        self._user.finish()
        self._model.finish()
        return self._take(max(self._user.ready.frames, self._model.ready.frames))

    def _insert(self, side: _Side, other: _Side, pcm: Pcm, rate_hz: int, at_seconds: float) -> Pcm:
        if self._origin is None:
            self._origin = at_seconds
        pause = at_seconds - self._origin - max(side.seconds, other.seconds)
        if pause > _MAX_PAUSE_SECONDS:
            self._origin += pause
            self.cut_seconds += pause
        side.insert(pcm, rate_hz, at_seconds - self._origin)
        if side.seconds - other.seconds > _MAX_LEAD_SECONDS:
            other.advance_to(side.seconds - _MAX_LEAD_SECONDS)
        return self._take(min(side.ready.frames, other.ready.frames))

    def _take(self, frames: int) -> Pcm:
        stereo = np.zeros((frames, 2), np.float32)
        for channel, side in enumerate((self._user, self._model)):
            part = side.ready.take(frames)
            stereo[: len(part), channel] = part[:, 0]
        return stereo


class StereoRecorder:
    """Records a call: `write_user` and `write_model` take what was sent and what was heard, with its time.

    The constructor opens the file as `FileSink` does and raises AudioFileError; disk work happens on worker threads;
    an error while writing is kept in `failure` and given once to `on_error`. A crash leaves a readable file.
    After `aclose` it may be started again, for the next call, which is written behind the last one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rate_hz: int = 24000,
        *,
        on_error: Callable[[AudioFileError], None] | None = None,
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self._wav = BackgroundWav(WavWriter(path, rate_hz, channels=2), on_error)
        self._timeline: StereoTimeline | None = None  # of the call that is recorded
        self._late_seconds = 0.0  # of the calls before

    @property
    def failure(self) -> AudioFileError | None:
        """The first error of the disk; nothing is written after it."""
        return self._wav.failure

    @property
    def seconds_written(self) -> float:
        """How much sound is in the file."""
        return self._wav.seconds_written

    @property
    def late_seconds(self) -> float:
        """Sound that came too late for its place and is missing."""
        return self._late_seconds + (0.0 if self._timeline is None else self._timeline.late_seconds)

    async def start(self) -> None:
        """Empty the file and begin, or go on after `aclose`. Raises AudioFileError."""
        await self._wav.start()
        if self._timeline is None:
            self._timeline = StereoTimeline(self.rate_hz)

    def write_user(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> None:
        """What the user says from `at_seconds` on, `[frame, channel]`; never waits."""
        if self._timeline is not None:
            self._wav.write(self._timeline.insert_user(pcm, rate_hz, at_seconds))

    def write_model(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> None:
        """What is heard of the model from `at_seconds` on, `[frame, channel]`; never waits."""
        if self._timeline is not None:
            self._wav.write(self._timeline.insert_model(pcm, rate_hz, at_seconds))

    async def aclose(self) -> None:
        """Write the rest and finish the file. Harmless when repeated, completes even when cancelled."""
        timeline, self._timeline = self._timeline, None
        if timeline is not None:
            self._wav.write(timeline.finish())
            self._late_seconds += timeline.late_seconds
        await self._wav.aclose()
