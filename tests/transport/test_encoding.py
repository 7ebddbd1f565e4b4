"""An event loop that is late with its frames has them encoded in a thread: same packets, same order, nothing lost."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.opus import OpusEncoder, OpusError
from rtc_audio.ports import PacketFormat
from rtc_transport import encoding, tracks
from rtc_transport.encoding import EncodingThread, Frame
from rtc_transport.tracks import OpusSettings, OutgoingTrack
from support.transports import eventually

THREAD = "rtc_transport encoding"
SETTINGS = OpusSettings(frame_ms=10)

Sent = list[tuple[bytes, int]]


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame counts as late, as on a loop with too much to do."""
    monkeypatch.setattr(tracks, "LATE_SECONDS", -1.0)


def helping() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


@asynccontextmanager
async def driven(*run: OutgoingTrack) -> AsyncIterator[list[Sent]]:
    """The packets of tracks that are driven."""
    sent: list[Sent] = [[] for _ in run]

    def sending(packets: Sent) -> Callable[[bytes, int], None]:
        return lambda payload, timestamp: packets.append((payload, timestamp))

    drives = [asyncio.ensure_future(t.drive(sending(p))) for t, p in zip(run, sent, strict=True)]
    try:
        yield sent
    finally:
        for track in run:
            track.stop()
        await asyncio.wait_for(asyncio.gather(*drives), 5)
    await eventually(lambda: helping() == 0)
    assert not EncodingThread._threads


