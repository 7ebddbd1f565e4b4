"""Files into a call and a call into a file."""

import asyncio
import os
import struct
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import AudioFileError, AudioSource, FileSink, FileSource, UnbufferedSink
from rtc_audio.decoding import AudioFile
from rtc_audio.levels import rms_dbfs
from rtc_audio.ports import PacketSource
from support.opus_files import all_packets, patch_head, write_opus


def tone(seconds: float, rate_hz: int, channels: int = 1, hz: float = 400) -> NDArray[np.float32]:
    mono = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.repeat(mono.astype(np.float32)[:, None], channels, axis=1)


def write_wav(path: Path, pcm: NDArray[np.float32], rate_hz: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((pcm * 32767).astype("<i2").tobytes())
    return path


def write_av(path: Path, codec: str, sample_format: str, pcm: NDArray[np.float32], rate_hz: int) -> Path:
    """Encode with FFmpeg; with a video stream in front if the container is one for video."""
    layout = "mono" if pcm.shape[1] == 1 else "stereo"
    with av.open(str(path), "w") as container:
        video: Any = None
        if path.suffix == ".mkv":
            video = container.add_stream("mpeg4", rate=25)
            video.width = video.height = 64
        stream: Any = container.add_stream(codec, rate=rate_hz, layout=layout)
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate_hz, frame_size=960)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm.T), format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        if video is not None:
            container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(video.encode(None))
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = None
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


async def read_all(source: FileSource, block: int = 960) -> NDArray[np.float32]:
    """Read as a call does, in blocks, but as fast as decoding goes."""
    parts = []
    await source.start()
    while not source.ended:
        part = source.read(block)
        parts.append(part)
        if len(part) < block:
            await asyncio.sleep(0.001)
    return np.concatenate(parts)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8000, 22050, 48000])
async def test_a_wav_file_comes_out_exactly(tmp_path: Path, rate_hz: int, channels: int) -> None:
    pcm = tone(3.3, rate_hz, channels)
    source = FileSource(write_wav(tmp_path / "a.wav", pcm, rate_hz))
    assert (source.rate_hz, source.channels) == (rate_hz, channels)
    assert source.duration_seconds == pytest.approx(3.3)
    y = await read_all(source)
    np.testing.assert_allclose(y, pcm, atol=1e-4)
    assert source.position_seconds == pytest.approx(3.3)
    assert source.failure is None
    await source.aclose()


@pytest.mark.parametrize(
    ("name", "codec", "sample_format"),
    [
        ("a.flac", "flac", "s32"),
        ("a.mp3", "libmp3lame", "fltp"),
        ("a.ogg", "libopus", "flt"),
        ("a.m4a", "aac", "fltp"),
        ("u8.wav", "pcm_u8", "u8"),
        ("s24.wav", "pcm_s24le", "s32"),
        ("f64.wav", "pcm_f64le", "dbl"),
        ("video.mkv", "libopus", "flt"),
    ],
)
async def test_what_ffmpeg_decodes_can_be_spoken(
    tmp_path: Path, name: str, codec: str, sample_format: str
) -> None:
    pcm = tone(1.5, 48000, 2)
    source = FileSource(write_av(tmp_path / name, codec, sample_format, pcm, 48000))
    y = await read_all(source)
    assert y.shape[1] == 2
    assert len(y) / 48000 == pytest.approx(1.5, abs=0.06)
    assert rms_dbfs(y[4800:-9600]) == pytest.approx(rms_dbfs(pcm), abs=0.6)
    await source.aclose()


async def test_another_rate_on_request(tmp_path: Path) -> None:
    source = FileSource(write_wav(tmp_path / "a.wav", tone(1.0, 44100), 44100), rate_hz=24000)
    y = await read_all(source)
    assert len(y) == 24000
    np.testing.assert_allclose(y[1000:23000], tone(1.0, 24000)[1000:23000], atol=1e-3)
    await source.aclose()


