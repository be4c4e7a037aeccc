"""The memory of a host: which cluster it belongs to, in a small file that outlives it.

An empty Redis does not say whether it is new or has lost its data. A host that was there knows.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from actorflow.actors.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

_NOTE = """
# The first line names the cluster in {store}. With this file, actorflow refuses a Redis that is
# empty or holds another cluster. Delete it to let a new cluster begin.
"""


def read_cluster_id(path: Path) -> str:
    """Return the id in the file, "" when there is none.

    Raises:
        UsageError: there is a file, and it cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"cannot read --cluster-file {path}: {cause}; {_mend(path)}") from error
    first, *_ = [*text.splitlines(), ""]
    if not _ID.fullmatch(first.strip()):
        raise UsageError(
            f"--cluster-file {path} does not begin with the id of a cluster; {_mend(path)}"
        )
    return first.strip()


def write_cluster_id(path: Path, cluster_id: str, store: object) -> None:
    """Keep the id for the next start. A host that cannot do so works all the same, with a
    warning. Several processes may do so at once, for the same cluster."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(cluster_id + _NOTE.format(store=store), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        _log.warning(
            "the cluster is not remembered: a Redis that lost its data while no host ran would be "
            "taken for a new one; set --cluster-file to a place that can be written and stays",
            extra={"file": str(path), "cause": error.strerror or str(error)},
        )


def _mend(path: Path) -> str:
    return f"correct it, or delete {path} if any cluster in the store may be used"
