"""``rtc-transport keys``: mint an ephemeral key."""

import time
from collections.abc import Mapping

from rtc_signaling import DEFAULT_BASE_URL, mint_client_secret

from . import running

DEFAULT_MODEL = "gpt-realtime"


async def mint(
    key: str | None,
    session: Mapping[str, object],
    *,
    expires_after_seconds: int | None,
    base_url: str | None,
    allow_plain_http: bool,
    json_output: bool,
) -> int:
    """Prints the secret on stdout, alone or as JSON, and how long it is good for on stderr."""
    secret = await mint_client_secret(
        key,
        session=session,
        expires_after_seconds=expires_after_seconds,
        base_url=base_url or DEFAULT_BASE_URL,
        allow_plain_http=allow_plain_http,
    )
    if json_output:
        running.print_json(
            {"value": secret.value, "expires_at": secret.expires_at, "session": dict(secret.session)}
        )
    else:
        print(secret.value, flush=True)  # noqa: T201 - this is the command's output
    running.human().print(f"good for {max(0.0, secret.expires_at - time.time()):.0f} s", style="dim")
    return running.DONE
