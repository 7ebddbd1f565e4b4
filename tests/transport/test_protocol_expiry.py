"""The notice before the service ends the session."""

from typing import Any

import pytest

from rtc_transport.events.transport import SessionExpiring
from rtc_transport.session import SessionConfig
from support.conversation import Scripted, emitted

EPOCH = 1_700_000_000.0
"""What the clock of these tests lacks to be seconds since 1970."""


def connected(epoch: float | None = EPOCH, **session: Any) -> Scripted:
    """`session.created` has the given fields."""
    call = Scripted()
    call.core.open(SessionConfig(), call.now, epoch=epoch)
    call.sent()
    call.hear("session.created", session={"type": "realtime", **session})
    assert call.core.deadline == 5  # that of the connect, whatever the session says
    call.hear("session.updated", session={"type": "realtime"})
    return call


def notices(call: Scripted, now: float) -> list[SessionExpiring]:
    call.now = now
    return emitted(call.core.tick(now), "session_expiring")


def test_it_is_told_once_a_minute_before() -> None:
    call = connected(expires_at=EPOCH + 3600)
    assert call.core.deadline == 3540
    assert notices(call, 3539.9) == []
    assert notices(call, 3540.5) == [SessionExpiring(expires_at=EPOCH + 3600, seconds_left=59.5)]
    assert call.core.deadline is None
    assert notices(call, 3600) == []


def test_a_shorter_session_is_told_at_once() -> None:
    call = connected(expires_at=EPOCH + 30)
    (notice,) = notices(call, 1)
    assert notice.seconds_left == 29


def test_an_end_that_is_past_by_our_clock_is_told_too() -> None:
    (notice,) = notices(connected(expires_at=EPOCH - 7), 1)
    assert (notice.seconds_left, notice.expires_at) == (0, EPOCH - 7)


def test_a_session_that_lives_on_is_told_again() -> None:
    call = connected(expires_at=EPOCH + 100)
    assert len(notices(call, 40)) == 1
    call.hear("session.updated", session={"type": "realtime", "expires_at": EPOCH + 100})
    assert notices(call, 41) == []
    call.hear("session.updated", session={"type": "realtime", "expires_at": EPOCH + 500})
    assert call.core.deadline == 440
    assert len(notices(call, 440)) == 1


@pytest.mark.parametrize("said", [{}, {"expires_at": None}, {"expires_at": "soon"}, {"expires_at": True}])
def test_a_service_that_does_not_say_when_is_not_guessed_at(said: dict[str, Any]) -> None:
    assert connected(**said).core.deadline is None


def test_nothing_is_told_of_a_connection_that_has_ended() -> None:
    call = connected(expires_at=EPOCH + 3600)
    call.core.closed()
    assert call.core.deadline is None
    assert notices(call, 3600) == []
    assert connected(epoch=None, expires_at=EPOCH + 3600).core.deadline is None
