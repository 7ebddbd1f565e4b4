import json
from pathlib import Path

import pytest

from rtc_transport.cli.eventlog import EventLog


def test_every_line_is_one_event_with_its_time_and_direction(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    log = EventLog(path)
    log.write(
        0.123456, "sent", {"type": "session.update", "session": {"instructions": "Sei höflich.\nUnd kurz."}}
    )
    written_before_close = path.read_text(encoding="utf-8").splitlines()
    log.write(1.5, "received", {"type": "session.updated"})
    log.close()
    log.close()
    log.write(2.0, "received", {"type": "too late"})
    first, second = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert json.loads(written_before_close[0]) == first
    assert first == {
        "t": 0.1235,
        "direction": "sent",
        "event": {"type": "session.update", "session": {"instructions": "Sei höflich.\nUnd kurz."}},
    }
    assert second["t"] == 1.5


def test_credentials_are_blotted_out(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    log = EventLog(path)
    tool = {
        "type": "mcp",
        "authorization": "secret-1",
        "headers": {"X-Key": "secret-2"},
        "server_label": "files",
    }
    session = {"tools": [tool], "client_secret": {"value": "ek_secret-3"}}
    log.write(0.0, "sent", {"type": "session.update", "session": session})
    log.close()
    text = path.read_text()
    assert "secret-" not in text
    assert json.loads(text)["event"]["session"]["tools"][0]["server_label"] == "files"


def test_an_unwritable_log_is_known_before_the_call(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        EventLog(tmp_path / "nowhere" / "call.jsonl")
