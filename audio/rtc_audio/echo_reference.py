"""What the loudspeaker plays, lined up in time with what the microphone hears."""

import numpy as np

from .echo import Mono
from .echo_line import DelayLine
from .format import check_rate
from .resampler import StreamResampler

JUMP_SECONDS = 0.03  # off by more: the device has stopped in between, or another one plays
SLIDE = 1e-3  # the most by which reading goes faster or slower
SLIDE_SECONDS = (
    10.0  # time constant of reading: a canceller follows slow changes of the delay, not the stamps' jitter
)
ASTRAY_SECONDS = 0.005  # off by more, reading starts over where it should be
SETTLED_SECONDS = 0.5  # after which a clock is known well enough to follow it

JITTER_SECONDS = 0.002  # of time stamps
LATEST_SECONDS = 0.004  # a stamp that is off by more counts as off by that: the program was held up …
LATE_BLOCKS = 50  # … unless so many are in a row: then the device's latency has changed
CRYSTAL = 1e-4  # how much a clock's rate may differ from its nominal one
WANDER = 3e-7  # and by how much it changes in a second


class StreamClock:
    """When the samples of a stream happen, from time stamps that jitter: position → seconds, a straight line.

    A Kalman filter for the line's offset and slope that knows what crystals are like, so that the jitter of the first
    seconds is not taken for a drift; later it leans on about the last half minute.
    """

    def __init__(self, rate_hz: float) -> None:
        self._nominal = 1 / rate_hz
        self.period = self._nominal  # seconds from sample to sample
        self._begun: float | None = None  # position at which the line began
        self._position, self._seconds = 0.0, 0.0  # its last point
        self._offset, self._both, self._slope = 0.0, 0.0, CRYSTAL**2  # covariance; the slope is relative
        self._late = 0  # stamps in a row that were off by more than jitter

    @property
    def settled(self) -> bool:
        """Whether the line is known well."""
        return self._begun is not None and (self._position - self._begun) * self._nominal >= SETTLED_SECONDS

    def update(self, position: float, seconds: float) -> bool:
        """The sample at `position` happens at `seconds`; False if that is a jump, with which the line begins anew."""
        if self._begun is None:
            self._begin(position, seconds)
            return True
        late = seconds - self.seconds(position)
        self._late = self._late + 1 if abs(late) > LATEST_SECONDS else 0
        if abs(late) > JUMP_SECONDS or self._late > LATE_BLOCKS:
            self._begin(position, seconds)
            return False
        self._correct(position, min(max(late, -LATEST_SECONDS), LATEST_SECONDS))
        return True

    def _begin(self, position: float, seconds: float) -> None:
        """At a new place; the crystal is the same."""
        self._begun, self._late = position, 0
        self._position, self._seconds = position, seconds
        self._offset, self._both = JITTER_SECONDS**2, 0.0

    def _correct(self, position: float, late: float) -> None:
        predicted = self.seconds(position)
        passed = (position - self._position) * self._nominal
        self._offset += passed * (2 * self._both + passed * self._slope)
        self._both += passed * self._slope
        self._slope += passed * WANDER**2
        gain = self._offset / (self._offset + JITTER_SECONDS**2)
        slope_gain = self._both / (self._offset + JITTER_SECONDS**2)
        self._slope -= slope_gain * self._both
        self._offset *= 1 - gain
        self._both *= 1 - gain
        self._position, self._seconds = position, predicted + gain * late
        self.period += self._nominal * slope_gain * late

    def seconds(self, position: float) -> float:
        """When the sample at `position` happens."""
        return self._seconds + (position - self._position) * self.period

    def position(self, seconds: float) -> float:
        """What happens at `seconds`, between the samples too."""
        return self._position + (seconds - self._seconds) / self.period


class FarReference:
    """The far end for an echo canceller: written as the loudspeaker plays it, read as the microphone records.

    Times are those of one clock, in seconds: when a block's first sample sounds, and when it is recorded. They may
    jitter by some milliseconds; the drift between both devices is measured with them and taken out. `lead_seconds`:
    by how much earlier than it sounds the far end is given, for latencies that devices report too short; what is
    written must be ahead of what is read by as much. Silence stands where nothing was played, and for what is older
    than `capacity_seconds`.

    `rate_hz` is the microphone's rate, which is read; `far_rate_hz` the loudspeaker's, if it is another. `jumps` counts
    how often a time was not where the one before had promised.
    """

    def __init__(
        self,
        rate_hz: int,
        *,
        far_rate_hz: int | None = None,
        lead_seconds: float = 0.02,
        capacity_seconds: float = 2.0,
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self._far_rate_hz = far_rate_hz or rate_hz
        self._resampler = StreamResampler(self._far_rate_hz, rate_hz)
        self._capacity_seconds, self._lead_seconds = capacity_seconds, lead_seconds
        self._line = DelayLine(round(capacity_seconds * rate_hz))
        self.reset()

    def reset(self) -> None:
        """Forgets the sound and the clocks: the devices have changed."""
        self._line.clear()
        self._resampler.clear()
        self._far_clock, self._near_clock = StreamClock(self._far_rate_hz), StreamClock(self.rate_hz)
        self._origin = self._line.written  # where in the line the far end's position 0 is
        self._written = self._read = 0
        self._at: float | None = None  # position in the line that is read next
        self._settled = False
        self.jumps = 0

    @property
    def drift_ppm(self) -> float:
        """By how much faster the loudspeaker's clock runs than the microphone's."""
        nominal = self._near_clock.period * self.rate_hz / (self._far_clock.period * self._far_rate_hz)
        return (nominal - 1) * 1e6

    def write(self, pcm: Mono, at_seconds: float) -> None:
        """What was given to the loudspeaker, float32 `[frame]`, and when its first sample sounds."""
        if self._written:
            self._bridge(at_seconds)
        self._far_clock.update(self._written, at_seconds)
        self._line.write(self._resampler.push(pcm))
        self._written += len(pcm)

    def _bridge(self, at_seconds: float) -> None:
        """Silence where the loudspeaker had nothing to play."""
        gap = at_seconds - self._far_clock.seconds(self._written)
        if abs(gap) <= JUMP_SECONDS:
            return
        self.jumps += 1
        if not 0 < gap < self._capacity_seconds:
            self._line.clear()
            return
        missing = round(gap * self._far_rate_hz)
        self._line.write(self._resampler.push(np.zeros(missing, np.float32)))
        self._written += missing

    def read(self, at_seconds: float, n: int) -> Mono:
        """What sounded while `n` samples were recorded, the first at `at_seconds`; float32 `[n]`."""
        self.jumps += not self._near_clock.update(self._read, at_seconds)
        self._read += n
        if not self._written:
            return np.zeros(n, np.float32)
        target = self._place(self._near_clock.seconds(self._read)) - n
        settled = self._near_clock.settled and self._far_clock.settled
        if (
            self._at is None
            or settled > self._settled
            or abs(target - self._at) > ASTRAY_SECONDS * self.rate_hz
        ):
            self._at = float(round(target))
        self._settled = settled
        slide = settled * (target - self._at) / (SLIDE_SECONDS * self.rate_hz)
        ratio = 1 + min(max(slide, -SLIDE), SLIDE)
        out = self._line.read(self._at, n, ratio)
        self._at += n * ratio
        return out

    def _place(self, seconds: float) -> float:
        """Where in the line that is what has to be read at a time of the near end."""
        position = self._far_clock.position(seconds + self._lead_seconds)
        return self._origin + position * self.rate_hz / self._far_rate_hz
