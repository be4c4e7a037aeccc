"""The SDKs that are run, each in one or more lines of versions, and how each is installed.

A line is installed below `.sdk/` in the root, which git does not know, by the ordinary client of
its language, and again whenever a file changes that says what to install. What is missing on the
machine is told, never passed over in silence.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".sdk"
INSTALL_S = 300
INSTALL_ATTEMPTS = 3
"""What is downloaded comes from others, who may be away for a moment."""


@dataclass(frozen=True)
class Command:
    """How a program is started."""

    words: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Line:
    """One SDK in one line of versions.

    Attributes:
        tools: programs that must be on the machine.
        sources: files that say what to install, relative to this folder.
        install: fills an empty folder.
        command: starts the program that was installed into a folder.
        lacks: scenarios that this SDK cannot play, with the reason.
    """

    name: str
    title: str
    tools: tuple[str, ...]
    sources: tuple[str, ...]
    install: Callable[[Path], None]
    command: Callable[[Path], Command]
    lacks: Mapping[str, str] = field(default_factory=dict)

    def installed(self) -> Command:
        """Return how to start the program; install it before if need be, or skip the test."""
        for tool in self.tools:
            if shutil.which(tool) is None:
                pytest.skip(f"{self.title}: {tool} is not installed on this machine")
        return self.command(_install(self))


@functools.cache
def _install(line: Line) -> Path:
    folder = CACHE / line.name
    stamp = folder / "stamp"
    wanted = hashlib.sha256(b"".join((HERE / one).read_bytes() for one in line.sources)).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    for attempt in range(INSTALL_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            line.install(folder)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            text = f"{line.title} cannot be installed: {error}\n{error.output}"
            if attempt + 1 < INSTALL_ATTEMPTS:
                continue
            if os.environ.get("CI"):
                pytest.fail(text)
            pytest.skip(text)
        stamp.write_text(wanted)
        break
    return folder


def _run(*words: str | Path, cwd: Path, **environ: str) -> None:
    subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environ,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_S,
    )


def _python(requirements: str) -> Callable[[Path], None]:
    def install(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", folder / "venv", cwd=HERE)
        pip = (folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet")
        _run(*pip, "--disable-pip-version-check", "-r", HERE / requirements, cwd=HERE)

    return install


def _python_command(folder: Path) -> Command:
    return Command((str(folder / "venv/bin/python"), "-u", str(HERE / "python" / "app.py")))


def _javascript(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "javascript" / name, folder)
    _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)


def _javascript_command(folder: Path) -> Command:
    environ = {"NODE_PATH": str(folder / "node_modules")}
    return Command(("node", str(HERE / "javascript" / "app.js")), environ)


def _go(folder: Path) -> None:
    _run("go", "build", "-o", folder / "app", ".", cwd=HERE / "go", GOFLAGS="-mod=readonly")


def _go_command(folder: Path) -> Command:
    return Command((str(folder / "app"),))


def _java(folder: Path) -> None:
    pom = HERE / "java" / "pom.xml"
    goal = ("dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}")
    _run("mvn", "-B", "-q", "-f", pom, *goal, cwd=folder)
    sources = sorted((HERE / "java").glob("*.java"))
    (folder / "classes").mkdir()
    _run("javac", "-cp", f"{folder}/lib/*", "-d", folder / "classes", *sources, cwd=folder)


def _java_command(folder: Path) -> Command:
    return Command(("java", "-cp", f"{folder}/classes:{folder}/lib/*", "App"))


def _absent(_folder: Path) -> None:
    pytest.skip("the .NET SDK: there is no program for it yet; no machine of ours has dotnet")


_NO_DETACHED = {"detached": "no detached workflows"}
_NO_FORCE = {
    "purge_forced": "no forced purge",
    "unique_start": "no start that wants a new id",
}
_NO_GENERAL = {"general_client": "no workflow calls in the general client"}
_NO_MANAGEMENT = {
    "list_ids": "no listing",
    "history": "no history",
    "rerun": "no rerun",
}
_NO_PROPAGATION = {
    "history_own": "no history propagation",
    "history_lineage": "no history propagation",
}
_NO_VERSIONS = {
    "versions": "no named versions",
    "version_missing": "no named versions",
}
_NO_PATCHES = {"patching": "no patches", "patch_mismatch": "no patches"}
_NO_OTHER_APP = {"other_app": "no other apps", "steer_other_app": "no other apps"}
_NO_STEERING = {"steer_other_app": "no calls to other apps by its client"}
_NO_RECURSION = {
    "terminate_recursive": "no recursive terminate",
    "purge_recursive": "no recursive purge",
}

LINES = (
    Line(
        name="python-new",
        title="Python, newest",
        tools=(),
        sources=("python/new.txt",),
        install=_python("python/new.txt"),
        command=_python_command,
        lacks=_NO_DETACHED | _NO_FORCE | _NO_GENERAL,
    ),
    Line(
        name="python-previous",
        title="Python, previous",
        tools=(),
        sources=("python/previous.txt",),
        install=_python("python/previous.txt"),
        command=_python_command,
        lacks=_NO_DETACHED | _NO_FORCE | _NO_GENERAL | _NO_MANAGEMENT | _NO_STEERING,
    ),
    Line(
        name="python-oldest",
        title="Python, oldest",
        tools=(),
        sources=("python/oldest.txt",),
        install=_python("python/oldest.txt"),
        command=_python_command,
        lacks=_NO_DETACHED
        | _NO_FORCE
        | _NO_MANAGEMENT
        | _NO_PROPAGATION
        | _NO_STEERING
        | {"event_timeout": "no time-out argument of events"},
    ),
    Line(
        name="javascript",
        title="JavaScript",
        tools=("node", "npm"),
        sources=("javascript/package.json", "javascript/package-lock.json"),
        install=_javascript,
        command=_javascript_command,
        lacks=_NO_DETACHED
        | _NO_FORCE
        | _NO_MANAGEMENT
        | _NO_PROPAGATION
        | _NO_VERSIONS
        | _NO_OTHER_APP
        | _NO_PATCHES
        | _NO_RECURSION
        | {
            "payloads_that_are_false": "it drops values that are false",
            "event_timeout": "no time-out argument of events",
            "retry_activity": "no retry policies",
            "retry_exhausted": "no retry policies",
            "retry_child": "no retry policies",
            "task_execution_id": "no task execution ids",
            "trace_by_http": "no trace contexts",
            "trace_by_client": "no trace contexts",
        },
    ),
    Line(
        name="go",
        title="Go",
        tools=("go",),
        sources=("go/go.mod", "go/go.sum", "go/main.go", "go/workflows.go"),
        install=_go,
        command=_go_command,
        lacks=_NO_GENERAL | {"event_or_timer": "no any-of"},
    ),
    Line(
        name="java",
        title="Java",
        tools=("java", "javac", "mvn"),
        sources=("java/pom.xml", "java/App.java", "java/Flows.java"),
        install=_java,
        command=_java_command,
        lacks=_NO_DETACHED
        | _NO_FORCE
        | _NO_GENERAL
        | _NO_MANAGEMENT
        | _NO_PROPAGATION
        | _NO_RECURSION
        | _NO_STEERING
        | {
            "custom_status": "its client does not show the custom status",
            "trace_by_client": "its client sends no trace context",
            "event_case": "it takes the case of event names as it is",
        },
    ),
    Line(
        name="dotnet",
        title=".NET",
        tools=("dotnet",),
        sources=(),
        install=_absent,
        command=_go_command,
    ),
)
