"""The embedded store: one SQLite file, one process, one partition.

Rooms: `store` joins the others and decides what runs where; `schema` opens the file and knows its
format; `lock` keeps other processes out; `writer` and `reader` own the connections, `writes` and
`reads` are their statements; `checkpoint` keeps the write-ahead log short; `faults` turns SQLite's
errors into ours; `threads` waits for a thread. Reasons and figures: docs/adr/0003.
"""

from actorflow.actors.store.sqlite.store import Durability, SqliteStore

__all__ = ["Durability", "SqliteStore"]
