"""The parts of a session: formats, voice, turn detection, tools, and the session as the service shows it.

One set for both directions: lenient here, for what the service says; `rtc_transport.session.SessionConfig` adds the
checks for what we ask of it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from .base import Float, Int, Many, TypedModel, WireModel


class AudioFormat(WireModel):
    """How audio is coded in events; over WebRTC the audio itself is Opus whatever this says."""

    type: str | None = None
    """audio/pcm (16 bit, little endian, mono), audio/pcmu or audio/pcma (G.711, 8 kHz)."""
    rate: Int | None = None
    """Samples per second; 24000 for audio/pcm."""


class Transcription(WireModel):
    """How the user's speech is transcribed."""

    model: str | None = None
    """The transcription model."""
    language: str | None = None
    """The language spoken, ISO 639-1."""
    languages: Many[str] | None = None
    """Languages that may be spoken."""
    prompt: str | None = None
    """Guidance in words."""
    keywords: Many[str] | None = None
    """Words that are likely to come."""
    delay: str | None = None
    """Speed against accuracy: minimal, low, medium, high or xhigh."""


class NoiseReduction(WireModel):
    """Filtering of the input before turn detection and the model."""

    type: str | None = None
    """near_field for a headset, far_field for a room."""
    strength: Float | None = None
    """How much is filtered."""


class TurnDetection(WireModel):
    """How the service finds the end of the user's turn; null switches it off."""

    type: str | None = None
    """server_vad (by silence) or semantic_vad (by what was said)."""
    create_response: bool | None = None
    """Whether a response starts at the end of a turn."""
    interrupt_response: bool | None = None
    """Whether the user's speech stops a response."""
    threshold: Float | None = None
    """server_vad: how sure it must be that this is speech, 0 to 1."""
    prefix_padding_ms: Int | None = None
    """server_vad: how much audio before the start of speech belongs to the turn."""
    silence_duration_ms: Int | None = None
    """server_vad: how much silence ends a turn."""
    idle_timeout_ms: Int | None = None
    """server_vad: after how much silence the model speaks up by itself."""
    eagerness: str | None = None
    """semantic_vad: how soon it takes the turn: low, medium, high or auto."""


class AudioInput(WireModel):
    """The user's side of the audio."""

    format: AudioFormat | None = None
    """The format of audio in events."""
    transcription: Transcription | None = None
    """Transcription of the user's speech; null is off."""
    noise_reduction: NoiseReduction | None = None
    """Noise reduction; null is off."""
    turn_detection: TurnDetection | None = None
    """Turn detection; null is off."""


class VoiceId(WireModel):
    """A custom voice."""

    id: str
    """The voice's id."""


class AudioOutput(WireModel):
    """The model's side of the audio."""

    format: AudioFormat | None = None
    """The format of audio in events."""
    voice: str | VoiceId | None = None
    """The voice; cannot change once the model has spoken."""
    speed: Float | None = None
    """Rate of speech, 1 is normal."""


class AudioConfig(WireModel):
    """Audio in both directions."""

    input: AudioInput | None = None
    """The user's side."""
    output: AudioOutput | None = None
    """The model's side."""


class Tool(WireModel):
    """A tool of any kind, also one not known yet."""

    type: str | None = None
    """The kind of the tool."""


class FunctionTool(Tool, TypedModel):
    """A function of the application that the model may call."""

    type: Literal["function"] = "function"
    """Always `function`."""
    name: str | None = None
    """The function's name."""
    description: str | None = None
    """What it does and when to call it."""
    parameters: Any = None
    """The JSON Schema of its arguments."""


