"""Settings that hold for every test: how Hypothesis looks for counterexamples."""

import os

from hypothesis import HealthCheck, settings

# No test may fail because the machine is slow.
settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")
