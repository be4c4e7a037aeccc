"""Find the user's Registry in a Python file or module, with errors that a newcomer can act on."""

import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from actorflow.actors.errors import UsageError
from actorflow.workflow.registry import Registry

_EXAMPLE = "app = Registry()"


class AppLoadError(UsageError):
    """The user's application cannot be loaded. The text names the place and the mend."""

    code = "APP_LOAD"


def load_app(target: str) -> Registry:
    """Import the application and return its Registry.

    Args:
        target: `FILE.py` or `package.module`, each with an optional `:NAME` of the Registry. The
            file's folder (for a module: the current one) goes to the front of `sys.path`, as
            `python FILE.py` does.

    Raises:
        AppLoadError: not found, failed while importing, or no single Registry in it.
    """
    place, name = _split(target)
    module = _import_file(Path(place)) if _is_file(place) else _import_module(place)
    return _named(module, place, name) if name else _only(module, place)


def _split(target: str) -> tuple[str, str]:
    # Only what looks like a Python name is one: `C:\orders.py` and `a:b.py` are paths.
    place, colon, name = target.rpartition(":")
    return (place, name) if colon and place and name.isidentifier() else (target, "")


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place or Path(place).is_file()


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppLoadError(f"no file {str(path)!r} (looked in {Path.cwd()})")
    _put_first(path.resolve().parent)
    # The stem, so that other modules of the app may import this one; unless that would replace a
    # module that somebody has already imported.
    name = path.stem if path.stem not in sys.modules else f"actorflow_app_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise AppLoadError(f"{str(path)!r} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: type hints of its classes are looked up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as err:
        del sys.modules[name]
        raise _import_failed(str(path), err) from err
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise AppLoadError(
            f"{name!r} is neither a file nor a module; say FILE.py or package.module"
        )
    _put_first(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is None or not f"{name}.".startswith(f"{err.name}."):
            raise _import_failed(name, err) from err
        raise AppLoadError(
            f"no module {err.name!r}; it must be installed or lie in {Path.cwd()}. "
            f"For a file, give its path, such as {name.replace('.', '/')}.py"
        ) from err
    except (Exception, SystemExit) as err:
        raise _import_failed(name, err) from err


def _put_first(folder: Path) -> None:
    text = str(folder)
    if sys.path[:1] != [text]:
        sys.path.insert(0, text)


def _import_failed(place: str, err: BaseException) -> AppLoadError:
    if isinstance(err, SyntaxError):
        return AppLoadError(f"{err.filename}:{err.lineno}: SyntaxError: {err.msg}")
    frames = [
        frame
        for frame in traceback.extract_tb(err.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen ")
    ]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else place
    text = re.sub(r"\s+", " ", str(err)).strip() or "no message"
    return AppLoadError(f"importing {place} failed at {where}: {type(err).__name__}: {text}")


def _registries(module: ModuleType) -> dict[str, Registry]:
    return {name: item for name, item in vars(module).items() if isinstance(item, Registry)}


def _named(module: ModuleType, place: str, name: str) -> Registry:
    found = getattr(module, name, None)
    if isinstance(found, Registry):
        return found
    problem = f"is a {type(found).__name__}" if hasattr(module, name) else "does not exist"
    known = ", ".join(_registries(module)) or f"none; write `{_EXAMPLE}`"
    raise AppLoadError(f"{name!r} in {place} {problem}, not a Registry; Registries there: {known}")


def _only(module: ModuleType, place: str) -> Registry:
    found = _registries(module)
    if len({id(item) for item in found.values()}) == 1:
        return next(iter(found.values()))
    if found:
        names = ", ".join(found)
        raise AppLoadError(
            f"{place} has several Registries: {names}; name one, as {place}:{next(iter(found))}"
        )
    raise AppLoadError(
        f"no Registry in {place}; write `{_EXAMPLE}` and put @app.workflow and @app.activity on "
        "your functions"
    )
