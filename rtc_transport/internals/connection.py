"""ICE and the connection as a whole."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiortc import RTCIceTransport, RTCPeerConnection

from .checks import has, logger

LOOPBACK = "127.0.0.1"


def gather_loopback(ice: RTCIceTransport, *, always: bool) -> bool:
    """Makes `ice` gather 127.0.0.1 as well: always, or only where there is no other address.

    aioice leaves loopback addresses out, so a machine whose only interface is ``lo`` has no candidates.
    """
    gatherer = ice.iceGatherer
    if not has(gatherer, "loopback gathering", "_connection"):
        return False
    connection: Any = gatherer._connection
    if not has(connection, "loopback gathering", "get_component_candidates"):
        return False
    stock = connection.get_component_candidates

    async def get_component_candidates(
        component: int, addresses: list[str], *args: Any, **kwargs: Any
    ) -> Any:
        if always or not addresses:
            addresses = [*addresses, LOOPBACK]
        return await stock(component, addresses, *args, **kwargs)

    connection.get_component_candidates = get_component_candidates
    return True


def quiet_connect(connection: RTCPeerConnection) -> bool:
    """Lets aiortc's connecting end without a word when the connection is closed meanwhile.

    It runs in a task that nobody awaits: what a closed transport raises in it would be told as never retrieved.
    """
    name = "_RTCPeerConnection__connect"
    if not has(connection, "silent connecting", name):
        return False
    stock = getattr(connection, name)

    async def connect() -> None:
        try:
            await stock()
        except Exception as error:  # whatever a transport raises that is being closed
            if connection.signalingState != "closed":
                raise
            logger.debug("closed while connecting: %s", error)

    setattr(connection, name, connect)
    return True


def wrap_sending(
    ice: RTCIceTransport,
    wrap: Callable[[Callable[[bytes], Awaitable[None]]], Callable[[bytes], Awaitable[None]]],
) -> bool:
    """Puts `wrap(send)` in the place of the function that sends datagrams: for induced loss and delay."""
    private: Any = ice
    if not has(private, "induced packet loss", "_send"):
        return False
    private._send = wrap(private._send)
    return True
