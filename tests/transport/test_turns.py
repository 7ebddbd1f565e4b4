"""Push-to-talk and manual turns over real WebRTC: nothing said is lost, nothing else is sent, commit comes last."""

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.ports import Pcm
from rtc_transport import ConfigError, NotConnectedError, RealtimeServer, ToneSource, WebRTCTransport
from rtc_transport.errors import TransportError, TurnError
from rtc_transport.server import LoggedEvent
from rtc_transport.turns import CLEAR_SECONDS
from support.transports import call_of, connected, eventually, level_dbfs, types_of

RATE_HZ = 24000
MANUAL = {"audio": {"input": {"turn_detection": None}}}
IDLE_HZ, SPOKEN_HZ, AFTER_HZ = 500, 1000, 2000


class Whistle:
    """A microphone whose pitch tells when the sound was captured; `lag_seconds` between capture and read."""

    rate_hz = RATE_HZ
    channels = 1
    live = True
    ended = False

    def __init__(self, lag_seconds: float = 0.0) -> None:
        self.hz = IDLE_HZ
        self._lag_blocks = round(lag_seconds * 50)
        self._waiting: list[Pcm] = []
        self._phase = 0.0
        self.captured_blocks = {IDLE_HZ: 0.0, SPOKEN_HZ: 0.0, AFTER_HZ: 0.0}
        """Of 10 ms, by pitch: a machine with too much to do captures less in the same time."""

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    @property
    def next_seconds(self) -> float | None:
        now = asyncio.get_running_loop().time()
        return now - self._lag_blocks / 50 if self._lag_blocks else None

    def read(self, n: int) -> Pcm:
        self.captured_blocks[self.hz] += 100 * n / RATE_HZ
        phases = self._phase + 2 * math.pi * self.hz / RATE_HZ * np.arange(1, n + 1)
        self._phase = float(phases[-1])
        self._waiting.append((0.3 * np.sin(phases)).astype(np.float32)[:, None])
        if len(self._waiting) <= self._lag_blocks:
            return np.empty((0, 1), np.float32)
        return self._waiting.pop(0)


def pitches(pcm: NDArray[np.float32]) -> list[int]:
    """What was whistled, in order, in blocks of 10 ms; 0 is silence."""
    found: list[int] = []
    for at in range(0, len(pcm) - 240, 240):
        block = pcm[at : at + 240]
        if level_dbfs(block) < -40:
            found.append(0)
        else:
            crossings = np.count_nonzero(np.diff(np.signbit(block)))
            found.append(min((IDLE_HZ, SPOKEN_HZ, AFTER_HZ), key=lambda hz: abs(hz - 50 * crossings)))
    return found


@pytest.mark.parametrize("lag_seconds", [0.0, 0.08])
async def test_a_turn_has_what_was_said_from_before_the_press_to_the_release(
    lag_seconds: float,
) -> None:
    at_commit: list[NDArray[np.float32]] = []

    def on_event(logged: LoggedEvent) -> None:
        if logged.event["type"] == "input_audio_buffer.commit":
            at_commit.append(call.heard().copy())

    async with RealtimeServer(on_event=on_event) as server:
        source = Whistle(lag_seconds)
        async with connected(server, session=MANUAL, source=source, push_to_talk=True) as transport:
            call = call_of(server, transport)
            assert transport.muted is True
            await asyncio.sleep(0.6)
            assert set(pitches(call.heard())) <= {0}
            source.hz = SPOKEN_HZ
            await transport.begin_turn()
            assert transport.muted is False
            await asyncio.sleep(0.4)
            ending = asyncio.create_task(transport.end_turn())
            await asyncio.sleep(0)
            source.hz = AFTER_HZ
            said = source.captured_blocks[SPOKEN_HZ]
            answer = await (await ending).result(timeout=5)
            assert transport.muted is True
            assert answer.status == "completed"
            await asyncio.sleep(0.2)
            (heard,) = at_commit
            blocks = pitches(heard)
            before, spoken, after = (blocks.count(hz) for hz in (IDLE_HZ, SPOKEN_HZ, AFTER_HZ))
            # the pre-roll was captured before the press, a source with a lag gives more from before it
            assert 20 - 100 * lag_seconds <= before + 2
            assert before <= 23 + 100 * lag_seconds
            assert spoken >= said - 2, "all that was captured before the release"
            assert after <= 5  # until the release reached the source, and the ramp of mute
            assert blocks[-1] == 0  # the last packets before the commit were silence already
            # nothing more came after the commit
            assert set(pitches(call.heard()[len(heard) :])) <= {0}
            sent = types_of(call, "client")
            assert sent[-3:] == ["input_audio_buffer.clear", "input_audio_buffer.commit", "response.create"]


