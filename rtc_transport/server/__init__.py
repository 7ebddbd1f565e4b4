"""The embedded realtime server: a real WebRTC answerer that speaks the service's events, for tests and demonstrations.

Importing the package is light; aiortc and aiohttp are loaded with `RealtimeServer`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .call import Call
    from .eventlog import LoggedEvent
    from .faults import BadText, Faults
    from .replies import Failure, FunctionCall, McpCall, Output, Prompt, Reply, Speech
    from .script import Script, ScriptError
    from .server import RealtimeServer

__all__ = [
    "BadText",
    "Call",
    "Failure",
    "Faults",
    "FunctionCall",
    "LoggedEvent",
    "McpCall",
    "Output",
    "Prompt",
    "RealtimeServer",
    "Reply",
    "Script",
    "ScriptError",
    "Speech",
]

_MODULE_OF = {
    "BadText": "faults",
    "Call": "call",
    "Failure": "replies",
    "Faults": "faults",
    "FunctionCall": "replies",
    "LoggedEvent": "eventlog",
    "McpCall": "replies",
    "Output": "replies",
    "Prompt": "replies",
    "RealtimeServer": "server",
    "Reply": "replies",
    "Script": "script",
    "ScriptError": "script",
    "Speech": "replies",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
