"""Which layout of the log table costs least? The measurement behind docs/adr/0003.

Batches of 64 turns; a turn updates one actor row (head of 200 B), appends two log entries of 200 B,
deletes one message and inserts one. `python -m bench.layout_sqlite`; one JSON line a case.
"""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from msgspec.msgpack import encode

BATCH = 64
ENTRY = bytes(range(200))
ENTRIES = (ENTRY, ENTRY)

LAYOUTS = {
    "clustered": (
        "CREATE TABLE log (actor INT, start INT, entry BLOB, PRIMARY KEY (actor, start))"
        " WITHOUT ROWID",
        "INSERT INTO log VALUES (?, ?, ?)",
    ),
    "computed-rowid": (
        "CREATE TABLE log (id INTEGER PRIMARY KEY, entry BLOB)",
        "INSERT INTO log VALUES ((?1 << 24) | ?2, ?3)",
    ),
    "row-an-entry": (
        "CREATE TABLE log (id INTEGER PRIMARY KEY, actor INT, start INT, entry BLOB);"
        "CREATE UNIQUE INDEX log_actor ON log (actor, start)",
        "INSERT INTO log (actor, start, entry) VALUES (?, ?, ?)",
    ),
    "row-an-append": (
        "CREATE TABLE log (id INTEGER PRIMARY KEY, actor INT, start INT, entry BLOB);"
        "CREATE UNIQUE INDEX log_actor ON log (actor, start)",
        "INSERT INTO log (actor, start, entry) VALUES (?, ?, ?)",
    ),
}
PACKED = {"row-an-append"}

SCHEMA = """
    CREATE TABLE actor (number INTEGER PRIMARY KEY, type TEXT, key TEXT, log_length INT, phase TEXT,
        updated_ms INT, head BLOB);
    CREATE UNIQUE INDEX actor_key ON actor (type, key);
    CREATE INDEX actor_phase ON actor (type, phase, key);
    CREATE TABLE message (id INTEGER PRIMARY KEY, target TEXT, method TEXT, payload BLOB);
"""

TOGETHER = (
    "UPDATE actor SET phase = ?1, updated_ms = ?2, head = ?3, log_length = log_length + 2"
    " WHERE number = ?4 AND key = ?5 AND log_length = ?6"
)
APART = (
    "UPDATE actor SET updated_ms = ?2, head = ?3, log_length = log_length + 2"
    " WHERE number = ?4 AND key = ?5 AND log_length = ?6 AND phase IS ?1"
)


@dataclass
class Case:
    """One layout with one population, in a fresh file."""

    layout: str
    actors: int
    recent: int
    phase_apart: bool
    batches: int = 150

    def run(self, directory: Path) -> dict[str, object]:
        """Measure, and return the figures."""
        chance = random.Random(1)
        keys = [f"{chance.getrandbits(128):032x}" for _ in range(self.actors + 1)]
        lengths = [2] * (self.actors + 1)
        path = directory / "layout.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            self._fill(connection, keys)
            spent_s, log_bytes = [], 0
            youngest = range(self.actors - self.recent + 1, self.actors + 1)
            for batch in range(self.batches):
                numbers = chance.sample(youngest, BATCH)
                begun_s = time.perf_counter()
                self._commit(connection, numbers, keys, lengths, batch)
                spent_s.append(time.perf_counter() - begun_s)
                for number in numbers:
                    lengths[number] += 2
                if batch % 40 == 39 or batch == self.batches - 1:
                    log_bytes += path.with_name("layout.db-wal").stat().st_size
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        spent_s.sort()
        return {
            "layout": self.layout,
            "phase": "apart" if self.phase_apart else "together",
            "actors": self.actors,
            "drawn_from": self.recent,
            "us_per_turn_p50": round(spent_s[len(spent_s) // 2] / BATCH * 1e6, 1),
            "us_per_turn_min": round(spent_s[0] / BATCH * 1e6, 1),
            "batch_p99_ms": round(spent_s[len(spent_s) * 99 // 100] * 1e3, 2),
            "wal_bytes_per_turn": round(log_bytes / BATCH / self.batches),
        }

    def _fill(self, connection: sqlite3.Connection, keys: list[str]) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -32768"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.executescript(SCHEMA + LAYOUTS[self.layout][0])
        connection.execute("BEGIN")
        numbers = range(1, self.actors + 1)
        connection.executemany(
            "INSERT INTO actor VALUES (?, 'WF', ?, 2, 'RUNNING', 1, ?)",
            [(number, keys[number], ENTRY) for number in numbers],
        )
        self._append(connection, numbers, [0] * (self.actors + 1))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _commit(
        self,
        connection: sqlite3.Connection,
        numbers: list[int],
        keys: list[str],
        lengths: list[int],
        batch: int,
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        updated = connection.executemany(
            APART if self.phase_apart else TOGETHER,
            [("RUNNING", batch, ENTRY, n, keys[n], lengths[n]) for n in numbers],
        )
        assert updated.rowcount == BATCH
        self._append(connection, numbers, lengths)
        first = batch * BATCH
        connection.executemany(
            "DELETE FROM message WHERE id = ?", [(i,) for i in range(first - BATCH, first)]
        )
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, 'done', ?)",
            [(i, keys[1], ENTRY) for i in range(first, first + BATCH)],
        )
        connection.execute("COMMIT")

    def _append(
        self, connection: sqlite3.Connection, numbers: range | list[int], lengths: list[int]
    ) -> None:
        if self.layout in PACKED:
            rows = [(n, lengths[n], encode(ENTRIES)) for n in numbers]
        else:
            rows = [(n, lengths[n] + i, entry) for n in numbers for i, entry in enumerate(ENTRIES)]
        connection.executemany(LAYOUTS[self.layout][1], rows)


def main() -> None:
    """Measure all cases, in turns, and print them."""
    for actors, recent in ((1_000, 1_000), (100_000, 1_000), (100_000, 100_000)):
        cases = [Case(layout, actors, recent, phase_apart=True) for layout in LAYOUTS]
        cases.append(Case("row-an-append", actors, recent, phase_apart=False))
        for case in cases:
            with tempfile.TemporaryDirectory() as directory:
                print(json.dumps(case.run(Path(directory))), flush=True)


if __name__ == "__main__":
    main()
