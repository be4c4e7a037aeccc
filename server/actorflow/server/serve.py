"""The server process: composes application, store, engine and HTTP; starts, says so, drains, stops.

Order of start: application, store and engine, ports, signs of readiness. Order of stop: ports
(running requests finish), engine (turns and activities finish, leases are given back), store.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import structlog

from actorflow.actors.collector import calm_collector
from actorflow.actors.errors import ActorflowError
from actorflow.server.app import HttpServer, urls_of
from actorflow.server.config import Settings
from actorflow.server.grpc_address import addresses_of
from actorflow.server.grpc_door import Door, open_door, settle
from actorflow.server.host_info import own_info
from actorflow.server.listening import grpc_port_error, http_port_error
from actorflow.server.loader import AppLoadError, load_app
from actorflow.server.logs import configure_logs
from actorflow.server.options import SURVIVES
from actorflow.server.processes import (
    FORCED_CODE,
    Failure,
    Order,
    Supervisor,
    read_order,
    reserve_port,
    say_failed,
    say_ready,
    stop_with_parent,
)
from actorflow.server.siblings import Siblings
from actorflow.server.stores import StartUpError as StartUpError
from actorflow.server.stores import find_store, store_error
from actorflow.server.workflow_options import STATUSES
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits
from actorflow.workflow.permits import Concurrency
from actorflow.workflow.registry import Registry
from actorflow.workflow.retention import RetentionPolicy

log = structlog.get_logger("actorflow.server")

_FORCED_EXIT_DELAY_S = 0.1
_THREADS_END_S = 0.5


def run(settings: Settings) -> int:
    """Run the server until a signal ends it, and return the exit code.

    Raises:
        StartUpError: it could not start; nothing is left open.
    """
    configure_logs(settings)
    door = settle(settings)
    if settings.processes > 1:
        return _run_processes(door)
    registry = _load(settings.app)
    with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
        runner.run(_serve(door, registry))
    return 0


def run_child() -> int:
    """Run the server as one process of several: what a child of `processes.Supervisor` does."""
    order = read_order()
    settings = order.settings
    configure_logs(settings, process=order.number)
    try:
        registry = _load(settings.app)
        with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
            runner.run(_serve(Door(settings), registry, order))
    except StartUpError as err:
        say_failed(order, Failure(str(err), err.mend))
        return 1
    return 0


def _run_processes(door: Door) -> int:
    with contextlib.ExitStack() as stack:
        settings = _with_grpc_port(door.settings, stack)

        def on_ready(port: int) -> None:
            grpc = addresses_of(settings, settings.grpc_port) if settings.grpc == "on" else []
            places = Places(urls_of(settings.listen_addresses, port), grpc, door.remark)
            stack.enter_context(_ready_file(settings.ready_file, places))
            _announce(settings, None, places)

        supervisor = Supervisor(
            settings, on_ready=on_ready, on_stop=lambda reason: _say_drain(settings, reason)
        )
        try:
            code = asyncio.run(supervisor.run())
        except OSError as err:
            raise http_port_error(err, settings) from err
    if supervisor.failure is not None:
        raise StartUpError(supervisor.failure.cause, supervisor.failure.mend)
    if supervisor.left_at_once:
        _say(settings, "Left at once.", "left at once")
    else:
        _say(settings, "Stopped.", "stopped")
    return code


def _with_grpc_port(settings: Settings, stack: contextlib.ExitStack) -> Settings:
    """Keep the port that the children share for gRPC until the stack is closed."""
    if settings.grpc != "on":
        return settings
    try:
        port = reserve_port(settings.grpc_hosts, settings.grpc_port)
    except OSError as err:
        raise grpc_port_error(err, settings) from err
    stack.callback(port.close)
    return replace(settings, grpc_port=port.number)


async def _serve(door: Door, registry: Registry | None, order: Order | None = None) -> None:
    settings = door.settings
    stop = Stop(settings.graceful_shutdown_s, forced_code=1 if order is None else FORCED_CODE)
    stop.listen()
    if order is not None:
        stop_with_parent(order, lambda: stop.request(False))
    async with _engine(settings, registry, stop, order) as engine:
        server = HttpServer(engine, settings, request_shutdown=stop.request)
        try:
            await server.start_up()
        except OSError as err:
            raise http_port_error(err, settings) from err
        calm_collector()
        try:
            async with open_door(
                engine, settings, server, request_shutdown=stop.request, left_s=stop.left_s
            ) as grpc:
                if order is not None:
                    await _wait_as_one_of_many(order, server, stop)
                else:
                    places = Places(server.urls, grpc, door.remark)
                    await _wait_as_the_only_one(settings, registry, places, stop)
        finally:
            await server.shut_down(drain_s=stop.left_s())
    if order is None:
        _say(settings, "Stopped.", "stopped")
    _leave_busy_threads()


async def _wait_as_one_of_many(order: Order, server: HttpServer, stop: "Stop") -> None:
    metrics = server.edge.metrics
    count = order.settings.processes
    siblings = Siblings(order.folder, order.number, count, metrics.snapshot)
    async with siblings.listening():
        metrics.all_processes = siblings.ask_all
        say_ready(order)
        await stop.wait()


async def _wait_as_the_only_one(
    settings: Settings, registry: Registry | None, places: "Places", stop: "Stop"
) -> None:
    with _ready_file(settings.ready_file, places):
        _announce(settings, registry, places)
        reason = await stop.wait()
        _say_drain(settings, reason)


def _leave_busy_threads() -> None:
    # Python would wait at its exit for every `def` activity, however long it takes. The store is
    # closed by now, and such an activity runs again after the next start.
    deadline_s = asyncio.get_running_loop().time() + _THREADS_END_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline_s - asyncio.get_running_loop().time()))
            if thread.is_alive():
                _leave(0)


class Stop:
    """The wish to end: the first signal drains, the second one leaves at once."""

    def __init__(self, graceful_s: float, *, forced_code: int = 1) -> None:
        self._forced_code = forced_code
        self._event = asyncio.Event()
        self._reason = ""
        self._graceful_s = graceful_s
        self._end_s: float | None = None

    def left_s(self) -> float:
        """Return what is left of the time to drain, in seconds."""
        now_s = asyncio.get_running_loop().time()
        return self._graceful_s if self._end_s is None else max(0.0, self._end_s - now_s)

    def listen(self) -> None:
        """Take SIGINT and SIGTERM of this process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)

    def request(self, force: bool) -> None:
        """End on request of an API call; with `force` at once, with `forced_code`."""
        if force:
            loop = asyncio.get_running_loop()
            loop.call_later(_FORCED_EXIT_DELAY_S, _leave, self._forced_code)
        self._set("shutdown call")

    async def wait(self) -> str:
        """Return when the process shall end, with the reason."""
        await self._event.wait()
        return self._reason

    def _on_signal(self, number: signal.Signals) -> None:
        if self._event.is_set():
            click.echo("Left at once.", err=True)
            _leave(128 + number)
        self._set(number.name)

    def _set(self, reason: str) -> None:
        if not self._event.is_set():
            self._reason = reason
            self._end_s = asyncio.get_running_loop().time() + self._graceful_s
            self._event.set()


