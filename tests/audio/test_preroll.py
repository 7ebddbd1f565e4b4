"""The pre-roll: nothing captured around the press of the key is lost, nothing after its release is sent."""

import numpy as np
import pytest

from rtc_audio.ports import Pcm
from rtc_audio.preroll import PreRollSource

RATE_HZ = 1000
BLOCK = 20


class Counter:
    """A live source whose samples are their own numbers."""

    rate_hz = RATE_HZ
    channels = 1
    live = True
    ended = False

    def __init__(self) -> None:
        self.at = 0

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    def read(self, n: int) -> Pcm:
        self.at += n
        return np.arange(self.at - n, self.at, dtype=np.float32)[:, None].repeat(self.channels, axis=1)


def read(source: PreRollSource, blocks: int) -> list[float]:
    return [float(value) for _ in range(blocks) for value in source.read(BLOCK)[:, 0]]


def test_without_a_press_the_source_passes_as_it_is() -> None:
    source = PreRollSource(Counter())
    assert read(source, 50) == list(range(1000))
    assert source.drained.is_set()


def test_a_turn_begins_before_the_press_and_ends_at_the_release() -> None:
    source = PreRollSource(Counter(), pre_roll_ms=200)
    read(source, 50)  # muted: read and thrown away
    source.press()
    read(source, 3)  # 60 ms until the service has cleared its buffer
    assert source.rewind() == pytest.approx(0.26)
    turn = read(source, 10)
    source.finish()
    assert not source.drained.is_set()
    while not source.drained.is_set():
        turn += read(source, 1)
    spoken = list(range(800, 1260))
    assert turn == spoken  # 200 ms before the press, up to what had been captured at the release
    assert read(source, 1)[0] > 1260  # passed on as it comes, without a lag


def test_without_pre_roll_a_turn_begins_at_the_press() -> None:
    source = PreRollSource(Counter(), pre_roll_ms=0)
    read(source, 5)
    source.press()
    source.rewind()
    assert read(source, 2) == list(range(100, 140))
    source.finish()
    assert source.drained.is_set()


def test_what_is_held_between_press_and_rewind_is_bounded() -> None:
    source = PreRollSource(Counter(), pre_roll_ms=200)
    source.press()
    read(source, 500)
    assert source.rewind() == pytest.approx(2.2)


def test_a_source_that_changes_its_channels_loses_the_lag_only() -> None:
    counter = Counter()
    source = PreRollSource(counter)
    read(source, 20)
    source.rewind()
    counter.channels = 2
    assert source.read(BLOCK).shape == (BLOCK, 2)
    assert source.drained.is_set()


async def test_a_released_source_has_forgotten() -> None:
    source = PreRollSource(Counter())
    read(source, 20)
    await source.aclose()
    await source.start()
    assert source.rewind() == 0


def test_a_press_that_was_taken_back_leaves_no_more_than_the_pre_roll() -> None:
    source = PreRollSource(Counter(), pre_roll_ms=200)
    source.press()
    read(source, 50)
    source.release()
    read(source, 1)
    source.press()
    assert source.rewind() == pytest.approx(0.2)
