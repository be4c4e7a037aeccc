"""A random schedule for one link: two stores, a network without manners, owners that come and go.

The source's store keeps what was sent and the destination's store keeps what was taken, both with
snapshots to fall back to. Only `Outgoing`, `Incoming` and `judge` decide.
"""

import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TypeVar

from actorflow.actors.address import ActorId
from actorflow.actors.link import START, Incoming, Outgoing, Verdict
from actorflow.actors.ports import EntryId, LinkEntry, LinkMark

T = TypeVar("T")

STEPS = 160
"""Random actions of one run."""

RETENTION_STEPS = 90
"""How long acknowledged entries are kept."""

TAIL_STEPS = 30
"""The oldest commit that a store may lose, in steps; shorter than the retention."""

NOBODY = ActorId("a", "1")


@dataclass(frozen=True)
class Faults:
    """What may go wrong in a run."""

    drop: float = 0.12
    repeat: float = 0.1
    fail_over: bool = True
    source_loses_tail: bool = False
    destination_loses_tail: bool = False
    epoch_reused: bool = False  # after a loss the same epoch number is given out again


@dataclass
class Rule:
    """What is tried: the shipped rule, or one with a part taken out."""

    retention_steps: int = RETENTION_STEPS
    announce: bool = True
    expire: Callable[[Outgoing, float], EntryId | None] = Outgoing.expire


@dataclass
class Source:
    """The sender's store: `entries` by rising id, and all that was ever sent and not lost."""

    entries: list[LinkEntry] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    epoch: int = 0


@dataclass
class Destination:
    """The receiver's store."""

    mark: LinkMark = field(default_factory=lambda: LinkMark(0, START, 0))
    log: list[bytes] = field(default_factory=list)


