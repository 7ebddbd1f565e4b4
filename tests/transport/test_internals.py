"""Pins the private names of aiortc and aioice: what fails here names what a new release took away."""

import asyncio
import logging

import pytest

from rtc_transport import internals
from rtc_transport.receiver import StockReceiver, attach_receiver
from support.peers import Packets, connected_pair, make_end


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "_warned", set())


async def test_this_aiortc_has_every_private_name_we_use(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rtc_transport.internals"):
        async with connected_pair() as (client, _):
            assert client.peer.channel is not None
            internals.SctpMonitor(client.peer.channel, lambda: None).close()
    assert not caplog.records, f"written for {internals.WRITTEN_FOR}: {caplog.text}"


async def test_without_the_hooks_the_stock_receiver_delivers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("aiortc.rtcdtlstransport.RTCDtlsTransport._unregister_rtp_receiver")
    end = make_end()
    monkeypatch.undo()
    receiver = end.peer.receiver
    assert isinstance(receiver, StockReceiver)
    assert (
        "the own audio receiver is off: this aiortc has no RTCDtlsTransport._unregister_rtp_receiver"
        in caplog.text
    )
    await end.peer.close()


async def test_the_stock_receiver_hands_on_decoded_sound() -> None:
    client, server = make_end(), make_end()
    transceiver = server.peer.connection.getTransceivers()[0]
    del vars(transceiver.receiver)["receive"]  # as if it had never been taken
    stock = StockReceiver(transceiver, server.voice)
    try:
        await client.peer.accept(await server.peer.answer(await client.peer.offer()))
        async with asyncio.timeout(10):
            await server.voice.wait_for(10)
        assert server.voice.packets == []
        assert all(frame.ndim == 1 and len(frame) == 960 for frame in server.voice.frames)
    finally:
        await stock.aclose()
        await asyncio.gather(client.peer.close(), server.peer.close())


async def test_the_own_receiver_is_taken_once_per_transceiver() -> None:
    end = make_end()
    try:
        receiver = attach_receiver(end.peer.connection.getTransceivers()[0], Packets())
        assert receiver.own
    finally:
        await end.peer.close()
