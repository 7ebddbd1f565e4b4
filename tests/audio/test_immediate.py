"""Sound as it comes: in order, nothing missing, no wait but for a hole."""

import numpy as np
import pytest

from rtc_audio.immediate import ImmediateDecoder, Piece
from rtc_audio.opus import OpusDecoder, OpusEncoder
from support.voice_link import FIRST_SEQUENCE, FIRST_TIMESTAMP, packets, roughness

RATE_HZ = 24000
FRAME = 480


class Call:
    """Feeds packets by their number and checks that media time has no gap."""

    def __init__(self, frame_ms: int = 20, decoder: OpusDecoder | None = None) -> None:
        self.decoder = ImmediateDecoder(decoder or OpusDecoder(RATE_HZ), RATE_HZ)
        self.payloads, self.step = packets(10, frame_ms), frame_ms * 48
        self.pieces: list[Piece] = []

    def keep(self, pieces: list[Piece]) -> int:
        """How many samples came; they continue those before."""
        for pcm, ticks in pieces:
            if self.pieces:
                last, start = self.pieces[-1]
                assert ticks == start + len(last) * 48000 // RATE_HZ
            self.pieces.append((pcm, ticks))
        return sum(len(pcm) for pcm, _ in pieces)

    def insert(self, number: int, now: float, payload: bytes | None = None, pause: int = 0) -> int:
        sequence, timestamp = FIRST_SEQUENCE + number & 0xFFFF, FIRST_TIMESTAMP + number * self.step + pause
        payload = self.payloads[number] if payload is None else payload
        return self.keep(self.decoder.insert(sequence, timestamp & 0xFFFFFFFF, payload, now))

    def tick(self, now: float) -> int:
        return self.keep(self.decoder.tick(now))

    @property
    def pcm(self) -> np.ndarray:
        return np.concatenate([pcm for pcm, _ in self.pieces])


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_a_packet_is_sound_at_once(frame_ms: int) -> None:
    call = Call(frame_ms)
    for number in range(150):
        assert call.insert(number, number * 0.02) == frame_ms * 24
        assert call.decoder.deadline is None
    assert call.pieces[0][1] == FIRST_TIMESTAMP
    assert call.decoder.stats.decoded_ms == 150 * frame_ms


def test_reordered_packets_are_put_in_order() -> None:
    ordered, shuffled = Call(), Call()
    for number in range(100):
        ordered.insert(number, number * 0.02)
    for first in range(0, 100, 4):
        for number in (first, first + 2, first + 3, first + 1):
            shuffled.insert(number, first * 0.02)
    assert np.array_equal(ordered.pcm, shuffled.pcm)
    assert shuffled.decoder.stats.lost == 0


def test_a_hole_waits_and_is_recovered_from_fec() -> None:
    call = Call()
    for number in range(60):
        call.insert(number, number * 0.02)
    assert call.insert(61, 1.22) == 0
    assert call.decoder.deadline == pytest.approx(1.28)
    assert call.tick(1.27) == 0
    assert call.tick(1.281) == 2 * FRAME
    assert call.decoder.deadline is None
    assert call.decoder.stats.fec_ms == 20
    call.insert(60, 1.3)
    assert (call.decoder.stats.lost, call.decoder.stats.late) == (1, 1)


def test_a_hole_is_filled_without_a_tick_too() -> None:
    call = Call()
    call.insert(0, 0.0)
    assert [call.insert(number, number * 0.02) for number in (2, 3, 4, 5)] == [0, 0, 0, 5 * FRAME]


@pytest.mark.parametrize("missing", [2, 5, 30, 120])
def test_long_holes_are_bridged_without_a_click(missing: int) -> None:
    call = Call()
    for number in range(60):
        call.insert(number, number * 0.02)
    untouched = roughness(call.pcm)
    now = (60 + missing) * 0.02
    call.insert(60 + missing, now)
    assert call.tick(now + 0.06) == (missing + 1) * FRAME
    stats = call.decoder.stats
    assert stats.fec_ms + stats.concealed_ms + stats.silence_ms == missing * 20
    assert stats.lost == missing
    assert roughness(call.pcm) < 1.5 * untouched


