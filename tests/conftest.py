"""How Hypothesis searches: the same examples every time; many new ones by --hypothesis-profile=search."""

from hypothesis import HealthCheck, settings

# No deadlines: a busy machine is not a wrong answer.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile(
    "search", deadline=None, max_examples=3000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")
