"""The Opus codec: what goes in comes out, settings hold at once, damaged packets are refused."""

import resource
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

import rtc_audio.opus
from rtc_audio.libopus import load_libopus
from rtc_audio.opus import OpusDecoder, OpusEncoder, OpusError, libopus_version, packet_seconds
from rtc_audio.opus_packet import has_inband_fec

RATE_HZ = 48000


def voice(seconds: float = 1.0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Gliding harmonics, loud and soft, mono [frame]."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * at)) / rate_hz
    tone = sum(np.sin(order * phase) / order for order in range(1, 12))
    return (0.15 * tone * (1 + np.sin(2 * np.pi * 3 * at)) / 2).astype(np.float32)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def encode(encoder: OpusEncoder, pcm: NDArray[np.float32]) -> list[bytes]:
    step = encoder.frame_samples
    return [encoder.encode(pcm[at : at + step]) for at in range(0, len(pcm) - step + 1, step)]


def similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    count = min(len(a), len(b))
    return float(np.corrcoef(a[:count], b[:count])[0, 1])


@pytest.fixture(params=["libopus", "pyav"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pyav":
        monkeypatch.setattr(rtc_audio.opus, "load_libopus", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_decoded_sound_is_the_encoded_sound(codec: str, rate_hz: int, frame_ms: int) -> None:
    pcm = voice()
    encoder = OpusEncoder(frame_ms=frame_ms, application="audio", bitrate_bps=64000, fec=False)
    decoder = OpusDecoder(rate_hz)
    packets = encode(encoder, pcm)
    heard = np.concatenate([decoder.decode(packet) for packet in packets])
    assert len(heard) == len(packets) * rate_hz * frame_ms // 1000
    filtering = 0.001 if codec == "pyav" else 0.0
    best = max(
        similarity(
            heard[round((encoder.lookahead_samples / RATE_HZ + shift) * rate_hz) :],
            pcm[:: RATE_HZ // rate_hz],
        )
        for shift in np.arange(-0.0005, filtering + 0.0015, 0.5 / rate_hz)
    )
    assert best > 0.97


@pytest.mark.parametrize("frame_ms", [2.5, 5, 10, 20, 40, 60])
def test_duration_is_read_without_decoding(frame_ms: float) -> None:
    packets = encode(OpusEncoder(frame_ms=frame_ms, application="audio"), voice(0.3))
    decoder = OpusDecoder(24000)
    assert {packet_seconds(packet) for packet in packets} == {frame_ms / 1000}
    assert all(decoder.frame_samples(packet) == len(decoder.decode(packet)) for packet in packets)


def test_stereo_stays_stereo(codec: str) -> None:
    pcm = np.stack((voice(), 0.1 * voice()), axis=1)
    encoder = OpusEncoder(channels=2, application="audio", bitrate_bps=96000, fec=False)
    decoder = OpusDecoder(channels=2)
    heard = np.concatenate([decoder.decode(packet) for packet in encode(encoder, pcm)])
    assert heard.shape == pcm.shape
    left, right = heard.std(axis=0)
    assert left == pytest.approx(10 * right, rel=0.2)


def test_fec_brings_the_lost_frame_back() -> None:
    encoder, decoder = OpusEncoder(24000, expected_loss_percent=20), OpusDecoder(24000)
    packets, pcm = encode(encoder, voice(rate_hz=24000)), []
    lost = 25
    assert decoder.has_fec(packets[lost + 1])
    for index, packet in enumerate(packets):
        pcm.append(decoder.decode_fec(packets[index + 1], 480) if index == lost else decoder.decode(packet))
    untouched = OpusDecoder(24000)
    reference = [untouched.decode(packet) for packet in packets]
    assert similarity(pcm[lost], reference[lost]) > 0.8


def test_concealment_continues_the_sound() -> None:
    encoder, decoder = OpusEncoder(24000), OpusDecoder(24000)
    for packet in encode(encoder, voice(rate_hz=24000))[:26]:
        last = decoder.decode(packet)
    filled = decoder.conceal(480)
    assert len(filled) == 480
    assert 0.2 * last.std() < filled.std() < 2 * last.std()


@pytest.mark.skipif((libopus_version() or "").split()[-1:] < ["1.5"], reason="libopus cannot tell")
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_fec_flags_are_read_as_libopus_reads_them(frame_ms: int, channels: int) -> None:
    lib = load_libopus()
    assert lib is not None
    encoder = OpusEncoder(frame_ms=frame_ms, channels=channels, expected_loss_percent=20)
    sound = np.repeat(voice(3)[:, None], channels, axis=1) * np.float32(0.5)
    sound[48000:80000] = 0
    packets = encode(encoder, sound)
    answers = [lib.opus_packet_has_lbrr(packet, len(packet)) == 1 for packet in packets]
    assert len(set(answers)) == 2
    assert [has_inband_fec(packet) for packet in packets] == answers
    for size in range(40):  # code 3 with padding, whatever it holds
        noise = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
        assert isinstance(has_inband_fec(noise), bool)


def test_settings_hold_from_the_next_frame_on(codec: str) -> None:
    encoder, pcm = OpusEncoder(bitrate_bps=16000, fec=False), voice(2)
    rich, poor = [], encode(encoder, pcm)
    encoder.bitrate_bps = 96000
    encoder.complexity = 3
    rich = encode(encoder, pcm)
    assert len(b"".join(rich)) > 3 * len(b"".join(poor))
    assert (encoder.bitrate_bps, encoder.complexity) == (96000, 3)
    encoder.bitrate_bps, encoder.fec, encoder.expected_loss_percent = 32000, True, 20
    assert any(has_inband_fec(packet) for packet in encode(encoder, pcm))
    encoder.fec = False
    assert not any(has_inband_fec(packet) for packet in encode(encoder, pcm)[2:])


def test_dtx_leaves_silence_out() -> None:
    encoder = OpusEncoder(dtx=True)
    sizes = [len(packet) for packet in encode(encoder, np.zeros(96000, np.float32))]
    assert sum(size <= 2 for size in sizes) > 80
    encoder.dtx = False
    assert all(len(packet) > 2 for packet in encode(encoder, voice()))


def test_reset_makes_the_codec_repeat_itself(codec: str) -> None:
    encoder, decoder, pcm = OpusEncoder(), OpusDecoder(24000), voice(0.2)
    first = encode(encoder, pcm)
    heard = [decoder.decode(packet) for packet in first]
    encoder.reset()
    decoder.reset()
    assert encode(encoder, pcm) == first
    assert all(np.array_equal(decoder.decode(packet), was) for packet, was in zip(first, heard, strict=True))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "an empty payload is no Opus packet"),
        (b"\x03", "ends before its frame count"),
        (b"\x03\x00", "cannot hold 0 frames of 10 ms"),
        (b"\x1b\x03abc", "cannot hold 3 frames of 60 ms"),
    ],
)
def test_damaged_packets_are_refused(payload: bytes, text: str) -> None:
    decoder = OpusDecoder()
    with pytest.raises(OpusError, match=text):
        decoder.frame_samples(payload)
    with pytest.raises(OpusError):
        decoder.decode(payload)
    assert not decoder.has_fec(payload)


def test_garbage_never_does_worse_than_opus_error(codec: str) -> None:
    decoder, generator = OpusDecoder(24000), np.random.default_rng(7)
    for _ in range(300):
        payload = generator.integers(0, 256, generator.integers(1, 60), np.uint8).tobytes()
        decoder.has_fec(payload)
        try:
            pcm = decoder.decode(payload)
        except OpusError:
            continue
        assert 0 < len(pcm) <= 2880


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: OpusEncoder(44100), r"rate_hz must be one of .*, not 44100"),
        (lambda: OpusDecoder(22050), r"rate_hz must be one of .*, not 22050"),
        (lambda: OpusEncoder(channels=6), "channels must be 1 or 2, not 6"),
        (lambda: OpusEncoder(frame_ms=30), r"frame_ms must be one of .*, not 30"),
        (lambda: OpusEncoder(bitrate_bps=10), "bitrate_bps must be 500 to 512000, not 10"),
        (lambda: OpusEncoder(complexity=11), "complexity must be 0 to 10, not 11"),
        (lambda: OpusEncoder(expected_loss_percent=101), "expected_loss_percent must be 0 to 100, not 101"),
        (
            lambda: OpusEncoder(application="music"),  # type: ignore[arg-type]  # what a user might type
            "application must be one of .*, not 'music'",
        ),
        (
            lambda: OpusEncoder().encode(voice().astype(np.float64)),
            "pcm must be float32, not float64",
        ),
        (
            lambda: OpusEncoder().encode(np.zeros(959, np.float32)),
            r"a frame of 20 ms has 960 samples of 1 channel",
        ),
        (lambda: OpusEncoder(channels=2).encode(np.zeros(960, np.float32)), "960 samples of 2 channel"),
        (lambda: OpusDecoder(24000).conceal(100), "samples must be a multiple of 60 up to 2880, not 100"),
        (
            lambda: OpusDecoder(24000).decode_fec(b"abc", 0),
            "samples must be a multiple of 60 up to 2880, not 0",
        ),
    ],
)
def test_wrong_use_is_told(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=text):
        make()


def test_a_refused_setting_changes_nothing() -> None:
    encoder = OpusEncoder(bitrate_bps=24000)
    with pytest.raises(ValueError, match="bitrate_bps"):
        encoder.bitrate_bps = 10_000_000
    assert encoder.bitrate_bps == 24000


def test_without_libopus_concealment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc_audio.opus, "load_libopus", lambda: None)
    decoder = OpusDecoder(24000)
    packet = encode(OpusEncoder(expected_loss_percent=20), voice())[20]
    assert not decoder.can_conceal
    assert not decoder.has_fec(packet)
    with pytest.raises(OpusError, match="not available: no libopus was found"):
        decoder.conceal(480)
    with pytest.raises(OpusError, match="not available: no libopus was found"):
        decoder.decode_fec(packet, 480)
    assert libopus_version() is None


def test_memory_is_given_back() -> None:
    for _ in range(100):
        OpusEncoder(), OpusDecoder()
    before = peak_bytes()
    for _ in range(2000):
        OpusEncoder(), OpusDecoder()
    assert peak_bytes() - before < 8_000_000  # 2000 pairs kept would be 100 MB


def test_import_loads_no_codec() -> None:
    code = "import sys, rtc_audio.opus; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
