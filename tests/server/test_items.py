"""Conversation items: creating in place, deleting, retrieving, truncating, and every refusal."""

import base64
from typing import Any

import pytest

from support.server_session import Driver, Event, error_of, kinds, only


def user(text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content, **fields}


def create(driver: Driver, item: dict[str, Any], **fields: Any) -> list[Event]:
    return driver.send("conversation.item.create", item=item, **fields)


def spoken_item(driver: Driver) -> str:
    """An assistant message with one second of sound."""
    driver.send("response.create")
    driver.run(2)
    item_id: str = only(driver.log, "response.output_item.done")["item"]["id"]
    return item_id


def test_a_created_item_is_completed_and_echoed_twice() -> None:
    events = create(Driver(), user("Hello", id="mine"))
    assert kinds(events) == ["conversation.item.added", "conversation.item.done"]
    for event in events:
        assert event["previous_item_id"] is None
        assert event["item"] == {
            "object": "realtime.item",
            "id": "mine",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hello"}],
        }


def test_items_go_to_the_end_the_front_and_behind_others() -> None:
    driver = Driver()
    create(driver, user("1", id="a"))
    create(driver, user("2", id="b"))
    assert create(driver, user("0", id="front"), previous_item_id="root")[0]["previous_item_id"] is None
    assert create(driver, user("1.5", id="mid"), previous_item_id="a")[0]["previous_item_id"] == "a"
    assert create(driver, user("3", id="end"))[0]["previous_item_id"] == "b"


@pytest.mark.parametrize(
    "content",
    [
        {"type": "input_text", "text": "Hello"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        {"type": "input_image", "image_url": "https://example.com/cat.png"},
    ],
)
def test_text_and_images_come_back_as_they_were_given(content: dict[str, Any]) -> None:
    item = {"type": "message", "role": "user", "content": [content]}
    assert create(Driver(), item)[0]["item"]["content"] == [content]


def test_a_spoken_message_may_be_given_and_comes_back_without_its_sound() -> None:
    driver = Driver()
    audio = base64.b64encode(bytes(48000)).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    assert create(driver, item)[0]["item"]["content"] == [{"type": "input_audio"}]
    driver.send("response.create")
    driver.run(2)
    assert only(driver.log, "response.output_audio_transcript.done")["transcript"] == "(parrot, 1.0 s)"


def test_an_image_that_the_peer_cannot_take_is_left_out_of_the_echo() -> None:
    driver = Driver(peer_max_event_bytes=5000)
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 6000}
    assert create(driver, {"type": "message", "role": "user", "content": [image]})[0]["item"]["content"] == [
        {"type": "input_image"}
    ]


def test_a_deleted_item_is_gone() -> None:
    driver = Driver()
    create(driver, user("1", id="a"))
    assert (
        only(driver.send("conversation.item.delete", item_id="a"), "conversation.item.deleted")["item_id"]
        == "a"
    )
    error = error_of(driver.send("conversation.item.delete", item_id="a", event_id="again"))
    assert (error["code"], error["event_id"]) == ("item_delete_invalid_item_id", "again")
    assert "the item with id 'a' does not exist" in error["message"]


def test_an_item_is_retrieved_as_it_stands() -> None:
    driver = Driver()
    given = create(driver, user("1", id="a"))[0]["item"]
    assert (
        only(driver.send("conversation.item.retrieve", item_id="a"), "conversation.item.retrieved")["item"]
        == given
    )


def test_an_item_deleted_while_it_is_spoken_is_not_announced_as_done() -> None:
    driver = Driver()
    driver.send("response.create")
    driver.run(0.1)
    item_id = only(driver.log, "response.output_item.added")["item"]["id"]
    driver.send("conversation.item.delete", item_id=item_id)
    events = driver.run(2)
    assert "conversation.item.done" not in kinds(events)
    assert only(events, "response.done")["response"]["status"] == "completed"


def test_truncating_removes_the_transcript() -> None:
    driver = Driver()
    item_id = spoken_item(driver)
    place = {"item_id": item_id, "content_index": 0, "audio_end_ms": 400}
    truncated = only(driver.send("conversation.item.truncate", **place), "conversation.item.truncated")
    assert {key: truncated[key] for key in place} == place
    item = only(driver.send("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")[
        "item"
    ]
    assert item["content"] == [{"type": "output_audio"}]
    error = error_of(driver.send("conversation.item.truncate", **{**place, "audio_end_ms": 500}))
    assert error["message"] == "Audio content of 400ms is already shorter than 500ms"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"audio_end_ms": 1001}, "invalid_value"),
        ({"audio_end_ms": -1}, "integer_below_min_value"),
        ({"audio_end_ms": 1.5}, "invalid_type"),
        ({"content_index": 1}, "invalid_value"),
        ({"item_id": "nobody"}, "item_truncate_invalid_item_id"),
    ],
)
def test_a_bad_truncation_is_refused(changes: dict[str, Any], code: str) -> None:
    driver = Driver()
    place = {"item_id": spoken_item(driver), "content_index": 0, "audio_end_ms": 500, **changes}
    assert error_of(driver.send("conversation.item.truncate", **place))["code"] == code


