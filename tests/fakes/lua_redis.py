"""The shipped Lua text over dictionaries: the same scripts as in production, in one thread.

Knows the commands that the scripts and the store use, and no others, so that a new one is noticed.
"""

import bisect
from collections.abc import Callable, Iterable
from typing import Any

import lupa.lua51  # type: ignore[import-untyped]  # has no types
from redis.exceptions import ResponseError

from actorflow.actors.clock import Clock
from actorflow.actors.store.redis.script import Script
from tests.fakes.redis_clients import LocalClient


class WrongTypeError(Exception):
    """What Redis answers to a command on a key of another type."""

    def __init__(self) -> None:
        super().__init__("WRONGTYPE Operation against a key holding the wrong kind of value")


class LuaRedis:
    """A server of hashes, lists and sorted sets in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.data: dict[bytes, dict[bytes, Any] | list[bytes]] = {}
        self.sorted_sets: set[bytes] = set()
        self._lua = lupa.lua51.LuaRuntime(encoding=None, register_eval=False)
        self._functions: dict[str, Any] = {}
        self._declared: set[bytes] = set()
        self._redis = self._lua.table_from({b"call": self._called})

    def client(self) -> LocalClient:
        """Return a client of this server."""
        return LocalClient(self.execute)

    def execute(self, script: Script | None, command: list[bytes]) -> Any:
        """Run one command, or one script."""
        if script is None:
            try:
                return self._do(command)
            except WrongTypeError as error:
                return ResponseError(str(error))
        count = int(command[2])
        keys, args = command[3 : 3 + count], command[3 + count :]
        self._declared = set(keys)
        function = self._functions.get(script.sha) or self._compiled(script)
        table = self._lua.table_from
        return _python(function(self._redis, table(keys), table(args)))

    def _compiled(self, script: Script) -> Any:
        body = script.text.partition("\n")[2]
        source = f"function(redis, KEYS, ARGV) {body}\nend"
        function = self._functions[script.sha] = self._lua.eval(source.encode())
        return function

    def _called(self, *command: Any) -> Any:
        words = [_bytes(word) for word in command]
        if words[0] != b"TIME":
            keys = words[1:] if words[0] in (b"UNLINK", b"EXISTS") else words[1:2]
            assert set(keys) <= self._declared, f"undeclared key: {words[:2]}"
        return self._to_lua(self._do(words))

    def _to_lua(self, reply: Any) -> Any:
        if isinstance(reply, list):
            return self._lua.table_from([self._to_lua(item) for item in reply])
        return False if reply is None else reply

    def _do(self, command: list[bytes]) -> Any:
        name, *args = command
        method: Callable[..., Any] = getattr(self, f"_{name.decode().lower()}")
        return method(*args)

    # ---- all types -----------------------------------------------------------------------------

    def _time(self) -> list[bytes]:
        now_us = self._clock.now_ns() // 1_000
        return [b"%d" % (now_us // 1_000_000), b"%d" % (now_us % 1_000_000)]

    def _exists(self, key: bytes) -> int:
        return int(key in self.data)

    def _unlink(self, *keys: bytes) -> int:
        self.sorted_sets.difference_update(keys)
        return sum(self.data.pop(key, None) is not None for key in keys)

    def _tidy(self, key: bytes) -> None:
        if not self.data[key]:
            self._unlink(key)

    # ---- hashes --------------------------------------------------------------------------------

    def _hash(self, key: bytes) -> dict[bytes, bytes]:
        found = self.data.get(key, {})
        if not isinstance(found, dict) or key in self.sorted_sets:
            raise WrongTypeError
        return found

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        stored = self._hash(key)
        before = len(stored)
        stored.update(zip(pairs[::2], pairs[1::2], strict=True))
        self.data[key] = stored
        return len(stored) - before

    def _hdel(self, key: bytes, *names: bytes) -> int:
        stored = self._hash(key)
        count = sum(stored.pop(name, None) is not None for name in names)
        if count:
            self._tidy(key)
        return count

    def _hget(self, key: bytes, name: bytes) -> bytes | None:
        return self._hash(key).get(name)

    def _hmget(self, key: bytes, *names: bytes) -> list[bytes | None]:
        stored = self._hash(key)
        return [stored.get(name) for name in names]

    def _hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self._hash(key).items() for part in pair]

    def _hkeys(self, key: bytes) -> list[bytes]:
        return list(self._hash(key))

    def _hvals(self, key: bytes) -> list[bytes]:
        return list(self._hash(key).values())

    def _hlen(self, key: bytes) -> int:
        return len(self._hash(key))

    def _hexists(self, key: bytes, name: bytes) -> int:
        return int(name in self._hash(key))

    # ---- lists ---------------------------------------------------------------------------------

    def _list(self, key: bytes) -> list[bytes]:
        found = self.data.get(key, [])
        if not isinstance(found, list):
            raise WrongTypeError
        return found

    def _rpush(self, key: bytes, *values: bytes) -> int:
        stored = self._list(key)
        stored.extend(values)
        self.data[key] = stored
        return len(stored)

    def _llen(self, key: bytes) -> int:
        return len(self._list(key))

    def _lrange(self, key: bytes, first: bytes, last: bytes) -> list[bytes]:
        return self._list(key)[int(first) : int(last) + 1]

    # ---- sorted sets ---------------------------------------------------------------------------

    def _scores(self, key: bytes) -> dict[bytes, float]:
        found: Any = self.data.get(key, {})
        if key in self.data and key not in self.sorted_sets:
            raise WrongTypeError
        scores: dict[bytes, float] = found
        return scores

    def _members(self, key: bytes) -> list[bytes]:
        scores = self._scores(key)
        return sorted(scores, key=lambda member: (scores[member], member))

    def _zadd(self, key: bytes, *pairs: bytes) -> int:
        scores = self._scores(key)
        before = len(scores)
        scores.update(zip(pairs[1::2], map(float, pairs[::2]), strict=True))
        self.data[key] = scores
        self.sorted_sets.add(key)
        return len(scores) - before

    def _zrem(self, key: bytes, *members: bytes) -> int:
        scores = self._scores(key)
        count = sum(scores.pop(member, None) is not None for member in members)
        if count:
            self._tidy(key)
        return count

    def _zcard(self, key: bytes) -> int:
        return len(self._scores(key))

    def _zrangebyscore(self, key: bytes, low: bytes, high: bytes, *limit: bytes) -> list[bytes]:
        scores = self._scores(key)
        found = [
            member
            for member in self._members(key)
            if _above(scores[member], low) and _below(scores[member], high)
        ]
        return _limited(found, limit)

    def _zrange(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> list[bytes]:
        members = self._members(key)
        if options[:1] != (b"BYLEX",):
            return members[int(low) : int(high) + 1]
        return _limited(_lex_range(members, low, high), options[1:])

    def _zremrangebylex(self, key: bytes, low: bytes, high: bytes) -> int:
        return self._zrem(key, *_lex_range(self._members(key), low, high))


def _lex_range(members: list[bytes], low: bytes, high: bytes) -> list[bytes]:
    first = (bisect.bisect_left if low[:1] == b"[" else bisect.bisect_right)(members, low[1:])
    last = (bisect.bisect_right if high[:1] == b"[" else bisect.bisect_left)(members, high[1:])
    return members[first:last]


def _limited(found: list[bytes], limit: Iterable[bytes]) -> list[bytes]:
    _, offset, count = [*limit] or (b"LIMIT", b"0", b"%d" % len(found))
    return found[int(offset) : int(offset) + int(count)]


def _above(score: float, bound: bytes) -> bool:
    return score > float(bound[1:]) if bound[:1] == b"(" else score >= float(bound)


def _below(score: float, bound: bytes) -> bool:
    return score < float(bound[1:]) if bound[:1] == b"(" else score <= float(bound)


def _bytes(word: Any) -> bytes:
    if isinstance(word, bytes):
        return word
    return b"%d" % word if word == int(word) else repr(word).encode()


def _python(reply: Any) -> Any:
    """Turn a script's answer into what a client would see."""
    if lupa.lua51.lua_type(reply) == "table":
        return [_python(reply[i]) for i in range(1, len(reply) + 1)]
    if reply is False:
        return None
    return int(reply) if isinstance(reply, float) else reply
