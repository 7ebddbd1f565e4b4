"""What the transport tells of the microphone and the loudspeaker during a call, which goes on whatever happens."""

from typing import Literal

from .base import TransportEvent


class DeviceReport(TransportEvent):
    """Something happened to a device; mute and the connection stay as they are."""

    direction: Literal["input", "output"]
    """The microphone or the loudspeaker."""
    device: str
    """The device's name."""
    reason: str
    """What is known about why, in a short phrase."""


class DeviceLost(DeviceReport):
    """A device is gone or stands still; silence until it is restored or another one takes over."""

    type: Literal["device_lost"] = "device_lost"


class DeviceSilent(DeviceReport):
    """A microphone gives only digital zeros: muted at the device, removed or not permitted; it is opened anew."""

    type: Literal["device_silent"] = "device_silent"


class DeviceRestored(DeviceReport):
    """A device that was lost or silent works again."""

    type: Literal["device_restored"] = "device_restored"


class DeviceChanged(DeviceReport):
    """Another device, `device`, has taken over."""

    type: Literal["device_changed"] = "device_changed"


class DeviceOverflow(DeviceReport):
    """Sound of the microphone was lost on its way to this program; told once in a while."""

    type: Literal["device_overflow"] = "device_overflow"


class DeviceUnderrun(DeviceReport):
    """The loudspeaker did not get its sound in time; told once in a while."""

    type: Literal["device_underrun"] = "device_underrun"


class DeviceFault(DeviceReport):
    """The exchange with a driver failed; the block is silence."""

    type: Literal["device_fault"] = "device_fault"
