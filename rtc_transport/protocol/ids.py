"""Ids of events and items that we make: at most 32 ASCII characters, as the service asks of clients."""

import secrets
from collections.abc import Callable
from itertools import count

IdMaker = Callable[[str], str]
"""Makes a new id from a prefix such as ``event``; never the same twice."""

MAX_ID_LENGTH = 32


def random_id(prefix: str) -> str:
    """An id of 96 random bits, such as ``event_6f1d…``: unique without knowing the others."""
    return f"{prefix}_{secrets.token_hex(12)}"


def counting_ids() -> IdMaker:
    """Ids in order, ``event_1``, ``item_2``: for tests and replays that have to come out the same."""
    numbers = count(1)
    return lambda prefix: f"{prefix}_{next(numbers)}"


def is_client_id(value: object) -> bool:
    """Whether the service takes `value` as an id made by a client."""
    return (
        isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isascii() and value.isprintable()
    )
