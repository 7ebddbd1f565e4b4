"""How much of the echo goes, and the gate that stands in until enough of it does."""

import math

from .echo import Mono
from .levels import Ramp

CLOSED_GAIN = 10 ** (-30 / 20)
HOLD_SECONDS = 0.5  # after the far end's last sound: the longest bulk delay
ENOUGH_DB = 25.0  # of what comes in
NO_ECHO_DB = 35.0  # from loudspeaker to microphone: a headset
ENOUGH_SECONDS = 1.0  # of far-end sound for which it has to hold
EARLIEST_SECONDS = 2.0  # of far-end sound; before, the suppressor takes down whatever there is
START_SECONDS, AGAIN_SECONDS = 5.0, 2.0  # of far-end sound, then the gate opens anyway


class ReturnLoss:
    """The ratio of power that goes in to power that comes out, over about `blocks` blocks."""

    def __init__(self, blocks: int) -> None:
        self._keep = 1 - 1 / blocks
        self.reset()

    def reset(self) -> None:
        """Forgets what was measured."""
        self._into = self._out = 0.0

    def update(self, into: float, out: float) -> None:
        """Takes the powers of a block."""
        self._into = self._keep * self._into + into
        self._out = self._keep * self._out + out

    @property
    def ratio(self) -> float:
        """In over out; 1 before anything was measured."""
        return (self._into + 1e-12) / (self._out + 1e-12)

    def above(self, db: float) -> bool:
        """Whether it was measured, and is more than that."""
        return self.db is not None and self.db > db

    @property
    def db(self) -> float | None:
        """The ratio in decibels; None before anything was measured."""
        return 10 * math.log10(self.ratio) if self._into else None


class StartGate:
    """Takes the microphone down by 30 dB while the far end talks, until the canceller has learnt the echo path.

    That is when, after two seconds of far-end sound, 25 dB of what the microphone hears went away for a second of it in
    a row, or it heard 35 dB less than what was played; or after five seconds of it, so that a loudspeaker that cannot
    be cancelled well does not make a call half-duplex for good.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._ramp = Ramp(rate_hz, ramp_seconds=0.01)
        self.reset()

    def reset(self) -> None:
        """As at the start of a call."""
        self._left = START_SECONDS
        self._enough = self._hold = self._waited = 0.0

    @property
    def learning(self) -> bool:
        """Whether it would be closed while the far end talks."""
        return self._left > 0

    def close_again(self) -> None:
        """The path has to be learnt anew: closes for two seconds of far-end sound at most."""
        self._left = max(self._left, AGAIN_SECONDS)
        self._enough = self._waited = 0.0

    def process(self, pcm: Mono, talking: bool, loss: ReturnLoss, coupling: ReturnLoss) -> Mono:
        """A block, taken down or not. `talking`: the far end does, in this block.

        `loss` is that from the microphone to here, `coupling` that from the loudspeaker to the microphone.
        """
        seconds = len(pcm) / self._rate_hz
        if talking:
            self._hold = HOLD_SECONDS
            if self.learning:
                self._learn(seconds, loss.above(ENOUGH_DB) or coupling.above(NO_ECHO_DB))
        else:
            self._hold -= seconds
        self._ramp.target = CLOSED_GAIN if self.learning and self._hold > 0 else 1.0
        return self._ramp.apply(pcm[:, None])[:, 0]

    def _learn(self, seconds: float, enough: bool) -> None:
        self._left -= seconds
        self._waited += seconds
        self._enough = self._enough + seconds if enough else 0.0
        if self._enough >= ENOUGH_SECONDS and self._waited >= EARLIEST_SECONDS:
            self._left = 0.0
