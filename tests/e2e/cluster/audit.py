"""I2 from Redis' own append-only file: every commit of every owner, in the order of their effect.

A script is logged as the writes that it made, and each commit writes its number and its id to the
meta of its partition. So the log of the server is an audit that costs the engine nothing.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import hiredis

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Server

NO_REWRITE = {"auto-aof-rewrite-percentage": "0"}
"""Settings of a server whose log is read in the end: nothing of it may be condensed."""

META = re.compile(rb"af:\{(\d+)\.\d+\}:meta")
CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class _Standing:
    """What is known of one partition at one place of the log."""

    epoch: int = 0
    owner: bytes = b""
    seq: int = 0
    last: bytes = b""
    tokens: dict[int, bytes] = field(default_factory=dict)


class Audit:
    """Follows the log of one server. `seen` counts acquisitions, commits and releases."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Standing] = {}
        self.seen: Counter[str] = Counter()

    @property
    def most_acquired(self) -> int:
        """How often that partition was acquired that moved most."""
        return max((len(standing.tokens) for standing in self._partitions.values()), default=0)

    def epochs(self, partition: int) -> list[int]:
        """Return when a partition was acquired, in ms of the store's clock."""
        standing = self._partitions.get(partition)
        return list(standing.tokens) if standing is not None else []

    def follow(self, command: list[bytes]) -> None:
        """Take the next command of the log."""
        if len(command) < 4 or command[0].upper() != b"HSET":
            return
        match = META.fullmatch(command[1])
        if match is None:
            return
        changed = dict(zip(command[2::2], command[3::2], strict=True))
        standing = self._partitions.setdefault(int(match[1]), _Standing())
        if b"cluster" in changed:
            return  # founded
        if b"epoch" in changed:
            self._acquired(standing, int(changed[b"epoch"]), changed[b"owner"])
        elif b"owner" in changed:
            self.seen["released"] += 1
            standing.owner = b""
        elif b"seq" in changed:
            self._committed(standing, int(changed[b"seq"]), changed[b"last"])

    def _acquired(self, standing: _Standing, epoch: int, owner: bytes) -> None:
        self.seen["acquired"] += 1
        assert epoch > standing.epoch, f"epoch {epoch} after {standing.epoch}"
        assert owner, "acquired by nobody"
        assert owner not in standing.tokens.values(), f"token {owner!r} twice"
        standing.tokens[epoch] = owner
        standing.epoch, standing.owner = epoch, owner

    def _committed(self, standing: _Standing, seq: int, commit_id: bytes) -> None:
        self.seen["committed"] += 1
        assert seq == standing.seq + 1, f"commit {seq} after {standing.seq}"
        token, _, number = commit_id.rpartition(b":")
        assert token == standing.owner, f"{commit_id!r} while {standing.owner!r} owns"
        assert int(number) == seq
        standing.seq, standing.last = seq, commit_id


class ServerLog:
    """Follows the append-only files of a server, also while it runs, is killed and condenses them.

    Whoever lets it condense them calls `catch_up` before, and not twice in between.
    """

    def __init__(self, server: Server) -> None:
        self._folder = server.directory / "appendonlydir"
        self._audit = Audit()
        self._before = deepcopy(self._audit)
        self._number = 0
        self._file: BinaryIO | None = None
        self._reader = hiredis.Reader()

    def catch_up(self) -> Counter[str]:
        """I2 of what was logged since the last call: commits without a gap or a repetition, each by
        the owner of its time, under epochs that rise and tokens that nobody had before."""
        if self._file is not None:
            self._read(self._file)
        for path in sorted(self._folder.glob("*.incr.aof"), key=_number_of):
            if _number_of(path) > self._number:
                self._open(path)
        return self._audit.seen

    def most_acquired(self) -> int:
        """See `Audit`; of what `catch_up` has read."""
        return self._audit.most_acquired

    def epochs(self, partition: int) -> list[int]:
        """See `Audit`; of what `catch_up` has read."""
        return self._audit.epochs(partition)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path) -> None:
        self.close()
        self._number = _number_of(path)
        self._before = deepcopy(self._audit)
        self._file = path.open("rb")
        self._reader = hiredis.Reader()
        self._read(self._file)

    def _read(self, file: BinaryIO) -> None:
        if os.fstat(file.fileno()).st_size < file.tell():
            # The server was killed in the middle of a command and has cut it off: once more.
            file.seek(0)
            self._audit, self._reader = deepcopy(self._before), hiredis.Reader()
        while chunk := file.read(CHUNK_BYTES):
            self._reader.feed(chunk)
            while (command := self._reader.gets()) is not False:
                self._audit.follow(command)


def _number_of(path: Path) -> int:
    return int(path.name.split(".")[-3])