def test_only_the_sound_of_the_assistant_can_be_truncated() -> None:
    driver = Driver()
    create(driver, user("1", id="a"))
    events = driver.send("conversation.item.truncate", item_id="a", content_index=0, audio_end_ms=0)
    assert error_of(events)["message"] == "Only audio content of assistant messages can be truncated."


MESSAGE = {"type": "message", "role": "user"}


@pytest.mark.parametrize(
    ("item", "code", "message"),
    [
        (
            user("x", id="i" * 33),
            "string_above_max_length",
            "maximum length 32, but got a string with length 33",
        ),
        (user("x", colour="red"), "unknown_parameter", "Unknown parameter: 'item.colour'."),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x", "b": 1}]},
            "unknown_parameter",
            "Unknown parameter: 'item.content[0].b'.",
        ),
        (user("x", id=""), "invalid_value", "the id is empty"),
        (
            user("x", id=7),
            "invalid_type",
            "Invalid type for 'item.id': expected a string, but got an integer",
        ),
        ({"role": "user"}, "missing_required_parameter", "Missing required parameter: 'item.type'."),
        ({"type": "dance"}, "invalid_value", "Invalid value for 'item.type': \"dance\""),
        ({"type": "message", "role": "king", "content": []}, "invalid_value", "'item.role': \"king\""),
        (MESSAGE, "missing_required_parameter", "Missing required parameter: 'item.content'."),
        ({**MESSAGE, "content": ["hello"]}, "invalid_type", "Invalid type for 'item.content[0]'"),
        (
            {**MESSAGE, "content": [{"type": "output_text", "text": ""}]},
            "invalid_value",
            "'item.content[0].type'",
        ),
        (
            {**MESSAGE, "content": [{"type": "input_text"}]},
            "missing_required_parameter",
            "'item.content[0].text'",
        ),
        (
            {**MESSAGE, "content": [{"type": "input_image", "image_url": "cat.png"}]},
            "invalid_value",
            "expected a URL or a data URL of an image",
        ),
        (
            {
                "type": "message",
                "role": "system",
                "content": [{"type": "input_image", "image_url": "https://x/y"}],
            },
            "invalid_value",
            "'item.content[0].type'",
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": ""}]},
            "invalid_value",
            "Assistant messages with audio cannot be created.",
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": ""},
            "invalid_tool_call_id",
            "Tool call ID 'c' not found in conversation.",
        ),
        (
            {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True},
            "invalid_approval_request_id",
            "Approval request 'r' not found in conversation.",
        ),
        ({"type": "function_call", "name": "f"}, "missing_required_parameter", "'item.arguments'"),
        (
            {"type": "mcp_call", "server_label": "s", "name": "f"},
            "missing_required_parameter",
            "'item.arguments'",
        ),
    ],
)
def test_a_bad_item_is_refused(item: dict[str, Any], code: str, message: str) -> None:
    error = error_of(create(Driver(), item, event_id="mine"))
    assert (error["code"], error["event_id"]) == (code, "mine")
    assert message in error["message"]


def test_an_id_can_be_used_once() -> None:
    driver = Driver()
    create(driver, user("1", id="a"))
    assert error_of(create(driver, user("2", id="a")))["code"] == "item_id_already_exists"


def test_an_unknown_previous_item_is_refused() -> None:
    error = error_of(create(Driver(), user("1"), previous_item_id="nobody"))
    assert (error["code"], error["param"]) == ("item_create_invalid_item_id", "previous_item_id")


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
        {"type": "mcp_call", "server_label": "s", "name": "f", "arguments": "{}"},
        {"type": "mcp_approval_request", "server_label": "s", "name": "f", "arguments": "{}"},
        {"type": "mcp_list_tools", "server_label": "s", "tools": []},
    ],
)
def test_history_of_every_kind_can_be_replayed(item: dict[str, Any]) -> None:
    assert kinds(create(Driver(), item)) == ["conversation.item.added", "conversation.item.done"]
