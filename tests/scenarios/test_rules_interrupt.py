"""Issue 3, rules: interrupt() and barge-in, as the sink hears them and as the service sees them."""

import asyncio
from typing import Any

import numpy as np

from rtc_audio.ports import Pcm
from rtc_transport import CallbackSink, ResponseFailed, WebRTCTransport
from rtc_transport.server import Call
from support.rules import LONG, Told, by_another_client, deaf_to, scripted, sent, speak, voice, wire
from support.transports import call_of, connected, eventually, level_dbfs

RATE_HZ = 48000


class Ear:
    """A sink's callback that keeps everything."""

    def __init__(self) -> None:
        self.blocks: list[Pcm] = []
        self.sink = CallbackSink(self.blocks.append, RATE_HZ, block_ms=10)

    def last_dbfs(self, seconds: float = 0.04) -> float:
        """The level of what was played last."""
        pcm = np.concatenate(self.blocks[-round(seconds * 100) :]) if self.blocks else np.zeros(0, np.float32)
        return level_dbfs(pcm)

    async def until(self, *, loud: bool) -> None:
        """Waits until the last 40 ms are loud, or silent."""
        await eventually(lambda: (self.last_dbfs() > -50) == loud, timeout=10)


def dropped(transport: WebRTCTransport) -> int:
    """Packets of voice that an interruption dropped."""
    return transport._media.voice.dropped_packets


async def saying_a_lot(transport: WebRTCTransport, ear: Ear, seconds: float = 0.3) -> None:
    """A long answer is heard for so long, counted from where the transport knows that it begins."""
    transport.send_message("Tell me a story.")
    await ear.until(loud=True)
    await eventually(lambda: transport._playback().played_ms >= 1000 * seconds)


def replies(call: Call) -> list[str]:
    """The types of what the client sent, without the beginning."""
    kinds = [str(e.event["type"]) for e in call.events if e.sender == "client"]
    return [kind for kind in kinds if kind not in ("session.update", "conversation.item.create")]


async def test_interrupt_cancels_and_clears_and_the_service_answers_both() -> None:
    ear = Ear()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        told, call = Told(transport, ["audio_interrupted", "turn_done"]), call_of(server, transport)
        await saying_a_lot(transport, ear)
        transport.interrupt()
        await transport.wait_for("output_audio_buffer.cleared", timeout=5)
        await ear.until(loud=False)
        await asyncio.sleep(0.2)
        assert replies(call) == ["response.create", "response.cancel", "output_audio_buffer.clear"]
        (interrupted,), (done,) = told.of("audio_interrupted"), told.of("turn_done")
        assert (done.status, done.reason) == ("cancelled", "client_cancelled")
        assert (interrupted.by, interrupted.response_id) == ("user", done.response_id)
        assert interrupted.item_id == done.output[0].id
        truncated = await call.wait_for("conversation.item.truncated")
        assert 200 < interrupted.audio_end_ms <= truncated["audio_end_ms"] + 20
        assert level_dbfs(np.concatenate(ear.blocks[-10:])) < -90


async def test_interrupt_in_silence_clears_and_drops_nothing() -> None:
    ear = Ear()
    async with (
        scripted({"text": "Once upon a time."}) as server,
        connected(server, sink=ear.sink) as transport,
    ):
        told, call = Told(transport, ["audio_interrupted"]), call_of(server, transport)
        transport.interrupt()
        transport.send_message("Tell me a story.")
        await ear.until(loud=True)
        assert replies(call) == ["output_audio_buffer.clear", "response.create"]
        assert dropped(transport) == 0
        (interrupted,) = told.of("audio_interrupted")
        assert (interrupted.item_id, interrupted.audio_end_ms) == (None, 0)


