import asyncio
import os
import sys

from rtc_transport import FileSink, FileSource, SessionConfig, WebRTCTransport


async def main(question: str, answer: str, base_url: str = "https://api.openai.com/v1") -> None:
    transport = WebRTCTransport(source=FileSource(question), sink=FileSink(answer), base_url=base_url)
    transport.on("audio_transcript_delta", lambda event: print(event.delta, end="", flush=True))
    async with transport:
        session = SessionConfig(instructions="Answer in one sentence.")
        await transport.connect(api_key=os.environ["OPENAI_API_KEY"], model="gpt-realtime", session=session)
        await transport.wait_for("output_audio_buffer.stopped", timeout=120)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
