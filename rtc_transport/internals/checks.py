"""Whether the names are there that were there when this was written."""

import logging
from typing import Any

logger = logging.getLogger("rtc_transport.internals")

WRITTEN_FOR = "aiortc 1.16.0, aioice 0.13.0"

warned: set[str] = set()


def has(owner: Any, what: str, *names: str) -> bool:
    """Whether `owner` has all of them; says once that `what` is off if not."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing and what not in warned:
        warned.add(what)
        logger.warning(
            "%s is off: this aiortc has no %s.%s (written for %s)",
            what,
            type(owner).__name__,
            ", ".join(missing),
            WRITTEN_FOR,
        )
    return not missing
