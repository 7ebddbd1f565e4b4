"""Which device is meant, and in which formats it is tried. Pure."""

from collections.abc import Iterator, Sequence

from ..errors import AmbiguousDevice, DeviceNotFound, NoDevice
from .types import DeviceInfo, Direction, StreamFormat

RATES_HZ = (48000, 44100, 16000)
"""Tried after the device's own."""

_PREFERRED_APIS = ("Windows WASAPI", "Core Audio", "ALSA", "Windows DirectSound", "MME")
_MME_NAME_LENGTH = 31  # MME cuts names off; the same device has its full name elsewhere


def choose(devices: Sequence[DeviceInfo], direction: Direction, wanted: str | int | None) -> DeviceInfo:
    """The device that a user means by its index, by (part of) its name, or by None, the default.

    Case does not matter, the whole name comes before a part of it, and "NAME (HOST API)" is a name too. A device that
    is listed by several host APIs is taken from the best. Raises NoDevice, DeviceNotFound, AmbiguousDevice.
    """
    usable = [device for device in devices if device.channels(direction)]
    if not usable:
        raise NoDevice(direction)
    if wanted is None:
        return next((device for device in usable if device.is_default(direction)), usable[0])
    if isinstance(wanted, int):
        matches = [device for device in usable if device.index == wanted]
    else:
        matches = _best_apis(_named(usable, wanted.casefold().strip()))
    if not matches:
        raise DeviceNotFound(direction, wanted, [str(device) for device in usable])
    if len(matches) > 1:
        raise AmbiguousDevice(direction, str(wanted), [str(device) for device in matches])
    return matches[0]


def replace(
    devices: Sequence[DeviceInfo],
    direction: Direction,
    wanted: str | int | None,
    lost: DeviceInfo,
    *,
    in_vain: bool = False,
) -> DeviceInfo:
    """Who goes on after `lost`: the same by name and host API, if one was asked for, else the default.

    `in_vain`: the same has been tried, so the default, although the same is still listed. Raises NoDevice.
    """
    same = [
        d for d in devices if d.channels(direction) and (d.host_api, d.name) == (lost.host_api, lost.name)
    ]
    if wanted is not None and same and not in_vain:
        return next((device for device in same if device.index == lost.index), same[0])
    return choose(devices, direction, None)


def formats(
    device: DeviceInfo, direction: Direction, rate_hz: int | None, channels: int | None
) -> Iterator[StreamFormat]:
    """The formats to try, best first: the given rate only, or the device's own and the common ones.

    Mono, then stereo, then all channels of the device; with `channels`, at least so many.
    """
    # PortAudio's own rate for ALSA is the first it tried, 44.1 kHz; cards and sound servers run at 48 kHz.
    own = () if device.host_api == "ALSA" else (device.default_rate_hz,)
    rates = (rate_hz,) if rate_hz else (*own, *RATES_HZ, device.default_rate_hz)
    count = device.channels(direction)
    counts = [n for n in dict.fromkeys((1, 2, count)) if (channels or 1) <= n <= count]
    for rate in dict.fromkeys(rates):
        for n in counts:
            yield StreamFormat(rate, n)


def _named(devices: Sequence[DeviceInfo], wanted: str) -> list[DeviceInfo]:
    names = [
        (device, device.name.casefold(), f"{device.name} ({device.host_api})".casefold())
        for device in devices
    ]
    exact = [device for device, name, label in names if wanted in (name, label)]
    return exact or [device for device, _, label in names if wanted and wanted in label]


def _best_apis(matches: list[DeviceInfo]) -> list[DeviceInfo]:
    """The matches of the best host API if all that match elsewhere are the same devices once more."""
    for api in _PREFERRED_APIS:
        best = [device for device in matches if device.host_api == api]
        if best:
            others = [device for device in matches if device.host_api != api]
            again = all(any(_same_name(one.name, other.name) for one in best) for other in others)
            return best if again else matches
    return matches


def _same_name(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return short == long or (len(short) == _MME_NAME_LENGTH and long.startswith(short))
