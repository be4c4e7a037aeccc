"""The command line without a server: help, configuration, exit codes, and errors that help."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from actorflow.server.cli import cli
from actorflow.server.cli_client import Client, CliError, Exit, read_json, segment
from actorflow.server.cli_show import age, plain, short
from actorflow.server.options import OPTIONS

CANARY = "canary-5f2c"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS:
        for name in option.env_names:
            monkeypatch.delenv(name, raising=False)
    for name in ("ACTORFLOW_URL", "ACTORFLOW_CONFIG", "ACTORFLOW_API_TOKEN", "DAPR_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, stdin: str | None = None, **environ: str) -> Result:
    return CliRunner().invoke(cli, arguments, input=stdin, env=environ)


def commands() -> list[list[str]]:
    context = click.Context(cli)
    found: list[list[str]] = [[]]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, sub] for sub in command.commands]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert run(*command, "-h").output == result.output


def test_the_help_of_serve_names_every_setting_and_its_default() -> None:
    text = " ".join(run("serve", "--help").output.split())
    for option in OPTIONS:
        assert option.flag in text
        for alias in option.flag_aliases:
            assert alias in text
    assert "[default: 3500]" in text
    assert "[default: 4Mi]" in text
    assert "Examples:" in text


def test_top_level_help_documents_the_exit_codes() -> None:
    text = run("--help").output
    for code in Exit:
        assert f"{code.value} " in text


def test_the_readme_names_every_setting_and_exit_code() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    for option in OPTIONS:
        assert f"`{option.flag}`" in text
    for code in Exit:
        assert f"{code.value} " in text.partition("Exit codes:")[2]


def test_version() -> None:
    assert run("--version").output.startswith("actorflow ")


def test_no_command_takes_a_token() -> None:
    for command in commands():
        result = run(*command, f"--api-token={CANARY}", "x", "y")
        assert result.exit_code == 2
        assert CANARY not in result.output


# --- config --------------------------------------------------------------------------------------


def test_config_shows_values_and_sources_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('app-id = "shop"\n')
    result = run(
        "config", "--config", "a.toml", "--http-port", "81", "--json",
        DAPR_API_TOKEN=CANARY, ACTORFLOW_LOG_LEVEL="error",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["http-port"] == {"value": "81", "source": "flag --http-port"}
    assert shown["app-id"] == {"value": "shop", "source": "file a.toml"}
    assert shown["log-level"]["source"] == "environment variable ACTORFLOW_LOG_LEVEL"
    assert shown["store"]["source"] == "default"
    assert shown["api-token-file"]["value"] == "1 set, not shown"
    assert CANARY not in result.output


def test_config_prints_a_table_for_people_and_warns_of_typing_errors() -> None:
    result = run("config", DAPR_API_TOKEN=CANARY, ACTORFLOW_HTPP_PORT="1")
    assert "http-port" in result.stdout
    assert "did you mean ACTORFLOW_HTTP_PORT" in result.stderr
    assert CANARY not in result.output


def test_aliases_switches_and_the_variable_for_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("metrics = true\nuvloop = false\n")
    result = run(
        "config", "--json", "--dapr-http-port", "82", "--no-metrics", "--insecure",
        ACTORFLOW_CONFIG="a.toml",
    )  # fmt: skip
    shown = json.loads(result.stdout)
    assert shown["http-port"]["value"] == "82"
    assert shown["metrics"] == {"value": "false", "source": "flag --metrics"}
    assert shown["insecure"]["value"] == "true"
    assert shown["uvloop"] == {"value": "false", "source": "file a.toml"}


@pytest.mark.parametrize("command", ["serve", "config"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--http-port", "x"], "flag --http-port"),
        (["--listen-addresses", "0.0.0.0"], "--insecure"),
        (["--config", "none.toml"], "No such file"),
        (["--store", f"redis://u:{CANARY}@h:x"], "host or port that cannot be read"),
        (["--processes", "2"], "take --store redis://HOST"),
    ],
)
def test_bad_settings_are_usage_errors(command: str, arguments: list[str], expected: str) -> None:
    result = run(command, *arguments)
    assert result.exit_code == Exit.USAGE
    assert expected in result.stderr
    assert "Traceback" not in result.output
    assert CANARY not in result.output


# --- input ---------------------------------------------------------------------------------------


def test_input_comes_from_text_file_or_standard_input(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"ü": 1}', encoding="utf-8")
    assert read_json("--input", '"x"') == '"x"'
    assert read_json("--input", "@in.json") == '{"ü": 1}'

    @click.command()
    def echo() -> None:
        click.echo(read_json("--input", "-"))

    assert CliRunner().invoke(echo, input="[1]").output == "[1]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "quote it"),
        ("", "not JSON"),
        ("@none.json", "No such file"),
        ("[" * 99_999, "JSON"),
    ],
)
def test_input_that_is_not_json(text: str, expected: str) -> None:
    with pytest.raises(CliError) as caught:
        read_json("--input", text)
    assert caught.value.exit_code == Exit.USAGE
    assert expected in f"{caught.value.message} {caught.value.mend}"


# --- small parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a b", "a%20b"), ("a/b", "a%2Fb"), ("a+b", "a%2Bb"), ("ü", "%C3%BC"), ("?#%", "%3F%23%25")],
)
def test_a_segment_is_escaped(text: str, escaped: str) -> None:
    assert segment(text) == escaped


@pytest.mark.parametrize("text", ["", ".", "..", "\udcff"])
def test_a_segment_that_no_url_can_carry(text: str) -> None:
    with pytest.raises(CliError) as caught:
        segment(text)
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize("url", ["", "localhost:3500", "ftp://x", "http://", "http://x:y"])
def test_a_bad_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(CliError) as caught:
        Client(url, None)
    assert caught.value.exit_code == Exit.USAGE


def test_nobody_can_drive_the_terminal() -> None:
    assert plain("a\x1b[2J\nb\x9b\u202e") == "a\\x1b[2J\\nb\\x9b\\u202e"
    assert short("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59, "59 s"), (61, "1 min"), (7_200, "2 h"), (90_000, "1 d")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age("2026-01-01T00:00:00.123456789Z", 1_767_225_600.123456 + seconds) == text


def test_commands_start_fast_because_they_import_little() -> None:
    # The imports that cost most; a time would depend on the machine.
    script = (
        "import sys\n"
        "from actorflow.server.cli import cli\n"
        "cli.main(['workflow', 'get', 'x', '--url', 'http://127.0.0.1:1'], standalone_mode=False)\n"
    )
    report = (
        "print([m for m in ('aiohttp', 'asyncio', 'msgspec', 'structlog', 'sqlite3', 'orjson',"
        " 'prometheus_client', 'uvloop') if m in sys.modules])"
    )
    script = f"import sys, atexit\natexit.register(lambda: {report})\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "no server at" in done.stderr
    assert done.stdout == "[]\n"
