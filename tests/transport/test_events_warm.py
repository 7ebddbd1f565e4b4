"""Building validators ahead: all of them, once."""

import subprocess
import sys

import pytest

from rtc_transport.events import SERVER_EVENTS, TRANSPORT_EVENTS
from rtc_transport.events.warm import build_validators


def test_everything_is_built_and_then_nothing_is_left_to_do() -> None:
    for _ in build_validators():
        pass
    models = [*SERVER_EVENTS.values(), *TRANSPORT_EVENTS.values()]
    assert all(model.__pydantic_complete__ for model in models)
    assert list(build_validators()) == []


@pytest.mark.timeout(60)
def test_what_a_connect_needs_comes_first() -> None:
    code = (
        "from rtc_transport.events import SERVER_EVENTS as events\n"
        "from rtc_transport.events.warm import build_validators\n"
        "steps = build_validators()\n"
        "[next(steps) for _ in range(3)]\n"
        "print(sorted(n for n, m in events.items() if m.__pydantic_complete__))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['error', 'session.created', 'session.updated']"
