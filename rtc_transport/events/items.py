"""Items of a conversation and the parts of their content.

Nine kinds are known: three messages by role, function calls and their outputs, four of MCP. Any other kind is an
`Item`, which holds all of its fields. The service's reference calls them conversation items.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from .base import Int, Many, TypedModel, WireModel


class ContentPart(WireModel):
    """A part of a message: text, audio or an image.

    Users send `input_text`, `input_audio` and `input_image`; the model answers with `output_text` and `output_audio`
    (`text` and `audio` in older forms).
    """

    type: str | None = None
    """The kind of the part."""
    text: str | None = None
    """The text of a text part."""
    audio: str | None = None
    """Base64 audio in the session's format; absent unless the item was retrieved."""
    transcript: str | None = None
    """What was said in an audio part."""
    image_url: str | None = None
    """Address or data URL of an image."""
    detail: str | None = None
    """How closely the model looks at an image: auto, low or high."""


class Item(WireModel):
    """An item of the conversation, of any kind, also one not known yet."""

    type: str | None = None
    """The kind of the item."""
    id: str | None = None
    """The item's id, unique in the conversation; at most 32 characters if chosen by the client."""
    object: str | None = None
    """Always `realtime.item`, where given."""
    status: str | None = None
    """completed, incomplete or in_progress."""


class _KnownItem(Item, TypedModel):
    """An item whose kind is a constant of its class."""

    type: str


class _Message(_KnownItem):
    """What the three messages share: their role is a constant too."""

    type: Literal["message"] = "message"
    """Always `message`."""

    def model_post_init(self, context: Any, /) -> None:
        self.model_fields_set.update(("type", "role"))


class SystemMessage(_Message):
    """Instructions to the model in the middle of a conversation."""

    role: Literal["system"] = "system"
    """Always `system`."""
    content: Many[ContentPart]
    """Parts of type `input_text`."""


class UserMessage(_Message):
    """What the user said, wrote or showed."""

    role: Literal["user"] = "user"
    """Always `user`."""
    content: Many[ContentPart]
    """Parts of type `input_text`, `input_audio` and `input_image`."""


class AssistantMessage(_Message):
    """What the model said or wrote."""

    role: Literal["assistant"] = "assistant"
    """Always `assistant`."""
    content: Many[ContentPart]
    """Parts of type `output_text` and `output_audio`."""


class FunctionCallItem(_KnownItem):
    """The model calls a function of the application."""

    type: Literal["function_call"] = "function_call"
    """Always `function_call`."""
    name: str
    """The function's name."""
    arguments: str
    """The arguments as the model wrote them: meant to be JSON, empty while in progress."""
    call_id: str | None = None
    """The id that the output has to name."""


class FunctionCallOutputItem(_KnownItem):
    """The application's answer to a function call."""

    type: Literal["function_call_output"] = "function_call_output"
    """Always `function_call_output`."""
    call_id: str
    """The id of the call that is answered."""
    output: str
    """The result, in any text form."""


class McpApprovalRequestItem(_KnownItem):
    """The service asks whether it may call a tool of an MCP server."""

    type: Literal["mcp_approval_request"] = "mcp_approval_request"
    """Always `mcp_approval_request`."""
    id: str
    """The item's id, which the answer names."""
    server_label: str
    """The MCP server that has the tool."""
    name: str
    """The tool's name."""
    arguments: str
    """The arguments of the call as JSON text."""


class McpApprovalResponseItem(_KnownItem):
    """The application's answer to an approval request."""

    type: Literal["mcp_approval_response"] = "mcp_approval_response"
    """Always `mcp_approval_response`."""
    approval_request_id: str
    """The id of the request that is answered."""
    approve: bool
    """Whether the call may be made."""
    reason: str | None = None
    """Why, for the model to read."""


class McpTool(WireModel):
    """A tool as an MCP server lists it."""

    name: str
    """The tool's name."""
    input_schema: Any
    """The JSON Schema of its arguments."""
    description: str | None = None
    """What it does, for the model to read."""
    annotations: Any = None
    """Further properties, defined by MCP."""


class McpListToolsItem(_KnownItem):
    """The tools that an MCP server offers."""

    type: Literal["mcp_list_tools"] = "mcp_list_tools"
    """Always `mcp_list_tools`."""
    server_label: str
    """The MCP server."""
    tools: Many[McpTool]
    """What it offers."""


class McpCallError(WireModel):
    """Why a call of an MCP tool failed."""

    type: str | None = None
    """protocol_error, tool_execution_error or http_error."""
    code: Int | None = None
    """The protocol's or HTTP's error code."""
    message: str | None = None
    """What went wrong."""


class McpCallItem(_KnownItem):
    """A call of an MCP tool, made by the service."""

    type: Literal["mcp_call", "mcp_tool_call"] = "mcp_call"
    """`mcp_call`; `mcp_tool_call` in older forms."""
    server_label: str
    """The MCP server that has the tool."""
    name: str
    """The tool's name."""
    arguments: str
    """The arguments of the call as JSON text."""
    approval_request_id: str | None = None
    """The approval request that allowed it, if one was needed."""
    output: str | None = None
    """What the tool returned."""
    error: McpCallError | None = None
    """Why it failed, if it did."""


_BY_TYPE: dict[str, type[Item]] = {
    "function_call": FunctionCallItem,
    "function_call_output": FunctionCallOutputItem,
    "mcp_approval_request": McpApprovalRequestItem,
    "mcp_approval_response": McpApprovalResponseItem,
    "mcp_list_tools": McpListToolsItem,
    "mcp_call": McpCallItem,
    "mcp_tool_call": McpCallItem,
}
_BY_ROLE: dict[str, type[Item]] = {
    "system": SystemMessage,
    "user": UserMessage,
    "assistant": AssistantMessage,
}


def _class_name(item: object) -> str:
    """The class an item is read as, by its name: the tag of the union below."""
    if isinstance(item, Item):
        return type(item).__name__
    if not isinstance(item, Mapping):
        return Item.__name__
    kind, role = item.get("type"), item.get("role")
    if kind == "message":
        return (_BY_ROLE.get(role, Item) if isinstance(role, str) else Item).__name__
    return (_BY_TYPE.get(kind, Item) if isinstance(kind, str) else Item).__name__


AnyItem = Annotated[
    Annotated[SystemMessage, Tag("SystemMessage")]
    | Annotated[UserMessage, Tag("UserMessage")]
    | Annotated[AssistantMessage, Tag("AssistantMessage")]
    | Annotated[FunctionCallItem, Tag("FunctionCallItem")]
    | Annotated[FunctionCallOutputItem, Tag("FunctionCallOutputItem")]
    | Annotated[McpApprovalRequestItem, Tag("McpApprovalRequestItem")]
    | Annotated[McpApprovalResponseItem, Tag("McpApprovalResponseItem")]
    | Annotated[McpListToolsItem, Tag("McpListToolsItem")]
    | Annotated[McpCallItem, Tag("McpCallItem")]
    | Annotated[Item, Tag("Item")],
    Discriminator(_class_name),
]
"""An item of one of the nine known kinds, or a plain `Item` for any other."""
