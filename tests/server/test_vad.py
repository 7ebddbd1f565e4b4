"""Where speech starts and stops, in milliseconds of all input audio."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtc_transport.server.replies import tone_pcm
from rtc_transport.server.vad import EnergyVad, SpeechEdge, VadSettings

Mono = NDArray[np.float32]


def silence(seconds: float) -> Mono:
    return np.zeros(round(seconds * 24000), np.float32)


def edges(*pieces: Mono, settings: VadSettings | None = None) -> list[SpeechEdge]:
    return EnergyVad(settings or VadSettings()).push(np.concatenate(pieces))


def test_speech_is_bounded_by_the_padding_and_the_waited_silence() -> None:
    assert edges(silence(1), tone_pcm(1), silence(1)) == [
        SpeechEdge("started", 700),
        SpeechEdge("stopped", 2500),
    ]


def test_a_start_cannot_lie_before_the_first_sample_or_inside_the_last_speech() -> None:
    found = edges(tone_pcm(0.5), silence(0.6), tone_pcm(0.5), silence(0.6))
    assert found == [
        SpeechEdge("started", 0),
        SpeechEdge("stopped", 1000),
        SpeechEdge("started", 1000),
        SpeechEdge("stopped", 2100),
    ]


def test_a_pause_shorter_than_the_silence_does_not_end_speech() -> None:
    assert [e.kind for e in edges(tone_pcm(1), silence(0.4), tone_pcm(1), silence(1))] == [
        "started",
        "stopped",
    ]


def test_a_click_is_no_speech() -> None:
    click = silence(1)
    click[12000:12240] = 0.9
    assert edges(click, silence(1)) == []


@pytest.mark.parametrize(("threshold", "heard"), [(0.5, True), (0.9, False)])
def test_the_threshold_is_a_level(threshold: float, heard: bool) -> None:
    quiet = tone_pcm(1) * np.float32(0.3)  # −33 dBFS; 0.9 means −24
    assert bool(edges(quiet, settings=VadSettings(threshold=threshold))) is heard


def test_eagerness_is_how_long_silence_is_waited_for() -> None:
    def stop(eagerness: str) -> int:
        settings = VadSettings.of({"type": "semantic_vad", "eagerness": eagerness})
        return edges(tone_pcm(1), silence(2), settings=settings)[-1].at_ms

    assert (stop("high"), stop("auto"), stop("low")) == (1400, 1800, 2500)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2400), max_size=40))
def test_the_size_of_the_pieces_does_not_matter(sizes: list[int]) -> None:
    sound = np.concatenate([silence(0.3), tone_pcm(0.4), silence(0.7), tone_pcm(0.3), silence(0.7)])
    vad = EnergyVad(VadSettings())
    found = [edge for piece in np.split(sound, np.cumsum(sizes)) for edge in vad.push(piece)]
    assert found == edges(sound)
