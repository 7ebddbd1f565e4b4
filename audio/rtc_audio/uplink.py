"""The one stream of sound that leaves for the peer, whatever happens to the sources behind it."""

import logging
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .format import check_channels, check_rate
from .inputs import Chain, Input, Intake
from .kernels import Quality
from .levels import LevelMeter, Ramp
from .ports import AudioSource, PacketFormat, Pcm

_log = logging.getLogger("rtc_audio.uplink")

Tap = Callable[[Pcm], None]
"""Gets every block as it is sent, `[frame, channel]` at the uplink's rate; must not keep the loop or write to it."""


class Uplink:
    """What the outgoing track reads: constant format, any source, mute and gain without clicks. Never raises.

    * The source is resampled and mixed to `rate_hz` and `channels`; when it changes its own rate or channels, the
      uplink follows. Exchange, end, underrun and mute are ramped over 5 ms.
    * `muted`: silence goes out and the source runs on unheard, a file like a microphone. What a source has queued
      (`ClearableSource`) is dropped, so that unmuting never sends stale speech.
    * `cut`: the same, beside mute: between what somebody had to say and the mute that ends his turn.
    * `held` (while a call is being connected): silence goes out and the source is not read, so that a file begins with
      its first frame at release; the backlog of a live source is dropped then.
    * A source that raises, returns another dtype, shape or more than asked for, or NaN, becomes silence there, and
      `on_error` is called once per burst of faults. `on_ended` is called once for a source that has ended. Both are
      called at the end of a `read` and may exchange the source.

    Neither starts nor closes sources. All on the event loop.
    """

    def __init__(
        self,
        rate_hz: int = 48000,
        channels: int = 1,
        *,
        on_error: Callable[[Exception], None],
        on_ended: Callable[[AudioSource], None],
        quality: Quality = "voice",
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.channels = check_channels(channels)
        self.meter = LevelMeter()
        """Level of what is sent."""
        self.read_frames = 0
        """Frames that were sent, silence included."""
        self._on_error = on_error
        self._on_ended = on_ended
        self._intake = Intake(self.rate_hz, self.channels, quality)
        self._input: Input | None = None
        self._leaving: list[Chain] = []
        self._ramp = Ramp(rate_hz)
        self._gain = 1.0
        self._muted = False
        self._cut = False
        self._held = False
        self._taps: list[Tap] = []
        self._faulty_taps: list[Tap] = []

    @property
    def silence_frames(self) -> int:
        """Frames sent for which there was no sound: no source, held, ended, a short or a failed read."""
        return self._intake.silence_frames

    @property
    def nonfinite_samples(self) -> int:
        """NaN and infinite samples that were replaced by zero."""
        return self._intake.nonfinite_samples

    @property
    def source_errors(self) -> int:
        """Reads that failed or returned something that is not sound."""
        return self._intake.source_errors

    def set_source(self, source: AudioSource | None) -> None:
        """Exchange the source; the old one is not read any more, its last frame fades away under the new one."""
        if source is self.source:
            return
        if self._input is not None:
            self._input.detach()
        self._input = None if source is None else Input(source, self._intake, self._leaving)

    @property
    def source(self) -> AudioSource | None:
        """The source that is read; None is silence."""
        return None if self._input is None else self._input.source

    @property
    def muted(self) -> bool:
        """Silence goes out; effective within the next block, ramped."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._silence(muted, self._cut)

    @property
    def cut(self) -> bool:
        """The same as `muted`, and independent of it."""
        return self._cut

    @cut.setter
    def cut(self, cut: bool) -> None:
        self._silence(self._muted, cut)

    @property
    def _silent(self) -> bool:
        return self._muted or self._cut

    def _silence(self, muted: bool, cut: bool) -> None:
        before, self._muted, self._cut = self._silent, muted, cut
        if before != self._silent and self._input is not None:
            self._input.clear_backlog()
        self._ramp.target = 0.0 if self._silent else self._gain

    @property
    def gain(self) -> float:
        """Factor on what is sent, 1.0 unless set; changes are ramped. Raises ValueError unless finite and ≥ 0."""
        return self._gain

    @gain.setter
    def gain(self, gain: float) -> None:
        if not 0 <= gain < math.inf:
            raise ValueError(f"gain={gain}: need a finite factor of at least 0")
        self._gain = gain
        self._ramp.target = 0.0 if self._silent else gain

    @property
    def held(self) -> bool:
        """The source is not read at all, and silence goes out."""
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        if self._input is not None and held != self._held:
            if held:
                self._input.detach()
            elif self._input.live:
                self._input.clear_backlog()
        self._held = held

    def skip(self, n: int) -> None:
        """Tell of n frames that were not sent, after a stall: a live source loses them, so that no delay stays.

        Other sources lose nothing and end later.
        """
        if self._input is not None and not self._held:
            self._input.skip(n)

    def add_tap(self, tap: Tap) -> None:
        """Let `tap` hear what is sent. One that raises is reported to `on_error` once and called on."""
        self._taps = [*self._taps, tap]

    def remove_tap(self, tap: Tap) -> None:
        """Undo `add_tap`; unknown ones are ignored."""
        self._taps = [other for other in self._taps if other != tap]
        self._faulty_taps = [other for other in self._faulty_taps if other != tap]

    def read(self, n: int) -> NDArray[np.float32]:
        """Exactly n frames: `[n]` if `channels` is one, else `[n, channels]`. Never raises, never waits."""
        pcm = self._ramp.apply(self._mix(n))
        self.read_frames += n
        self.meter.update(pcm, n / self.rate_hz)
        for tap in self._taps:
            self._call_tap(tap, pcm)
        self._tell()
        return self._shaped(pcm)

    def read_packet(self, limit: PacketFormat) -> bytes | None:
        """The source's next Opus packet instead of a `read`, if it has one that fits; never raises, never waits.

        Only while nothing touches the samples: not muted, cut or held, gain one, nothing fading, no tap. The meter does
        not hear packets. The first `read` behind packets goes on at the same sample; `take_lead_in` has what an
        encoder must have heard before it.
        """
        untouched = (
            self._ramp.settled
            and self._ramp.target == 1.0
            and not (self._held or self._leaving or self._taps)
        )
        if self._input is None or not untouched:
            return None
        payload = self._input.read_packet(limit)
        if payload is not None:
            self.read_frames += self.rate_hz * limit.packet_ms // 1000
        self._tell()
        return payload

    def take_lead_in(self) -> list[NDArray[np.float32]]:
        """What the last packets said, in blocks of their length shaped like `read`'s; there behind the first `read`."""
        blocks, self._intake.lead_in = self._intake.lead_in, []
        return [self._shaped(pcm) for pcm in blocks]

    def _mix(self, n: int) -> Pcm:
        if self._input is None or self._held:
            self._intake.silence_frames += n
            pcm = np.zeros((n, self.channels), np.float32)
        elif (
            self._silent and self._input.clear_backlog()
        ):  # what was captured since is not heard in the ramp either
            pcm = np.zeros((n, self.channels), np.float32)
        else:
            pcm = self._input.pull(n)
        for chain in self._leaving:
            pcm = pcm + chain.pull(n)
        self._leaving[:] = [chain for chain in self._leaving if not chain.exhausted]
        return pcm

    def _shaped(self, pcm: Pcm) -> NDArray[np.float32]:
        return pcm[:, 0] if self.channels == 1 else pcm

    def _tell(self) -> None:
        intake = self._intake
        if intake.faults or intake.ended:
            faults, ended = intake.faults[:], intake.ended[:]
            intake.faults.clear()
            intake.ended.clear()
            for exc in faults:
                self._report(exc)
            for source in ended:
                self._report_ended(source)

    def _call_tap(self, tap: Tap, pcm: Pcm) -> None:
        try:
            tap(pcm)
        except Exception as exc:  # noqa: BLE001 - a listener's code; the call does not depend on it
            if tap not in self._faulty_taps:
                self._faulty_taps.append(tap)
                self._report(exc)

    def _report(self, exc: Exception) -> None:
        try:
            self._on_error(exc)
        except Exception:  # noqa: BLE001 - nothing may come out of `read`
            _log.exception("on_error of the uplink raised")

    def _report_ended(self, source: AudioSource) -> None:
        try:
            self._on_ended(source)
        except Exception:  # noqa: BLE001 - nothing may come out of `read`
            _log.exception("on_ended of the uplink raised")
