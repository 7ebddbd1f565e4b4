"""Echo cancellers side by side: the built-in one, libwebrtc's, the half-duplex gate and none at all.

Speech of a text-to-speech program (espeak-ng, else the sound in `echo_scenes`) in synthetic rooms, at 16 kHz: the far
end talks all the time, the near end over it for a while. Not in it: real loudspeakers, real rooms.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import Row
from numpy.typing import NDArray
from pystoi import stoi
from scipy.signal import resample_poly

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from rtc_audio.echo import EchoCanceller, EchoUnavailable, HalfDuplexGate, NullEchoCanceller
from rtc_audio.echo_kalman import KalmanEchoCanceller
from rtc_audio.echo_webrtc import WebRtcEchoCanceller
from support.echo_scenes import RATE_HZ, Outcome, Scene, cancel, scene

FAR = (
    "The weather in the mountains changes quickly, so it is wise to carry a warm coat even in summer. Most walkers "
    "leave early in the morning, before the clouds gather over the ridge. If you follow the river for two hours, you "
    "will reach a small wooden bridge. Cross it, and keep to the left side of the valley. There is a hut where you can "
    "rest, drink some tea, and ask about the path ahead. The keeper has lived there for thirty years, and knows every "
    "stone. From the hut it is another three hours to the pass, where the view reaches as far as the sea."
)
NEAR = (
    "Wait, I have a question about that. Which of these routes would you choose with two small children? They can walk "
    "for maybe four hours, but not much longer, and they do not like steep paths at all."
)

Speech = NDArray[np.float64] | None


@dataclass(frozen=True)
class Case:
    """A scene, and what has to be reached in it; `settled` is where the echo has to be gone, in seconds."""

    name: str
    conditions: dict[str, Any]
    erle_db: float = 25
    stoi: float = 0.9
    settled: float = 5


CASES = (
    Case("delay 40 ms", {"delay_ms": 40}),
    Case("delay 90 ms", {"delay_ms": 90}),
    Case("delay 150 ms", {"delay_ms": 150}),
    Case("room change at 6 s", {"change_at": 6}, settled=11),
    Case("drift +100 ppm", {"drift_ppm": 100}),
    Case("drift -100 ppm", {"drift_ppm": -100}),
    Case("loudspeaker tanh(2)", {"drive": 2}, erle_db=15, stoi=0.85),
    Case("loudspeaker tanh(4)", {"drive": 4}, erle_db=15, stoi=0.85),
    Case("echo +3, near -9 dB", {"echo_db": 3, "near_db": -9}, stoi=0.85),
)
QUICK = ("delay 90 ms", "drift +100 ppm", "loudspeaker tanh(4)")


def run(quick: bool) -> list[Row]:
    """ERLE, near end and cost; `ours` is the built-in canceller, `anchor` libwebrtc's where it is installed."""
    far, voice = _speech()
    rows: list[Row] = []
    for case in CASES:
        if not quick or case.name in QUICK:
            talk = (16.0, 26.0)
            heard = scene(seconds=28, talk=talk, far=far, voice=voice, **case.conditions)
            rows += _figures(case, heard)
    return rows + _others(scene(seconds=20, talk=(10, 20), far=far, voice=voice)) + _costs(far, voice)


def _figures(case: Case, heard: Scene) -> list[Row]:
    ours, anchor = cancel(KalmanEchoCanceller(), heard), _webrtc(heard)
    settled, talk = case.settled, heard.talk[0]

    def row(what: str, unit: str, least: float, measure: Callable[[Outcome], float]) -> Row:
        reached = measure(ours)
        other = "not installed" if anchor is None else measure(anchor)
        return Row(f"{case.name}: {what}", reached, other, None, f"≥ {least:g}", unit, reached >= least)

    return [
        row("mic down, 0.2-5 s", "dB", 20, lambda outcome: outcome.erle_db(0.2, 5)),
        row(
            f"ERLE, {settled:g}-{talk:g} s",
            "dB",
            case.erle_db,
            lambda outcome: outcome.erle_db(settled, talk),
        ),
        row("near end in double talk", "dB", -3, lambda outcome: outcome.near_gain_db),
        row("STOI in double talk", "", case.stoi, _stoi),
    ]


def _others(heard: Scene) -> list[Row]:
    """The choices that compute nothing, in one scene."""
    rows = []
    for name, canceller in (("gate", HalfDuplexGate(RATE_HZ)), ("off", NullEchoCanceller(RATE_HZ))):
        outcome = cancel(canceller, heard)
        for what, value, unit in (
            ("ERLE, 5-10 s", outcome.erle_db(5, 10), "dB"),
            ("near end in double talk", outcome.near_gain_db, "dB"),
            ("STOI in double talk", _stoi(outcome), ""),
        ):
            rows.append(Row(f"{name}, delay 90 ms: {what}", value, "", None, "", unit, None))
    return rows


def _costs(far: Speech, voice: Speech) -> list[Row]:
    """CPU time of 10 ms while both talk and the clocks drift."""
    rows: list[Row] = []
    for rate_hz, goal in ((16000, 300.0), (24000, None)):
        up = rate_hz // 8000
        heard = scene(
            seconds=8,
            talk=(4, 8),
            drift_ppm=50,
            far=None if far is None else resample_poly(far, up, 2),
            voice=None if voice is None else resample_poly(voice, up, 2),
            rate_hz=rate_hz,
        )
        ours = _cost(KalmanEchoCanceller(rate_hz), heard)
        try:
            anchor: float | str = _cost(WebRtcEchoCanceller(rate_hz), heard)
        except EchoUnavailable:
            anchor = "not installed"
        ratio = None if isinstance(anchor, str) else ours / anchor
        wanted, met = ("", None) if goal is None else (f"≤ {goal:g}", ours <= goal)
        rows.append(Row(f"CPU for 10 ms at {rate_hz // 1000} kHz", ours, anchor, ratio, wanted, "µs", met))
    return rows


def _cost(canceller: EchoCanceller, heard: Scene) -> float:
    """Microseconds of this thread, the best of many quarter seconds: the machine does other things as well."""
    frame = heard.rate_hz // 100
    blocks = list(zip(heard.far.reshape(-1, frame), heard.microphone.reshape(-1, frame), strict=True))
    spent = []
    for begin in range(0, len(blocks), 25):
        part = blocks[begin : begin + 25]
        start = time.thread_time()
        for far, near in part:
            canceller.process(far, near)
        spent.append((time.thread_time() - start) / len(part) * 1e6)
    return min(spent[4:])  # the first second is warming up


def _webrtc(heard: Scene) -> Outcome | None:
    try:
        return cancel(WebRtcEchoCanceller(heard.rate_hz), heard)
    except EchoUnavailable:
        return None


def _stoi(outcome: Outcome) -> float:
    near, out = outcome.double_talk
    return float(stoi(near, out, outcome.scene.rate_hz))


def _speech() -> tuple[Speech, Speech]:
    """Far and near talker at `RATE_HZ`; None where espeak-ng is missing, and the scene makes its own."""
    program = shutil.which("espeak-ng")
    return (None, None) if program is None else (_say(program, "en-us", FAR), _say(program, "en-gb+f3", NEAR))


def _say(program: str, voice: str, text: str) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/speech.wav"
        subprocess.run([program, "-v", voice, "-s", "165", "-w", path, text], check=True)
        with wave.open(path) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
            rate_hz = file.getframerate()
    divisor = np.gcd(rate_hz, RATE_HZ)
    return np.asarray(resample_poly(pcm, RATE_HZ // divisor, rate_hz // divisor))
