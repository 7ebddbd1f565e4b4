"""Whether a device still works, from signs that are looked at now and then. Pure: time is an argument."""

from dataclasses import dataclass

POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 0.5
FIRST_BLOCK_SECONDS = 3.0  # Bluetooth and idle sound servers take their time
ZEROS_SECONDS = 3.0
MAX_ZEROS_SECONDS = 60.0
FLAGS, FLAGS_SECONDS = 3, 10.0
SETTLE_SECONDS = 2.0


@dataclass
class Heartbeat:
    """Says when a stream has stopped: it ended, it is not active, or no block came for half a second (ten blocks).

    The time in which nobody looked does not count: if the event loop stood still, the callbacks may have as well.
    """

    block_seconds: float
    checked_at: float
    blocks: int = 0
    waited_seconds: float = 0.0

    def check(self, now: float, *, blocks: int, active: bool, finished: bool) -> str | None:
        """The reason for which the stream is lost, or None."""
        self.waited_seconds += min(now - self.checked_at, 1.5 * POLL_SECONDS)
        self.checked_at = now
        if blocks != self.blocks:
            self.blocks, self.waited_seconds = blocks, 0.0
        if finished or not active:
            return "the stream has ended"
        if self.waited_seconds > self._limit:
            return f"no block for {self.waited_seconds:.1f} s"
        return None

    @property
    def _limit(self) -> float:
        return max(HEARTBEAT_SECONDS, 10 * self.block_seconds) if self.blocks else FIRST_BLOCK_SECONDS


@dataclass
class ZeroWatch:
    """Says when a microphone has given digital zeros for 3 s: no analogue sound is that silent.

    Opening it anew may not help (a switch at the headset): then it waits for twice as long each time, up to a minute.
    """

    limit_seconds: float = ZEROS_SECONDS
    silent: bool = False

    def check(self, zero_seconds: float) -> bool:
        """Whether the device should be opened anew now."""
        if zero_seconds < self.limit_seconds:
            return False
        self.limit_seconds = min(2 * self.limit_seconds, MAX_ZEROS_SECONDS)
        return True

    def heard(self) -> bool:
        """There is sound; whether that is news."""
        was, self.silent, self.limit_seconds = self.silent, False, ZEROS_SECONDS
        return was


class FlagWatch:
    """Says when the driver has lost sound three times within ten seconds."""

    def __init__(self) -> None:
        self._seen = 0
        self._times: list[float] = []

    def check(self, now: float, flagged: int) -> bool:
        """Whether `flagged`, a running count, has risen too often."""
        self._times = [t for t in self._times if now - t < FLAGS_SECONDS]
        self._times += [now] * min(flagged - self._seen, FLAGS)
        self._seen = flagged
        return len(self._times) >= FLAGS


class Margin:
    """How many steps to keep between two clocks: one more when they were too few, one less after a calm half minute.

    What was needed in the first two seconds is forgotten then: they say little about how a call goes on.
    """

    def __init__(self, least: int, most: int) -> None:
        self.steps = self._least = least
        self._most = most
        self._spare = float("inf")
        self._since: float | None = None
        self._settles_at: float | None = None

    def short(self, now: float) -> None:
        """They were not enough."""
        self._settle(now)
        self.steps = min(self.steps + 1, self._most)
        self._spare, self._since = float("inf"), now

    def observe(self, now: float, spare_steps: float) -> None:
        """What was left of them, at the worst since the last call."""
        self._settle(now)
        self._spare = min(self._spare, spare_steps)
        if self._since is None:
            self._since = now
        if now - self._since >= 30.0:
            if self._spare >= 1.5 and self.steps > self._least:
                self.steps -= 1
            self._spare, self._since = float("inf"), now

    def _settle(self, now: float) -> None:
        if self._settles_at is None:
            self._settles_at = now + SETTLE_SECONDS
        elif now >= self._settles_at:
            self._settles_at = float("inf")
            self.steps, self._spare, self._since = self._least, float("inf"), now
