"""Exit codes, and running a coroutine so that every end of it is one of them."""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from rich.console import Console

from rtc_audio.errors import AudioError
from rtc_signaling.errors import SignalingError
from rtc_transport.errors import TransportError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

EXPECTED = (TransportError, AudioError, SignalingError, OSError)
"""What can go wrong without a fault in this program: told in one line."""


def human() -> Console:
    """Where everything for people goes: stderr."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """One line, whatever the width of the terminal."""
    human().print(f"error: {message}", style="red", markup=False, soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One line of machine output on stdout."""
    print(json.dumps(value, ensure_ascii=False), flush=True)  # noqa: T201 - this is the command's output


def explain(error: BaseException) -> str:
    """The error as one line."""
    if isinstance(error, OSError) and not isinstance(error, TransportError) and error.filename is not None:
        return f"cannot open {error.filename}: {(error.strerror or str(error)).lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def run(main: Callable[[], Coroutine[Any, Any, int]], *, json_output: bool = False) -> int:
    """Runs `main` to its exit code. Ctrl-C and SIGTERM cancel it once; it may finish its files and still answer."""
    try:
        return asyncio.run(_interruptible(main))
    except KeyboardInterrupt:  # where the loop cannot handle signals
        return INTERRUPTED
    except EXPECTED as error:
        print_error(explain(error))
        if json_output:
            print_json({"outcome": "failed", "error": {"message": explain(error)}})
        return FAILED


async def _interruptible(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted and task is not None:  # closing is bounded: a second Ctrl-C does not tear it apart
            interrupted = True
            task.cancel()

    handled = [number for number in (signal.SIGINT, signal.SIGTERM) if _handle(loop, number, interrupt)]
    try:
        return await main()
    except asyncio.CancelledError:
        if interrupted:
            return INTERRUPTED
        raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _handle(loop: asyncio.AbstractEventLoop, number: signal.Signals, interrupt: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, interrupt)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
        return False
    return True