def test_a_pause_of_the_sender_becomes_silence() -> None:
    call = Call()
    for number in range(50):
        call.insert(number, number * 0.02)
    assert call.insert(50, 4.0, pause=3 * 48000) == 3 * RATE_HZ + FRAME
    assert call.decoder.stats.silence_ms == 3000
    assert call.decoder.stats.lost == 0


def test_a_sender_that_falls_silent_in_a_word_does_not_click() -> None:
    """Not every sender fades out before it stops, nor in when it goes on."""
    payloads = [OpusEncoder(complexity=1).encode(pcm) for pcm in np.split(_tone(40), 40)]
    decoder, pcm = ImmediateDecoder(OpusDecoder(RATE_HZ), RATE_HZ), list[np.ndarray]()
    for number, payload in enumerate(payloads):
        pause = 48000 if number >= 20 else 0
        now = number * 0.02 + pause / 48000
        pcm += [piece for piece, _ in decoder.insert(number, number * 960 + pause, payload, now)]
    heard = np.concatenate(pcm)
    assert decoder.stats.silence_ms == 1000
    assert roughness(heard) < 4 * roughness(np.concatenate(pcm[5:15])), "a step of this tone is 70 times"
    assert not heard[21 * FRAME : 69 * FRAME].any()


def _tone(packets: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(packets * 960) / 48000)).astype(np.float32)


def test_a_very_long_pause_shows_in_the_media_time_only() -> None:
    decoder, payloads = ImmediateDecoder(OpusDecoder(RATE_HZ), RATE_HZ), packets(10)
    decoder.insert(1, 0, payloads[0], 0.0)
    pieces = decoder.insert(2, 48000 * 3600, payloads[1], 3600.0)
    assert [(len(pcm), ticks) for pcm, ticks in pieces] == [(FRAME, 48000 * 3600)]


def test_a_new_stream_follows_the_old_one() -> None:
    call = Call()
    for number in range(20):
        call.insert(number, number * 0.02)
    call.decoder.reset()
    for number in range(20, 40):
        pieces = call.decoder.insert(
            number + 7000, 12345 + number * 960, call.payloads[number], number * 0.02
        )
        assert call.keep(pieces) == FRAME
    assert call.decoder.stats.lost == call.decoder.stats.late == 0


def test_garbage_is_counted_and_filled() -> None:
    call = Call()
    for number in range(30):
        payload = {10: b"", 20: b"\xff\x00\x00", 25: b"\x0b\xc3" + b"\xff" * 40}.get(number)
        call.insert(number, number * 0.02, payload)
        call.tick(number * 0.02 + 0.015)
    call.keep(call.decoder.flush())
    stats = call.decoder.stats
    assert stats.malformed >= 1
    assert stats.received == 29
    assert sum(len(pcm) for pcm, _ in call.pieces) == 30 * FRAME


def test_flush_gives_all_that_waits() -> None:
    call = Call()
    for number in (0, 2, 5, 6):
        call.insert(number, 0.0)
    assert call.keep(call.decoder.flush()) == 6 * FRAME
    assert call.decoder.deadline is None


def test_little_waits_behind_a_hole() -> None:
    decoder = ImmediateDecoder(OpusDecoder(RATE_HZ), RATE_HZ, reorder_seconds=1.0)
    payload = packets(10)[30]
    decoder.insert(0, 0, payload, 0.0)
    waiting = [len(decoder.insert(number, number * 960, payload, 0.01)) == 0 for number in range(2, 1000)]
    assert sum(waiting) < 100
    assert decoder.stats.discarded == 0


def test_without_libopus_holes_are_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc_audio.opus.load_libopus", lambda: None)
    call = Call(decoder=OpusDecoder(RATE_HZ))
    for number in [*range(30), *range(32, 50)]:
        call.insert(number, number * 0.02)
    call.keep(call.decoder.flush())
    assert call.decoder.stats.concealed_ms == 40


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="rate_hz must be 8000 or more and divide 48000, not 44100"):
        ImmediateDecoder(OpusDecoder(RATE_HZ), 44100)
    with pytest.raises(ValueError, match="reorder_seconds must be 0 to 1, not -1"):
        ImmediateDecoder(OpusDecoder(RATE_HZ), RATE_HZ, reorder_seconds=-1)
