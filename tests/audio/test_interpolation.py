"""Sound between its samples."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.interpolation import REACH, interpolate
from rtc_audio.tape import Tape

Samples = NDArray[np.float64]
Times = NDArray[Any]


def tone(nyquists: float, at: Times) -> Samples:
    return np.asarray(np.sin(np.pi * nyquists * at), np.float64)


def played(sound: NDArray[np.float32], block: int, blocks: int, ppm: float) -> Samples:
    """What a tape gives that runs `ppm` fast and has only what it asks for."""
    tape, at, out = Tape(1440, 480), 0, []
    for _ in range(blocks):
        extra = ppm * 1e-6 * block
        needed = max(0, tape.reach(block, extra) - len(tape))
        tape.append(sound[at : at + needed])
        out.append(tape.take(block, extra))
        at += needed
    return np.concatenate(out).astype(np.float64)


@pytest.mark.parametrize("block", [240, 441, 480, 960])
@pytest.mark.parametrize("ppm", [30, -100, 500, -1000])
def test_a_tone_stays_one(ppm: float, block: int) -> None:
    blocks = 60_000 // block
    for nyquists, level_db, rest_db in ((0.0997, 0.001, -93), (0.497, 0.001, -93), (0.797, 0.002, -82)):
        sound = tone(nyquists, np.arange(block * (blocks + 2))).astype(np.float32)
        heard = played(sound, block, blocks, ppm)[block:]
        at = np.arange(block, block * blocks) * (1 + ppm * 1e-6)
        basis = np.stack((tone(nyquists, at), tone(nyquists, at + 0.5 / nyquists)), 1)
        (along, across), *_ = np.linalg.lstsq(basis, heard, rcond=None)
        rest = heard - basis @ (along, across)
        assert abs(20 * math.log10(math.hypot(along, across))) < level_db
        assert abs(across) < 1e-4, "the sound is where the position says"
        assert 10 * math.log10(2 * float(np.mean(rest**2))) < rest_db


def test_harmonics_of_a_loud_tone_are_below_the_codec() -> None:
    block, blocks, ppm = 480, 200, 123.0
    sound = tone(1 / 24, np.arange(block * (blocks + 2))).astype(np.float32)  # 1 kHz at 48 kHz
    heard = played(sound, block, blocks, ppm)[block:]
    turns = np.pi / 24 * (1 + ppm * 1e-6) * np.arange(block, block * blocks)
    basis = np.concatenate([(np.sin(k * turns), np.cos(k * turns)) for k in range(1, 11)]).T
    parts, *_ = np.linalg.lstsq(basis, heard, rcond=None)
    power = np.square(parts).reshape(-1, 2).sum(1)
    assert 10 * math.log10(power[1:].sum() / power[0]) < -100


def test_a_constant_stays_exactly_what_it_is() -> None:
    heard = interpolate(np.full(1000, 0.5, np.float32), 100.37, 0.2, 480)
    assert np.abs(heard - 0.5).max() < 1e-6


def test_nothing_but_its_reach_is_looked_at() -> None:
    around = np.full(1200, 1e6, np.float32)
    for place, extra in ((100.99, 0.24), (100.01, -0.24), (100.5, 0.0), (100.9, 0.96), (100.2, -0.9)):
        sound = around.copy()
        end = 100 + 960 + math.floor(place - 100 + extra) + 1 + REACH
        sound[100 - REACH - 1 : end] = 0.1
        assert interpolate(sound, place, extra, 960) == pytest.approx(0.1, abs=1e-4)


def test_a_tape_without_drift_gives_its_samples() -> None:
    sound = np.random.default_rng(1).standard_normal(4800).astype(np.float32)
    assert np.array_equal(played(sound, 480, 10, 0), sound)


def test_a_tape_that_begins_to_drift_leaves_no_seam() -> None:
    tape, sound = Tape(1440, 480), tone(0.0497, np.arange(9600)).astype(np.float32)
    tape.append(sound)
    out = [tape.take(480, extra) for extra in (0, 0, 0.05, 0.2, 0.2, -0.1, -0.1, 0)]
    heard = np.concatenate(out)
    assert np.array_equal(heard[:960], sound[:960])
    assert np.abs(np.diff(heard, 2)).max() < 1.01 * np.abs(np.diff(sound, 2)).max()
    assert tape.fraction == pytest.approx(0.25)
