"""Finds what engine code takes from the world outside, by the full name of each thing it uses."""

import ast
from collections.abc import Iterator

UNSAFE_MODULES = frozenset(
    {"_pickle", "cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}
)
"""Modules that turn bytes into code, or can."""

UNSAFE_CALLS = frozenset({"__import__", "compile", "eval", "exec"})

NONDETERMINISTIC = (
    "_thread.",
    "asyncio.to_thread",
    "concurrent.futures.",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "multiprocessing.",
    "os.getrandom",
    "os.urandom",
    "random.",
    "secrets.",
    "threading.",
    "time.",
    "uuid.",
)
"""How the full names begin of what gives another outcome each time, or in another order."""

DETERMINISTIC = ("random.Random", "uuid.NAMESPACE_", "uuid.UUID", "uuid.uuid5")
"""Exceptions: the same arguments give the same value."""


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Map each name that an import binds, anywhere in the module, to its full name."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return bound


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of each module that is imported, or imported from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def full_name(node: ast.expr, bound: dict[str, str]) -> str | None:
    """Return the full name of `a.b.c` if `a` was imported, else None."""
    match node:
        case ast.Name(id=name):
            return bound.get(name)
        case ast.Attribute(value=value, attr=attr):
            head = full_name(value, bound)
            return f"{head}.{attr}" if head else None
        case _:
            return None


def nondeterministic_uses(source: str) -> set[str]:
    """Return the full names of everything in `source` whose outcome its arguments do not fix."""
    tree = ast.parse(source)
    bound = imported_names(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "run_in_executor":
            found.add("run_in_executor")
        elif isinstance(node, ast.Call) and not (node.args or node.keywords):
            if full_name(node.func, bound) == "random.Random":
                found.add("random.Random()")  # without a seed it takes one from the system
        elif isinstance(node, ast.Attribute | ast.Name):
            name = full_name(node, bound) or ""
            if name.startswith(NONDETERMINISTIC) and not name.startswith(DETERMINISTIC):
                found.add(name)
    return found


def unsafe_uses(source: str) -> set[str]:
    """Return what in `source` could run bytes as code: modules imported and builtins called."""
    tree = ast.parse(source)
    modules = {name for name in imported_modules(tree) if name.split(".")[0] in UNSAFE_MODULES}
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in UNSAFE_CALLS
    }
    return modules | calls
