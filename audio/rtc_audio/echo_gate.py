"""How much of the echo goes, and the gate that stands in until enough of it does."""

import math

from .echo import Mono
from .levels import Ramp

CLOSED_GAIN = 10 ** (-30 / 20)
HOLD_SECONDS = 0.5  # after the far end's last sound: the longest bulk delay
ENOUGH_DB = 22.0
ENOUGH_SECONDS = 0.5  # of far-end sound for which it has to hold
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

    @property
    def db(self) -> float | None:
        """The ratio in decibels; None before anything was measured."""
        return 10 * math.log10(self.ratio) if self._into else None


class StartGate:
    """Takes the microphone down by 30 dB while the far end talks, until the canceller has learnt the echo path.

    That is when half a second of far-end sound in a row went with 22 dB of return loss; or after five seconds of it,
    so that a loudspeaker that cannot be cancelled well does not make a call half-duplex for good.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._ramp = Ramp(rate_hz, ramp_seconds=0.01)
        self.reset()

    def reset(self) -> None:
        """As at the start of a call."""
        self._left = START_SECONDS
        self._enough = self._hold = 0.0

    def close_again(self) -> None:
        """The path has to be learnt anew: closes for two seconds of far-end sound at most."""
        self._left = max(self._left, AGAIN_SECONDS)
        self._enough = 0.0

    def process(self, pcm: Mono, talking: bool, return_loss_db: float | None) -> Mono:
        """A block, taken down or not. `talking`: the far end does, in this block."""
        seconds = len(pcm) / self._rate_hz
        if talking:
            self._hold = HOLD_SECONDS
            self._left -= seconds
            enough = return_loss_db is not None and return_loss_db > ENOUGH_DB
            self._enough = self._enough + seconds if enough else 0.0
            if self._enough >= ENOUGH_SECONDS:
                self._left = 0.0
        else:
            self._hold -= seconds
        self._ramp.target = CLOSED_GAIN if self._left > 0 and self._hold > 0 else 1.0
        return self._ramp.apply(pcm[:, None])[:, 0]
