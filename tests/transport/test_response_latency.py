"""How long an answer takes: from the user's mouth to the air before the loudspeaker, as far as devices say."""

import asyncio

import numpy as np
import pytest

from rtc_audio.ports import Pcm, Pull
from rtc_transport.capture import Capture
from rtc_transport.media import Media
from rtc_transport.stats import ResponseLatency


class Nobody:
    """`MediaEvents` that nobody hears."""

    def source_failed(self, error: Exception) -> None: ...
    def source_ended(self) -> None: ...
    def sink_failed(self, error: Exception) -> None: ...
    def recording_failed(self, error: Exception) -> None: ...
    def wants_sent(self) -> bool:
        return False

    def sent(self, pcm: Pcm, rate_hz: int) -> None: ...
    def played(self, pcm: Pcm, rate_hz: int) -> None: ...


class Mouth:
    """A source at full voice."""

    rate_hz, channels, live, ended = 24000, 1, True, False

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...
    def read(self, n: int) -> Pcm:
        return np.full((n, 1), 0.1, np.float32)


class LateMouth(Mouth):
    """What it gives was recorded 60 ms ago."""

    @property
    def next_seconds(self) -> float:
        return asyncio.get_running_loop().time() - 0.06


class Ear:
    rate_hz = 24000

    async def start(self, pull: Pull) -> None: ...
    async def aclose(self) -> None: ...


class LateEar(Ear):
    latency_seconds = 0.04


@pytest.mark.parametrize(
    ("source", "sink", "devices_seconds"), [(Mouth(), Ear(), 0.0), (LateMouth(), LateEar(), 0.1)]
)
async def test_devices_that_say_how_late_they_are_count(
    source: Mouth, sink: Ear, devices_seconds: float
) -> None:
    capture = Capture(
        "off", 0.0, push_to_talk=False, on_echo_error=lambda error: None, on_device=lambda event: None
    )
    media = Media(source, sink, 24000, "keep", Nobody(), capture)
    await media.start_source()
    media.release()
    for _ in range(3):  # it begins along a ramp
        media.read(480)
    said = asyncio.get_running_loop().time()
    media.latency.answering()
    assert media.voice.on_audible is not None
    media.voice.on_audible(said + 0.5)
    assert media.latency.latest_seconds == pytest.approx(0.5 + devices_seconds, abs=0.02)
    await media.stop()


def test_only_the_first_sound_of_an_answer_counts_and_only_if_somebody_spoke() -> None:
    latency = ResponseLatency()
    latency.answering()
    latency.heard(1.0)
    assert latency.latest_seconds is None
    latency.spoke(2.0)
    latency.answering()
    latency.heard(2.5)
    latency.heard(9.0)
    assert latency.latest_seconds == 0.5
