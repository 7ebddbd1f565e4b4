"""The official JavaScript client in a browser holds a call with the embedded server."""

import asyncio
import json
import wave
from pathlib import Path

import pytest

from rtc_signaling import mint_client_secret
from rtc_transport import RealtimeServer
from rtc_transport.server import Call
from support.browser import SDK, open_page
from support.transports import level_dbfs, types_of

SPEECH = Path(__file__).parents[2] / "rtc_transport/data/speech.wav"
SPOKEN_SECONDS, PERIOD_SECONDS = 1.5, 8
TURNS = [
    {
        "heard": "How is the weather in Rome?",
        "when": "weather",
        "function_call": {"name": "weather", "arguments": {"city": "Rome"}},
    },
    {"when": "sunny", "text": "It is sunny in Rome."},
    {"when": "story", "text": "Once upon a time there was a king " * 8},
    {"when": "now", "text": "That was all."},
]


def microphone(path: Path) -> Path:
    """A second of silence, a few words, silence: what the browser's fake microphone plays again and again."""
    with wave.open(str(SPEECH)) as speech:
        rate_hz = speech.getframerate()
        words = speech.readframes(round(SPOKEN_SECONDS * rate_hz))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(bytes(2 * rate_hz) + words)
        file.writeframes(bytes(2 * rate_hz * PERIOD_SECONDS - 2 * rate_hz - len(words)))
    return path


async def heard_after(call: Call, count: int, seconds: float) -> float:
    """The level, dBFS, of what the server hears during `seconds`, from its sample `count` on."""
    async with asyncio.timeout(seconds + 10):
        while len(call.heard()) < count + 24000 * seconds:  # noqa: ASYNC110 - sound has no event
            await asyncio.sleep(0.1)
    return level_dbfs(call.heard()[count:])


@pytest.mark.timeout(120)
async def test_the_official_javascript_client_holds_a_call(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"turns": TURNS}))
    sound = f"--use-file-for-fake-audio-capture={microphone(tmp_path / 'microphone.wav')}"
    async with (
        RealtimeServer(reply=script, keys=["sk-main"]) as server,
        open_page(SDK / "client.js", [sound]) as page,
    ):
        await page.until("loaded", timeout=60)
        model = {"type": "realtime", "model": "gpt-realtime"}
        secret = await mint_client_secret("sk-main", session=model, base_url=server.url)
        page.go_on(url=server.calls_url, wrongKey="ek_wrong", key=secret.value)

        refused = await page.until("refused")
        assert "401" in refused["message"]
        assert not server.calls
        page.go_on()

        connected = await page.until("connected")
        (call,) = server.calls.values()
        assert connected["status"] == "connected"
        assert connected["callId"] == call.id  # `Location` is exposed to pages of other origins
        assert types_of(call, "client").count("session.update") == 2  # the client's way
        page.go_on()

        answered = await page.until("answered", timeout=30)
        assert answered["asked"] == ["Rome"]
        assert answered["spoken"] == ["It is sunny in Rome."]
        assert answered["sound"]["energy"] > 0
        assert answered["heard"]
        page.go_on()

        muted = await page.until("muted")
        assert muted["muted"]
        muted_at = len(call.heard()) + 4800  # what is still on its way
        page.go_on()

        await page.until("interrupted")
        asked = [kind for kind in types_of(call, "client") if kind != "conversation.item.retrieve"]
        assert asked[-2:] == [
            "response.cancel",
            "output_audio_buffer.clear",
        ]  # a truncated item it asks for, later
        truncated = await call.wait_for("conversation.item.truncated")
        assert 100 < truncated["audio_end_ms"] < 3000
        page.go_on()

        written = await page.until("written")
        assert written["spoken"][-1] == "That was all."
        assert written["usage"] > 0
        assert await heard_after(call, muted_at, PERIOD_SECONDS) < -90
        assert types_of(call, "server").count("input_audio_buffer.speech_started") == 1
        page.go_on()

        unmuted = await page.until("unmuted")
        assert not unmuted["muted"]
        async with asyncio.timeout(PERIOD_SECONDS + 5):
            await call.wait_for("input_audio_buffer.speech_started", count=2)
        page.go_on()

        closed = await page.until("closed")
        assert closed["status"] == "disconnected"
        assert closed["changes"] == ["connecting", "connected", "disconnected"]
        assert closed["errors"] == []
        assert closed["rejected"] == []  # each of our events fits the client's schema
        assert closed["kinds"] > 20
        async with asyncio.timeout(5):
            await call.wait_for("call.ended")
        assert types_of(call, "server").count("session.updated") == 2
        assert "error" not in types_of(call, "server")
