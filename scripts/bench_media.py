"""Delay and CPU of our media path beside stock aiortc's, each run in a process of its own, in turn."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench_common import Row

WORKER = Path(__file__).resolve().parent / "pair_worker.py"


def measure(kind: str, what: str, *options: str) -> dict[str, Any]:
    """One run of the worker."""
    command = [sys.executable, str(WORKER), kind, what, *options]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def median(values: list[float]) -> float:
    """For the table: the middle of the runs."""
    return statistics.median(values)


def run(quick: bool) -> list[Row]:
    """DESIGN §6, the media rows: at least five alternating runs of each kind."""
    runs, seconds = (1, "3") if quick else (5, "5")
    return [*_delays(runs, seconds), *_cpu(runs, seconds), *_endpoints("6" if quick else "10")]


def _delays(runs: int, seconds: str) -> list[Row]:
    stock = [measure("stock", "lost", "--seconds", seconds) for _ in range(runs)]
    own = [measure("own", "lost", "--seconds", seconds) for _ in range(runs)]
    ours, theirs = median([r["median_ms"] for r in own]), median([r["median_ms"] for r in stock])
    grown = median([r["after_ms"] - r["before_ms"] for r in own])
    stock_grown = median([r["after_ms"] - r["before_ms"] for r in stock])
    return [
        Row("frame to PCM, unbuffered", ours, theirs, ours / theirs, "≤ 5 ms", "ms", ours <= 5),
        Row("delay 2 s after one lost packet", grown, stock_grown, None, "≤ +20 ms", "ms", grown <= 20),
    ]


def _cpu(runs: int, seconds: str) -> list[Row]:
    kinds = {
        "own": ("CPU per endpoint, unbuffered", 0.45),
        "playout": ("CPU per endpoint, playout 48 kHz", 0.8),
        "pass": ("CPU per endpoint, passed through", 0.25),
    }
    shares: dict[str, list[float]] = {kind: [] for kind in ("stock", *kinds)}
    for _ in range(runs):
        for kind in shares:
            found = measure(kind, "cpu", "--seconds", seconds)
            # Of the frames that arrived: who falls behind and drops them must not look cheap for it.
            shares[kind].append(found["percent_per_endpoint"] / found["delivered"])
    stock = median(shares["stock"])
    rows = []
    for kind, (name, goal) in kinds.items():
        ratio = median([a / b for a, b in zip(shares[kind], shares["stock"], strict=True)])
        rows.append(
            Row(name, median(shares[kind]), stock, ratio, f"≤ {goal} ×", "% of a core", ratio <= goal)
        )
    return rows


def _endpoints(seconds: str) -> list[Row]:
    own, stock = (
        measure(kind, "cpu", "--pairs", "20", "--seconds", seconds)["delivered"] for kind in ("own", "stock")
    )
    return [
        Row("frames delivered to 40 endpoints", 100 * own, 100 * stock, own / stock, "all", "%", own > 0.995)
    ]
