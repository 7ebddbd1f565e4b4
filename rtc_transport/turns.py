"""Turns that the application begins and ends itself: push-to-talk, and any other manual turn taking."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .capture import Capture
from .errors import ConfigError, NotConnectedError, TurnError, WaitTimeout
from .layer import ResponseHandle
from .shell import ProtocolShell

CLEAR_SECONDS = 1.0
"""How long the service may take to say that its input buffer is empty; the turn begins then all the same."""
LEAST_ROUND_TRIP_SECONDS = 0.02
UNKNOWN_ROUND_TRIP_SECONDS = 0.1
DRAIN_SECONDS = 1.0  # beyond the lag: a source that was exchanged or fails is not waited for


class ManualTurns:
    """The turns of one transport, one at a time; `begin` and `end` wait for each other.

    `cut(True)` lets silence go out in place of the source, until `cut(False)`, muted or not;
    `round_trip` gives the network's round trip in seconds, if it is known; `frame_seconds` is the duration of a packet.
    """

    def __init__(
        self,
        transport: ProtocolShell,
        capture: Capture,
        cut: Callable[[bool], None],
        round_trip: Callable[[], float | None],
        frame_seconds: float,
    ) -> None:
        self._transport = transport
        self._capture = capture
        self._cut = cut
        self._round_trip = round_trip
        self._frame_seconds = frame_seconds
        self._one_at_a_time = asyncio.Lock()
        self._open = False
        self._lag_seconds = 0.0
        self._clear_seconds: float | None = None

    async def begin(self) -> None:
        """See `WebRTCTransport.begin_turn`."""
        async with self._one_at_a_time:
            self._require_connection("begin_turn()")
            self._require_no_detection()
            if self._open:
                raise TurnError("a turn is open already: end_turn() first")
            pre_roll = self._capture.pre_roll
            if pre_roll is not None:
                pre_roll.press()
            try:
                await self._clear_input()
                self._require_connection("begin_turn()")
            except BaseException:
                if pre_roll is not None:
                    pre_roll.release()
                raise
            self._lag_seconds = 0.0 if pre_roll is None else pre_roll.rewind()
            self._open = True
            self._transport.mute(False)

    async def end(self) -> ResponseHandle:
        """See `WebRTCTransport.end_turn`."""
        async with self._one_at_a_time:
            self._require_connection("end_turn()")
            if not self._open:
                raise TurnError("no turn is open: begin_turn() first")
            try:
                await self._until_all_has_left()
                self._cut(True)  # nothing more was said: what goes on until the mute is silence
                # The packet in which sound fades, then its way: packets travel beside the control channel.
                await asyncio.sleep(self._frame_seconds + self._network_seconds)
            finally:
                self.drop()
            self._require_connection("end_turn()")
            self._transport.send_event({"type": "input_audio_buffer.commit"})
            return self._transport.request_response()

    def drop(self) -> None:
        """A turn that is open is over, whatever was said in it; muted again."""
        if self._open:
            self._open = False
            self._transport.mute(True)
            self._cut(False)

    async def _clear_input(self) -> None:
        clock = asyncio.get_running_loop().time
        began, self._clear_seconds = clock(), None
        self._transport.send_event({"type": "input_audio_buffer.clear"})
        with suppress(WaitTimeout):
            await self._transport.wait_for("input_audio_buffer.cleared", timeout=CLEAR_SECONDS)
            self._clear_seconds = clock() - began

    async def _until_all_has_left(self) -> None:
        """What was said until now is still between the membrane and the network, all of the lag of a pre-roll too."""
        await asyncio.sleep(self._capture.age_seconds() + self._frame_seconds)
        pre_roll = self._capture.pre_roll
        if pre_roll is None:
            return
        pre_roll.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lag_seconds + DRAIN_SECONDS):
                await pre_roll.drained.wait()

    @property
    def _network_seconds(self) -> float:
        known = (self._round_trip(), self._clear_seconds, UNKNOWN_ROUND_TRIP_SECONDS)
        seconds = next(seconds for seconds in known if seconds is not None)
        return max(LEAST_ROUND_TRIP_SECONDS, seconds)

    def _require_connection(self, what: str) -> None:
        status = self._transport.status
        if status != "connected":
            raise NotConnectedError(f"{what} needs a connection, the transport is {status}")

    def _require_no_detection(self) -> None:
        detection = _turn_detection(self._transport.session)
        if detection is not None:
            raise ConfigError(
                f"begin_turn() needs a session without turn detection, the service says {detection}: connect with "
                'session={"audio": {"input": {"turn_detection": None}}}',
                "audio.input.turn_detection",
            )


def _turn_detection(session: Any) -> str | None:
    """What the service acknowledged, in words; None is off."""
    audio = None if session is None else session.audio
    detection = None if audio is None or audio.input is None else audio.input.turn_detection
    return None if detection is None else detection.type or "it is on"