async def test_what_is_on_its_way_is_dropped_until_cleared_and_the_next_answer_is_heard_whole() -> None:
    ear = Ear()
    async with (
        scripted({"text": LONG}, {"text": "Three two one"}) as server,
        connected(server, sink=ear.sink) as transport,
    ):
        await saying_a_lot(transport, ear)
        transport.interrupt()
        await transport.wait_for("output_audio_buffer.cleared", timeout=5)
        await ear.until(loud=False)
        await asyncio.sleep(0.1)  # what was sent before the clear has come
        gone, before = dropped(transport), len(ear.blocks)
        assert 0 < gone < 25
        transport.send_message("Shorter, please.")
        await transport.wait_for("output_audio_buffer.stopped", timeout=10)
        await ear.until(loud=False)
        heard = np.concatenate(ear.blocks[before:])[:, 0]
        loud = np.flatnonzero(np.abs(heard) > 0.02)
        assert (loud[-1] - loud[0]) / RATE_HZ > 0.8  # of 1.05 s; the playout may hurry to catch up
        assert dropped(transport) == gone


async def test_a_clear_that_is_lost_mutes_the_voice_for_half_a_second_only() -> None:
    ear, loop = Ear(), asyncio.get_running_loop()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        await saying_a_lot(transport, ear)
        with deaf_to(call_of(server, transport), "response.cancel", "output_audio_buffer.clear", times=2):
            began = loop.time()
            transport.interrupt()
            await ear.until(loud=False)
            await ear.until(loud=True)
            assert 0.45 < loop.time() - began < 1.2
        assert 15 <= dropped(transport) <= 35  # of 25


async def test_dropping_ends_with_a_newer_voice() -> None:
    ear, loop = Ear(), asyncio.get_running_loop()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        call = call_of(server, transport)
        await saying_a_lot(transport, ear)
        with deaf_to(call, "response.cancel", "output_audio_buffer.clear", times=2):
            began = loop.time()
            transport.interrupt()
            await ear.until(loud=False)
            call.inject({"type": "output_audio_buffer.started", "response_id": "resp_new"})
            await ear.until(loud=True)
            assert loop.time() - began < 0.45


async def test_requests_that_have_not_gone_out_are_withdrawn() -> None:
    ear = Ear()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        await saying_a_lot(transport, ear)
        waiting = [transport.request_response({}), transport.request_response()]
        transport.interrupt()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["the request was withdrawn by interrupt()"] * 2
        assert {type(outcome) for outcome in outcomes} == {ResponseFailed}
        await transport.wait_for("turn_done", timeout=5)
        await asyncio.sleep(0.1)
        assert len(await sent(transport, call_of(server, transport), "response.create")) == 1


async def test_a_truncation_is_sent_when_asked_in_whole_milliseconds_that_the_service_takes() -> None:
    ear = Ear()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        call, told = call_of(server, transport), Told(transport, ["audio_interrupted", "error"])
        await saying_a_lot(transport, ear)
        transport.interrupt(truncate=True)
        (cut,) = await sent(transport, call, "conversation.item.truncate")
        await call.wait_for("output_audio_buffer.cleared")
        await asyncio.sleep(0.1)
        (interrupted,) = told.of("audio_interrupted")
        assert (cut["item_id"], cut["content_index"]) == (interrupted.item_id, 0)
        assert cut["audio_end_ms"] == interrupted.audio_end_ms
        assert 200 < cut["audio_end_ms"] < 2000
        assert told.of("error") == []


async def test_the_user_who_speaks_silences_the_model_by_the_same_path_and_nothing_is_sent() -> None:
    ear, source, turns = Ear(), voice(), [{"text": LONG}, {"heard": "Stop!", "text": "Well."}]
    async with (
        scripted(*turns) as server,
        connected(server, source=source, sink=ear.sink) as transport,
    ):
        told = Told(transport, ["audio_interrupted", "turn_done"])
        call = call_of(server, transport)
        await saying_a_lot(transport, ear)
        speak(source)
        interrupted = await transport.wait_for("audio_interrupted", timeout=5)
        await ear.until(loud=False)
        done = told.of("turn_done")[0]
        assert (done.status, done.reason) == ("cancelled", "turn_detected")
        assert (interrupted.by, interrupted.response_id) == ("server", done.response_id)
        truncated = await call.wait_for("conversation.item.truncated")
        assert interrupted.item_id == truncated["item_id"] == done.output[0].id
        assert 200 < interrupted.audio_end_ms <= truncated["audio_end_ms"] + 20
        await ear.until(loud=True)  # the answer to what the user said
        assert len(told.of("audio_interrupted")) == 1  # once, though `cleared` and `response.done` both tell
        assert replies(call) == ["response.create"]


