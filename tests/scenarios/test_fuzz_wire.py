"""Whatever the service says: the call stays up, the sound flows both ways, and every message is accounted for."""

import asyncio
import json
import logging
import random
import string
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rtc_audio.ports import Pcm
from rtc_transport import CallbackSink, ToneSource, WebRTCTransport
from rtc_transport.events import SERVER_EVENTS
from rtc_transport.server import BadText, Call
from support.rules import scripted
from support.transports import call_of, connected, eventually, level_dbfs, types_of

TOTAL, OVER_THE_CHANNEL = 100_000, 10_000
LARGEST = {"channel": 60_000, "shell": 1_000_000}
BATCH = 500
WORDS = ["type", "item", "response", "session", "delta", "id", "item_id", "response_id", "audio", "content"]
ODD = ["", " ", "null", "NaN", "[]", '"text"', "-0", "1e999", "9" * 5000, "[" * 5000, '{"type":' * 500, "{}"]
SILENT = {"audio": {"input": {"turn_detection": None}}}

Message = str | bytes


class Fuzz:
    """Messages out of recorded ones, by a seed."""

    def __init__(self, recorded: list[dict[str, Any]], seed: int, largest: int) -> None:
        self._random = random.Random(seed)
        self._recorded = recorded
        self._largest = largest

    def __iter__(self) -> Iterator[Message]:
        kinds = [self._mutant, self._recorded_as_it_was, self._invented, self._broken_text, self._noise]
        while True:
            (make,) = self._random.choices(kinds, [50, 10, 15, 15, 10])
            yield make()

    def _recorded_as_it_was(self) -> Message:
        return json.dumps(self._random.choice(self._recorded))

    def _mutant(self) -> Message:
        event = json.loads(self._recorded_as_it_was())
        for _ in range(self._random.choice([1, 1, 1, 2, 5])):
            self._change(event)
        return json.dumps(event)

    def _invented(self) -> Message:
        kind = self._random.choice([*SERVER_EVENTS, self._word(), "*", "connected", "error"])
        fields = {self._word(): self._junk() for _ in range(self._random.randrange(6))}
        return json.dumps({**fields, "type": kind})

    def _broken_text(self) -> Message:
        text = str(self._mutant())
        at, size = self._random.randrange(len(text)), self._random.randrange(1, 20)
        broken = self._random.choice([text[:at], text[:at] + text[at + size :], text[:at] + text])
        return broken.encode() if self._random.random() < 0.2 else broken

    def _noise(self) -> Message:
        match self._random.randrange(5):
            case 0:
                return self._random.choice(ODD)
            case 1:
                return BadText(self._mutant())
            case 2 if self._random.random() < 0.05:
                return json.dumps({"type": self._word(), "delta": "x" * (self._largest - 100)})
        return self._random.randbytes(self._random.choice([0, 1, 10, 1000]))

    def _change(self, event: dict[str, Any]) -> None:
        node: Any = event
        while isinstance(node, dict | list) and node:
            keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
            if (
                node is event and self._random.random() < 0.9
            ):  # most keep their type: they reach more of our code
                keys = [key for key in keys if key != "type"] or keys
            key = self._random.choice(keys)
            if not isinstance(node[key], dict | list) or not node[key] or self._random.random() < 0.3:
                break
            node = node[key]
        else:
            return
        match self._random.randrange(4):
            case 0:
                del node[key]
            case 1 if isinstance(node, dict):
                node[self._word()] = node.pop(key)
            case _:
                node[key] = self._junk()

    def _junk(self, depth: int = 0) -> Any:
        pick = self._random.randrange(9 if depth < 4 else 7)
        if pick == 7:
            return [self._junk(depth + 1) for _ in range(self._random.randrange(4))]
        if pick == 8:
            return {self._word(): self._junk(depth + 1) for _ in range(self._random.randrange(4))}
        numbers = [-1, 2**63, 1e300, float("nan"), 0.5]
        return [None, True, self._random.choice(numbers), "", "\ud800", self._word(), self._id()][pick]

    def _word(self) -> str:
        return self._random.choice([*WORDS, "".join(self._random.choices(string.printable, k=5))])

    def _id(self) -> str:
        return str(self._random.choice(self._recorded).get("item_id", "item_x"))


