"""Streaming resampling in 10 ms chunks, against soxr HQ and PyAV's AudioResampler in the same run.

CPU time of one thread; ours and the anchors take turns in small batches, and a row is the median over the batches, so
that a neighbour on the machine slows all alike.
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # a second BLAS thread only spins; read when numpy is imported

import statistics
import time
from collections.abc import Callable, Sequence

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
    ours, soxr_hq, swr = {}, {}, {}
    for rate_in, rate_out in PAIRS:
        ours[rate_in, rate_out], soxr_hq[rate_in, rate_out], swr[rate_in, rate_out] = microseconds(
            rate_in,
            [
                StreamResampler(rate_in, rate_out).push,
                soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ").resample_chunk,
                swr_push(rate_in, rate_out),
            ],
            batches,
        )
    speed = {pair: soxr_hq[pair] / ours[pair] for pair in PAIRS}
    median = statistics.median(speed.values())
    rows = [
        Row("median speed, 26 pairs, soxr HQ = 1", median, 1.0, median, "≥ 1.4", "×", median >= 1.4),
        versus_swr(ours, swr),
    ]
    for rate_in, rate_out in SHOWN[:2]:
        own, anchor = delay_ms(rate_in, rate_out)
        name = f"delay {rate_in} → {rate_out} Hz, worst"
        rows.append(Row(name, own, anchor, own / anchor, "≤ 1.2", "ms", own <= 1.2))
    alias = float(max(worst_alias_db(*pair) for pair in PAIRS if 1.15 * pair[1] < pair[0]))
    rows.append(Row("alias from 1.1 × Nyquist up, worst pair", alias, "", None, "≤ −84", "dB", alias <= -84))
    for pair in SHOWN:
        name = f"{pair[0]} → {pair[1]} Hz, 10 ms"
        rows.append(Row(name, ours[pair], soxr_hq[pair], speed[pair], "", "µs", None))
    return rows


def versus_swr(ours: dict[tuple[int, int], float], swr: dict[tuple[int, int], float]) -> Row:
    """PyAV's resampler beside ours: fast enough, but it aliases at −11 dB."""
    median = statistics.median(swr[pair] / ours[pair] for pair in PAIRS)
    return Row("median speed, 26 pairs, av.AudioResampler = 1", median, 1.0, median, "", "×", None)


def microseconds(rate_hz: int, pushes: Sequence[Push], batches: int) -> list[float]:
    """CPU time of a 10 ms chunk for each of the pushes: the median over batches that alternate between them."""
    noise = np.random.default_rng(3).standard_normal(rate_hz * 2).astype(np.float32) * np.float32(0.1)
    chunks = np.split(
        noise[: len(noise) // (rate_hz // 100) * (rate_hz // 100)], len(noise) // (rate_hz // 100)
    )
    chunks = (chunks * (1 + CHUNKS_PER_BATCH // len(chunks)))[:CHUNKS_PER_BATCH]
    times: list[list[float]] = [[] for _ in pushes]
    for batch in range(batches + 3):
        for push, spent in zip(pushes, times, strict=True):
            start = time.thread_time()
            for chunk in chunks:
                push(chunk)
            if batch >= 3:  # plans are made and caches are warm
                spent.append(time.thread_time() - start)
    return [statistics.median(spent) / CHUNKS_PER_BATCH * 1e6 for spent in times]


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
