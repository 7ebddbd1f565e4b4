"""SDP over HTTP for realtime voice services: client, keys, and the server side. SDP is a `str` here.

Importing the package is light: the names that need aiohttp are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .credentials import KeySource, resolve_key
from .errors import (
    CallRejected,
    InvalidAnswer,
    InvalidUrl,
    KeyUnavailable,
    RequestRejected,
    ServiceUnreachable,
    SignalingError,
    SignalingTimeout,
)
from .models import ClientSecret, SdpAnswer
from .urls import DEFAULT_BASE_URL

__all__ = [
    "DEFAULT_BASE_URL",
    "CallHandler",
    "CallRejected",
    "ClientSecret",
    "EphemeralKeyProvider",
    "InvalidAnswer",
    "InvalidUrl",
    "KeySource",
    "KeyUnavailable",
    "RequestRejected",
    "SdpAnswer",
    "SdpClient",
    "ServiceUnreachable",
    "SignalingError",
    "SignalingServer",
    "SignalingTimeout",
    "create_app",
    "mint_client_secret",
    "resolve_key",
]

_MODULE_OF = {
    "SdpClient": "client",
    "EphemeralKeyProvider": "keys",
    "mint_client_secret": "keys",
    "CallHandler": "server",
    "SignalingServer": "server",
    "create_app": "server",
}

if TYPE_CHECKING:
    from .client import SdpClient
    from .keys import EphemeralKeyProvider, mint_client_secret
    from .server import CallHandler, SignalingServer, create_app
else:  # hidden from type checkers, to which it would make any name exist

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value  # asked for once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
