"""Loading the user's application: by file or module, and errors that say what to write."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorflow.server.loader import AppLoadError, load_app

APP = """
from actorflow.workflow.registry import Registry

app = Registry()

@app.activity
def hello(ctx, name: str) -> str:
    return name
"""


@pytest.fixture(autouse=True)
def _clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(tmp_path: Path, name: str, text: str) -> Path:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def refused(target: str) -> str:
    with pytest.raises(AppLoadError) as caught:
        load_app(target)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "target", ["orders.py", "./orders.py", "orders.py:app", "orders", "orders:app"]
)
def test_file_and_module(tmp_path: Path, target: str) -> None:
    write(tmp_path, "orders.py", APP)
    assert load_app(target).activity_names() == ["hello"]


def test_absolute_path_and_package_module(tmp_path: Path) -> None:
    file = write(tmp_path, "shop/orders.py", APP)
    write(tmp_path, "shop/__init__.py", "")
    assert load_app(str(file)).activity_names() == ["hello"]
    assert load_app("shop.orders:app").activity_names() == ["hello"]


def test_the_files_folder_is_first_on_the_path(tmp_path: Path) -> None:
    write(tmp_path, "sub/neighbour.py", "NAME = 'x'")
    write(tmp_path, "sub/orders.py", "import neighbour\n" + APP)
    load_app("sub/orders.py")
    assert sys.path[0] == str(tmp_path / "sub")


def test_a_neighbour_may_import_the_app(tmp_path: Path) -> None:
    write(tmp_path, "more.py", "from orders import app\n@app.activity\ndef bye(ctx): ...\n")
    write(tmp_path, "orders.py", APP + "\nimport more\n")
    assert load_app("orders.py").activity_names() == ["bye", "hello"]


def test_a_file_named_like_a_loaded_module_replaces_nothing(tmp_path: Path) -> None:
    import json  # noqa: PLC0415 -- the module that must stay

    write(tmp_path, "json.py", APP)
    assert load_app("json.py").activity_names() == ["hello"]
    assert sys.modules["json"] is json


def test_dataclass_hints_of_a_loaded_file_resolve(tmp_path: Path) -> None:
    later = "\n@app.activity\ndef pay(ctx, order: 'Order'): ...\n\n@dataclass\nclass Order: ...\n"
    write(tmp_path, "typed.py", "from dataclasses import dataclass\n" + APP + later)
    pay = load_app("typed.py").activity_named("pay")
    assert pay is not None
    assert getattr(pay.input_type, "__name__", "") == "Order"


def test_one_registry_under_two_names_is_one(tmp_path: Path) -> None:
    write(tmp_path, "orders.py", APP + "\nregistry = app\n")
    assert load_app("orders.py").activity_names() == ["hello"]


def test_several_registries_need_a_name(tmp_path: Path) -> None:
    write(tmp_path, "orders.py", APP + "\nother = Registry()\n")
    assert "several Registries: app, other; name one, as orders.py:app" in refused("orders.py")
    assert load_app("orders.py:other").activity_names() == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("none.py", "no file 'none.py'"),
        ("folder/", "no file 'folder"),
        ("shop.missing", "no module 'shop.missing'"),
        ("missing", "such as missing.py"),
        ("not a module", "neither a file nor a module"),
        ("empty.py", "write `app = Registry()`"),
        ("empty.py:app", "'app' in empty.py does not exist"),
        ("number.py:app", "'app' in number.py is a int"),
        ("broken.py", "broken.py:2: SyntaxError"),
        ("raises.py", "raises.py:3: ZeroDivisionError: division by zero"),
        ("needs.py", "needs.py:1: ModuleNotFoundError: No module named 'absent_library'"),
        ("needs", "ModuleNotFoundError: No module named 'absent_library'"),
        ("leaves.py", "leaves.py:1: SystemExit: 3"),
        ("twice.py", "RegistrationError: activity 'hello' is registered twice"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, target: str, expected: str) -> None:
    write(tmp_path, "shop/__init__.py", "")
    write(tmp_path, "empty.py", "")
    write(tmp_path, "number.py", "app = 1")
    write(tmp_path, "broken.py", "x = 1\ndef (:\n")
    write(tmp_path, "raises.py", "def f():\n    # here\n    1 / 0\nf()\n")
    write(tmp_path, "needs.py", "import absent_library\n")
    write(tmp_path, "leaves.py", "raise SystemExit(3)\n")
    write(tmp_path, "twice.py", APP + "\n@app.activity(name='hello')\ndef b(ctx): ...\n")
    assert expected in refused(target)


def test_a_failed_file_can_be_mended_and_loaded_again(tmp_path: Path) -> None:
    write(tmp_path, "orders.py", "1 / 0")
    refused("orders.py")
    write(tmp_path, "orders.py", APP)
    assert load_app("orders.py").activity_names() == ["hello"]
