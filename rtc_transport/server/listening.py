"""The input audio buffer: what the user said and nobody has committed yet, and where speech is in it. Pure."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .problems import EventError
from .vad import RATE_HZ, EnergyVad, SpeechEdge, VadSettings

Mono = NDArray[np.float32]

MIN_COMMIT_MS = 100
MAX_BUFFER_SECONDS = 300
GAP_SECONDS = 0.2
"""A track that sends nothing for so long, in the middle of speech, is taken to be silent."""


@dataclass
class _Speech:
    item_id: str
    start_ms: int


class InputAudio:
    """Takes audio from the track and from ``input_audio_buffer.append``, in the order it comes.

    Positions are milliseconds of all input audio of the session. Without speech and with a detector it keeps only
    what the prefix padding needs; it never holds more than five minutes, then it drops the oldest and counts.
    """

    def __init__(self) -> None:
        self._chunks: deque[Mono] = deque()
        self._start = 0  # position of the oldest sample held
        self._end = 0  # position behind the newest
        self._vad: EnergyVad | None = None
        self._settings: VadSettings | None = None
        self._speech: _Speech | None = None
        self._track_at: float | None = None
        self.dropped_samples = 0

    @property
    def end_ms(self) -> int:
        """How much input audio the session has had."""
        return self._end * 1000 // RATE_HZ

    @property
    def buffered_ms(self) -> float:
        """How much of it is in the buffer."""
        return (self._end - self._start) * 1000 / RATE_HZ

    @property
    def speaking(self) -> bool:
        """Whether the detector hears speech."""
        return self._speech is not None

    def configure(self, settings: VadSettings | None) -> None:
        """Detects speech with `settings` from now on, or not at all; unchanged settings change nothing."""
        if settings == self._settings:
            return
        self._settings, self._speech = settings, None
        self._vad = EnergyVad(settings, self._end * 1000 / RATE_HZ) if settings is not None else None

    def push(self, pcm: Mono, track_at: float | None = None) -> list[SpeechEdge]:
        """Appends mono 24 kHz `pcm`; says where speech started and stopped.

        `track_at` is the time it arrived, for audio of the track.
        """
        if track_at is not None:
            self._track_at = track_at
        self._chunks.append(pcm)
        self._end += len(pcm)
        edges = self._vad.push(pcm) if self._vad is not None else []
        if self._settings is not None and self._speech is None and not edges:
            self._drop_before(self._end - RATE_HZ * (self._settings.prefix_padding_ms + 200) // 1000)
        overflow = self._end - MAX_BUFFER_SECONDS * RATE_HZ - self._start
        if overflow > 0:
            self.dropped_samples += overflow
            self._drop_before(self._start + overflow)
        return edges

    def fill_gap(self, now: float) -> list[SpeechEdge]:
        """Silence in place of what a track in use did not send since `GAP_SECONDS`, while there is speech to end."""
        if self._speech is None or self._track_at is None or now - self._track_at < GAP_SECONDS:
            return []
        return self.push(np.zeros(round((now - self._track_at) * RATE_HZ), np.float32), now)

    def speech_started(self, item_id: str, start_ms: int) -> None:
        """The speech that an edge reported belongs to the item `item_id`."""
        self._speech = _Speech(item_id, start_ms)

    def take_speech(self, end_ms: int) -> tuple[str, Mono]:
        """Ends the speech under way: its item's id and its audio; the buffer goes on behind it."""
        assert self._speech is not None, "a stop follows a start"
        speech, self._speech = self._speech, None
        self._drop_before(speech.start_ms * RATE_HZ // 1000)
        return speech.item_id, self._take(end_ms * RATE_HZ // 1000)

    def commit(self, new_item_id: str) -> tuple[str, Mono]:
        """Everything in the buffer, and the id of the item it becomes: that of speech under way, else `new_item_id`.

        Raises `EventError` for less than 100 ms.
        """
        if self.buffered_ms < MIN_COMMIT_MS:
            raise EventError(
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT_MS}ms of "
                f"audio, but buffer only has {self.buffered_ms:.2f}ms of audio.",
            )
        item_id = self._speech.item_id if self._speech is not None else new_item_id
        pcm = self._take(self._end)
        self._restart()
        return item_id, pcm

    def clear(self) -> None:
        """Drops everything in the buffer, and the speech under way with it."""
        self._chunks.clear()
        self._start = self._end
        self._restart()

    def _restart(self) -> None:
        """Forgets speech under way: its audio is gone, so the detector has to hear it anew."""
        settings, self._settings = self._settings, None
        self.configure(settings)
        self._speech = None

    def _take(self, end: int) -> Mono:
        held: Mono = np.concatenate([np.zeros(0, np.float32), *self._chunks])
        count = max(0, end - self._start)
        taken, rest = held[:count], held[count:]
        self._chunks = deque([rest.copy()] if len(rest) else [])
        self._start += len(taken)
        return taken

    def _drop_before(self, position: int) -> None:
        while self._chunks and self._start < position:
            head = self._chunks.popleft()
            surplus = position - self._start
            if len(head) > surplus:
                self._chunks.appendleft(head[surplus:])
                self._start = position
            else:
                self._start += len(head)
