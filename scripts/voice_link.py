"""A voice, an encoder, a bad network and a sound card in virtual time: what the voice bench plays."""

import random
import shutil
import subprocess
import tempfile
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate, resample_poly

from rtc_audio.opus import OpusEncoder

Mono = NDArray[np.float32]
Delays = list[float | None]  # seconds for each packet; None: lost

RTP_CLOCK_HZ = 48000
PACKET_SECONDS = 0.020
CODEC_SECONDS = 0.0265  # 20 ms framing and 6.5 ms look-ahead
TAIL_SECONDS, FADE = 0.5, 480
FIRST_SEQUENCE, FIRST_TIMESTAMP = 65400, 2**32 - 9600  # both wrap within the first seconds
SHIPPED = Path(__file__).parent.parent / "rtc_transport" / "data" / "speech.wav"
SENTENCES = (
    (
        "en-us",
        "Good morning. I would like to book a table for four people, on Friday evening at half past seven.",
    ),
    (
        "en-us+f3",
        "Certainly. Would you prefer to sit by the window, or somewhere in the quieter part of the room?",
    ),
    (
        "en-us+m3",
        "The window, please. One of us is allergic to nuts, so could you tell the kitchen about it?",
    ),
    (
        "en-gb-scotland+f2",
        "Of course, I have made a note of that. Your table is reserved; we look forward to it.",
    ),
)


def speech(seconds: float, sentences: Sequence[tuple[str, str]] = SENTENCES) -> Mono:
    """Several voices at 48 kHz: from espeak-ng, else the shipped file repeated.

    One second of silence in front; half a second behind, so that no playout loses its last words to the end of the
    recording: PESQ would take a delay for damage.
    """
    spoken = [_say(voice, text) for voice, text in sentences] if has_voices() else [_read(SHIPPED)]
    pause = np.zeros(RTP_CLOCK_HZ * 3 // 10, np.float32)
    parts = [np.zeros(RTP_CLOCK_HZ, np.float32)]
    while sum(map(len, parts)) < seconds * RTP_CLOCK_HZ:
        parts += [spoken[len(parts) // 2 % len(spoken)], pause]
    pcm = np.concatenate(parts)[: round(seconds * RTP_CLOCK_HZ)]
    end = len(pcm) - round(TAIL_SECONDS * RTP_CLOCK_HZ)
    pcm[end - FADE : end] *= np.linspace(1, 0, FADE, dtype=np.float32)
    pcm[end:] = 0
    return pcm


def has_voices() -> bool:
    """Whether espeak-ng is here; PESQ figures of other speech are others."""
    return shutil.which("espeak-ng") is not None


def _say(voice: str, text: str) -> Mono:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), text], check=True, capture_output=True)
        return _read(path)


def _read(path: Path) -> Mono:
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float64)
    loud = resample_poly(pcm, RTP_CLOCK_HZ, rate_hz)
    even: Mono = (loud * (0.05 / np.sqrt(np.mean(loud**2)))).astype(np.float32)
    return even


def encode(pcm: Mono, **settings: Any) -> list[bytes]:
    """20 ms packets; mono at 32 kb/s with FEC at 10 % unless the settings say otherwise."""
    encoder = OpusEncoder(RTP_CLOCK_HZ, **({"bitrate_bps": 32_000, "complexity": 9} | settings))
    step = encoder.frame_samples
    return [encoder.encode(pcm[at : at + step]) for at in range(0, len(pcm) - step + 1, step)]


# ---- networks


def lossy(count: int, share: float, seed: int) -> Delays:
    rng = random.Random(seed)
    return [None if rng.random() < share else 0.0 for _ in range(count)]


def bursty(count: int, seed: int, *, share: float = 0.05, length: float = 3) -> Delays:
    """Gilbert's model: bursts of `length` packets on average."""
    rng, lost, delays = random.Random(seed), False, []
    for _ in range(count):
        lost = rng.random() >= 1 / length if lost else rng.random() < share / (1 - share) / length
        delays.append(None if lost else 0.0)
    return delays


def jittery(count: int, most: float, seed: int, *, ordered: bool = True) -> Delays:
    rng = random.Random(seed)
    delays = [rng.random() * most for _ in range(count)]
    for i in range(1, count if ordered else 0):
        delays[i] = max(delays[i], delays[i - 1] - PACKET_SECONDS)
    return list(delays)


def both(first: Delays, second: Delays) -> Delays:
    return [None if a is None or b is None else a + b for a, b in zip(first, second, strict=True)]


def stalling(count: int, *, seconds: float = 0.2, every: float = 5.0, start: float = 3.6) -> Delays:
    """Nothing arrives for `seconds`, then all of it at once."""
    at = [
        (i * PACKET_SECONDS - start) % every if i * PACKET_SECONDS >= start else every for i in range(count)
    ]
    return [seconds - late if late < seconds else 0.0 for late in at]


