"""What must be observed, whichever SDK is used: the one table that all programs are compared to.

A scenario plays against a program by way of `Site` and returns what it saw; `expect` is what it
must have seen.
"""

from tests.sdk import scenarios_code, scenarios_life, scenarios_server
from tests.sdk.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *scenarios_code.scenario.found,
    *scenarios_life.scenario.found,
    *scenarios_server.scenario.found,
)