class Noise:
    """A source that overwrites what it has handed out, and remembers it."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(5)
        self._block = np.zeros(480, np.float32)
        self.said: list[NDArray[np.float32]] = []

    def read(self, count: int) -> NDArray[np.float32]:
        self._block[:] = self._random.uniform(-0.3, 0.3, count).astype(np.float32)
        self.said.append(self._block.copy())
        return self._block


def packets_of(encoder: OpusEncoder, said: Sequence[NDArray[np.float32]]) -> list[bytes]:
    return [encoder.encode(pcm) for pcm in said]


def consecutive(sent: Sent, track: OutgoingTrack) -> bool:
    """Whether time goes on frame by frame, but for what a standstill of this machine made the track skip."""
    steps = np.diff([timestamp for _, timestamp in sent])
    return bool((steps >= 480).all()) and int((steps // 480 - 1).sum()) <= track.skipped_frames


async def test_the_packets_are_those_of_the_loop_in_their_order() -> None:
    sources = Noise(), Noise()
    run = [OutgoingTrack(source.read, SETTINGS) for source in sources]
    async with driven(*run) as sent:
        await eventually(lambda: min(map(len, sent)) >= 50, timeout=10)
        assert helping() == 1, "one thread for both"
    for track, packets, source in zip(run, sent, sources, strict=True):
        expected = packets_of(SETTINGS.encoder(), source.said)
        assert [payload for payload, _ in packets] == expected[: len(packets)]
        assert consecutive(packets, track)


async def test_a_single_stall_is_no_reason_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "LATE_SECONDS", 60.0)
    track = OutgoingTrack(Noise().read, SETTINGS)
    async with driven(track) as sent:
        await eventually(lambda: len(sent[0]) >= 20, timeout=10)
        monkeypatch.setattr(tracks, "LATE_SECONDS", -1.0)
        count = len(sent[0])
        await eventually(lambda: len(sent[0]) >= count + tracks.STRAIN // 2, timeout=10)
        monkeypatch.setattr(tracks, "LATE_SECONDS", 60.0)
        await eventually(lambda: len(sent[0]) >= count + 20, timeout=10)
        assert helping() == 0


async def test_what_the_peer_reports_reaches_an_encoder_that_is_at_work_elsewhere() -> None:
    track = OutgoingTrack(Noise().read, SETTINGS)
    async with driven(track) as sent:
        await eventually(lambda: helping() == 1, timeout=10)
        track.expect_loss(35)
        await eventually(lambda: track._encoder.expected_loss_percent == 35, timeout=10)
        count = len(sent[0])
        await eventually(lambda: len(sent[0]) > count + 5, timeout=10)


async def test_a_source_that_raises_is_silence_and_one_report() -> None:
    noise, problems = Noise(), list[Exception]()
    failing = False

    def read(count: int) -> NDArray[np.float32]:
        if failing:
            raise RuntimeError("the source is gone")
        return noise.read(count)

    track = OutgoingTrack(read, SETTINGS, on_error=problems.append)
    async with driven(track) as sent:
        await eventually(lambda: helping() == 1, timeout=10)
        failing, count = True, len(sent[0])
        await eventually(lambda: len(sent[0]) > count + 20, timeout=10)
        assert [str(problem) for problem in problems] == ["the source is gone"]
        failing, count = False, len(sent[0])
        await eventually(lambda: len(sent[0]) > count + 10, timeout=10)
        failing = True
        await eventually(lambda: len(problems) == 2, timeout=10)


async def test_an_encoder_that_fails_on_silence_too_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = list[Exception]()
    track = OutgoingTrack(Noise().read, SETTINGS, on_error=problems.append)
    stock = track._encoder.encode

    def encode(pcm: NDArray[np.float32], *, release_gil: bool = False) -> bytes:
        raise OpusError("encoding: internal error")

    async with driven(track) as sent:
        await eventually(lambda: helping() == 1, timeout=10)
        monkeypatch.setattr(track._encoder, "encode", encode)
        await eventually(lambda: bool(problems), timeout=10)
        at, count = track._timestamp, len(sent[0])
        await eventually(lambda: track._timestamp > at + 480 * 20, timeout=10)
        assert [str(problem) for problem in problems] == ["encoding: internal error"]
        assert len(sent[0]) == count, "nothing is sent meanwhile"
        monkeypatch.setattr(track._encoder, "encode", stock)
        await eventually(lambda: len(sent[0]) > count + 10, timeout=10)


async def test_a_thread_that_does_not_keep_up_loses_frames_and_they_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going, told, stock = threading.Event(), list[int](), Frame.encode

    def encode(frame: Frame, *, release_gil: bool = False) -> None:
        if release_gil:
            assert going.wait(20)
        stock(frame, release_gil=release_gil)

    monkeypatch.setattr(encoding.Frame, "encode", encode)
    track = OutgoingTrack(Noise().read, SETTINGS, on_skip=told.append)
    async with driven(track) as sent:
        await eventually(lambda: track.skipped_frames >= 5, timeout=10)
        assert track.handed_over == tracks.MAX_HANDED_OVER
        assert sum(told) == 480 * track.skipped_frames
        going.set()
        count = len(sent[0])
        await eventually(lambda: len(sent[0]) > count + 20, timeout=10)
        timestamps = [timestamp for _, timestamp in sent[0]]
        assert timestamps == sorted(timestamps)


class Mixed:
    """Ten frames of noise, then ten packets, and so on."""

    def __init__(self) -> None:
        self.noise, self._at = Noise(), 0
        self._packets = packets_of(SETTINGS.encoder(), [Noise().read(480) for _ in range(3)])
        self.order: list[bool] = []

    def read_packet(self, limit: PacketFormat) -> bytes | None:
        self._at += 1
        passed = self._at // 10 % 2 == 1
        self.order.append(passed)
        return self._packets[1] if passed else None

    def take_lead_in(self) -> Sequence[NDArray[np.float32]]:
        return [np.zeros(480, np.float32)]

    def is_passed(self, payload: bytes) -> bool:
        return payload == self._packets[1]


async def test_packets_that_are_passed_on_keep_their_place() -> None:
    feed = Mixed()
    track = OutgoingTrack(feed.noise.read, SETTINGS, packets=feed)
    async with driven(track) as sent:
        await eventually(lambda: len(sent[0]) >= 60, timeout=10)
        assert helping() == 1
    passed = [feed.is_passed(payload) for payload, _ in sent[0]]
    assert passed == feed.order[: len(passed)]
    assert consecutive(sent[0], track)


async def test_what_sending_raises_ends_the_drive_though_frames_are_under_way() -> None:
    track, sent = OutgoingTrack(Noise().read, SETTINGS), 0

    def send(payload: bytes, timestamp: int) -> None:
        nonlocal sent
        sent += 1
        if sent > 30:
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await asyncio.wait_for(track.drive(send), 10)
    await eventually(lambda: helping() == 0)
