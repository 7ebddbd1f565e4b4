"""Calls through a microphone and a loudspeaker: echo, what is told of devices, their numbers. On fake sound cards."""

import asyncio
import contextlib
import copy
import dataclasses
import operator
from typing import Any

import numpy as np
import pytest

from rtc_audio.devices import DeviceEvent, Microphone, Speaker
from rtc_transport import CallbackSink, CallStats, PushSource, RealtimeServer, ToneSource, WebRTCTransport
from rtc_transport.errors import WaitTimeout
from rtc_transport.events.devices import DeviceReport
from support.fake_audio import LAPTOP, FakeCards, make_room
from support.transports import call_of, connected, eventually, level_dbfs, types_of

STARVED_SECONDS = 0.15
"""By which a block of the fake cards comes late: from then on the machine is to blame."""
DEVICES = [
    "device_lost",
    "device_silent",
    "device_restored",
    "device_changed",
    "device_overflow",
    "device_underrun",
    "device_fault",
]


def devices(cards: FakeCards) -> tuple[Microphone, Speaker]:
    return Microphone(hub=cards.hub), Speaker(hub=cards.hub)


@dataclasses.dataclass(frozen=True)
class Parroting:
    """A call in which somebody says one thing."""

    answers: int
    knows_return_loss: bool
    late_seconds: float


async def parroting(server: RealtimeServer, echo: Any, *, answers: int) -> Parroting:
    """Until there are so many answers, and 1.5 s longer; at most 10 s."""
    cards = FakeCards(*LAPTOP)
    make_room(cards, speak=(0.5, 2.0))
    microphone, speaker = devices(cards)
    async with connected(server, source=microphone, sink=speaker, echo=echo) as transport:
        call = call_of(server, transport)
        with contextlib.suppress(WaitTimeout, TimeoutError):
            await transport.wait_for("output_audio_buffer.stopped", timeout=10)
            await eventually(lambda: types_of(call, "server").count("response.created") >= answers)
            await asyncio.sleep(1.5 if answers == 1 else 0)
        seen = Parroting(
            types_of(call, "server").count("response.created"),
            transport.stats().echo_return_loss_db is not None,
            cards.late_seconds,
        )
    assert not cards.open_streams
    return seen


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("echo", "answers"), [("auto", 1), ("gate", 1), ("off", 2)])
async def test_the_parrot_answers_itself_unless_the_echo_is_cancelled(
    realtime_server: RealtimeServer, echo: Any, answers: int
) -> None:
    """In real time: where the machine stood still meanwhile, another call has to show it, of five at the most.

    How much is cancelled is told in virtual time: test_echo_of_devices.py, and with figures: test_echo_kalman.py.
    """
    for _ in range(5):
        seen = await parroting(realtime_server, echo, answers=answers)
        enough = seen.answers == 1 if answers == 1 else seen.answers >= answers
        as_wanted = enough and seen.knows_return_loss == (echo == "auto")
        if as_wanted or seen.late_seconds < STARVED_SECONDS:
            break
    assert as_wanted, seen


async def test_auto_leaves_everything_else_as_it_is(realtime_server: RealtimeServer) -> None:
    cards = FakeCards(*LAPTOP)
    microphone, speaker = devices(cards)
    for source, sink in ((ToneSource(), speaker), (microphone, None), (ToneSource(), None)):
        async with connected(realtime_server, source=source, sink=sink) as transport:
            await asyncio.sleep(0.1)
            assert transport._media.uplink.source is source
            assert speaker.on_written is None


async def test_the_gate_closes_for_any_source_and_sink(realtime_server: RealtimeServer) -> None:
    """An application that brings its own audio library has no device times: those of reading and pulling count."""
    source = PushSource(24000)
    sink = CallbackSink(lambda pcm: None)
    manual = {"audio": {"input": {"turn_detection": None}}}  # or the tone would be an interruption
    async with connected(realtime_server, session=manual, source=source, sink=sink, echo="gate") as transport:
        call = call_of(realtime_server, transport)
        source.push(0.3 * np.sin(np.arange(6 * 24000) / 10).astype(np.float32))
        await eventually(lambda: level_dbfs(call.heard()[-2400:]) > -20)
        transport.send_message("Talk!")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        await eventually(lambda: level_dbfs(call.heard()[-1200:]) < -60)


async def test_a_canceller_that_fails_is_told_and_the_voice_gets_through(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise FloatingPointError("no more numbers")

    monkeypatch.setattr("rtc_audio.echo_kalman.KalmanEchoCanceller.process", broken)
    cards = FakeCards(*LAPTOP)
    microphone, speaker = devices(cards)
    errors: list[str] = []
    transport = WebRTCTransport(microphone, speaker, base_url=realtime_server.url)
    transport.on("error", lambda report: errors.append(f"{report.source}: {report.message}"))
    await transport.connect(api_key="test-key")
    call = call_of(realtime_server, transport)
    await eventually(lambda: level_dbfs(call.heard()[-2400:]) > -20)
    await transport.close()
    assert errors == ["device: the echo canceller failed, the echo is not cancelled: no more numbers"]


async def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "livekit.rtc.apm", None)
    cards = FakeCards(*LAPTOP)
    microphone, speaker = devices(cards)
    transport = WebRTCTransport(microphone, speaker, base_url=realtime_server.url, echo="webrtc")
    told = asyncio.ensure_future(transport.wait_for("error", timeout=5))
    await transport.connect(api_key="test-key")
    assert "pip install 'rtc-transport[aec]'" in (await told).message
    await transport.close()


