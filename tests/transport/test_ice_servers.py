"""ICE servers: none unless asked for, and then those that were given."""

import asyncio

from rtc_transport import RealtimeServer, RTCIceServer, WebRTCTransport
from support.transports import connected

STUN_MAGIC_COOKIE = b"\x21\x12\xa4\x42"  # RFC 8489 §5


class StunListener(asyncio.DatagramProtocol):
    """Notes binding requests and answers none."""

    def __init__(self) -> None:
        self.requests = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.requests += data[:2] == b"\x00\x01" and data[4:8] == STUN_MAGIC_COOKIE


async def test_by_default_nobody_is_asked_for_our_address(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        assert transport._call is not None
        ice = transport._call.peer.connection.getSenders()[0].transport.transport
        assert ice.iceGatherer._connection.stun_server is None
        assert ice.iceGatherer._connection.turn_server is None
        assert transport.stats().connect_seconds["ice"] < 1


async def test_a_given_stun_server_is_asked() -> None:
    loop = asyncio.get_running_loop()
    listening, listener = await loop.create_datagram_endpoint(StunListener, local_addr=("127.0.0.1", 0))
    port = listening.get_extra_info("sockname")[1]
    transport = WebRTCTransport(ice_servers=[RTCIceServer(f"stun:127.0.0.1:{port}")])
    attempt = asyncio.create_task(transport.connect(api_key="k", url="http://127.0.0.1:9/v1/realtime/calls"))
    async with asyncio.timeout(5):
        while not listener.requests:  # noqa: ASYNC110 - a datagram has no event here
            await asyncio.sleep(0.01)
    await transport.close()
    await asyncio.gather(attempt, return_exceptions=True)
    listening.close()