def skewed(count: int, ppm: float) -> Delays:
    """The sender's clock is `ppm` fast."""
    return [-i * PACKET_SECONDS * ppm * 1e-6 for i in range(count)]


def pausing(count: int, *, seconds: float = 2.0, every: float = 10.0) -> Delays:
    """The sender sends nothing for the last `seconds` of every `every` seconds."""
    speaking = every - seconds
    return [0.0 if i * PACKET_SECONDS % every < speaking else None for i in range(count)]


# ---- playing


class Engine(Protocol):
    """What is fed by a network and pulled by a sound card."""

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None: ...
    def pull(self, count: int, now: float) -> Mono: ...
    @property
    def media_seconds(self) -> float: ...


@dataclass(frozen=True)
class Heard:
    """What came out of an engine."""

    pcm: Mono
    rate_hz: int
    delay_ms: NDArray[np.float64]
    """Mouth to ear at each pull, without sound cards and the network's own delay; NaN where it is not known."""
    microseconds: float
    """CPU time of insert and pull for each pull."""
    last: tuple[float, int] = (0.0, 0)
    """When the last packet came, and its number."""
    first_pull: float = 0.0
    media_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Media time of the first sample of each pull, from the first packet on."""

    def median_ms(self) -> float:
        return float(np.nanmedian(self.delay_ms[100:]))

    def last_second_ms(self) -> float:
        return float(np.nanmedian(self.delay_ms[-100:]))


def play(
    engine: Engine,
    rate_hz: int,
    packets: Sequence[bytes],
    delays: Delays,
    seed: int,
    *,
    sender_ppm: float = 0,
    paused: bool = False,
) -> Heard:
    """Runs packets through an engine: 10 ms pulls of random phase, up to 2 ms of host jitter, 0.3 % of 2 to 8 ms.

    `sender_ppm` is by how much the clock of the media time is fast; the delays have to say so, too. `paused`: packets
    without a delay were not lost but never sent, and took no number.
    """
    rng = random.Random(seed)
    arrivals = _through_host(
        rng, sorted((i * PACKET_SECONDS + delay, i) for i, delay in enumerate(delays) if delay is not None)
    )
    numbers = np.cumsum([delay is not None or not paused for delay in delays]) - 1
    phase, block = rng.random() * 0.01, rate_hz // 100
    heard, media_seconds, at = [], [], 0
    started = time.thread_time()
    for pull in range(2 * len(packets)):
        now = phase + pull * 0.01
        while at < len(arrivals) and arrivals[at][0] <= now:
            arrived, i = arrivals[at]
            sequence = FIRST_SEQUENCE + int(numbers[i]) & 0xFFFF
            timestamp = FIRST_TIMESTAMP + i * 960 & 0xFFFFFFFF
            engine.insert(sequence, timestamp, packets[i], arrived)
            at += 1
        media_seconds.append(engine.media_seconds - FIRST_TIMESTAMP / RTP_CLOCK_HZ)
        heard.append(engine.pull(block, now))
    cost = (time.thread_time() - started) / (2 * len(packets)) * 1e6
    media = np.array(media_seconds)
    spoken = media * (1 - sender_ppm * 1e-6)
    delay_ms = (phase + np.arange(len(media)) * 0.01 - spoken + CODEC_SECONDS) * 1e3
    return Heard(np.concatenate(heard), rate_hz, delay_ms, cost, arrivals[at - 1], phase, media)


def _through_host(rng: random.Random, arrivals: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """A busy machine is late to read its socket, but reads it in order."""
    read, latest = [], 0.0
    for arrived, number in arrivals:
        busy = rng.uniform(0.002, 0.008) if rng.random() < 0.003 else rng.random() * 0.002
        latest = max(latest, arrived + busy)
        read.append((latest, number))
    return read


# ---- judging


def pesq_wb(reference: Mono, heard: Heard) -> float:
    """PESQ-WB (ITU-T P.862.2) of what was heard against the 48 kHz original."""
    from pesq import pesq

    return float(
        pesq(16000, resample_poly(reference, 1, 3), resample_poly(heard.pcm, 16000, heard.rate_hz), "wb")
    )


def stoi(reference: Mono, heard: Heard) -> float:
    """Short-time objective intelligibility (0 to 1): mean over pieces of 2 s, each where it fits the original best."""
    from pystoi import stoi as measure

    sent, got = resample_poly(reference, 1, 3), resample_poly(heard.pcm, 16000, heard.rate_hz)
    piece, most, found = 32000, 8000, []
    for at in range(piece, len(got) - piece - most, piece):
        original, window = sent[at : at + piece], got[at : at + piece + most]
        late = int(np.argmax(correlate(window, original, "valid", "fft")))
        found.append(measure(original, window[late : late + piece], 16000))
    return float(np.mean(found))
