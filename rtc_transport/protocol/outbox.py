"""What waits to be sent on the control channel, and in which order.

The law: everything leaves in the order it came, except that an urgent event (`response.cancel`,
`output_audio_buffer.clear`, `conversation.item.truncate`) overtakes queued `input_audio_buffer.append`, and nothing
else. Until the session is acknowledged only the opening `session.update` leaves.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rtc_transport.errors import EventTooLarge, SendQueueFull

Lane = Literal["control", "urgent", "append"]

MAX_QUEUED_EVENTS = 1000
MAX_QUEUED_BYTES = 16 * 2**20
URGENT_RESERVE = 16  # events beyond the limit, so that a queue full of audio can still be interrupted

_LANES: dict[str, Lane] = {
    "input_audio_buffer.append": "append",
    "response.cancel": "urgent",
    "output_audio_buffer.clear": "urgent",
    "conversation.item.truncate": "urgent",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A client event as it goes on the wire; `size` is bytes of UTF-8."""

    text: str
    size: int
    type: str
    event_id: str | None
    lane: Lane


def encode(event: Mapping[str, Any]) -> Message:
    """The message of an event.

    Raises ValueError for what cannot be written as JSON: no `type`, other types than JSON has, NaN, half of a
    surrogate pair, a cycle.
    """
    kind = event.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError("an event needs a `type`, a string that is not empty")
    event_id = event.get("event_id")
    if not isinstance(event_id, str | None):
        raise ValueError(f"the event_id of {kind} is no string")
    try:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{kind} holds half of a surrogate pair, which UTF-8 cannot say") from None
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"{kind} cannot be written as JSON: {exc}") from exc
    return Message(text, size, kind, event_id, _LANES.get(kind, "control"))


class Outbox:
    """A bounded queue of messages in the order of the law above.

    `limit` is the most bytes the peer takes in one message (RFC 8841 §6), None while unknown.
    """

    def __init__(self, max_events: int = MAX_QUEUED_EVENTS, max_bytes: int = MAX_QUEUED_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._queue: deque[tuple[int, Message]] = deque()
        self._opening: Message | None = None
        self._held = True
        self.limit: int | None = None
        self.queued_bytes = 0
        self.last_serial = 0
        """The number of the newest message; `holds(serial)` says whether it or an older one still waits."""

    @property
    def queued_events(self) -> int:
        """How many messages wait, the opening one not counted."""
        return len(self._queue)

    def check_size(self, message: Message) -> None:
        """Raises EventTooLarge if the peer is known not to take the message."""
        if self.limit is not None and message.size > self.limit:
            raise EventTooLarge(message.size, self.limit)

    def check(self, messages: Iterable[Message]) -> None:
        """Raises EventTooLarge or SendQueueFull if `messages` cannot be queued all together; changes nothing."""
        events, size, urgent = 0, 0, True
        for message in messages:
            self.check_size(message)
            events += 1
            size += message.size
            urgent = urgent and message.lane == "urgent"
        reserve = URGENT_RESERVE if urgent else 0
        if events and (
            len(self._queue) + events > self._max_events + reserve
            or (not urgent and self.queued_bytes + size > self._max_bytes)
        ):
            raise SendQueueFull(
                f"{len(self._queue)} events of {self.queued_bytes} bytes are queued, the limits are "
                f"{self._max_events} events and {self._max_bytes} bytes: await drain() before sending more"
            )

    def put(self, message: Message) -> None:
        """Queues a message that `check` let pass."""
        self.last_serial += 1
        self.queued_bytes += message.size
        place = len(self._queue)
        if message.lane == "urgent":
            while place and self._queue[place - 1][1].lane == "append":
                place -= 1
        self._queue.insert(place, (self.last_serial, message))

    def hold(self) -> None:
        """Lets nothing leave until `release`."""
        self._held = True

    def open_with(self, message: Message) -> None:
        """Sets the one message that may leave while the others are held."""
        self.check_size(message)
        self._opening = message

    def release(self) -> None:
        """Lets the queued messages leave."""
        self._held = False

    def pop(self) -> Message | None:
        """Takes the next message that may leave."""
        if self._opening is not None:
            message, self._opening = self._opening, None
            return message
        if self._held or not self._queue:
            return None
        _, message = self._queue.popleft()
        self.queued_bytes -= message.size
        return message

    def withdraw(self, message: Message) -> bool:
        """Removes a queued message; says whether it still waited."""
        return bool(self._remove(lambda queued: queued is message))

    def set_limit(self, limit: int) -> list[Message]:
        """Takes note of what the peer takes; removes and returns the queued messages that are larger."""
        self.limit = limit
        return self._remove(lambda message: message.size > limit)

    def holds(self, serial: int) -> bool:
        """Whether a message that was queued up to `serial` still waits."""
        return self._opening is not None or any(number <= serial for number, _ in self._queue)

    def clear(self) -> int:
        """Discards everything and holds; returns how many messages were discarded, the opening one not counted."""
        discarded = len(self._queue)
        self._queue.clear()
        self._opening = None
        self._held = True
        self.limit = None
        self.queued_bytes = 0
        return discarded

    def _remove(self, unwanted: Callable[[Message], bool]) -> list[Message]:
        removed = [message for _, message in self._queue if unwanted(message)]
        if removed:
            self._queue = deque(entry for entry in self._queue if not unwanted(entry[1]))
            self.queued_bytes -= sum(message.size for message in removed)
        return removed
