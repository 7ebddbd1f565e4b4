from collections.abc import AsyncIterator

import aiohttp
import pytest

from rtc_signaling import create_app
from support.signaling_calls import KEY, Calls, serving


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def served(calls: Calls) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    async with serving(create_app(calls, keys=[KEY])) as url_and_http:
        yield url_and_http
