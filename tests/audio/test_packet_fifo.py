"""Packets and sound of one file by turns: exact places, exact lengths, and what a packet tells undecoded."""

import random
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_audio.decoding import AudioFile
from rtc_audio.opus import OpusEncoder
from rtc_audio.opus_packet import has_inband_fec, has_voice
from rtc_audio.packet_fifo import PacketFifo
from support.opus_files import FRAME, RATE_HZ, Mono, all_packets, decode, patch_head, write_opus
from support.voice_link import voice

SECONDS = 1.2 + 0.0107  # not a whole number of packets


@pytest.fixture(scope="module")
def speech_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_opus(tmp_path_factory.mktemp("fifo") / "voice.ogg", speech())


def speech() -> Mono:
    return voice(0.5 + SECONDS)[RATE_HZ // 2 :]


def sound_of(path: Path) -> Mono:
    """The file by libopus, without what its header and its end say to leave out."""
    with closing(AudioFile(path)) as file:
        packets = list(file.packets())
    whole = decode(packet.payload for packet in packets)
    return whole[packets[0].pre_skip : sum(packet.frames for packet in packets)]


def filled(path: Path, passes: int = 1) -> PacketFifo:
    fifo = PacketFifo(1)
    for _ in range(passes):
        with closing(AudioFile(path)) as file:
            for packet in file.packets():
                fifo.put(packet)
    return fifo


def test_read_as_sound_it_is_the_file_to_the_frame(speech_file: Path) -> None:
    fifo, whole = filled(speech_file), sound_of(speech_file)
    with closing(AudioFile(speech_file)) as file:
        assert len(whole) == sum(len(block.pcm) for block in file.blocks()), "as FFmpeg has it"
    assert fifo.frames == len(whole) + 312, "what the header says to skip is known when reading begins"
    parts = [fifo.take(n) for n in (1, 700, 3000, 100_000)]
    np.testing.assert_allclose(np.concatenate(parts)[:, 0], whole, atol=1e-6)
    assert len(whole) == len(speech())
    assert (fifo.frames, fifo.taken) == (0, len(whole))
    assert fifo.take_packet() is None


def test_read_as_packets_it_is_the_file_and_its_last_frames_are_sound(speech_file: Path) -> None:
    fifo, packets = filled(speech_file), list[bytes]()
    while (packet := fifo.take_packet()) is not None:
        packets.append(packet)
    assert packets == all_packets(speech_file)[: len(packets)]
    rest = fifo.take(100_000)
    assert 0 < len(rest) < FRAME + 312
    assert FRAME * len(packets) + len(rest) == fifo.taken == len(speech())
    np.testing.assert_allclose(rest[:, 0], sound_of(speech_file)[-len(rest) :], atol=0.01)


@settings(max_examples=40, deadline=None)
@given(turns=st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=12))
def test_whatever_the_order_every_frame_comes_once_and_from_its_place(
    speech_file: Path, turns: list[tuple[bool, int]]
) -> None:
    """Sound by whole packets: the place is the same whoever counts it, and the decoder is in its state at once."""
    fifo, whole, packets, place = filled(speech_file), sound_of(speech_file), all_packets(speech_file), 0
    for as_packets, count in turns:
        for _ in range(count):
            payload = fifo.take_packet() if as_packets else None
            if payload is not None:
                assert payload == packets[place // FRAME]
                place += FRAME
            else:
                pcm = fifo.take(FRAME)[:, 0]
                assert len(pcm) == min(FRAME, len(whole) - place)
                np.testing.assert_allclose(pcm, whole[place : place + FRAME], atol=0.02)
                place += len(pcm)
            assert fifo.taken == place
            assert fifo.frames == len(whole) - place


@pytest.mark.parametrize(
    "options", [{}, {"bitrate_bps": 16000}, {"bitrate_bps": 64000, "application": "audio"}]
)
def test_behind_packets_the_decoder_is_in_its_state_at_once(tmp_path: Path, options: dict[str, Any]) -> None:
    """In the middle of speech a fresh decoder is far off in its first frame."""
    path = write_opus(tmp_path / "a.ogg", speech(), **options)
    whole, packets, unprepared = sound_of(path), all_packets(path), list[float]()
    for place in range(20, 55, 5):
        fifo = filled(path)
        assert [fifo.take_packet() for _ in range(place)] == packets[:place]
        expected = whole[place * FRAME : (place + 1) * FRAME]
        np.testing.assert_allclose(fifo.take(FRAME)[:, 0], expected, atol=0.01)
        fresh = decode(packets[place : place + 2])[312 : 312 + FRAME]
        unprepared.append(float(np.abs(fresh - expected).max()))
    assert max(unprepared) > 0.05


def test_rewinding_gives_what_the_packets_said(speech_file: Path) -> None:
    fifo, whole = filled(speech_file), sound_of(speech_file)
    assert fifo.rewind(2) == 0
    assert fifo.take_packet() is not None
    assert fifo.rewind(2) == 1
    assert fifo.taken == 0
    for _ in range(15):
        assert fifo.take_packet() is not None
    assert fifo.rewind(9) == 2
    assert fifo.taken == 13 * FRAME
    np.testing.assert_allclose(fifo.take(4 * FRAME)[:, 0], whole[13 * FRAME : 17 * FRAME], atol=0.01)
    assert fifo.take_packet() == all_packets(speech_file)[17]


def test_out_of_step_packets_wait_for_a_quiet_place(tmp_path: Path) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(10 * FRAME))).astype(np.float32)
    pcm = np.concatenate([tone, np.zeros(10 * FRAME, np.float32), tone])
    fifo = filled(write_opus(tmp_path / "a.ogg", pcm))
    fifo.take(100)
    reads = 0
    while (packet := fifo.take_packet()) is None:
        fifo.take(FRAME)
        reads += 1
    assert 10 <= reads <= 13, "in the silence behind the tone"
    assert packet == all_packets(tmp_path / "a.ogg")[fifo.taken // FRAME - 1]
    assert fifo.taken % FRAME == 0
    assert fifo.taken in range(100 + FRAME * reads, 100 + FRAME * (reads + 1)), (
        "less than 20 ms are said again"
    )


@pytest.mark.parametrize("pre_skip", [120, 312, 356, 960, 3840])
def test_any_pre_skip(tmp_path: Path, pre_skip: int) -> None:
    """Nothing of the file is left out. Of more than a packet the first is not passed on: it is not to be heard."""
    path = patch_head(write_opus(tmp_path / "a.ogg", speech()), pre_skip=pre_skip)
    fifo, whole = filled(path), sound_of(path)
    first = fifo.take_packet()
    assert (first is not None) == (pre_skip <= FRAME)
    place = 0 if first is None else FRAME + 312 - pre_skip
    assert fifo.taken == place
    rest = fifo.take(100_000)[:, 0]
    np.testing.assert_allclose(rest, whole[place:], atol=0.02)


def test_passes_follow_each_other_without_a_gap(speech_file: Path) -> None:
    whole = sound_of(speech_file)
    fifo = filled(speech_file, passes=3)
    np.testing.assert_allclose(fifo.take(10**6)[:, 0], np.tile(whole, 3), atol=1e-6)
    fifo, length, packets = filled(speech_file, passes=3), 0, 0
    while fifo.frames:
        if fifo.take_packet() is not None:
            packets += 1
        else:
            length += len(fifo.take(FRAME))
    assert fifo.taken == 3 * len(whole)
    assert packets > 0.4 * 3 * len(whole) / FRAME
    assert packets * FRAME + length - 3 * len(whole) in range(3 * FRAME), "repeated, in quiet places only"


def test_packets_of_another_length_and_damaged_ones_are_read_as_sound(tmp_path: Path) -> None:
    fifo = filled(write_opus(tmp_path / "a.ogg", speech(), frame_duration=10))
    assert fifo.take_packet() is None
    assert len(fifo.take(10**6)) == len(speech())

    damaged = filled(write_opus(tmp_path / "b.ogg", speech()))
    damaged._future[5] = replace(damaged._future[5], payload=damaged._future[5].payload[:1] + b"\xff" * 3)
    assert len(damaged.take(10**6)) == len(speech())


# --------------------------------------------------------------------------- what a packet tells


def test_a_packet_tells_whether_there_is_a_voice_in_it() -> None:
    pause = np.zeros(RATE_HZ // 2, np.float32)
    pcm = np.concatenate([pause, speech(), pause])
    noise = np.random.default_rng(1).standard_normal(len(pcm)).astype(np.float32)
    for application, options in (
        ("voip", {"fec": True}),
        ("voip", {"fec": False}),
        ("audio", {"bitrate_bps": 64000}),
    ):
        encoder = OpusEncoder(application=application, **options)  # type: ignore[arg-type]  # one of the words
        sound = pcm if "bitrate_bps" in options else pcm + np.float32(1e-4) * noise
        frames = [sound[at : at + FRAME] for at in range(0, len(sound) - FRAME + 1, FRAME)]
        voiced = np.flatnonzero([has_voice(encoder.encode(frame)) for frame in frames])
        loud = np.flatnonzero([np.abs(frame).max() > 10 ** (-55 / 20) for frame in frames])
        assert abs(int(voiced[0]) - int(loud[0])) <= 2
        assert 0 <= int(voiced[-1]) - int(loud[-1]) <= 3


def test_flags_of_any_bytes_never_raise() -> None:
    generator = random.Random(3)
    for _ in range(5000):
        payload = generator.randbytes(generator.randint(0, 12))
        has_voice(payload)
        has_inband_fec(payload)
    assert not has_voice(b"")
