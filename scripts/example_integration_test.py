from rtc_transport import NullSink, ToneSource, WebRTCTransport
from rtc_transport.server import RealtimeServer


async def test_my_agent_gets_an_answer(realtime_server: RealtimeServer) -> None:
    agent = WebRTCTransport(source=ToneSource(seconds=1), sink=NullSink(), base_url=realtime_server.url)
    async with agent:
        await agent.connect(api_key="any")
        turn = await agent.wait_for("turn_done", timeout=10)
    assert turn.status == "completed"
    assert turn.output[0].content[0].transcript.startswith("(parrot")
