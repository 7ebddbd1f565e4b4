"""Echo cancellers side by side: the built-in one, libwebrtc's, the half-duplex gate and none at all.

Scenes of 54 s at 16 kHz in synthetic rooms: the far end talks all the time, the near end over it from 27 to 42 s. The
talkers are two voices of the text-to-speech program espeak-ng; where it is missing, the speech that ships with the
library talks against itself at another pitch. Not in it: real loudspeakers, real rooms.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Mapping
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
from rtc_audio.echo_adapter import AdaptedEchoCanceller
from rtc_audio.echo_kalman import KalmanEchoCanceller
from rtc_audio.echo_webrtc import WebRtcEchoCanceller
from support.echo_scenes import RATE_HZ, Outcome, Scene, cancel, in_blocks, scene, shipped_speech

FAR_VOICE, NEAR_VOICE = "en-us", "en-gb+f3"
FAR = (
    "The weather in the mountains changes quickly, so it is wise to carry a warm coat even in summer. Most walkers "
    "leave early in the morning, before the clouds gather over the ridge. If you follow the river for two hours, you "
    "will reach a small wooden bridge. Cross it, and keep to the left side of the valley. There is a hut where you can "
    "rest, drink some tea, and ask about the path ahead. The keeper has lived there for thirty years, and knows every "
    "stone. From the hut it is another three hours to the pass, where the view reaches as far as the sea. On the other "
    "side the way goes down through meadows and old forests. Take care when the ground is wet, for the roots are "
    "slippery. In the village below you will find two inns, a bakery, and a bus that runs every hour until eight in "
    "the evening. Whoever has time should stay a night and look at the stars, which are brighter here than anywhere "
    "else. The owner of the first inn plays the violin, and on Fridays people come from far away to dance."
)
NEAR = (
    "Wait, I have a question about that. Which of these routes would you choose with two small children? They can walk "
    "for maybe four hours, but not much longer, and they do not like steep paths at all. Is there a shorter way around "
    "the lake? And please tell me what we should take with us, because last time we forgot the water."
)
SECONDS, TALK = 54.0, (27.0, 42.0)

Speech = NDArray[np.float64]


@dataclass(frozen=True)
class Talkers:
    """Far and near end at `RATE_HZ`, and where they are from."""

    origin: str
    far: Speech
    near: Speech

    def scene(self, seconds: float = SECONDS, talk: tuple[float, float] = TALK, **conditions: Any) -> Scene:
        return scene(seconds=seconds, talk=talk, far=self.far, voice=self.near, **conditions)


@dataclass(frozen=True)
class Case:
    """A scene, and what has to be reached in it; `settled` is when the echo has to be gone, in seconds."""

    name: str
    conditions: Mapping[str, Any]
    erle_db: float = 25
    stoi: float = 0.9
    settled: float = 5


CASES = (
    Case("delay 40 ms", {"delay_ms": 40}),
    Case("delay 90 ms", {"delay_ms": 90}),
    Case("delay 150 ms", {"delay_ms": 150}),
    Case("room change at 10 s", {"change_at": 10}, settled=15),
    Case("drift +100 ppm", {"drift_ppm": 100}),
    Case("drift -100 ppm", {"drift_ppm": -100}),
    Case("loudspeaker tanh(2)", {"drive": 2}, erle_db=15, stoi=0.85),
    Case("loudspeaker tanh(4)", {"drive": 4}, erle_db=15, stoi=0.85),
    Case("echo +3, near -9 dB", {"echo_db": 3, "near_db": -9}, stoi=0.85),
)
QUICK = ("delay 90 ms", "drift +100 ppm", "loudspeaker tanh(4)")
OTHERS: Mapping[str, Callable[[], EchoCanceller]] = {
    "libwebrtc": lambda: WebRtcEchoCanceller(RATE_HZ),
    "gate": lambda: HalfDuplexGate(RATE_HZ),
    "off": lambda: NullEchoCanceller(RATE_HZ),
}


def run(quick: bool) -> list[Row]:
    """ERLE, near end and cost; the anchors are `OTHERS`, in this order."""
    talkers = _talkers()
    rows = [
        Row("canceller", "Kalman", " | ".join(OTHERS), None, "", "", None),
        Row("speech", talkers.origin, "", None, "", "", None),
    ]
    for case in CASES:
        if not quick or case.name in QUICK:
            rows += _figures(case, talkers.scene(**case.conditions))
    return rows + _costs(talkers)


def _figures(case: Case, heard: Scene) -> list[Row]:
    ours = cancel(KalmanEchoCanceller(), heard)
    others = [_outcome(make, heard) for make in OTHERS.values()]
    settled, talk = case.settled, heard.talk[0]

    def row(what: str, unit: str, least: float, measure: Callable[[Outcome], float]) -> Row:
        reached = measure(ours)
        beside = " | ".join("–" if other is None else f"{measure(other):.2f}" for other in others)
        return Row(f"{case.name}: {what}", reached, beside, None, f"≥ {least:g}", unit, reached >= least)

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


def _outcome(make: Callable[[], EchoCanceller], heard: Scene) -> Outcome | None:
    try:
        return cancel(make(), heard)
    except EchoUnavailable:
        return None


def _stoi(outcome: Outcome) -> float:
    near, out = outcome.double_talk
    return float(stoi(near, out, outcome.scene.rate_hz))


def _costs(talkers: Talkers) -> list[Row]:
    """CPU time of 10 ms while both talk and the clocks drift."""
    rows: list[Row] = []
    for rate_hz, inner_hz, goal in ((16000, 16000, 300.0), (24000, 24000, None), (48000, 16000, None)):
        up = rate_hz // 8000
        louder = Talkers("", resample_poly(talkers.far, up, 2), resample_poly(talkers.near, up, 2))
        heard = louder.scene(12, (4, 12), drift_ppm=50, rate_hz=rate_hz)
        ours: EchoCanceller = KalmanEchoCanceller(inner_hz)
        if inner_hz != rate_hz:
            ours = AdaptedEchoCanceller(ours, rate_hz)
        try:
            cost, anchor = _medians([ours, WebRtcEchoCanceller(rate_hz)], heard)
            beside: tuple[float | str, float | None] = (anchor, cost / anchor)
        except EchoUnavailable:
            (cost,), beside = _medians([ours], heard), ("–", None)
        wanted, met = ("", None) if goal is None else (f"≤ {goal:g}", cost <= goal)
        name = f"CPU for 10 ms at {rate_hz // 1000} kHz" + f", {inner_hz // 1000} inside" * (
            inner_hz != rate_hz
        )
        rows.append(Row(name, cost, *beside, wanted, "µs", met))
    return rows


def _medians(cancellers: list[EchoCanceller], heard: Scene) -> list[float]:
    """Microseconds of this thread for 10 ms: the median of quarter seconds, by turns, behind two seconds to warm up."""
    spent: list[list[float]] = [[] for _ in cancellers]
    part = round(0.24 * heard.rate_hz)
    for begin in range(0, len(heard.far) - part + 1, part):
        sound = heard.far[begin : begin + part], heard.microphone[begin : begin + part]
        for canceller, times in zip(cancellers, spent, strict=True):
            start = time.thread_time()
            for pair in in_blocks(canceller.block_frames, *sound):
                canceller.process(*pair)
            times.append((time.thread_time() - start) / 24 * 1e6)
    return [float(np.median(times[8:])) for times in spent]


def _talkers() -> Talkers:
    program = shutil.which("espeak-ng")
    if program is not None:
        far, near = _say(program, FAR_VOICE, FAR), _say(program, NEAR_VOICE, NEAR)
        return Talkers(f"espeak-ng, {FAR_VOICE} and {NEAR_VOICE}", far, near)
    speech = shipped_speech()
    return Talkers("the library's own: espeak-ng is missing", speech, resample_poly(speech, 5, 6))


def _say(program: str, voice: str, text: str) -> Speech:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/speech.wav"
        subprocess.run([program, "-v", voice, "-s", "160", "-w", path, text], check=True)
        with wave.open(path) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
            rate_hz = file.getframerate()
    divisor = np.gcd(rate_hz, RATE_HZ)
    return np.asarray(resample_poly(pcm, RATE_HZ // divisor, rate_hz // divisor))
