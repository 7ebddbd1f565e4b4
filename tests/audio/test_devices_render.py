"""The loudspeaker's port, block by block: what is played, when it sounds, what is told of it afterwards."""

import numpy as np
import pytest

from rtc_audio.devices.render import RECENT, SLOTS, Render
from rtc_audio.devices.types import StreamFormat
from rtc_audio.ports import Pcm

LATENCY = 0.03


class Driver:
    """Asks for a block every 10 ms; the first sounds at 0."""

    def __init__(self, channels: int = 1, rate_hz: int = 48000) -> None:
        self.format = StreamFormat(rate_hz, channels)
        self.render = Render(self.format, lambda: None)
        self.now = 0.0
        self.played: list[Pcm] = []

    def ask(self, blocks: int = 1) -> Pcm:
        """The last of so many blocks."""
        for _ in range(blocks):
            memory = bytearray(b"\xff" * self.format.block_bytes)
            self.render.on_block(memoryview(memory), self.now - LATENCY, self.now, False)
            self.now += 0.01
            self.played.append(np.frombuffer(memory, np.float32).reshape(-1, self.format.channels))
        return self.played[-1]

    def put(self, blocks: int, level: float = 0.5) -> None:
        for _ in range(blocks):
            self.render.put(np.full((self.format.block_frames, 1), level, np.float32))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [48000, 44100, 8000])
def test_what_is_put_is_played_in_order_on_the_first_two_channels(channels: int, rate_hz: int) -> None:
    driver, rng = Driver(channels, rate_hz), np.random.default_rng(channels)
    voice = rng.standard_normal((5 * SLOTS, driver.format.block_frames, 1)).astype(np.float32)
    put = 0
    while put < len(voice):
        for block in voice[put : put + rng.integers(1, 10)]:
            driver.render.put(block)
            put += 1
        driver.ask(driver.render.waiting)
    played = np.stack(driver.played)
    for channel in range(channels):
        expected = voice[1:, :, 0] if channel < 2 else np.zeros_like(voice[1:, :, 0])
        np.testing.assert_array_equal(played[1:, :, channel], expected)
    assert driver.render.missing_frames == 0


def test_the_position_counts_what_has_sounded_and_stands_while_there_is_nothing() -> None:
    driver = Driver()
    assert driver.render.played_frames(1000.0) == 0
    driver.put(4)
    driver.ask(8)  # four of sound, four of silence: 0 to 40 ms, 40 to 80 ms
    positions = [driver.render.played_frames(ms / 1000) / 48 for ms in (-5, 0, 5, 25, 40, 45, 79, 200)]
    assert positions == pytest.approx([0, 0, 5, 25, 40, 40, 40, 40])
    assert driver.render.waiting_seconds(0.045) == 0
    driver.put(2)
    assert driver.render.waiting_seconds(0.045) == pytest.approx(0.02)


def test_what_was_flushed_has_not_been_played_but_for_its_fade() -> None:
    driver = Driver()
    driver.put(6)
    driver.ask(2)
    driver.render.flush()
    driver.put(1)
    driver.ask(2)
    assert driver.render.played_frames(1.0) == 2 * 480 + 240 + 480
    assert driver.render.waiting_seconds(1.0) == 0


def test_what_was_played_is_told_once_with_its_times_and_silence_included() -> None:
    driver = Driver()
    driver.ask(2)
    driver.put(1)
    driver.ask(2)
    written = driver.render.take_written()
    np.testing.assert_array_equal(
        np.concatenate([pcm for pcm, _ in written]), np.concatenate(driver.played)[:, 0]
    )
    assert [at for _, at in written] == pytest.approx([0.0, 0.01, 0.02, 0.03])
    assert driver.render.take_written() == []
    driver.ask(5 * SLOTS)
    assert len(driver.render.take_written()) == RECENT, "nobody asked for the others in time"


def test_how_close_it_was_is_told_once() -> None:
    driver = Driver()
    assert driver.render.least_left() is None
    driver.put(5)
    driver.ask(3)
    assert driver.render.least_left() == 2
    assert driver.render.least_left() is None
    driver.ask(3)
    assert driver.render.least_left() == 0


def test_a_block_of_another_size_is_silence_and_a_fault() -> None:
    driver = Driver()
    driver.put(2)
    driver.ask()
    memory = bytearray(b"\xff" * 77)
    driver.render.on_block(memoryview(memory), 0.0, 0.0, False)
    assert not any(memory)
    assert (driver.render.faults, driver.render.blocks) == (1, 2)
    assert isinstance(driver.render.fault, ValueError)
