"""What every event is made of. On the wire: frozen, lenient in what is read, exact in what is written.

The law of this room: what came is kept. Unknown fields stay in the model, explicit null and unset stay different, and
`EventModel.raw` is the very object that was parsed. Enumerations of the service are open strings, because a new
status must not cost an event. Numbers are bounded, because arithmetic on them must not raise.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from rtc_transport.errors import TransportError

T = TypeVar("T")

_MAX_INT = 2**53 - 1  # RFC 7493 §2.2: beyond it JSON implementations disagree

Int = Annotated[int, Field(ge=-_MAX_INT, le=_MAX_INT)]
"""An integer that any JSON implementation reads exactly (RFC 7493)."""

Float = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""


class _AsTuple:
    """Validates a sequence into a tuple, so that a frozen model holds nothing that can be appended to."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.tuple_variable_schema(handler.generate_schema(get_args(source)[0]))


Many = Annotated[Sequence[T], _AsTuple]
"""Any sequence when built, a tuple when read, an array on the wire."""


class MalformedMessage(TransportError, ValueError):
    """A message that is no event at all: not UTF-8, not JSON, not an object, without a type.

    `reason` is one line that quotes nothing of the message; `size` is its length as it was given.
    """

    def __init__(self, reason: str, size: int) -> None:
        super().__init__(f"malformed message of length {size}: {reason}")
        self.reason = reason
        self.size = size


class WireModel(BaseModel):
    """An object of the wire: frozen, unknown fields kept, unset fields left out when written."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        defer_build=True,  # a validator is built when its model is first used, not at import
        hide_input_in_errors=True,  # an input can be a secret
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if name in self.model_fields_set]


class TypedModel(WireModel):
    """An object whose `type` is a constant of its class, so that it travels although nobody set it."""

    type: str
    """The kind of the object on the wire."""

    def model_post_init(self, context: Any, /) -> None:
        self.model_fields_set.add("type")


class EventModel(TypedModel):
    """A client or server event."""

    __slots__ = ("_raw",)  # no field: not compared, not copied by model_copy(update=...), not on the wire

    event_id: str | None = None
    """The sender's id of the event; an `error` names the client event it answers by it."""

    @property
    def raw(self) -> dict[str, Any]:
        """What came on the wire, untouched; for an event built here, what would go out. Not to be changed."""
        try:
            raw: dict[str, Any] = object.__getattribute__(self, "_raw")
        except AttributeError:
            return to_wire(self)
        return raw


class UnknownEvent(EventModel):
    """An event of a type we do not know, or one of a known type that does not fit it; all of it is in `raw`."""

    __slots__ = ("_reason",)

    event_id: Any = None
    """The sender's id of the event, unchecked."""

    @property
    def reason(self) -> str | None:
        """Why an event of a known type failed validation; None if the type is unknown."""
        try:
            reason: str = object.__getattribute__(self, "_reason")
        except AttributeError:
            return None
        return reason

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [
            ("type", self.type),
            ("reason", self.reason),
        ]  # what else is in it nobody knows: it can be a secret


def to_wire(model: WireModel) -> dict[str, Any]:
    """The JSON object of an event, item or configuration: given fields only, explicit None as null, `type` always.

    Raises `TypeError` for what JSON does not have; only unknown fields can hold such, and none that came by the wire.
    """
    try:
        return model.model_dump(mode="json", exclude_unset=True)
    except ValueError as exc:  # pydantic's, or of a circular reference, or of half a character in a name
        raise TypeError(f"{type(model).__name__} cannot be written as JSON: {exc}") from exc


class TransportEvent(BaseModel):
    """The payload of a transport event."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True, hide_input_in_errors=True
    )

    type: str
    """The event's name."""
