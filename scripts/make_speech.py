"""Makes the speech that ships with the library, offline: ``python scripts/make_speech.py [OUT.wav]``.

Needs espeak-ng (``apt-get install espeak-ng``, ``brew install espeak-ng``); the shipped file is from version 1.51.
24 kHz, mono, 16 bit, peak at −3 dBFS, 100 ms of silence at both ends, and no pause that a server's voice
activity detection (500 ms of silence by default) would take for the end of the turn.
"""

import io
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TEXT = "Hello from Python, can you hear me loud and clear over WebRTC?"
VOICE, WORDS_PER_MINUTE = "en-us", 160
RATE_HZ = 24_000
PEAK = 10 ** (-3 / 20)
EDGE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 0.35
QUIET = 10 ** (-45 / 20)  # what counts as a pause: RMS over 10 ms, full scale = 1

SPEECH = Path(__file__).resolve().parent.parent / "rtc_transport" / "data" / "speech.wav"

Mono = NDArray[np.float64]


def speak(text: str) -> tuple[Mono, int]:
    """What espeak-ng says, full scale = 1, and its rate in Hz."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise SystemExit("make_speech: espeak-ng is not installed (apt-get install espeak-ng)")
    command = [program, "-v", VOICE, "-s", str(WORDS_PER_MINUTE), "--stdout", text]
    heard = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with wave.open(io.BytesIO(heard)) as file:
        # espeak-ng cannot seek in a pipe: the header's length is a placeholder, all that follows it is sound
        rate_hz, samples = file.getframerate(), heard[44:]
    return np.frombuffer(samples[: len(samples) // 2 * 2], dtype="<i2") / 32768, rate_hz


def resample(pcm: Mono, rate_in: int, rate_out: int) -> Mono:
    """Exact for a clip as a whole: its spectrum is cut or padded, after padding it to a common period."""
    period = rate_in // np.gcd(rate_in, rate_out)
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % period)])
    frames = len(padded) * rate_out // rate_in
    return np.fft.irfft(np.fft.rfft(padded), frames) * (frames / len(padded))


def loudness(pcm: Mono, rate_hz: int) -> Mono:
    """RMS of every 10 ms."""
    block = rate_hz // 100
    blocks = pcm[: len(pcm) // block * block].reshape(-1, block)
    return np.asarray(np.sqrt((blocks**2).mean(axis=1)))


def trim(pcm: Mono, rate_hz: int) -> Mono:
    """Leaves `EDGE_SECONDS` of digital silence at both ends."""
    voiced = np.flatnonzero(loudness(pcm, rate_hz) > QUIET)
    block = rate_hz // 100
    edge = np.zeros(round(EDGE_SECONDS * rate_hz))
    return np.concatenate([edge, pcm[voiced[0] * block : (voiced[-1] + 1) * block], edge])


def longest_pause_seconds(pcm: Mono, rate_hz: int) -> float:
    """The longest quiet stretch between two voiced ones."""
    voiced = np.flatnonzero(loudness(pcm, rate_hz) > QUIET)
    return float(np.diff(voiced).max() - 1) / 100


def main() -> None:
    """Writes the file and says what is in it."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SPEECH
    spoken, rate_hz = speak(TEXT)
    pcm = trim(resample(spoken, rate_hz, RATE_HZ), RATE_HZ)
    pcm *= PEAK / np.abs(pcm).max()
    pause = longest_pause_seconds(pcm, RATE_HZ)
    if pause > LONGEST_PAUSE_SECONDS:
        raise SystemExit(f"make_speech: a pause of {pause:.2f} s would end the turn: change the text")
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.rint(pcm * 32767).astype("<i2").tobytes())
    print(f"{target.name}: {len(pcm) / RATE_HZ:.2f} s, longest pause {pause:.2f} s")


if __name__ == "__main__":
    main()
