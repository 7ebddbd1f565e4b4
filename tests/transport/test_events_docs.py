"""The events as a reference: systematic names, a sentence for every event and field, a light import."""

import ast
import inspect
import re
import subprocess
import sys
from types import ModuleType

import pytest
from pydantic import BaseModel

from rtc_transport import events
from rtc_transport.events import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    TRANSPORT_EVENTS,
    base,
    client,
    devices,
    items,
    parse,
    responses,
    server,
    server_conversation,
    server_response,
    session_objects,
    transport,
)

MODULES: list[ModuleType] = [
    base,
    client,
    devices,
    items,
    responses,
    server,
    server_conversation,
    server_response,
    session_objects,
    transport,
]

MODELS = [
    model
    for module in MODULES
    for model in vars(module).values()
    if inspect.isclass(model) and issubclass(model, BaseModel) and model.__module__ == module.__name__
]


def documented_fields() -> dict[str, set[str]]:
    """For each class of the events the fields that a string literal follows."""
    documented: dict[str, set[str]] = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ClassDef):
                documented[f"{module.__name__}.{node.name}"] = {
                    statement.target.id
                    for statement, following in zip(node.body, node.body[1:], strict=False)
                    if isinstance(statement, ast.AnnAssign)
                    and isinstance(statement.target, ast.Name)
                    and isinstance(following, ast.Expr)
                    and isinstance(following.value, ast.Constant)
                }
    return documented


DOCUMENTED = documented_fields()

EXCEPTIONS: dict[type[BaseModel], str] = {
    server.ErrorEvent: "ErrorEvent",  # `Error` says nothing
    transport.ErrorReport: "ErrorReport",
    transport.ClientEventSent: "ClientEventSent",  # `ClientEvent` is the union
}


def test_all_events_of_the_service_are_there() -> None:
    assert (len(CLIENT_EVENTS), len(SERVER_EVENTS)) == (11, 46)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_and_every_field_has_a_sentence(model: type[BaseModel]) -> None:
    assert re.fullmatch(r"[A-Z].*[.;].*", model.__doc__ or "", re.DOTALL), "no docstring"
    classes = [f"{owner.__module__}.{owner.__name__}" for owner in model.__mro__]
    undocumented = [
        name for name in model.model_fields if not any(name in DOCUMENTED.get(owner, ()) for owner in classes)
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    ("kind", "model"), [*CLIENT_EVENTS.items(), *SERVER_EVENTS.items(), *TRANSPORT_EVENTS.items()]
)
def test_a_class_is_named_after_its_type(kind: str, model: type[BaseModel]) -> None:
    name = "".join(part.capitalize() for part in re.split(r"[._]", kind))
    assert model.__name__ == EXCEPTIONS.get(model, name)
    assert model.model_fields["type"].default == kind


def test_everything_public_is_exported() -> None:
    for module in [*MODULES, parse]:
        tree = ast.parse(inspect.getsource(module))
        public = {
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
        }
        assert public <= set(events.__all__), module.__name__
    assert all(hasattr(events, name) for name in events.__all__)


def test_importing_the_events_brings_in_neither_media_nor_network() -> None:
    heavy = "{'numpy', 'av', 'aiortc', 'aiohttp', 'sounddevice', 'typer', 'rich', 'openai', 'matplotlib'}"
    code = (
        f"import rtc_transport.events, rtc_transport.session, sys; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
