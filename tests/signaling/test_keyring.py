import pytest

from rtc_signaling import CallRejected
from rtc_signaling.keyring import MAX_SECRETS, Keyring


def refusal(keyring: Keyring, authorization: str | None, now: float = 0) -> CallRejected:
    with pytest.raises(CallRejected) as caught:
        keyring.authorize(authorization, now)
    return caught.value


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer  ", "Basic abc", "sk-key"])
def test_without_a_bearer_key_nobody_comes_in(authorization: str | None) -> None:
    for keyring in (Keyring(None), Keyring(["sk-key"])):
        error = refusal(keyring, authorization)
        assert (error.status, error.code) == (401, "missing_api_key")


@pytest.mark.parametrize("authorization", ["Bearer sk-key", "bearer sk-key", "BEARER   sk-key "])
def test_a_known_key_comes_in(authorization: str) -> None:
    assert Keyring(["sk-other", "sk-key"]).authorize(authorization, 0) is None
    assert Keyring(None).authorize(authorization, 0) is None


@pytest.mark.parametrize("key", ["sk-ke", "sk-key1", "SK-KEY", "ek_1", "\udcff"])
def test_an_unknown_key_does_not(key: str) -> None:
    error = refusal(Keyring(["sk-key"]), f"Bearer {key}")
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert key not in str(error)


def test_no_keys_means_nobody() -> None:
    assert refusal(Keyring([]), "Bearer sk-key").code == "invalid_api_key"


def test_one_string_is_no_collection_of_keys() -> None:
    with pytest.raises(TypeError, match="not one string"):
        Keyring("sk-key")


@pytest.mark.parametrize("keys", [None, ["sk-key"]])
def test_a_secret_comes_in_until_it_expires(keys: list[str] | None) -> None:
    keyring = Keyring(keys)
    secret = keyring.mint({"model": "m"}, 600, now=100.7)
    assert secret.expires_at == 700
    assert keyring.authorize(f"Bearer {secret.value}", now=699.9) == secret
    error = refusal(keyring, f"Bearer {secret.value}", now=700)
    assert (error.status, error.code) == (401, "expired_client_secret")
    assert secret.value not in str(error)


def test_secrets_differ_and_the_oldest_beyond_the_bound_are_forgotten() -> None:
    keyring = Keyring([])
    values = [keyring.mint({}, 600, 0).value for _ in range(MAX_SECRETS + 1)]
    assert len(set(values)) == MAX_SECRETS + 1
    assert all(value.startswith("ek_") for value in values)
    assert refusal(keyring, f"Bearer {values[0]}").code == "invalid_api_key"
    assert keyring.authorize(f"Bearer {values[1]}", 0) is not None
