"""Which handler a method and a path belong to."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from aiohttp import web

from actorflow.actors.errors import ActorflowError
from actorflow.server.errors import WireError
from actorflow.server.http.call import Call

Handler: TypeAlias = Callable[[Call], Awaitable[web.Response]]
ErrorMap: TypeAlias = Callable[[Call, ActorflowError], WireError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method and path template, such as `/v1.0/workflows/{workflowComponent}/{instanceID}`.

    `is_public` routes need no API token. `is_guarded` ones change something and have no wire to be
    compatible with: a browser's form must not reach them. `errors` names the wire's words for
    what the engine refuses.
    """

    method: str
    path: str
    handler: Handler
    errors: ErrorMap
    is_public: bool = False
    is_guarded: bool = False
    parameter_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))
        object.__setattr__(self, "parameter_names", names)


class Match(NamedTuple):
    """A route and the still escaped values of its parameters."""

    route: Route
    values: tuple[str, ...]


class _Node:
    __slots__ = ("literals", "parameter", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.routes: dict[str, Route] = {}


class Router:
    """A tree of path segments. A literal segment is preferred to a parameter."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def find(self, method: str, segments: tuple[str, ...]) -> Match | None:
        """Return the route of an escaped, cleaned path; None when there is none."""
        node = self._root
        values = []
        for segment in segments:
            child = node.literals.get(segment)
            if child is None:
                child = node.parameter
                if child is None:
                    break
                values.append(segment)
            node = child
        else:
            route = node.routes.get(method)
            if route is not None:
                return Match(route, tuple(values))
        # Always preferring the literal led nowhere: try the parameters beside it too.
        return _find(self._root, method, segments, 0, ())

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.path[1:].split("/"):
            if part.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(part, _Node())
        assert route.method not in node.routes, f"two routes for {route.method} {route.path}"
        node.routes[route.method] = route


def _find(
    node: _Node, method: str, segments: tuple[str, ...], index: int, values: tuple[str, ...]
) -> Match | None:
    if index == len(segments):
        route = node.routes.get(method)
        return Match(route, values) if route else None
    literal = node.literals.get(segments[index])
    if literal is not None:
        match = _find(literal, method, segments, index + 1, values)
        if match is not None:
            return match
    if node.parameter is None:
        return None
    return _find(node.parameter, method, segments, index + 1, (*values, segments[index]))
