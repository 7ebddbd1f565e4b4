"""Which URLs are posted to, and how they are shown. Pure."""

import ipaddress
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from .errors import InvalidUrl
from .redaction import MASK, one_line, redact

DEFAULT_BASE_URL = "https://api.openai.com/v1"

_SCHEMES_OF_SOCKETS = {"ws": "http", "wss": "https"}


def check_url(url: str, *, allow_plain_http: bool = False) -> str:
    """Return `url` unchanged if a key may be posted there, else raise InvalidUrl saying why.

    Plain http is for loopback addresses (127.0.0.0/8, ::1, localhost), unless allowed.
    """
    parts = _split(url)
    if not parts.hostname:
        raise InvalidUrl(f"no host in URL {display_url(url)!r}")
    if "@" in parts.netloc:
        raise InvalidUrl(
            f"user name or password in URL {display_url(url)!r}", hint="pass credentials as key or headers"
        )
    if parts.scheme == "http" and not (allow_plain_http or is_loopback(parts.hostname)):
        raise InvalidUrl(
            f"plain http to {parts.hostname} would send the key in clear text: {display_url(url)!r}",
            hint="use https://, or allow_plain_http=True in a network you trust",
        )
    return url


def _split(url: str) -> SplitResult:
    if any(character <= " " or character == "\x7f" for character in url):
        raise InvalidUrl(f"white space or control characters in URL {display_url(url)!r}")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise InvalidUrl(f"no http:// or https:// in URL {display_url(url)!r}")
    if scheme in _SCHEMES_OF_SOCKETS:
        raise InvalidUrl(
            f"{scheme}:// in URL {display_url(url)!r}: SDP is exchanged over http",
            hint=f"try {display_url(f'{_SCHEMES_OF_SOCKETS[scheme]}://{rest}')}",
        )
    if scheme not in ("http", "https"):
        raise InvalidUrl(f"neither http:// nor https:// in URL {display_url(url)!r}")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises where the port is no port
    except ValueError:  # its text may quote a password
        raise InvalidUrl(f"malformed host or port in URL {display_url(url)!r}") from None
    return parts


def check_proxy(proxy: str) -> str:
    """Return `proxy` unchanged if it is the URL of an HTTP proxy (credentials may be in it), else InvalidUrl."""
    scheme, _, rest = proxy.partition("://")
    if scheme.lower() not in ("http", "https") or not rest:
        raise InvalidUrl(f"the proxy {display_url(proxy)!r} is no http:// or https:// URL")
    return proxy


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine, as far as its spelling tells."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def join_url(base_url: str, path: str) -> str:
    """Append `path` to the path of `base_url`; a query of the base (`?api-version=…`) is kept."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))


def hangup_path(call_id: str) -> str:
    """The path that ends `call_id`, relative to the calls URL. ValueError for what is no id."""
    if not call_id.strip("."):
        raise ValueError(f"no call id: {call_id!r}")
    return f"/{quote(call_id, safe='')}/hangup"


def drop_query(url: str) -> str:
    """`url` without query and fragment."""
    return url.partition("#")[0].partition("?")[0]


def display_url(url: str) -> str:
    """`url` as messages and logs may show it: without credentials, query and fragment."""
    url = drop_query(url)
    if "@" in url:
        scheme, separator, _ = url.partition("://")
        url = f"{scheme + separator if separator else ''}{MASK}@{url.rpartition('@')[2]}"
    return one_line(redact(url), 200)
