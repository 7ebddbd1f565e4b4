"""What a call was like, afterwards: a short text for people, one JSON object for machines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .ending import Reason
from .minutes import Line
from .running import Failure

Outcome = Reason | Literal["hung_up", "interrupted", "failed"]

LEAST_ECHO_DB = 1.0
"""Below, there is no echo that would be worth a word."""

RECORDINGS = ("output", "record")
PACKETS = ("packets_sent", "packets_received", "packets_lost")


@dataclass(frozen=True)
class Summary:
    """All that is told about a call when it is over. Times in seconds unless the name says otherwise."""

    outcome: Outcome
    peer: str
    seconds: float
    """From the beginning of the connect to the end."""
    linger_seconds: float = 0.0
    call_id: str | None = None
    connect_seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage, in order; only those that were reached."""
    sent_seconds: float = 0.0
    """How much of the input was spoken."""
    heard_seconds: float = 0.0
    """How long the model spoke."""
    recorded_seconds: float = 0.0
    """How long the sound of the output or of the recording is."""
    latencies_seconds: Sequence[float] = ()
    """For every answer, from the user's last sound to the answer's first, as sent and played."""
    stats: Mapping[str, Any] = field(default_factory=dict)
    """The numbers of the transport's `CallStats`."""
    lines: Sequence[Line] = ()
    lines_told: bool = False
    """Whether people have read them by now."""
    responses: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    """What was written, by its purpose: output, report, events."""
    failure: Failure | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "outcome": self.outcome,
            "call_id": self.call_id,
            "seconds": round(self.seconds, 3),
            "connect_seconds": {stage: round(value, 4) for stage, value in self.connect_seconds.items()},
            "sent_seconds": round(self.sent_seconds, 3),
            "heard_seconds": round(self.heard_seconds, 3),
            "recorded_seconds": round(self.recorded_seconds, 3),
            "latencies_seconds": [round(latency, 3) for latency in self.latencies_seconds],
            "responses": self.responses,
            "transcript": [line.as_dict() for line in self.lines],
            "stats": dict(self.stats),
            "files": dict(self.files),
            "error": None if self.failure is None else asdict(self.failure),
        }

    def print(self, console: Console) -> None:
        """For people: a few lines, folded to the width of a terminal."""
        rows = list(self._rows())
        if console.is_terminal:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for name, text in rows:
                table.add_row(Text(name), Text(text))
            console.print(table)
        else:
            for name, text in rows:
                console.print(f"{name:<8}  {text}", markup=False, soft_wrap=True)
        if remark := self._remark():
            console.print(remark, markup=False, soft_wrap=True)

    def titles(self) -> tuple[str, str]:
        """Title and subtitle of the picture."""
        parts = [f"{self.seconds:.1f} s"]
        if self.connect_seconds:
            parts.append(f"connected in {_milliseconds(sum(self.connect_seconds.values()))} ms")
            parts += [
                f"{self.stats[name]} packets {name.partition('_')[2]}"
                for name in PACKETS
                if name in self.stats
            ]
        return f"Call to {self.peer}", " · ".join(parts)

    def _rows(self) -> Iterator[tuple[str, str]]:
        if self.connect_seconds:
            stages = ", ".join(
                f"{stage} {_milliseconds(span)}" for stage, span in self.connect_seconds.items()
            )
            yield "connect", f"{_milliseconds(sum(self.connect_seconds.values()))} ms: {stages}"
            yield "sent", f"{self.sent_seconds:.1f} s in {self.stats.get('packets_sent', 0)} packets"
            yield "heard", f"{self.heard_seconds:.1f} s in {self.stats.get('packets_received', 0)} packets"
            yield "loss", self._loss()
            if gaps := self._gaps():
                yield "gaps", gaps
            if echo := self._echo():
                yield "echo", echo
            if latency := self._latency():
                yield "latency", latency
        for line in () if self.lines_told else self.lines:
            yield ("you" if line.speaker == "user" else "model"), said(line)
        for purpose, path in self.files.items():
            length = f" ({self.recorded_seconds:.1f} s)" if purpose in RECORDINGS else ""
            yield purpose, f"{path}{length}"

    def _loss(self) -> str:
        playout = self.stats.get("playout", {})
        repaired = (
            f"{playout.get('fec_ms', 0):.0f} ms recovered, {playout.get('concealed_ms', 0):.0f} ms concealed"
        )
        return f"{self.stats.get('packets_lost', 0)} packets, {repaired}"

    def _gaps(self) -> str:
        """Sound that was lost between a device and this program."""
        lost_ms = {
            "microphone": self.stats.get("input_lost_ms", 0.0),
            "loudspeaker": self.stats.get("output_lost_ms", 0.0),
        }
        return ", ".join(f"{round(ms)} ms in the {device}" for device, ms in lost_ms.items() if round(ms))

    def _echo(self) -> str:
        loss_db = self.stats.get("echo_return_loss_db") or 0.0
        return f"taken down by {loss_db:.0f} dB" if loss_db >= LEAST_ECHO_DB else ""

    def _latency(self) -> str:
        parts = []
        if self.latencies_seconds:
            mean = sum(self.latencies_seconds) / len(self.latencies_seconds)
            parts.append(f"{_milliseconds(mean)} ms to the answer")
        if (rtt_ms := self.stats.get("rtt_ms")) is not None:
            parts.append(f"network {rtt_ms:.1f} ms")
        if playout_ms := self.stats.get("playout_delay_ms"):
            parts.append(f"playout {playout_ms:.0f} ms")
        return ", ".join(parts)

    def _remark(self) -> str:
        if self.outcome == "no_answer":
            return f"No answer came within {self.linger_seconds:g} s (--linger) of the last words."
        if self.outcome == "max_duration":
            return f"Ended after {self.seconds:.1f} s, as --max-duration asks."
        if self.outcome == "interrupted":
            return "Interrupted; the files are complete up to here." if self.files else "Interrupted."
        return ""


def said(line: Line) -> str:
    """What somebody said, or for how long."""
    text = line.text
    if text is None:
        text = "(speech)" if line.seconds is None else f"({line.seconds:.1f} s of speech)"
    return f"{text} … (cut off)" if line.cut else text


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"
