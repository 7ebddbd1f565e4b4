"""Long calls between clocks that differ, in virtual time: their delay stays without an edit."""

import asyncio
import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.devices import Speaker
from rtc_audio.errors import AudioError
from rtc_audio.opus import OpusDecoder
from rtc_audio.playout import PlayoutBuffer
from rtc_audio.playout_stats import PlayoutStats
from support.fake_audio import FakeCards, run_with_cards
from support.voice_link import FIRST_TIMESTAMP, Heard, Mono, packets, play, roughness

RATE_HZ = 24000
SETTLED = 6000  # pulls until the drift is known and what it had done is made good


@functools.cache
def chords() -> NDArray[np.float32]:
    """Ten seconds `[500, 480]` of steady sound that no pitch period repeats; they follow each other seamlessly."""
    rng, at = np.random.default_rng(1), np.arange(10 * RATE_HZ) / RATE_HZ
    hz = np.concatenate([harmonic * rng.integers(900, 4000, 8) / 10 for harmonic in (1, 2, 3, 5)])
    tones = (np.sin(2 * np.pi * (f * at + rng.random())) / f for f in hz)
    pcm = np.sum(list(tones), 0)
    return np.asarray(0.5 * pcm / np.abs(pcm).max(), np.float32).reshape(500, -1)


class Music:
    """A decoder of packets that say which part of the chords they are."""

    can_conceal = False

    def decode(self, payload: bytes) -> Mono:
        part: Mono = chords()[int(payload)]
        return part

    def conceal(self, samples: int) -> Mono:
        raise AudioError("no")

    def decode_fec(self, payload: bytes, samples: int) -> Mono:
        raise AudioError("no")

    def has_fec(self, payload: bytes) -> bool:
        return False

    def frame_samples(self, payload: bytes) -> int:
        return RATE_HZ // 50


def music(seconds: float) -> list[bytes]:
    return [b"%d" % (i % 500) for i in range(round(seconds * 50))]


def call(
    playout: PlayoutBuffer, payloads: list[bytes], *, sender_ppm: float = 0, puller_ppm: float = 0
) -> tuple[Heard, PlayoutStats]:
    """What is heard, and the counts when the drift was settled; the last second is left to a sender that is fast."""
    counts, pulls = [], iter(range(10**9))

    def count(now: float) -> None:
        if next(pulls) == SETTLED:
            counts.append(playout.stats)

    heard = play(
        playout,
        RATE_HZ,
        payloads,
        [0.0] * len(payloads),
        seconds=len(payloads) / 50 - 1,
        sender_ppm=sender_ppm,
        puller_ppm=puller_ppm,
        on_pull=count,
    )
    return heard, counts[0]


def made_up(stats: PlayoutStats) -> tuple[float, ...]:
    return (
        stats.edits,
        stats.underruns,
        stats.expanded_ms,
        stats.concealed_ms,
        stats.silence_ms,
        stats.discarded,
    )


@functools.cache
def undisturbed_ms() -> float:
    heard, _ = call(PlayoutBuffer(Music(), RATE_HZ), music(90))
    return float(np.median(heard.delay_seconds)) * 1000


