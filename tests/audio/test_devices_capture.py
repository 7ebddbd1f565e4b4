"""Reading a microphone that has not begun, or whose driver was late."""

import numpy as np
import pytest

from rtc_audio.devices.capture import Capture, CaptureReader
from rtc_audio.devices.types import StreamFormat

FORMAT = StreamFormat(48000, 1)
BLOCK = np.full((480, 1), 0.5, np.float32).data.cast("B")


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def microphone() -> tuple[Time, Capture, CaptureReader]:
    time = Time()
    capture = Capture(FORMAT, lambda: None, clock=time, channel=None, backlog_seconds=0.2)
    return time, capture, CaptureReader(capture)


def run(time: Time, capture: Capture, reader: CaptureReader, *, stall: tuple[int, int] = (0, 0)) -> int:
    """Two seconds of blocks, 20 ms old when they come but for a stall; how many frames were read."""
    frames, begin, came = 0, time.now, 0
    for tick in range(200):
        time.now = begin + tick * 0.01
        while came <= tick and tick not in range(*stall):
            capture.on_block(BLOCK, time.now, begin + came * 0.01 - 0.02, False)
            came += 1
        if tick % 2:
            frames += len(reader.read(960))
    return frames


def test_reading_before_the_first_block_spoils_nothing() -> None:
    time, capture, reader = microphone()
    assert not reader.begun
    assert len(reader.read(960)) == 0
    assert run(time, capture, reader) > 1.9 * 48000
    assert reader.begun
    assert abs(reader.next_seconds - time.now) < 0.1


def test_a_driver_that_was_late_once_does_not_silence_the_microphone_for_good() -> None:
    """A block that is a quarter of a second old asks for more than is ever kept."""
    time, capture, reader = microphone()
    assert run(time, capture, reader, stall=(3, 28)) > 1.5 * 48000


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("rate_hz", [48000, 44100, 11025])
def test_what_is_recorded_is_taken_in_order_and_what_is_lost_is_counted(channels: int, rate_hz: int) -> None:
    format, rng = StreamFormat(rate_hz, channels), np.random.default_rng(channels)
    capture = Capture(format, lambda: None, clock=Time(), channel=None, backlog_seconds=0.2)
    sound = rng.standard_normal((400, format.block_frames, channels)).astype(np.float32)
    mono, came, taken = sound.mean(axis=2).reshape(-1), 0, 0
    while came < len(sound):
        for block in sound[came : came + rng.integers(0, 30)]:
            capture.on_block(block.data.cast("B"), 0.0, 0.0, False)
            came += 1
        pcm, lost = capture.take()
        taken += lost
        np.testing.assert_allclose(pcm, mono[taken : taken + len(pcm)], atol=1e-6)
        taken += len(pcm)
        assert taken == came * format.block_frames
        assert lost == 0 or len(pcm) == capture.backlog_frames


def test_zeros_are_counted_until_there_is_sound() -> None:
    _, capture, _ = microphone()
    silence = bytes(FORMAT.block_bytes)
    faint = np.zeros((480, 1), np.float32)
    faint[240] = 1e-9

    def record(block: bytes | memoryview, times: int) -> int:
        for _ in range(times):
            capture.on_block(memoryview(block), 0.0, 0.0, False)
        return capture.zero_blocks

    assert (record(silence, 20), record(silence, 20)) == (20, 40)
    assert record(faint.data.cast("B"), 1) == 0
    assert record(silence, 3) == 3
    record(faint.data.cast("B"), 1)
    assert record(silence, 15) == 15


def test_a_block_of_another_size_is_left_out_and_a_fault() -> None:
    _, capture, _ = microphone()
    capture.on_block(memoryview(b"1234"), 0.0, 0.0, False)
    assert (capture.faults, capture.blocks, capture.done) == (1, 1, 0)
    assert len(capture.take()[0]) == 0
