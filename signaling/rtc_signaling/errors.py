"""Errors of the room. Each text is one line that a user can be shown; none of them holds a key.

SignalingError
├── InvalidUrl           the caller's URL cannot be used
├── KeyUnavailable       no usable key came from the caller's key source
├── RequestRejected      the service answered, and said no
├── InvalidAnswer        the service said yes, but not with what was asked for
├── ServiceUnreachable   no complete HTTP response came back
└── SignalingTimeout     the time allowed ran out

CallRejected             raised by the server side, becomes an HTTP error response
"""

from http import HTTPStatus


class SignalingError(Exception):
    """Root of the room's errors.

    `hint`, where there is one, is a sentence that says what to try; it is not part of the text.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidUrl(SignalingError):
    """A URL is no absolute http(s) URL, or would send a key in clear text over a network."""


class KeyUnavailable(SignalingError):
    """The key source raised, returned nothing, or returned what cannot be a bearer token."""


class ServiceUnreachable(SignalingError):
    """No complete HTTP response: DNS, refused, TLS, proxy, or cut off on the way."""


class SignalingTimeout(SignalingError):
    """The time allowed for an exchange ran out; the request was aborted."""


class InvalidAnswer(SignalingError):
    """A 2xx response whose body is not what the endpoint promises."""

    def __init__(
        self, message: str, *, status: int, request_id: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.request_id = request_id


class RequestRejected(SignalingError):
    """The service answered with a status that is no success.

    `code`, `message`, `type` and `param` are the service's own words (`{"error": {…}}`), shortened to
    one line each, `message` empty if the body held none. `retry_after_seconds` is the service's wish.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        url: str = "the service",
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
        hint: str | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        notes = {"code": code, "param": param, "request": request_id}
        known = ", ".join(f"{name} {value}" for name, value in notes.items() if value)
        said = f": {message}" if message else " with no error text"
        super().__init__(
            f"{url} answered {_status_line(status)}{said}{f' ({known})' if known else ''}", hint=hint
        )


class CallRejected(Exception):
    """What a `CallHandler` raises to refuse a request; the server answers with `status` and the JSON error."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.type = type
        self.param = param


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _rebuild(kind: type[Exception], args: tuple[object, ...], state: dict[str, object]) -> Exception:
    """Unpickle an error whose constructor takes other arguments than `args` (workers send errors home)."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error
