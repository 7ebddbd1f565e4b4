"""A running stream, and the signs by which something is wrong with it."""

import logging
from dataclasses import dataclass
from typing import Generic

from .health import FlagWatch, Heartbeat, ZeroWatch
from .hub import OpenStream, PortT
from .reports import Reports
from .types import DeviceEventKind

_log = logging.getLogger("rtc_audio.devices")


@dataclass(frozen=True)
class Trouble:
    """Why a stream has to be opened anew, and what is told of it; `kind` None: nothing."""

    kind: DeviceEventKind | None
    reason: str
    wants_latency: bool = False
    """Whether it does not bear low latency."""


class Watch(Generic[PortT]):
    """Looks after one stream; `zeros` goes on from one stream of a silent microphone to the next.

    `mend`: a stream that runs, but badly, is to be opened anew.
    """

    def __init__(
        self, stream: OpenStream[PortT], reports: Reports, zeros: ZeroWatch, now: float, *, mend: bool
    ) -> None:
        self.stream = stream
        self._reports = reports
        self._zeros = zeros
        self._mend = mend
        self._heartbeat = Heartbeat(stream.request.format.block_seconds, now)
        self._flags = FlagWatch()

    def look(self, now: float, lost_seconds: float) -> Trouble | None:
        """What is wrong with it; tells of what goes on all the same. `lost_seconds`: sound lost by now, a sum."""
        stream, port, device = self.stream, self.stream.port, self.stream.request.device
        lost = self._heartbeat.check(now, blocks=port.blocks, active=stream.active, finished=port.finished)
        if lost is not None:
            return Trouble(None, "listed anew") if stream.displaced else Trouble("device_lost", lost)
        self._reports.faults(port, device)
        self._reports.losses(now, lost_seconds, device)
        loses_sound = self._flags.check(now, port.flagged)
        if self._mend and loses_sound and stream.request.latency == "low":
            _log.info("%s: opened anew with high latency, for the driver loses sound", device.name)
            return Trouble(None, "high latency", wants_latency=True)
        return self._look_at_zeros()

    def _look_at_zeros(self) -> Trouble | None:
        port, device = self.stream.port, self.stream.request.device
        if not port.blocks:
            return None
        if not port.zero_blocks:
            if self._zeros.heard():
                self._reports.tell("device_restored", device, "it can be heard again")
            return None
        seconds = port.zero_blocks * port.format.block_seconds
        if not self._zeros.check(seconds):
            return None
        told, self._zeros.silent = self._zeros.silent, True
        if not told:
            reason = f"only digital zeros for {seconds:.0f} s: muted, removed or not permitted"
            self._reports.tell("device_silent", device, reason)
        return Trouble(None, "silent") if self._mend else None
