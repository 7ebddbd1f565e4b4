"""The control channel of a whole call: order, loss, urgency, backpressure, drain, tail loss."""

import asyncio
import base64
import itertools
import json
import random
import statistics
from collections.abc import Iterable
from typing import Any

import pytest

from rtc_transport import NotConnectedError, RealtimeServer, SendQueueFull, WebRTCTransport
from rtc_transport.server import Call, Faults, LoggedEvent
from support.peers import Link, is_dtls
from support.rules import sent, wire
from support.transports import call_of, connected, eventually

URGENT = ("response.cancel", "output_audio_buffer.clear")
APPEND = "input_audio_buffer.append"
SILENT = {"audio": {"input": {"turn_detection": None}}}


def link(transport: WebRTCTransport, share: float, seed: int = 1) -> Link:
    """Loses that share of what the transport sends on the control channel."""
    assert transport._call is not None
    generator = random.Random(seed)
    return Link(transport._call.peer, lambda datagram: is_dtls(datagram) and generator.random() < share)


def mixed(count: int, seed: int) -> list[dict[str, Any]]:
    """Client events of every class, numbered by their event ids."""
    generator = random.Random(seed)
    events = []
    for number in range(count):
        size = generator.choice([2, 200, 2000])
        match generator.choices(["append", "control", "urgent"], [50, 40, 10])[0]:
            case "append":
                event = {"type": APPEND, "audio": base64.b64encode(bytes(size)).decode()}
            case "control":
                kind = generator.choice(["conversation.item.retrieve", "conversation.item.delete"])
                event = {"type": kind, "item_id": "x" * size}
            case _:
                event = {"type": generator.choice(URGENT)}
        events.append({**event, "event_id": str(number)})
    return events


def without(events: Iterable[dict[str, Any]], *types: str) -> list[str]:
    """The ids of the events, those of some types left out, in order."""
    return [event["event_id"] for event in events if event["type"] not in types]


async def send_all(transport: WebRTCTransport, events: list[dict[str, Any]]) -> None:
    """Sends as fast as the queue has room, in bursts, and waits until the peer has everything."""
    for event in events:
        try:
            transport.send_event(event)
        except SendQueueFull:
            await eventually(lambda: transport._core.queued_events < 900, timeout=30)
            transport.send_event(event)
    await transport.drain()


