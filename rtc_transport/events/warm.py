"""Building validators ahead of need.

Models are built on first use, so that an import is light; but an event loop that builds the model of `response.done`
in the middle of a call holds up its audio for some milliseconds, once for every type of event.
"""

from collections.abc import Iterator

from .server import SERVER_EVENTS
from .transport import TRANSPORT_EVENTS

_FIRST = ("session.created", "session.updated", "error")


def build_validators() -> Iterator[None]:
    """Builds those of the server's and of the transport's events, one between every two steps of the iterator.

    Those that a connect needs come first. What is built already costs nothing.
    """
    names = [*_FIRST, *(name for name in SERVER_EVENTS if name not in _FIRST)]
    for model in (*(SERVER_EVENTS[name] for name in names), *TRANSPORT_EVENTS.values()):
        if not model.__pydantic_complete__:
            model.model_rebuild()
            yield
