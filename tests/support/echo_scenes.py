"""Rooms with a loudspeaker, a microphone and two talkers, made in code; and how well an echo was cancelled in them."""

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtc_audio.echo import EchoCanceller

Mono = NDArray[np.float32]
Signal = NDArray[np.float64]

RATE_HZ = 16000
FAR_RMS = 0.12
SPEECH = Path(__file__).parents[2] / "rtc_transport" / "data" / "speech.wav"


@dataclass(frozen=True)
class Scene:
    """What was played and what was heard, with the parts of the latter; somebody talks within `talk`, in seconds."""

    far: Mono
    microphone: Mono
    echo: Signal
    near: Signal
    talk: tuple[float, float]
    rate_hz: int = RATE_HZ


def scene(
    *,
    seconds: float = 13,
    talk: tuple[float, float] = (10, 13),
    delay_ms: float = 90,
    drift_ppm: float = 0,
    drive: float = 0,
    change_at: float | None = None,
    echo_db: float = -6,
    near_db: float = 0,
    far: Signal | None = None,
    voice: Signal | None = None,
    rate_hz: int = RATE_HZ,
) -> Scene:
    """A far-end talker in a room with an RT60 of 180 ms and noise at −65 dBFS, and a near-end talker within `talk`.

    The echo is `echo_db` re the far end, after `delay_ms`; the near end `near_db` re the echo. `drive` bends the
    loudspeaker along tanh, the room becomes another at `change_at` seconds, and the microphone's clock is slower
    by `drift_ppm`. `far` and `voice` are speech to use instead of the synthetic.
    """
    count = round(seconds * rate_hz)
    far = np.resize(speech_like(seconds, 1, rate_hz) if far is None else far, count)
    far *= FAR_RMS / rms(far)
    played = np.tanh(drive * far / np.abs(far).max()) if drive else far
    echo = convolve(played, room(3, delay_ms, rate_hz))
    if change_at is not None:
        at = round(change_at * rate_hz)
        echo[at:] = convolve(played, room(11, delay_ms, rate_hz))[at:]
    echo = resampled(echo, drift_ppm)
    echo *= FAR_RMS * 10 ** (echo_db / 20) / rms(echo)
    begin, end = (round(at * rate_hz) for at in talk)
    spoken = np.resize(speech_like(talk[1] - talk[0], 2, rate_hz) if voice is None else voice, end - begin)
    near = np.zeros(count)
    near[begin:end] = spoken * rms(echo) * 10 ** (near_db / 20) / rms(spoken)
    noise = np.random.default_rng(0).standard_normal(count) * 10 ** (-65 / 20)
    heard = near + echo + noise
    return Scene(far.astype(np.float32), heard.astype(np.float32), echo, near, talk, rate_hz)


@dataclass(frozen=True)
class Outcome:
    """What a canceller made of a scene: `out` without the canceller's latency."""

    scene: Scene
    out: Signal

    def erle_db(self, begin: float, end: float) -> float:
        """Echo over what is left, between two times without near end."""
        part = slice(round(begin * self.scene.rate_hz), round(end * self.scene.rate_hz))
        return decibels(rms(self.scene.echo[part]) / max(rms(self.out[part]), 1e-9))

    @property
    def double_talk(self) -> tuple[Signal, Signal]:
        """Near end and output while both talk."""
        part = slice(*(round(at * self.scene.rate_hz) for at in self.scene.talk))
        return self.scene.near[part], self.out[part]

    @property
    def near_gain_db(self) -> float:
        """What became of the near end's level in double talk."""
        near, out = self.double_talk
        return decibels(abs(float(out @ near / (near @ near))))

    @property
    def si_sdr_db(self) -> float:
        """Scale-invariant signal-to-distortion ratio of the near end in double talk."""
        near, out = self.double_talk
        target = near * (out @ near) / (near @ near)
        return decibels(rms(target) / rms(out - target))


def cancel(canceller: EchoCanceller, heard: Scene) -> Outcome:
    """Runs a canceller through a scene, block by block."""
    blocks = [
        canceller.process(*pair) for pair in in_blocks(canceller.block_frames, heard.far, heard.microphone)
    ]
    late = round(canceller.latency_seconds * heard.rate_hz)
    out = np.concatenate([*blocks, np.zeros(late, np.float32)])[late:]
    return Outcome(heard, out.astype(np.float64))


