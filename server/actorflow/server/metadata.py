"""What this process says of itself, by HTTP and by gRPC: ready or not, and texts of its clients."""

from collections.abc import Mapping, Sequence

from actorflow.server.config import Settings
from actorflow.server.errors import invalid_request
from actorflow.server.http import openapi
from actorflow.server.http.api import EngineApi
from actorflow.server.http.waits import Waits

EXTENDED_MAX = 128
"""Entries that clients may add."""

EXTENDED_VALUE_MAX_BYTES = 4_096


class ProcessMetadata:
    """One a process; what clients add to it is forgotten at exit."""

    def __init__(self, engine: EngineApi, settings: Settings, waits: Waits) -> None:
        self._engine = engine
        self._settings = settings
        self._waits = waits
        self._extended: dict[str, str] = {}

    @property
    def version(self) -> str:
        """The version of the product."""
        return openapi.product_version()

    @property
    def connected_workers(self) -> int:
        """How many workers could run something."""
        return self._engine.connected_workers()

    @property
    def extended(self) -> Mapping[str, str]:
        """Texts by name: ours, and those that clients have put."""
        return {
            "daprRuntimeVersion": self.version,
            "durability": self._settings.durability_level,
            **self._extended,
        }

    def put(self, key: str, value: str) -> None:
        """Add a text. Raises WireError 400 for too much."""
        if max(len(key.encode()), len(value.encode())) > EXTENDED_VALUE_MAX_BYTES:
            raise invalid_request(
                f"a metadata key and value may have {EXTENDED_VALUE_MAX_BYTES} bytes each"
            )
        if key not in self._extended and len(self._extended) >= EXTENDED_MAX:
            raise invalid_request(f"the metadata already holds {EXTENDED_MAX} entries")
        self._extended[key] = value

    def problems(self) -> Sequence[str]:
        """Return why workflow calls cannot be served; empty when they can."""
        if self._waits.is_stopping:
            return ["stopping"]
        return self._engine.problems()
