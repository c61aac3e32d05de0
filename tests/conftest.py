"""How tests run: annotations are executed, and Hypothesis searches for the same examples every time.

Many new examples: --hypothesis-profile=search.
"""

import annotations
from hypothesis import HealthCheck, settings

annotations.install()  # before the package is imported for the first time

# No deadlines: a busy machine is not a wrong answer.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile(
    "search", deadline=None, max_examples=3000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")
