"""The shared store: Redis or Valkey, any number of hosts and partitions.

Rooms: `store` joins the others; `keys` names keys, `encoding` turns commits into arguments,
`script` holds the Lua text of `lua/`; `connections` makes clients of redis-py, `pipeline` lets
calls leave together, `client` runs scripts where their slot lives, `errors` says what a refusal
means; `url`, `inspection` and `checks` open the door, `cluster` finds or founds the cluster;
`reads` and `search` read. Reasons and figures: docs/adr/0007.
"""

from actorflow.actors.store.redis.checks import Durability
from actorflow.actors.store.redis.errors import StoreLostError, StoreRefusedError
from actorflow.actors.store.redis.store import RedisStore

__all__ = ["Durability", "RedisStore", "StoreLostError", "StoreRefusedError"]