async def test_a_loop_has_no_gap(tmp_path: Path) -> None:
    """A whole number of cycles, again and again, resampled: one unbroken tone."""
    source = FileSource(write_wav(tmp_path / "a.wav", tone(0.05, 44100), 44100), loop=True, rate_hz=48000)
    await source.start()
    y: NDArray[np.float32] = np.empty((0, 1), np.float32)
    while len(y) < 5 * 48000:
        y = np.concatenate([y, source.read(960)])
        await asyncio.sleep(0)
    np.testing.assert_allclose(y[500 : 4 * 48000], tone(5, 48000)[500 : 4 * 48000], atol=1e-3)
    assert not source.ended
    assert source.position_seconds > 4.9
    await source.aclose()
    assert source.ended


@pytest.mark.parametrize(
    ("name", "options", "rate_hz", "has_packets"),
    [
        ("a.ogg", {}, None, True),
        ("a.ogg", {"channels": 2}, 48000, True),
        ("a.ogg", {}, 24000, False),
        ("a.ogg", {"frame_duration": 60}, None, False),
        ("a.mkv", {}, None, False),
    ],
)
async def test_which_files_are_sources_of_packets(
    tmp_path: Path, name: str, options: dict[str, Any], rate_hz: int | None, has_packets: bool
) -> None:
    path = write_opus(tmp_path / name, tone(1.0, 48000)[:, 0], **options)
    source = FileSource(path, rate_hz=rate_hz)
    assert isinstance(source, PacketSource)
    await source.start()
    assert (source.packet_format is not None) == has_packets
    assert (source.read_packet() is not None) == has_packets
    assert source.rewind(2) == int(has_packets)
    await source.aclose()
    assert (source.read_packet(), source.rewind(2)) == (None, 0)


async def test_a_file_whose_header_asks_for_a_gain_has_to_be_decoded(tmp_path: Path) -> None:
    """RFC 7845 §5.1: the output gain is the player's to apply."""
    path = patch_head(write_opus(tmp_path / "a.ogg", tone(1.0, 48000)[:, 0]), gain=-6 * 256)
    source = FileSource(path)
    assert source.packet_format is None
    assert rms_dbfs((await read_all(source))[4800:-4800]) == pytest.approx(-9.03 - 6, abs=0.6)
    await source.aclose()


@pytest.mark.parametrize("as_packets", [False, True])
async def test_chained_files_follow_each_other_without_what_their_headers_skip(
    tmp_path: Path, as_packets: bool
) -> None:
    """RFC 3533 §4, RFC 7845 §4.2: each link has a pre-skip and an end of its own."""
    sound = tone(1.0, 48000)[:, 0]
    links = [write_opus(tmp_path / name, sound).read_bytes() for name in ("a.ogg", "b.ogg")]
    (tmp_path / "chained.ogg").write_bytes(b"".join(links))
    source = FileSource(tmp_path / "chained.ogg")
    await source.start()
    pieces = []
    while not source.ended:
        if not as_packets or source.read_packet() is None:
            pieces.append(source.read(960)[:, 0])
            await asyncio.sleep(0)
    assert (source.failure, source.position_seconds) == (None, 2.0)
    if not as_packets:
        heard = np.concatenate(pieces)
        for begins in (0, 48000):
            part = slice(begins + 4800, begins + 43200)
            assert np.dot(heard[part], np.tile(sound, 2)[part]) > 0.98 * np.dot(heard[part], heard[part])
    await source.aclose()


@pytest.mark.parametrize("share", [0.5, 0.9])
async def test_a_truncated_opus_file_plays_its_whole_pages(tmp_path: Path, share: float) -> None:
    data = write_opus(tmp_path / "a.ogg", tone(5.0, 48000)[:, 0]).read_bytes()
    (tmp_path / "cut.ogg").write_bytes(data[: round(share * len(data))])
    source = FileSource(tmp_path / "cut.ogg")
    await source.start()
    frames = 0
    while not source.ended:
        frames += 960 if source.read_packet() is not None else len(source.read(960))
    assert (5 * share - 1.1) * 48000 < frames < 5 * share * 48000
    assert source.failure is None
    await source.aclose()


async def test_packets_are_read_ahead_and_a_source_begins_again_with_the_first(tmp_path: Path) -> None:
    path = write_opus(tmp_path / "a.ogg", tone(20.0, 48000)[:, 0])
    source, packets = FileSource(path), all_packets(path)
    for _ in range(2):
        await source.start()
        for place in range(150):
            assert source.read_packet() == packets[place]
            await asyncio.sleep(0.001)
        assert 48000 <= source._fifo.frames <= 2.5 * 48000
        assert source.position_seconds == 3.0
        assert (source.underruns, source.ended) == (0, False)
        await source.aclose()
        assert source.ended


