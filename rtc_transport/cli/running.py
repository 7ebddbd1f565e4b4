"""Exit codes, and running a coroutine so that every end of it is one of them."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rich.console import Console

from rtc_audio.errors import AudioError
from rtc_signaling.errors import SignalingError
from rtc_transport.errors import ConnectError, TransportError

T = TypeVar("T")

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

EXPECTED = (TransportError, AudioError, SignalingError, OSError)
"""What can go wrong without a fault in this program: told in one line."""

AS_OPTION = {"allow_plain_http=True": "--allow-plain-http"}
"""What the library's hints call an argument, and the command line an option."""


class WrongUsage(Exception):
    """What the command line asks for cannot be; the text says why."""


@dataclass(frozen=True)
class Failure:
    """Why the command failed: in one line, with stage, status and code of a failed connect."""

    message: str
    stage: str | None = None
    status: int | None = None
    code: str | None = None


def failure_of(error: BaseException) -> Failure:
    """What is told of an error."""
    message = explain(error)
    if isinstance(error, ConnectError):
        return Failure(message, error.stage, error.status, error.code)
    return Failure(message)


def explain(error: BaseException) -> str:
    """The error as one line."""
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, TransportError):
        reason = (error.strerror or text).lower()
        text = reason if error.filename is None else f"cannot open {error.filename}: {reason}"
    elif isinstance(error, SignalingError) and error.hint:
        text = f"{text}; {error.hint}"
    for argument, option in AS_OPTION.items():
        text = text.replace(argument, option)
    return " ".join(text.split()) or type(error).__name__


def human() -> Console:
    """Where everything for people goes: stderr."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """One line, whatever the width of the terminal."""
    human().print(f"error: {message}", style="red", markup=False, soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One line of machine output on stdout, readable where its encoding has every letter."""
    everything = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, ensure_ascii=not everything), flush=True)  # noqa: T201 - this is the command's output


def fail(failure: Failure, *, json_output: bool, code: int = FAILED) -> int:
    """Tells of a command that came to nothing; returns the exit code."""
    print_error(failure.message)
    if json_output:
        print_json({"outcome": "failed", "error": asdict(failure)})
    return code


def run(main: Callable[[], Coroutine[Any, Any, int]], *, json_output: bool = False) -> int:
    """Runs `main` to its exit code. Ctrl-C and SIGTERM cancel it once; it may finish its files and still answer."""
    try:
        return asyncio.run(_interruptible(main, json_output))
    except KeyboardInterrupt:  # where the loop cannot handle signals
        return INTERRUPTED
    except EXPECTED as error:
        return fail(failure_of(error), json_output=json_output)


async def unhurried(work: Coroutine[Any, Any, T]) -> T:
    """Awaits what takes a bounded time and must be whole: Ctrl-C shows in the exit code, not in the work."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise
        return await task  # we are cancelled once


async def _interruptible(main: Callable[[], Coroutine[Any, Any, int]], json_output: bool) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted and task is not None:  # closing is bounded: a second Ctrl-C does not tear it apart
            interrupted = True
            task.cancel()

    handled = [number for number in (signal.SIGINT, signal.SIGTERM) if _handle(loop, number, interrupt)]
    try:
        code = await main()
    except asyncio.CancelledError:
        if not interrupted:
            raise
        human().print("Interrupted.")
        if json_output:
            print_json({"outcome": "interrupted", "error": None})
        return INTERRUPTED
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
    return INTERRUPTED if interrupted else code


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, interrupt: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, interrupt)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
        return False
    return True