def _retention(settings: Settings) -> RetentionPolicy:
    kept_s = dict(settings.state_retention_policy.seconds)
    return RetentionPolicy(*map(kept_s.get, STATUSES))


def _concurrency(settings: Settings) -> Concurrency:
    return Concurrency(
        host_turns=settings.max_concurrent_workflow_invocations,
        host_activities=settings.max_concurrent_activity_invocations,
        turns=settings.global_max_concurrent_workflow_invocations,
        activities=settings.global_max_concurrent_activity_invocations,
        turns_by_name=dict(settings.workflow_concurrency_limits.counts),
        activities_by_name=dict(settings.activity_concurrency_limits.counts),
    )


def _leave(code: int) -> NoReturn:
    # The store may lose its process at any instant; nothing needs to be cleaned up.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _load(app: str | None) -> Registry | None:
    if app is None:
        return None
    try:
        return load_app(app)
    except AppLoadError as err:
        raise StartUpError(f"cannot load --app {app}: {err}") from err


def _loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop]:
    if settings.uvloop:
        with contextlib.suppress(ImportError):
            import uvloop  # noqa: PLC0415 -- optional, absent on some platforms

            return uvloop.new_event_loop
    return asyncio.new_event_loop


@contextlib.asynccontextmanager
async def _engine(
    settings: Settings, registry: Registry | None, stop: Stop, order: Order | None
) -> AsyncIterator[WorkflowEngine]:
    found = await find_store(settings)
    cluster = found.cluster
    if cluster is not None:
        number = order.number if order is not None else 0
        cluster = cluster._replace(info=own_info(settings, version=_version(), process=number))
    engine = WorkflowEngine(
        found.store,
        registry,
        app_id=settings.app_id,
        limits=_limits(settings),
        partition_count=found.partition_count,
        cluster=cluster,
        lease_ttl_ms=round(settings.lease_s * 1_000),
        retention=_retention(settings),
        concurrency=_concurrency(settings),
        remote_workers=settings.grpc == "on",
    )
    try:
        await engine.start_up()
    except (ActorflowError, OSError) as err:
        raise store_error(err, settings.store) from err
    try:
        yield engine
    finally:
        await engine.shut_down(drain_s=stop.left_s())


