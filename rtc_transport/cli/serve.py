"""``rtc-transport serve``: the embedded realtime server, until Ctrl-C."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from rtc_transport.server import LoggedEvent, RealtimeServer, ScriptError

from . import running
from .running import WrongUsage

TOLD = {
    "call.opened": "connected",
    "input_audio_buffer.speech_started": "hears somebody",
    "response.created": "answers",
    "output_audio_buffer.cleared": "is interrupted",
    "error": "refuses an event",
}


async def run_server(
    *, host: str, port: int, reply: str, keys: Sequence[str] | None, json_output: bool
) -> int:
    """Serves until it is cancelled. With `json_output` every event is one JSON line on stdout."""
    console = running.human()

    def on_event(logged: LoggedEvent) -> None:
        if text := _told(logged):
            console.print(
                f"{logged.call_id}  {logged.at_seconds:6.1f} s  {text}", markup=False, soft_wrap=True
            )
        if json_output:
            running.print_json(_as_dict(logged))

    if not all(keys or ()):
        raise WrongUsage("--key is empty")
    try:
        server = RealtimeServer(host=host, port=port, reply=reply, keys=keys or None, on_event=on_event)
    except ScriptError as error:
        choice = "" if Path(reply).suffix else "; it is parrot, tone or a script"
        raise WrongUsage(f"--reply {error}{choice}") from error
    async with server:
        if json_output:
            running.print_json({"type": "listening", "url": server.url, "calls_url": server.calls_url})
        _greet(console, server, everywhere=host in ("0.0.0.0", "::"), with_keys=bool(keys))
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    console.print("closed", style="dim")
    return running.INTERRUPTED


def _greet(console: Console, server: RealtimeServer, *, everywhere: bool, with_keys: bool) -> None:
    beside = ", and on every other address of this machine" if everywhere else ""
    console.print(f"listening on {server.url}{beside}", style="bold", markup=False, soft_wrap=True)
    key, which = ("KEY", "one of its keys") if with_keys else ("any", "any key")
    console.print(f"call it from another terminal, with {which}:", style="dim")
    command = f"OPENAI_API_KEY={key} rtc-transport call --url {server.calls_url} --input FILE --output FILE"
    console.print(f"  {command}", markup=False, soft_wrap=True)


def _told(logged: LoggedEvent) -> str | None:
    """What happened, for people; None for what would only be noise."""
    match logged.event:
        case {"type": "call.ended"}:
            return f"ended: {logged.event.get('reason')}"
        case {"type": "error", "error": {"message": str(message)}}:
            return f"refuses an event: {message}"
        case {"type": "response.done", "response": {"status": str(status), "output": list(output)}}:
            return f"{status}: {_transcripts(output)}".rstrip(": ")
        case {"type": str(type_)}:
            return TOLD.get(type_)
    return None


def _transcripts(output: Sequence[Mapping[str, Any]]) -> str:
    parts = (part for item in output for part in item.get("content") or () if isinstance(part, Mapping))
    return " ".join(str(part.get("transcript") or part.get("text") or "") for part in parts)


def _as_dict(logged: LoggedEvent) -> dict[str, Any]:
    return {
        "type": "event",
        "call_id": logged.call_id,
        "t": round(logged.at_seconds, 4),
        "sender": logged.sender,
        "event": dict(logged.event),
    }
