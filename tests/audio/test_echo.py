"""The protocol, the null canceller, the gate, and the choice between all cancellers."""

import sys
from typing import Any

import numpy as np
import pytest

from rtc_audio.echo import (
    EchoCanceller,
    EchoKind,
    EchoUnavailable,
    HalfDuplexGate,
    NullEchoCanceller,
    make_echo_canceller,
)
from rtc_audio.errors import UnsupportedFormat
from support.echo_scenes import cancel, scene

RATE_HZ, FRAME = 48000, 480
SILENCE, SOUND = np.zeros(FRAME, np.float32), np.full(FRAME, 0.1, np.float32)


def test_off_changes_nothing() -> None:
    canceller = NullEchoCanceller(RATE_HZ)
    assert canceller.process(SOUND, SOUND) is SOUND
    assert (canceller.latency_seconds, canceller.erle_db) == (0, None)


def test_gate_is_closed_while_the_loudspeaker_sounds_and_200_ms_longer() -> None:
    gate = HalfDuplexGate(RATE_HZ)
    far = [SILENCE] * 5 + [SOUND] * 10 + [SILENCE] * 40
    levels = [np.abs(gate.process(block, SOUND)).max() for block in far]
    assert levels[:5] == [SOUND[0]] * 5
    assert levels[6:35] == [0] * 29
    assert levels[37:] == [SOUND[0]] * 18


def test_gate_moves_without_a_click() -> None:
    gate = HalfDuplexGate(RATE_HZ)
    far = [SILENCE] * 2 + [SOUND] * 2 + [SILENCE] * 30
    out = np.concatenate([gate.process(block, SOUND) for block in far])
    assert np.abs(np.diff(out, 2)).max() < 1e-5


def test_gate_lets_no_echo_through() -> None:
    outcome = cancel(HalfDuplexGate(16000), scene(seconds=4, talk=(3.99, 4), delay_ms=60))
    assert outcome.erle_db(0, 3.9) > 45


def test_gate_opens_on_reset() -> None:
    gate = HalfDuplexGate(RATE_HZ)
    gate.process(SOUND, SOUND)
    gate.reset()
    gate.process(SILENCE, SOUND)
    np.testing.assert_array_equal(gate.process(SILENCE, SOUND), SOUND)


@pytest.mark.parametrize("kind", ["cancel", "gate", "off"])
@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_every_kind_at_every_device_rate(kind: EchoKind, rate_hz: int) -> None:
    canceller = make_echo_canceller(kind, rate_hz)
    assert isinstance(canceller, EchoCanceller)
    assert canceller.rate_hz == rate_hz
    frames = canceller.block_frames
    assert frames == rate_hz // 50
    block = np.zeros(frames, np.float32)
    assert canceller.process(block, block).shape == (frames,)
    assert 0 <= canceller.latency_seconds < 0.02
    canceller.reset()


@pytest.mark.parametrize("kind", ["cancel", "gate", "off"])
@pytest.mark.parametrize(("rate_hz", "frames"), [(48000, 256), (11025, 220)])
def test_blocks_of_a_device(kind: EchoKind, rate_hz: int, frames: int) -> None:
    block = np.zeros(frames, np.float32)
    canceller = make_echo_canceller(kind, rate_hz, block_frames=frames)
    assert canceller.process(block, block).shape == (frames,)


def test_unknown_kind() -> None:
    kind: Any = "magic"
    with pytest.raises(UnsupportedFormat, match="echo='magic': need one of cancel, gate, off, webrtc"):
        make_echo_canceller(kind, 48000)


def test_rates_without_whole_blocks() -> None:
    with pytest.raises(UnsupportedFormat, match="11025 Hz: 20 ms of it are not a whole number of frames"):
        make_echo_canceller("cancel", 11025)


@pytest.mark.parametrize(
    ("far", "near", "text"),
    [
        (SOUND[:100], SOUND, r"far is float32 of shape \[100\]: need float32 of shape \[480\]"),
        (SOUND, SOUND.astype(np.float64), r"near is float64 of shape \[480\]: need float32 of shape \[480\]"),
        (SOUND, SOUND[:, None], r"near is float32 of shape \[480, 1\]: need float32 of shape \[480\]"),
    ],
)
@pytest.mark.parametrize("kind", ["cancel", "gate"])
def test_wrong_blocks(kind: EchoKind, far: Any, near: Any, text: str) -> None:
    canceller = make_echo_canceller(kind, RATE_HZ, block_frames=FRAME)
    with pytest.raises(UnsupportedFormat, match=text):
        canceller.process(far, near)


def test_webrtc_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc.apm", None)
    with pytest.raises(EchoUnavailable, match=r"not installed: pip install 'rtc-transport\[aec\]'"):
        make_echo_canceller("webrtc", 48000)


def test_webrtc_at_a_rate_it_has_not() -> None:
    from rtc_audio.echo_webrtc import WebRtcEchoCanceller

    with pytest.raises(
        UnsupportedFormat, match="rate_hz=44100: the WebRTC echo canceller runs at 16000, 24000"
    ):
        WebRtcEchoCanceller(44100)


def test_webrtc_cancels() -> None:
    pytest.importorskip("livekit.rtc")
    from rtc_audio.echo_webrtc import WebRtcEchoCanceller

    canceller = WebRtcEchoCanceller(16000)
    outcome = cancel(canceller, scene(seconds=5, talk=(4.99, 5)))
    assert outcome.erle_db(2, 4.9) >= 25
    assert canceller.erle_db is not None
    assert canceller.erle_db >= 20
    canceller.reset()
    assert canceller.erle_db is None