async def test_what_happens_to_devices_is_told_and_the_call_goes_on(realtime_server: RealtimeServer) -> None:
    cards = FakeCards(*LAPTOP)
    own: list[DeviceEvent] = []

    def listener(event: DeviceEvent) -> None:
        own.append(event)

    microphone = Microphone(hub=cards.hub, on_event=listener)
    speaker = Speaker(hub=cards.hub)
    told: list[tuple[str, str, str]] = []
    reasons: list[str] = []

    def on_device(event: DeviceReport) -> None:
        told.append((event.type, event.direction, event.device))
        reasons.append(event.reason)

    async with connected(realtime_server, source=microphone, sink=speaker) as transport:
        for name in DEVICES:
            if name not in ("device_overflow", "device_underrun"):  # a machine may have too much to do
                transport.on(name, on_device)
        call = call_of(realtime_server, transport)
        await eventually(lambda: level_dbfs(call.heard()[-2400:]) > -20)
        transport.mute(True)
        cards.unplug("Built-in Microphone")
        await eventually(lambda: len(told) == 2)
        assert told == [
            ("device_lost", "input", "Built-in Microphone"),
            ("device_changed", "input", "USB Headset"),
        ]
        assert reasons == ["the stream has ended", "in place of Built-in Microphone"]
        cards.unplug("Built-in Speakers")
        await eventually(lambda: len(told) == 4)
        assert told[2:] == [
            ("device_lost", "output", "Built-in Speakers"),
            ("device_changed", "output", "USB Headset"),
        ]
        assert transport.status == "connected"
        assert transport.muted is True
        transport.mute(False)
        await eventually(lambda: level_dbfs(call.heard()[-2400:]) > -20)
    assert [event.kind for event in own] == [
        "device_lost",
        "device_changed",
    ]  # the application's own listener
    assert microphone.on_event is listener
    assert speaker.on_event is None
    assert speaker.on_written is None


async def test_a_new_device_makes_the_canceller_begin_anew(realtime_server: RealtimeServer) -> None:
    cards = FakeCards(*LAPTOP)
    make_room(cards, speak=None)
    microphone, speaker = devices(cards)
    async with connected(realtime_server, source=microphone, sink=speaker) as transport:
        transport.send_message("Talk!")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        await eventually(lambda: transport.stats().echo_return_loss_db is not None)
        changed = asyncio.ensure_future(transport.wait_for("device_changed", timeout=5))
        cards.unplug("Built-in Microphone")
        await changed
        assert transport.stats().echo_return_loss_db is None


async def test_exchanging_devices_during_a_call_keeps_the_echo_away(realtime_server: RealtimeServer) -> None:
    cards = FakeCards(*LAPTOP)
    make_room(cards, speak=None)
    microphone, speaker = devices(cards)
    async with connected(realtime_server, sink=None) as transport:
        await transport.set_source(microphone)
        assert transport._media.uplink.source is microphone  # nothing is played that it could hear
        await transport.set_sink(speaker)
        transport.send_message("Talk!")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        await eventually(lambda: transport.stats().echo_return_loss_db is not None)
        await transport.set_sink(None)
        assert transport.stats().echo_return_loss_db is None
        assert speaker.on_written is None


async def test_statistics_have_the_devices_and_come_by_themselves(realtime_server: RealtimeServer) -> None:
    cards = FakeCards(*LAPTOP)
    microphone, speaker = devices(cards)
    transport = WebRTCTransport(
        microphone, speaker, base_url=realtime_server.url, stats_interval_seconds=0.05
    )
    told: list[CallStats] = []
    transport.on("stats", lambda event: told.append(event.stats))
    await asyncio.sleep(0.12)
    assert told == []
    await transport.connect(api_key="test-key")
    began = asyncio.get_running_loop().time()
    await eventually(lambda: len(told) >= 8)
    seen = len(told)
    assert (asyncio.get_running_loop().time() - began) / 0.05 >= seen - 3, "not more often than asked for"
    stats = told[-1]
    assert stats.input_latency_ms == pytest.approx(10)
    assert stats.output_latency_ms is not None
    assert 20 <= stats.output_latency_ms <= 150
    assert stats.input_lost_ms < 100
    assert 0 <= stats.loop_lag_ms < 500
    await transport.close()
    await asyncio.sleep(0.12)
    assert len(told) == seen
    assert transport.stats().input_latency_ms is None


async def test_a_snapshot_of_the_statistics_does_not_change(realtime_server: RealtimeServer) -> None:
    async with connected(
        realtime_server, source=ToneSource(), sink=CallbackSink(lambda pcm: None)
    ) as transport:
        before = transport.stats()
        numbers = dataclasses.asdict(before)
        stages: Any = before.connect_seconds
        await eventually(lambda: transport.stats().playout.received > before.playout.received + 5)
        assert dataclasses.asdict(before) == numbers == dataclasses.asdict(copy.deepcopy(before))
        for change in (
            lambda: setattr(before, "packets_sent", 0),
            lambda: setattr(before.playout, "lost", 0),
            lambda: operator.setitem(stages, "ice", 0.0),
            lambda: stages.clear(),
        ):
            with pytest.raises((AttributeError, TypeError)):
                change()
        assert dataclasses.asdict(before) == numbers


async def test_a_busy_loop_shows_in_the_statistics(realtime_server: RealtimeServer) -> None:
    import time

    async with connected(realtime_server) as transport:
        await asyncio.sleep(0.2)
        time.sleep(0.3)  # noqa: ASYNC251 - that is what the test is about
        await asyncio.sleep(0.1)
        assert transport.stats().loop_lag_ms > 100


async def test_sources_and_sinks_that_are_no_devices_have_no_device_numbers(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server, source=ToneSource()) as transport:
        stats = transport.stats()
        assert (stats.input_latency_ms, stats.output_latency_ms, stats.echo_return_loss_db) == (None,) * 3
        assert (stats.input_lost_ms, stats.output_lost_ms) == (0, 0)
