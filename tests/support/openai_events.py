"""The published schema of events (openai.types.realtime) as a strict check: unknown types and fields fail."""

import functools
from typing import Any, Literal, get_args

from pydantic import BaseModel

_SENT_THOUGH_UNPUBLISHED = {"session.created.session.expires_at", "session.updated.session.expires_at"}
"""The service says when a session ends (openai/openai-realtime-api-beta#23); only the types over HTTP have it."""


@functools.cache
def _models(side: Literal["server", "client"]) -> dict[str, type[BaseModel]]:
    from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent  # 1.4 s: only where it is used

    published: Any = RealtimeServerEvent if side == "server" else RealtimeClientEvent
    union = get_args(get_args(published)[0]) or get_args(published)
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in union}


def check_server_event(event: dict[str, Any]) -> None:
    """Fails on an event the published schema does not have, or has otherwise."""
    _check("server", event)


def check_client_event(event: dict[str, Any]) -> None:
    """The same for what a client sends."""
    _check("client", event)


def _check(side: Literal["server", "client"], event: dict[str, Any]) -> None:
    model = _models(side).get(event["type"])
    assert model is not None, f"{event['type']} is no published {side} event"
    found = _unknown_fields(model.model_validate(event), event["type"])
    unknown = [path for path in found if path not in _SENT_THOUGH_UNPUBLISHED]
    assert not unknown, f"unknown fields: {unknown}"


def _unknown_fields(value: object, path: str) -> list[str]:
    if isinstance(value, BaseModel):
        extra = [f"{path}.{name}" for name in value.model_extra or ()]
        named = ((name, getattr(value, name)) for name in type(value).model_fields)
        return extra + [found for name, inner in named for found in _unknown_fields(inner, f"{path}.{name}")]
    if isinstance(value, list):
        return [found for i, inner in enumerate(value) for found in _unknown_fields(inner, f"{path}[{i}]")]
    return []
