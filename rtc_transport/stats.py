"""What a call is like at a moment: an immutable snapshot of everything that is counted anyway."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from rtc_audio.playout_stats import PlayoutStats

from .errors import Stage

if TYPE_CHECKING:
    from .call import Call
    from .media import Media

STAGES: tuple[Stage, ...] = ("key", "signaling", "ice", "dtls", "channel", "session")


class StageSeconds(dict[Stage, float]):
    """Read only: a snapshot does not change. A dict, for `dataclasses.asdict` and json."""

    def __reduce__(self) -> tuple[type["StageSeconds"], tuple[dict[Stage, float]]]:
        return type(self), (dict(self),)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a snapshot does not change")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


@dataclass(frozen=True)
class CallStats:
    """Counts are since the call began; a field is None where nothing is known yet."""

    connect_seconds: Mapping[Stage, float] = field(default_factory=StageSeconds)
    """How long each stage of the connect took."""
    packets_sent: int = 0
    """RTP packets that left."""
    packets_passed: int = 0
    """Those of them that the source had as packets, not encoded here."""
    bytes_sent: int = 0
    """Opus payload in them."""
    skipped_frames: int = 0
    """Frames that were not sent because the event loop was late."""
    packets_received: int = 0
    """RTP packets that came."""
    packets_lost: int = 0
    """RTP packets that did not come, by their numbers."""
    jitter_ms: float = 0.0
    """Interarrival jitter (RFC 3550)."""
    rtt_ms: float | None = None
    """Round trip by receiver reports."""
    peer_loss: float | None = None
    """Share of our packets that the peer missed lately, 0 to 1."""
    playout_delay_ms: float = 0.0
    """How long sound waits between its arrival and its playing."""
    playout_target_ms: float = 0.0
    """The delay that the playout aims at."""
    playout: PlayoutStats = field(default_factory=PlayoutStats)
    """What the playout made of it."""
    empty_packets: int = 0
    """RTP packets that came without a payload: padding, no loss."""
    source_errors: int = 0
    """Reads of the source that failed."""
    nonfinite_samples: int = 0
    """Samples of the source that were NaN or infinite; silence went out for them."""
    dropped_packets: int = 0
    """Packets dropped because the voice had been interrupted."""
    response_latency_ms: float | None = None
    """From the end of the user's last words to the first audible sample of the answer, the latest one.

    At the microphone and at the loudspeaker, where they are devices that say how late they are.
    """
    input_latency_ms: float | None = None
    """From the microphone's membrane to this program, by its driver."""
    input_lost_ms: float = 0.0
    """Sound of the microphone that was lost or left out before it was read."""
    output_latency_ms: float | None = None
    """From this program to the air in front of the loudspeaker, what waits for the device included."""
    output_lost_ms: float = 0.0
    """Silence that the loudspeaker played because its sound did not come in time."""
    echo_return_loss_db: float | None = None
    """By how much the echo canceller takes the loudspeaker down in the microphone."""
    loop_lag_ms: float = 0.0
    """How late the event loop was at the worst, in the last five seconds."""


def collect(
    call: "Call | None", media: "Media", marks: Mapping[str, float], lag_seconds: float = 0.0
) -> CallStats:
    """The snapshot. `marks` are the times at which stages were done, in seconds of one clock, from "began" on."""
    latency = media.latency.latest_seconds
    if call is None:
        return CallStats(connect_seconds=durations(marks))
    reception, voice = call.peer.receiver.reception, media.voice
    source, sink = media.source, media.sink
    source_errors, nonfinite_samples = media.source_faults
    return CallStats(
        connect_seconds=durations(marks),
        packets_sent=call.track.packets_sent,
        packets_passed=call.track.packets_passed,
        bytes_sent=call.track.bytes_sent,
        skipped_frames=call.track.skipped_frames,
        packets_received=reception.total_received,
        packets_lost=reception.total_lost,
        jitter_ms=1000 * reception.jitter_seconds,
        rtt_ms=None if call.rtt_seconds is None else 1000 * call.rtt_seconds,
        peer_loss=call.peer_loss,
        playout_delay_ms=1000 * voice.delay_seconds,
        playout_target_ms=1000 * voice.target_seconds,
        playout=voice.stats,
        empty_packets=call.peer.receiver.empty_payloads,
        source_errors=source_errors,
        nonfinite_samples=nonfinite_samples,
        dropped_packets=voice.dropped_packets,
        response_latency_ms=None if latency is None else 1000 * latency,
        input_latency_ms=_milliseconds(source, "latency_seconds"),
        input_lost_ms=sum(_milliseconds(source, f"{how}_seconds") or 0.0 for how in ("dropped", "overflow")),
        output_latency_ms=_milliseconds(sink, "latency_seconds"),
        output_lost_ms=_milliseconds(sink, "underrun_seconds") or 0.0,
        echo_return_loss_db=media.capture.return_loss_db,
        loop_lag_ms=1000 * lag_seconds,
    )


def _milliseconds(device: object, name: str) -> float | None:
    """What a device says of itself; None for sources and sinks that are none."""
    value = getattr(device, name, None)
    return 1000 * value if isinstance(value, int | float) else None


class ResponseLatency:
    """Measures from the user's last audible sample to the first of the answer. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.latest_seconds: float | None = None
        self._spoken_at: float | None = None
        self._asked_at: float | None = None

    def spoke(self, at_seconds: float) -> None:
        """The user was audible."""
        self._spoken_at = at_seconds

    def answering(self) -> None:
        """The voice of a response begins."""
        self._asked_at, self._spoken_at = self._spoken_at, None

    def heard(self, at_seconds: float) -> None:
        """The voice is audible."""
        if self._asked_at is not None:
            self.latest_seconds = at_seconds - self._asked_at
            self._asked_at = None


def durations(marks: Mapping[str, float]) -> StageSeconds:
    """How long each stage took, of those that were done, in order."""
    before = marks.get("began", 0.0)
    spans: dict[Stage, float] = {}
    for stage in STAGES:
        if stage in marks:
            spans[stage] = max(0.0, marks[stage] - before)
            before = max(before, marks[stage])
    return StageSeconds(spans)
