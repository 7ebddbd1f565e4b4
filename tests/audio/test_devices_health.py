"""When a device counts as lost, silent or short of time."""

from itertools import pairwise

import pytest

from rtc_audio.devices.health import FlagWatch, Heartbeat, Margin, ZeroWatch


def lost_after(heartbeat: Heartbeat, *, since: float, step: float = 0.2, blocks: int = 5) -> float:
    now = since
    while heartbeat.check(now, blocks=blocks, active=True, finished=False) is None:
        now += step
        assert now < since + 60
    return now - since


def running(block_seconds: float = 0.01) -> Heartbeat:
    heartbeat = Heartbeat(block_seconds, checked_at=0.0)
    assert heartbeat.check(0.1, blocks=5, active=True, finished=False) is None
    return heartbeat


def test_a_stream_that_ended_is_lost_at_once() -> None:
    assert running().check(0.2, blocks=6, active=True, finished=True) == "the stream has ended"
    assert running().check(0.2, blocks=6, active=False, finished=False) == "the stream has ended"


def test_a_stream_that_stands_still_is_lost_within_a_second() -> None:
    assert lost_after(running(), since=0.1) == pytest.approx(0.6)
    assert lost_after(running(block_seconds=0.1), since=0.1) == pytest.approx(1.2)


def test_a_driver_may_take_its_time_for_the_first_block() -> None:
    assert lost_after(Heartbeat(0.01, checked_at=0.0), since=0.0, blocks=0) == pytest.approx(3.1, abs=0.15)


def test_time_in_which_nobody_looked_does_not_count() -> None:
    heartbeat = running()
    assert heartbeat.check(9.0, blocks=5, active=True, finished=False) is None, (
        "the callbacks may have been held up too"
    )
    assert heartbeat.check(9.2, blocks=6, active=True, finished=False) is None
    assert lost_after(heartbeat, since=9.4, blocks=6) <= 0.6


def test_digital_silence_asks_for_a_reopen_less_and_less_often() -> None:
    watch = ZeroWatch()
    asked = []
    zeros = 0.0
    for tick in range(2000):
        zeros += 0.1
        if watch.check(zeros):
            asked.append(tick / 10)
            zeros = 0.0
    assert [round(b - a) for a, b in pairwise(asked)] == [6, 12, 24, 48, 60]
    assert asked[0] == pytest.approx(3, abs=0.2)


def test_sound_after_silence_is_news_once() -> None:
    watch = ZeroWatch(silent=True, limit_seconds=60.0)
    assert watch.heard()
    assert not watch.heard()
    assert watch.check(3.0)


def test_three_flags_in_ten_seconds_are_too_many() -> None:
    watch = FlagWatch()
    assert [watch.check(now, count) for now, count in [(0, 1), (6, 2), (11, 3), (15, 4)]] == [
        False,
        False,
        False,
        True,
    ]


def test_a_margin_grows_with_every_shortage_and_shrinks_when_it_is_not_needed() -> None:
    margin = Margin(2, 4)
    margin.observe(0.0, 3.0)
    for now in (3.0, 4.0, 5.0):
        margin.short(now)
    assert margin.steps == 4
    for now in range(6, 72):
        margin.observe(now, 3.0)
    assert margin.steps == 2


def test_a_margin_that_is_used_stays() -> None:
    margin = Margin(2, 4)
    margin.observe(0.0, 3.0)
    margin.short(3.0)
    for now in range(4, 100):
        margin.observe(now, 0.5 if now % 20 == 0 else 3.0)
    assert margin.steps == 3


def test_a_margin_forgets_what_was_needed_while_a_call_came_about() -> None:
    margin = Margin(2, 10)
    for now in (0.1, 0.2, 0.3, 0.4, 1.0):
        margin.short(now)
    assert margin.steps == 7
    margin.observe(2.0, 1.0)
    assert margin.steps == 7
    margin.observe(2.2, 1.0)
    assert margin.steps == 2
    margin.short(5.0)
    margin.observe(10.0, 0.5)
    assert margin.steps == 3
