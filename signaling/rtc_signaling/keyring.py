"""The embedded server's keys: who may come in, and which session a secret is bound to. Pure: time is `now`."""

import hmac
import secrets
from collections.abc import Collection

from .errors import CallRejected
from .models import ClientSecret

MAX_SECRETS = 1000  # beyond it the oldest is forgotten


class Keyring:
    """API keys and the client secrets minted with them.

    With `keys` None every key is good except a minted one that has expired.
    """

    def __init__(self, keys: Collection[str] | None) -> None:
        if isinstance(keys, str):
            raise TypeError("keys is a collection of keys, not one string")
        self._keys = None if keys is None else tuple(key.encode() for key in keys)
        self._minted: dict[str, ClientSecret] = {}  # oldest first

    def mint(self, session: dict[str, object], lifetime_seconds: int, now: float) -> ClientSecret:
        """A new secret bound to `session`."""
        value = f"ek_{secrets.token_hex(16)}"
        secret = ClientSecret(value, float(int(now) + lifetime_seconds), session)
        self._minted[value] = secret
        if len(self._minted) > MAX_SECRETS:
            del self._minted[next(iter(self._minted))]
        return secret

    def authorize(self, authorization: str | None, now: float) -> ClientSecret | None:
        """Check an `Authorization` header; the client secret in it, None for an API key.

        Raises CallRejected with status 401. Its text does not repeat the key.
        """
        scheme, _, key = (authorization or "").strip().partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise _unauthorized("The Authorization header holds no bearer key.", "missing_api_key")
        secret = self._minted.get(key)
        if secret is not None and now >= secret.expires_at:
            raise _unauthorized("The client secret has expired.", "expired_client_secret")
        if secret is None and not self._is_known(key):
            raise _unauthorized("The API key is not known here.", "invalid_api_key")
        return secret

    def _is_known(self, key: str) -> bool:
        if self._keys is None:
            return True
        given = key.encode(errors="surrogateescape")
        return any(hmac.compare_digest(given, known) for known in self._keys)


def _unauthorized(message: str, code: str) -> CallRejected:
    return CallRejected(message, code=code, status=401)