async def test_a_voice_whose_response_is_done_is_silenced_without_a_cancel() -> None:
    ear = Ear()
    async with (
        scripted({"text": LONG}, generation_speed=100) as server,
        connected(server, sink=ear.sink) as transport,
    ):
        told, call = Told(transport, ["audio_interrupted", "turn_done"]), call_of(server, transport)
        await saying_a_lot(transport, ear)
        await eventually(lambda: bool(told.of("turn_done")))
        transport.interrupt()
        await ear.until(loud=False)
        (interrupted,), (done,) = told.of("audio_interrupted"), told.of("turn_done")
        assert (interrupted.response_id, interrupted.item_id) == (done.response_id, done.output[0].id)
        assert interrupted.audio_end_ms > 200
        await transport.drain()
        assert replies(call) == ["response.create", "output_audio_buffer.clear"]


async def test_the_user_silences_a_voice_whose_response_is_done() -> None:
    ear, source, turns = Ear(), voice(), [{"text": LONG}, {"heard": "Stop!", "text": "Well."}]
    async with (
        scripted(*turns, generation_speed=100) as server,
        connected(server, source=source, sink=ear.sink) as transport,
    ):
        told = Told(transport, ["audio_interrupted", "turn_done"])
        await saying_a_lot(transport, ear)
        await eventually(lambda: bool(told.of("turn_done")))
        speak(source)
        interrupted = await transport.wait_for("audio_interrupted", timeout=5)
        await ear.until(loud=False)
        assert (interrupted.by, interrupted.item_id) == ("server", told.of("turn_done")[0].output[0].id)
        await ear.until(loud=True)
        assert len(told.of("audio_interrupted")) == 1


async def test_a_clear_of_another_client_is_a_barge_in_too() -> None:
    ear = Ear()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        told, call = Told(transport, ["audio_interrupted"]), call_of(server, transport)
        await saying_a_lot(transport, ear)
        by_another_client(call, "output_audio_buffer.clear")
        await ear.until(loud=False)
        (interrupted,) = told.of("audio_interrupted")
        assert interrupted.by == "server"
        assert replies(call) == ["response.create"]


async def test_the_positions_told_are_what_the_sink_played() -> None:
    ear = Ear()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        told = Told(transport, ["audio_interrupted"])
        await saying_a_lot(transport, ear, seconds=1.0)
        played = np.concatenate(ear.blocks)[:, 0]
        transport.interrupt()
        heard_ms = 1000 * (len(played) - int(np.flatnonzero(np.abs(played) > 0.01)[0])) / RATE_HZ
        (interrupted,) = told.of("audio_interrupted")
        assert heard_ms > 900
        assert abs(interrupted.audio_end_ms - heard_ms) < 80


async def test_a_second_interrupt_clears_again_and_tells_of_nothing_heard() -> None:
    ear = Ear()
    async with scripted({"text": LONG}) as server, connected(server, sink=ear.sink) as transport:
        told = Told(transport, ["audio_interrupted"])
        await saying_a_lot(transport, ear)
        transport.interrupt()
        await transport.wait_for("output_audio_buffer.cleared", timeout=5)
        await ear.until(loud=False)
        await asyncio.sleep(0.2)
        transport.interrupt()
        first, second = told.of("audio_interrupted")
        assert first.audio_end_ms > 200
        assert (second.item_id, second.audio_end_ms) == (None, 0)
        clears: list[Any] = await sent(transport, call_of(server, transport), "output_audio_buffer.clear")
        assert len(clears) == 2
        assert wire(call_of(server, transport), "error") == []
