"""What the bytes of an HTTP response mean. Pure; nothing here trusts what it reads.

A response is an answer, a secret, or one of our errors; texts of the service enter an error only redacted and
on one line.
"""

import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin, urlsplit

from .credentials import check_key
from .errors import InvalidAnswer, KeyUnavailable, RequestRejected
from .models import ClientSecret, SdpAnswer
from .redaction import one_line, redact
from .urls import display_url

MAX_BODY_BYTES = 1 << 20
_MESSAGE_LIMIT = 500
_EXCERPT_LIMIT = 60
_HINTS = {
    401: "check the API key",
    403: "the key may not use this model, project or region",
    404: "check URL and model: base_url ends in /v1, url is posted to as written",
    407: "the proxy wants credentials",
    429: "rate limit or used-up quota: wait, or check the plan",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, read whole.

    `url` is fit for display, `headers` ignores case, `body` is cut at MAX_BODY_BYTES (then `truncated`),
    `secrets` went out with the request and must not come back in an error.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    truncated: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def request_id(self) -> str | None:
        """The service's name for the request, for its support."""
        return self.clean(self.headers.get("x-request-id"), 100)

    @property
    def text(self) -> str:
        """The body as UTF-8, without byte order mark and surrounding white space."""
        return self.body.decode("utf-8", errors="replace").strip("\ufeff \t\r\n\f\v")

    def clean(self, text: object, limit: int = _MESSAGE_LIMIT) -> str | None:
        """A value of the service as our errors may hold it; None if there is none."""
        if text is None or isinstance(text, dict | list):
            return None
        return one_line(redact(str(text), self.secrets), limit) or None


def check_status(reply: Reply) -> None:
    """Raise RequestRejected with the service's own words unless the status is 2xx."""
    if 200 <= reply.status < 300:
        return
    if 300 <= reply.status < 400:
        raise _redirected(reply)
    words = _error_words(reply)
    code = reply.clean(words.get("code"), 100)
    hint = _HINTS.get(reply.status, "the service failed: try again" if reply.status >= 500 else None)
    raise RequestRejected(
        reply.status,
        reply.clean(words.get("message")) or "",
        url=reply.url,
        code=code,
        type=reply.clean(words.get("type"), 100),
        param=reply.clean(words.get("param"), 100),
        request_id=reply.request_id,
        retry_after_seconds=_retry_after_seconds(reply.headers),
        hint=None if reply.status == 404 and code else hint,  # a code says that the URL was right
    )


def read_sdp(reply: Reply) -> SdpAnswer:
    """The SDP answer of a 2xx reply; else RequestRejected or InvalidAnswer."""
    check_status(reply)
    if not reply.text.startswith("v=0"):
        raise _not(reply, "an SDP answer", hint="is this the URL that answers SDP offers (…/realtime/calls)?")
    if reply.truncated:
        raise _not(reply, "an SDP answer")
    location = reply.headers.get("location")
    sdp = reply.body.decode("utf-8", errors="replace")
    return SdpAnswer(
        sdp=sdp[sdp.index("v=0") :],
        call_id=call_id_of(location),
        location=location,
        request_id=reply.request_id,
    )


def read_client_secret(reply: Reply) -> ClientSecret:
    """The client secret of a 2xx reply; else RequestRejected or InvalidAnswer."""
    check_status(reply)
    found = _json_object(reply.text) or {}
    expires_at, session = found.get("expires_at"), found.get("session")
    try:
        value = check_key(found.get("value"))
    except KeyUnavailable:
        value = ""
    if not value or not isinstance(expires_at, int | float) or isinstance(expires_at, bool):
        raise _not(reply, "a client secret", excerpt=False)  # what stands there may be one, oddly wrapped
    return ClientSecret(value, float(expires_at), session if isinstance(session, dict) else {})


def call_id_of(location: str | None) -> str | None:
    """The call id in a `Location` header: its last path segment, absolute or relative."""
    try:
        path = urlsplit(location or "").path
    except ValueError:
        return None
    return unquote(path.rstrip("/").rpartition("/")[2]) or None


def _redirected(reply: Reply) -> RequestRejected:
    location = redact(reply.headers.get("location", ""), reply.secrets)
    try:
        target = display_url(urljoin(reply.url, location)) if location else "nowhere"
    except ValueError:
        target = "a malformed URL"
    return RequestRejected(
        reply.status,
        f"redirects to {target}, not followed: the key belongs to the URL it was given for",
        url=reply.url,
        request_id=reply.request_id,
        hint="if you trust the target, use it as URL",
    )


def _error_words(reply: Reply) -> dict[str, object]:
    """`message`, `code`, `type`, `param` as far as the body tells them.

    Known forms: `{"error": {…}}` (the service), `{"error": "text"}`, `{"message": …}`, `{"detail": …}`
    (copies of it), an HTML page, plain text.
    """
    found = _json_object(reply.text)
    if found is None:
        text = redact(reply.text, reply.secrets)
        return {"message": _html_title(text) if text.startswith("<") else text}
    inner = found.get("error")
    if isinstance(inner, dict):
        return inner
    detail = found.get("detail")
    if detail is not None and not isinstance(detail, str):
        detail = json.dumps(detail, ensure_ascii=False)
    return found | {"message": inner or found.get("message") or detail}


def _json_object(text: str) -> dict[str, object] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _html_title(page: str) -> str:
    """The page's title, else its text without tags. Linear in the length of the page."""
    lower = page.lower()
    start = lower.find(">", lower.find("<title")) + 1 if "<title" in lower else 0
    end = lower.find("</title", start)
    if start and end > start:
        return html.unescape(page[start:end])
    return html.unescape(re.sub(r"<[^<>]*>", " ", page[: 4 * _MESSAGE_LIMIT]))


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds or as date (RFC 9110 §10.2.3; against the response's own `Date`)."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            then, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
            seconds = (then - now).total_seconds()
        except (ValueError, TypeError):  # no date; one with and one without a time zone
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _not(reply: Reply, wanted: str, *, excerpt: bool = True, hint: str | None = None) -> InvalidAnswer:
    text, shown = reply.text, ""
    if reply.truncated:
        kind = f"more than {MAX_BODY_BYTES} bytes"
    elif not text:
        kind = "an empty body"
    elif text.startswith("<"):
        kind = "HTML"
    elif _json_object(text) is not None:
        kind = "JSON"
    else:
        kind = "binary data" if "\ufffd" in text[:200] or "\0" in text[:200] else "text"
    if excerpt and text:
        shown = f": {reply.clean(text, _EXCERPT_LIMIT) or ''}"
    message = f"{reply.url} answered {reply.status} with {kind} instead of {wanted}{shown}"
    return InvalidAnswer(message, status=reply.status, request_id=reply.request_id, hint=hint)
