"""Sound that nobody sent: the last pitch period again and again, fading into the noise of the background, and bridges
between two known sides.
"""

import numpy as np
from numpy.typing import NDArray

from .tape import Mono

SHORTEST_PERIOD, LONGEST_PERIOD = 0.0025, 0.015  # seconds: voices from 400 down to 67 Hz
VOICED_FROM, VOICED_SPAN = 0.4, 0.4
TEMPLATE_SECONDS = 0.010
FADE_FROM_SECONDS, FADE_SECONDS = 0.020, 0.120  # full level, then down to nothing
CONTEXT_SECONDS = 0.026  # of sound that an expansion looks at
BACKGROUND_SHARE, MOST_BACKGROUND = 0.01, 1e-4  # mean square: of the loudest sound, and at all
LEAST_BACKGROUND = 1e-9  # what is softer is silence
BACKGROUND_RISE, LOUDEST_FALL = 1.003, 0.9995  # with every frame
BACKGROUND_LIKE, BACKGROUND_SMOOTHING = 3.0, 0.1
COMFORT_SECONDS, COMFORT_FADE_SECONDS = 1.0, 1.0  # a line is not alive for ever because its noise is


def best_match(template: Mono, region: Mono) -> tuple[int, float]:
    """Where in `region` the `template` is found best, and the normalised correlation there (-1 to 1)."""
    count = len(template)
    products = np.correlate(region, template, "valid")
    energy = np.cumsum(np.square(region, dtype=np.float64))
    windows = energy[count - 1 :].copy()
    windows[1:] -= energy[:-count]
    scores = products / np.sqrt(np.maximum(windows, 1e-9))
    best = int(np.argmax(scores))
    return best, float(scores[best] / np.sqrt(float(template @ template) + 1e-9))


def pitch_period(past: Mono, rate_hz: int, template_seconds: float = TEMPLATE_SECONDS) -> tuple[int, float]:
    """Samples after which the end of `past` repeats itself, and how well it does (-1 to 1)."""
    count = int(template_seconds * rate_hz)
    short, long = int(SHORTEST_PERIOD * rate_hz), int(LONGEST_PERIOD * rate_hz)
    position, match = best_match(past[-count:], past[len(past) - count - long : len(past) - short])
    return long - position, match


def crossfade(old: Mono, new: Mono, count: int) -> Mono:
    """`new`, its first `count` samples faded in over those of `old`."""
    out = new.copy()
    count = min(count, len(old), len(new))
    rise = np.arange(1, count + 1, dtype=np.float32) / np.float32(count + 1)
    out[:count] = old[:count] + (new[:count] - old[:count]) * rise
    return out