def _limits(settings: Settings) -> Limits:
    """A body that the edge lets in is taken, whatever its limit."""
    bytes_max = max(DEFAULT_LIMITS.payload_bytes_max, settings.max_body_bytes)
    return replace(DEFAULT_LIMITS, payload_bytes_max=bytes_max)


class Places(NamedTuple):
    """Where the server listens. `remark` says why it does not listen for gRPC."""

    urls: list[str]
    grpc: list[str]
    remark: str = ""


def _announce(settings: Settings, registry: Registry | None, places: Places) -> None:
    level = settings.durability_level
    if settings.log_format == "json":
        log.info(
            "listening",
            urls=places.urls,
            grpc=places.grpc,
            pid=os.getpid(),
            version=_version(),
            store=str(settings.store),
            durability=level,
            survives=SURVIVES[level],
            processes=settings.processes,
            workflows=sorted(registry.workflow_names()) if registry else [],
            activities=sorted(registry.activity_names()) if registry else [],
        )
        if places.remark:
            log.info("no gRPC", reason=places.remark)
        return
    listens = ", ".join(places.urls)
    if places.grpc:
        listens += f" and for gRPC on {', '.join(places.grpc)}"
    lines = [
        f"actorflow {_version()} listens on {listens}. Ctrl-C stops it.",
        f"Store: {settings.store}, durability {level}: survives {SURVIVES[level]}.",
        _registered(registry)
        if settings.processes == 1
        else f"{settings.processes} processes share the port.",
    ]
    if places.remark:
        lines.append(f"{places.remark}.")
    if settings.insecure and not settings.api_tokens and not settings.is_loopback_only:
        lines.append("INSECURE: whoever reaches this port can start, read and delete everything.")
    click.echo("\n".join(lines), err=True)


def _registered(registry: Registry | None) -> str:
    if registry is None:
        return "No --app: calls are accepted, instances wait for a worker."
    workflows = ", ".join(sorted(registry.workflow_names())) or "none"
    activities = ", ".join(sorted(registry.activity_names())) or "none"
    return f"Workflows: {workflows}. Activities: {activities}."


def _say_drain(settings: Settings, reason: str) -> None:
    _say(
        settings,
        f"Stopping ({reason}): at most {settings.graceful_shutdown_s:g} s for what runs; "
        "Ctrl-C again leaves at once.",
        "stopping",
    )


def _say(settings: Settings, text: str, event: str) -> None:
    if settings.log_format == "json":
        log.info(event)
    else:
        with contextlib.suppress(OSError):  # nobody reads any more
            click.echo(text, err=True)


@contextlib.contextmanager
def _ready_file(path: Path | None, places: Places) -> Iterator[None]:
    if path is None:
        yield
        return
    record = json.dumps({"pid": os.getpid(), "urls": places.urls, "grpc": places.grpc})
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(record)
        draft.replace(path)  # readers see nothing or all of it
    except OSError as err:
        raise StartUpError(f"cannot write --ready-file {path}: {err.strerror}") from err
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _version() -> str:
    try:
        return metadata.version("actorflow")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "(not installed)"
