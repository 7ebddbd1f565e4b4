"""The wanted delay, from arrival times alone."""

import random

import pytest

from rtc_audio.arrivals import START_SECONDS, Arrivals


def after(offsets: list[float], *, keep_late: bool = False, most: float = 1.5) -> Arrivals:
    """Arrivals that have seen packets of 20 ms with these offsets (seconds behind their media time)."""
    arrivals = Arrivals(most, keep_late=keep_late)
    for i, offset in enumerate(offsets):
        arrivals.packet(offset, i * 0.02 + offset, 0.02)
    return arrivals


def test_a_clean_link_needs_nothing() -> None:
    assert after([0.0] * 100).target_seconds == pytest.approx(START_SECONDS)
    assert after([0.0] * 600).target_seconds < 0.002


@pytest.mark.parametrize("keep_late", [True, False])
def test_jitter_is_covered(keep_late: bool) -> None:
    rng = random.Random(1)
    arrivals = after([rng.random() * 0.05 for _ in range(1000)], keep_late=keep_late)
    assert 0.045 < arrivals.target_seconds < 0.052
    assert arrivals.base_seconds < 0.001


def test_one_stall_is_one_event() -> None:
    stall = [max(0.0, 0.2 - late * 0.02) for late in range(20)]
    offsets = [0.0] * 300 + stall + [0.0] * 100
    assert after(offsets).target_seconds < 0.06
    assert 0.06 < after(offsets, keep_late=True).target_seconds < 0.16


def test_a_step_of_the_delay_is_believed_within_100_ms() -> None:
    assert after([0.0] * 600 + [0.06] * 1).target_seconds < 0.02
    assert after([0.0] * 600 + [0.06] * 6).target_seconds == pytest.approx(0.06, abs=0.002)
    assert after([0.0] * 600 + [0.06] * 600).target_seconds < 0.002


def test_repairable_losses_are_worth_one_packet() -> None:
    arrivals = after([0.0] * 600)
    for _ in range(5):
        arrivals.repairable()
    assert arrivals.target_seconds == pytest.approx(0.0205)


def test_jitter_and_losses_add_up_before_they_have_met() -> None:
    rng = random.Random(1)
    arrivals = after([rng.random() * 0.05 for _ in range(500)])
    for _ in range(3):
        arrivals.repairable()
    assert 0.065 < arrivals.target_seconds < 0.072


def test_a_loss_is_forgotten_with_the_packets_around_it() -> None:
    arrivals = after([0.0] * 300)
    arrivals.repairable()
    assert arrivals.target_seconds > 0.02
    for number in range(300, 900):
        arrivals.packet(0.0, number * 0.02, 0.02)
    assert arrivals.target_seconds < 0.002


def test_a_burst_is_as_late_as_its_latest_packet_in_whatever_order() -> None:
    stall = [max(0.0, 0.2 - late * 0.02) for late in range(10)]
    targets = []
    for order in (list(range(10)), list(range(9, -1, -1)), [4, 9, 0, 2, 1, 3, 8, 7, 5, 6]):
        arrivals = Arrivals(1.5, keep_late=True)
        for number in range(600):
            late = number - 500
            if 0 <= late < 10:
                arrivals.packet(stall[order[late]], 10.2 + late * 0.0001, 0.02)
            else:
                arrivals.packet(0.0, number * 0.02, 0.02)
        targets.append(arrivals.target_seconds)
    assert targets == [pytest.approx(targets[0])] * 3
    assert targets[0] > 0.08


def test_another_clock_starts_anew() -> None:
    assert after([0.0] * 600 + [5.0] * 6).target_seconds == pytest.approx(START_SECONDS)
    assert after([5.0] * 600 + [0.0] * 6).target_seconds == pytest.approx(START_SECONDS)


def test_the_target_has_a_limit() -> None:
    rng = random.Random(1)
    assert after([rng.random() * 0.9 for _ in range(600)], most=0.3).target_seconds == 0.3