class Expansion:
    """Goes on behind `past` (at least 26 ms): its last pitch period, noise of the same spectrum as far as it is not
    periodic, and a fade from 20 to 140 ms: to silence, or to the noise of the `background`, which fades from
    one second to two. Deterministic.
    """

    def __init__(self, past: Mono, rate_hz: int, background: "Background | None" = None) -> None:
        self._rate_hz, self._position = rate_hz, 0
        period, match = pitch_period(past, rate_hz)
        seam = max(8, period // 4)
        closing = crossfade(past[-seam:], past[-period - seam : -period], seam)
        self._cycle = np.concatenate((past[-period:-seam], closing))
        self._jump = float(past[-1] - past[-period - 1])
        self._voiced = min(max((match - VOICED_FROM) / VOICED_SPAN, 0.0), 1.0)
        self._noise = _noise_like(past, rate_hz // 50) * np.float32(np.sqrt(1 - self._voiced**2))
        self._background, self._room = background, np.zeros(0, np.float32)

    @property
    def faded(self) -> bool:
        """Whether hardly anything is left to be heard."""
        return self._position > (FADE_FROM_SECONDS + 0.9 * FADE_SECONDS) * self._rate_hz

    @property
    def silent(self) -> bool:
        """Whether nothing is left but the background."""
        return self._position > (FADE_FROM_SECONDS + FADE_SECONDS) * self._rate_hz

    def take(self, count: int) -> Mono:
        """The next `count` samples."""
        position = np.arange(self._position, self._position + count)
        made = np.zeros(count, np.float32) if self.silent else self._voice(position)
        self._position += count
        if self._background is not None and self._position > FADE_FROM_SECONDS * self._rate_hz:
            self._room, self._background = self._background.noise(), None
        return made + self._comfort(position) if len(self._room) else made

    def _voice(self, position: NDArray[np.int64]) -> Mono:
        pcm: NDArray[np.floating] = self._cycle[position % len(self._cycle)]
        if position[0] < 0.002 * self._rate_hz or self._voiced < 1:
            onset = np.minimum(position / (0.002 * self._rate_hz), 1)
            pcm = pcm * (1 + onset * (self._voiced - 1)) + self._noise[position % len(self._noise)] * onset
            pcm = pcm + self._jump * np.maximum(1 - position / (0.001 * self._rate_hz), 0)
        return (pcm * self._gain(position)).astype(np.float32)

    def _comfort(self, position: NDArray[np.int64]) -> Mono:
        """The background, as far as the voice is gone."""
        rise = np.sqrt(1 - self._gain(position) ** 2)
        fall = np.clip(1 - (position / self._rate_hz - COMFORT_SECONDS) / COMFORT_FADE_SECONDS, 0, 1)
        return (self._room[position % len(self._room)] * rise * fall).astype(np.float32)

    def _gain(self, position: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.clip(1 - (position / self._rate_hz - FADE_FROM_SECONDS) / FADE_SECONDS, 0, 1)


class Background:
    """What is heard when nobody speaks: learned from the softest frames, as far as they are soft beside the loudest."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz, self._count = rate_hz, rate_hz // 100
        self._window = np.hanning(self._count)
        self._softest, self._loudest, self._level = np.inf, 0.0, 0.0  # mean squares
        self._power = np.zeros(self._count // 2 + 1)  # spectrum

    def hear(self, pcm: Mono) -> None:
        """A frame of the stream, at least 10 ms."""
        level = float(pcm @ pcm) / max(len(pcm), 1)
        self._loudest = max(level, self._loudest * LOUDEST_FALL)
        anew = level * BACKGROUND_LIKE < self._softest or not self._level
        self._softest = min(level, self._softest * BACKGROUND_RISE)
        if level > self._softest * BACKGROUND_LIKE or len(pcm) < self._count or level < LEAST_BACKGROUND:
            return
        known = 1.0 if anew else BACKGROUND_SMOOTHING
        power = np.abs(np.fft.rfft(pcm[-self._count :] * self._window)) ** 2
        self._level += known * (level - self._level)
        self._power += known * (power - self._power)

    def noise(self) -> Mono:
        """A cycle of half a second like it; empty for silence, and for sound that never was soft."""
        soft = self._softest <= min(MOST_BACKGROUND, self._loudest * BACKGROUND_SHARE)
        if self._softest < LEAST_BACKGROUND or not self._level or not soft:
            return np.zeros(0, np.float32)
        count = self._rate_hz // 2
        white = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
        place = np.linspace(0, len(self._power) - 1, len(white))
        noise = np.fft.irfft(
            white * np.sqrt(np.interp(place, np.arange(len(self._power)), self._power)), count
        )
        cycle: Mono = (noise * np.sqrt(self._level / (np.mean(noise**2) + 1e-20))).astype(np.float32)
        return cycle


def bridge(before: Expansion, future: Mono, count: int, rate_hz: int) -> Mono:
    """`count` samples between two known sides, expanded from both and cross-faded."""
    context = int(CONTEXT_SECONDS * rate_hz)
    reverse = np.concatenate((np.zeros(context, np.float32), future[::-1]))
    after = Expansion(reverse, rate_hz).take(count)[::-1]
    fade = np.sin(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
    joined: Mono = before.take(count) * (1 - fade) + after * fade
    return joined


def _noise_like(past: Mono, count: int) -> Mono:
    """Noise with the spectrum and level of the end of `past`; twice `count` long, and without a seam."""
    magnitude = np.abs(np.fft.rfft(past[-count:] * np.hanning(count)))
    phase = np.exp(2j * np.pi * np.random.default_rng(1).random(len(magnitude)))
    noise = np.fft.irfft(magnitude * phase, count)
    level = np.sqrt(np.mean(np.square(past[-count // 2 :])) / (np.mean(noise**2) + 1e-12))
    cycle: Mono = (np.concatenate((noise, noise[::-1])) * level).astype(np.float32)
    return cycle
