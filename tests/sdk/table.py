"""The published table: which scenario was played with which SDK, and how it went.

Columns of SDKs that did not run here are kept as they stand in the file, so that a machine without
a toolchain neither deletes nor invents what another one has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.sdk.lines import LINES, ROOT, Line
from tests.sdk.scenarios import SCENARIOS

FILE = ROOT / "docs" / "sdk-compatibility.md"
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"
PASSED, FAILED, LACKS, NOT_RUN = "passed", "FAILED", "-", "not run"


@dataclass
class Column:
    """What one SDK showed: `cells` by the name of the scenario."""

    version: str = NOT_RUN
    cells: dict[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every scenario was played, or is one that the SDK cannot play."""
        return set(self.cells) >= {one.name for one in SCENARIOS}


def rendered(columns: Mapping[str, Column]) -> str:
    """Return the table and the notes on what an SDK lacks, as Markdown."""
    shown = [columns.get(line.name, Column()) for line in LINES]
    rows = [
        ["What must be observed", *(line.title for line in LINES)],
        ["---"] * (len(LINES) + 1),
        ["version", *(column.version for column in shown)],
        *(
            [one.shows, *(column.cells.get(one.name, NOT_RUN) for column in shown)]
            for one in SCENARIOS
        ),
    ]
    notes = [f"- {line.title}: {_lacks(line)}." for line in LINES if line.lacks]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{BEGIN}\n{table}\n\nNot in the SDK (-):\n\n{chr(10).join(notes)}\n{END}"


def read(text: str) -> dict[str, Column]:
    """Return the columns of a page that holds such a table; none if it holds none."""
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < 0:
        return {}
    lines = [one for one in text[begin:end].splitlines() if one.startswith("|")]
    rows = [[cell.strip() for cell in one.strip("|").split(" | ")] for one in lines]
    if len(rows) < 3:
        return {}
    names = {one.shows: one.name for one in SCENARIOS}
    titles = {line.title: line.name for line in LINES}
    found: dict[str, Column] = {}
    for number, title in enumerate(rows[0][1:], start=1):
        if title in titles:
            cells = {names[row[0]]: row[number] for row in rows[3:] if row[0] in names}
            found[titles[title]] = Column(rows[2][number], cells)
    return found


def page(text: str, columns: Mapping[str, Column]) -> str:
    """Return the page with the table of these columns in the place of the old one."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + rendered(columns) + after


def _lacks(line: Line) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in line.lacks.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(reasons)
