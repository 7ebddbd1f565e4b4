"""The Kalman filter and the suppressor by themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.echo_filter import EchoPathFilter
from rtc_audio.echo_suppressor import ResidualSuppressor
from support.echo_scenes import decibels, in_blocks, rms

Mono = NDArray[np.float32]

FRAME, PARTITIONS = 160, 20
BLOCK = 2 * FRAME
LATE = 480  # samples from far to near, three frames


def noise_and_echo(samples: int) -> tuple[Mono, Mono]:
    """White noise, and the same one `LATE` samples later at half its level."""
    far = 0.1 * np.random.default_rng(1).standard_normal(samples)
    near = 0.5 * np.concatenate([np.zeros(LATE), far[:-LATE]])
    return far.astype(np.float32), near.astype(np.float32)


def learnt(blocks: int) -> tuple[EchoPathFilter, Mono, Mono]:
    """A filter that knows the path, the last second of the far end with the next one, and the next of the near end."""
    known, second = blocks * BLOCK, 50 * BLOCK
    far, near = noise_and_echo(known + second)
    path = EchoPathFilter(FRAME, PARTITIONS)
    for pair in in_blocks(BLOCK, far[:known], near[:known]):
        path.process(*pair)
    return path, far[known - second :], near[known:]


def test_a_path_is_learnt() -> None:
    path, far, near = learnt(150)
    error, echo = path.process(far[50 * BLOCK : 51 * BLOCK], near[:BLOCK])
    assert decibels(rms(error) / rms(near[:BLOCK])) < -30
    np.testing.assert_allclose(error + echo, near[:BLOCK], atol=1e-6)
    response = np.fft.irfft(path.path, axis=1)[:, :FRAME].ravel()
    assert int(np.abs(response).argmax()) == LATE
    assert response[LATE] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("frames", "most_db"), [(2, -20), (1, -20), (0, -20), (-4, -6)])
def test_what_is_known_survives_another_bulk_delay(frames: int, most_db: float) -> None:
    """Towards the future some far-end frames are left out, which the filter never gets to know."""
    path, far, near = learnt(150)
    path.shift(frames)
    later = far[50 * BLOCK - frames * FRAME :]
    errors = [path.process(*pair)[0] for pair in in_blocks(BLOCK, later[: 5 * BLOCK], near[: 5 * BLOCK])]
    assert decibels(rms(errors[-1]) / rms(near)) < most_db
    response = np.fft.irfft(path.path, axis=1)[:, :FRAME].ravel()
    assert int(np.abs(response).argmax()) == LATE - frames * FRAME


def test_a_shift_beyond_the_filter_forgets_all() -> None:
    path, _, _ = learnt(60)
    path.shift(PARTITIONS + 5)
    assert not path.path.any()


def test_without_far_end_there_is_no_echo() -> None:
    path, _, near = learnt(60)
    before = path.path.copy()
    error, echo = path.process(np.zeros(BLOCK, np.float32), near[:BLOCK], silent=True)
    np.testing.assert_array_equal(error, near[:BLOCK])
    assert not echo.any()
    np.testing.assert_array_equal(path.path, before)


def test_suppressor_takes_what_follows_the_echo_and_leaves_the_rest() -> None:
    random = np.random.default_rng(4)
    loudness = np.repeat(random.uniform(0, 1, 60), 3)[:, None]  # syllables
    echo = (0.1 * loudness * random.standard_normal((180, BLOCK))).astype(np.float32)
    leaking, independent = ResidualSuppressor(FRAME), ResidualSuppressor(FRAME)
    other = (0.05 * random.standard_normal((180, BLOCK))).astype(np.float32)
    left = [leaking.process(0.3 * block, block) for block in echo]
    kept = [independent.process(*pair) for pair in zip(other, echo, strict=True)]
    assert decibels(rms(np.array(left[90:])) / rms(0.3 * echo[90:])) < -12
    assert decibels(rms(np.array(kept[90:])) / rms(other[90:])) > -2
    assert leaking.leakage == pytest.approx(0.09, abs=0.05)
    assert independent.leakage < 0.05


def test_suppressor_passes_what_is_said_in_silence() -> None:
    """Into it and out of it there is no click."""
    random = np.random.default_rng(5)
    sound = (0.1 * random.standard_normal((120, BLOCK))).astype(np.float32)
    echo = (0.1 * random.standard_normal((120, BLOCK))).astype(np.float32)
    suppressor = ResidualSuppressor(FRAME)
    for block in range(40):
        suppressor.process(0.3 * echo[block], echo[block])
    nothing = np.zeros(BLOCK, np.float32)
    out = [suppressor.process(pcm, nothing, silent=True) for pcm in sound[40:80]]
    late = np.concatenate([*sound[40:80]])[:-FRAME]
    np.testing.assert_allclose(np.concatenate(out)[FRAME:][20 * BLOCK :], late[20 * BLOCK :], atol=1e-4)
    before = suppressor.process(sound[80], nothing)  # the gain is one still
    np.testing.assert_allclose(before, np.concatenate([*sound[79:81]])[FRAME:-FRAME], atol=1e-4)
