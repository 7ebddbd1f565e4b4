"""Faults on demand: what the embedded server does wrong so that a client's tests can see it happen."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Faults:
    """What goes wrong, each off by default. Times after the connection count from the opening of the channel."""

    status: int | None = None
    """Every request for a call is refused with this HTTP status."""
    body: Literal["json", "html", "empty"] = "json"
    """What such a refusal holds."""
    answer_delay_seconds: float = 0.0
    """The HTTP answer comes so much later."""
    never_answer: bool = False
    """The HTTP answer never comes."""
    no_channel: bool = False
    """The SDP answer refuses the data channel."""
    tcp_only: bool = False
    """The SDP answer has only TCP candidates."""
    never_open: bool = False
    """The data channel never opens: nothing of SCTP reaches the client."""
    no_acknowledgement: bool = False
    """``session.update`` is never answered."""
    reject_update: str | None = None
    """``session.update`` is answered with an error of this text."""
    hang_up_after_seconds: float | None = None
    """The server ends the call."""
    close_channel_after_seconds: float | None = None
    """The server closes the data channel only; the sound goes on."""
    garbage: tuple[str | bytes, ...] = ()
    """Messages sent as they are once the channel is open: bytes as binary, `BadText` as text that is not UTF-8."""
    loss: float = 0.0
    """The share of the server's audio packets that is lost, 0 to 1."""
    control_loss: float = 0.0
    """The share of its control packets (DTLS, hence SCTP) that is lost, 0 to 1."""
    seed: int = 1
    """Of the generator that picks lost packets."""
    stall_at_seconds: float | None = None
    """From then on nothing at all leaves the server ..."""
    stall_seconds: float = 1.0
    """... for so long; what was to be sent meanwhile is lost."""

    def __post_init__(self) -> None:
        for name in ("loss", "control_loss"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, 0 to 1, not {getattr(self, name)}")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"status is that of a refusal, 400 to 599, not {self.status}")

    @property
    def on_the_wire(self) -> bool:
        """Whether datagrams have to be looked at."""
        return bool(self.loss or self.control_loss or self.never_open or self.stall_at_seconds is not None)

    def wire(self, clock: Callable[[], float | None]) -> Callable[[Send], Send]:
        """Wraps the function that sends datagrams; `clock` gives seconds since the channel opened, None before."""
        sound, control = random.Random(self.seed), random.Random(self.seed)

        def drops(datagram: bytes) -> bool:
            if is_rtp(datagram):
                return sound.random() < self.loss or self._stalled(clock())
            if is_dtls(datagram):
                sctp = datagram[0] == _DTLS_APPLICATION_DATA
                lost = sctp and (self.never_open or control.random() < self.control_loss)
                return lost or self._stalled(clock())
            return self._stalled(clock())

        def wrap(send: Send) -> Send:
            async def faulty_send(datagram: bytes) -> None:
                if not drops(datagram):
                    await send(datagram)

            return faulty_send

        return wrap

    def _stalled(self, seconds: float | None) -> bool:
        start = self.stall_at_seconds
        return start is not None and seconds is not None and start <= seconds < start + self.stall_seconds


class BadText(str):
    """A text message that goes out as bytes which are not UTF-8, as no sound peer sends it."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """What aiortc puts on the wire."""
        return b"\xff\xfe" + super().encode(encoding, "replace")


_DTLS_APPLICATION_DATA = 23


def is_rtp(datagram: bytes) -> bool:
    """SRTP without SRTCP (RFC 7983 §7, RFC 5761 §4)."""
    return len(datagram) > 1 and 128 <= datagram[0] <= 191 and not 192 <= datagram[1] <= 223


def is_dtls(datagram: bytes) -> bool:
    """DTLS (RFC 7983 §7)."""
    return bool(datagram) and 20 <= datagram[0] <= 63
