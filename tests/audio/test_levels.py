"""Levels, meters, ramps and seams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtc_audio.levels import FLOOR_DBFS, LevelMeter, Ramp, Seam, peak_dbfs, rise, rms_dbfs

RATE = 48000


def sine(frames: int, level: float = 1.0, hz: float = 440.0, start: int = 0) -> NDArray[np.float32]:
    phase = 2 * np.pi * hz * (start + np.arange(frames)) / RATE
    return (level * np.sin(phase)).astype(np.float32)[:, None]


def test_levels_of_known_sounds() -> None:
    assert peak_dbfs(np.ones((10, 1), np.float32)) == rms_dbfs(np.ones((10, 1), np.float32)) == 0.0
    assert rms_dbfs(sine(RATE)) == pytest.approx(-3.01, abs=0.01)
    assert peak_dbfs(np.array([[0.0], [-0.5]], np.float32)) == pytest.approx(-6.02, abs=0.01)
    assert rms_dbfs(np.zeros((10, 1), np.float32)) == peak_dbfs(np.empty((0, 1), np.float32)) == FLOOR_DBFS


def test_meter_rises_at_once_holds_and_falls() -> None:
    meter = LevelMeter(window_seconds=0.3, hold_seconds=0.5, fall_db_per_second=20)
    silence = np.zeros((960, 1), np.float32)
    assert meter.peak_dbfs == meter.rms_dbfs == FLOOR_DBFS
    for _ in range(100):
        meter.update(sine(960), 0.02)
    assert meter.peak_dbfs == pytest.approx(0, abs=0.05)
    assert meter.rms_dbfs == pytest.approx(-3.0, abs=0.1)
    for _ in range(25):
        meter.update(silence, 0.02)
    assert meter.peak_dbfs == pytest.approx(0, abs=0.05)
    for _ in range(50):
        meter.update(silence, 0.02)
    assert meter.peak_dbfs == pytest.approx(-20, abs=0.5)
    assert meter.rms_dbfs < -20
    for _ in range(2000):
        meter.update(silence, 0.02)
    assert meter.peak_dbfs == meter.rms_dbfs == FLOOR_DBFS


def test_meter_does_not_depend_on_the_size_of_blocks() -> None:
    fine, coarse = LevelMeter(), LevelMeter()
    for at in range(0, 9600, 480):
        fine.update(sine(480, start=at), 0.01)
    for at in range(0, 9600, 960):
        coarse.update(sine(960, start=at), 0.02)
    assert fine.rms_dbfs == pytest.approx(coarse.rms_dbfs, abs=0.1)


def test_ramp_goes_smoothly_to_its_target_and_stays() -> None:
    ramp = Ramp(RATE, ramp_seconds=0.005)
    ramp.target = 0.25
    gains = np.concatenate([ramp.apply(np.ones((100, 1), np.float32)) for _ in range(5)])[:, 0]
    assert ramp.settled
    assert ramp.gain == 0.25
    assert (np.diff(gains) <= 0).all()
    np.testing.assert_allclose(gains[240:], 0.25)
    assert np.abs(np.diff(gains, 2)).max() < 1e-3


def test_ramp_turns_round_from_where_it_is() -> None:
    ramp = Ramp(RATE, ramp_seconds=0.005)
    ramp.target = 0.0
    first = ramp.apply(np.ones((120, 1), np.float32))
    ramp.target = 1.0
    second = ramp.apply(np.ones((480, 1), np.float32))
    assert abs(float(second[0, 0] - first[-1, 0])) < 0.01
    assert second[-1, 0] == 1.0


def test_ramp_at_one_is_free() -> None:
    pcm = sine(480)
    assert Ramp(RATE).apply(pcm) is pcm


def test_rise_ends_at_one_and_mirrors_its_fall() -> None:
    curve = rise(240)
    assert curve[-1] == 1.0
    np.testing.assert_allclose(curve[:-1] + curve[:-1][::-1], 1.0, atol=1e-6)
    assert len(rise(0)) == 0


@given(st.lists(st.tuples(st.integers(1, 600), st.floats(0, 1)), min_size=1, max_size=20))
def test_seam_never_clicks_and_always_fills(reads: list[tuple[int, float]]) -> None:
    """However a 440 Hz tone comes and goes, no step is larger than its own plus those of the ramps."""
    seam, at, out = Seam(RATE, 1), 0, [np.zeros((1, 1), np.float32)]
    for n, share in reads:
        count = round(n * share)
        out.append(seam.fill(sine(count, 0.5, start=at), n))
        assert len(out[-1]) == n
        at += count
    out.append(seam.fill(np.empty((0, 1), np.float32), 300))
    steps = np.diff(np.concatenate(out)[:, 0])
    own_step = 0.5 * 2 * np.pi * 440 / RATE
    ramp_step = np.pi / 2 / 240
    assert np.abs(steps).max() < own_step + 2 * ramp_step
    assert np.abs(np.diff(steps)).max() < 1.5 * (own_step + ramp_step)
    assert seam.silent


def test_seam_leaves_steady_sound_alone() -> None:
    seam = Seam(RATE, 1)
    seam.fill(sine(480), 480)
    pcm = sine(480, start=480)
    assert seam.fill(pcm, 480) is pcm


def test_cut_crossfades() -> None:
    seam, high, low = Seam(RATE, 1), np.full((480, 1), 0.5, np.float32), np.full((480, 1), -0.5, np.float32)
    seam.fill(high, 480)
    seam.cut()
    out = seam.fill(low, 480)[:, 0]
    assert (np.diff(out) <= 1e-7).all()
    assert out[0] == pytest.approx(0.5, abs=0.01)
    assert out[-1] == pytest.approx(-0.5)
