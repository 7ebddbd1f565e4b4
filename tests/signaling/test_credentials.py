import asyncio

import pytest

from rtc_signaling import ClientSecret, KeySource, KeyUnavailable, RequestRejected, resolve_key
from support.raw_http import shown_by


async def in_a_moment() -> str:
    await asyncio.sleep(0)
    return "sk-good"


async def secret_in_a_moment() -> ClientSecret:
    return ClientSecret("ek_good", 1.0)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        (None, None),
        ("sk-good", "sk-good"),
        (ClientSecret("ek_good", 1.0), "ek_good"),
        (lambda: "sk-good", "sk-good"),
        (in_a_moment, "sk-good"),
        (lambda: in_a_moment(), "sk-good"),
        (secret_in_a_moment, "ek_good"),
    ],
)
async def test_every_kind_of_source(source: KeySource, key: str | None) -> None:
    assert await resolve_key(source) == key


async def test_a_provider_is_asked_once_per_attempt() -> None:
    keys = iter(["first", "second"])
    assert [await resolve_key(lambda: next(keys)) for _ in range(2)] == ["first", "second"]


BAD: list[tuple[object, str]] = [
    ("", "the API key is empty"),
    ("hunter2\n", "the API key is no key: it holds white space or control characters"),
    ("hunter2 x", "the API key is no key: it holds white space or control characters"),
    ("hunter2\x00", "the API key is no key: it holds white space or control characters"),
    ("hunter2\r\nX-Evil: 1", "the API key is no key: it holds white space or control characters"),
    ("hunter2…", "the API key is not plain ASCII"),
    (b"hunter2", "the API key is bytes, not a string"),
    (ClientSecret("", 1.0), "the API key is empty"),
    (lambda: None, "the key provider returned nothing"),
    (lambda: 7, "the key provider returned int, not a string"),
    (lambda: "hunter2 ", "the key provider returned no key: it holds white space or control characters"),
]


@pytest.mark.parametrize(("source", "text"), BAD)
async def test_unusable_keys_are_refused_and_never_shown(source: KeySource, text: str) -> None:
    with pytest.raises(KeyUnavailable) as caught:
        await resolve_key(source)
    assert str(caught.value) == text
    assert "hunter2" not in shown_by(caught.value)


async def test_a_failing_provider_is_named_and_chained() -> None:
    def provider() -> str:
        raise LookupError("vault\nis sealed for sk-proj-0123456789")

    with pytest.raises(KeyUnavailable) as caught:
        await resolve_key(provider)
    assert str(caught.value) == "the key provider raised LookupError: vault is sealed for ***"
    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_failing_coroutine_without_text() -> None:
    async def provider() -> str:
        raise TimeoutError

    with pytest.raises(KeyUnavailable, match=r"^the key provider raised TimeoutError$"):
        await resolve_key(provider)


async def test_a_provider_that_asks_a_service_passes_its_answer_on() -> None:
    async def provider() -> str:
        raise RequestRejected(401, "who are you?")

    with pytest.raises(RequestRejected, match="who are you"):
        await resolve_key(provider)


async def test_cancellation_reaches_the_provider() -> None:
    cancelled = asyncio.Event()

    async def provider() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    task = asyncio.create_task(resolve_key(provider))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
