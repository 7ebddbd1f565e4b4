import asyncio
import contextlib
import os
import sys

from rtc_transport import Microphone, SessionConfig, Speaker, WebRTCTransport


async def main(base_url: str = "https://api.openai.com/v1") -> None:
    transport = WebRTCTransport(source=Microphone(), sink=Speaker(), base_url=base_url)
    transport.on("audio_transcript_delta", lambda event: print(event.delta, end="", flush=True))
    transport.on("device_lost", lambda event: print(f"[{event.device}: {event.reason}]"))
    async with transport:
        session = SessionConfig(instructions="You are a friendly voice on a desk. Be brief.")
        await transport.connect(api_key=os.environ["OPENAI_API_KEY"], model="gpt-realtime", session=session)
        await transport.wait_for("disconnected")  # until Ctrl-C, or until the service hangs up


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
