"""The playout buffer on seeded networks, in virtual time."""

import random
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.opus import OpusDecoder, OpusEncoder, OpusError
from rtc_audio.playout import PlayoutBuffer
from support.voice_link import (
    FIRST_TIMESTAMP,
    Delays,
    Mono,
    bursty,
    jittery,
    lossy,
    packets,
    play,
    roughness,
    stalling,
    voice,
)

RATE_HZ = 24000
BLOCK = 240
SECONDS = 20


def buffer(**options: object) -> PlayoutBuffer:
    return PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ, **options)  # type: ignore[arg-type]  # any option


def decoded(payloads: tuple[bytes, ...]) -> Mono:
    decoder = OpusDecoder(RATE_HZ)
    return np.concatenate([decoder.decode(payload) for payload in payloads])


NETWORKS: dict[str, tuple[Callable[[int], Delays], float, float, float]] = {
    # delays, and the most that is allowed: median delay ms, worst delay ms after 1 s, inserted silence ms in 20 s
    "clean": (lambda n: [0.0] * n, 45, 65, 60),
    "jitter 0-60 ms": (lambda n: jittery(n, 0.06), 115, 150, 160),
    "loss 1 %": (lambda n: lossy(n, 0.01), 60, 80, 60),
    "loss 5 %": (lambda n: lossy(n, 0.05), 60, 110, 60),
    "loss 10 %": (lambda n: lossy(n, 0.1), 60, 150, 80),
    "loss 20 %": (lambda n: lossy(n, 0.2), 62, 250, 200),
    "bursts 5 %": (bursty, 62, 350, 400),
    "200 ms stalls": (lambda n: stalling(n, 0.2, 5.0), 190, 270, 450),
    "1 s outage": (lambda n: [None if 400 <= i < 450 else 0.0 for i in range(n)], 60, 1100, 1000),
    "1 s stall": (lambda n: stalling(n, 1.0, 100.0), 700, 1100, 1000),
    "sender +500 ppm": (lambda n: [-i * 1e-5 for i in range(n)], 50, 65, 60),
    "sender -500 ppm": (lambda n: [i * 1e-5 for i in range(n)], 50, 65, 60),
    "+60 ms for good": (lambda n: [0.06 if i > n // 2 else 0.0 for i in range(n)], 110, 140, 120),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_the_voice_survives(network: str) -> None:
    delays, median_ms, worst_ms, silence_ms = NETWORKS[network]
    payloads = packets(SECONDS)
    heard = play(playout := buffer(), RATE_HZ, payloads, delays(len(payloads)))
    delay_ms, stats = heard.delay_seconds[100:] * 1000, playout.stats
    assert len(heard.pcm) == SECONDS * RATE_HZ
    assert np.median(delay_ms) <= median_ms
    assert delay_ms.max() <= worst_ms
    assert stats.silence_ms <= silence_ms
    assert roughness(heard.pcm) <= 1.4 * roughness(decoded(payloads))
    assert stats.malformed == stats.duplicate == 0


def test_a_clean_link_is_played_as_it_was_sent() -> None:
    payloads = packets(10)
    heard = play(playout := buffer(), RATE_HZ, payloads, [0.0] * len(payloads))
    sent = decoded(payloads)
    late = int(np.argmax(np.correlate(heard.pcm, sent[RATE_HZ : 2 * RATE_HZ], "valid"))) - RATE_HZ
    assert np.abs(heard.pcm[RATE_HZ + late : 4 * RATE_HZ] - sent[RATE_HZ : 4 * RATE_HZ - late]).max() < 1e-6
    assert playout.stats.lost == playout.stats.discarded == playout.stats.underruns == 0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_every_loss_is_filled(share: float) -> None:
    payloads = packets(10)
    delays = [*lossy(len(payloads) - 10, share), *[0.0] * 10]
    play(playout := buffer(), RATE_HZ, payloads, delays)
    stats, lost = playout.stats, delays.count(None)
    assert stats.lost == lost
    assert stats.fec_ms + stats.concealed_ms + stats.expanded_ms >= lost * 20
    assert stats.fec_ms >= 0.4 * lost * 20


def test_reordered_packets_are_no_loss() -> None:
    payloads = packets(10)
    delays = [0.03 if i % 7 == 3 else 0.0 for i in range(len(payloads))]
    play(playout := buffer(), RATE_HZ, payloads, delays)
    assert playout.stats.lost - playout.stats.late <= 1
    assert playout.stats.late <= 3  # until the target has learned of them


def test_late_speech_is_kept_or_dropped() -> None:
    payloads = packets(SECONDS)
    delays = stalling(len(payloads), 0.4, 100.0)
    kept, dropped = buffer(late="keep"), buffer(late="drop")
    play(kept, RATE_HZ, payloads, delays)
    heard = play(dropped, RATE_HZ, payloads, delays)
    assert kept.stats.discarded == 0
    assert dropped.stats.discarded * 20 >= 300
    assert heard.delay_seconds[-1] < 0.060


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_all_frame_lengths(frame_ms: int) -> None:
    payloads = packets(10, frame_ms)
    rng = random.Random(2)
    delays = [None if rng.random() < 0.05 else rng.random() * 0.01 for _ in payloads]
    heard = play(playout := buffer(), RATE_HZ, payloads, delays, frame_seconds=frame_ms / 1000)
    assert np.median(heard.delay_seconds) < 0.050 + 2 * frame_ms / 1000
    assert playout.stats.silence_ms < 300
    assert playout.stats.lost == pytest.approx(delays.count(None), abs=2)


def test_frame_length_may_change() -> None:
    playout, now, timestamp, sequence = buffer(), 0.0, 0, 0
    heard = []
    for frame_ms in (20, 10, 60, 40, 20) * 3:
        for payload in packets(10, frame_ms)[1000 // frame_ms : 1200 // frame_ms]:
            if sequence % 9 != 5:
                playout.insert(sequence, timestamp, payload, now)
            sequence, timestamp = sequence + 1, timestamp + frame_ms * 48
            for _ in range(frame_ms // 10):
                heard.append(playout.pull(BLOCK, now + 0.004))
                now += 0.01
    assert playout.stats.malformed == playout.stats.discarded == 0
    assert playout.delay_seconds < 0.15
    assert np.isfinite(np.concatenate(heard)).all()


# ---- the sender pauses, ends, restarts


@pytest.mark.parametrize("numbered", [True, False])
def test_a_pause_of_the_sender_keeps_nothing_back(numbered: bool) -> None:
    payloads, playout = packets(10), buffer()
    for pull in range(400):
        now = pull * 0.01
        if pull % 2 == 0 and (number := pull // 2) < 200 and not 100 <= number < 150:
            sequence = number if numbered or number < 150 else number - 50
            playout.insert(sequence, number * 960, payloads[number], now)
        playout.pull(BLOCK, now + 0.004)
        if now == pytest.approx(1.98 + 0.02 + playout.target_seconds + 0.04, abs=0.005):
            assert playout.media_seconds >= 2.0
    assert playout.played_ms(0) >= 2980 if not numbered else 3900
    assert playout.delay_seconds < 1.1


def test_the_room_is_heard_between_the_packets_of_a_sender_with_dtx() -> None:
    encoder, pcm = OpusEncoder(bitrate_bps=32000, complexity=9, dtx=True), voice(8)
    hiss = np.random.default_rng(1).standard_normal(len(pcm))
    room = (0.003 * np.convolve(hiss, np.ones(4) / 2, "same")).astype(np.float32)
    spoken = np.where(np.arange(len(pcm)) < 4 * 48000, pcm, 0) + room
    sent = [encoder.encode(spoken[at : at + 960]) for at in range(0, len(pcm), 960)]
    assert sum(len(payload) > 2 for payload in sent[250:]) < 40, "the encoder did not pause"
    playout, heard, sequence = buffer(), [], 0
    for number, payload in enumerate(sent):
        now = number * 0.02
        if len(payload) > 2:
            playout.insert(sequence, number * 960, payload, now)
            sequence += 1
        heard += [playout.pull(BLOCK, now + 0.004), playout.pull(BLOCK, now + 0.014)]
    levels = np.concatenate(heard)[5 * RATE_HZ :].reshape(-1, RATE_HZ // 20).std(1)
    assert levels.min() > 0.6 * np.median(levels)
    assert np.median(levels) == pytest.approx(0.003, rel=0.4)
    silent = np.concatenate([playout.pull(BLOCK, 8.004 + at * 0.01) for at in range(300)])
    assert not silent[-RATE_HZ // 2 :].any(), "a dead line may not sound alive"


def test_the_end_comes_out_by_itself() -> None:
    payloads, playout = packets(10)[:150], buffer()
    play(playout, RATE_HZ, payloads, jittery(150, 0.06), seconds=3.06)
    late = playout.target_seconds + 0.04
    play_on = [playout.pull(BLOCK, 3.064 + at * 0.01) for at in range(round(late * 100))]
    assert playout.played_ms(FIRST_TIMESTAMP & 0xFFFFFFFF) == pytest.approx(3000, abs=21)
    assert np.abs(np.concatenate(play_on)[-BLOCK:]).max() < 0.3


@pytest.mark.parametrize("way", ["ssrc", "sequence", "timestamp back", "timestamp ahead"])
def test_a_restarted_stream_goes_on_without_a_click(way: str) -> None:
    payloads, playout, heard = packets(10), buffer(), []
    for number in range(500):
        sequence, timestamp = number, number * 960
        if number == 250 and way == "ssrc":
            playout.reset()
        if number >= 250:
            sequence += {"ssrc": 31000, "sequence": 20000}.get(way, 0)
            timestamp += {"ssrc": 123456, "timestamp back": -200_000, "timestamp ahead": 48000 * 3600}.get(
                way, 0
            )
        playout.insert(sequence & 0xFFFF, timestamp & 0xFFFFFFFF, payloads[number], number * 0.02)
        heard += [playout.pull(BLOCK, number * 0.02 + 0.004), playout.pull(BLOCK, number * 0.02 + 0.014)]
    stats = playout.stats
    assert stats.late == 0
    assert stats.lost + stats.malformed <= 1  # the first packet behind a jump waits for its successor
    assert playout.delay_seconds < 0.06
    assert roughness(np.concatenate(heard)) <= 1.4 * roughness(decoded(payloads))


def test_two_packets_may_share_a_timestamp() -> None:
    payloads, playout = packets(10), buffer()
    for number in range(0, 500, 2):
        for which in (0, 1):
            playout.insert(number + which, number * 960, payloads[number + which], number * 0.02 + 0.02)
        for pull in range(4):
            playout.pull(BLOCK, number * 0.02 + 0.023 + pull * 0.01)
    assert playout.stats.lost == playout.stats.late == playout.stats.discarded == 0
    assert playout.delay_seconds < 0.06


# ---- bad input


def test_garbage_is_counted_and_filled() -> None:
    payloads = list(packets(10))
    noise = np.random.default_rng(3)
    for number in range(30, 500, 10):
        payloads[number] = noise.integers(0, 256, noise.integers(0, 50), np.uint8).tobytes()
    heard = play(playout := buffer(), RATE_HZ, payloads, [0.0] * len(payloads))
    assert np.isfinite(heard.pcm).all()
    assert np.abs(heard.pcm).max() <= 3
    assert playout.stats.malformed > 5
    assert heard.delay_seconds[-1] < 0.4


def test_padding_is_ignored() -> None:
    payloads, playout = packets(10), buffer()
    for number in range(400):
        playout.insert(2 * number, number * 960, payloads[number], number * 0.02)
        playout.insert(2 * number + 1, number * 960, b"", number * 0.02)
        playout.pull(2 * BLOCK, number * 0.02 + 0.004)
    assert playout.stats.received == 400
    assert playout.stats.lost == playout.stats.concealed_ms == 0


def test_a_decoder_that_fails_is_no_reason_to_stop() -> None:
    class Failing(OpusDecoder):
        def decode(self, payload: bytes) -> Mono:
            raise OpusError("never")

    playout = PlayoutBuffer(Failing(RATE_HZ), RATE_HZ)
    heard = play(playout, RATE_HZ, packets(2), [0.0] * 100)
    assert playout.stats.malformed > 90
    assert np.isfinite(heard.pcm).all()


def test_without_libopus_losses_are_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = packets(10)
    monkeypatch.setattr("rtc_audio.opus.load_libopus", lambda: None)
    heard = play(playout := buffer(), RATE_HZ, payloads, lossy(len(payloads), 0.05))
    assert playout.stats.fec_ms == 0
    assert playout.stats.concealed_ms + playout.stats.expanded_ms > 300
    assert roughness(heard.pcm) <= 1.4 * roughness(decoded(payloads))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"late": "perhaps"}, 'late must be "keep" or "drop", not \'perhaps\''),
        ({"rate_hz": 44100}, "rate_hz must be 8000 or more and divide 48000, not 44100"),
        ({"max_delay_seconds": 0}, "max_delay_seconds must be 0.1 to 10, not 0"),
    ],
)
def test_wrong_use_is_told(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        PlayoutBuffer(OpusDecoder(RATE_HZ), **({"rate_hz": RATE_HZ} | options))  # type: ignore[arg-type]  # on purpose


def test_a_loss_of_a_length_that_no_frame_has_is_filled() -> None:
    encoder, pcm = OpusEncoder(bitrate_bps=96000, fec=False), voice(4)
    payloads = [encoder.encode(pcm[at : at + 960]) for at in range(0, len(pcm) - 959, 960)]
    playout, timestamp, heard = buffer(), 0, []
    for number, payload in enumerate(payloads):
        if number % 50 != 25:
            playout.insert(number, timestamp, payload, number * 0.02)
        timestamp += 700 if number % 50 == 24 else 960
        heard += [playout.pull(BLOCK, number * 0.02 + 0.004), playout.pull(BLOCK, number * 0.02 + 0.014)]
    assert playout.stats.lost == 4
    assert roughness(np.concatenate(heard)) <= 1.4 * roughness(decoded(tuple(payloads)))


# ---- the one who pulls


def test_it_is_bounded_when_nobody_pulls() -> None:
    payloads, playout = packets(10), buffer(max_delay_seconds=1.0)
    for number in range(3000):
        playout.insert(number & 0xFFFF, number * 960, payloads[number % 400], number * 0.02)
    assert playout.stats.discarded >= 2940
    heard = np.concatenate([playout.pull(BLOCK, 60 + pull * 0.01) for pull in range(300)])
    assert playout.played_ms(0) <= 1100
    assert np.isfinite(heard).all()


@pytest.mark.parametrize("pattern", [(1,), (2, 0), (4, 0, 0, 0), (1, 2, 0)])
def test_cards_that_pull_in_bursts(pattern: tuple[int, ...]) -> None:
    payloads, playout = packets(10), buffer()
    for step in range(900):
        now = step * 0.01
        if step % 2 == 0:
            playout.insert(step // 2, step * 480, payloads[step // 2], now)
        for _ in range(pattern[step % len(pattern)]):
            playout.pull(BLOCK, now + 0.004)
    assert playout.stats.underruns <= 6
    assert playout.stats.expanded_ms < 120


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_other_rates_and_odd_pulls(rate_hz: int) -> None:
    payloads, rng = packets(10), random.Random(6)
    playout, pulled, sent, total = PlayoutBuffer(OpusDecoder(rate_hz), rate_hz), 0, 0, 0.0
    while pulled < 8 * rate_hz:
        now = pulled / rate_hz
        while sent * 0.02 <= now:
            playout.insert(sent, sent * 960, payloads[sent], sent * 0.02)
            sent += 1
        count = rng.randint(1, rate_hz // 40)
        pcm = playout.pull(count, now)
        assert pcm.dtype == np.float32
        assert pcm.shape == (count,)
        pulled, total = pulled + count, total + float(pcm @ pcm)
    assert total > 0
    assert playout.stats.decoded_ms > 7800
    assert playout.delay_seconds < 0.08


def test_flush_fades_and_goes_on() -> None:
    payloads, flushed = packets(10), []
    playout = buffer()

    def flush(now: float) -> None:
        if 2.0 <= now < 2.01:
            playout.flush(now)
            flushed.append(playout.played_ms(FIRST_TIMESTAMP))

    delays = [0.0 if i < 101 or i > 200 else None for i in range(len(payloads))]
    heard = play(playout, RATE_HZ, payloads, delays, on_pull=flush)
    at = next(i for i in range(2 * RATE_HZ - BLOCK, 3 * RATE_HZ) if not heard.pcm[i : i + RATE_HZ // 2].any())
    assert at <= 2 * RATE_HZ + 0.012 * RATE_HZ + BLOCK
    assert roughness(heard.pcm) <= 1.4 * roughness(decoded(payloads))
    assert flushed[0] == pytest.approx(1980, abs=60)
    assert playout.played_ms(FIRST_TIMESTAMP) == pytest.approx(flushed[0] + 6000 - 20, abs=60)


def test_played_time_belongs_to_what_was_played() -> None:
    payloads = packets(10)
    playout = buffer()
    play(playout, RATE_HZ, payloads, lossy(len(payloads), 0.05), seconds=5.0)
    start = FIRST_TIMESTAMP & 0xFFFFFFFF

    def at(ms: int) -> int:
        return (start + ms * 48) & 0xFFFFFFFF

    assert playout.played_ms(at(1000), at(2500)) == pytest.approx(1500, abs=1)
    assert playout.played_ms(at(4000)) == pytest.approx(1000 - playout.delay_seconds * 1000, abs=35)
    assert playout.played_ms(at(9000)) == 0


def test_before_the_first_packet_there_is_no_delay() -> None:
    playout = buffer()
    for i in range(5):
        playout.pull(BLOCK, 15000.0 + i / 100)
    assert playout.delay_seconds == 0.0


def test_statistics_are_a_value() -> None:
    playout = buffer()
    before = playout.stats
    play(playout, RATE_HZ, packets(10)[:20], [0.0] * 20)
    assert before.received == 0
    assert playout.stats.received == 20
    with pytest.raises(AttributeError):
        before.received = 1  # type: ignore[misc]  # frozen


# ---- long calls


class Tone:
    """A decoder that costs nothing."""

    can_conceal = False
    pcm = np.sin(np.arange(480) * 2 * np.pi / 96).astype(np.float32)

    def decode(self, payload: bytes) -> NDArray[np.float32]:
        return self.pcm

    def conceal(self, samples: int) -> NDArray[np.float32]:
        raise OpusError("no")

    def decode_fec(self, payload: bytes, samples: int) -> NDArray[np.float32]:
        return self.pcm

    def has_fec(self, payload: bytes) -> bool:
        return True

    def frame_samples(self, payload: bytes) -> int:
        return 480


class Hiss(Tone):
    """Sound that never repeats itself."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def decode(self, payload: bytes) -> NDArray[np.float32]:
        return (0.1 * self._random.standard_normal(480)).astype(np.float32)


def test_a_fast_clock_does_not_heap_up_sound_without_pauses() -> None:
    playout, worst, pulled = PlayoutBuffer(Hiss(), RATE_HZ), 0.0, 0
    for number in range(5_000):
        now = number * 0.02 * (1 - 2e-3)  # in the end the sender is 200 ms ahead
        playout.insert(number & 0xFFFF, number * 960, b"x", now)
        while pulled * 0.01 <= now:
            playout.pull(BLOCK, pulled * 0.01 + 0.004)
            pulled += 1
        worst = max(worst, playout.delay_seconds)
    assert worst < 0.1


@pytest.mark.timeout(60)
def test_ten_minutes_do_not_grow() -> None:
    playout, rng, grown = PlayoutBuffer(Tone(), RATE_HZ), random.Random(1), []
    for number in range(30_000):
        if number == 15_000:  # it slows everything down
            tracemalloc.start()
        now = number * 0.02 * (1 + 3e-4)
        if rng.random() > 0.02:
            playout.insert(number & 0xFFFF, number * 960 & 0xFFFFFFFF, b"x", now + rng.random() * 0.02)
        playout.pull(2 * BLOCK, now + 0.021)
        if number in (22_500, 29_999):
            grown.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert grown[1] - grown[0] < 20_000
    assert playout.delay_seconds < 0.08
    assert playout.stats.silence_ms < 100
