"""The outgoing track: what the peer asks for is obeyed, and nothing that a source does ends it."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from rtc_audio.opus import OpusDecoder, packet_seconds
from rtc_transport.sdp import OpusFormat
from rtc_transport.tracks import OpusSettings, OutgoingTrack
from support.peers import silence, tone


@pytest.mark.parametrize(
    ("own", "peer", "expected"),
    [
        (OpusSettings(), OpusFormat(), OpusSettings()),
        (OpusSettings(), OpusFormat(useinbandfec=False), OpusSettings(fec=False)),
        (OpusSettings(fec=False), OpusFormat(), OpusSettings(fec=False)),
        (OpusSettings(), OpusFormat(maxaveragebitrate=20_000), OpusSettings(bitrate_bps=20_000)),
        (OpusSettings(), OpusFormat(maxaveragebitrate=510_000), OpusSettings()),
        (OpusSettings(), OpusFormat(maxaveragebitrate=1), OpusSettings(bitrate_bps=6000)),
        (OpusSettings(frame_ms=60), OpusFormat(maxptime=60), OpusSettings(frame_ms=60)),
        (OpusSettings(frame_ms=60), OpusFormat(maxptime=50), OpusSettings(frame_ms=40)),
        (OpusSettings(), OpusFormat(maxptime=10), OpusSettings(frame_ms=10)),
        (OpusSettings(), OpusFormat(maxptime=3), OpusSettings(frame_ms=10)),
        (OpusSettings(dtx=True), OpusFormat(usedtx=True), OpusSettings(dtx=True)),
        (OpusSettings(dtx=True), OpusFormat(usedtx=False), OpusSettings()),
    ],
)
def test_the_peer_bounds_the_settings(own: OpusSettings, peer: OpusFormat, expected: OpusSettings) -> None:
    assert own.bounded_by(peer) == expected


@pytest.mark.parametrize("frame_ms", [0, 5, 30, 120])
def test_a_frame_is_as_long_as_webrtc_has_it(frame_ms: int) -> None:
    with pytest.raises(ValueError, match=f"frame_ms must be 10, 20, 40 or 60, not {frame_ms}"):
        OpusSettings(frame_ms=frame_ms)


def test_the_expected_loss_follows_the_peer_and_is_never_less_than_set() -> None:
    track = OutgoingTrack(silence, OpusSettings(expected_loss_percent=10))
    seen = []
    for percent in (0, 25, 300, 5):
        track.expect_loss(percent)
        seen.append(track._encoder.expected_loss_percent)
    assert seen == [10, 25, 100, 10]


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
async def test_packets_of_every_length_follow_each_other(frame_ms: int) -> None:
    track = OutgoingTrack(tone(), OpusSettings(frame_ms=frame_ms))
    packets = [await track.recv() for _ in range(6)]
    assert [packet.pts for packet in packets] == [48 * frame_ms * at for at in range(6)]
    assert all(packet_seconds(bytes(packet)) == frame_ms / 1000 for packet in packets)
    decoder = OpusDecoder()
    pcm = np.concatenate([decoder.decode(bytes(packet)) for packet in packets])
    assert 0.15 < float(np.sqrt(np.mean(pcm[-480:] ** 2))) < 0.25  # the tone: 0.3 / sqrt(2)


async def test_with_dtx_silence_is_not_sent_and_its_time_passes() -> None:
    speaking = True

    def read(count: int) -> NDArray[np.float32] | None:
        return voiced(count) if speaking else silence(count)

    voiced = tone()
    track = OutgoingTrack(read, OpusSettings(dtx=True))
    clock = asyncio.get_running_loop().time
    packets = [await track.recv() for _ in range(5)]
    speaking, began = False, clock()
    while clock() - began < 0.8:
        packets.append(await track.recv())
    assert len(packets) < 35, "40 without"
    assert all(len(bytes(packet)) > 2 for packet in packets)
    steps = np.diff([packet.pts for packet in packets])
    assert steps.max() > 5 * 960
    assert not (steps % 960).any()
    assert track.packets_sent == len(packets)


async def test_encoding_does_not_wait_for_the_default_executor() -> None:
    loop, busy = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    job = loop.run_in_executor(None, busy.wait)
    try:
        track = OutgoingTrack(tone())
        async with asyncio.timeout(5):
            packets = [await track.recv() for _ in range(5)]
        assert [packet.pts for packet in packets] == [960 * at for at in range(5)]
        assert not job.done()
    finally:
        busy.set()
        await job


async def test_a_read_that_stands_still_for_a_second_costs_that_second_only() -> None:
    reads, skipped = 0, list[int]()

    def read(count: int) -> NDArray[np.float32]:
        nonlocal reads
        reads += 1
        if reads == 3:
            time.sleep(1.0)
        return silence(count)

    track = OutgoingTrack(read, on_skip=skipped.append)
    clock, began = asyncio.get_running_loop().time, 0.0
    sent = list[tuple[float, int]]()
    for _ in range(12):
        packet = await track.recv()
        assert packet.pts is not None
        began = began or clock()
        sent.append((clock() - began, packet.pts))
    assert sum(skipped) >= 0.8 * 48000
    assert track.skipped_frames * 960 == sum(skipped)
    behind = [at - pts / 48000 for at, pts in sent[-3:]]
    assert max(behind) < 0.15 + 0.04, "RTP time is wall time again, but for what is being caught up"
    assert len({pts for _, pts in sent}) == len(sent)


async def test_whatever_read_does_silence_goes_out_with_one_report() -> None:
    reports, broken = list[Exception](), True

    def read(count: int) -> NDArray[np.float32]:
        if broken:
            raise RuntimeError("no sound today")
        return np.zeros(count, np.float32)

    track = OutgoingTrack(read, on_error=reports.append)
    packets = [await track.recv() for _ in range(3)]
    broken = False
    packets.append(await track.recv())
    broken = True
    packets.append(await track.recv())
    assert [str(report) for report in reports] == ["no sound today"] * 2
    assert [packet.pts for packet in packets] == [0, 960, 1920, 2880, 3840]
    assert float(np.abs(OpusDecoder().decode(bytes(packets[0]))).max()) < 1e-3
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()
