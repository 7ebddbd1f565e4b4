"""Streaming resampling in 10 ms chunks, against soxr HQ and PyAV's AudioResampler in the same run.

CPU time of one thread; ours and an anchor take turns in small batches, and a ratio is the median over pairs of
neighbouring batches, so that a neighbour on the machine slows both alike. Only two take turns, and who goes first
changes every time: whoever goes after libswresample finds the caches cold, and would pay for it in every batch.
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # a second BLAS thread only spins; read when numpy is imported

import statistics
import time
from collections.abc import Callable

import av
import numpy as np
import soxr
from bench_common import Row
from numpy.typing import NDArray

from rtc_audio import StreamResampler

RATES_HZ = (8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
PAIRS = [(a, b) for a in RATES_HZ for b in RATES_HZ if a != b and {a, b} & {24000, 48000}]
SHOWN = [(24000, 48000), (48000, 24000), (44100, 48000), (48000, 44100), (16000, 48000), (48000, 16000)]
CHUNKS_PER_BATCH = 100

Push = Callable[[NDArray[np.float32]], object]


def run(quick: bool) -> list[Row]:
    """One row for each figure of the design, then the shown pairs one by one."""
    batches = 12 if quick else 60
    ours, soxr_hq, speed, versus_swr = {}, {}, {}, []
    for pair in PAIRS:
        own = StreamResampler(*pair).push
        anchor = soxr.ResampleStream(*pair, 1, dtype="float32", quality="HQ").resample_chunk
        ours[pair], soxr_hq[pair], speed[pair] = race(pair[0], own, anchor, batches)
        versus_swr.append(race(pair[0], own, swr_push(*pair), batches // 4)[2])
    median, swr_speed = statistics.median(speed.values()), statistics.median(versus_swr)
    rows = [
        Row("median speed, 26 pairs, soxr HQ = 1", median, 1.0, median, "≥ 1.4", "×", median >= 1.4),
        # Beside PyAV's resampler, which is what aiortc uses; it aliases at −11 dB.
        Row("median speed, av.AudioResampler = 1", swr_speed, 1.0, swr_speed, "", "×", None),
    ]
    for rate_in, rate_out in SHOWN[:2]:
        own_ms, anchor_ms = delay_ms(rate_in, rate_out)
        name = f"delay {rate_in} → {rate_out} Hz, worst"
        rows.append(Row(name, own_ms, anchor_ms, own_ms / anchor_ms, "≤ 1.2", "ms", own_ms <= 1.2))
    alias = float(max(worst_alias_db(*pair) for pair in PAIRS if 1.15 * pair[1] < pair[0]))
    rows.append(Row("alias from 1.1 × Nyquist up, worst pair", alias, "", None, "≤ −84", "dB", alias <= -84))
    for pair in SHOWN:
        name = f"{pair[0]} → {pair[1]} Hz, 10 ms"
        rows.append(Row(name, ours[pair], soxr_hq[pair], speed[pair], "", "µs", None))
    return rows


def race(rate_hz: int, own: Push, anchor: Push, batches: int) -> tuple[float, float, float]:
    """CPU time of a 10 ms chunk in each, in µs, and how many times ours is faster: medians over the batches."""
    frames = rate_hz // 100
    noise = np.random.default_rng(3).standard_normal(CHUNKS_PER_BATCH * frames).astype(np.float32)
    chunks = np.split(noise * np.float32(0.1), CHUNKS_PER_BATCH)
    spent: dict[Push, list[float]] = {own: [], anchor: []}
    for batch in range(batches + 4):
        for push in (own, anchor) if batch % 2 else (anchor, own):
            start = time.thread_time()
            for chunk in chunks:
                push(chunk)
            if batch >= 4:  # plans are made and caches are warm
                spent[push].append((time.thread_time() - start) / CHUNKS_PER_BATCH * 1e6)
    ratio = statistics.median(b / a for a, b in zip(spent[own], spent[anchor], strict=True))
    return statistics.median(spent[own]), statistics.median(spent[anchor]), ratio


def swr_push(rate_in: int, rate_out: int) -> Push:
    """libswresample behind PyAV's frames, as aiortc uses it."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_out)

    def push(x: NDArray[np.float32]) -> object:
        frame = av.AudioFrame.from_ndarray(x[None, :], format="flt", layout="mono")
        frame.sample_rate = rate_in
        return [out.to_ndarray() for out in resampler.resample(frame)]

    return push


def delay_ms(rate_in: int, rate_out: int) -> tuple[float, float]:
    """Worst time between sound fed and sound out, in 10 ms chunks: ours and soxr HQ's."""
    own = StreamResampler(rate_in, rate_out)
    anchor = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ")
    return worst_delay_ms(own.push, rate_in, rate_out), worst_delay_ms(
        anchor.resample_chunk, rate_in, rate_out
    )


def worst_delay_ms(
    push: Callable[[NDArray[np.float32]], NDArray[np.float32]], rate_in: int, rate_out: int
) -> float:
    chunk, out, delays = np.zeros(rate_in // 100, np.float32), 0, []
    for count in range(1, 200):
        out += len(push(chunk))
        delays.append(count / 100 - out / rate_out)
    return 1000 * max(delays[50:])


def worst_alias_db(rate_in: int, rate_out: int) -> float:
    """What is left of the loudest of ten tones between 1.1 × the output's Nyquist frequency and the input's."""
    worst = -200.0
    for hz in np.linspace(1.1 * rate_out / 2, 0.98 * rate_in / 2, 10):
        t = np.arange(rate_in // 4) / rate_in
        y = StreamResampler(rate_in, rate_out).push(np.sin(2 * np.pi * hz * t).astype(np.float32))
        middle = y[len(y) // 3 : 2 * len(y) // 3].astype(np.float64)
        worst = max(worst, 10 * np.log10(max(2 * float(np.mean(middle**2)), 1e-20)))
    return worst
