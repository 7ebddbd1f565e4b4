"""What signaling hands over. Values that let somebody in, or hold them, stay out of every repr."""

from dataclasses import dataclass, field

SHORTEST_LIFE_SECONDS, LONGEST_LIFE_SECONDS = 10, 7200
"""How long a client secret may be good for."""


@dataclass(frozen=True, slots=True)
class SdpAnswer:
    """The service's answer to an offer.

    `sdp` begins with `v=0`. `call_id` is the last path segment of `location` (the `Location` header as it
    came), both None if the service sent none. `request_id` is its `x-request-id`.
    """

    sdp: str = field(repr=False)  # holds the ICE password
    call_id: str | None = None
    location: str | None = field(default=None, repr=False)
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """An ephemeral key (`ek_…`) bound to a session config, from `POST /v1/realtime/client_secrets`.

    `expires_at` is in epoch seconds. The secret opens any number of calls until then; they outlive it.
    """

    value: str = field(repr=False)
    expires_at: float
    session: dict[str, object] = field(default_factory=dict, repr=False, hash=False)  # may hold MCP tokens
