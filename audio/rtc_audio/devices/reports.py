"""What is told of a device, to the log and to whoever wants to know, and how often."""

import logging

from .port import Port
from .settings import LineSettings
from .types import DeviceEvent, DeviceEventKind, DeviceInfo

_log = logging.getLogger("rtc_audio.devices")

LOSSES_SECONDS = 10.0
_WARNINGS = ("device_lost", "device_silent", "device_fault")


class Reports:
    """Tells `settings.on_event`, whose faults are logged and go no further."""

    def __init__(self, settings: LineSettings) -> None:
        self._settings = settings
        self._faulty: Port | None = None  # the last one whose faults were told
        self._losses_at = float("-inf")
        self._lost_seconds = 0.0

    def tell(self, kind: DeviceEventKind, device: DeviceInfo, reason: str) -> None:
        """One event and one line of the log."""
        level = logging.WARNING if kind in _WARNINGS else logging.INFO
        _log.log(level, "%s: %s: %s", device.name, kind, reason)
        if self._settings.on_event is None:
            return
        try:
            self._settings.on_event(DeviceEvent(kind, self._settings.direction, device.name, reason))
        except Exception:  # noqa: BLE001 - the user's code; the device does not depend on it
            _log.exception("on_event of a device raised")

    def faults(self, port: Port, device: DeviceInfo) -> None:
        """Tells of exceptions in the exchange with the driver, once for a stream."""
        if port.faults and port is not self._faulty:
            self._faulty = port
            _log.error("%s: a block was lost", device.name, exc_info=port.fault)
            reason = f"{type(port.fault).__name__} in the exchange with the driver"
            self.tell("device_fault", device, reason)

    def losses(self, now: float, lost_seconds: float, device: DeviceInfo) -> None:
        """Tells of sound that was lost, a running sum, at most once in ten seconds."""
        fresh = lost_seconds - self._lost_seconds
        if fresh > 0 and now - self._losses_at >= LOSSES_SECONDS:
            self._losses_at, self._lost_seconds = now, lost_seconds
            recording = self._settings.direction == "input"
            kind: DeviceEventKind = "device_overflow" if recording else "device_underrun"
            self.tell(kind, device, f"{1000 * fresh:.0f} ms of sound are missing")