class Watch:
    """Looks on while a call goes on: sound both ways, and faults of ours in the log or in the loop."""

    def __init__(self, transport: WebRTCTransport, call: Call, caplog: pytest.LogCaptureFixture) -> None:
        self._transport, self._call, self._caplog = transport, call, caplog
        self._counts: tuple[int, int] = (0, 0)
        self.unhandled: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.unhandled.append(context))
        self.look()

    def look(self) -> tuple[int, int]:
        """Packets (sent, received) since the last look."""
        stats, before = self._transport.stats(), self._counts
        self._counts = (stats.packets_sent, stats.packets_received)
        return self._counts[0] - before[0], self._counts[1] - before[1]

    def check(self, seconds: float) -> None:
        """The call is up, packets flowed in these seconds, and nothing broke inside."""
        sent, received = self.look()
        assert self._transport.status == "connected"
        assert sent > 25 * seconds
        assert received > 25 * seconds  # of 50: the messages keep both ends busy
        assert level_dbfs(self._call.heard()[-2400:]) > -40
        assert self.unhandled == []
        faults = [each for each in self._caplog.records if each.levelno >= logging.ERROR]
        assert faults == []


async def over_the_channel(call: Call, messages: Iterator[Message], count: int) -> None:
    """The server's peer sends them as they are, as fast as the network takes them."""
    channel = call._peer.channel
    assert channel is not None
    for number in range(count):
        channel.send(next(messages))
        if number % 100 == 99:
            await eventually(lambda: channel.bufferedAmount < 200_000, timeout=20)


async def into_the_shell(transport: WebRTCTransport, messages: Iterator[Message], count: int) -> None:
    """The rest, as the receive path hands it over."""
    for number in range(count):
        message = next(messages)
        transport._on_message(message.encode() if isinstance(message, BadText) else message)
        if number % BATCH == BATCH - 1:
            while transport._inbox:  # noqa: ASYNC110 - it is handled in the next turns of the loop
                await asyncio.sleep(0)


async def record(transport: WebRTCTransport, call: Call) -> list[dict[str, Any]]:
    """What the service says in a conversation with a text, a voice and a call."""
    for _ in range(3):
        transport.send_message("Hello")
        await transport.wait_for("turn_done", timeout=10)
    await transport.wait_for("output_audio_buffer.stopped", timeout=10)
    await eventually(lambda: transport._core.counters.received == len(types_of(call, "server")))
    return [dict(e.event) for e in call.events if e.sender == "server"]


@pytest.mark.timeout(180)
async def test_a_hundred_thousand_messages_leave_the_call_up_and_the_sound_flowing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    played: list[Pcm] = []
    turns: list[dict[str, Any]] = [
        {"text": "Good day to you."},
        {"function_call": {"name": "look", "arguments": {"at": [1, 2]}}},
        {"text": "Well."},
    ]
    async with (
        scripted(*turns) as server,
        connected(server, session=SILENT, source=ToneSource(), sink=CallbackSink(played.append)) as transport,
    ):
        loop, call = asyncio.get_running_loop(), call_of(server, transport)
        recorded = await record(transport, call)
        counters, told = transport._core.counters, list[str]()
        before = counters.received
        transport.on("*", lambda event: told.append(event.type))

        def taken() -> int:
            """How many messages of the fuzz were handled; the service says its own between them."""
            return counters.received - len(types_of(call, "server"))

        watch = Watch(transport, call, caplog)

        began = loop.time()
        await over_the_channel(call, iter(Fuzz(recorded, 1, LARGEST["channel"])), OVER_THE_CHANNEL)
        await eventually(lambda: taken() == OVER_THE_CHANNEL, timeout=60)
        watch.check(loop.time() - began)

        began = loop.time()
        await into_the_shell(transport, iter(Fuzz(recorded, 2, LARGEST["shell"])), TOTAL - OVER_THE_CHANNEL)
        await eventually(lambda: taken() == TOTAL)
        assert counters.received - before == counters.malformed + len(told)  # each was told or counted
        assert counters.invalid > 10_000
        assert counters.unknown > 1000
        await asyncio.sleep(0.2)
        watch.check(loop.time() - began)

        for _ in range(2):  # responses that were only made up end: those without an id, then all
            call.inject({"type": "response.done", "response": {}})
        await eventually(lambda: not transport._core.response_active)
        played.clear()
        response = await transport.request_response({}).result(timeout=15)
        assert response.status == "completed"
        await eventually(lambda: bool(played) and level_dbfs(np.concatenate(played)) > -40)