@pytest.mark.parametrize("push_to_talk", [True, False])
async def test_the_end_waits_a_round_trip_before_it_mutes_and_commits_and_sends_nothing_meanwhile(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch, push_to_talk: bool
) -> None:
    source, clock, round_trip = Whistle(), asyncio.get_running_loop().time, 0.3
    async with connected(
        realtime_server, session=MANUAL, source=source, push_to_talk=push_to_talk, pre_roll_ms=0
    ) as transport:
        call, order = call_of(realtime_server, transport), list[tuple[str, float, int]]()
        monkeypatch.setattr(transport._turns, "_round_trip", lambda: round_trip)

        def note(what: str) -> None:
            order.append((what, clock(), len(call.heard())))

        def noting_mute(muted: bool) -> None:
            note(f"mute({muted})")
            WebRTCTransport.mute(transport, muted)

        monkeypatch.setattr(transport, "mute", noting_mute)
        transport.on("client_event", lambda event: note(event.event["type"]))
        await transport.begin_turn()
        source.hz = SPOKEN_HZ
        await asyncio.sleep(0.4)
        order.clear()
        ending = asyncio.create_task(transport.end_turn())
        await asyncio.sleep(0)
        source.hz, said = AFTER_HZ, source.captured_blocks[SPOKEN_HZ]
        released = clock()
        response = await (await ending).result(timeout=5)
        assert response.status == "completed"
        assert [what for what, _, _ in order] == [
            "mute(True)",
            "input_audio_buffer.commit",
            "response.create",
        ]
        muted_at, committed_at = order[0][1], order[1][1]
        assert muted_at - released >= round_trip
        assert committed_at - muted_at < 0.02
        heard = pitches(call.heard()[: order[0][2]])
        assert heard.count(SPOKEN_HZ) >= said - 2, "all had come long before"
        assert heard.count(AFTER_HZ) <= 5
        silence = len(heard) - max(index for index, hz in enumerate(heard) if hz)
        assert silence >= 100 * round_trip - 15, "silence flowed, a packet or two may be on its way"


