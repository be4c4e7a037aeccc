"""One process per file: an advisory lock beside the database, with the owner's process id in it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from actorflow.actors.errors import StoreInUseError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path


class FileLock:
    """An exclusive lock for as long as this object is not released and its process lives.

    The kernel ends it with the process, so that nothing stale is left after `kill -9`. The file
    itself stays: removing it would let two processes lock two different files of the same name.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + "-lock")
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock at once or not at all.

        Raises:
            StoreInUseError: another store object, here or in another process, has it.
            StoreUnavailableError: the lock file cannot be opened or locked.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot open the lock file {self._path}: {error.strerror}", written=False
            ) from error
        try:
            self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock up. Harmless when it is not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUseError(self._complaint(fd)) from None
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot lock {self._path}: {error.strerror}; the file must be on a local disk",
                written=False,
            ) from error
        os.fchmod(fd, 0o600)
        os.truncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)

    def _complaint(self, fd: int) -> str:
        pid = os.pread(fd, 20, 0).decode(errors="replace").strip()
        if pid == str(os.getpid()):
            return (
                f"{self._database} is already open in this process ({pid}); "
                "use the open store, or close it first"
            )
        return (
            f"{self._database} is in use by process {pid or '(unknown)'}; "
            "stop that process, or give this one a database of its own"
        )
