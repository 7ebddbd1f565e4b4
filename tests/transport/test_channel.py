"""The control channel over real SCTP: order, one message inside at a time, drain, tail loss."""

import asyncio
import itertools
import random
from collections import deque

import pytest

from rtc_transport.channel import ControlChannel
from rtc_transport.errors import NotConnectedError
from rtc_transport.peer import Peer
from support.peers import Link, connected_pair, is_dtls


def control(peer: Peer, queue: deque[str]) -> ControlChannel:
    assert peer.channel is not None
    return ControlChannel(peer.channel, lambda: queue.popleft() if queue else None)


async def test_messages_arrive_in_order_and_drain_waits_for_the_acknowledgement() -> None:
    async with connected_pair() as (client, server):
        queue = deque(f"message {n}" for n in range(500))
        channel = control(client.peer, queue)
        channel.pump()
        async with asyncio.timeout(10):
            await channel.drained(lambda: bool(queue))
        assert [server.messages.get_nowait() for _ in range(500)] == [f"message {n}" for n in range(500)]
        channel.close()


async def test_at_most_one_message_is_inside_sctp() -> None:
    async with connected_pair() as (client, server):
        queue = deque(["x" * 60_000] * 5)
        channel = control(client.peer, queue)
        channel.pump()
        assert len(queue) == 4  # a large one does not fit into the window, so the next has to wait
        async with asyncio.timeout(10):
            await channel.drained(lambda: bool(queue))
        assert [len(await server.messages.get()) for _ in range(5)] == [60_000] * 5
        channel.close()


async def test_drain_fails_when_the_channel_dies() -> None:
    async with connected_pair() as (client, _):
        queue = deque(["x" * 60_000] * 50)
        channel = control(client.peer, queue)
        Link(client.peer, lambda _: True)
        channel.pump()
        waiting = asyncio.create_task(channel.drained(lambda: bool(queue)))
        await asyncio.sleep(0)
        channel.close()
        with pytest.raises(NotConnectedError, match="before the peer had everything"):
            await waiting
        with pytest.raises(NotConnectedError):
            await channel.drained(lambda: True)


async def test_a_lost_last_packet_is_repaired_within_a_quarter_of_a_second() -> None:
    async with connected_pair() as (client, server):
        queue = deque(["warm up"] * 5)
        channel = control(client.peer, queue)
        channel.pump()
        await channel.drained(lambda: bool(queue))
        for _ in range(5):
            await server.messages.get()
        count = itertools.count()
        link = Link(client.peer, lambda datagram: is_dtls(datagram) and next(count) == 0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        queue.append("the last")
        channel.pump()
        assert await server.messages.get() == "the last"
        assert link.dropped == 1
        assert loop.time() - began < 0.45  # 0.2 s by design; the rest is room for a busy machine
        channel.close()


async def test_under_loss_nothing_is_lost_or_reordered() -> None:
    async with connected_pair() as (client, server):
        queue = deque(f"{n} " + "x" * (n % 7 * 300) for n in range(600))
        expected = list(queue)
        channel = control(client.peer, queue)
        generator = random.Random(5)
        link = Link(client.peer, lambda datagram: is_dtls(datagram) and generator.random() < 0.05)
        channel.pump()
        async with asyncio.timeout(18):
            await channel.drained(lambda: bool(queue))
        assert [server.messages.get_nowait() for _ in range(600)] == expected
        assert link.dropped > 10
        channel.close()
