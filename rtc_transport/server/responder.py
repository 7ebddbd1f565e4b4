"""Which responses run, and what happens to them and to the voice: requests, interruptions, cancelling. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from .config import check_response
from .items import Conversation, Item, Json, client_item
from .output_items import World
from .problems import EventError, check_type, optional, required
from .replies import McpCall, Output, Prompt, Reply
from .responses import Response, ResponseRequest
from .usage import RateLimits


class Responder:
    """Runs at most one response in the conversation, and any number beside it (``conversation: "none"``)."""

    def __init__(self, world: World, reply: Reply, now: float) -> None:
        self._world = world
        self._reply = reply
        self._limits = RateLimits(now)
        self._active: list[Response] = []
        self._waiting: list[Sequence[Output] | None] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is generated or spoken."""
        return not self._active and self._world.voice.buffered_seconds == 0

    def create(self, session: Json, event: Json, now: float) -> None:
        """Answers a ``response.create``; raises EventError."""
        params = optional(event, "response", dict) or {}
        check_response(params)
        _check_metadata(params.get("metadata"))
        self._start(self._request(session, params), None, now)

    def answer(self, session: Json, now: float) -> None:
        """Answers the turn that has just ended; after the response that still runs, if there is one."""
        self._start_or_wait(session, None, now)

    def call_mcp(self, session: Json, call: McpCall, now: float) -> None:
        """Makes the call the user has approved."""
        self._start_or_wait(session, [call], now)

    def cancel(self, response_id: str | None) -> None:
        """Answers a ``response.cancel``; raises EventError if nothing runs that it could mean."""
        for response in reversed(self._active):
            if response_id in (None, response.id):
                response.cancel("client_cancelled")
                return
        raise EventError("response_cancel_not_active", "Cancellation failed: no active response found")

    def interrupt(self) -> None:
        """The user speaks: silence, then the end of the conversation's response, then what was not heard."""
        self._waiting = [outputs for outputs in self._waiting if outputs is not None]
        cut = self._silence()
        for response in self._active:
            if response.request.in_conversation:
                response.cancel("turn_detected")
        self._truncate(cut)

    def clear(self) -> None:
        """Answers an ``output_audio_buffer.clear``: the voice stops, generation goes on unheard."""
        self._truncate(self._silence())

    def advance(self, session: Json, now: float) -> None:
        """Runs what is due; starts what waited for a response to end."""
        for response in self._active:
            response.advance(now)
        self._settle()
        if self._waiting and self._running() is None:
            self._start(self._request(session, {}), self._waiting.pop(0), now)

    def _settle(self) -> None:
        for response in self._active:
            if response.due is None:
                self._limits.spend(response.items.tokens.total)
        self._active = [response for response in self._active if response.due is not None]

    def _running(self) -> Response | None:
        self._settle()
        return next((r for r in self._active if r.request.in_conversation), None)

    def _start_or_wait(self, session: Json, outputs: Sequence[Output] | None, now: float) -> None:
        if self._running() is None:
            self._start(self._request(session, {}), outputs, now)
        elif outputs is not None or None not in self._waiting:  # one answer covers all turns that wait
            self._waiting.append(outputs)

    def _start(self, request: ResponseRequest, outputs: Sequence[Output] | None, now: float) -> None:
        running = self._running() if request.in_conversation else None
        if running is not None:
            raise EventError(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {running.id}. "
                "Wait until the response is finished before creating a new one.",
            )
        if outputs is None:
            outputs = self._reply.respond(_prompt(request))
        self._active.append(Response(self._world, request, outputs, now))
        self._world.emit("rate_limits.updated", rate_limits=self._limits.request(now))

    def _request(self, session: Json, params: Mapping[str, Any]) -> ResponseRequest:
        conversation = params.get("conversation", "auto")
        if conversation not in ("auto", "none", self._world.conversation.id):
            raise EventError(
                "invalid_value",
                f"Invalid value for 'response.conversation': '{conversation}' is no conversation of this session.",
                "response.conversation",
            )
        output = {**session["audio"]["output"], **params.get("audio", {}).get("output", {})}
        return ResponseRequest(
            modality=params.get("output_modalities", session["output_modalities"])[0],
            instructions=params.get("instructions", session["instructions"]),
            max_output_tokens=params.get("max_output_tokens", session["max_output_tokens"]),
            audio_output={"format": output["format"], "voice": output["voice"]},
            metadata=params.get("metadata"),
            in_conversation=conversation != "none",
            context=self._context(params),
        )

    def _context(self, params: Mapping[str, Any]) -> list[Item]:
        if "input" not in params:
            return list(self._world.conversation)
        scratch = Conversation("input")
        for index, data in enumerate(params["input"]):
            path = f"response.input[{index}]"
            check_type(data, path, dict)
            if data.get("type") == "item_reference":
                scratch.add(self._world.conversation.get(required(data, "id", str, path), "reference"))
            else:
                scratch.add(client_item(data, scratch, self._world.new_id))
        return list(scratch)

    def _silence(self) -> list[tuple[str, int]]:
        responses, cut = self._world.voice.clear()
        for response_id in responses:
            self._world.emit("output_audio_buffer.cleared", response_id=response_id)
        return [(item.item_id, item.sent_ms) for item in cut]

    def _truncate(self, cut: list[tuple[str, int]]) -> None:
        for item_id, sent_ms in cut:
            item = self._world.conversation.find(item_id)
            if item is None:
                continue  # deleted, or of a response outside of the conversation
            end_ms = min(sent_ms, item.audio_ms)  # the client may have truncated it further
            self._world.conversation.truncate(item_id, 0, end_ms)
            self._world.emit(
                "conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=end_ms
            )


def _prompt(request: ResponseRequest) -> Prompt:
    """The request as the reply sees it: the newest message of the user, or output of a tool, is what it answers."""
    asked = next(
        (
            item
            for item in reversed(request.context)
            if item.data.get("role") == "user" or item.data["type"] == "function_call_output"
        ),
        None,
    )
    return Prompt(
        text=asked.text() if asked is not None else None,
        audio=asked.pcm if asked is not None else None,
        modality=cast('Literal["audio", "text"]', request.modality),
        items=[item.data for item in request.context],
        instructions=request.instructions,
    )


def _check_metadata(metadata: Mapping[str, Any] | None) -> None:
    if metadata is not None and len(metadata) > 16:
        raise EventError(
            "object_above_max_properties",
            f"Invalid 'response.metadata': too many properties. Expected at most 16, got {len(metadata)}.",
            "response.metadata",
        )
