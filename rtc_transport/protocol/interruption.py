"""The model's voice as it is heard here, and what happens when it is cut off.

Three can cut it: the application (`interrupt`), the service when it hears the user (`output_audio_buffer.cleared`
or a `response.done` cancelled by turn detection that nobody here asked for), and the end of the connection. The local
path is the same: flush the playout, drop what is still on its way, tell the application how much was heard.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rtc_transport.events.transport import AudioInterrupted

from .effects import Effect, Emit, MarkVoice, Playback, ResumePlayout, StopPlayout

DROP_SECONDS = 0.5
_REMEMBERED = 64


class Truncation(NamedTuple):
    """Where an item is to be cut: the arguments of `conversation.item.truncate`."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class _Clear:
    until: float
    """A `cleared` later than this does not answer our clear."""
    reported: bool
    """Whether the application has been told of the interruption."""


class Interruption:
    """Whose voice is on the air, which responses were cut off, and whether incoming audio is dropped."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._cut: OrderedDict[str, None] = OrderedDict()
        self._speaker: str | None = None
        self._on_air = False
        self._clear: _Clear | None = None
        self.deadline: float | None = None
        """Until when incoming audio is dropped; None if it is played."""
        self.has_spoken = False
        """Whether the model's voice was ever on the air."""

    def audio_part(self, response_id: str, item_id: str, content_index: int) -> None:
        """A response has a part that will be heard; the first one of it is the one that is marked and truncated."""
        if response_id not in self._items:
            self._items[response_id] = (item_id, content_index)
            _trim(self._items)

    def item_of(self, response_id: str | None) -> str | None:
        """The item of a response that is heard, as far as known."""
        item = self._items.get(response_id or "")
        return item[0] if item else None

    def started(self, response_id: str, now: float) -> list[Effect]:
        """`output_audio_buffer.started`: a voice begins; that of a response that was cut off stays unheard."""
        self._speaker, self._on_air, self.has_spoken = response_id, True, True
        if response_id in self._cut:
            return [self._stop(now + DROP_SECONDS)]
        mark = MarkVoice(response_id or None, self.item_of(response_id))
        return [*self.resume(), mark]

    def stopped(self, response_id: str) -> None:
        """`output_audio_buffer.stopped`: the service has sent all of a voice; the rest is in our playout."""
        if response_id in ("", self._speaker):
            self._on_air = False

    def cleared(self, response_id: str, now: float, playback: Playback) -> list[Effect]:
        """`output_audio_buffer.cleared`: the service cut a voice off, for us or because it heard the user."""
        cut = response_id or self._speaker or ""
        clear, self._clear = self._clear, None
        asked = clear is not None and now <= clear.until
        effects = self.resume()
        if cut in self._cut or (cut != self._speaker and self._is_heard(playback)):
            pass  # known already, or not the voice that is heard
        elif asked and clear is not None and clear.reported:
            self._remember([cut])
            effects += [StopPlayout(None)] if self._is_heard(playback) else []
        else:
            effects += self._cut_off([cut], now, playback, "user" if asked else "server", drop=False)
        if cut == self._speaker:
            self._on_air = False
        return effects

    def turn_detected(self, response_id: str, now: float, playback: Playback) -> list[Effect]:
        """`response.done`, cancelled because the user speaks: the `cleared` may come later or have come before."""
        if response_id in self._cut:
            return []
        return self._cut_off([response_id], now, playback, "server", drop=True)

    def interrupt(self, now: float, playback: Playback, running: Iterable[str]) -> list[Effect]:
        """The application cuts off what is heard and what `running` responses would still say."""
        self._clear = _Clear(now + DROP_SECONDS, reported=True)
        return self._cut_off(running, now, playback, "user", drop=True)

    def silence(self, response_id: str, now: float) -> None:
        """A response that was cut off before it started has started: its voice is not to be heard."""
        self._remember([response_id])
        self._clear = _Clear(now + DROP_SECONDS, reported=True)

    def clear_sent(self, now: float) -> None:
        """The application sent an `output_audio_buffer.clear` of its own; its answer tells of the interruption."""
        self._clear = _Clear(now + DROP_SECONDS, reported=False)

    def truncation(self, playback: Playback) -> Truncation | None:
        """Where to cut what is heard now: whole milliseconds, not more than came in; None if nothing is heard."""
        item = self._items.get(self._speaker or "") if self._is_heard(playback) else None
        return Truncation(*item, _heard_ms(playback)) if item else None

    def tick(self, now: float) -> list[Effect]:
        """Plays incoming audio again if no `cleared` came in time; from then on only the playout says what is heard."""
        if self.deadline is None or now < self.deadline:
            return []
        self._on_air = False
        return self.resume()

    def resume(self) -> list[Effect]:
        """Plays incoming audio again, if it is dropped."""
        dropping, self.deadline = self.deadline is not None, None
        return [ResumePlayout()] if dropping else []

    def _is_heard(self, playback: Playback) -> bool:
        return self._speaker is not None and (self._on_air or playback.playing)

    def _cut_off(
        self,
        responses: Iterable[str],
        now: float,
        playback: Playback,
        by: Literal["user", "server"],
        *,
        drop: bool,
    ) -> list[Effect]:
        """Flushes, drops what is on its way (`drop`: it will end with a `cleared`), and tells what was heard of whom.

        That is the voice on the air, which need not be of one of the `responses` that were cancelled.
        """
        heard = self._is_heard(playback)
        speaker = self._speaker if heard else None
        self._remember([*responses, speaker or ""])
        report = AudioInterrupted(
            item_id=self.item_of(speaker),
            response_id=speaker or None,
            audio_end_ms=_heard_ms(playback) if heard else 0,
            by=by,
        )
        return [self._stop(now + DROP_SECONDS if drop and heard else None), Emit("audio_interrupted", report)]

    def _stop(self, drop_until: float | None) -> Effect:
        if drop_until is not None:
            self.deadline = drop_until
        return StopPlayout(self.deadline)

    def _remember(self, responses: Iterable[str]) -> None:
        self._cut.update((response, None) for response in responses if response)
        _trim(self._cut)


def _heard_ms(playback: Playback) -> int:
    return max(0, min(int(playback.played_ms), int(playback.received_ms)))


def _trim(remembered: OrderedDict[str, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)
