"""``rtc-transport devices``: the microphones and loudspeakers there are."""

import asyncio
import dataclasses
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from rtc_audio.devices import DeviceInfo, list_devices

from . import running
from .quiet import drivers_silenced

WIDTH = 80
NONE = "no microphone and no loudspeaker on this machine; calls from and to files work without"


async def show_devices(*, json_output: bool) -> int:
    """Prints the devices on stdout, as a table or as JSON; that there are none is said and is no failure."""
    with drivers_silenced():
        devices = await asyncio.to_thread(list_devices)
    if json_output:
        running.print_json({"devices": [dataclasses.asdict(device) for device in devices]})
    elif devices:
        console = Console(highlight=False)
        console.print(table(devices), width=min(WIDTH, console.width))
    if not devices:
        running.human().print(NONE, soft_wrap=True)
    return running.DONE


def table(devices: Sequence[DeviceInfo]) -> Table:
    """One row for each device; an asterisk marks the direction in which it is the default."""
    result = Table(box=None, pad_edge=False, caption="* the default", caption_justify="left")
    result.add_column("index", justify="right")
    result.add_column("name", overflow="fold", ratio=1)
    result.add_column("system", overflow="fold")
    for heading in ("in", "out", "Hz"):
        result.add_column(heading, justify="right", no_wrap=True)
    for device in devices:
        result.add_row(
            str(device.index),
            device.name,
            device.host_api,
            _channels(device.inputs, device.is_default_input),
            _channels(device.outputs, device.is_default_output),
            str(device.default_rate_hz),
            style="bold" if device.is_default_input or device.is_default_output else None,
        )
    return result


def _channels(count: int, is_default: bool) -> str:
    return f"{count or '–'}{'*' if is_default else ' '}"
