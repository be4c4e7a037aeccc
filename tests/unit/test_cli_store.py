"""`actorflow fsck`, `export` and `import` on SQLite files; tests/e2e has them on Redis."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actorflow.actors import ActorId
from actorflow.actors.clock import SystemIds
from actorflow.actors.ports import MessageRow
from actorflow.actors.store.sqlite import SqliteStore
from actorflow.server.cli import cli
from actorflow.workflow import Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.offline import OfflineStore
from actorflow.workflow.requests import INSTANCE

URL = "sqlite:///shop.db"

APP = """
from actorflow.workflow import Registry, WorkflowContext
app = Registry()

@app.workflow
async def waits(ctx: WorkflowContext, days: float) -> None:
    await ctx.wait_for_external_event("other")
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTORFLOW_STORE", raising=False)


def app_of() -> Registry:
    app = Registry()

    @app.workflow
    async def waits(ctx: WorkflowContext, days: float) -> str:
        await ctx.create_timer(days * 86_400)
        return "awake"

    return app


@pytest.fixture
def shop() -> Path:
    """A store with two open instances and one that has ended."""

    async def main() -> None:
        async with WorkflowEngine(SqliteStore("shop.db"), app_of()) as engine:
            for name, days in (("a-1", 3), ("a-2", 0), ("b-1", 4)):
                await engine.start("waits", instance_id=name, input=str(days))
            await engine.wait_for_completion("a-2", timeout_s=120)

    asyncio.run(main())
    return Path("shop.db")


def damage(shop: Path, statement: str) -> None:
    with sqlite3.connect(shop) as connection:
        connection.execute(statement)
    connection.close()


@pytest.fixture
def served(shop: Path) -> Iterator[Path]:
    """The same store, in use by another owner."""
    with asyncio.Runner() as runner:
        store = SqliteStore(shop)
        runner.run(store.open())
        yield shop
        runner.run(store.close())


def test_a_clean_store(shop: Path) -> None:
    before = shop.read_bytes()
    result = run("fsck", "--store", URL)
    assert result.exit_code == 0, result.output
    assert "Nothing is wrong." in result.output
    assert "3 instances (2 open)" in result.output
    assert shop.read_bytes() == before
    shown = json.loads(run("fsck", "--store", URL, "--json").stdout)
    assert (shown["clean"], shown["instances"], shown["findings"]) == (True, 3, [])


def test_findings_are_shown_and_repaired(shop: Path) -> None:
    damage(shop, "DELETE FROM reminder")
    result = run("fsck", "--store", URL)
    assert result.exit_code == 1
    assert "timer" in result.output
    assert "a-1: it waits for nothing but timer 1" in result.output
    assert "2 things are wrong; --repair would treat 2." in result.output
    found = json.loads(run("fsck", "--store", URL, "--json").stdout)
    assert {f["subject"] for f in found["findings"]} == {"a-1", "b-1"}
    repaired = run("fsck", "--store", URL, "--repair")
    assert repaired.exit_code == 0, repaired.output
    assert repaired.output.count("repaired  ") == 2
    assert "set its reminder" in repaired.output
    assert run("fsck", "--store", URL).exit_code == 0


def test_parked_messages_are_delivered_only_on_request(shop: Path) -> None:
    async def park() -> None:
        store = SqliteStore(shop)
        await store.open()
        async with OfflineStore(store, 1, SystemIds()) as owned:
            target = ActorId(INSTANCE, "a-1")
            row = MessageRow(owned.next_message_id(0), target, "go_on", b"", None, "Bug: \x1b[2J")
            await owned.commit(0, put_messages=(row,))
        await store.close()

    asyncio.run(park())
    result = run("fsck", "--store", URL)
    assert result.exit_code == 1
    assert "Bug: \\x1b[2J" in result.output
    assert run("fsck", "--store", URL, "--repair").exit_code == 1
    assert run("fsck", "--store", URL, "--unpark").exit_code == 2
    assert run("fsck", "--store", URL, "--repair", "--unpark").exit_code == 0


def test_the_code_tells_what_would_stall(shop: Path) -> None:
    Path("app.py").write_text(APP)
    result = run("fsck", "--store", URL, "--app", "app.py")
    assert result.exit_code == 0
    assert "the code does not fit the history" in result.output


def test_a_store_in_use_is_copied_and_not_repaired(served: Path) -> None:
    result = run("fsck", "--store", URL)
    assert result.exit_code == 0, result.output
    assert "a copy of it" in result.output
    assert "3 instances" in result.output
    result = run("fsck", "--store", URL, "--repair")
    assert result.exit_code == 2
    assert "already open in this process" in result.output
    assert run("export", "--store", URL, "x").exit_code == 1
    result = run("export", "--store", URL, "--live", "x")
    assert result.exit_code == 0, result.output
    assert len(Path("x").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fsck", "--store", "sqlite:///none.db"], "there is no store"),
        (["fsck", "--store", "memory:"], "no other process can look"),
        (["fsck", "--store", "sqlite:///app.py"], "cannot open --store sqlite:///app.py"),
        (["fsck", "--store", "redis://127.0.0.1:1"], "check that Redis runs"),
        (["fsck", "--store", "nonsense"], "sqlite:///PATH"),
        (["fsck", "--store", URL, "--app", "none.py"], "cannot load --app"),
    ],
)
def test_what_cannot_be_read_has_its_own_exit_code(
    shop: Path, arguments: list[str], text: str
) -> None:
    Path("app.py").write_text(APP)
    result = run(*arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_export_and_import(shop: Path) -> None:
    result = run("export", "--store", URL, "shop.jsonl")
    assert result.exit_code == 0, result.output
    assert "Exported 3 instances with 0 messages and 2 reminders." in result.output
    result = run("import", "shop.jsonl", "--store", "sqlite:///new.db")
    assert result.exit_code == 0, result.output
    assert run("fsck", "--store", "sqlite:///new.db").exit_code == 0
    result = run("import", "shop.jsonl", "--store", "sqlite:///new.db")
    assert result.exit_code == 1
    assert "--skip-existing" in result.output
    result = run("import", "shop.jsonl", "--store", "sqlite:///new.db", "--skip-existing")
    assert "Imported 0 instances" in result.output
    assert "3 were there already" in result.output
    again = run("export", "--store", "sqlite:///new.db", "-").stdout
    assert again.splitlines()[1:] == Path("shop.jsonl").read_text().splitlines()[1:]


def test_selections_and_standard_streams(shop: Path) -> None:
    result = run("export", "--store", URL, "--status", "RUNNING", "--prefix", "a-", "-")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines[1:-1]] == ["a-1"]
    done = CliRunner().invoke(
        cli, ["import", "-", "--store", "sqlite:///b.db"], input=result.stdout
    )
    assert done.exit_code == 0, done.output


def test_files_that_cannot_be_used(shop: Path) -> None:
    assert "cannot write no/x" in run("export", "--store", URL, "no/x").output
    assert "cannot read none" in run("import", "none", "--store", URL).output
    Path("x").write_text("{}")
    assert "no actorflow archive" in run("import", "x", "--store", "sqlite:///n.db").output
    damage(shop, "UPDATE actor SET label = NULL, phase = NULL, head = NULL WHERE key = 'a-1'")
    result = run("export", "--store", URL, "y")
    assert result.exit_code == 1
    assert not Path("y").exists()
    assert not Path("y.part").exists()
