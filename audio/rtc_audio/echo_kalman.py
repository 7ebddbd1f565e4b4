"""The built-in echo canceller: Kalman filter, residual suppressor, start-up gate; finds bulk delay and drift itself."""

import math

from .echo import SILENCE_POWER, Mono, check_blocks, frames_in, mean_square
from .echo_centre import Centre
from .echo_delay import BulkDelay, Sighting
from .echo_drift import DriftCompensator
from .echo_filter import FRAMES, EchoPathFilter
from .echo_gate import NO_ECHO_DB, ReturnLoss, StartGate
from .echo_suppressor import ResidualSuppressor
from .errors import UnsupportedFormat

RATES_HZ = (16000, 24000)
PARTITIONS = 20  # 200 ms of echo path behind the bulk delay
MAX_BULK_DELAY_SECONDS = 0.5

# Where the strongest echo may lie in the filter before it is moved to `LEAD_SECONDS`
EARLIEST_SECONDS, LEAD_SECONDS, LATEST_SECONDS = 0.004, 0.015, 0.05

CHANGED_LEAKAGE = 0.02  # share of the echo left above which the path is learnt faster
DIVERGED, DIVERGED_BLOCKS = 1.6, 6  # error over near, as powers; so many times in a row
MISSED, MISSED_SIGHTINGS = 0.7, 2  # of an echo is left, so many times in a row: the path is another one


class KalmanEchoCanceller:
    """Cancels the echo and keeps whoever talks at the same time, in numpy; at 16 or 24 kHz.

    Echo paths of up to 200 ms, up to 0.5 s after `far`, on clocks that differ by up to 500 ppm. Until the path is
    learnt, or for five seconds of far-end sound, the microphone is taken down by 30 dB while the far end talks, and
    for another two seconds when the filter had to begin anew. `drift_ppm` is positive where the echo comes ever later.

    Raises UnsupportedFormat for other rates.
    """

    latency_seconds = 0.01

    def __init__(self, rate_hz: int = 16000) -> None:
        if rate_hz not in RATES_HZ:
            raise UnsupportedFormat(f"rate_hz={rate_hz}: the Kalman echo canceller runs at 16000 or 24000")
        self.rate_hz = rate_hz
        frame = frames_in(rate_hz, 10)
        self.block_frames = FRAMES * frame
        self._drift = DriftCompensator(rate_hz, MAX_BULK_DELAY_SECONDS)
        self._delay = BulkDelay(rate_hz)
        self._filter = EchoPathFilter(frame, PARTITIONS)
        self._suppressor = ResidualSuppressor(frame)
        self._gate = StartGate(rate_hz)
        self._loss, self._filter_loss = ReturnLoss(blocks=50), ReturnLoss(blocks=5)
        self._coupling = ReturnLoss(blocks=15)
        self._far_centre, self._near_centre = Centre(self.block_frames), Centre(self.block_frames)
        self.reset()

    def reset(self) -> None:
        """Forgets the room, the delays and the sound so far."""
        for part in (self._drift, self._delay, self._filter, self._suppressor, self._gate):
            part.reset()
        for loss in (self._loss, self._filter_loss, self._coupling):
            loss.reset()
        self._aligned = False
        self._silent = PARTITIONS + 1  # frames since the far end talked, in the filter
        self._missed = self._diverged = 0
        for centre in (self._far_centre, self._near_centre):
            centre.reset()

    @property
    def erle_db(self) -> float | None:
        """As the protocol says; the start-up gate is not counted."""
        return self._loss.db

    @property
    def drift_ppm(self) -> float:
        """By how much the microphone's clock is found to be slower than the loudspeaker's."""
        return self._drift.drift_ppm

    @property
    def delay_seconds(self) -> float:
        """By how much `far` is delayed before the filter."""
        return self._drift.delay_seconds

    def process(self, far: Mono, near: Mono, /) -> Mono:
        """`near`, `latency_seconds` late, without the echo of `far`; float32 `[block_frames]`, 20 ms each.

        Raises UnsupportedFormat for other shapes and dtypes.
        """
        played, near = check_blocks(far, near, self.block_frames)
        played, near = self._far_centre.process(played), self._near_centre.process(near)
        talking = mean_square(played) > SILENCE_POWER
        far = self._drift.process(played)
        heard = mean_square(far) > SILENCE_POWER
        self._silent = 0 if heard else self._silent + FRAMES
        silent = self._silent > PARTITIONS
        error, echo = self._filter.process(far, near, silent=silent)
        result = self._suppressor.process(error, echo, silent=silent)
        seconds = len(far) / self.rate_hz
        self._drift.watch(self._filter.path, seconds, heard)
        if heard:
            self._judge(mean_square(far), mean_square(near), mean_square(error), mean_square(result))
        sighting = self._delay.process(played, near, error, talking)
        if sighting is not None:
            self._see(sighting)
        return self._gate.process(result, talking, self._loss, self._coupling)

    def _see(self, sighting: Sighting) -> None:
        missed = sighting.left > MISSED and not self._gate.learning
        self._missed = self._missed + 1 if missed else 0
        if sighting.delay_seconds is not None:
            self._align(sighting.delay_seconds)
        if self._missed >= MISSED_SIGHTINGS:
            self._begin_anew()

    def _align(self, delay: float) -> None:
        """Moves the far end by whole frames, so that the strongest echo lies near the filter's beginning."""
        early = delay - self._drift.delay_seconds
        if self._aligned and EARLIEST_SECONDS <= early <= LATEST_SECONDS:
            return
        frames = math.floor((early - LEAD_SECONDS) * 100)
        frames = max(frames, -math.floor(self._drift.delay_seconds * 100))
        if frames:
            self._drift.move(frames / 100)
            self._filter.shift(frames)
            if self._aligned:
                self._gate.close_again()
        self._aligned = True

    def _judge(self, far: float, near: float, error: float, result: float) -> None:
        """Learns anew what no longer fits."""
        self._loss.update(near, result)
        self._coupling.update(far, near)
        self._filter_loss.update(near, error)
        watched = not (self._gate.learning or self._coupling.above(NO_ECHO_DB))
        diverged = watched and self._filter_loss.ratio < 1 / DIVERGED
        self._diverged = self._diverged + 1 if diverged else 0
        if self._diverged > DIVERGED_BLOCKS:
            self._begin_anew()
        elif self._suppressor.leakage > CHANGED_LEAKAGE:
            self._filter.doubt(self._suppressor.leakage)

    def _begin_anew(self) -> None:
        """The path has become another one."""
        self._filter.forget_path()
        self._filter_loss.reset()
        self._gate.close_again()
        self._missed = self._diverged = 0
