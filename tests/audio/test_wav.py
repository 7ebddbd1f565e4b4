"""WAV files that are readable at any moment."""

import asyncio
import os
import struct
import subprocess
import sys
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import AudioFileError
from rtc_audio.wav import BackgroundWav, WavWriter, wav_header

FULL_DISK = Path("/dev/full")


def ramp(frames: int) -> NDArray[np.int16]:
    return (np.arange(frames) % 30000).astype(np.int16)[:, None]


def frames_of(path: Path) -> int:
    with wave.open(str(path)) as file:
        return int(file.getnframes())


def samples_of(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())


def test_what_was_written_can_be_read(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 24000, 2)
    writer.begin()
    stereo = np.concatenate([ramp(1000), -ramp(1000)], axis=1)
    writer.write(stereo[:300])
    writer.write(stereo[300:])
    writer.close()
    writer.close()
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 24000, 1000)
    np.testing.assert_array_equal(samples_of(tmp_path / "a.wav"), stereo)


def test_the_header_is_never_more_than_a_second_behind(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 8000)
    writer.begin()
    for count in range(1, 50):
        writer.write(ramp(1000))
        assert frames_of(tmp_path / "a.wav") > count * 1000 - 8000
    writer.close()


def test_a_killed_process_leaves_a_readable_file(tmp_path: Path) -> None:
    """os._exit: no close, no flush, no finaliser."""
    program = """
import asyncio, os, sys
import numpy as np
from rtc_audio import FileSink
async def main():
    sink = FileSink(sys.argv[1], delay="none")
    await sink.start(lambda n: np.zeros((n, 1), np.float32))
    for _ in range(300):
        sink.write(np.full((480, 1), 0.5, np.float32))
    while sink.seconds_written < 5.5:
        await asyncio.sleep(0.01)
    os._exit(9)
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    path = tmp_path / "crash.wav"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, timeout=15, check=False
    )
    assert done.returncode == 9
    assert frames_of(path) >= 4.5 * 24000
    assert set(samples_of(path)[:, 0].tolist()) == {16384}


def test_an_existing_file_keeps_its_content_until_begin(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"precious")
    unused = WavWriter(path, 8000)
    unused.close()
    assert path.read_bytes() == b"precious"
    writer = WavWriter(path, 8000)
    writer.begin()
    writer.close()
    assert path.read_bytes() == wav_header(8000, 1, 0)


def test_a_file_that_was_never_begun_is_removed(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 8000)
    assert frames_of(tmp_path / "a.wav") == 0
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_after_close_it_goes_on_behind_what_it_wrote(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 8000)
    for part in np.split(ramp(900), 3):
        writer.begin()
        writer.write(part)
        writer.close()
    np.testing.assert_array_equal(samples_of(tmp_path / "a.wav"), ramp(900))


def test_sizes_beyond_4_gib_saturate() -> None:
    header = wav_header(48000, 2, 5 << 30)
    riff, data = struct.unpack("<I", header[4:8])[0], struct.unpack("<I", header[40:44])[0]
    assert data == riff - 36
    assert data > (4 << 30) - 100


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/a.wav", "its folder does not exist"),
        (".", "is a directory"),
        ("file.txt/a.wav", "not a directory"),
    ],
)
def test_an_unwritable_path_is_known_at_construction(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(AudioFileError) as caught:
        WavWriter(tmp_path / name, 8000)
    assert str(caught.value) == f"cannot write {tmp_path / name}: {reason}"


def test_a_refusal_of_the_system_is_told_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AudioFileError, match=r"^cannot write .*a\.wav: permission denied$"):
        WavWriter(tmp_path / "a.wav", 8000)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioFileError, match=r"pipe: not a file with a beginning and an end$"):
        WavWriter(tmp_path / "pipe", 8000)


@pytest.mark.skipif(not FULL_DISK.exists(), reason="needs /dev/full")
async def test_a_full_disk_is_an_error_at_start() -> None:
    wav = BackgroundWav(WavWriter(FULL_DISK, 8000))
    with pytest.raises(AudioFileError, match=r"^cannot write /dev/full: no space left on device$"):
        await wav.start()
    await wav.aclose()


class Disk(WavWriter):
    """A disk that fails or waits on demand."""

    fail = False
    wait: threading.Event | None = None

    def write(self, samples: NDArray[np.int16]) -> None:
        if self.wait is not None:
            self.wait.wait(10)
        if self.fail:
            raise AudioFileError(self.path, "no space left on device", action="write")
        super().write(samples)


async def settle(wav: BackgroundWav) -> None:
    if wav._job is not None:
        await asyncio.wrap_future(wav._job)


async def test_an_error_in_the_middle_is_reported_once_and_keeps_what_is_there(tmp_path: Path) -> None:
    errors: list[AudioFileError] = []
    disk = Disk(tmp_path / "a.wav", 8000)
    wav = BackgroundWav(disk, errors.append)
    await wav.start()
    wav.write(np.full((4000, 1), 0.5, np.float32))
    await settle(wav)
    disk.fail = True
    for _ in range(3):
        wav.write(np.full((4000, 1), 0.5, np.float32))
        await settle(wav)
    await wav.aclose()
    assert [str(error) for error in errors] == [f"cannot write {tmp_path / 'a.wav'}: no space left on device"]
    assert wav.failure is errors[0]
    assert wav.dropped_frames == 8000
    assert frames_of(tmp_path / "a.wav") == 4000


async def test_a_slow_disk_drops_and_counts_and_never_stops_the_loop(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "a.wav", 8000)
    disk.wait = threading.Event()
    wav = BackgroundWav(disk, capacity_seconds=1.0)
    await wav.start()
    for _ in range(40):
        wav.write(np.zeros((800, 1), np.float32))
    assert wav.dropped_frames >= 20 * 800
    disk.wait.set()
    await wav.aclose()
    assert frames_of(tmp_path / "a.wav") + wav.dropped_frames == 40 * 800


async def test_a_cancelled_close_still_finishes_the_file(tmp_path: Path) -> None:
    wav = BackgroundWav(WavWriter(tmp_path / "a.wav", 8000))
    await wav.start()
    wav.write(np.full((500, 1), 0.5, np.float32))
    closing = asyncio.create_task(wav.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await wav.aclose()
    assert frames_of(tmp_path / "a.wav") == 500