async def test_decoding_runs_ahead_and_no_further(tmp_path: Path) -> None:
    source = FileSource(write_wav(tmp_path / "a.wav", tone(20, 8000), 8000))
    await source.start()
    assert source._fifo.frames >= 8000
    for _ in range(50):
        source.read(160)
        await asyncio.sleep(0.001)
    assert 8000 <= source._fifo.frames <= 2.5 * 8000
    assert source.underruns == 0
    await source.aclose()


async def test_late_decoding_is_an_underrun_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    whole = AudioFile.blocks

    def slow(self: AudioFile) -> Iterator[Any]:
        frames = 0
        for block in whole(self):
            if frames > 10_000:
                gate.wait(10)
            frames += len(block.pcm)
            yield block

    monkeypatch.setattr(AudioFile, "blocks", slow)
    pcm = tone(4.0, 8000)
    source = FileSource(write_wav(tmp_path / "a.wav", pcm, 8000))
    await source.start()
    parts = [source.read(16000), source.read(16000)]
    assert len(parts[1]) == 0
    assert (source.underruns, source.ended) == (2, False)
    gate.set()
    while not source.ended:
        parts.append(source.read(16000))
        await asyncio.sleep(0.005)
    assert sum(map(len, parts)) == len(pcm)
    await source.aclose()


async def test_wait_ended_returns_with_the_last_read(tmp_path: Path) -> None:
    source = FileSource(write_wav(tmp_path / "a.wav", tone(0.2, 8000), 8000))
    await source.start()
    waiting = asyncio.create_task(source.wait_ended())
    cancelled = asyncio.create_task(source.wait_ended())
    await asyncio.sleep(0)
    cancelled.cancel()
    source.read(1599)
    await asyncio.sleep(0)
    assert not waiting.done()
    source.read(1)
    await asyncio.wait_for(waiting, 1)
    await source.wait_ended()
    await source.aclose()


async def test_a_file_that_breaks_midway_plays_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = AudioFile.blocks

    def broken(self: AudioFile) -> Iterator[Any]:
        for count, block in enumerate(whole(self)):
            if count == 5:
                raise AudioFileError(self.path, "its sound cannot be decoded")
            yield block

    monkeypatch.setattr(AudioFile, "blocks", broken)
    path = write_wav(tmp_path / "a.wav", tone(4.0, 8000), 8000)
    source = FileSource(path)
    y = await read_all(source)
    assert 0 < len(y) < 32000
    assert str(source.failure) == f"cannot read {path}: its sound cannot be decoded"
    await source.aclose()


async def test_a_truncated_file_plays_what_is_there(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0, 8000), 8000)
    path.write_bytes(path.read_bytes()[: 44 + 16000])
    assert len(await read_all(FileSource(path))) == 8000


async def test_a_closed_source_is_at_its_end_and_may_begin_again(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.0, 8000), 8000)
    source = FileSource(path)
    await source.start()
    closing = asyncio.create_task(source.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await source.aclose()
    assert source.ended
    assert len(source.read(100)) == 0
    assert len(await read_all(source)) == 16000
    assert source.position_seconds == 2.0
    await source.aclose()
    path.unlink()
    with pytest.raises(AudioFileError, match=r"^cannot read .*a\.wav: no such file$"):
        await source.start()


def threads_and_descriptors() -> tuple[int, int]:
    descriptors = Path("/proc/self/fd")
    return threading.active_count(), len(list(descriptors.iterdir())) if descriptors.exists() else 0


async def test_threads_and_descriptors_do_not_grow(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(3.0, 8000), 8000)

    async def once() -> None:
        source = FileSource(path)
        await source.start()
        source.read(100)
        await source.aclose()

    for _ in range(3):
        await once()
    before = threads_and_descriptors()
    for _ in range(20):
        await once()
    after = threads_and_descriptors()
    assert after[0] <= max(before[0], 4 + 1)
    assert after[1] <= before[1]


def test_it_is_a_source(tmp_path: Path) -> None:
    assert isinstance(FileSource(write_wav(tmp_path / "a.wav", tone(0.1, 8000), 8000)), AudioSource)


async def test_tags_that_are_no_utf8_do_not_matter(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.1, 8000), 8000)
    tag = b"INFOINAM" + struct.pack("<I", 4) + "Café".encode("latin-1")
    riff = path.read_bytes()
    riff = riff[:36] + b"LIST" + struct.pack("<I", len(tag)) + tag + riff[36:]
    path.write_bytes(riff[:4] + struct.pack("<I", len(riff) - 8) + riff[8:])
    assert FileSource(path).duration_seconds == pytest.approx(0.1)


