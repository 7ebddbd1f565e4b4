"""The echo stage between a microphone and the uplink: alignment by time, block sizes, failures."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.echo_source import EchoSource, ReportingSink, TimedSource
from rtc_audio.errors import AudioError, UnsupportedFormat
from rtc_audio.ports import ClearableSource, Pcm
from rtc_audio.sinks import NullSink
from rtc_audio.sources import ToneSource
from support.echo_scenes import Scene, decibels, rms, scene

Mono = NDArray[np.float32]

ADC_SECONDS = 0.012  # between the membrane and the program
DAC_SECONDS = 0.025


class Microphone:
    """Has recorded the first `until` frames of the scene."""

    channels = 1
    live = True
    ended = False

    def __init__(self, recorded: Mono, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.cleared = 0
        self.until = len(recorded)
        self._recorded, self._at = recorded, 0

    @property
    def next_seconds(self) -> float | None:
        return 100 + self._at / self.rate_hz

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    def clear(self) -> None:
        self.cleared += 1

    def read(self, n: int) -> Pcm:
        pcm = self._recorded[self._at : min(self._at + n, self.until), None]
        self._at += len(pcm)
        return pcm


def source_of(
    microphone: Microphone, kind: str = "cancel", **options: object
) -> tuple[EchoSource, list[Exception]]:
    errors: list[Exception] = []
    made = EchoSource(
        microphone,
        kind,  # type: ignore[arg-type]  # also words that are none
        int(str(options.get("far_rate_hz", microphone.rate_hz))),
        clock=lambda: 0.0,
        on_error=errors.append,
    )
    return made, errors


def run(source: EchoSource, microphone: Microphone, heard: Scene, n: int) -> Mono:
    """Both devices at once: the loudspeaker's blocks of 10 ms are told as they are handed over, reads are of `n`."""
    out: list[Mono] = []
    block, told = heard.rate_hz // 100, 0
    for at in range(0, len(heard.far) - n, n):
        microphone.until = at + n
        now = at + n + round(ADC_SECONDS * heard.rate_hz)  # when the last of these frames is had
        while (told + block) / heard.rate_hz <= now / heard.rate_hz + DAC_SECONDS and told < len(heard.far):
            source.played(heard.far[told : told + block], 100 + told / heard.rate_hz)
            told += block
        out.append(source.read(n)[:, 0])
    return np.concatenate(out)


@pytest.mark.parametrize("n", [320, 160, 331])
def test_the_echo_is_taken_out_whatever_the_size_of_the_reads(n: int) -> None:
    heard = scene(seconds=8, talk=(7.9, 8), delay_ms=60)
    microphone = Microphone(heard.microphone, heard.rate_hz)
    source, errors = source_of(microphone)
    out = run(source, microphone, heard, n)
    late = round(6 * heard.rate_hz), round(7.8 * heard.rate_hz)
    assert errors == []
    assert decibels(rms(heard.echo[slice(*late)]) / rms(out[slice(*late)])) >= 25
    assert source.return_loss_db is not None
    assert source.return_loss_db >= 15  # somebody talks at the end


def test_reads_are_exactly_as_long_as_asked_for() -> None:
    source, _ = source_of(Microphone(np.ones(16000, np.float32), 16000), "off")
    assert [len(source.read(n)) for n in (1, 159, 160, 500, 7)] == [1, 159, 160, 500, 7]


def test_what_is_read_is_the_source_in_order_and_silence_fills_its_last_block() -> None:
    recorded = np.arange(1, 801, dtype=np.float32)
    source, _ = source_of(Microphone(recorded, 16000), "off")
    pcm = np.concatenate([source.read(330) for _ in range(5)])[:, 0]
    assert pcm.tolist() == recorded.tolist() + 160 * [0]


def test_a_part_of_a_block_waits_for_the_rest() -> None:
    """A microphone has recorded 10 ms since the last read, blocks are 20."""
    microphone = Microphone(np.arange(1, 3201, dtype=np.float32), 16000)
    source, _ = source_of(microphone, "off")
    parts: list[Mono] = []
    for until in range(160, 3201, 160):
        microphone.until = until
        parts.append(source.read(160)[:, 0])
    assert [len(part) for part in parts] == [0] + 19 * [160]
    assert np.concatenate(parts).tolist() == list(range(1, 19 * 160 + 1))


def test_several_channels_become_one() -> None:
    class Stereo(Microphone):
        channels = 2

        def read(self, n: int) -> Pcm:
            return np.concatenate([super().read(n), np.zeros((n, 1), np.float32)], axis=1)

    source, _ = source_of(Stereo(np.ones(1600, np.float32), 16000), "off")
    assert source.channels == 1
    assert source.read(160).shape == (160, 1)
    assert np.all(source.read(160) == 0.5)


def test_the_gate_silences_while_the_loudspeaker_sounds() -> None:
    source, _ = source_of(Microphone(np.full(16000, 0.1, np.float32), 16000), "gate")
    source.read(320)  # the first read tells when the microphone records
    for block in range(100):
        at = 100 + block / 100
        source.played(np.full(160, 0.3 if block < 40 else 0.0, np.float32), at)
    blocks = [rms(source.read(160)) for _ in range(98)]
    assert max(blocks[3:36]) < 1e-4
    assert min(blocks[70:]) == pytest.approx(0.1, rel=1e-3)


