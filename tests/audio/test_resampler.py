"""Streaming resampling: length, chunking, figures of quality, bounds, refusals."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtc_audio import PullResampler, StreamResampler, UnsupportedFormat
from rtc_audio.kernels import Quality
from rtc_audio.runs import MAX_PLANS

RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
PAIRS = [pair for pair in itertools.product(RATES_HZ, RATES_HZ) if pair[0] != pair[1]]
QUALITIES: list[tuple[Quality, float]] = [("voice", -84), ("hq", -100), ("fast", -66)]  # alias and images, dB
SOME_PAIRS = [(24000, 48000), (48000, 24000), (44100, 48000), (48000, 22050), (11025, 96000), (96000, 8000)]


def wrong(value: Any) -> Any:
    """A value that the type checker would refuse."""
    return value


def noise(frames: int, channels: int = 0, seed: int = 1) -> NDArray[np.float32]:
    shape = (frames, channels) if channels else (frames,)
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def tone(rate_hz: int, hz: float, seconds: float = 0.2) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz).astype(np.float32)


def convert(resampler: StreamResampler, x: NDArray[Any], cuts: list[int] | None = None) -> NDArray[Any]:
    parts = np.split(x, [at for at in np.cumsum(cuts or []) if at < len(x)])
    return np.concatenate([*(resampler.push(part) for part in parts), resampler.flush()])


def level_db(y: NDArray[np.float32]) -> float:
    """Level of the middle third, relative to a sine of full scale."""
    middle = y[len(y) // 3 : 2 * len(y) // 3].astype(np.float64)
    return 10 * math.log10(max(2 * float(np.mean(middle**2)), 1e-20))


def fitted(y: NDArray[np.float32], rate_hz: int, hz: float) -> tuple[float, float, float]:
    """Of the tone in the middle third: its level in dB and its delay in seconds; and the level of the rest."""
    middle = slice(len(y) // 3, 2 * len(y) // 3)
    turns = 2 * np.pi * hz * np.arange(len(y))[middle] / rate_hz
    basis = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    parts, *_ = np.linalg.lstsq(basis, y[middle].astype(np.float64), rcond=None)
    rest = y[middle] - basis @ parts
    delay = -math.atan2(parts[1], parts[0]) / (2 * math.pi * hz)
    return 20 * math.log10(math.hypot(*parts)), delay, 10 * math.log10(max(2 * np.mean(rest**2), 1e-20))


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_length_is_exact(rate_in: int, rate_out: int) -> None:
    for frames in (1, 999, 4801):
        y = convert(StreamResampler(rate_in, rate_out), noise(frames), [217] * 30)
        assert len(y) == math.ceil(frames * rate_out / rate_in)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    cuts=st.lists(st.integers(0, 700), max_size=12),
    channels=st.sampled_from([0, 1, 3]),
    quality=st.sampled_from(["voice", "hq", "fast"]),
)
def test_cuts_do_not_change_the_result(
    pair: tuple[int, int], cuts: list[int], channels: int, quality: Quality
) -> None:
    x = noise(3000, channels)
    whole = convert(StreamResampler(*pair, quality, channels or 1), x)
    parts = convert(StreamResampler(*pair, quality, channels or 1), x, cuts)
    assert whole.shape == parts.shape
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[0] > 1.15 * pair[1]])
def test_no_alias_from_a_tenth_above_the_band(rate_in: int, rate_out: int) -> None:
    for hz in np.linspace(1.1 * rate_out / 2, 0.98 * rate_in / 2, 5).tolist():
        for quality, most_db in QUALITIES:
            assert level_db(StreamResampler(rate_in, rate_out, quality).push(tone(rate_in, hz))) <= most_db


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[1] > 1.15 * pair[0]])
def test_no_images(rate_in: int, rate_out: int) -> None:
    for part in (0.1, 0.45, 0.88):
        hz = part * rate_in / 2
        for quality, most_db in QUALITIES:
            y = StreamResampler(rate_in, rate_out, quality).push(tone(rate_in, hz))
            assert fitted(y, rate_out, hz)[2] <= most_db


@pytest.mark.parametrize(
    ("quality", "most_db", "edge_db"), [("voice", 0.08, 0.55), ("hq", 0.002, 0.006), ("fast", 0.3, 2.4)]
)
@pytest.mark.parametrize(("rate_in", "rate_out"), SOME_PAIRS)
def test_the_band_is_flat(
    rate_in: int, rate_out: int, quality: Quality, most_db: float, edge_db: float
) -> None:
    """Up to 0.8 and 0.9 of the lower Nyquist frequency, against a constant."""
    for part in np.linspace(0.02, 0.9, 23).tolist():
        hz = part * min(rate_in, rate_out) / 2
        y = StreamResampler(rate_in, rate_out, quality).push(tone(rate_in, hz))
        assert abs(fitted(y, rate_out, hz)[0]) < (most_db if part <= 0.8 else edge_db)


def test_a_constant_stays_exactly_what_it_is() -> None:
    for pair in PAIRS:
        y = StreamResampler(*pair).push(np.ones(3000, np.float32))
        assert np.abs(y[len(y) // 2 :] - 1).max() < 1e-6


@pytest.mark.parametrize("quality", ["voice", "hq", "fast"])
def test_outputs_stand_where_the_inputs_stood(quality: Quality) -> None:
    """The first output belongs to the time of the first input, whatever the delay of the stream."""
    for pair in SOME_PAIRS:
        y = convert(StreamResampler(*pair, quality), tone(pair[0], 400, 2200 / pair[0]))
        assert abs(fitted(y, pair[1], 400)[1]) < 1e-8


@pytest.mark.parametrize(
    ("pair", "goal_ms"), [((24000, 48000), 1.2), ((48000, 24000), 1.2), ((44100, 48000), 0.7)]
)
def test_delay_is_short_constant_and_as_stated(pair: tuple[int, int], goal_ms: float) -> None:
    resampler = StreamResampler(*pair)
    out, delays = 0, []
    for count in range(1, 200):
        out += len(resampler.push(np.zeros(pair[0] // 100, np.float32)))
        delays.append(count / 100 - out / pair[1])
    assert 1000 * max(delays) <= goal_ms
    assert max(delays) - min(delays[1:]) < 1.01 / min(pair)
    assert abs(max(delays) - resampler.delay_seconds) < 1.01 / min(pair)


def test_channels_do_not_mix() -> None:
    x = noise(2000, 2)
    stereo = convert(StreamResampler(44100, 48000, channels=2), x)
    for channel in (0, 1):
        mono = convert(StreamResampler(44100, 48000), x[:, channel])
        np.testing.assert_allclose(stereo[:, channel], mono, atol=1e-6)


def test_mono_keeps_the_rank_it_came_in() -> None:
    resampler = StreamResampler(24000, 48000)
    assert resampler.push(noise(240)).ndim == 1
    assert resampler.push(noise(240, 1)).ndim == 2
    assert resampler.flush().shape[1:] == (1,)


def test_int16_is_rounded_and_saturated() -> None:
    x = np.where(tone(24000, 1000) > 0, 32767, -32768).astype(np.int16)  # its overshoot is beyond full scale
    y = convert(StreamResampler(24000, 48000, dtype=np.int16), x)
    assert y.dtype == np.int16
    assert (y.max(), y.min()) == (32767, -32768)
    exact = convert(StreamResampler(24000, 48000), x.astype(np.float32))
    assert np.abs(y - np.clip(exact, -32768, 32767)).max() <= 0.5


@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("quality", ["voice", "hq", "fast"])
def test_int16_follows_float32_over_all_rates(quality: Quality, channels: int) -> None:
    """Whatever the cuts: half a step off for the rounding, clipped where the overshoot is beyond full scale."""
    for rate_in, rate_out in itertools.product(RATES_HZ, RATES_HZ):
        frames = rate_in // 25 + 7
        square = np.where(np.arange(frames) // max(2, rate_in // 400) % 2, 32767, -32768)
        sound = noise(frames, channels) * 120_000 + (square if not channels else square[:, None] * [1, 0.5])
        x = np.clip(sound, -32768, 32767).astype(np.int16)
        y = convert(
            StreamResampler(rate_in, rate_out, quality, channels or 1, np.int16), x, [11, 700, 160, 1]
        )
        exact = convert(StreamResampler(rate_in, rate_out, quality, channels or 1), x.astype(np.float32))
        assert y.dtype == np.int16
        assert y.shape == exact.shape == (math.ceil(frames * rate_out / rate_in), *x.shape[1:])
        assert np.abs(y - np.clip(exact, -32768, 32767)).max() < 0.52
        assert y.min() == -32768


@pytest.mark.parametrize("quality", ["voice", "hq", "fast"])
def test_cuts_do_not_change_loud_sound_at_any_rates(quality: Quality) -> None:
    rng = np.random.default_rng(3)
    for pair in PAIRS:
        x = np.clip(noise(pair[0] // 10) * 2.5, -1, 1)
        whole = convert(StreamResampler(*pair, quality), x)
        for _ in range(3):
            parts = convert(StreamResampler(*pair, quality), x, rng.integers(0, 900, 30).tolist())
            np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


def test_equal_rates_pass_through_without_delay() -> None:
    resampler, x = StreamResampler(48000, 48000), noise(480)
    np.testing.assert_array_equal(resampler.push(x), x)
    assert (resampler.delay_seconds, len(resampler.flush())) == (0.0, 0)


def test_clear_and_flush_begin_a_new_stream() -> None:
    x, resampler = noise(1000), StreamResampler(44100, 24000)
    first = convert(resampler, x)
    np.testing.assert_array_equal(convert(resampler, x), first)
    resampler.push(noise(313, seed=2))
    resampler.clear()
    np.testing.assert_array_equal(convert(resampler, x), first)


def test_uncommon_rates_work() -> None:
    """Old sound files have rates such as 22254 Hz; the ratio to 48 kHz is 8000/3709."""
    x = noise(5000)
    y = convert(StreamResampler(22254, 48000), x, [371] * 20)
    assert len(y) == math.ceil(5000 * 48000 / 22254)
    assert level_db(StreamResampler(22254, 48000).push(tone(22254, 1000))) == pytest.approx(0, abs=0.01)


def test_memory_does_not_grow() -> None:
    """Any mix of chunk lengths: the plans are capped and the buffer keeps its size."""
    rng = np.random.default_rng(3)
    for pair in ((44100, 48000), (24000, 48000)):
        resampler = StreamResampler(*pair)
        core: Any = resampler
        shape = core._buffer.shape
        for count in rng.integers(0, 2000, 1500):
            resampler.push(np.zeros(count, np.float32))
        resampler.push(np.zeros(200_000, np.float32))
        assert core._plans <= MAX_PLANS
        assert core._buffer.shape == shape


@pytest.mark.parametrize(
    ("pair", "count"),
    [((48000, 11025), 7), ((22050, 48000), 220), ((24000, 48000), 1), ((44100, 48000), 1000)],
)
def test_chunks_of_any_constant_length_are_soon_prepared(pair: tuple[int, int], count: int) -> None:
    """A plan costs ten times as much as its use; no chunk length needs new ones for ever."""
    resampler, chunk = StreamResampler(*pair), np.zeros(count, np.float32)
    core: Any = resampler
    for _ in range(5000):
        resampler.push(chunk)
    made: list[Any] = []
    core._make_plan = made.append
    for _ in range(1000):
        resampler.push(chunk)
    assert not made


@pytest.mark.parametrize(("rate_in", "rate_out"), SOME_PAIRS)
def test_a_nan_spoils_only_what_is_near(rate_in: int, rate_out: int) -> None:
    """The resampler does not look at values, but it forgets them."""
    resampler, chunk = StreamResampler(rate_in, rate_out), rate_in // 100
    x = noise(200 * chunk)
    clean = convert(StreamResampler(rate_in, rate_out), x, [chunk] * 200)
    x[5 * chunk + 1] = np.nan
    y = convert(resampler, x, [chunk] * 200)
    assert np.isnan(y).any()
    np.testing.assert_allclose(y[9 * rate_out // 100 :], clean[9 * rate_out // 100 :], atol=1e-6)


def test_ten_minutes_do_not_drift() -> None:
    resampler, out = StreamResampler(48000, 44100), 0
    chunk = np.zeros(48000, np.float32)
    for _ in range(600):
        out += len(resampler.push(chunk))
    assert out + len(resampler.flush()) == 600 * 44100


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: StreamResampler(0, 48000), "rate_hz=0: need an integer from 1 to 768000"),
        (lambda: StreamResampler(48000, -1), "rate_hz=-1: need an integer from 1 to 768000"),
        (lambda: StreamResampler(48000, wrong(44100.0)), "rate_hz=44100.0: need an integer from 1 to 768000"),
        (
            lambda: StreamResampler(48000, 24000, wrong("best")),
            "quality='best': need 'voice', 'hq' or 'fast'",
        ),
        (lambda: StreamResampler(48000, 24000, channels=0), "channels=0: need a positive integer"),
        (
            lambda: StreamResampler(48000, 24000, dtype=wrong(np.float64)),
            "dtype float64: need float32 or int16",
        ),
        (
            lambda: StreamResampler(48017, 47981),
            "cannot resample 48017 Hz to 47981 Hz: the ratio 47981/48017 is too fine",
        ),
        (
            lambda: StreamResampler(48000, 24000).push(np.zeros(480)),
            "float64 samples in a resampler for float32",
        ),
        (
            lambda: StreamResampler(48000, 24000).push(np.zeros((480, 2), np.float32)),
            "samples of shape [480, 2] in a resampler for 1 channels",
        ),
        (
            lambda: StreamResampler(48000, 24000, channels=2).push(np.zeros((480, 1), np.float32)),
            "samples of shape [480, 1] in a resampler for 2 channels",
        ),
    ],
)
def test_what_it_refuses(make: Any, text: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        make()
    assert str(caught.value) == text


@settings(max_examples=40, deadline=None)
@given(pair=st.sampled_from(PAIRS), pulls=st.lists(st.integers(0, 1200), min_size=1, max_size=10))
def test_pulling_gives_exactly_what_pushing_would(pair: tuple[int, int], pulls: list[int]) -> None:
    x, drawn = noise(60_000, 1), 0

    def pull_in(n: int) -> NDArray[np.float32]:
        nonlocal drawn
        drawn += n
        return np.resize(x, (drawn, 1))[drawn - n :]

    resampler = PullResampler(pull_in, *pair)
    parts = [resampler.pull(n) for n in pulls]
    assert [len(part) for part in parts] == pulls
    assert drawn <= sum(pulls) * pair[0] / pair[1] + 2 * resampler.delay_seconds * pair[0] + 2
    expected = StreamResampler(*pair).push(np.resize(x, (drawn, 1)))[: sum(pulls)]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


def test_pulling_at_equal_rates_draws_exactly_that() -> None:
    x = noise(480, 1)
    assert PullResampler(lambda n: x[:n], 48000, 48000).pull(480) is not None
    np.testing.assert_array_equal(PullResampler(lambda n: x[:n], 48000, 48000).pull(100), x[:100])
