"""What really happens between our devices and a sound server; run by `support.virtual_audio`, each in a process."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtc_audio.devices import DeviceEvent, Microphone, Speaker, default_hub, list_devices, portaudio
from rtc_audio.devices.backend import StreamPort
from rtc_audio.devices.types import StreamRequest
from rtc_audio.ports import Pcm

Mono = NDArray[np.float32]
Seen = dict[str, Any]


class Tone:
    """A `pull`; `hz` 0 is silence."""

    def __init__(self, hz: float, rate_hz: int = 48000) -> None:
        self.hz, self.rate_hz, self.position = hz, rate_hz, 0

    def __call__(self, n: int) -> Pcm:
        at = np.arange(self.position, self.position + n) / self.rate_hz
        self.position += n
        return (0.5 * np.sin(2 * np.pi * self.hz * at)).astype(np.float32)[:, None]


class Recording:
    """Reads a microphone 20 ms at a time, as a track does."""

    def __init__(self, microphone: Microphone) -> None:
        self.reads: list[tuple[float, Mono]] = []
        """When the first frame was recorded, and the frames; only where there was something."""
        self.short = 0
        self._microphone = microphone
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        begin, index = time.monotonic(), 0
        while True:
            index = max(index + 1, int((time.monotonic() - begin) / 0.02))
            await asyncio.sleep(begin + index * 0.02 - time.monotonic())
            at = self._microphone.next_seconds
            pcm = self._microphone.read(round(self._microphone.rate_hz * 0.02))[:, 0]
            if at is None or not len(pcm):
                self.short += 1
            else:
                self.reads.append((at, pcm))

    def last(self, seconds: float) -> Mono:
        """The latest sound."""
        rate_hz = self._microphone.rate_hz
        return np.concatenate([pcm for _, pcm in self.reads])[-round(seconds * rate_hz) :]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class AtTheDriver:
    """What PortAudio is given and what our callbacks cost it, seen from outside, from here on."""

    def __init__(self) -> None:
        self.spent_us: dict[str, list[float]] = {"input": [], "output": []}
        self.written: list[list[tuple[float, bytes]]] = []
        """For each stream of a loudspeaker, when a block was asked for, and all of it."""
        self._plain = portaudio.callback
        portaudio.callback = self._callback

    def _callback(self, request: StreamRequest, port: StreamPort) -> Callable[[Any, int, Any, Any], None]:
        call, spent_us = self._plain(request, port), self.spent_us[request.direction]
        written: list[tuple[float, bytes]] = []
        if request.direction == "output":
            self.written.append(written)

        def timed(data: Any, *others: Any) -> None:
            began = time.thread_time_ns()
            call(data, *others)
            spent_us.append((time.thread_time_ns() - began) / 1000)
            written.append((time.monotonic(), bytes(data)))

        return timed

    def audible_seconds(self, since: float) -> float:
        """Until the last sample that a mono loudspeaker was given and that can be heard."""
        pcm = [
            np.frombuffer(data, np.float32) for stream in self.written for at, data in stream if at >= since
        ]
        audible = np.flatnonzero(np.abs(np.concatenate(pcm)) > 0.001)
        return float(audible[-1] + 1) / 48000 if len(audible) else 0.0

    def largest_step(self, since: float) -> float:
        """Between two samples that follow each other in a stream of a mono loudspeaker."""
        largest = 0.0
        for stream in self.written:
            pcm = np.frombuffer(b"".join(data for at, data in stream if at >= since), np.float32)
            largest = max(largest, float(np.abs(np.diff(pcm)).max(initial=0.0)))
        return largest


def tone_of(pcm: Mono, rate_hz: int) -> tuple[float, float]:
    """Frequency of the strongest tone and RMS."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))
    return float(spectrum.argmax() * rate_hz / len(pcm)), float(pcm.std())