async def test_unmuting_while_a_turn_ends_sends_nothing(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who presses a mute key while a turn ends has nothing to say in it any more; in the next one he is heard."""
    source = Whistle()
    async with connected(realtime_server, session=MANUAL, source=source, push_to_talk=True) as transport:
        call = call_of(realtime_server, transport)
        monkeypatch.setattr(transport._turns, "_round_trip", lambda: 0.4)
        await transport.begin_turn()
        await asyncio.sleep(0.2)
        ending = asyncio.create_task(transport.end_turn())
        await asyncio.sleep(0.15)
        source.hz = AFTER_HZ
        transport.mute(True)
        transport.mute(False)
        await ending
        assert pitches(call.heard()).count(AFTER_HZ) <= 1  # the ramps
        assert transport.muted is True
        source.hz = SPOKEN_HZ
        await transport.begin_turn()
        await eventually(lambda: pitches(call.heard()).count(SPOKEN_HZ) >= 10)


async def test_turns_follow_each_other_and_only_their_own_sound_is_in_them(
    realtime_server: RealtimeServer,
) -> None:
    source = Whistle()
    async with connected(
        realtime_server, session=MANUAL, source=source, push_to_talk=True, pre_roll_ms=0
    ) as transport:
        call = call_of(realtime_server, transport)
        for hz in (SPOKEN_HZ, AFTER_HZ):
            source.hz = IDLE_HZ
            await asyncio.sleep(0.1)
            source.hz, before = hz, len(call.heard())
            await transport.begin_turn()
            await asyncio.sleep(0.2)
            await (await transport.end_turn()).result(timeout=5)
            blocks = pitches(call.heard()[before:])
            assert blocks.count(IDLE_HZ) <= 1
            assert blocks.count(hz) >= 18


async def test_unmuting_by_hand_never_sends_the_pre_roll(realtime_server: RealtimeServer) -> None:
    source = Whistle()
    async with connected(realtime_server, session=MANUAL, source=source, push_to_talk=True) as transport:
        call = call_of(realtime_server, transport)
        await asyncio.sleep(0.4)
        source.hz = SPOKEN_HZ
        transport.mute(False)
        await eventually(lambda: pitches(call.heard()).count(SPOKEN_HZ) >= 10)
        assert pitches(call.heard()).count(IDLE_HZ) <= 1


async def test_manual_turns_without_push_to_talk_begin_at_the_call(realtime_server: RealtimeServer) -> None:
    source = Whistle()
    async with connected(realtime_server, session=MANUAL, source=source) as transport:
        call = call_of(realtime_server, transport)
        await eventually(lambda: pitches(call.heard()).count(IDLE_HZ) >= 10)
        await transport.begin_turn()
        source.hz = SPOKEN_HZ
        await asyncio.sleep(0.3)
        response = await (await transport.end_turn()).result(timeout=5)
        assert response.status == "completed"
        assert transport.muted is True
        transcript = next(
            str(logged.event["transcript"])
            for logged in call.events
            if logged.event["type"] == "response.output_audio_transcript.done"
        )
        seconds = float(transcript.removeprefix("(parrot, ").removesuffix(" s)"))
        assert 0.2 <= seconds <= 0.7  # and not what was heard before the turn


async def test_with_turn_detection_a_turn_is_refused_with_what_helps(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, source=ToneSource(), push_to_talk=True) as transport:
        with pytest.raises(ConfigError) as caught:
            await transport.begin_turn()
        assert str(caught.value) == (
            "begin_turn() needs a session without turn detection, the service says server_vad: connect with "
            'session={"audio": {"input": {"turn_detection": None}}}'
        )
        assert caught.value.field == "audio.input.turn_detection"
        assert transport.muted is True
        transport.update_session_config(MANUAL)
        await transport.wait_for("session.updated", timeout=5)
        await transport.begin_turn()  # what the service acknowledged counts


async def test_turns_need_a_connection() -> None:
    transport = WebRTCTransport(push_to_talk=True)
    with pytest.raises(
        NotConnectedError, match=r"^begin_turn\(\) needs a connection, the transport is disconn"
    ):
        await transport.begin_turn()
    with pytest.raises(
        NotConnectedError, match=r"^end_turn\(\) needs a connection, the transport is disconnected$"
    ):
        await transport.end_turn()


async def test_turns_out_of_order_are_refused(realtime_server: RealtimeServer) -> None:
    async with connected(
        realtime_server, session=MANUAL, source=ToneSource(), push_to_talk=True
    ) as transport:
        with pytest.raises(TurnError, match=r"^no turn is open: begin_turn\(\) first$"):
            await transport.end_turn()
        await transport.begin_turn()
        with pytest.raises(TransportError, match=r"^a turn is open already: end_turn\(\) first$"):
            await transport.begin_turn()
        await transport.end_turn()
        with pytest.raises(TurnError):
            await transport.end_turn()


async def test_a_release_right_after_the_press_ends_the_turn_when_it_has_begun(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(
        realtime_server, session=MANUAL, source=ToneSource(), push_to_talk=True
    ) as transport:
        begun, ended = await asyncio.gather(transport.begin_turn(), transport.end_turn())
        assert begun is None
        assert (await ended.result(timeout=5)).status == "completed"
        assert transport.muted is True


async def test_a_cancelled_beginning_leaves_no_turn(realtime_server: RealtimeServer) -> None:
    source = Whistle()
    async with connected(realtime_server, session=MANUAL, source=source, push_to_talk=True) as transport:
        call = call_of(realtime_server, transport)
        beginning = asyncio.create_task(transport.begin_turn())
        await asyncio.sleep(0)
        beginning.cancel()
        assert isinstance(
            (await asyncio.gather(beginning, return_exceptions=True))[0], asyncio.CancelledError
        )
        assert transport.muted is True
        await asyncio.sleep(0.5)  # longer than the pre-roll: the press must not have let it grow
        source.hz = SPOKEN_HZ
        await transport.begin_turn()
        await asyncio.sleep(0.3)
        assert pitches(call.heard()).count(IDLE_HZ) <= 23


async def test_a_cancelled_end_drops_the_turn(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, session=MANUAL, source=Whistle(), push_to_talk=True) as transport:
        call = call_of(realtime_server, transport)
        await transport.begin_turn()
        ending = asyncio.create_task(transport.end_turn())
        await asyncio.sleep(0.05)
        ending.cancel()
        assert isinstance((await asyncio.gather(ending, return_exceptions=True))[0], asyncio.CancelledError)
        assert transport.muted is True
        await transport.begin_turn()  # the next one is not in its way
        assert "input_audio_buffer.commit" not in types_of(call, "client")


async def test_close_in_the_middle_of_a_turn(realtime_server: RealtimeServer) -> None:
    transport = WebRTCTransport(Whistle(), base_url=realtime_server.url, push_to_talk=True)
    await transport.connect(api_key="test-key", session=MANUAL)
    await transport.begin_turn()
    ending = asyncio.create_task(transport.end_turn())
    await asyncio.sleep(0)
    await transport.close()
    with pytest.raises(
        NotConnectedError, match=r"^end_turn\(\) needs a connection, the transport is disconnected$"
    ):
        await ending
    assert transport.muted is True
    await transport.connect(api_key="test-key", session=MANUAL)  # the next call begins without a turn
    with pytest.raises(TurnError):
        await transport.end_turn()
    await transport.close()


async def test_a_service_that_does_not_acknowledge_does_not_hold_a_turn_up(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc_transport.server.turns.Turns.clear", lambda self: None)
    async with connected(realtime_server, session=MANUAL, source=Whistle(), push_to_talk=True) as transport:
        began = asyncio.get_running_loop().time()
        await transport.begin_turn()
        assert asyncio.get_running_loop().time() - began == pytest.approx(CLEAR_SECONDS, abs=0.2)
        await asyncio.sleep(0.2)
        assert (await (await transport.end_turn()).result(timeout=5)).status == "completed"


async def test_a_source_exchanged_or_gone_in_a_turn_does_not_hold_its_end_up(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server, session=MANUAL, source=Whistle(), push_to_talk=True) as transport:
        for source in (ToneSource(), None):
            await transport.begin_turn()
            await asyncio.sleep(0.1)
            await transport.set_source(source)
            await asyncio.sleep(0.15)
            async with asyncio.timeout(2):
                await transport.end_turn()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pre_roll_ms": -1}, "pre_roll_ms=-1: need 0 to 5000"),
        ({"pre_roll_ms": 6000, "push_to_talk": True}, "pre_roll_ms=6000: need 0 to 5000"),
        ({"echo": "loud"}, "echo='loud': need one of auto, cancel, gate, off, webrtc"),
        ({"stats_interval_seconds": 0}, "stats_interval_seconds=0: need at least 0.05"),
        ({"stats_interval_seconds": float("nan")}, "stats_interval_seconds=nan: need at least 0.05"),
    ],
)
async def test_impossible_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        WebRTCTransport(**options)
    assert str(caught.value) == message
