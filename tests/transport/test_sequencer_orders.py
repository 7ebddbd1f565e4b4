"""The sequence of `response.create` in random orders, against a small service."""

import json
from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_transport.protocol.core import Conversation
from rtc_transport.protocol.effects import Playback
from rtc_transport.protocol.ids import counting_ids
from rtc_transport.protocol.sequencer import ALREADY_ACTIVE
from rtc_transport.session import SessionConfig
from support.conversation import emitted, outcomes


class Service:
    """Answers creates in order, refuses one while a response runs, and starts responses of its own."""

    def __init__(self, *, echoes: bool) -> None:
        self.echoes = echoes
        self.running: str | None = None
        self.made = 0
        self.outbound: deque[str] = deque()

    def take(self, event: dict[str, Any]) -> None:
        if event["type"] == "response.cancel":
            if self.running == event["response_id"]:
                self.end("cancelled")
            return
        if event["type"] != "response.create":
            return
        if self.running is not None:
            error = {"code": ALREADY_ACTIVE, "message": "busy", "event_id": event["event_id"], "type": "x"}
            self.say("error", error=error)
        else:
            self.start(event["response"]["metadata"] if self.echoes else None)

    def user_turn(self) -> None:
        if self.running is not None:
            self.end("cancelled")
        self.say("input_audio_buffer.committed", item_id="u")
        self.start(None)

    def start(self, metadata: dict[str, str] | None) -> None:
        self.made += 1
        self.running = f"r{self.made}"
        self.say("response.created", response={"id": self.running, "metadata": metadata})

    def end(self, status: str = "completed") -> None:
        if self.running is not None:
            self.say("response.done", response={"id": self.running, "status": status})
            self.running = None

    def say(self, kind: str, **fields: Any) -> None:
        self.outbound.append(json.dumps({"type": kind, "event_id": "e", **fields}))


ACTIONS = ("automatic", "explicit", "raw", "cancel", "interrupt", "send", "deliver", "turn", "end", "tick")


class Run:
    """Client and service with a network between that delivers when it is told to; watches the law."""

    def __init__(self, *, echoes: bool) -> None:
        self.service = Service(echoes=echoes)
        self.core = Conversation(new_id=counting_ids())
        self.now = 0.0
        self.under_way: deque[dict[str, Any]] = deque()
        self.wanted: set[str] = set()
        self.resolved: dict[str, Any] = {}
        self.free = True
        self.explicit_sent: list[int] = []
        self.explicit_made = 0
        self.core.open(SessionConfig(), 0.0)
        self.core.next_message(0.0)
        self.core.receive('{"type":"session.updated","session":{"type":"realtime"}}', 0.0, Playback())

    def do(self, action: str) -> None:
        match action:
            case "automatic":
                waiter, effects = self.core.request_response()
                self.wanted.add(waiter)
                self.note(effects)
            case "explicit":
                waiter, effects = self.core.request_response({"instructions": str(self.explicit_made)})
                self.explicit_made += 1
                self.wanted.add(waiter)
                self.note(effects)
            case "raw":
                self.note(self.core.send_event({"type": "response.create"}, self.now))
            case "cancel":
                self.note(self.core.cancel_response(min(self.wanted, default="none")))
            case "interrupt":
                self.note(self.core.interrupt(self.now, Playback()))
            case "send":
                self.send()
            case "deliver":
                self.deliver()
            case "turn":
                self.service.user_turn()
            case "end":
                self.service.end()
            case "tick":
                self.tick()

    def send(self) -> None:
        while (message := self.core.next_message(self.now)) is not None:
            event = json.loads(message.text)
            self.under_way.append(event)
            if event["type"] == "response.create":
                assert self.free, "two response.create without an end between"
                self.free = False
                if "instructions" in event["response"]:
                    self.explicit_sent.append(int(event["response"]["instructions"]))

    def deliver(self) -> None:
        if self.under_way:
            self.service.take(self.under_way.popleft())
        if self.service.outbound:
            text = self.service.outbound.popleft()
            if json.loads(text)["type"] in ("response.done", "error"):
                self.free = True
            self.note(self.core.receive(text, self.now, Playback()))

    def tick(self) -> None:
        deadline = self.core.deadline
        if deadline is not None:
            self.now = max(self.now, deadline)
            effects = self.core.tick(self.now)
            if any("not answered" in report.message for report in emitted(effects, "error")):
                self.free = True
            self.note(effects)

    def note(self, effects: Any) -> None:
        for waiter, outcome in outcomes(effects).items():
            assert waiter not in self.resolved, "resolved twice"
            self.resolved[waiter] = outcome


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(st.sampled_from(ACTIONS), max_size=80))
def test_the_law_holds_in_any_order(echoes: bool, actions: list[str]) -> None:
    run = Run(echoes=echoes)
    for action in actions:
        run.do(action)
    firsts = list(dict.fromkeys(run.explicit_sent))
    assert firsts == sorted(firsts), "explicit requests keep their order"
    run.note(run.core.closed())
    assert set(run.resolved) == run.wanted, "every handle has an outcome"


@settings(max_examples=200, deadline=None)
@given(st.booleans(), st.lists(st.sampled_from(ACTIONS[:9]), max_size=60))
def test_with_a_service_that_answers_everything_comes_to_an_end_by_itself(
    echoes: bool, actions: list[str]
) -> None:
    run = Run(echoes=echoes)
    for action in actions:
        run.do(action)
    for _ in range(2000):
        run.send()
        if not (run.under_way or run.service.outbound or run.service.running):
            break
        run.deliver()
        if not (run.under_way or run.service.outbound):
            run.service.end()
    if run.core.deadline is not None:  # only an answer that no echo told apart may be left to time
        run.tick()
        assert not echoes
    assert set(run.resolved) == run.wanted or not echoes
