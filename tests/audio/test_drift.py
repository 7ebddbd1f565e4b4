"""Clocks that differ, seen through the delays of a network."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.drift import ClockSkew, MediaClock, SpeedControl

SECONDS = 600
Lateness = list[float | None]  # of each packet of 20 ms; None: lost


def steady(rng: random.Random, count: int) -> Lateness:
    return [0.0] * count


def jittery(rng: random.Random, count: int) -> Lateness:
    late = [rng.random() * 0.08 for _ in range(count)]
    for i in range(1, count):
        late[i] = max(late[i], late[i - 1] - 0.02)
    return list(late)


def reordered(rng: random.Random, count: int) -> Lateness:
    return [rng.random() * 0.08 for _ in range(count)]


def exponential(rng: random.Random, count: int) -> Lateness:
    return [rng.expovariate(1 / 0.015) for _ in range(count)]


def stalling(rng: random.Random, count: int) -> Lateness:
    every, most = rng.uniform(4, 8), rng.uniform(0.1, 0.5)
    return [max(0.0, most - i * 0.02 % every) for i in range(count)]


def lossy(rng: random.Random, count: int) -> Lateness:
    return [None if rng.random() < 0.2 else 0.0 for _ in range(count)]


def pausing(rng: random.Random, count: int) -> Lateness:
    return [0.0 if i % 500 < 200 or i % 20 == 0 else None for i in range(count)]  # DTX


def stepping(rng: random.Random, count: int) -> Lateness:
    """Another path every half minute or so."""
    late, path = [], 0.0
    for _ in range(count):
        if rng.random() < 1 / 1500:
            path = rng.uniform(0, 0.08)
        late.append(path + rng.random() * 0.005)
    return list(late)


def queueing(rng: random.Random, count: int) -> Lateness:
    """A queue that fills for ten seconds and empties in three."""
    return [0.05 * min(i % 650 / 500, (650 - i % 650) / 150) + rng.random() * 0.005 for i in range(count)]


NETWORKS = [steady, jittery, reordered, exponential, stalling, lossy, pausing, stepping, queueing]


def seen(network: Lateness, ppm: float, seed: int = 1) -> NDArray[np.float64]:
    """What is known of a sender's clock that is `ppm` fast, in parts per million, after each second."""
    rng, skew, known = random.Random(seed), ClockSkew(), np.zeros(len(network) // 50)
    sent = [i * 0.02 / (1 + ppm * 1e-6) for i in range(len(network))]
    times = zip(sent, network, strict=True)
    for now, i in sorted((at + late, i) for i, (at, late) in enumerate(times) if late is not None):
        now += rng.random() * 0.002 if rng.random() > 0.003 else rng.uniform(0.002, 0.008)
        skew.observe(now - i * 0.02, now)
        known[int(now) :] = skew.ppm
    return known


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_network_is_no_drift(network: object, seed: int) -> None:
    assert callable(network)
    assert not seen(network(random.Random(seed), SECONDS * 50), 0, seed).any()


@pytest.mark.parametrize("ppm", [30, -30, 100, -500])
@pytest.mark.parametrize(("network", "seconds"), [(steady, 30), (stalling, 30), (lossy, 30), (pausing, 60)])
def test_drift_is_known_within_a_minute(network: object, seconds: int, ppm: float) -> None:
    assert callable(network)
    known = seen(network(random.Random(1), 60 * 50), ppm)
    assert known[seconds - 1] == pytest.approx(ppm, abs=8)
    assert known[-1] == pytest.approx(ppm, abs=3)


@pytest.mark.parametrize("network", [jittery, reordered, exponential])
def test_jitter_takes_longer(network: object) -> None:
    assert callable(network)
    known = seen(network(random.Random(1), SECONDS * 50), -100)
    assert known[160:] == pytest.approx(-100, abs=40)


def test_another_path_does_not_change_the_clock() -> None:
    path = [0.06 if i > 6000 else 0.0 for i in range(12000)]
    assert seen(list(path), 100)[30:] == pytest.approx(100, abs=5)
    path = [0.0 if i > 6000 else 0.06 for i in range(12000)]
    assert seen(list(path), 100)[30:] == pytest.approx(100, abs=5)


def test_what_turns_out_wrong_is_given_up() -> None:
    skew, heard = ClockSkew(), []
    for i in range(20_000):
        now = i * 0.02
        skew.observe(-300e-6 * min(now, 60.0), now)
        heard.append(skew.ppm)
    assert heard[50 * 50] == pytest.approx(300, abs=1)
    assert heard[-1] == 0
    assert 0 <= min(heard) <= max(heard) < 301


def test_no_crystal_is_a_thousandth_off() -> None:
    assert not seen([0.0] * 5000, 1500).any()


def test_the_senders_clock_has_no_jumps() -> None:
    clock, late = MediaClock(), []
    for i in range(10_000):
        now = i * 0.02 / (1 + 200e-6) + random.Random(i).random() * 0.001
        late.append(clock.observe(i * 960, now))
    assert clock.ppm == pytest.approx(200, abs=1)
    assert min(late[2000:]) == pytest.approx(max(late[2000:]) - 0.001, abs=0.0003)
    assert np.abs(np.diff(late)).max() < 0.0011


def test_media_time_is_our_time_while_no_drift_is_known() -> None:
    clock = MediaClock()
    assert [clock.observe(i * 960, i * 0.02) for i in range(100)] == [
        i * 0.02 - i * 960 / 48000 for i in range(100)
    ]
    assert clock.seconds(12345.5) == 12345.5 / 48000


# ---- the speed


def test_the_speed_follows_slowly_and_ends_on_a_whole_sample() -> None:
    control, fraction, extras = SpeedControl(24000), 0.0, []
    for pull in range(4000):
        known = 300.0 if 500 <= pull < 1500 else None
        extra = control.extra(240, known, 0.0, fraction)
        fraction = (fraction + extra) % 1
        extras.append(extra)
    ppm = np.array(extras) / 240e-6
    assert not ppm[:500].any()
    assert ppm[1000:1500] == pytest.approx(300)
    assert np.abs(np.diff(ppm[:1600])).max() <= 2.001
    assert np.abs(ppm[1700:]).max() <= 50.001
    assert not ppm[-1000:].any()
    assert fraction == 0
    assert not control.sliding


def test_a_wrong_delay_is_made_good_by_a_little_speed() -> None:
    control = SpeedControl(48000)
    for aim, ppm in ((0.001, 150), (-0.001, -50), (0.5, 350), (-0.5, -250)):
        for _ in range(400):
            extra = control.extra(480, 50.0, aim, 0.5)
        assert extra / 480e-6 == pytest.approx(ppm)


def test_the_speed_is_never_more_than_a_thousandth_off() -> None:
    control = SpeedControl(48000)
    for _ in range(4000):
        extra = control.extra(480, 900.0, 1.0, 0.5)
    assert extra / 480e-6 == pytest.approx(1000)
