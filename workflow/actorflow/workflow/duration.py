"""PURE. Times of authors (datetime, timedelta, seconds) to and from integer nanoseconds."""

from datetime import UTC, datetime, timedelta

from actorflow.workflow.errors import InvalidRequestError
from actorflow.workflow.events import NEVER_NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def duration_ns(duration: object, what: str) -> int:
    """Return a length of time in nanoseconds; a plain number means seconds.

    Args:
        duration: a timedelta or a number; negative ones are returned as they are.
        what: the name of the argument, for the error's text.

    Raises:
        InvalidRequestError: not a length of time, or not a finite one.
    """
    if isinstance(duration, timedelta):
        return duration // _MICROSECOND * 1_000
    if isinstance(duration, int | float):
        try:
            return round(duration * 1_000_000_000)
        except (ValueError, OverflowError):  # NaN, infinite
            pass
    raise InvalidRequestError(
        f"{what} must be a timedelta or a finite number of seconds, found {duration!r}"
    )


def instant_ns(instant: datetime) -> int:
    """Return UTC nanoseconds since 1970. A datetime without a time zone is read as UTC."""
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // _MICROSECOND * 1_000


def due_ns(when: object, now_ns: int, what: str) -> int:
    """Return the instant meant by `when`: a datetime, or a length of time from `now_ns`.

    The past means "at once". Raises InvalidRequestError as `duration_ns`, and for an instant that
    is not before the year 10000.
    """
    at_ns = instant_ns(when) if isinstance(when, datetime) else now_ns + duration_ns(when, what)
    if at_ns >= NEVER_NS:
        raise InvalidRequestError(f"{what} must be before the end of the year 9999, found {when!r}")
    return max(at_ns, now_ns)


def timeout_ns(timeout: object, now_ns: int) -> int:
    """Return the instant at which a wait gives up; beyond the year 9999 it is NEVER_NS.

    Args:
        timeout: a timedelta or seconds; negative ones mean at once, None means never.

    Raises:
        InvalidRequestError: as `duration_ns`.
    """
    if timeout is None:
        return NEVER_NS
    return min(NEVER_NS, now_ns + max(0, duration_ns(timeout, "timeout")))


def utc_datetime(at_ns: int) -> datetime:
    """Return the aware UTC datetime of `at_ns`, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=at_ns // 1_000)
