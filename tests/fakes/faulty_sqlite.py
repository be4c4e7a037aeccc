"""A SQLite connection that fails on demand."""

import sqlite3
import threading
from collections.abc import Iterable
from typing import Any


def sqlite_error(code: int, text: str = "on demand") -> sqlite3.OperationalError:
    """Build the error that SQLite raises with this result code."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    error.sqlite_errorname = f"code {code}"
    return error


class Faults:
    """What goes wrong next. Each entry is used once and names the start of a statement.

    `before` raises instead of running it, `after` once it has run; `gates` holds it until the event
    is set, and sets `reached` first.
    """

    def __init__(self) -> None:
        self.before: dict[str, sqlite3.Error] = {}
        self.after: dict[str, sqlite3.Error] = {}
        self.gates: dict[str, threading.Event] = {}
        self.reached = threading.Event()
        self.connections: list[sqlite3.Connection] = []

    def connection_class(self) -> type[sqlite3.Connection]:
        """Make the class to give to `SqliteStore`."""
        faults = self

        class FaultyConnection(sqlite3.Connection):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                faults.connections.append(self)

            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                faults.enter(sql)
                cursor = super().execute(sql, parameters)
                faults.leave(sql)
                return cursor

            def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
                faults.enter(sql)
                cursor = super().executemany(sql, parameters)
                faults.leave(sql)
                return cursor

        return FaultyConnection

    def enter(self, sql: str) -> None:
        """Wait or raise as asked, before the statement."""
        for start in [start for start in self.gates if sql.startswith(start)]:
            gate = self.gates.pop(start)
            self.reached.set()
            assert gate.wait(120)
        self._raise(self.before, sql)

    def leave(self, sql: str) -> None:
        """Raise as asked, after the statement."""
        self._raise(self.after, sql)

    @staticmethod
    def _raise(errors: dict[str, sqlite3.Error], sql: str) -> None:
        for start in [start for start in errors if sql.startswith(start)]:
            raise errors.pop(start)
