"""Responses that are not the service's own, for servers that misbehave on purpose (`create_app(intercept=...)`)."""

from aiohttp import web

__all__ = ["canned_response"]


def canned_response(status: int, body: str = "", content_type: str = "text/plain") -> web.StreamResponse:
    """A response with exactly this status and body; an empty body has no content type."""
    if not body:
        return web.Response(status=status)
    return web.Response(status=status, text=body, content_type=content_type)