def in_blocks(frames: int, *signals: Mono) -> Iterator[tuple[Mono, ...]]:
    """The signals, block by block."""
    return zip(*(signal.reshape(-1, frames) for signal in signals), strict=True)


def speech_like(seconds: float, seed: int, rate_hz: int = RATE_HZ) -> Signal:
    """Syllables of formant-shaped harmonics and of hiss, with gliding pitch and pauses."""
    random = np.random.default_rng(seed)
    pitch_hz = random.uniform(95, 180)
    parts: list[Signal] = []
    while sum(map(len, parts)) < seconds * rate_hz:
        count = int(random.uniform(0.09, 0.26) * rate_hz)
        envelope = np.sin(np.pi * np.arange(count) / count) ** 0.6 * random.uniform(0.4, 1)
        hiss = 0.15 * np.diff(random.standard_normal(count + 1))
        parts.append(
            envelope * (hiss if random.random() < 0.25 else _vowel(random, pitch_hz, count, rate_hz))
        )
        if random.random() < 0.15:
            parts.append(np.zeros(int(random.uniform(0.15, 0.6) * rate_hz)))
    return np.concatenate(parts)[: round(seconds * rate_hz)]


def _vowel(random: np.random.Generator, pitch_hz: float, count: int, rate_hz: int) -> Signal:
    begin, end = pitch_hz * random.uniform(0.8, 1.25, 2)
    hz = np.linspace(begin, end, count)
    order = np.arange(1, int(0.42 * rate_hz / hz.max()))[:, None]
    formants = random.uniform((250, 800, 2100), (850, 2300, 3300))
    distance = (order * hz.mean() - formants) / (150, 220, 350)
    amplitude = np.exp(-(distance**2)) @ (1.0, 0.5, 0.25) + 0.01
    return np.asarray(amplitude @ np.sin(order * 2 * np.pi * np.cumsum(hz) / rate_hz))


def shipped_speech() -> Signal:
    """The speech that ships with the library, at `RATE_HZ`: a text-to-speech program's, 4 s."""
    with wave.open(str(SPEECH)) as file:
        count, rate_hz = file.getnframes(), file.getframerate()
        pcm = np.frombuffer(file.readframes(count), "<i2") / 32768
    spectrum = np.fft.rfft(pcm)[: count * RATE_HZ // rate_hz // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, count * RATE_HZ // rate_hz))


def room(seed: int, delay_ms: float, rate_hz: int = RATE_HZ) -> Signal:
    """An impulse response: a direct path and 120 ms of exponential decay behind a bulk delay."""
    random = np.random.default_rng(seed)
    count = round(0.12 * rate_hz)
    response = random.standard_normal(count) * np.exp(-np.arange(count) / rate_hz * 6.9 / 0.18)
    response[: round(0.002 * rate_hz)] *= 0.2
    response[round(0.001 * rate_hz)] = 4.0
    return np.concatenate(
        [np.zeros(round(delay_ms * rate_hz / 1000)), response / np.sqrt(np.sum(response**2))]
    )


def convolve(signal: Signal, response: Signal) -> Signal:
    """The signal in the room, as long as the signal."""
    size = len(signal) + len(response)
    return np.asarray(
        np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)[: len(signal)]
    )


def resampled(signal: Signal, ppm: float) -> Signal:
    """The signal as a clock sees it that is slower by `ppm`, by 32-tap interpolation."""
    if not ppm:
        return signal
    reach = 16
    position = np.arange(len(signal)) * (1 - ppm * 1e-6)
    whole = np.floor(position).astype(int)
    padded = np.concatenate([np.zeros(reach), signal, np.zeros(reach + len(signal) // 1000 + 1)])
    result = np.zeros(len(signal))
    for tap in range(1 - reach, reach + 1):
        distance = position - whole - tap
        window = np.cos(np.pi * distance / (2 * reach + 0.001)) ** 2
        result += padded[whole + tap + reach] * np.sinc(distance) * window
    return result


def rms(signal: Signal | Mono) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(signal**2)))


def decibels(ratio: float) -> float:
    """Of an amplitude ratio."""
    return float(20 * np.log10(ratio))
