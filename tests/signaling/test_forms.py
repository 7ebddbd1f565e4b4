import email
import email.message
import json

import pytest

from rtc_signaling.forms import Body, encode_json, multipart_body, sdp_body

OFFER = "v=0\r\na=ice-pwd:topsecretpassword\r\n"


def parts_of(body: Body) -> list[email.message.Message]:
    """The parts as an independent MIME parser reads them."""
    whole = email.message_from_bytes(f"Content-Type: {body.content_type}\r\n\r\n".encode() + body.content)
    return [part for part in whole.walk() if not part.is_multipart()]


def test_the_raw_form_is_the_offer() -> None:
    body = sdp_body(OFFER)
    assert (body.content_type, body.content) == ("application/sdp", OFFER.encode())
    assert "topsecret" not in repr(body)


def test_multipart_parts_have_the_service_s_types_and_no_file_names() -> None:
    sdp, session = parts_of(multipart_body(OFFER, {"model": "gpt-realtime"}))
    assert sdp["Content-Disposition"] == 'form-data; name="sdp"'
    assert sdp.get_content_type() == "application/sdp"
    assert session["Content-Disposition"] == 'form-data; name="session"'
    assert session.get_content_type() == "application/json"


def test_the_offer_keeps_its_line_ends() -> None:
    assert OFFER.encode() in multipart_body(OFFER, {"model": "m"}).content


def test_the_session_is_compact_utf8_with_type_and_model_first_and_every_field() -> None:
    fields = {"instructions": "Grüß Gott", "audio": {"input": {"turn_detection": None}}, "model": "m"}
    _, session = parts_of(multipart_body(OFFER, fields))
    text = session.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode() == (
        '{"type":"realtime","model":"m","instructions":"Grüß Gott","audio":{"input":{"turn_detection":null}}}'
    )


def test_a_given_type_stays_and_a_transcription_session_needs_no_model() -> None:
    _, session = parts_of(multipart_body(OFFER, {"type": "transcription"}))
    assert json.loads(str(session.get_payload())) == {"type": "transcription"}


def test_the_callers_session_is_not_changed() -> None:
    fields = {"model": "m"}
    multipart_body(OFFER, fields)
    assert fields == {"model": "m"}


@pytest.mark.parametrize("session", [{}, {"model": ""}, {"model": None}, {"type": "realtime"}])
def test_a_realtime_session_without_model_is_refused(session: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the session names no model, and a multipart request must"):
        multipart_body(OFFER, session)


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), b"bytes", "\ud800"])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        encode_json({"x": value})
