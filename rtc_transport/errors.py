"""Everything the transport raises.

::

    TransportError
    ├── NotConnectedError      a call that needs a connection, made without one
    ├── ConnectError           connect() failed; `.stage` says where, `.hint` what helps
    │   └── ConnectTimeout     ... because the time was up
    ├── ConnectionLost         an established call ended without being asked to
    ├── ConfigError            a session configuration the service would refuse
    ├── HistoryError           a history that cannot be replayed
    ├── EventTooLarge          an event over the peer's message size limit
    ├── SendQueueFull          the outgoing queue is at its limit
    ├── TurnError              begin_turn() or end_turn() out of order
    ├── ResponseFailed         an awaited response was refused, failed or never answered
    └── WaitTimeout            wait_for() saw nothing in time

Errors of the two rooms below keep their own roots, ``rtc_audio.AudioError`` (files, formats, devices: raised where
the source or sink is made) and ``rtc_signaling.SignalingError`` (raised by the signaling client when it is used
alone; out of ``connect()`` it is the ``__cause__`` of a ``ConnectError``).
No message holds a key or SDP credentials.
"""

from typing import Literal

Stage = Literal["key", "signaling", "ice", "dtls", "channel", "session"]
"""The stages of a connect, in order."""


class TransportError(Exception):
    """Root of the transport's errors."""


class NotConnectedError(TransportError):
    """There is no connection to do this over, or it ended before it was done."""


class ConnectError(TransportError):
    """The connection was not established.

    `stage` is where it failed. For refusals by the service, `status` is the HTTP status, `code` the service's error
    code and `request_id` its id of the request; `hint` is a sentence on what to try. The text has all of them.
    """

    def __init__(
        self,
        stage: Stage,
        reason: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(stage, reason)
        self.stage: Stage = stage
        self.reason = reason
        self.status = status
        self.code = code
        self.request_id = request_id
        self.hint = hint

    def __str__(self) -> str:
        request = f" (request id {self.request_id})" if self.request_id else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"connect failed at stage {self.stage}: {self.reason}{request}{hint}"


class ConnectTimeout(ConnectError, TimeoutError):
    """The deadline of connect(), or of one of its stages, passed."""


class ConnectionLost(TransportError):
    """The call ended without being asked to; `reason` says how it was noticed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the connection was lost: {reason}")
        self.reason = reason


class ConfigError(TransportError, ValueError):
    """A session configuration that the service would refuse or ignore; `field` is the dotted path."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TurnError(TransportError):
    """A turn was begun while one is open, or ended while none is; nothing has been sent."""


class HistoryError(TransportError, ValueError):
    """A conversation history that cannot be replayed to the service; nothing has been sent."""


class EventTooLarge(TransportError, ValueError):
    """An event whose JSON is larger than the peer takes; nothing has been sent.

    `size` and `limit` are bytes of UTF-8; the limit is the peer's ``a=max-message-size`` (RFC 8841 §6).
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the event has {size} bytes, the peer takes {limit}: send images smaller or by URL")
        self.size = size
        self.limit = limit


class SendQueueFull(TransportError):
    """The outgoing queue holds its limit of events or bytes; the event was not queued. ``await drain()`` waits."""


class ResponseFailed(TransportError):
    """A response that was awaited did not come to be.

    `code` is the service's error code if it gave one, "cancelled" for a request withdrawn by its handle and
    "interrupted" for one withdrawn by interrupt().
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.code = code


class WaitTimeout(TransportError, TimeoutError):
    """wait_for() or a response did not see what it waited for in time."""