def purest(pcm: Mono, n: int) -> Mono:
    """The n samples of a tone that miss least: a machine with too much to do leaves holes."""
    parts = [pcm[begin : begin + n] for begin in range(0, len(pcm) - n, n // 10)]
    return max(parts, key=lambda part: float(np.abs(np.fft.rfft(part * np.hanning(n))).max()))


def pactl(*arguments: str) -> str:
    return subprocess.run(["pactl", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@asynccontextmanager
async def whistling(hz: float, sink: str) -> AsyncIterator[None]:
    """A tone of at most 30 s from a program that knows nothing of us."""
    feed = await asyncio.create_subprocess_exec(
        *("pacat", "--rate=48000", "--channels=1", "--format=s16le", "--latency-msec=20", "-d", sink),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert feed.stdin is not None
    feed.stdin.write((32767 * Tone(hz)(30 * 48000)).astype("<i2").tobytes())
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it ends with its server
            feed.kill()
        await feed.wait()


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """How long it took; fails after `seconds`."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it has not happened"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


class LogOf(list[str]):
    """The lines that a logger writes meanwhile."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._handler = logging.Handler()
        self._handler.emit = lambda record: self.append(record.getMessage())  # type: ignore[method-assign]  # all it does

    def __enter__(self) -> "LogOf":
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)


class Told(list[tuple[float, DeviceEvent]]):
    """An `on_event` that keeps what it is told."""

    def __call__(self, event: DeviceEvent) -> None:
        self.append((time.monotonic(), event))

    def kinds(self) -> list[str]:
        return [event.kind for _, event in self if event.kind not in ("device_underrun", "device_overflow")]


async def tone(output: str, input: str, hz: str, rate: str) -> Seen:
    """A tone from one device to another; both ends at a rate of their own."""
    rate_hz = int(rate)
    voice = Tone(float(hz), rate_hz)
    microphone = Microphone(input, rate_hz=rate_hz)
    speaker = Speaker(output, rate_hz=rate_hz)
    with LogOf("rtc_audio.devices") as log:
        return await _tone(microphone, speaker, voice, log)


async def _tone(microphone: Microphone, speaker: Speaker, voice: Tone, log: "LogOf") -> Seen:
    rate_hz = voice.rate_hz
    await microphone.start()
    await speaker.start(voice)
    recording = Recording(microphone)
    await asyncio.sleep(2.5)
    found_hz, rms = tone_of(purest(recording.last(2.0), round(rate_hz * 0.5)), rate_hz)
    seen = {
        "hz": found_hz,
        "rms": rms,
        "short": recording.short,
        "underrun_seconds": speaker.underrun_seconds,
        "played_seconds": speaker.played_seconds,
        "pulled_seconds": voice.position / rate_hz,
        "latency_seconds": speaker.latency_seconds,
        "opened_anew": any("opened anew" in line for line in log) or speaker.device is None,
    }
    await recording.close()
    await asyncio.gather(microphone.aclose(), speaker.aclose())
    return seen


async def names() -> Seen:
    """The list of devices."""
    devices = await asyncio.to_thread(list_devices)
    return {
        "names": [device.name for device in devices],
        "default_input": [device.name for device in devices if device.is_default_input],
        "default_output": [device.name for device in devices if device.is_default_output],
    }


async def interrupt() -> Seen:
    """From the decision to silence at the device, five times; the loudspeaker's monitor has its own, known delay."""
    driver = AtTheDriver()
    microphone, speaker, voice = Microphone("vspkmon"), Speaker("vspk"), Tone(400.0)
    await microphone.start()
    await speaker.start(voice)
    recording = Recording(microphone)
    silent_after, jumps, given = [], [], []
    for _ in range(5):
        voice.hz = 400.0
        await asyncio.sleep(0.7)
        voice.hz, decided = 0.0, time.monotonic()
        speaker.flush()
        done = time.monotonic()
        await asyncio.sleep(0.5)
        ends = [
            at + (int(np.flatnonzero(np.abs(pcm) > 0.005)[-1]) + 1) / 48000
            for at, pcm in recording.reads
            if np.abs(pcm).max() > 0.005
        ]
        silent_after.append(ends[-1] - decided)
        jumps.append(driver.largest_step(since=decided - 0.3))
        given.append(driver.audible_seconds(since=done))
    await recording.close()
    await asyncio.gather(microphone.aclose(), speaker.aclose())
    return {"silent_after_seconds": silent_after, "largest_steps": jumps, "given_seconds": given}


async def server_restarted() -> Seen:
    """The sound server is killed, and another one started two seconds later."""
    pidfile, heard, spoken = Path(os.environ["VIRTUAL_AUDIO_PIDFILE"]), Told(), Told()
    microphone = Microphone("vmic", on_event=heard)
    speaker = Speaker("vmicfeed", on_event=spoken)
    await microphone.start()
    await speaker.start(Tone(1000.0))
    recording = Recording(microphone)
    await asyncio.sleep(1.5)
    before = tone_of(purest(recording.last(1.0), 24000), 48000)
    killed = time.monotonic()
    os.kill(int(pidfile.read_text()), 9)  # noqa: ASYNC240 - a few bytes
    await until(lambda: "device_lost" in heard.kinds() and "device_lost" in spoken.kinds(), 5)
    noticed = [events[0][0] - killed for events in (heard, spoken)]
    silent = recording.short
    await asyncio.sleep(1)
    silent = recording.short - silent
    server = await asyncio.create_subprocess_exec(os.environ["VIRTUAL_AUDIO_START"])
    await server.wait()
    took = await until(lambda: microphone.device is not None and speaker.device is not None, 20)
    await asyncio.sleep(3)
    after = tone_of(purest(recording.last(2.0), 24000), 48000)
    await recording.close()
    await asyncio.gather(microphone.aclose(), speaker.aclose())
    return {
        "noticed_seconds": noticed,
        "silent_reads": silent,
        "back_after_seconds": took,
        "before": before,
        "after": after,
        "events": [heard.kinds(), spoken.kinds()],
    }


async def source_removed() -> Seen:
    """The module of the microphone in use is unloaded: the server moves the stream to a silent source, without a word.

    The tone goes on elsewhere, so that what the microphone gives is silence for want of a device, not of sound.
    """
    pactl("load-module", "module-null-sink", "sink_name=other", "rate=48000", "channels=1")
    pactl("set-default-source", "other.monitor")
    told = Told()
    microphone, speaker = Microphone("vmic", on_event=told), Speaker("vmicfeed")
    await microphone.start()
    await speaker.start(Tone(700.0))
    recording = Recording(microphone)
    await asyncio.sleep(1.5)
    modules = [line.split("\t") for line in pactl("list", "short", "modules").splitlines()]
    (index,) = (row[0] for row in modules if "sink_name=micfeed" in row[2])
    began = time.monotonic()
    pactl("unload-module", index)
    await until(lambda: bool(told.kinds()), 8)
    noticed = told[0][0] - began
    await until(lambda: microphone.device is not None and microphone.device.name != "vmic", 8)
    device = microphone.device
    await recording.close()
    await asyncio.gather(microphone.aclose(), speaker.aclose())
    return {"noticed_seconds": noticed, "events": told.kinds(), "device": str(device)}


async def named_device_returns(listed: str) -> Seen:
    """The named microphone vanishes behind the sound server and comes back; another one stands in for it.

    With `listed` "never", PortAudio does not list it meanwhile, as for cards that are unplugged elsewhere.
    """
    asoundrc = Path(os.environ["HOME"], ".asoundrc")
    with_it = asoundrc.read_text()  # noqa: ASYNC240 - a few bytes
    without_it = "\n".join(line for line in with_it.splitlines() if not line.startswith("pcm.vmic "))
    pactl("load-module", "module-null-sink", "sink_name=other", "rate=48000", "channels=1")
    pactl("set-default-source", "other.monitor")
    told = Told()
    microphone = Microphone("vmic", on_event=told)
    await microphone.start()
    recording = Recording(microphone)
    await asyncio.sleep(0.5)
    modules = [line.split("\t") for line in pactl("list", "short", "modules").splitlines()]
    (index,) = (row[0] for row in modules if "sink_name=micfeed" in row[2])
    if listed == "never":
        asoundrc.write_text(without_it + "\n")  # noqa: ASYNC240 - a few bytes
    pactl("unload-module", index)
    await until(lambda: "device_changed" in told.kinds(), 15)
    await asyncio.sleep(7)
    before = default_hub().listings
    asoundrc.write_text(with_it)  # noqa: ASYNC240 - a few bytes
    pactl("load-module", "module-null-sink", "sink_name=micfeed", "rate=48000", "channels=1")
    async with whistling(700.0, "micfeed"):
        took = await until(lambda: told.kinds()[-1] == "device_restored", 30)
        await asyncio.sleep(1.5)
    assert microphone.device is not None
    seen = {"took_seconds": took, "events": told.kinds(), "device": microphone.device.name}
    seen["listed_anew"] = [before, default_hub().listings]
    seen["heard"] = tone_of(purest(recording.last(1.5), 24000), 48000)
    await recording.close()
    await microphone.aclose()
    return seen


async def default_changed() -> Seen:
    """Another default source is chosen while the default microphone records."""
    pactl("load-module", "module-null-sink", "sink_name=other", "rate=48000", "channels=1")
    told = Told()
    microphone, speaker = Microphone("default", on_event=told), Speaker("vmicfeed")
    await microphone.start()
    await speaker.start(Tone(700.0))
    recording = Recording(microphone)
    await asyncio.sleep(1.5)
    before = tone_of(purest(recording.last(1.0), 24000), 48000)
    async with whistling(1300.0, "other"):
        pactl("set-default-source", "other.monitor")
        await asyncio.sleep(4)
        after = tone_of(purest(recording.last(1.5), 24000), 48000)
    await recording.close()
    await asyncio.gather(microphone.aclose(), speaker.aclose())
    return {"before": before, "after": after, "events": told.kinds()}


async def cost() -> Seen:
    """What the callbacks cost, and how long opening and closing take."""
    driver = AtTheDriver()
    microphone, speaker = Microphone("vmic"), Speaker("vspk")
    speaker.on_written = lambda pcm, at: None
    began = time.perf_counter()
    await microphone.start()
    opened = time.perf_counter()
    await speaker.start(Tone(440.0))
    started = time.perf_counter()
    recording = Recording(microphone)
    await asyncio.sleep(4)
    await recording.close()
    closing = time.perf_counter()
    await asyncio.gather(microphone.aclose(), speaker.aclose())
    return {
        "callback_us": {name: float(np.median(times)) for name, times in driver.spent_us.items()},
        "callback_p99_us": {name: float(np.percentile(times, 99)) for name, times in driver.spent_us.items()},
        "open_ms": [1000 * (opened - began), 1000 * (started - opened)],
        "close_ms": 1000 * (time.perf_counter() - closing),
    }


def main() -> None:
    name, *arguments = sys.argv[1:]
    scenario: Callable[..., Awaitable[Seen]] = globals()[name]

    async def run() -> Seen:
        return await scenario(*arguments)

    sys.stdout.write(json.dumps(asyncio.run(run())) + "\n")


if __name__ == "__main__":
    main()
