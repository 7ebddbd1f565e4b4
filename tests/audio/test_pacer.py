"""Pacing on absolute deadlines, in virtual time and on a loop."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import Pacer
from rtc_audio.pacer import PacedPull


def test_lateness_of_timers_does_not_add_up() -> None:
    """An hour of timers that are up to 3 ms late: the last period begins at its place in time."""
    rng = np.random.default_rng(1)
    pacer, now, periods = Pacer(0.020), 1000.0, 0
    for late in rng.uniform(0, 0.003, 180_000):
        wait, skipped = pacer.next(now)
        now += wait + float(late)
        periods += 1 + skipped
    assert periods == 180_000
    assert now - 1000.0 == pytest.approx(179_999 * 0.020, abs=0.004)


def test_after_a_stall_two_at_once_then_in_time() -> None:
    """The stall may have held up the period that was handled when it came: with that one, it is two at once."""
    pacer, now = Pacer(0.020), 0.0
    for _ in range(10):
        wait, _ = pacer.next(now)
        now += wait
    now += 0.507
    after = []
    for _ in range(4):
        wait, skipped = pacer.next(now)
        now += wait
        after.append((round(wait, 6), skipped))
    assert after == [(0.0, 24), (0.02, 0), (0.013, 0), (0.02, 0)]


def test_a_short_stall_is_caught_up_two_in_the_time_of_one() -> None:
    """A stall of 130 ms: nothing is skipped, never more than two at once, and soon all is in time again."""
    pacer, now, starts = Pacer(0.020), 0.0, []
    for period in range(25):
        now += 0.130 if period == 5 else 0.0
        wait, skipped = pacer.next(now)
        assert skipped == 0
        now += wait
        starts.append(round(1000 * now))
    assert starts[:5] == [0, 20, 40, 60, 80]
    assert starts[5:15] == [210, 230, 230, 250, 250, 270, 270, 290, 290, 310]
    assert starts[-3:] == [440, 460, 480]


def test_time_passed_equals_periods_after_any_stalls() -> None:
    rng = np.random.default_rng(2)
    pacer, now, periods = Pacer(0.010), 0.0, -1
    for _ in range(5000):
        wait, skipped = pacer.next(now)
        now += wait + float(rng.exponential(0.004))
        periods += 1 + skipped
        assert abs(now - periods * 0.010) < 0.1
    wait, skipped = pacer.next(now)
    assert abs(now + wait - (periods + 1 + skipped) * 0.010) < 0.010 + 1e-9


@pytest.mark.parametrize("period", [0.0, -1.0, float("nan"), float("inf")])
def test_a_period_is_a_positive_number(period: float) -> None:
    with pytest.raises(ValueError, match=f"^period_seconds={period}: need a positive number$"):
        Pacer(period)


async def test_paced_pull_takes_blocks_in_real_time_and_stops() -> None:
    pulled: list[int] = []
    enough = asyncio.Event()

    def deliver(pcm: NDArray[np.float32]) -> None:
        pulled.append(len(pcm))
        if len(pulled) == 11:
            enough.set()

    paced = PacedPull(24000, 240, deliver)
    start = asyncio.get_running_loop().time()
    paced.start(lambda n: np.zeros((n, 1), np.float32))
    await enough.wait()
    assert asyncio.get_running_loop().time() - start >= 0.099
    await paced.aclose()
    count = len(pulled)
    await asyncio.sleep(0.03)
    assert len(pulled) == count
    assert set(pulled) == {240}
    await paced.aclose()


async def test_a_fault_loses_a_block_not_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    delivered = asyncio.Event()
    calls = 0

    def pull(n: int) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RuntimeError("pull broke")
        return np.zeros((n, 1), np.float32)

    paced = PacedPull(48000, 48, lambda pcm: delivered.set())
    paced.start(pull)
    await delivered.wait()
    await paced.aclose()
    assert paced.faults == 2
    assert [record.message for record in caplog.records] == [
        "a block of sound was lost in the sink; further ones are only counted"
    ]


async def test_a_stall_of_the_loop_is_skipped_not_pulled_in_a_burst() -> None:
    pulls = 0

    def deliver(pcm: NDArray[np.float32]) -> None:
        nonlocal pulls
        pulls += 1

    paced = PacedPull(1000, 10, deliver)
    paced.start(lambda n: np.zeros((n, 1), np.float32))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    before, clock = pulls, asyncio.get_running_loop().time
    until = clock() + 0.2
    while clock() < until:
        pass
    for _ in range(5):
        await asyncio.sleep(0)
    assert pulls - before <= 2
    assert paced.skipped_frames >= 150
    await paced.aclose()


async def test_cancelling_the_close_leaves_no_task() -> None:
    paced = PacedPull(1000, 10, lambda pcm: None)
    paced.start(lambda n: np.zeros((n, 1), np.float32))
    closing = asyncio.create_task(paced.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if "paced_pull" in task.get_name()] == []


def test_pacers_of_one_grid_are_due_at_the_same_times() -> None:
    due = set[float]()
    for begin in (100.0, 100.0013, 100.0049, 103.0171):
        pacer, now = Pacer(0.02, grid_seconds=0.005), begin
        for _ in range(3):
            wait, skipped = pacer.next(now)
            assert (0 <= wait < 0.025, skipped) == (True, 0)
            now += wait
            due.add(round(now % 0.005, 6) % 0.005)
    assert due == {0.0}
