"""What a conversation shows: meters, moods, what was said; within 80 columns, plain without a terminal."""

import io

import pytest
from rich.console import Console

from rtc_transport.cli.minutes import Line
from rtc_transport.cli.talk_views import (
    LiveTalkView,
    Mood,
    PlainTalkView,
    TalkState,
    figures,
    level,
    make_talk_view,
)

KEYS = "m mute · i interrupt · q quit"


def console(*, terminal: bool, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, highlight=False
    )


def text_of(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


def test_without_a_terminal_there_are_plain_lines_and_each_once() -> None:
    where = console(terminal=False)
    view = make_talk_view(where, KEYS)
    assert isinstance(view, PlainTalkView)
    with view:
        moods: tuple[Mood, ...] = ("connecting", "live", "live", "muted", "between", "turn")
        for mood in moods:
            view.show(TalkState(mood=mood))
        view.said(Line("user", None, 1.2))
        view.said(Line("model", "[bold] Hello", cut=True))
    assert text_of(where).splitlines() == [
        "connecting",
        "listening to you",
        "muted",
        "muted, space begins your turn",
        "your turn, space ends it",
        "you: (1.2 s of speech)",
        "model: [bold] Hello … (cut off)",
    ]


@pytest.mark.parametrize("width", [80, 40, 200])
def test_the_live_display_fits(width: int) -> None:
    where = console(terminal=True, width=width)
    view = make_talk_view(where, KEYS)
    assert isinstance(view, LiveTalkView)
    state = TalkState(
        mood="turn",
        seconds=3723,
        user_dbfs=-12.3,
        model_dbfs=-75,
        speaking=True,
        response_latency_ms=640.4,
        rtt_ms=23.6,
        echo_return_loss_db=25.2,
        pending=Line("model", "a long word " * 30),
    )
    lines = [
        "".join(segment.text for segment in line).rstrip()
        for line in where.render_lines(view._render(state), pad=False)
    ]
    assert len(lines) == 5
    assert all(len(line) <= min(80, width) for line in lines)
    if width >= 80:
        assert "−12 dB" in lines[1]
        assert lines[1].count("█") == 24
        assert "– dB" in lines[2]
        assert "speaking" in lines[2]
        assert lines[3] == "62:03 · answer in 640 ms · network 24 ms · echo −25 dB"
        assert lines[4] == KEYS


@pytest.mark.parametrize(("width", "cells"), [(80, 30), (60, 26), (40, 6), (30, 6)])
def test_a_narrow_terminal_has_shorter_meters_and_still_says_how_things_are(width: int, cells: int) -> None:
    where = console(terminal=True, width=width)
    keys = f"space begin and end your turn · {KEYS}"
    state = TalkState(mood="live", user_dbfs=0.0, model_dbfs=-100)
    shown = where.render_lines(LiveTalkView(where, keys)._render(state), pad=False)
    rows = ["".join(segment.text for segment in line).rstrip() for line in shown]
    assert (rows[0].count("█"), rows[1].count("·")) == (cells, cells)
    assert "0 dB" in rows[0]
    assert "listen" in rows[0]
    assert " ".join(rows[3:]) == keys, "every key, on as many lines as it takes"
    assert max(map(len, rows)) <= width


def test_what_was_said_stays_above_the_display() -> None:
    where = console(terminal=True)
    with make_talk_view(where, KEYS) as view:
        view.show(TalkState(mood="live"))
        view.said(Line("model", "Hello"))
        view.note("loudspeaker lost: USB: unplugged")
        view.show(TalkState(mood="muted"))
    shown = text_of(where)
    assert "model Hello" in shown
    assert "loudspeaker lost: USB: unplugged" in shown


def test_only_what_is_known_is_shown() -> None:
    assert figures(TalkState(seconds=61)) == "1:01"
    assert level(-59.6) == "−60 dB"
    assert level(-61) == "– dB"


def test_whoever_is_muted_sees_it_and_the_key_that_ends_it() -> None:
    where = console(terminal=True)
    shown = where.render_lines(LiveTalkView(where, KEYS)._render(TalkState(mood="muted")), pad=False)
    rows = ["".join(segment.text for segment in line).rstrip() for line in shown]
    assert rows[0].endswith(" muted")
    assert rows[-1] == "m unmute · i interrupt · q quit"


def test_an_echo_that_is_not_there_is_not_spoken_of() -> None:
    assert figures(TalkState(seconds=1, echo_return_loss_db=0.2)) == "0:01"
    assert figures(TalkState(seconds=1, echo_return_loss_db=-3.0)) == "0:01"


def test_long_notes_are_folded_between_words() -> None:
    where = console(terminal=True)
    with make_talk_view(where, KEYS) as view:
        view.note("microphone silent: default: only digital zeros for 3 s: muted, removed or not permitted")
    assert "not \npermitted" in text_of(where)
