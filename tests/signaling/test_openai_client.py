"""The service's own client against our server: they must agree on the wire."""

import httpx2
import openai
import pytest

from rtc_signaling import SignalingServer, create_app

OFFER = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n"
ANSWER = "v=0\r\ns=answer\r\n"


class Calls:
    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, object] | None, bool]] = []
        self.ended: list[str] = []

    async def answer(
        self, offer_sdp: str, session: dict[str, object] | None, secret: bool
    ) -> tuple[str, str]:
        self.asked.append((offer_sdp, session, secret))
        return "rtc_1", ANSWER

    async def hangup(self, call_id: str) -> bool:
        self.ended.append(call_id)
        return call_id == "rtc_1"


def client(url: str, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=url, api_key=key, max_retries=0, http_client=httpx2.AsyncClient(trust_env=False)
    )


async def test_openai_s_client_makes_calls_mints_and_hangs_up() -> None:
    calls = Calls()
    async with SignalingServer(create_app(calls, keys=["sk-test"])) as server:
        async with client(server.url, "sk-test") as service:
            answer = await service.realtime.calls.create(
                sdp=OFFER, session={"type": "realtime", "model": "gpt-realtime", "instructions": "Grüß Gott"}
            )
            assert answer.text == ANSWER
            assert answer.response.headers["location"] == "/v1/realtime/calls/rtc_1"
            await service.realtime.calls.hangup("rtc_1")
            minted = await service.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "model": "gpt-realtime"},
            )
            assert minted.session.type == "realtime"
        async with client(server.url, minted.value) as browser:
            assert (await browser.realtime.calls.create(sdp=OFFER)).text == ANSWER
    session = {"type": "realtime", "model": "gpt-realtime"}
    assert calls.asked == [(OFFER, session | {"instructions": "Grüß Gott"}, False), (OFFER, session, True)]
    assert calls.ended == ["rtc_1"]


async def test_openai_s_client_understands_our_errors() -> None:
    async with SignalingServer(create_app(Calls(), keys=["sk-test"])) as server:
        async with client(server.url, "sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError, match="not known") as refused:
                await stranger.realtime.calls.create(sdp=OFFER)
        async with client(server.url, "sk-test") as service:
            with pytest.raises(openai.BadRequestError, match="empty"):
                await service.realtime.calls.create(sdp=" ")
            with pytest.raises(openai.NotFoundError):
                await service.realtime.calls.hangup("rtc_2")
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id is not None
