"""The order of `response.create`: one at a time, and whose response it is that starts.

The law: never two `response.create` without a `response.done` between. Requests wait in strict order; an automatic one
(nobody said what the response shall be) merges into an automatic one that waits last, an explicit one never merges.

One request at most holds the *slot*: it was handed out (`take`), left the machine (`sent`) and waits for its answer,
`response.created` or an `error`. Without an answer in time the slot is freed (`tick`). A response may also be started
by the service or by another client of the session, so a `response.created` is ours only if it echoes the tag in our
`metadata`, or if no other response can have started: none runs, and no turn of the user waits for an answer.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from rtc_transport.errors import SendQueueFull

from .outbox import MAX_QUEUED_BYTES, Message

ANSWER_SECONDS = 8.0
MAX_REFUSALS = 3
MAX_WAITING = 16_384
MAX_RUNNING = 32
VAD_RESPONSE_SECONDS = 5.0  # a turn of the user without a response for that long will not get one
ALREADY_ACTIVE = "conversation_already_has_active_response"


@dataclass(slots=True, eq=False)
class Request:
    """One `response.create` and all who want what comes of it."""

    message: Message
    """The event; its `event_id` is set."""
    explicit: bool
    """Whether it carries parameters, and so never merges."""
    tag: str | None
    """What a response of ours carries in its `metadata`; None if there was no room for it."""
    waiters: dict[str, None] = field(default_factory=dict)
    """The ids of those who are told the outcome."""
    anonymous: bool = False
    """Whether somebody wants the response who is not told."""
    sent: bool = False
    refusals: int = 0
    cancelled: bool = False
    """Whether the response is to be cancelled as soon as it starts."""
    interrupted: bool = False
    """Whether its voice is not to be heard either."""
    response_id: str | None = None


@dataclass(slots=True)
class _Running:
    request: Request | None
    cancelling: bool = False


class Refusal(NamedTuple):
    """What became of a request that the service refused."""

    waiters: list[str]
    """Who is told; nobody if the request is sent again."""
    is_fault: bool
    """Whether it is to be reported; not if it is sent again, or if nobody wants the response any more."""


class Cancellation(NamedTuple):
    """What is left to do when requests are not wanted any more."""

    withdrawn: list[str]
    """Those who waited for requests that were never sent."""
    unsent: Request | None
    """The request in the slot, to be taken back and then given to `release`."""
    running: str | None = None
    """The response to cancel: it runs, and nobody has cancelled it."""


class ResponseSequencer:
    """The requests that wait, the one in the slot, and the responses that run."""

    def __init__(self, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._answer_seconds = answer_seconds
        self._queue: deque[Request] = deque()
        self._queued_bytes = 0
        self._slot: Request | None = None
        self._by_waiter: dict[str, Request] = {}
        self._running: dict[str, _Running] = {}
        self._echoes = False
        self._user_turn_until = float("-inf")
        self._blocked = False
        self.deadline: float | None = None
        """When `tick` frees what waits for an answer."""

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the responses between `response.created` and `response.done`, the oldest first."""
        return tuple(self._running)

    @property
    def cancellable(self) -> tuple[str, ...]:
        """Those of them that nobody has cancelled."""
        return tuple(response_id for response_id, each in self._running.items() if not each.cancelling)

    @property
    def waiting(self) -> int:
        """How many requests have not been handed out."""
        return len(self._queue)

    @property
    def waiters(self) -> tuple[str, ...]:
        """The ids of all who are still to be told an outcome."""
        return tuple(self._by_waiter)

    @property
    def free(self) -> bool:
        """Whether a request that is added now is handed out at once."""
        return self._slot is None and not (self._running or self._blocked or self._queue)

    def check(self, message: Message) -> None:
        """Raises SendQueueFull if one more request is too many; changes nothing."""
        if (
            max(len(self._queue), len(self._by_waiter)) >= MAX_WAITING
            or self._queued_bytes + message.size > MAX_QUEUED_BYTES
        ):
            raise SendQueueFull(
                f"{len(self._queue)} requests for a response wait, the limit is {MAX_WAITING}"
            )

    def add(self, request: Request) -> None:
        """Queues a request, or merges it into the last one if both are automatic."""
        last = self._queue[-1] if self._queue else None
        if last is not None and not last.explicit and not request.explicit:
            last.waiters |= request.waiters
            last.anonymous |= request.anonymous
            self._by_waiter.update(dict.fromkeys(request.waiters, last))
            return
        self._queue.append(request)
        self._queued_bytes += request.message.size
        self._by_waiter.update(dict.fromkeys(request.waiters, request))

    def take(self) -> Request | None:
        """Hands out the request that may go now, which then holds the slot."""
        if self._slot is not None or self._running or self._blocked or not self._queue:
            return None
        self._slot = self._queue.popleft()
        self._queued_bytes -= self._slot.message.size
        return self._slot

    def sent(self, message: Message, now: float) -> None:
        """A message has left the machine; if it is the request in the slot, its answer is awaited from now on."""
        if self._slot is not None and self._slot.message is message:
            self._slot.sent = True
            self.deadline = now + self._answer_seconds

    def user_turn(self, now: float) -> None:
        """The user's turn ended: the service may start a response of its own."""
        self._user_turn_until = now + VAD_RESPONSE_SECONDS

    def created(self, response_id: str, tag: str | None, now: float) -> Request | None:
        """A response started; returns its request if that is to be cancelled at once."""
        request = self._slot if self._is_ours(tag, now) else None
        if request is None:
            if tag is None:  # this was the service's answer to the user
                self._user_turn_until = float("-inf")
        else:
            self._echoes = self._echoes or tag is not None
            request.response_id = response_id
            self._slot = self.deadline = None
        self._blocked = False
        if request is not None or response_id not in self._running:  # told twice, it is still whose it was
            self._running[response_id] = _Running(request)
        if len(self._running) > MAX_RUNNING:  # a service that never ends its responses; at most one is ours
            del self._running[
                next(each for each, running in self._running.items() if running.request is None)
            ]
        return (
            request if request is not None and request.cancelled and self._begin_cancel(response_id) else None
        )

    def done(self, response_id: str, tag: str | None) -> list[str]:
        """A response ended; returns who waited for it. An end without a known id ends whatever runs."""
        if self._slot is not None and self._slot.sent and tag is not None and tag == self._slot.tag:
            self._running[response_id] = _Running(self._slot)  # its start was not understood
            self._slot = None
        if response_id in self._running:
            ended = [self._running.pop(response_id)]
        elif not response_id or "" in self._running:
            ended = list(self._running.values())
            self._running.clear()
        else:
            ended = []
        if self._slot is None:
            self._blocked = False
            self.deadline = None
        return [waiter for running in ended for waiter in self._forget(running.request)]

    def refused(self, event_id: str | None, code: str | None, message: str, now: float) -> Refusal | None:
        """An error came; None if it is about no request that can be refused."""
        request = (self._mistaken(event_id) if code == ALREADY_ACTIVE else None) or self._slot
        if request is None or not request.sent:
            return None
        if not (event_id == request.message.event_id if event_id else _is_about_create(code, message)):
            return None
        self._slot = self.deadline = None
        if code != ALREADY_ACTIVE or request.refusals >= MAX_REFUSALS or request.cancelled:
            unwanted = code == ALREADY_ACTIVE and request.cancelled
            return Refusal(self._forget(request), is_fault=not unwanted)
        request.refusals += 1
        request.sent = False
        self._queue.appendleft(request)
        self._queued_bytes += request.message.size
        if not self._running:  # the response in the way is not known: its end, or time, lets the request go
            self._blocked = True
            self.deadline = now + self._answer_seconds
        return Refusal([], is_fault=False)

    def tick(self, now: float) -> Request | None:
        """Frees what waited too long; returns the request whose answer was lost, its `waiters` to be told."""
        if self.deadline is None or now < self.deadline:
            return None
        lost, self._slot = self._slot, None
        self.deadline = None
        self._blocked = False
        if lost is not None:
            lost.waiters = dict.fromkeys(self._forget(lost))
        return lost

    def cancel(self, waiter: str) -> Cancellation:
        """One who waits does not want the response any more; a request that was sent is cancelled when it starts."""
        request = self._by_waiter.get(waiter)
        if request is None:
            return Cancellation([], None)
        if request.response_id is not None:
            running = request.response_id if self._begin_cancel(request.response_id) else None
            return Cancellation([], None, running)
        if request.sent:
            request.cancelled = True
            return Cancellation([], None)
        del self._by_waiter[waiter], request.waiters[waiter]
        if request.waiters or request.anonymous:
            return Cancellation([waiter], None)
        if request is self._slot:
            return Cancellation([waiter], request)
        self._queue.remove(request)
        self._queued_bytes -= request.message.size
        return Cancellation([waiter], None)

    def interrupt(self) -> Cancellation:
        """Nothing that was asked for so far is wanted; a request that was sent is cancelled when it starts.

        The caller cancels all that is `cancellable`.
        """
        for response_id in self._running:
            self._begin_cancel(response_id)
        withdrawn = [waiter for request in self._queue for waiter in self._forget(request)]
        self._queue.clear()
        self._queued_bytes = 0
        if self._slot is None:
            return Cancellation(withdrawn, None)
        self._slot.cancelled = self._slot.interrupted = True
        return Cancellation(withdrawn, None if self._slot.sent else self._slot)

    def cancelled(self, response_id: str | None) -> None:
        """The application cancelled a response itself: None is whatever runs."""
        for running in self._running if response_id is None else (response_id,):
            self._begin_cancel(running)

    def holder(self, message: Message) -> Request | None:
        """The request in the slot, if this is its message."""
        return self._slot if self._slot is not None and self._slot.message is message else None

    def release(self, request: Request) -> list[str]:
        """Frees the slot of a request that never left the machine; returns who waited for it."""
        if self._slot is request:
            self._slot = self.deadline = None
        return self._forget(request)

    def _is_ours(self, tag: str | None, now: float) -> bool:
        request = self._slot
        if request is None or not request.sent:
            return False
        if tag is not None and request.tag is not None:
            return tag == request.tag
        if request.tag is not None and self._echoes:
            return False
        return tag is None and not self._running and now >= self._user_turn_until

    def _mistaken(self, event_id: str | None) -> Request | None:
        """The request with this id, if another's response was taken for its own: the error knows better."""
        for running in self._running.values():
            request = running.request
            if request is not None and event_id is not None and request.message.event_id == event_id:
                running.request = request.response_id = None
                return request
        return None

    def _begin_cancel(self, response_id: str) -> bool:
        running = self._running.get(response_id)
        if running is None or running.cancelling:
            return False
        running.cancelling = True
        return True

    def _forget(self, request: Request | None) -> list[str]:
        if request is None:
            return []
        waiters, request.waiters = list(request.waiters), {}
        for waiter in waiters:
            self._by_waiter.pop(waiter, None)
        return waiters


def _is_about_create(code: str | None, message: str) -> bool:
    return code == ALREADY_ACTIVE or "response_create" in (code or "") or "response.create" in message
