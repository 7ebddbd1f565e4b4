"""Tolerant reading of JSON objects: state must follow what the service says even where a model would refuse it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from rtc_transport.events.items import AnyItem, Item

ModelT = TypeVar("ModelT", bound=BaseModel)


def part(value: Any, *path: str) -> dict[str, Any]:
    """The object at `path`, an empty one if there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def text(value: Mapping[str, Any], key: str) -> str:
    """The string at `key`, an empty one if there is none; halves of surrogate pairs, which JSON can say, are replaced.

    So what is said back (ids) can be written again.
    """
    found = value.get(key)
    if not isinstance(found, str):
        return ""
    return found if found.isascii() else found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def index(value: Mapping[str, Any], key: str) -> int:
    """The number at `key`, 0 if there is none."""
    found = value.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def objects(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in the array at `key`."""
    found = value.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def lenient(model: type[ModelT], value: Mapping[str, Any]) -> ModelT:
    """`value` as a model; if something does not fit, what its known fields hold that does."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        misfits = {
            error["loc"][0] for error in exc.errors(include_url=False, include_input=False) if error["loc"]
        }
        fits = model.model_fields.keys() & value.keys() - misfits
        return model.model_validate({name: value[name] for name in fits})


def typed_item(value: Mapping[str, Any]) -> Item:
    """An item as its own class; as a plain `Item` if it does not fit that."""
    try:
        return _items().validate_python(value)
    except ValidationError:
        return lenient(Item, value)


@cache
def _items() -> TypeAdapter[Item]:
    return TypeAdapter(AnyItem)
