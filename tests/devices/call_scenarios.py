"""Calls with the embedded server through real PortAudio; run by `support.virtual_audio`, each in a process."""

import asyncio
import json
import logging
import os
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.scenarios import AtTheDriver, Recording, Seen, Tone, pactl, tone_of, until, whistling
from rtc_audio.devices import Microphone, Speaker
from rtc_audio.ports import Pcm
from rtc_transport import RealtimeServer, WebRTCTransport
from rtc_transport.events.devices import DeviceReport
from rtc_transport.server import Call

SPEECH = Path(__file__).parents[2] / "rtc_transport" / "data" / "speech.wav"
DEVICES = ("device_lost", "device_silent", "device_restored", "device_changed")
HEARD_HZ = 24000


class Speech:
    """A `pull` of the shipped speech, for some seconds from `begin()` on."""

    def __init__(self, seconds: float) -> None:
        with wave.open(str(SPEECH)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
            rate_hz = file.getframerate()
        at = np.arange(round(seconds * 48000)) / 48000
        self._pcm = np.interp(at, np.arange(len(pcm)) / rate_hz, pcm).astype(np.float32)
        self._at = len(self._pcm)

    def begin(self) -> None:
        self._at = 0

    def __call__(self, n: int) -> Pcm:
        part = self._pcm[self._at : self._at + n]
        self._at += len(part)
        return np.concatenate([part, np.zeros(n - len(part), np.float32)])[:, None]


class InCall:
    """A connected transport on the virtual devices, and what it tells."""

    def __init__(self, transport: WebRTCTransport, call: Call) -> None:
        self.transport = transport
        self.call = call
        self.told: list[tuple[float, str, str]] = []
        for name in DEVICES:
            transport.on(name, self._on_device)

    def _on_device(self, event: DeviceReport) -> None:
        self.told.append((time.monotonic(), event.direction, event.type))

    def kinds(self, direction: str) -> list[str]:
        return [kind for _, whose, kind in self.told if whose == direction]

    def heard_tone(self, seconds: float = 0.5) -> tuple[float, float]:
        return tone_of(self.call.heard()[-round(seconds * HEARD_HZ) :], HEARD_HZ)

    def count(self, type_: str) -> int:
        return sum(logged.event["type"] == type_ for logged in self.call.events)


@asynccontextmanager
async def in_call(
    microphone: str = "vmic", speaker: str = "vspk", *, turns: bool = True, **options: Any
) -> AsyncIterator[InCall]:
    session = None if turns else {"audio": {"input": {"turn_detection": None}}}
    async with RealtimeServer() as server:
        transport = WebRTCTransport(Microphone(microphone), Speaker(speaker), base_url=server.url, **options)
        async with transport:
            await transport.connect(api_key="test-key", session=session)
            assert transport.call_id is not None
            yield InCall(transport, server.calls[transport.call_id])


async def conversation() -> Seen:
    """Somebody whistles into the virtual microphone; the parrot's answer is recorded at the loudspeaker."""
    whistle, voice = Tone(0.0), Speaker("vmicfeed")
    monitor = Microphone("vspkmon")
    async with in_call(echo="off") as call:
        await voice.start(whistle)
        await monitor.start()
        recording = Recording(monitor)
        whistle.hz = 700.0
        await asyncio.sleep(1.2)
        heard_hz, heard_rms = call.heard_tone()
        whistle.hz = 0.0
        await call.transport.wait_for("output_audio_buffer.stopped", timeout=10)
        await asyncio.sleep(0.3)
        call_heard, sound = call.call.heard(), recording.last(3.0)
        loud = np.abs(sound) > 0.05
        begin, end = (int(at) for at in np.flatnonzero(loud)[[0, -1]])
        answer_hz, answer_rms = tone_of(sound[begin:end], 48000)
        # A machine with too much to do may just have lost the loudspeaker.
        await until(lambda: bool(call.transport.stats().output_latency_ms), 10)
        stats = call.transport.stats()
        await recording.close()
    await asyncio.gather(voice.aclose(), monitor.aclose())
    return {
        "heard": [heard_hz, heard_rms],
        "answer": [answer_hz, answer_rms],
        "seconds": [_loud_seconds(call_heard, HEARD_HZ), _loud_seconds(sound, 48000)],
        "output_latency_ms": stats.output_latency_ms,
        "input_latency_ms": stats.input_latency_ms,
        "response_latency_ms": stats.response_latency_ms,
    }


def _loud_seconds(pcm: NDArray[np.float32], rate_hz: int) -> float:
    return float(np.count_nonzero(np.abs(pcm) > 0.05)) / rate_hz


async def interrupt() -> Seen:
    """From `interrupt()` to silence at the loudspeaker's monitor, and the largest step in what its driver was given.

    The steps of the monitor's recording say nothing: a sound server in need of time tears a tone (seen).
    """
    driver, monitor = AtTheDriver(), Microphone("vspkmon")
    silent_after: list[float] = []
    steps: list[float] = []
    given: list[float] = []
    async with in_call(turns=False, echo="off") as call:
        await monitor.start()
        recording = Recording(monitor)
        await until(lambda: bool(recording.reads), 5)
        for _ in range(5):
            call.transport.send_message("Talk!")
            await until(lambda: float(np.abs(recording.last(0.1)).max(initial=0.0)) > 0.05, 8)
            await asyncio.sleep(0.2)
            decided = time.monotonic()
            call.transport.interrupt()
            done = time.monotonic()
            await asyncio.sleep(0.7)
            silent_after.append(_last_sound(recording) - decided)
            steps.append(driver.largest_step(since=decided - 0.3))
            given.append(driver.audible_seconds(since=done))
        await recording.close()
    await monitor.aclose()
    return {"silent_after_seconds": silent_after, "largest_steps": steps, "given_seconds": given}


def _last_sound(recording: Recording) -> float:
    ends = [
        at + (int(np.flatnonzero(np.abs(pcm) > 0.002)[-1]) + 1) / 48000
        for at, pcm in recording.reads
        if np.abs(pcm).max() > 0.002
    ]
    return ends[-1]


async def server_restarted() -> Seen:
    """The sound server is killed in the middle of a call, and started again.

    The devices that are asked for by name may come back as the default ones, which are the same here.
    """
    pidfile = Path(os.environ["VIRTUAL_AUDIO_PIDFILE"])
    async with in_call(turns=False) as call:
        async with whistling(1000.0, "micfeed"):
            await until(lambda: call.heard_tone()[1] > 0.3, 10)
            before = call.heard_tone()
            os.kill(int(pidfile.read_text()), 9)  # noqa: ASYNC240 - a few bytes
            killed = time.monotonic()
            await until(lambda: bool(call.kinds("input") and call.kinds("output")), 5)
        noticed = max(at for at, _, _ in call.told) - killed
        packets = call.transport.stats().packets_sent
        await asyncio.sleep(1.0)
        silence = call.heard_tone()[1]
        packets = call.transport.stats().packets_sent - packets
        restart = await asyncio.create_subprocess_exec(os.environ["VIRTUAL_AUDIO_START"])
        await restart.wait()
        async with whistling(1000.0, "micfeed"):
            await until(lambda: min(len(call.kinds("input")), len(call.kinds("output"))) >= 2, 20)
            await until(lambda: call.heard_tone()[1] > 0.3, 20)
            after = call.heard_tone()
        return {
            "before": before,
            "noticed_seconds": noticed,
            "silence_rms": silence,
            "packets_in_a_second": packets,
            "after": after,
            "events": [call.kinds("input"), call.kinds("output")],
            "status": call.transport.status,
            "muted": call.transport.muted,
        }


async def microphone_removed() -> Seen:
    """The source in use vanishes behind the sound server, which goes on calling back: digital zeros tell."""
    pactl("load-module", "module-null-sink", "sink_name=other", "rate=48000", "channels=1")
    pactl("set-default-source", "other.monitor")
    async with in_call(turns=False) as call:
        async with whistling(700.0, "micfeed"):
            await until(lambda: call.heard_tone()[1] > 0.1, 10)
        call.transport.mute(True)
        modules = [line.split("\t") for line in pactl("list", "short", "modules").splitlines()]
        (index,) = (row[0] for row in modules if "sink_name=micfeed" in row[2])
        pactl("unload-module", index)
        await until(lambda: "device_silent" in call.kinds("input"), 15)
        await asyncio.sleep(1.0)
        return {
            "events": call.kinds("input"),
            "status": call.transport.status,
            "muted": call.transport.muted,
        }


async def default_changed() -> Seen:
    """Another default source is chosen while the default microphone is in a call."""
    pactl("load-module", "module-null-sink", "sink_name=other", "rate=48000", "channels=1")
    voice = Speaker("vmicfeed")
    async with in_call("default", turns=False) as call:
        await voice.start(Tone(700.0))
        await until(lambda: call.heard_tone()[1] > 0.1, 5)
        packets = call.transport.stats().packets_sent
        pactl("set-default-source", "other.monitor")
        await asyncio.sleep(2.0)
        seen = {
            "packets": call.transport.stats().packets_sent - packets,
            "heard_rms": call.heard_tone()[1],
            "status": call.transport.status,
        }
    await voice.aclose()
    return seen


async def echo_path(mode: str) -> Seen:
    """What the loudspeaker plays comes back into the microphone 60 ms later; somebody says one thing."""
    pactl(
        *("load-module", "module-loopback", "source=spk.monitor", "sink=micfeed", "latency_msec=60"),
        "adjust_time=0",
    )
    speech = Speech(2.0)
    voice = Speaker("vmicfeed")
    options: dict[str, Any] = {"echo": mode}
    async with in_call(**options) as call:
        await voice.start(speech)
        await asyncio.sleep(0.5)
        speech.begin()
        await call.transport.wait_for("output_audio_buffer.started", timeout=10)
        await asyncio.sleep(6.0)
        seen = {
            "answers": call.count("response.created"),
            "return_loss_db": call.transport.stats().echo_return_loss_db,
        }
    await voice.aclose()
    return seen


def main() -> None:
    name, *arguments = sys.argv[1:]
    logging.basicConfig(format="%(asctime)s %(message)s")  # shown where a scenario fails
    logging.getLogger("rtc_audio.devices").setLevel(logging.DEBUG)
    scenario: Callable[..., Awaitable[Seen]] = globals()[name]

    async def run() -> Seen:
        return await scenario(*arguments)

    sys.stdout.write(json.dumps(asyncio.run(run())) + "\n")


if __name__ == "__main__":
    main()
