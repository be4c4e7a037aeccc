"""Limits on how much work of a kind, or of one name, runs at once in the whole cluster.

One host, the keeper, gives permits; which one follows from the living hosts alone. Every host tells
it, at each change and every second, all the permits that it holds and wants; so a letter that gets
lost is mended by the next, and a new keeper knows after `SETTLE_S` what is held. While hosts come
and go the limits may be exceeded for some seconds; a host alone keeps them exactly.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from actorflow.actors import ActorId
from actorflow.actors.rendezvous import wanted_owner
from actorflow.workflow.streams import TURNS, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actorflow.actors import ActorSystem
    from actorflow.workflow.streams import Work

WANT = "workflow.permits.want"
"""Topic: what the sender holds and wants."""

GRANT = "workflow.permits.grant"
"""Topic: what the receiver may begin."""

TELL_S = 1.0
"""A host that holds or wants permits says so this often."""

SETTLE_S = 3.0
"""A new keeper gives nothing for so long: it first hears what is held."""

SILENT_S = 7.0
"""What a host held is free when it has not been heard of for so long."""

WANTS_MAX = 500
"""Wants in one letter; the rest follow when these are served."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How much may run at once; None is no limit. Names and meaning are those of Dapr's workflow
    configuration.

    host_turns, host_activities: on one host (`maxConcurrentWorkflowInvocations`,
        `maxConcurrentActivityInvocations`).
    turns, activities: in the cluster (`globalMaxConcurrentWorkflowInvocations`,
        `globalMaxConcurrentActivityInvocations`).
    turns_by_name, activities_by_name: in the cluster, of one workflow or activity
        (`workflowConcurrencyLimits`, `activityConcurrencyLimits`).

    Turns are those of remote workers: code of this process takes a turn in microseconds, one after
    the other. Instances that wait are not limited.
    """

    host_turns: int | None = None
    host_activities: int | None = None
    turns: int | None = None
    activities: int | None = None
    turns_by_name: Mapping[str, int] = field(default_factory=dict)
    activities_by_name: Mapping[str, int] = field(default_factory=dict)

    @property
    def limits_any(self) -> bool:
        """Whether there is any limit in the cluster."""
        overall = (self.turns, self.activities)
        return overall != (None, None) or bool(self.turns_by_name or self.activities_by_name)

    def limits_of(self, kind: str, name: str) -> dict[tuple[str, str], int]:
        """Return the limits in the cluster for a piece of work, by what they count."""
        is_turn = kind == TURNS
        overall = self.turns if is_turn else self.activities
        named = (self.turns_by_name if is_turn else self.activities_by_name).get(name)
        found = {(kind, ""): overall, (kind, name): named}
        return {what: most for what, most in found.items() if most is not None}


UNLIMITED = Concurrency()
"""The default."""


class _Wish(msgspec.Struct, frozen=True, array_like=True, gc=False):
    target: tuple[str, str]
    message_id: int
    check: int
    kind: str
    name: str


class _Table(msgspec.Struct, array_like=True):
    """What one host holds and wants, oldest first."""

    held: list[_Wish]
    wanted: list[_Wish]


_encode = msgspec.msgpack.Encoder().encode
_decode_table = msgspec.msgpack.Decoder(_Table).decode
_decode_grants = msgspec.msgpack.Decoder(list[_Wish]).decode


class _Entry(NamedTuple):
    """Work of this host, and what begins it."""

    wish: _Wish
    work: Work
    go: Callable[[], None]


class Permits:
    """The door that all work of this host's partitions passes before it is given to anybody.

    Concurrency: on the event loop; `go` may be called from inside `enter`.
    """

    def __init__(self, actors: ActorSystem, limits: Concurrency) -> None:
        self._actors = actors
        self._limits = limits
        self._limits_any = limits.limits_any
        self._wanted: dict[Key, _Entry] = {}
        self._held: dict[Key, _Entry] = {}
        self._tables: dict[str, tuple[float, _Table]] = {}  # of the hosts whose keeper this one is
        self._keeper_since_s: float | None = None
        self._told = True

    @property
    def waiting_count(self) -> int:
        """Pieces of work that wait for a permit."""
        return len(self._wanted)

    def start(self) -> None:
        """Begin to listen to other hosts, if there can be any."""
        if self._actors.is_clustered:
            self._actors.listen(WANT, self._heard)
            self._actors.listen(GRANT, self._granted)
            self._actors.spawn(self._keep_telling(), "permits")

    def limit(self, kind: str, name: str) -> bool:
        """Whether work of this kind and name needs a permit; other work need not pass here."""
        return self._limits_any and bool(self._limits.limits_of(kind, name))

    def enter(self, work: Work, go: Callable[[], None]) -> None:
        """Call `go` when the work, which needs a permit, may begin."""
        wish = _Wish(*work.key, work.kind, work.request.name)
        self._wanted[work.key] = _Entry(wish, work, go)
        self._changed()

    def leave(self, key: Key) -> None:
        """The work is done, by whomever."""
        if not self._limits_any:
            return
        if self._wanted.pop(key, None) or self._held.pop(key, None):
            self._changed()

    def _changed(self) -> None:
        if not self._actors.is_clustered:
            mine = self._table()
            self._begin(self._grants({self._actors.host_id: mine}))
        elif self._told:
            self._told = False
            asyncio.get_running_loop().call_soon(self._tell)

    def _table(self) -> _Table:
        for entries in (self._wanted, self._held):
            for key in [key for key, entry in entries.items() if entry.work.is_void]:
                del entries[key]
        wanted = [entry.wish for entry in list(self._wanted.values())[:WANTS_MAX]]
        return _Table([entry.wish for entry in self._held.values()], wanted)

    def _begin(self, wishes: list[_Wish]) -> None:
        for wish in wishes:
            key = _key(wish)
            entry = self._wanted.pop(key, None)
            if entry is not None:
                self._held[key] = entry
                entry.go()

    # ---- between hosts -------------------------------------------------------------------------

    def _keeper(self) -> str | None:
        hosts = frozenset((*self._actors.other_hosts(), self._actors.host_id))
        return wanted_owner(0, hosts)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)  # noqa: TID251 -- the rhythm of letters
            if self._wanted or self._held or self._tables:
                self._tell()

    def _tell(self) -> None:
        self._told = True
        keeper, table = self._keeper(), self._table()
        if keeper == self._actors.host_id:
            self._note(keeper, table)
        elif keeper is not None:
            self._actors.tell_host(keeper, WANT, _encode(table))

    def _heard(self, host: str, payload: bytes) -> None:
        self._note(host, _decode_table(payload))

    def _granted(self, _: str, payload: bytes) -> None:
        self._begin(_decode_grants(payload))
        self._changed()

    def _note(self, host: str, table: _Table) -> None:
        """As the keeper: take a host's table, and give what is free."""
        now_s = asyncio.get_running_loop().time()
        if self._keeper() != self._actors.host_id:
            self._keeper_since_s = None
            self._tables.clear()
            return
        if self._keeper_since_s is None:
            self._keeper_since_s = now_s
        known = self._tables.get(host)
        if known is not None:  # a permit that is on its way still counts as held
            given = {_key(wish) for wish in known[1].held}
            under_way = [wish for wish in table.wanted if _key(wish) in given]
            table.held.extend(under_way)
            table.wanted = [wish for wish in table.wanted if _key(wish) not in given]
            if under_way:
                self._send_grants(host, under_way)
        self._tables[host] = (now_s, table)
        for silent in [h for h, (heard_s, _) in self._tables.items() if heard_s < now_s - SILENT_S]:
            del self._tables[silent]
        if now_s - self._keeper_since_s < SETTLE_S:
            return
        tables = {name: known_table for name, (_, known_table) in self._tables.items()}
        granted = {_key(wish) for wish in self._grants(tables)}
        for name, one in tables.items():
            mine = [wish for wish in one.wanted if _key(wish) in granted]
            one.wanted = [wish for wish in one.wanted if _key(wish) not in granted]
            one.held.extend(mine)
            self._send_grants(name, mine)

    def _send_grants(self, host: str, wishes: list[_Wish]) -> None:
        if host == self._actors.host_id:
            self._begin(wishes)
        elif wishes:
            self._actors.tell_host(host, GRANT, _encode(wishes))

    def _grants(self, tables: dict[str, _Table]) -> list[_Wish]:
        """Return which wants fit under the limits, one host after the other in turns."""
        used: Counter[tuple[str, str]] = Counter()
        for table in tables.values():
            for wish in table.held:
                used.update(self._limits.limits_of(wish.kind, wish.name).keys())
        granted = []
        queues = [list(table.wanted) for table in tables.values()]
        for position in range(max(map(len, queues), default=0)):
            for wish in (queue[position] for queue in queues if position < len(queue)):
                limits = self._limits.limits_of(wish.kind, wish.name)
                if all(used[what] < most for what, most in limits.items()):
                    used.update(limits.keys())
                    granted.append(wish)
        return granted


def _key(wish: _Wish) -> Key:
    return Key(ActorId(*wish.target), wish.message_id, wish.check)
