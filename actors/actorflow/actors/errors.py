"""Every error of the actors layer, in five families that each mean one thing to a caller.

usage        the caller's fault; the same call fails again
contention   this host is not, or no longer, the owner; nothing of the refused work was stored
unavailable  the store or the host cannot answer now; retry later, the outcome may be unknown
corrupt      one actor's stored data cannot be read; others go on
bug          an invariant of actorflow itself does not hold
"""

from typing import ClassVar


def encodable(text: str) -> str:
    """Return text that every store and transport takes: lone surrogates, which authors' errors may
    hold as names of files do, are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """Return the text of an author's error, encodable."""
    try:
        return encodable(str(error))
    except Exception as broken:  # noqa: BLE001 -- the author's own __str__ may do anything
        return f"(its text cannot be shown: {type(broken).__name__})"


def way_out(key: str) -> str:
    """Return how an actor, or instance, with this key is run again after it ended its hosts."""
    return (
        f"Then `actorflow fsck --unpark-instance {key}` lets it run again (for a SQLite store stop "
        "the server first)"
    )


class ActorflowError(Exception):
    """Base of all errors that actorflow raises. `code` is stable text for programs."""

    code: ClassVar[str] = "ACTORFLOW_ERROR"


class UsageError(ActorflowError):
    """The caller did something that cannot work; retrying does not help."""

    code = "USAGE"


class InvalidActorIdError(UsageError):
    """An actor type or key is not usable as an address."""

    code = "INVALID_ACTOR_ID"

    def __init__(self, part: str, text: str, problem: str) -> None:
        super().__init__(f"actor {part} {text!r} {problem}")


class UnknownActorTypeError(UsageError):
    """No actor class is registered under this type name."""

    code = "UNKNOWN_ACTOR_TYPE"

    def __init__(self, actor_type: str, known: list[str]) -> None:
        super().__init__(
            f"no actor type {actor_type!r} is registered; registered types: "
            f"{', '.join(known) or 'none'}"
        )


class UnknownMethodError(UsageError):
    """The actor type has no public method of this name."""

    code = "UNKNOWN_METHOD"

    def __init__(self, actor_type: str, method: str) -> None:
        super().__init__(
            f"actor type {actor_type!r} has no method {method!r}; a callable method is an "
            "`async def` on the actor class whose name does not start with an underscore"
        )


class UnfitCompletionError(UsageError):
    """What is to follow from a durable message is not what can follow from it; it goes on."""

    code = "UNFIT_COMPLETION"

    def __init__(self, target: object) -> None:
        super().__init__(
            f"the answer is not one to what {target} was asked for; give its token back unchanged"
        )


class CallCycleError(UsageError):
    """An actor called, directly or through others, an actor that waits for it."""

    code = "CALL_CYCLE"

    def __init__(self, chain: tuple[object, ...]) -> None:
        super().__init__(
            "call cycle: " + " -> ".join(map(str, chain)) + "; use `send`, which does not wait"
        )


class LimitExceededError(UsageError):
    """One payload, state value or turn is larger than a named limit allows."""

    code = "LIMIT_EXCEEDED"

    def __init__(self, limit: str, allowed: int, found: int) -> None:
        super().__init__(f"{limit} is limited to {allowed:,}, found {found:,}")


class PayloadError(UsageError):
    """A value cannot be written as JSON, or a JSON text is not of the type asked for."""

    code = "PAYLOAD"


class ActorCallError(ActorflowError):
    """The called actor's method raised. Carries the type name, message and stack as text only."""

    code = "ACTOR_CALL_FAILED"

    def __init__(self, error_type: str, error_message: str, stack: str = "") -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message
        self.stack = stack


class ContentionError(ActorflowError):
    """This host may not write for the actor's partition; the work was dropped, retry the call."""

    code = "CONTENTION"


class NotOwnerError(ContentionError):
    """The partition is not owned by this host."""

    code = "NOT_OWNER"


class FencedOutError(ContentionError):
    """A newer owner has taken the partition; everything uncommitted here was dropped."""

    code = "FENCED_OUT"


class StoreInUseError(ContentionError):
    """Another process has the embedded store open."""

    code = "STORE_IN_USE"


class UnavailableError(ActorflowError):
    """Cannot be answered now; the caller may retry. `retry_after_s` is a hint in seconds."""

    code = "UNAVAILABLE"
    retry_after_s: float = 1.0


class StoppingError(UnavailableError):
    """The runtime is draining or stopped and takes no new work."""

    code = "STOPPING"


class OverloadedError(UnavailableError):
    """A bounded queue is full. Nothing of the refused call was kept."""

    code = "OVERLOADED"

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(f"{queue} is full ({limit:,}); retry later")


class StoreUnavailableError(UnavailableError):
    """The store did not do what was asked, and says so or stays silent.

    `written` is False when the store has certainly not applied the commit, and None when nobody
    knows. Either way the only correct reaction is to send the same commit again.
    """

    code = "STORE_UNAVAILABLE"

    def __init__(self, cause: str, *, written: bool | None) -> None:
        super().__init__(cause)
        self.written = written


class StoreFullError(StoreUnavailableError):
    """The store has no room for new actors; what exists goes on. When `written` is False, the
    reaction is to refuse what creates, not to send the commit again."""

    code = "STORE_FULL"


class CorruptError(ActorflowError):
    """Stored data of one actor cannot be read. The data is kept as it is."""

    code = "CORRUPT"


class EndsHostError(CorruptError):
    """Hosts ended while an actor ran: its code is not run again. Its data is kept as it is."""

    code = "ENDS_HOST"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"not run again: {reason}. {way_out(key)}")


class InvariantError(ActorflowError):
    """A rule that actorflow itself must keep does not hold. Please report it."""

    code = "INVARIANT"
