"""The one room that uses private names of aiortc and aioice.

Written against aiortc 1.16.0 and aioice 0.13.0. Everything here sets attributes of single objects, never of classes.
Each function looks first whether the names it needs are there; where they are not, it says so by returning False (or
a monitor that judges by public figures), logs one warning, and stock behaviour remains. `tests/transport/
test_internals.py` pins the names and says which of them a new release took away.
"""

from .checks import WRITTEN_FOR
from .connection import gather_loopback, quiet_connect, wrap_sending
from .receiving import RtpHandler, RtpPort, take_rtp
from .sctp import SctpMonitor, guard_text, quicken_sctp
from .sending import take_sending

__all__ = [
    "WRITTEN_FOR",
    "RtpHandler",
    "RtpPort",
    "SctpMonitor",
    "gather_loopback",
    "guard_text",
    "quicken_sctp",
    "quiet_connect",
    "take_rtp",
    "take_sending",
    "wrap_sending",
]
