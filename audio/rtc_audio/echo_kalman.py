"""The built-in echo canceller: Kalman filter, residual suppressor, start-up gate; finds bulk delay and drift itself."""

import math

from .echo import SILENCE_POWER, Mono, check_blocks, frames_in, mean_square
from .echo_delay import BulkDelay
from .echo_drift import DriftCompensator
from .echo_filter import FRAMES, EchoPathFilter
from .echo_gate import ReturnLoss, StartGate
from .echo_suppressor import ResidualSuppressor
from .errors import UnsupportedFormat

RATES_HZ = (16000, 24000)
PARTITIONS = 20  # 200 ms of echo path behind the bulk delay
MAX_BULK_DELAY_SECONDS = 0.5

# Where the strongest echo may lie in the filter before it is moved to `LEAD_SECONDS`
EARLIEST_SECONDS, LEAD_SECONDS, LATEST_SECONDS = 0.004, 0.015, 0.05

CHANGED_LEAKAGE = 0.02  # share of the echo left above which the path is learnt anew
DIVERGED = 2.0  # error over near, as powers


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
        self._aligned = False
        self._silent = PARTITIONS + 1  # frames since the far end talked, in the filter

    def reset(self) -> None:
        """Forgets the room, the delays and the sound so far."""
        for part in (self._drift, self._delay, self._filter, self._suppressor, self._gate):
            part.reset()
        self._loss.reset()
        self._filter_loss.reset()
        self._aligned, self._silent = False, PARTITIONS + 1

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
        far, near = check_blocks(far, near, self.block_frames)
        talking = mean_square(far) > SILENCE_POWER
        self._align(self._delay.process(far, near, talking))
        far = self._drift.process(far)
        heard = mean_square(far) > SILENCE_POWER
        self._silent = 0 if heard else self._silent + FRAMES
        error, echo = self._filter.process(far, near, silent=self._silent > PARTITIONS)
        result = self._suppressor.process(error, echo)
        self._drift.watch(self._filter.path, len(far) / self.rate_hz, heard)
        if heard:
            self._judge(mean_square(near), mean_square(error), mean_square(result))
        return self._gate.process(result, talking, self._loss.db)

    def _align(self, delay: float | None) -> None:
        """Moves the far end by whole blocks, so that the strongest echo lies near the filter's beginning."""
        if delay is None:
            return
        early = delay - self._drift.delay_seconds
        if self._aligned and EARLIEST_SECONDS <= early <= LATEST_SECONDS:
            return
        blocks = math.floor((early - LEAD_SECONDS) * 100)
        blocks = max(blocks, -math.floor(self._drift.delay_seconds * 100))
        if blocks:
            self._drift.move(blocks / 100)
            self._filter.shift(blocks)
            if self._aligned:
                self._gate.close_again()
        self._aligned = True

    def _judge(self, near: float, error: float, result: float) -> None:
        """Learns anew what no longer fits."""
        self._loss.update(near, result)
        self._filter_loss.update(near, error)
        if self._filter_loss.ratio < 1 / DIVERGED:
            self._filter.forget_path()
            self._filter_loss.reset()
            self._gate.close_again()
        elif self._suppressor.leakage > CHANGED_LEAKAGE:
            self._filter.doubt(self._suppressor.leakage)
