"""Settings of all tests: the shared servers, and how hard Hypothesis looks."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.stack"]

_SLOW_IS_FINE = [HealthCheck.too_slow]

# No deadlines: two cores that also run a broker are now and then slow without anything being wrong.
settings.register_profile("dev", deadline=None, suppress_health_check=_SLOW_IS_FINE)
# The same examples in every run, so that a change is judged and not luck.
settings.register_profile("ci", deadline=None, suppress_health_check=_SLOW_IS_FINE, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, suppress_health_check=_SLOW_IS_FINE, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
