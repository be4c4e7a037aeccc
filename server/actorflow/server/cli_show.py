"""What the command line prints for people: tables, one instance, why it waits, a spinner.

Everything that came from a user (ids, names, payloads) may hold control characters; `plain` makes
it harmless for a terminal. Tables go to stdout, progress to stderr and only on a terminal.
"""

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

CELL_MAX_CHARS = 60
_PIPED_WIDTH_CHARS = 10_000
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

STATUS_STYLES = {
    "COMPLETED": "green",
    "FAILED": "red",
    "TERMINATED": "yellow",
    "RUNNING": "cyan",
    "PENDING": "dim",
    "SUSPENDED": "magenta",
    "STALLED": "bold red",
}
_EVENT_COLUMNS = frozenset({"type", "timestamp", "eventID"})
_EVENT_IDS = frozenset({"executionID", "instanceID", "taskExecutionID"})
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def plain(text: str) -> str:
    r"""Return the text on one line with control and direction characters written as `\x1b`."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


def short(text: str, most: int = CELL_MAX_CHARS) -> str:
    """Return at most `most` characters, with an ellipsis for the rest."""
    return text if len(text) <= most else text[: most - 1] + "…"


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    styles: Callable[[int, str], str] = lambda column, cell: "",
) -> None:
    """Print rows of untrusted text; `styles` gives the style of a cell by column and text."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        cells = enumerate(map(plain, row))
        table.add_row(*(Text(cell, style=styles(column, cell)) for column, cell in cells))
    _console().print(table)


def print_instances(instances: Sequence[dict[str, Any]]) -> None:
    """Print a listing."""
    if not instances:
        _console().print("No instances.")
        return
    now_s = time.time()
    rows = [
        (
            str(item["instanceID"]),
            str(item.get("name", "")),
            str(item["status"]),
            age(item.get("createdAt"), now_s),
            age(item.get("lastUpdatedAt"), now_s),
        )
        for item in instances
    ]
    print_table(("instance", "workflow", "status", "age", "updated"), rows, styles=_status_style)


def print_instance(item: dict[str, Any], reasons: Sequence[dict[str, Any]]) -> None:
    """Print all about one instance."""
    now_s = time.time()
    head = Text.assemble(
        (plain(str(item["instanceID"])), "bold"), "  ", plain(str(item.get("name", ""))), "  ",
        status_text(item),
    )  # fmt: skip
    _console().print(head, soft_wrap=True)
    failure = item.get("failure") or {}
    ended = item.get("completedAt")
    lines = [
        ("created", _with_age(item.get("createdAt"), now_s)),
        ("starts at", item.get("scheduledStart")),
        ("updated", "" if ended else _with_age(item.get("lastUpdatedAt"), now_s)),
        ("ended", _with_age(ended, now_s) and f"{_with_age(ended, now_s)}, took {_took(item)}"),
        ("parent", item.get("parentInstanceID")),
        ("input", item.get("input")),
        ("status text", item.get("customStatus")),
        ("output", item.get("output")),
        ("error", failure and f"{failure.get('errorType')}: {failure.get('message')}"),
        ("stalled", item.get("stalledReason")),
        *(("waits for", reason_text(reason, now_s)) for reason in reasons),
    ]
    for label, value in lines:
        if value:
            _console().print(
                Text.assemble((f"  {label:<12}", "dim"), plain(str(value))), soft_wrap=True
            )


def print_reasons(item: dict[str, Any], reasons: Sequence[dict[str, Any]]) -> None:
    """Print what an instance waits for."""
    if not reasons:
        text = f"{plain(str(item['instanceID']))} waits for nothing: it is "
        _console().print(Text.assemble(text, status_text(item), "."), soft_wrap=True)
        return
    now_s = time.time()
    rows = [
        (
            str(reason["kind"]),
            str(reason["detail"]),
            age(reason.get("since"), now_s),
            _until(reason.get("due"), now_s),
            str(reason.get("attempt", "")),
        )
        for reason in reasons
    ]
    print_table(("waits for", "detail", "since", "ends by itself", "attempt"), rows)


def print_history(events: Sequence[dict[str, Any]], first_index: int, *, full: bool) -> None:
    """Print history events; times count from the first one shown."""
    start_s = _seconds(events[0].get("timestamp")) if events else 0.0
    rows = []
    for index, event in enumerate(events, first_index):
        detail = " ".join(
            f"{key}={_value(value)}"
            for key, value in event.items()
            if key not in _EVENT_COLUMNS and (full or (value != "" and key not in _EVENT_IDS))
        )
        after_s = _seconds(event.get("timestamp")) - start_s
        event_id = event.get("eventID", -1)
        rows.append(
            (
                str(index),
                f"+{after_s:.3f} s",
                str(event["type"]),
                str(event_id) if event_id >= 0 else "",
                detail if full else short(detail, 100),
            )
        )
    print_table(("", "time", "event", "id", "detail"), rows)


def reason_text(reason: dict[str, Any], now_s: float) -> str:
    """Return one reason to wait as a line."""
    text = f"{reason['kind']} {reason['detail']}"
    if reason.get("attempt"):
        text += f", attempt {reason['attempt']}"
    if reason.get("since"):
        text += f", for {age(reason['since'], now_s)}"
    if reason.get("due"):
        text += f", at most until {_until(reason['due'], now_s)}"
    return text


def status_text(item: dict[str, Any]) -> Text:
    """Return the status in its colour."""
    status = str(item["status"])
    return Text(status, style=STATUS_STYLES.get(status, ""))


def age(at: str | None, now_s: float) -> str:
    """Return the time since an RFC 3339 instant in its largest unit, such as `4 min`."""
    if not at:
        return ""
    seconds = max(0.0, now_s - _seconds(at))
    return next(
        (f"{int(seconds // unit)} {name}" for unit, name in _AGES if seconds >= unit), "0 s"
    )


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units, such as `6.5 ms`, `12 s` or `3 d 2 h`."""
    if seconds < 1:
        return f"{max(0, int(seconds * 100_000)) / 100:g} ms"
    if seconds < 60:
        return f"{int(seconds * 10) / 10:g} s"
    first = next(index for index, (unit, _) in enumerate(_AGES) if seconds >= unit)
    (unit, name), (smaller, smaller_name) = _AGES[first : first + 2]
    rest = int(seconds % unit // smaller)
    return f"{int(seconds // unit)} {name}" + (f" {rest} {smaller_name}" if rest else "")


@contextlib.contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner on stderr while something takes long; silent unless that is a terminal.

    Yields a function that changes the text.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(Text(plain(text))) as status:
        yield lambda text: status.update(Text(plain(text)))


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH_CHARS, highlight=False)


def _status_style(column: int, cell: str) -> str:
    return STATUS_STYLES.get(cell, "") if column == 2 else ""


def _took(item: dict[str, Any]) -> str:
    return duration(_seconds(item.get("completedAt")) - _seconds(item.get("createdAt")))


def _with_age(at: str | None, now_s: float) -> str:
    return f"{at[:19]}Z ({age(at, now_s)} ago)" if at else ""


def _until(at: str | None, now_s: float) -> str:
    if not at:
        return ""
    left_s = _seconds(at) - now_s
    unit = next((f"{int(left_s // s)} {name}" for s, name in _AGES if left_s >= s), "now")
    return unit if unit == "now" else f"in {unit}"


def _seconds(at: str | None) -> float:
    # Nanoseconds are more than `fromisoformat` of 3.11 takes.
    if not at:
        return 0.0
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", at)).timestamp()


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
