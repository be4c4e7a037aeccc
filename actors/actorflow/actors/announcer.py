"""Tells those who send to a partition that it has a new owner, and what that one has of theirs.

The store of the receiver may have lost what was acknowledged, and only the receiver can see that;
so a sender that is at work must hear of each new owner once. One that opens later asks by itself:
it sends the newest entry of each link. One letter tells all partitions of a host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.door import PartitionState
from actorflow.actors.letters import Heard, LinkAck, NewOwner, NewOwners
from actorflow.actors.link import START
from actorflow.actors.ports import LinkMark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actorflow.actors.environment import Environment
    from actorflow.actors.letters import Letter
    from actorflow.actors.partition import Partition

GATHER_S = 0.02
"""Partitions that come within this time are told in one letter."""

AGAIN_S = 2.0
"""A host that has not answered for this long is told again."""

TOLD_AT_ONCE = 16
"""Partitions in one letter: each names up to as many marks as there are partitions."""


class _Owned:
    """A partition that is ours now. `heard` are the hosts whose partitions know."""

    __slots__ = ("epoch", "heard", "told_at_s")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.heard: set[str] = set()
        self.told_at_s: dict[str, float] = {}


class Announcer:
    """One a host. `others` are the living hosts besides this one; a host that comes back is told
    when it is among them."""

    def __init__(
        self,
        host: str,
        partitions: Sequence[Partition],
        env: Environment,
        *,
        others: Callable[[], Iterable[str]],
        post: Callable[[str, Letter], None],
    ) -> None:
        self._host = host
        self._partitions = partitions
        self._loop = env.loop
        self._others = others
        self._post = post
        self._owned: dict[int, _Owned] = {}
        self._gathering = False

    def opened(self, index: int) -> None:
        """A partition is at work here: tell everybody, at once here and soon elsewhere."""
        news = news_of(self._partitions[index])
        if news is None:
            return
        tell_senders(self._partitions, news)
        self._owned[index] = _Owned(news.epoch)
        if not self._gathering:
            self._gathering = True
            self._loop.call_later(GATHER_S, self._tell_all)

    def left(self, index: int) -> None:
        """A partition is not ours any more."""
        self._owned.pop(index, None)

    def tick(self) -> None:
        """About once a second: tell again who has not answered, and who has come since."""
        if not self._gathering:
            self._tell_all()

    def told(self, letter: NewOwners) -> None:
        """Another host has partitions: tell those that may send to them, and answer."""
        for news in letter.partitions:
            tell_senders(self._partitions, news)
        heard = tuple((news.partition, news.epoch) for news in letter.partitions)
        self._post(letter.host, Heard(self._host, heard))

    def heard(self, letter: Heard) -> None:
        """All partitions of another host know."""
        for index, epoch in letter.partitions:
            owned = self._owned.get(index)
            if owned is not None and owned.epoch == epoch:
                owned.heard.add(letter.host)

    def _tell_all(self) -> None:
        self._gathering = False
        now_s = self._loop.time()
        for host in self._others():
            missing = [
                index
                for index, owned in self._owned.items()
                if host not in owned.heard
                and now_s - owned.told_at_s.get(host, -AGAIN_S) >= AGAIN_S
            ]
            for start in range(0, len(missing), TOLD_AT_ONCE):
                self._tell(host, missing[start : start + TOLD_AT_ONCE], now_s)

    def _tell(self, host: str, indexes: Iterable[int], now_s: float) -> None:
        found = [news for i in indexes if (news := news_of(self._partitions[i])) is not None]
        for news in found:
            self._owned[news.partition].told_at_s[host] = now_s
        self._post(host, NewOwners(self._host, tuple(found)))


def news_of(partition: Partition) -> NewOwner | None:
    """Return what its senders should hear of a partition that is at work here; None when it never
    held anything."""
    marks = partition.link_marks
    return NewOwner(partition.index, partition.lease.epoch, marks) if marks is not None else None


def tell_senders(partitions: Iterable[Partition], news: NewOwner | None) -> None:
    """Let all partitions at work here send what the new owner of another one misses."""
    if news is None:
        return
    marks = {mark.source: mark for mark in news.marks}
    for sender in partitions:
        if sender.index != news.partition and sender.state is not PartitionState.CLOSED:
            mark = marks.get(sender.index) or LinkMark(sender.index, START, 0)
            sender.receive_ack(LinkAck(news.partition, mark.id, mark.lineage, gap=True))