class McpServerTool(Tool, TypedModel):
    """The tools of an MCP server, called by the service."""

    type: Literal["mcp"] = "mcp"
    """Always `mcp`."""
    server_label: str
    """The name of the server in items and events."""
    server_url: str | None = None
    """Where the server is."""
    server_description: str | None = None
    """What the server is for."""
    connector_id: str | None = None
    """A connector of the service instead of a server."""
    tunnel_id: str | None = None
    """A tunnel of the service instead of an address."""
    authorization: str | None = Field(default=None, repr=False)
    """An access token for the server; secret."""
    headers: dict[str, str] | None = Field(default=None, repr=False)
    """HTTP headers for the server; secret."""
    allowed_tools: Any = None
    """Names of the tools that may be used, or a filter object."""
    require_approval: Any = None
    """always, never, or filters for both."""
    allowed_callers: Many[str] | None = None
    """In which contexts the tools may be called: direct, programmatic."""
    defer_loading: bool | None = None
    """Whether the tools are found by search instead of listed at once."""


def _tool_class(tool: object) -> str:
    if isinstance(tool, Tool):
        return type(tool).__name__
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    return "FunctionTool" if kind == "function" else "McpServerTool" if kind == "mcp" else "Tool"


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("FunctionTool")]
    | Annotated[McpServerTool, Tag("McpServerTool")]
    | Annotated[Tool, Tag("Tool")],
    Discriminator(_tool_class),
]
"""A function, an MCP server, or a plain `Tool` for any other kind."""


class ToolChoice(WireModel):
    """One tool that the model has to use."""

    type: str
    """function or mcp."""
    name: str | None = None
    """The tool's name."""
    server_label: str | None = None
    """The MCP server that has it."""


class Prompt(WireModel):
    """A prompt kept by the service."""

    id: str
    """The prompt's id."""
    version: str | None = None
    """The prompt's version."""
    variables: dict[str, Any] | None = None
    """Values for its variables."""


class Reasoning(WireModel):
    """How much the model thinks."""

    effort: str | None = None
    """minimal, low, medium, high or xhigh."""


class TracingConfig(WireModel):
    """How the session appears in the service's traces."""

    workflow_name: str | None = None
    """The name of the workflow."""
    group_id: str | None = None
    """What groups several traces."""
    metadata: Any = None
    """Anything to be kept with the trace."""


class TokenLimits(WireModel):
    """Limits of what stays in the model's context."""

    post_instructions: Int | None = None
    """Most tokens after the instructions."""


class Truncation(WireModel):
    """How a conversation that is too long is cut."""

    type: str
    """retention_ratio."""
    retention_ratio: Float | None = None
    """The share that is kept, 0 to 1."""
    token_limits: TokenLimits | None = None
    """Own limits instead of the model's."""


class SessionFields(WireModel):
    """What can be configured in a session."""

    type: str | None = None
    """realtime or transcription."""
    model: str | None = None
    """The model; fixed for the life of the session."""
    instructions: str | None = None
    """What the model is told before everything else."""
    output_modalities: Many[str] | None = None
    """`["audio"]`, which includes a transcript, or `["text"]`."""
    audio: AudioConfig | None = None
    """Audio in both directions."""
    tools: Many[AnyTool] | None = None
    """The tools that the model may use; empty clears them."""
    tool_choice: str | ToolChoice | None = None
    """none, auto, required, or one tool."""
    parallel_tool_calls: bool | None = None
    """Whether several tools may be called in one response."""
    max_output_tokens: Int | str | None = None
    """Most tokens of one response, or "inf"."""
    include: Many[str] | None = None
    """Further fields the service should send, such as `item.input_audio_transcription.logprobs`."""
    prompt: Prompt | None = None
    """A prompt kept by the service."""
    reasoning: Reasoning | None = None
    """How much the model thinks."""
    tracing: str | TracingConfig | None = None
    """auto, a configuration, or null for none; cannot change once it is on."""
    truncation: str | Truncation | None = None
    """auto, disabled, or a rule how a long conversation is cut."""


class Session(SessionFields):
    """The session as the service shows it; also transcription sessions."""

    id: str | None = None
    """The session's id."""
    object: str | None = None
    """`realtime.session`, where given."""
    expires_at: Int | None = None
    """When the session ends, in seconds since 1970."""