async def run_mixed(count: int, loss: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(what was sent, what arrived) of so many messages under loss both ways."""
    arrived: list[dict[str, Any]] = []

    def on_event(logged: LoggedEvent) -> None:
        if logged.sender == "client" and logged.event["type"] != "session.update":
            arrived.append(dict(logged.event))

    faults = Faults(control_loss=loss)
    async with (
        RealtimeServer(on_event=on_event, faults=faults) as server,
        connected(server, session=SILENT) as transport,
    ):
        lossy, events = link(transport, loss), mixed(count, seed=3)
        await send_all(transport, events)
        assert lossy.dropped > 0.8 * loss * count / 10
        return events, arrived


@pytest.mark.timeout(120)
async def test_ten_thousand_mixed_messages_under_loss_all_arrive_in_the_order_of_their_class() -> None:
    events, arrived = await run_mixed(10_000, 0.05)
    assert sorted(without(events)) == sorted(without(arrived))
    assert without(arrived, APPEND) == without(events, APPEND)  # urgent events overtake nothing but audio
    assert without(arrived, *URGENT) == without(events, *URGENT)  # and nothing else overtakes anything
    assert without(arrived) != without(events)  # they do overtake audio


async def test_an_interrupt_overtakes_all_audio_that_has_not_left(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, session=SILENT) as transport:
        call, left = call_of(realtime_server, transport), list[str]()
        transport.on("client_event", lambda told: left.append(told.event["type"]))
        transport.send_audio(bytes(480_000))  # 10 s: 40 pieces
        await call.wait_for(APPEND, "client", count=3)
        pieces_gone = left.count(APPEND)
        assert pieces_gone < 39
        transport.interrupt()
        await transport.drain()
        arrived = [str(event["type"]) for _, event in wire(call, APPEND, "output_audio_buffer.clear")]
        assert arrived.index("output_audio_buffer.clear") == pieces_gone
        assert arrived.count(APPEND) == left.count(APPEND) >= 40
        assert max(len(json.dumps(e)) for e in await sent(transport, call, APPEND)) < 16.5 * 1024


async def test_drain_waits_for_what_the_peer_has_acknowledged(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        dead = link(transport, 1.0)
        transport.send_message("Are you there?", trigger_response=False)
        waiting = asyncio.create_task(transport.drain())
        done, _ = await asyncio.wait([waiting], timeout=0.6)
        assert not done
        dead.drop = lambda datagram: False
        async with asyncio.timeout(5):
            await waiting
        assert len(wire(call_of(realtime_server, transport), "conversation.item.create")) == 1
        async with asyncio.timeout(0.1):
            await transport.drain()  # nothing is on its way


async def test_drain_does_not_wait_for_what_was_queued_after_it(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, session=SILENT) as transport:
        call = call_of(realtime_server, transport)

        async def go_on() -> None:
            while True:
                while transport._core.queued_events < 20:
                    transport.send_audio(bytes(4800))
                await asyncio.sleep(0.001)

        busy = asyncio.create_task(go_on())
        await call.wait_for(APPEND, "client", count=20)
        transport.send_message("Have you got this?", trigger_response=False)
        async with asyncio.timeout(10):
            await transport.drain()
        assert len(wire(call, "conversation.item.create")) == 1
        assert not busy.done()
        busy.cancel()


def takes_one_more(transport: WebRTCTransport) -> bool:
    """Sends an event, if the queue has room for it."""
    try:
        transport.send_event({"type": "input_audio_buffer.clear"})
    except SendQueueFull:
        return False
    return True


async def test_a_network_that_takes_nothing_fills_the_queue_and_then_says_so() -> None:
    async with RealtimeServer() as server, connected(server) as transport:
        link(transport, 1.0)
        errors = list[str]()
        transport.on("error", lambda error: errors.append(error.message))
        taken = 0
        while takes_one_more(transport):
            taken += 1
        with pytest.raises(SendQueueFull, match=r"await drain\(\) before sending more"):
            transport.send_message("One more.")
        assert 1000 <= taken < 1100  # the limit, and what the window of SCTP took
        waiting = asyncio.create_task(transport.drain())
        await asyncio.sleep(0)
        transport.interrupt()  # has a place of its own in a full queue
        await transport.close()
        with pytest.raises(NotConnectedError):
            await waiting
        counted = transport._core.counters
        assert errors == [f"the transport was closed: {counted.discarded} queued events discarded"]
        opening, clear = 1, 1
        assert counted.sent + counted.discarded == opening + taken + clear


async def last_word(transport: WebRTCTransport, call: Call, sender: str) -> None:
    """One event passes; nothing comes behind it."""
    if sender == "server":
        told = asyncio.create_task(transport.wait_for("last.word", timeout=5))
        await asyncio.sleep(0)
        call.inject({"type": "last.word"})
        await told
    else:
        count = len(wire(call, "input_audio_buffer.clear"))
        transport.send_event({"type": "input_audio_buffer.clear"})
        await call.wait_for("input_audio_buffer.clear", count=count + 1)


@pytest.mark.parametrize("sender", ["client", "server"])
async def test_a_lost_last_packet_is_repaired_within_a_quarter_of_a_second(
    realtime_server: RealtimeServer, sender: str
) -> None:
    async with connected(realtime_server) as transport:
        call, loop = call_of(realtime_server, transport), asyncio.get_running_loop()
        assert transport._call is not None
        passed = itertools.count()
        lossy = Link(
            transport._call.peer if sender == "client" else call._peer,
            lambda datagram: is_dtls(datagram) and next(passed) == 0,
        )
        delays = []
        for _ in range(5):
            await asyncio.sleep(0.3)  # what else is under way, an acknowledgement, arrives
            passed = itertools.count()
            began = loop.time()
            async with asyncio.timeout(5):
                await last_word(transport, call, sender)
            delays.append(loop.time() - began)
        assert lossy.dropped == 5
        assert statistics.median(delays) < 0.25, delays
        assert max(delays) < 0.5  # room for a busy machine
