"""What reading and writing an event costs, beside the plain JSON parser and the `openai` package's models."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args

from bench_common import Row

from rtc_transport.events import parse_server_event, to_wire

GOAL_US = 25.0
GOAL_IMPORT_MS = 60.0

DELTA: dict[str, Any] = {
    "type": "response.output_audio_transcript.delta",
    "event_id": "event_CNzJ4rfB1tiMcVCDLnxyz",
    "response_id": "resp_CNzJ3pXbKkQ0xW5EEqABC",
    "item_id": "item_CNzJ3lFqW2H8VdVxZvDEF",
    "output_index": 0,
    "content_index": 0,
    "delta": " and then",
    "obfuscation": "k2Xb8Qp1",
}
DONE: dict[str, Any] = {
    "type": "response.done",
    "event_id": "event_CNzJ5aBcDeFgHiJkLmNoP",
    "response": {
        "object": "realtime.response",
        "id": "resp_CNzJ3pXbKkQ0xW5EEqABC",
        "status": "completed",
        "status_details": None,
        "output": [
            {
                "id": "item_CNzJ3lFqW2H8VdVxZvDEF",
                "object": "realtime.item",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_audio", "transcript": "Hello, and then some more. " * 4}],
            }
        ],
        "conversation_id": "conv_CNzJ1qWeRtYuIoPaSdFgH",
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
        "usage": {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119,
                "audio_tokens": 13,
                "image_tokens": 0,
                "cached_tokens": 64,
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
        "metadata": None,
    },
}


def run(quick: bool) -> list[Row]:
    """Medians over alternating batches, in microseconds; the import in milliseconds of CPU, in fresh processes."""
    rounds = 40 if quick else 400
    openai_parse = _openai_parser()
    rows: list[Row] = []
    for name, message in (("transcript delta", DELTA), ("response.done", DONE)):
        text = json.dumps(message)
        goal = GOAL_US if message is DELTA else None
        rows.append(
            _row(f"read a {name}, against json.loads", parse_server_event, json.loads, text, rounds, goal)
        )
        if openai_parse is not None:
            rows.append(
                _row(
                    f"read a {name}, against openai's models", parse_server_event, openai_parse, text, rounds
                )
            )
    event = parse_server_event(json.dumps(DELTA))
    rows.append(
        _row(
            "write a transcript delta, against json.dumps", _write, lambda _: json.dumps(DELTA), event, rounds
        )
    )
    rows.append(_import_row(3 if quick else 9))
    return rows


def _write(event: Any) -> str:
    return json.dumps(to_wire(event))


def _row(
    name: str,
    ours: Callable[[Any], Any],
    anchor: Callable[[Any], Any],
    argument: object,
    rounds: int,
    goal_us: float | None = None,
) -> Row:
    times: dict[Callable[[Any], Any], list[float]] = {ours: [], anchor: []}
    for call in times:
        call(argument)  # validators are built on first use
    for _ in range(rounds):
        for call, samples in times.items():
            samples.append(_batch_us(call, argument))
    ours_us, anchor_us = (statistics.median(samples) for samples in times.values())
    return Row(
        name=name,
        ours=ours_us,
        anchor=anchor_us,
        ratio=ours_us / anchor_us,
        goal="" if goal_us is None else f"≤ {goal_us:g} µs",
        unit="µs",
        met=None if goal_us is None else ours_us <= goal_us,
    )


def _batch_us(call: Callable[[Any], Any], argument: object, calls: int = 50) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call(argument)
    return (time.perf_counter() - started) / calls * 1e6


def _openai_parser() -> Callable[[str], Any] | None:
    """A strict parser of openai's server events, with the discriminator that pydantic does not see in its union."""
    try:
        from openai.types.realtime.realtime_server_event import RealtimeServerEvent
    except ImportError:  # in the dev extra only
        return None
    from pydantic import Field, TypeAdapter

    events: Any = Union[get_args(get_args(RealtimeServerEvent)[0])]  # noqa: UP007 - made of a tuple
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[events, Field(discriminator="type")])
    return lambda text: adapter.validate_python(json.loads(text))


_IMPORT = """
import json, time
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
class Model(BaseModel):
    field: int = Field(default=1)
Model(field=2)
import rtc_transport.errors
started = time.process_time()
import {module}
print(time.process_time() - started)
"""


def _import_row(runs: int) -> Row:
    """The import of our events beyond pydantic, and of openai's: the least of the runs, as other load only adds."""
    with tempfile.TemporaryDirectory() as cache:  # compiled once, as an installed package is
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": cache}

        def measured(module: str) -> float:
            command = [sys.executable, "-c", _IMPORT.format(module=module)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            return float(done.stdout) * 1e3

        ours = min(measured("rtc_transport.events") for _ in range(runs + 1))
        anchor: float | str = "openai is not installed"
        if importlib.util.find_spec("openai"):
            anchor = min(measured("openai.types.realtime") for _ in range(3))
    ratio = None if isinstance(anchor, str) else ours / anchor
    return Row(
        "import, beyond pydantic",
        ours,
        anchor,
        ratio,
        f"≤ {GOAL_IMPORT_MS:g} ms",
        "ms",
        ours <= GOAL_IMPORT_MS,
    )
