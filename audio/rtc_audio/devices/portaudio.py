"""PortAudio through python-sounddevice: the one module that knows it. Everything here may block."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import DeviceBusy, DeviceError, DeviceRefused, PortAudioMissing
from .backend import FormatRefused, Stream, StreamPort
from .types import DeviceInfo, StreamRequest

# PaErrorCode in portaudio.h. An invalid device is what PortAudio says of an invalid WASAPI rate (PortAudio#314).
_FORMAT_ERRORS = {-9998, -9997, -9996, -9994, -9993}
_UNAVAILABLE = -9985
_BUSY_WORDS = ("busy", "in use", "exclusive")

_INSTALLERS = {
    "apt-get": "apt-get install libportaudio2 libasound2-plugins",
    "dnf": "dnf install portaudio",
    "pacman": "pacman -S portaudio",
    "apk": "apk add portaudio",
    "zypper": "zypper install portaudio",
    "brew": "brew install portaudio",
}

_LOOK = """
import json, sounddevice as sd
print()
print(json.dumps([sd.query_hostapis(), sd.query_devices(), list(sd.default.device)]))
"""
LOOK_SECONDS = 4.0

STALE_SECONDS = 2.0  # a time stamp further off than this is none


class PortAudioBackend:
    """A `Backend`. Importing sounddevice initialises PortAudio, so that is done with the first use."""

    def __init__(self) -> None:
        self._sounddevice: Any = None
        self._inside: set[int] = set()  # threads that PortAudio has not let go of

    def devices(self) -> list[DeviceInfo]:
        """See `Backend.devices`."""
        sd = self._load()
        try:
            chosen = tuple(sd.default.device)
            ours = chosen != tuple(sd.default._default_device)
            return _infos(sd.query_hostapis(), sd.query_devices(), chosen, chosen_here=ours)
        except sd.PortAudioError as error:
            raise DeviceError(f"the devices cannot be listed: {_words(error)}") from error

    def look(self) -> list[DeviceInfo]:
        """See `Backend.look`: another process asks, for in this one PortAudio would have to begin anew."""
        if getattr(sys, "frozen", False) or not sys.executable:  # a packed application is no interpreter
            raise DeviceError("there is no interpreter that could list the devices")
        try:
            done = subprocess.run(
                [sys.executable, "-c", _LOOK],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=LOOK_SECONDS,
                check=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            apis, devices, chosen = json.loads(done.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise DeviceError(f"the devices cannot be looked at: {type(error).__name__}") from error
        return _infos(apis, devices, (chosen[0], chosen[1]), chosen_here=False)

    def refresh(self) -> None:
        """See `Backend.refresh`. PortAudio has no other way than to begin anew (PortAudio#750)."""
        sd = self._load()
        try:
            with _noted(self._inside):
                sd._terminate()
                sd._initialize()
        except sd.PortAudioError as error:
            raise DeviceError(f"the devices cannot be listed anew: {_words(error)}") from error

    def open(self, request: StreamRequest, port: StreamPort) -> Stream:
        """See `Backend.open`."""
        with _noted(self._inside):
            return self._open(request, port)

    def _open(self, request: StreamRequest, port: StreamPort) -> Stream:
        sd = self._load()
        raw_class = sd.RawInputStream if request.direction == "input" else sd.RawOutputStream
        try:
            stream = raw_class(
                device=request.device.index,
                samplerate=request.format.rate_hz,
                channels=request.format.channels,
                blocksize=request.format.block_frames,
                dtype="float32",
                latency=request.latency,
                callback=callback(request, port),
                finished_callback=port.on_finished,
                extra_settings=_extra_settings(sd, request.device),
            )
        except (sd.PortAudioError, ValueError) as error:
            raise _translate(request, error) from error
        try:
            stream.start()
        except sd.PortAudioError as error:
            stream.close()
            raise _translate(request, error) from error
        return _PortAudioStream(stream, self._inside)

    def _load(self) -> Any:
        if self._sounddevice is None:
            try:
                import sounddevice

                self._sounddevice = sounddevice
                atexit.register(self._on_exit)
            except ImportError as error:
                raise PortAudioMissing("run 'pip install sounddevice'") from error
            except OSError as error:  # sounddevice found no library to load
                raise PortAudioMissing(install_command()) from error
            except Exception as error:  # its PortAudioError, which has no name if the import fails
                raise DeviceError(f"PortAudio does not start: {error}") from error
        return self._sounddevice

    def _on_exit(self) -> None:
        """sounddevice terminates PortAudio then, which waits for its streams: where a driver hangs, for ever."""
        handler = getattr(self._sounddevice, "_exit_handler", None)
        if self._inside and handler is not None:
            atexit.unregister(handler)


@contextmanager
def _noted(inside: set[int]) -> Iterator[None]:
    """Notes this thread while it is in PortAudio."""
    me = threading.get_ident()
    inside.add(me)
    try:
        yield
    finally:
        inside.discard(me)


class _PortAudioStream:
    """A `Stream`."""

    def __init__(self, stream: Any, inside: set[int]) -> None:
        self._stream = stream
        self._inside = inside
        self.latency_seconds = float(stream.latency)

    @property
    def active(self) -> bool:
        return bool(self._stream.active)

    def close(self) -> None:
        with _noted(self._inside):
            self._stream.abort()  # stop() would wait for what is still to be played
            self._stream.close()


def install_command() -> str:
    """What installs PortAudio here, as an imperative."""
    for tool, command in _INSTALLERS.items():
        if shutil.which(tool):
            sudo = "" if tool == "brew" or not hasattr(os, "geteuid") or os.geteuid() == 0 else "sudo "
            return f"run '{sudo}{command}'"
    return "install the package of your system that is called portaudio or libportaudio2"


def callback(request: StreamRequest, port: StreamPort) -> Callable[[Any, int, Any, Any], None]:
    """What PortAudio calls every 10 ms. The buffer dies when it returns (sounddevice#162)."""
    info, on_block, clock = request.device, port.on_block, time.monotonic
    if request.direction == "input":
        usual = -info.low_input_latency_seconds

        def record(data: Any, frames: int, times: Any, status: Any) -> None:
            now, stream_now = clock(), times.currentTime
            offset = times.inputBufferAdcTime - stream_now
            at = now + (offset if -STALE_SECONDS < offset <= 0 and stream_now else usual)
            on_block(data, now, at, status.input_overflow if status else False)

        return record
    usual = info.low_output_latency_seconds

    def play(data: Any, frames: int, times: Any, status: Any) -> None:
        now, stream_now = clock(), times.currentTime
        offset = times.outputBufferDacTime - stream_now
        at = now + (offset if 0 <= offset < STALE_SECONDS and stream_now else usual)
        on_block(data, now, at, status.output_underflow if status else False)

    return play


def _infos(apis: Any, devices: Any, chosen: tuple[int, int], *, chosen_here: bool) -> list[DeviceInfo]:
    defaults = chosen
    for api in apis:
        # PortAudio's own choice on Windows is MME's.
        if api["name"] == "Windows WASAPI" and not chosen_here:
            defaults = api["default_input_device"], api["default_output_device"]
    return [_info(device, apis, defaults) for device in devices]


def _info(device: Any, apis: Any, defaults: tuple[int, int]) -> DeviceInfo:
    """`defaults`: indices of the default input and output, −1 for none."""
    index = device["index"]
    return DeviceInfo(
        index=index,
        name=device["name"],
        host_api=apis[device["hostapi"]]["name"],
        inputs=device["max_input_channels"],
        outputs=device["max_output_channels"],
        default_rate_hz=round(device["default_samplerate"]),
        is_default_input=index == defaults[0],
        is_default_output=index == defaults[1],
        low_input_latency_seconds=device["default_low_input_latency"],
        high_input_latency_seconds=device["default_high_input_latency"],
        low_output_latency_seconds=device["default_low_output_latency"],
        high_output_latency_seconds=device["default_high_output_latency"],
    )


def _extra_settings(sd: Any, device: DeviceInfo) -> Any:
    """Shared-mode WASAPI takes any rate if Windows may convert (sounddevice#492; needs 0.5)."""
    return sd.WasapiSettings(auto_convert=True) if device.host_api == "Windows WASAPI" else None


def _translate(request: StreamRequest, error: Exception) -> DeviceRefused:
    name, words = request.device.name, _words(error)
    code = error.args[1] if len(error.args) > 1 else None
    if code in _FORMAT_ERRORS:
        layout = f"{request.format.rate_hz} Hz, {request.format.channels} ch"
        return FormatRefused(name, f"{words} ({layout})")
    if code == _UNAVAILABLE or any(word in words.casefold() for word in _BUSY_WORDS):
        return DeviceBusy(name, f"in use by another program or unplugged: {words}")
    if "permission" in words.casefold() and sys.platform == "linux":
        words += "; is this user in the group audio?"
    return DeviceRefused(name, words)


def _words(error: Exception) -> str:
    """PortAudio's text, and the host API's own where there is one."""
    text = str(error.args[0]) if error.args else type(error).__name__
    host = error.args[2][2] if len(error.args) > 2 else ""
    text = text.removeprefix("Error opening RawInputStream: ").removeprefix("Error opening RawOutputStream: ")
    return f"{text}: {host}" if host else text
