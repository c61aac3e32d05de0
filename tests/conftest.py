"""How tests run: annotations are executed, and Hypothesis searches for the same examples every time.

Many new examples: --hypothesis-profile=search.
"""

import os

import annotations
import pytest
from hypothesis import HealthCheck, settings

annotations.install()  # before the package is imported for the first time

# No deadlines: a busy machine is not a wrong answer.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile(
    "search", deadline=None, max_examples=3000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, and say so, what takes many minutes in all; `make slow` sets LONG."""
    for item in items:
        if item.get_closest_marker("long") and not os.environ.get("LONG"):
            item.add_marker(pytest.mark.skip(reason="many minutes with its like: make slow"))
