import io

from rich.console import Console

from rtc_transport.cli.minutes import Line
from rtc_transport.cli.running import Failure
from rtc_transport.cli.summary import Summary
from rtc_transport.cli.views import LiveView, Phase, PlainView, make_view

STAGES = {"key": 0.001, "signaling": 0.412, "ice": 0.134, "dtls": 0.105, "channel": 0.104, "session": 0.121}


def console(*, terminal: bool, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, highlight=False
    )


def shown(where: Console) -> list[str]:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue().splitlines()


def a_summary(**fields: object) -> Summary:
    usual: dict[str, object] = {
        "outcome": "answered",
        "peer": "OpenAI",
        "seconds": 12.3,
        "linger_seconds": 10.0,
        "connect_seconds": STAGES,
        "sent_seconds": 4.4,
        "heard_seconds": 5.1,
        "recorded_seconds": 9.9,
        "latencies_seconds": (0.5, 0.7),
        "stats": {"packets_sent": 500, "packets_received": 490, "packets_lost": 10, "rtt_ms": 23.4,
                  "playout_delay_ms": 41.0, "playout": {"fec_ms": 180.0, "concealed_ms": 20.0}},
        "lines": [Line("user", None, 4.4), Line("model", "a word " * 40, cut=True)],
        "files": {"output": "reply.wav", "report": "call.png"},
    }  # fmt: skip
    return Summary(**{**usual, **fields})  # type: ignore[arg-type]  # the fields as they are named


def test_without_a_terminal_every_phase_is_one_line() -> None:
    where = console(terminal=False)
    view = make_view(where, 4.0)
    assert isinstance(view, PlainView)
    phases: list[Phase] = [
        "connecting",
        "speaking",
        "speaking",
        "waiting",
        "listening",
        "listening",
        "closing",
    ]
    with view:
        for phase in phases:
            view.show(phase, 1.0, 0.0)
    assert shown(where) == ["connecting", "speaking", "waiting for the answer", "listening", "closing"]


def test_on_a_terminal_the_bars_fit_80_columns() -> None:
    where = console(terminal=True)
    view = make_view(where, 1234.5)
    assert isinstance(view, LiveView)
    phases: list[Phase] = ["connecting", "speaking", "waiting", "listening", "closing"]
    with view:
        for phase in phases:
            view.show(phase, 1000.0, 999.9)
    lines = shown(where)
    assert any("1000.0 of 1234.5 s" in line for line in lines)
    assert max(len(line.split("\x1b")[0]) for line in lines) <= 80


def test_an_input_of_unknown_length_shows_what_was_spoken() -> None:
    where = console(terminal=True)
    with LiveView(where, None) as view:
        view.show("speaking", 3.0, 0.0)
    assert any("3.0 s" in line and "of" not in line for line in shown(where))


def test_the_summary_fits_80_columns() -> None:
    where = console(terminal=True)
    a_summary().print(where)
    lines = shown(where)
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "877 ms: key 1, signaling 412, ice 134, dtls 105, channel 104, session 121" in text
    assert "10 packets, 180 ms recovered, 20 ms concealed" in text
    assert "600 ms to the answer, network 23.4 ms, playout 41 ms" in text
    assert "(4.4 s of speech)" in text
    assert "… (cut off)" in text
    assert "reply.wav (9.9 s)" in text


def test_without_a_terminal_the_summary_has_one_line_a_row() -> None:
    where = console(terminal=False)
    a_summary().print(where)
    assert len(shown(where)) == 9
    assert not [line for line in shown(where) if line != line.rstrip()]


def test_a_call_that_failed_early_tells_only_what_there_is() -> None:
    where = console(terminal=False)
    failed = a_summary(
        outcome="failed", connect_seconds={}, lines=(), files={}, failure=Failure("refused", "signaling", 401)
    )
    failed.print(where)
    assert shown(where) == []
    assert failed.as_dict()["error"] == {
        "message": "refused", "stage": "signaling", "status": 401, "code": None
    }  # fmt: skip
