"""Reading a microphone that has not begun, or whose driver was late."""

import numpy as np

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