def test_nothing_of_the_voice_gets_through_the_gate_and_all_of_the_user_does() -> None:
    """The voice for four seconds, 6 dB louder than its echo; then the user."""
    heard = scene(seconds=7, talk=(4.5, 7), delay_ms=60)
    end = 4 * heard.rate_hz
    heard.far[end:] = 0
    heard.microphone[end + heard.rate_hz // 5 :] -= heard.echo[end + heard.rate_hz // 5 :].astype(np.float32)
    levels: dict[str, float] = {}
    for kind in ("gate", "off"):
        microphone = Microphone(heard.microphone, heard.rate_hz)
        source, errors = source_of(microphone, kind)
        out = run(source, microphone, heard, 320)
        levels[kind] = decibels(rms(out[1600:end]))
        opened = end + round(0.3 * heard.rate_hz)  # the tail, and what the loudspeaker still holds
        np.testing.assert_array_equal(out[opened:], heard.microphone[opened : len(out)])
        assert errors == []
    assert levels["gate"] < -50
    assert levels["off"] > -40


def test_a_failure_is_told_once_and_the_microphone_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    source, errors = source_of(Microphone(np.full(3200, 0.1, np.float32), 16000))
    source.read(320)

    def broken(*_: object) -> Mono:
        raise FloatingPointError("no more numbers")

    monkeypatch.setattr("rtc_audio.echo_kalman.KalmanEchoCanceller.process", broken)
    assert np.all(source.read(320) == np.float32(0.1))
    assert np.all(source.read(320) == np.float32(0.1))
    source.played(np.zeros(160, np.float32), 100.0)
    assert [str(error) for error in errors] == ["no more numbers"]
    assert source.failed
    assert source.return_loss_db is None
    assert source.latency_seconds == 0
    monkeypatch.undo()
    source.reset()  # another device: it is tried again
    source.read(320)
    assert not source.failed
    assert source.latency_seconds > 0


def test_a_kind_that_is_none_is_named_with_those_that_are() -> None:
    source, errors = source_of(Microphone(np.zeros(3200, np.float32), 16000), "magic")
    assert len(source.read(320)) == 320
    assert [str(error) for error in errors] == ["echo='magic': need one of cancel, gate, off, webrtc"]


def test_a_missing_library_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "livekit.rtc.apm", None)
    source, errors = source_of(Microphone(np.zeros(3200, np.float32), 16000), "webrtc")
    assert len(source.read(320)) == 320
    (error,) = errors
    assert isinstance(error, AudioError)
    assert "pip install 'rtc-transport[aec]'" in str(error)


def test_sound_that_cannot_be_a_reference_fails_the_canceller_only() -> None:
    source, errors = source_of(Microphone(np.zeros(3200, np.float32), 16000))
    source.read(160)
    source.played(np.zeros((160, 2), np.float32), 100.0)
    assert len(errors) == 1
    assert len(source.read(160)) == 160


@pytest.mark.parametrize("rate_hz", [44100, 22050, 11025])
def test_rates_without_a_whole_number_of_frames_in_ten_milliseconds(rate_hz: int) -> None:
    source, errors = source_of(Microphone(np.zeros(rate_hz, np.float32), rate_hz), far_rate_hz=48000)
    assert sum(len(source.read(rate_hz // 50)) for _ in range(20)) == 20 * (rate_hz // 50)
    assert errors == []


def test_a_device_of_another_rate_is_taken_up() -> None:
    microphone = Microphone(np.zeros(48000, np.float32), 48000)
    source, errors = source_of(microphone)
    source.read(480)
    microphone.rate_hz = 16000
    assert (source.rate_hz, len(source.read(160))) == (16000, 160)
    assert errors == []


def test_clearing_is_offered_where_the_source_offers_it() -> None:
    microphone = Microphone(np.ones(3200, np.float32), 16000)
    source, _ = source_of(microphone)
    source.read(100)
    assert isinstance(source, ClearableSource)
    assert source.live
    source.clear()
    assert microphone.cleared == 1
    assert source.read(0).shape == (0, 1)
    other = EchoSource(ToneSource(), "off", 48000, clock=lambda: 0.0, on_error=lambda error: None)
    assert not isinstance(other, ClearableSource)


def test_devices_are_recognised_by_what_they_tell() -> None:
    from rtc_audio.devices import Microphone as RealMicrophone
    from rtc_audio.devices import Speaker

    assert isinstance(RealMicrophone(), TimedSource)
    assert isinstance(Speaker(), ReportingSink)
    assert not isinstance(ToneSource(), TimedSource)
    assert not isinstance(NullSink(), ReportingSink)


def test_bad_shapes_of_the_source_are_its_own_fault() -> None:
    class Flat(Microphone):
        def read(self, n: int) -> Pcm:
            return np.zeros(n, np.float32)

    source, errors = source_of(Flat(np.zeros(10, np.float32), 16000))
    with pytest.raises(UnsupportedFormat, match=r"^Flat.read\(320\) did not return float32 \[frame, ch"):
        source.read(160)
    assert errors == []
