"""One entry of a mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from actorflow.actors.ports import MessageRow, Reminder

if TYPE_CHECKING:
    from actorflow.actors.address import ActorId
    from actorflow.actors.completion import Completion


class ReplySlot(Protocol):
    """Where the answer to a call goes; an asyncio future fits."""

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: bytes, /) -> None:
        """Give the answer."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Give an error."""
        ...


class Message:
    """A method call on its way to an actor.

    `id` is 0 for a volatile message (a caller waits for it and will notice a crash); any other id
    is that of its durable row. `reminder` is the reminder that caused it. `chain` lists the actors
    that wait for the answer, `depth` counts messages that follow from each other inside one batch.
    `is_new` says that nothing can be stored of the target. `ends` is what a completion says, on the
    host of its caller; from another host it comes packed, in the payload.
    """

    __slots__ = (
        "attempt",
        "chain",
        "depth",
        "early_reply",
        "ends",
        "id",
        "is_new",
        "method",
        "payload",
        "reminder",
        "reply",
        "sender",
        "target",
    )

    def __init__(  # noqa: PLR0913 -- one slot each
        self,
        target: ActorId,
        method: str,
        payload: bytes = b"",
        *,
        id: int = 0,
        sender: ActorId | None = None,
        reply: ReplySlot | None = None,
        early_reply: bool = False,
        chain: tuple[ActorId, ...] = (),
        is_new: bool = False,
        ends: Completion | None = None,
    ) -> None:
        self.target = target
        self.method = method
        self.payload = payload
        self.id = id
        self.sender = sender
        self.reply = reply
        self.early_reply = early_reply
        self.chain = chain
        self.is_new = is_new
        self.ends = ends
        self.reminder: Reminder | None = None
        self.depth = 0
        self.attempt = 0

    def to_row(self, parked: str = "") -> MessageRow:
        """Return the durable form."""
        return MessageRow(self.id, self.target, self.method, self.payload, self.sender, parked)

    def settle(self, result: bytes, problem: BaseException | None) -> None:
        """Give the caller its answer, or the error, if one still waits."""
        if problem is not None:
            self.refuse(problem)
        elif self.reply is not None and not self.reply.done():
            self.reply.set_result(result)

    def refuse(self, error: BaseException) -> None:
        """Give the caller an error, if one still waits."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)


def message_of_row(row: MessageRow) -> Message:
    """Return the message that a stored row stands for."""
    return Message(row.target, row.method, row.payload, id=row.id, sender=row.sender)
