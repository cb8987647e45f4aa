"""How many examples hypothesis tries: a quarter of the number given, and all of them in `make long`."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = 100  # hypothesis's own default
IS_LONG = "KVD_TESTS_LONG" in os.environ
PART = 1 if IS_LONG else 4


def examples(count: int) -> int:
    """Return how many of `count` examples this run tries."""
    return count // PART


def load_profile() -> None:
    """Set the defaults of all tests. A deadline would measure the machine, and so would the check for slow examples."""
    settings.register_profile(
        "kvd", deadline=None, max_examples=examples(EXAMPLES), suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("kvd")
