"""How a call shows itself while it runs: a live display on a terminal, plain lines elsewhere. All on stderr."""

from types import TracebackType
from typing import Literal, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

Phase = Literal["connecting", "speaking", "waiting", "listening", "closing"]

WORDS: dict[Phase, str] = {
    "connecting": "connecting",
    "speaking": "speaking",
    "waiting": "waiting for the answer",
    "listening": "listening",
    "closing": "closing",
}


class View(Protocol):
    """Shows where a call is; entered while it runs."""

    def show(self, phase: Phase, sent_seconds: float, heard_seconds: float) -> None:
        """Called several times a second."""
        ...

    def note(self, text: str) -> None:
        """One line that stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_view(console: Console, duration_seconds: float | None) -> View:
    """A live display where the console is a terminal, else plain lines; the duration is the input's, if known."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console, duration_seconds)
    return PlainView(console)


class PlainView:
    """A line whenever the phase changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: Phase | None = None

    def show(self, phase: Phase, sent_seconds: float, heard_seconds: float) -> None:
        if phase != self._phase:
            self._phase = phase
            self.note(WORDS[phase])

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class LiveView:
    """Two bars: how much of the input is spoken, how much of an answer is heard. Fits 80 columns."""

    def __init__(self, console: Console, duration_seconds: float | None) -> None:
        self._console = console
        self._duration_seconds = duration_seconds
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=36, complete_style="cyan", finished_style="cyan", pulse_style="yellow"),
            TextColumn("{task.fields[text]}"),
            console=console,
        )
        self._you: TaskID = self._progress.add_task("[cyan]you  ", total=duration_seconds, text="connecting")
        self._model: TaskID = self._progress.add_task("[yellow]model", total=1.0, text="")

    def show(self, phase: Phase, sent_seconds: float, heard_seconds: float) -> None:
        duration = self._duration_seconds
        spoken = f"{sent_seconds:.1f} s" if duration is None else f"{sent_seconds:.1f} of {duration:.1f} s"
        words = "connecting" if phase == "connecting" else spoken
        self._progress.update(self._you, completed=sent_seconds, text=words)
        heard = f"{heard_seconds:.1f} s" if heard_seconds else ""
        text = f"{heard}  {WORDS[phase]}" if phase in ("waiting", "listening", "closing") else heard
        self._progress.update(
            self._model, total=None if phase == "listening" else 1.0, completed=0, text=text
        )

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
