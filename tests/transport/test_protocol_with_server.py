"""Both ends without a network: the conversation against the embedded server's session, at random, in virtual time."""

import json
import random
from collections import deque
from typing import Any

import pytest

from rtc_transport.protocol.core import Conversation
from rtc_transport.protocol.effects import Effect, Playback
from rtc_transport.protocol.sequencer import ALREADY_ACTIVE
from rtc_transport.server.replies import tone_pcm
from rtc_transport.session import SessionConfig
from support.conversation import emitted, outcomes
from support.server_session import Driver

SETTLED_STEPS = 2000


class Call:
    """Client and server with a queue each way, delivered a few messages at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.server = Driver()
        self.core = Conversation()
        self.up: deque[str] = deque()
        self.delivered = 0
        self.wanted: set[str] = set()
        self.resolved: set[str] = set()
        self.errors: list[Any] = []
        self.note(self.core.open(SessionConfig(), self.server.now))
        while self.core.session is None or self.core.deadline is not None:
            self.exchange()

    def note(self, effects: list[Effect]) -> None:
        self.resolved |= outcomes(effects).keys()
        self.errors += emitted(effects, "error")

    def exchange(self) -> None:
        """Some of what is under way arrives."""
        while (message := self.core.next_message(self.server.now)) is not None:
            self.up.append(message.text)
        for _ in range(min(self.rng.randint(0, 3), len(self.up))):
            self.server.send_raw(self.up.popleft())
        for event in self.server.log[self.delivered : self.delivered + self.rng.randint(0, 8)]:
            self.delivered += 1
            playback = Playback(self.rng.randint(0, 500), 500, self.rng.random() < 0.5)
            self.note(self.core.receive(json.dumps(event), self.server.now, playback))
        if self.core.deadline is not None and self.core.deadline <= self.server.now:
            self.note(self.core.tick(self.server.now))

    def act(self) -> None:
        """The user or the application does something."""
        core, rng, now = self.core, self.rng, self.server.now
        known = [str(item.id) for item in core.history]
        match rng.choice(["say", "write", "write", "ask", "interrupt", "delete", "insert", "reset", "wait"]):
            case "say":
                self.server.run(1.2, tone_pcm(0.5))
            case "write":
                self.note(core.send_message("hi"))
            case "ask":
                waiter, effects = core.request_response(rng.choice([None, {}]))
                self.wanted.add(waiter)
                self.note(effects)
            case "interrupt":
                self.note(core.interrupt(now, Playback(100, 200, True), truncate=rng.random() < 0.3))
            case "delete" if known:
                event = {"type": "conversation.item.delete", "item_id": rng.choice(known)}
                self.note(core.send_event(event, now))
            case "insert":
                item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
                place = {"previous_item_id": rng.choice([*known, "root"])}
                self.note(core.send_event({"type": "conversation.item.create", "item": item, **place}, now))
            case "reset" if self.is_settled():
                kept = [item for item in core.history if rng.random() < 0.7]
                self.note(core.reset_history(core.history, kept[::-1], audio_as_text=True))
            case _:
                self.server.run(rng.choice([0.02, 0.1, 0.4]))

    def is_settled(self) -> bool:
        idle = not (self.core.response_active or self.core.waiting_requests or self.core.queued_events)
        return (
            idle and not self.up and self.delivered == len(self.server.log) and self.wanted <= self.resolved
        )


@pytest.mark.parametrize("seed", range(4))
def test_both_ends_have_the_same_conversation_and_every_request_an_outcome(seed: int) -> None:
    call = Call(seed)
    for _ in range(100):
        call.act()
        call.exchange()
    for _ in range(SETTLED_STEPS):
        if call.is_settled():
            break
        call.server.run(0.1)
        call.exchange()
    assert call.wanted == call.resolved
    at_server = [item.id for item in call.server.session._conversation]
    assert [item.id for item in call.core.history] == at_server
    assert at_server
    # random deletions and places may name what is gone by then; nothing else may go wrong
    assert not [
        report for report in call.errors if report.source != "server" or report.code == ALREADY_ACTIVE
    ]
