"""From the event loop to the loudspeaker: blocks kept ready a little ahead of the driver's thread, which plays them."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..levels import RAMP_SECONDS, rise
from ..ports import Pcm
from .port import Port
from .ring import BlockRing
from .types import StreamFormat

SLOTS = 64
"""Blocks that are remembered, those that wait included."""
RECENT = SLOTS // 2  # of those that were played: none of them is overwritten soon
SILENCE = 2 * SLOTS  # in memory behind the blocks that were put, and those that were made here in their place

Played: TypeAlias = tuple[int, float, float, int, int, int]
"""What the driver's thread leaves behind with a block: its place in memory; when the driver asked for it and when it
begins to sound, on the clock of `time.monotonic`; how many blocks were taken until its end, and how many of their
frames were dropped; how many blocks still waited, −1 if there was none to take."""


class Render(Port):
    """The loudspeaker's port: plays the blocks that wait; where there is none, fades out and counts.

    Sound begins and ends along ramps of 5 ms. What was really played, silence included, can be taken with its times.
    The blocks wait as the device wants them, so that nothing is left to do with them on the driver's thread.
    """

    def __init__(
        self,
        format: StreamFormat,
        on_finished: Callable[[], None],
        *,
        on_played: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(format, on_finished)
        self._on_played = on_played
        ring = BlockRing(2 * SLOTS + 1, format)
        self._blocks, self._memory = ring.blocks, ring.memory
        self._fronts = [block[:, :2] for block in ring.blocks[:SLOTS]]
        self._log: list[Played] = [(SILENCE, 0.0, 0.0, 0, 0, 0)] * SLOTS
        self._looked_at = self._told = 0  # blocks of the log, by the event loop
        self.queued = 0
        """Blocks put since the beginning."""
        self.taken = 0
        """Blocks played or dropped since the beginning."""
        self.missing_frames = 0
        """Frames of silence for want of sound, the first 100 ms left out."""
        self.shortages = 0
        """Blocks of them."""
        self._dropped_frames = 0
        self._sounding = False
        self._flush_to = 0  # the event loop's
        self._flushed_to = 0
        self._block_frames = format.block_frames
        self._up = rise(min(format.block_frames, round(RAMP_SECONDS * format.rate_hz)))[:, None]
        self._down = (1 - self._up).astype(np.float32)

    @property
    def lost_seconds(self) -> float:
        """See `Port.lost_seconds`; what was not there in time, too."""
        return super().lost_seconds + self.missing_frames / self.format.rate_hz

    # ---- on the event loop

    @property
    def waiting(self) -> int:
        """Blocks that were put and not taken."""
        return self.queued - self.taken

    def put(self, mono: Pcm) -> None:
        """Let a block `[block_frames, 1]` wait, for the first two channels: a voice is in front."""
        self._fronts[self.queued % SLOTS][...] = mono
        self.queued += 1

    def flush(self) -> None:
        """Fade out, then drop what waits now."""
        self._flush_to = self.queued

    @property
    def asked_at(self) -> float | None:
        """When the driver asked for its latest block."""
        return self._log[(self.done - 1) % SLOTS][1] if self.done else None

    def least_left(self) -> int | None:
        """Blocks that one of those since the last call left waiting, at the least; None if there was none."""
        left = [block[-1] for block in self._since(self._looked_at)]
        self._looked_at += len(left)
        return max(0, min(left)) if left else None

    def played_frames(self, now: float) -> float:
        """Frames of sound that have really sounded; what was dropped is not among them."""
        after, index, oldest = self._frames_until(self.done - 1), self.done - 1, self.done - SLOTS + 1
        while index >= 0 and index > oldest:
            before, at_seconds = self._frames_until(index - 1), self._log[index % SLOTS][2]
            if at_seconds <= now:
                return before + (after - before) * min(1.0, (now - at_seconds) / self.format.block_seconds)
            after, index = before, index - 1
        return after

    def _frames_until(self, index: int) -> int:
        """Frames of sound handed to the driver until the end of a block."""
        _, _, _, taken, dropped, _ = self._log[index % SLOTS]
        return taken * self._block_frames - dropped

    def waiting_seconds(self, now: float) -> float:
        """How long it takes until sound that is put now sounds."""
        dropped = self._log[(self.done - 1) % SLOTS][4]
        frames = self.queued * self._block_frames - dropped - self.played_frames(now)
        return frames / self.format.rate_hz

    def take_written(self) -> list[tuple[NDArray[np.float32], float]]:
        """What was played since the last call: blocks, mono `[frame]`, and when each begins to sound.

        They are memory that is soon used again.
        """
        blocks = self._since(self._told)
        self._told = self.done
        return [(self._blocks[block[0]][:, 0], block[2]) for block in blocks]

    def _since(self, index: int) -> list[Played]:
        """The blocks from there on, or as many of them as are still remembered."""
        return [self._log[i % SLOTS] for i in range(max(index, self.done - RECENT), self.done)]

    # ---- on the driver's thread

    def on_block(self, block: memoryview, now: float, at_seconds: float, flagged: bool, /) -> None:
        """Fill a block."""
        try:
            done, taken = self.done, self.taken
            left = self.queued - taken - 1
            if left >= 0 and self._sounding and self._flush_to == self._flushed_to:
                slot = taken % SLOTS
                self.taken = taken + 1
            else:
                slot = self._make(SLOTS + done % SLOTS, left)
            block[:] = self._memory[slot]
            self._log[done % SLOTS] = slot, now, at_seconds, self.taken, self._dropped_frames, left
            self.done = done + 1
            if flagged:
                self._flag()
        except Exception as error:  # noqa: BLE001 - an exception would end the stream and reach the terminal
            self._fail(error)
            block[:] = bytes(len(block))
        if self._on_played is not None:
            self._on_played()

    def _make(self, slot: int, left: int) -> int:
        """A block in which sound begins or ends, or is not there at all; returns where it is."""
        flush_to, frames, taken = self._flush_to, self._blocks[slot], self.taken
        if flush_to != self._flushed_to:
            self._flushed_to = flush_to
            return self._cut_off(slot, flush_to - taken)
        if left >= 0:
            frames[:] = self._blocks[taken % SLOTS]
            frames[: len(self._up)] *= self._up
            self._sounding, self.taken = True, taken + 1
            return slot
        if self.settled and self.queued:
            self.missing_frames += len(frames)
            self.shortages += 1
        return self._fade_out(slot)

    def _cut_off(self, slot: int, blocks: int) -> int:
        """Fade out what comes next, which may be nothing; drop the rest of so many blocks."""
        dropped = blocks * self._block_frames
        source = None
        if self._sounding and blocks:
            source = self._blocks[self.taken % SLOTS][: len(self._down)]
            dropped -= len(self._down)
        self._dropped_frames += dropped
        self.taken += blocks
        return self._fade_out(slot, source)

    def _fade_out(self, slot: int, sound: Pcm | None = None) -> int:
        """The way down, of this sound or of the frame that was the last one."""
        if not self._sounding:
            return SILENCE
        self._sounding = False
        if sound is None:
            sound = self._blocks[self._log[(self.done - 1) % SLOTS][0]][-1:]
        frames = self._blocks[slot]
        np.multiply(sound, self._down, out=frames[: len(self._down)])
        frames[len(self._down) :] = 0.0
        return slot
