"""The Kalman filter and the suppressor by themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.echo_filter import EchoPathFilter
from rtc_audio.echo_suppressor import ResidualSuppressor
from support.echo_scenes import decibels, rms

Mono = NDArray[np.float32]

FRAME, PARTITIONS = 160, 20
LATE = 480  # samples from far to near, three frames


def noise_and_echo(blocks: int) -> tuple[Mono, Mono]:
    """White noise, and the same one `LATE` samples later at half its level, `[block, FRAME]`."""
    far = 0.1 * np.random.default_rng(1).standard_normal(blocks * FRAME)
    near = 0.5 * np.concatenate([np.zeros(LATE), far[:-LATE]])
    return far.astype(np.float32).reshape(-1, FRAME), near.astype(np.float32).reshape(-1, FRAME)


def learnt(blocks: int) -> tuple[EchoPathFilter, Mono, Mono]:
    """A filter that knows the path, and what comes next."""
    far, near = noise_and_echo(blocks + 20)
    path = EchoPathFilter(FRAME, PARTITIONS)
    for block in range(blocks):
        path.process(far[block], near[block])
    return path, far[blocks - PARTITIONS :], near[blocks:]


def test_a_path_is_learnt() -> None:
    path, far, near = learnt(300)
    error, echo = path.process(far[PARTITIONS], near[0])
    assert decibels(rms(error) / rms(near[0])) < -30
    np.testing.assert_allclose(error + echo, near[0], atol=1e-6)
    response = np.fft.irfft(path.path, axis=1)[:, :FRAME].ravel()
    assert int(np.abs(response).argmax()) == LATE
    assert response[LATE] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("frames", "most_db"), [(2, -20), (0, -20), (-4, -6)])
def test_what_is_known_survives_another_bulk_delay(frames: int, most_db: float) -> None:
    """Towards the future some far-end blocks are left out, which the filter never gets to know."""
    path, far, near = learnt(300)
    path.shift(frames)
    errors = [path.process(far[PARTITIONS + block - frames], near[block])[0] for block in range(10)]
    assert decibels(rms(errors[-1]) / rms(near)) < most_db
    response = np.fft.irfft(path.path, axis=1)[:, :FRAME].ravel()
    assert int(np.abs(response).argmax()) == LATE - frames * FRAME


def test_a_shift_beyond_the_filter_forgets_all() -> None:
    path, _, _ = learnt(50)
    path.shift(PARTITIONS + 5)
    assert not path.path.any()


def test_without_far_end_there_is_no_echo() -> None:
    path, _, near = learnt(50)
    before = path.path.copy()
    error, echo = path.process(np.zeros(FRAME, np.float32), near[0], silent=True)
    np.testing.assert_array_equal(error, near[0])
    assert not echo.any()
    np.testing.assert_array_equal(path.path, before)


def test_suppressor_takes_what_follows_the_echo_and_leaves_the_rest() -> None:
    random = np.random.default_rng(4)
    loudness = np.repeat(random.uniform(0, 1, 60), 5)[:, None]  # syllables
    echo = (0.1 * loudness * random.standard_normal((300, FRAME))).astype(np.float32)
    leaking, independent = ResidualSuppressor(FRAME), ResidualSuppressor(FRAME)
    other = (0.05 * random.standard_normal((300, FRAME))).astype(np.float32)
    left = [leaking.process(0.3 * block, block) for block in echo]
    kept = [independent.process(*pair) for pair in zip(other, echo, strict=True)]
    assert decibels(rms(np.array(left[150:])) / rms(0.3 * echo[150:])) < -12
    assert decibels(rms(np.array(kept[150:])) / rms(other[150:])) > -2
    assert leaking.leakage == pytest.approx(0.09, abs=0.05)
    assert independent.leakage < 0.05