@pytest.mark.parametrize(
    ("sender_ppm", "puller_ppm", "seconds"),
    [
        (500, 0, 600),
        (-500, 0, 240),
        (100, 0, 120),
        (-100, 0, 120),
        (30, 0, 120),
        (-30, 0, 120),
        (0, 200, 120),
        (0, -200, 120),
        (100, -100, 120),
    ],
)
@pytest.mark.timeout(120)
def test_music_needs_no_edit(sender_ppm: float, puller_ppm: float, seconds: int) -> None:
    playout = PlayoutBuffer(Music(), RATE_HZ)
    heard, settled = call(playout, music(seconds), sender_ppm=sender_ppm, puller_ppm=puller_ppm)
    delay_ms = heard.delay_seconds[SETTLED:] * 1000
    assert made_up(playout.stats) == made_up(settled)
    assert abs(delay_ms - undisturbed_ms()).max() <= 10
    assert np.median(heard.delay_seconds) <= 0.045
    assert roughness(heard.pcm[SETTLED * RATE_HZ // 100 :]) <= 1.02 * roughness(chords().ravel())
    played_ms = playout.played_ms(FIRST_TIMESTAMP & 0xFFFFFFFF)
    assert played_ms == pytest.approx((seconds - 1) * 1000 * (1 + (sender_ppm - puller_ppm) * 1e-6), abs=40)


@pytest.mark.parametrize("sender_ppm", [500, -500, 100, -30])
@pytest.mark.timeout(120)
def test_speech_keeps_its_delay(sender_ppm: float) -> None:
    payloads = list(packets(10)) * 12
    playout = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ)
    heard, settled = call(playout, payloads, sender_ppm=sender_ppm)
    decoder = OpusDecoder(RATE_HZ)
    sent = np.concatenate([decoder.decode(payload) for payload in payloads])
    assert made_up(playout.stats) == made_up(settled)
    assert abs(heard.delay_seconds[SETTLED:] * 1000 - undisturbed_ms()).max() <= 10
    assert np.median(heard.delay_seconds) <= 0.045
    assert roughness(heard.pcm) <= 1.2 * roughness(sent)


def test_another_path_while_the_clocks_drift_costs_one_expansion() -> None:
    payloads = list(packets(10)) * 9
    path = [0.06 if i > 3000 else 0.0 for i in range(len(payloads))]
    heard = play(
        playout := PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ), RATE_HZ, payloads, path, sender_ppm=500
    )
    assert playout.stats.underruns <= 4
    assert playout.stats.expanded_ms <= 90
    assert np.median(heard.delay_seconds[-1000:]) * 1000 == pytest.approx(undisturbed_ms() + 60, abs=10)


def test_without_drift_every_sample_is_the_senders() -> None:
    heard, settled = call(playout := PlayoutBuffer(Music(), RATE_HZ), music(90))
    sent = np.tile(chords().ravel(), 9)
    assert made_up(playout.stats) == made_up(settled)
    late = round((undisturbed_ms() - 26.5) * RATE_HZ / 1000)
    shifts = [
        at for at in range(late - 480, late + 480) if heard.pcm[60 * RATE_HZ] == sent[60 * RATE_HZ - at]
    ]
    part = slice(30 * RATE_HZ, 88 * RATE_HZ)
    assert any(np.array_equal(heard.pcm[part], sent[part.start - at : part.stop - at]) for at in shifts)


@pytest.mark.parametrize(("card_ppm", "card_hz"), [(300, 48000), (-300, 44100)])
@pytest.mark.timeout(120)
def test_a_loudspeakers_own_clock_is_followed_too(card_ppm: float, card_hz: int) -> None:
    counts: list[PlayoutStats] = []
    delays: list[float] = []

    async def scenario(cards: FakeCards) -> None:
        loop, playout = asyncio.get_running_loop(), PlayoutBuffer(Music(), RATE_HZ)
        cards.ppm, cards.accepts = {"Built-in Speakers": card_ppm}, {"Built-in Speakers": {(card_hz, 2)}}
        speaker = Speaker(hub=cards.hub, rate_hz=RATE_HZ)
        await speaker.start(lambda n: playout.pull(n, loop.time())[:, None])
        started = loop.time()
        for number, payload in enumerate(music(150)):
            await asyncio.sleep(max(0.0, started + number * 0.02 - loop.time()))
            playout.insert(number, number * 960, payload, loop.time())
            delays.append(playout.delay_seconds)
            if number in (SETTLED // 2, 7499):
                counts.append(playout.stats)
        await speaker.aclose()

    run_with_cards(scenario)
    assert made_up(counts[0]) == made_up(counts[1])
    settled_ms = np.array(delays[SETTLED // 2 :]) * 1000
    assert settled_ms.max() - settled_ms.min() <= 10
    assert np.median(settled_ms) <= 25
