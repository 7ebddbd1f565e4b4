"""The output audio buffer: order, edges, clearing."""

import numpy as np

from rtc_transport.server.replies import tone_pcm
from rtc_transport.server.voice import CutItem, Voice, VoiceEdge

FRAME = 480


def test_silence_when_there_is_nothing_to_say() -> None:
    voice = Voice()
    assert not voice.read(FRAME).any()
    assert not voice.busy


def test_it_starts_with_the_first_sample_and_stops_one_read_after_the_last() -> None:
    voice = Voice()
    voice.append("r", "i", np.ones(FRAME, np.float32))
    voice.complete("r")
    assert voice.take_edges() == []
    assert voice.read(FRAME).all()
    assert voice.take_edges() == [VoiceEdge("started", "r")]
    voice.read(FRAME)
    assert voice.take_edges() == [VoiceEdge("stopped", "r")]


def test_it_waits_in_silence_for_a_response_that_is_still_generated() -> None:
    voice = Voice()
    voice.append("r", "i", np.ones(100, np.float32))
    assert voice.read(FRAME).sum() == 100
    assert not voice.read(FRAME).any()
    voice.append("r", "i", np.ones(100, np.float32))
    assert voice.read(FRAME).sum() == 100
    voice.complete("r")
    voice.read(FRAME)
    voice.read(FRAME)
    assert voice.take_edges() == [VoiceEdge("started", "r"), VoiceEdge("stopped", "r")]


def test_responses_are_spoken_one_after_the_other() -> None:
    voice = Voice()
    for name, level in (("a", 0.1), ("b", 0.2)):
        voice.append(name, f"item of {name}", np.full(FRAME, level, np.float32))
        voice.complete(name)
    spoken = np.concatenate([voice.read(FRAME) for _ in range(4)])
    assert [round(float(x), 1) for x in spoken[:: FRAME // 2] if x] == [0.1, 0.1, 0.2, 0.2]
    assert voice.take_edges() == [
        VoiceEdge("started", "a"),
        VoiceEdge("stopped", "a"),
        VoiceEdge("started", "b"),
        VoiceEdge("stopped", "b"),
    ]


def test_a_clear_says_what_was_sent_of_every_item_and_drops_the_rest() -> None:
    voice = Voice()
    voice.append("a", "first", tone_pcm(0.1))
    voice.append("a", "second", tone_pcm(0.1))
    voice.append("b", "third", tone_pcm(0.1))
    for _ in range(6):
        voice.read(FRAME)
    responses, cut = voice.clear()
    assert responses == ["a", "b"]
    assert cut == [CutItem("a", "second", 20), CutItem("b", "third", 0)]
    voice.append("a", "second", tone_pcm(1))  # generated before the generator learned of it
    voice.read(FRAME)
    assert not voice.read(FRAME).any()


def test_an_item_that_was_sent_to_its_end_is_not_cut() -> None:
    voice = Voice()
    voice.append("a", "first", tone_pcm(0.02))
    voice.complete("a")
    voice.read(FRAME)
    assert voice.clear() == (["a"], [])


def test_a_message_without_sound_neither_starts_nor_stops() -> None:
    voice = Voice()
    voice.append("a", "i", np.zeros(0, np.float32))
    voice.complete("a")
    voice.read(FRAME)
    voice.read(FRAME)
    assert voice.take_edges() == []


def test_a_clear_fades_out_instead_of_clicking() -> None:
    voice = Voice()
    voice.append("a", "i", np.full(FRAME * 10, 0.8, np.float32))
    before = voice.read(FRAME)
    voice.clear()
    after = voice.read(FRAME)
    steps = np.abs(np.diff(np.concatenate([before, after])))
    assert steps.max() < 0.02
    assert not after[120:].any()  # 5 ms
