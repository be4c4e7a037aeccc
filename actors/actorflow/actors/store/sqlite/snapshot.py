"""A copy of a database at one moment, also while another process writes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from actorflow.actors.store.sqlite.faults import translated

if TYPE_CHECKING:
    from pathlib import Path


def copy_database(source: Path, destination: Path) -> None:
    """Write a consistent copy; the source is only read. Blocks for as long as the copy takes.

    Raises:
        StoreUnavailableError, CorruptError: it cannot be read, or the copy not be written.
    """
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as reader,
            closing(sqlite3.connect(destination)) as writer,
        ):
            reader.backup(writer)
    except sqlite3.Error as error:
        raise translated(error, source, written=False) from error
