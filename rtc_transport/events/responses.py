"""The response of the model, what it cost, and what can be asked of one."""

from .base import Float, Int, Many, WireModel
from .items import AnyItem
from .session_objects import AnyTool, AudioFormat, Prompt, Reasoning, ToolChoice, VoiceId


class ServiceError(WireModel):
    """What the service says went wrong."""

    type: str | None = None
    """The class of the error, such as `invalid_request_error`."""
    code: str | None = None
    """The error's code."""
    message: str | None = None
    """What went wrong, in words."""
    param: str | None = None
    """The field that is to blame."""
    event_id: str | None = None
    """The client event that is to blame."""


class StatusDetails(WireModel):
    """Why a response ended as it did."""

    type: str | None = None
    """completed, cancelled, incomplete or failed."""
    reason: str | None = None
    """turn_detected, client_cancelled, max_output_tokens or content_filter."""
    error: ServiceError | None = None
    """Why it failed."""


class CachedTokens(WireModel):
    """Cached input tokens by kind."""

    text_tokens: Int | None = None
    """Tokens of text."""
    audio_tokens: Int | None = None
    """Tokens of audio."""
    image_tokens: Int | None = None
    """Tokens of images."""


class InputTokens(CachedTokens):
    """Input tokens by kind."""

    cached_tokens: Int | None = None
    """How many of them were cached."""
    cached_tokens_details: CachedTokens | None = None
    """The cached ones by kind."""


class OutputTokens(WireModel):
    """Output tokens by kind."""

    text_tokens: Int | None = None
    """Tokens of text."""
    audio_tokens: Int | None = None
    """Tokens of audio."""


class Usage(WireModel):
    """What a response cost."""

    total_tokens: Int | None = None
    """Input and output together."""
    input_tokens: Int | None = None
    """Tokens the model read."""
    output_tokens: Int | None = None
    """Tokens the model wrote and spoke."""
    input_token_details: InputTokens | None = None
    """The input by kind."""
    output_token_details: OutputTokens | None = None
    """The output by kind."""


class TranscriptionUsage(WireModel):
    """What a transcription cost, in tokens or in time."""

    type: str | None = None
    """tokens or duration."""
    seconds: Float | None = None
    """How long the audio was."""
    total_tokens: Int | None = None
    """Input and output together."""
    input_tokens: Int | None = None
    """Tokens the transcription model read."""
    output_tokens: Int | None = None
    """Tokens it wrote."""
    input_token_details: InputTokens | None = None
    """The input by kind."""


class ResponseAudioOutput(WireModel):
    """The voice of one response."""

    format: AudioFormat | None = None
    """The format of audio in events."""
    voice: str | VoiceId | None = None
    """The voice."""


class ResponseAudio(WireModel):
    """The audio of one response."""

    output: ResponseAudioOutput | None = None
    """The model's side."""


class Response(WireModel):
    """A response of the model, running or done."""

    id: str | None = None
    """The response's id."""
    object: str | None = None
    """`realtime.response`, where given."""
    conversation_id: str | None = None
    """The conversation it belongs to; null for a response outside of it."""
    status: str | None = None
    """in_progress, completed, cancelled, failed or incomplete."""
    status_details: StatusDetails | None = None
    """Why it ended as it did."""
    output: Many[AnyItem] | None = None
    """The items it made."""
    output_modalities: Many[str] | None = None
    """`["audio"]` or `["text"]`."""
    audio: ResponseAudio | None = None
    """The voice."""
    max_output_tokens: Int | str | None = None
    """Most tokens, or "inf"."""
    metadata: dict[str, str] | None = None
    """What the request for it carried."""
    usage: Usage | None = None
    """What it cost; once it is done."""


class ResponseParams(WireModel):
    """What can be asked of one response; what is not given is as in the session."""

    conversation: str | None = None
    """auto for the conversation, none for a response outside of it, or a conversation's id."""
    input: Many[AnyItem] | None = None
    """What the model sees instead of the conversation; references to items too."""
    instructions: str | None = None
    """Instructions instead of the session's."""
    output_modalities: Many[str] | None = None
    """`["audio"]` or `["text"]`."""
    audio: ResponseAudio | None = None
    """The voice."""
    tools: Many[AnyTool] | None = None
    """Tools instead of the session's."""
    tool_choice: str | ToolChoice | None = None
    """none, auto, required, or one tool."""
    parallel_tool_calls: bool | None = None
    """Whether several tools may be called."""
    max_output_tokens: Int | str | None = None
    """Most tokens, or "inf"."""
    metadata: dict[str, str] | None = None
    """Up to 16 pairs that come back with the response."""
    prompt: Prompt | None = None
    """A prompt kept by the service."""
    reasoning: Reasoning | None = None
    """How much the model thinks."""