def test_unusable_files_are_refused_at_construction(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello, I am not sound at all " * 20)
    write_wav(tmp_path / "header.wav", np.empty((0, 1), np.float32), 8000)
    os.mkfifo(tmp_path / "pipe")
    with av.open(str(tmp_path / "picture.mkv"), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    for name, reason in {
        "missing.wav": "no such file",
        "text.wav/a.wav": "no such file",
        ".": "is a directory",
        "pipe": "not a regular file",
        "empty.wav": "the file is empty",
        "text.wav": "not a sound file that can be decoded",
        "header.wav": "no sound in it",
        "picture.mkv": "no audio stream in it",
    }.items():
        with pytest.raises(AudioFileError) as caught:
            FileSource(tmp_path / name)
        assert str(caught.value) == f"cannot read {tmp_path / name}: {reason}"
        assert (caught.value.path, caught.value.reason) == (str(tmp_path / name), reason)


def test_the_error_names_the_path_as_the_user_typed_it() -> None:
    with pytest.raises(AudioFileError) as caught:
        FileSource("missing.wav")
    assert str(caught.value) == "cannot read missing.wav: no such file"


def test_a_protocol_prefix_is_part_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would take "concat:a.wav" or "http://..." for a protocol."""
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "concat:a.wav", tone(0.1, 8000), 8000)
    assert FileSource("concat:a.wav").rate_hz == 8000
    with pytest.raises(AudioFileError, match="no such file"):
        FileSource("http://127.0.0.1/a.wav")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    path = write_wav(tmp_path / "a.wav", tone(0.1, 8000), 8000)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(AudioFileError, match=r"^cannot read .*a\.wav: permission denied$"):
        FileSource(path)


# --------------------------------------------------------------------------- the other way


async def test_a_sink_records_what_it_pulls(tmp_path: Path) -> None:
    sink, enough, pulled = FileSink(tmp_path / "out.wav", rate_hz=8000), asyncio.Event(), 0

    def pull(n: int) -> NDArray[np.float32]:
        nonlocal pulled
        pulled += n
        if pulled >= 1600:
            enough.set()
        return np.full((n, 1), 0.25, np.float32)

    await sink.start(pull)
    await enough.wait()
    await sink.aclose()
    await sink.aclose()
    with wave.open(str(tmp_path / "out.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert len(samples) == pulled
    assert set(samples.tolist()) == {8192}
    assert sink.seconds_written == pulled / 8000
    assert sink.failure is None
    assert sink.dropped_frames == 0


async def test_with_delay_none_it_records_what_is_written(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "out.wav", delay="none")
    assert isinstance(sink, UnbufferedSink)

    def pull(n: int) -> NDArray[np.float32]:
        raise AssertionError("not pulled")

    await sink.start(pull)
    for _ in range(25):
        sink.write(np.zeros((480, 1), np.float32))
    await sink.aclose()
    await sink.start(pull)
    sink.write(np.zeros((480, 1), np.float32))
    await sink.aclose()
    assert sink.seconds_written == pytest.approx(26 * 0.02)


async def test_what_is_not_sound_does_not_end_a_recording(tmp_path: Path) -> None:
    """NaN from outside must not become an exception in a worker thread."""
    sink = FileSink(tmp_path / "out.wav", delay="none")
    await sink.start(lambda n: np.zeros((n, 1), np.float32))
    sink.write(np.full((480, 1), np.nan, np.float32))
    sink.write(np.full((480, 1), 2.0, np.float32))
    await sink.aclose()
    assert sink.seconds_written == pytest.approx(0.04)


def test_a_sink_that_cannot_be_written_is_refused_at_construction(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError) as caught:
        FileSink(tmp_path / "no" / "out.wav")
    assert str(caught.value) == f"cannot write {tmp_path / 'no' / 'out.wav'}: its folder does not exist"
