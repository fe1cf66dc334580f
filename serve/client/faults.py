"""What a client raises: one class a kind of answer that is no success, by what a caller would do about it."""

from __future__ import annotations


class ClientError(Exception):
    """A request that was not answered as asked."""


class Unreachable(ClientError):
    """No answer came, however often it was asked."""


class ProblemError(ClientError):
    """The server answered with a problem (RFC 9457): `status`, `title`, `detail`; `retry_after` in seconds where the
    server says when to ask again."""

    def __init__(self, status: int, title: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status, self.title, self.detail, self.retry_after = status, title, detail, retry_after

    def __reduce__(self) -> tuple[type[ProblemError], tuple[int, str, str, float | None]]:
        """From one process to another: an exception is made anew from its arguments, not from its message."""
        return type(self), (self.status, self.title, self.detail, self.retry_after)


class NotAllowed(ProblemError):
    """401, 403: no good key, or its role or scope may not do this."""


class NotFound(ProblemError):
    """404: no such person, account, product or decision."""


class Conflict(ProblemError):
    """409: records of a former id were parted, a decision binds otherwise, or a run is changing the lake."""


class WrongRequest(ProblemError):
    """400, 413, 422: the request is wrong; asked again, it is wrong again."""


class TooMany(ProblemError):
    """429: the rate of the key is used up."""


class Unavailable(ProblemError):
    """408 and from 500 on: no answer now."""


BY_STATUS: dict[int, type[ProblemError]] = {
    400: WrongRequest, 401: NotAllowed, 403: NotAllowed, 404: NotFound, 405: WrongRequest, 408: Unavailable,
    409: Conflict, 413: WrongRequest, 422: WrongRequest, 429: TooMany,
}  # fmt: skip


def fault_of(status: int, title: str, detail: str, retry_after: float | None) -> ProblemError:
    """The error of a status."""
    kind = BY_STATUS.get(status, Unavailable if status >= 500 else ProblemError)
    return kind(status, title, detail, retry_after)
