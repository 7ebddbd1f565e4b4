"""The pytest plugin that ships with the library: the fixture `realtime_server`.

It has function scope and gives a `rtc_transport.server.RealtimeServer` with the parrot behind it, which listens on
127.0.0.1 and is closed after the test. It works in both modes of pytest-asyncio. Nothing heavy is imported until a test
asks for it.
"""

from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rtc_transport.server import RealtimeServer


async def _serve() -> AsyncIterator["RealtimeServer"]:
    """An embedded realtime server that says back what it hears; closed after the test."""
    from rtc_transport.server import RealtimeServer

    async with RealtimeServer() as server:
        yield server


def _explain() -> None:
    """An embedded realtime server; needs pytest-asyncio."""
    pytest.fail("the fixture realtime_server needs pytest-asyncio: pip install pytest-asyncio", pytrace=False)


def _fixture() -> Any:
    if find_spec("pytest_asyncio") is None:
        return pytest.fixture(_explain, name="realtime_server")
    import pytest_asyncio

    return pytest_asyncio.fixture(_serve, name="realtime_server")


realtime_server = _fixture()