class LinkRun:
    """One run. `seen` counts what happened; `lost` and `repeated` say what went wrong."""

    def __init__(self, seed: int, faults: Faults, rule: Rule | None = None) -> None:
        self._random = random.Random(f"link {seed}")
        self._faults = faults
        self._rule = rule or Rule()
        self._step = 0
        self._number = 0
        self._top_epoch = 0
        self._lineage = 0
        self._source = Source()
        self._destination = Destination()
        self._source_past: list[tuple[int, Source]] = []
        self._destination_past: list[tuple[int, Destination]] = []
        self._network: list[Callable[[], None]] = []
        self._taken: list[bytes] = []
        self._life = 0
        self._unheard = False
        self.seen: Counter[str] = Counter()
        self._new_source()
        self._new_destination()

    def run(self) -> None:
        """Take random steps, then be kind until all is quiet."""
        actions = [self._send, self._send, self._commit_received, self._tick]
        actions += [self._deliver] * 6
        if self._faults.fail_over:
            actions.append(self._rarely(self._new_source))
            actions.append(self._rarely(self._new_destination))
        if self._faults.source_loses_tail:
            actions.append(self._rarely(self._lose_source_tail))
        if self._faults.destination_loses_tail:
            actions.append(self._rarely(self._lose_destination_tail))
        for self._step in range(STEPS):
            self._random.choice(actions)()
        self._faults = Faults(drop=0, repeat=0)
        for self._step in range(STEPS, STEPS + 400):
            if self._network:
                self._deliver(first=True)
            elif self._taken:
                self._commit_received()
            elif self._out.pending_count or self._unheard or self._step < STEPS + 200:
                self._tick()
            else:
                break
        else:
            self.seen["stuck"] += 1

    @property
    def lost(self) -> list[bytes]:
        """What was sent, kept by the sender's store, and never taken."""
        taken = set(self._destination.log)
        return [item for item in self._source.sent if item not in taken]

    @property
    def disordered(self) -> bool:
        """Whether something was taken twice, or in another order than it was sent."""
        surviving = set(self._source.sent)
        return [item for item in self._destination.log if item in surviving] != [
            item for item in self._source.sent if item in self._destination.log
        ]

    def _rarely(self, action: Callable[[], None]) -> Callable[[], None]:
        def act() -> None:
            if self._random.random() < 0.3:
                action()

        return act

    # ---- the source --------------------------------------------------------------------------

    def _new_source(self) -> None:
        """Another owner, or the same one after it read everything again."""
        self.seen["source fail-over"] += 1
        source = self._source
        source.epoch += 1
        if not self._faults.epoch_reused:
            source.epoch = max(source.epoch, self._top_epoch + 1)
        self._top_epoch = max(source.epoch, self._top_epoch)
        self._lineage += 1
        self._remember_source()
        self._n = 0
        self._out = Outgoing(1, source.entries)
        self._flush()

    def _send(self) -> None:
        source = self._source
        for _ in range(self._random.randrange(1, 4)):
            self._number += 1
            self._n += 1
            prev = source.entries[-1].id if source.entries else START
            payload = b"%d" % self._number
            entry_id = EntryId(source.epoch, self._n)
            entry = LinkEntry(1, entry_id, self._lineage, prev, NOBODY, "m", payload)
            source.entries.append(entry)
            source.sent.append(payload)
            self._out.committed(entry)
        self._remember_source()
        self._flush()

    def _remember_source(self) -> None:
        source = self._source
        copy = Source(list(source.entries), list(source.sent), source.epoch)
        self._source_past.append((self._step, copy))

    def _lose_source_tail(self) -> None:
        self.seen["source lost its tail"] += 1
        self._source = deepcopy(self._fall_back(self._source_past, self._source))
        self._new_source()

    def _fall_back(self, past: list[tuple[int, T]], present: T) -> T:
        for _ in range(self._random.randrange(1, 4)):
            if len(past) > 1 and past[-2][0] >= self._step - TAIL_STEPS:
                past.pop()
        return past[-1][1] if past else present

    def _tick(self) -> None:
        self._out.send_again()
        last = self._rule.expire(self._out, self._step - self._rule.retention_steps)
        if last is not None:
            self.seen["trimmed"] += 1
            entries = self._source.entries
            self._source.entries = [entry for entry in entries if entry.id > last]
            self._remember_source()
        self._flush()
        if self._unheard:
            self._ask()

    def _flush(self) -> None:
        entries, skip = self._out.next_batch(), self._out.skip
        if entries:
            after = (skip.id, skip.lineage) if skip is not None else None
            self._post(lambda: self._receive(entries, after))

    def _answered(self, mark: LinkMark, *, gap: bool, question: int = 0) -> None:
        if question:
            self._post(lambda: self._heard(question))
        if gap:
            self._out.rewind(mark.id, mark.lineage)
        else:
            self._out.acknowledge(mark.id, mark.lineage, self._step)
        self._flush()

    # ---- the network -------------------------------------------------------------------------

    def _post(self, letter: Callable[[], None]) -> None:
        if self._random.random() < self._faults.drop:
            self.seen["dropped"] += 1
            return
        self._network.append(letter)
        if self._random.random() < self._faults.repeat:
            self._network.append(letter)

    def _deliver(self, *, first: bool = False) -> None:
        if self._network:
            index = 0 if first else self._random.randrange(len(self._network))
            self._network.pop(index)()

    # ---- the destination ---------------------------------------------------------------------

    def _new_destination(self) -> None:
        self.seen["destination fail-over"] += 1
        self._taken = []
        self._in = Incoming(self._destination.mark)
        self._remember_destination()
        self._life += 1
        if self._rule.announce:
            self._unheard = True
            self._ask()

    def _ask(self) -> None:
        mark, life = self._in.mark, self._life
        self._post(lambda: self._answered(mark, gap=True, question=life))

    def _heard(self, life: int) -> None:
        if life == self._life:
            self._unheard = False

    def _receive(self, entries: list[LinkEntry], skip: tuple[EntryId, int] | None) -> None:
        taken, verdict = self._in.accept(entries, skip)
        self.seen[verdict] += 1
        self.seen["duplicate"] += verdict is Verdict.ACCEPT and not taken
        self._taken += [entry.payload for entry in taken]
        if verdict is Verdict.GAP:
            self._answer(gap=True)
        elif not taken and self._in.mark == self._in.durable:
            self._answer(gap=False)

    def _commit_received(self) -> None:
        if self._taken:
            self._destination.log += self._taken
            self._destination.mark = self._in.durable = self._in.mark
            self._taken = []
            self._remember_destination()
            self._answer(gap=False)

    def _remember_destination(self) -> None:
        destination = self._destination
        copy = Destination(destination.mark, list(destination.log))
        self._destination_past.append((self._step, copy))

    def _lose_destination_tail(self) -> None:
        self.seen["destination lost its tail"] += 1
        self._destination = deepcopy(self._fall_back(self._destination_past, self._destination))
        self._new_destination()

    def _answer(self, *, gap: bool) -> None:
        mark = self._in.mark if gap else self._in.durable
        self._post(lambda: self._answered(mark, gap=gap))
