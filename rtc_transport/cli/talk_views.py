"""How a conversation shows itself while it runs: levels, what is said, latency. All on stderr."""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rtc_audio.levels import FLOOR_DBFS

from .minutes import Line
from .summary import LEAST_ECHO_DB, said

WIDTH = 80
METER_CELLS = (6, 30)
"""Least and most, as the terminal is wide."""
BESIDE_METER = 34  # the name, the level and most of the words
METER_FLOOR_DBFS = -60.0

Mood = Literal["connecting", "live", "muted", "between", "turn", "hushed", "ending", "deaf"]
MOODS: dict[Mood, str] = {
    "connecting": "connecting",
    "live": "listening to you",
    "muted": "muted",
    "between": "muted, space begins your turn",
    "turn": "your turn, space ends it",
    "hushed": "muted, space ends your turn",
    "ending": "your turn is over",
    "deaf": "no microphone at the moment",
}
STYLES: dict[Mood, str] = {
    "connecting": "dim",
    "muted": "bold red",
    "hushed": "bold red",
    "deaf": "bold red",
    "turn": "bold green",
}
MUTED = ("muted", "between", "hushed")
MARKS: dict[str, str] = {"user": "you", "model": "model"}
COLOURS: dict[str, str] = {"user": "cyan", "model": "yellow"}


@dataclass(frozen=True)
class TalkState:
    """A conversation at a moment; levels are RMS in dBFS."""

    mood: Mood = "connecting"
    seconds: float = 0.0
    user_dbfs: float = FLOOR_DBFS
    model_dbfs: float = FLOOR_DBFS
    speaking: bool = False
    """Whether the model speaks."""
    response_latency_ms: float | None = None
    rtt_ms: float | None = None
    echo_return_loss_db: float | None = None
    pending: Line | None = None
    """What is being said."""


class TalkView(Protocol):
    """Shows a conversation; entered while it runs."""

    def show(self, state: TalkState) -> None:
        """Called several times a second."""
        ...

    def said(self, line: Line) -> None:
        """Something that has been said."""
        ...

    def note(self, text: str) -> None:
        """One line that stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_talk_view(console: Console, keys: str) -> TalkView:
    """A live display where the console is a terminal, else plain lines; `keys` says which keys there are."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveTalkView(console, keys)
    return PlainTalkView(console)


class PlainTalkView:
    """A line whenever the mood changes, and for everything that has been said."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._mood: Mood | None = None

    def show(self, state: TalkState) -> None:
        if state.mood != self._mood:
            self._mood = state.mood
            self.note(MOODS[state.mood])

    def said(self, line: Line) -> None:
        self.note(f"{MARKS[line.speaker]}: {said(line)}")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class LiveTalkView:
    """Two level meters and a line of figures that stay at the bottom; what is said scrolls above them."""

    def __init__(self, console: Console, keys: str) -> None:
        self._console = console
        self._keys = keys
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, state: TalkState) -> None:
        self._live.update(self._render(state), refresh=True)

    def said(self, line: Line) -> None:
        self._console.print(self._line(line))

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self, state: TalkState) -> RenderableType:
        rows = [
            self._meter("user", state.user_dbfs, MOODS[state.mood], STYLES.get(state.mood, "")),
            self._meter("model", state.model_dbfs, "speaking" if state.speaking else ""),
            Text(figures(state), style="dim"),
        ]
        if state.pending is not None:
            rows.insert(0, self._line(state.pending))
        for row in rows:
            row.no_wrap, row.overflow = True, "ellipsis"
            row.truncate(self._width, overflow="ellipsis")
        keys = self._keys.replace("m mute", "m unmute") if state.mood in MUTED else self._keys
        return Group(*rows, Text(keys, style="dim"))

    @property
    def _width(self) -> int:
        return min(WIDTH, self._console.width)

    def _meter(self, speaker: str, dbfs: float, words: str, style: str = "") -> Text:
        least, most = METER_CELLS
        cells = min(max(self._width - BESIDE_METER, least), most)
        filled = round(cells * max(0.0, 1 - dbfs / METER_FLOOR_DBFS))
        return Text.assemble(
            (f"{MARKS[speaker]:<5} ", COLOURS[speaker]),
            ("█" * filled, COLOURS[speaker]),
            ("·" * (cells - filled), "dim"),
            f" {level(dbfs):>6}  ",
            (words, style),
        )

    def _line(self, line: Line) -> Text:
        return Text.assemble((f"{MARKS[line.speaker]:<5} ", COLOURS[line.speaker]), said(line))


def level(dbfs: float) -> str:
    """A level in words: nothing below what is silence to an ear."""
    return f"{dbfs:.0f} dB".replace("-", "−") if dbfs > METER_FLOOR_DBFS else "– dB"


def figures(state: TalkState) -> str:
    """What is known of time and distance, in one line."""
    minutes, seconds = divmod(int(state.seconds), 60)
    parts = [f"{minutes}:{seconds:02d}"]
    if state.response_latency_ms is not None:
        parts.append(f"answer in {state.response_latency_ms:.0f} ms")
    if state.rtt_ms is not None:
        parts.append(f"network {state.rtt_ms:.0f} ms")
    if (state.echo_return_loss_db or 0.0) >= LEAST_ECHO_DB:
        parts.append(f"echo −{state.echo_return_loss_db:.0f} dB")
    return " · ".join(parts)
