"""The settings of Dapr's workflow configuration, under its names: retention and concurrency."""

import re
from dataclasses import dataclass

from actorflow.server.option import Option, parse_count

COUNT_MAX = 1_000_000
DAY_S = 24 * 3_600
DURATION_MAX_S = 100 * 365 * DAY_S
_UNITS_S = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
STATUSES = ("anyTerminal", "completed", "failed", "terminated")
"""Names of how an instance ended, in the order of `RetentionPolicy`."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long ended instances are kept, in seconds by Dapr's names of how they ended."""

    seconds: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return ",".join(f"{status}={kept_s:.6f}s" for status, kept_s in self.seconds) or "none"


@dataclass(frozen=True, slots=True)
class NameLimits:
    """How many of one name may run at once."""

    counts: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return ",".join(f"{name}={count}" for name, count in self.counts) or "none"


NO_RETENTION = Retention()
NO_NAME_LIMITS = NameLimits()


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as Go writes it: `720h`, `1h30m`. Raises ValueError."""
    parts = re.findall(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|h|m|s)", text)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not parts or seconds > DURATION_MAX_S:
        raise ValueError("a duration such as 720h, 1h30m, 90s or 0s, at most 100 years")
    return seconds


def _pairs(text: str, example: str) -> list[tuple[str, str]]:
    pairs = [item.strip().rpartition("=") for item in text.split(",")]
    names = [name for name, _, _ in pairs]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"comma-separated pairs, each name once, such as {example}")
    return [(name, value) for name, _, value in pairs]


def _parse_retention(text: str) -> Retention:
    pairs = _pairs(text, "anyTerminal=720h,completed=24h")
    if not all(status in STATUSES for status, _ in pairs):
        raise ValueError(f"durations for {', '.join(STATUSES)}, such as anyTerminal=720h")
    return Retention(tuple((status, parse_duration(value)) for status, value in pairs))


_parse_count = parse_count(COUNT_MAX)


def _parse_name_limits(text: str) -> NameLimits:
    pairs = _pairs(text, "charge=5,ship=20")
    return NameLimits(tuple((name, _parse_count(value)) for name, value in pairs))


WORKFLOW_OPTIONS: tuple[Option, ...] = (
    Option(
        name="state-retention-policy",
        field="state_retention_policy",
        parse=_parse_retention,
        metavar="STATUS=DURATION,...",
        help="Delete ended instances after a time, such as anyTerminal=720h,completed=24h. "
        "Statuses: anyTerminal, completed, failed, terminated. Default: keep them.",
    ),
    Option(
        name="max-concurrent-workflow-invocations",
        field="max_concurrent_workflow_invocations",
        parse=_parse_count,
        metavar="COUNT",
        help="Turns of workflows that remote workers of this host do at once.",
    ),
    Option(
        name="max-concurrent-activity-invocations",
        field="max_concurrent_activity_invocations",
        parse=_parse_count,
        metavar="COUNT",
        help="Activities that run at once on this host.",
    ),
    Option(
        name="global-max-concurrent-workflow-invocations",
        field="global_max_concurrent_workflow_invocations",
        parse=_parse_count,
        metavar="COUNT",
        help="As above, on all hosts together.",
    ),
    Option(
        name="global-max-concurrent-activity-invocations",
        field="global_max_concurrent_activity_invocations",
        parse=_parse_count,
        metavar="COUNT",
        help="As above, on all hosts together.",
    ),
    Option(
        name="workflow-concurrency-limits",
        field="workflow_concurrency_limits",
        parse=_parse_name_limits,
        metavar="NAME=COUNT,...",
        help="Turns at once of single workflows, on all hosts together.",
    ),
    Option(
        name="activity-concurrency-limits",
        field="activity_concurrency_limits",
        parse=_parse_name_limits,
        metavar="NAME=COUNT,...",
        help="Single activities that run at once, on all hosts together, such as charge=5.",
    ),
)
"""Give every host of a cluster the same."""
